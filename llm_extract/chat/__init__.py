"""Language models as extractors: prompt, answer schema, checks on answers, and one loop for every engine."""
