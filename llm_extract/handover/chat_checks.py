"""Is a training answer one that the model may give, and does it say what is known? The checks of a real answer, twice.

The schema is the one that engines decode under, and the checks those that a model's answer passes; then the answer is
made into a record again and held against what it was made from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from llm_extract.chat.answer_schema import answer_schema, bucket_of
from llm_extract.chat.answers import CheckedAnswer, check_answer
from llm_extract.chat.consensus import disagreements
from llm_extract.chat.drafting import record_of
from llm_extract.chat.preparation import Prepared
from llm_extract.records import Provenance, ReportRecord

_TYPES: Mapping[str, type] = {"object": dict, "array": list, "string": str}
_DECIDING = frozenset({"lesion", "organ", "diameters_mm", "laterality", "count", "status", "parts"})
_FROM_TRAINING = Provenance(backend="training", version="1")


def refused(raw: str, answer: Any, prepared: Prepared) -> tuple[CheckedAnswer, list[str]]:
    """The codes for which an answer would be refused; first those of the schema that engines decode under.

    Args:
        raw: the answer as it is to be written.
        answer: the same as a value.
        prepared: the report.
    """
    schema = answer_schema(bucket_of(len(prepared.measurements)), tuple(prepared.anatomy.organs))
    if any(violations(answer, schema)):
        return CheckedAnswer(), ["answer_against_schema"]
    checked = check_answer(raw, finish_reason="stop", prepared=prepared)
    return checked, list(checked.errors)


def record_of_answer(checked: CheckedAnswer, prepared: Prepared) -> ReportRecord:
    """The record that extraction would make of an answer."""
    return record_of(prepared, checked, _FROM_TRAINING)


def says_the_same(checked: CheckedAnswer, prepared: Prepared, record: ReportRecord) -> bool:
    """Whether the record that is made of an answer has the lesions and the free organs of the one it stands for."""
    made = record_of_answer(checked, prepared)
    fields = {
        (issue.field or "").rsplit(".", 1)[-1] for pair in ((made, record), (record, made))
        for issue in disagreements(*pair)
    }  # fmt: skip
    return not fields & _DECIDING and _frees(made) == _frees(record)


def _frees(record: ReportRecord) -> set[str]:
    return {name for name, said in record.organs.items() if said.status == "explicitly_lesion_free"}


def violations(value: Any, schema: Mapping[str, Any], path: str = "$") -> Iterator[str]:
    """Places at which a value breaks a schema; of JSON Schema what :func:`answer_schema` uses.

    >>> list(violations({"a": "x"}, {"type": "object", "properties": {}, "required": ["b"]}))
    ['$.a', '$.b']
    """
    if "enum" in schema:
        if not any(value == each and type(value) is type(each) for each in schema["enum"]):
            yield path
        return
    if not isinstance(value, _TYPES[schema["type"]]):
        yield path
    elif isinstance(value, dict):
        properties = schema["properties"]
        yield from (f"{path}.{key}" for key in value if key not in properties)
        yield from (f"{path}.{key}" for key in schema["required"] if key not in value)
        for key, item in value.items():
            if key in properties:
                yield from violations(item, properties[key], f"{path}.{key}")
    elif isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema["maxItems"]:
            yield path
        for index, item in enumerate(value):
            yield from violations(item, schema["items"], f"{path}[{index}]")
    elif re.fullmatch(schema["pattern"], str(value)) is None:
        yield path
