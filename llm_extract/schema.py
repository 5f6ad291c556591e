"""The JSON Schema of a record, for programs in other languages; committed as ``record_schema.json``."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

from llm_extract.records import ReportRecord


def record_schema_text() -> str:
    """The schema of :class:`llm_extract.records.ReportRecord` as the committed file has it."""
    return json.dumps(ReportRecord.model_json_schema(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def write_record_schema() -> Path:
    """Write the schema into the package after a change of the record; returns the file."""
    path = Path(str(resources.files("llm_extract") / "record_schema.json"))
    path.write_text(record_schema_text(), encoding="utf-8")
    return path


if __name__ == "__main__":
    write_record_schema()
