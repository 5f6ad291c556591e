"""Tables of a release: rows, the cells that are counted, and the dictionary that says what a column holds."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

from llm_extract.handover.fields import RELEASED
from llm_extract.handover.linked_counts import Cell as SummaryCell
from llm_extract.handover.linked_counts import Links
from llm_extract.records import Lesion, Model, ReportRecord
from llm_extract.tables import Cell, ColumnType, lesion_columns, lesion_rows

_UNITS = {"_mm": "mm", "_mm3": "mm³", "hounsfield": "HU", "day": "days"}
_BANDS_MM = (10.0, 20.0, 50.0)
_IN_RECORDS_ONLY = frozenset({"evidence", "location_text"})
_OF_THE_MODEL = tuple(name for name in RELEASED[Lesion] if name not in _IN_RECORDS_ONLY)
_LESION_NAMES = ("report_id", "case_id", *_OF_THE_MODEL)
_OF_A_LESION = ("report_id", "case_id", "patient_id")
_WITH_LESIONS = ("lesions", "stated")
_PRESENT = "lesion_present"

README = """# Records of radiology and pathology reports, without their text

`records.jsonl` has one record a report, `studies` and `lesions` the same as tables (CSV and Parquet), `summary.json`
counts of patients, `data_dictionary.csv` what every column holds, `manifest.json` how it was made and the SHA-256 of
each file.

- No words of a report and no places in it are in here. Ids are keyed hashes; the key stayed in the hospital. The same
  id is the same report, case (CT) or patient in all files, and in all releases with the same `key_id`.
- `day` in `studies` counts from the first study of the patient in this release. There are no dates.
- In `summary.json`, `null` is a count that is small, or that would tell a small one, alone or with the other tables.
  The tables on lesions are about the patients of `lesions`: `stated`. Counts are protected in this file only:
  `records.jsonl`, `studies` and `lesions` have a row a report or lesion, from which every count, small ones too, can be
  made. Where these matter, pass on `summary.json` without the rest.
- Records are read by `rsuper check DATASET --records records.jsonl` and by everything after it, where the CTs have the
  keyed names.
- Rare findings in combination may still point to a person for somebody who knows about them: a release is for the
  people and the purpose that were agreed, not for the public.
"""


def lesion_columns_released() -> dict[str, ColumnType]:
    """Columns of the lesions table."""
    kinds = lesion_columns()
    return {**dict.fromkeys(_OF_A_LESION, str), **{name: kinds[name] for name in _OF_THE_MODEL}}


def lesion_rows_released(record: ReportRecord) -> Iterator[dict[str, Cell]]:
    """One row a lesion of a released record."""
    for row in lesion_rows(record):
        yield {name: row[name] for name in _LESION_NAMES} | {"patient_id": record.patient_id}


def study_columns_released(organs: Iterable[str]) -> dict[str, ColumnType]:
    """Columns of the studies table."""
    return {
        **dict.fromkeys(_OF_A_LESION, str),
        "source": str,
        "day": int,
        "status": str,
        "modality": str,
        "phase": str,
        "n_lesions": int,
        **dict.fromkeys(organs, str),
        "issues": str,
    }


def study_row_released(record: ReportRecord, *, day: int | None, organs: Iterable[str]) -> dict[str, Cell]:
    """The row of a released record."""
    statements: dict[str, Cell] = {
        organ: record.organs[organ].status if organ in record.organs else "not_mentioned" for organ in organs
    }
    return {
        "report_id": record.report_id,
        "case_id": record.case_id,
        "patient_id": record.patient_id,
        "source": record.source,
        "day": day,
        "status": record.status,
        "modality": record.technique.modality,
        "phase": record.technique.phase,
        "n_lesions": len(record.lesions),
        **statements,
        "issues": ";".join(dict.fromkeys(issue.code for issue in record.issues)),
    }


def summary_cells(record: ReportRecord, organs: Iterable[str]) -> Iterator[SummaryCell]:
    """The cells in which the patient of a released record counts: one of each table, or several of those on lesions."""
    yield "source", record.source
    yield "status", record.status
    yield "modality", record.technique.modality
    yield "phase", record.technique.phase
    for name in organs:
        yield _of_organ(name), record.organs[name].status if name in record.organs else "not_mentioned"
    yield _WITH_LESIONS if record.lesions else ("lesions", "none")
    for lesion in record.lesions:
        yield "lesions by largest diameter", _band(lesion)
        yield "lesions by malignancy", lesion.malignancy
        yield "lesions by diagnosis", lesion.diagnosis or "not stated"


def summary_links(organs: Iterable[str]) -> Links:
    """How the tables of the summary hang together."""
    return Links(
        whole=_WITH_LESIONS,
        splits=frozenset({"lesions by largest diameter", "lesions by malignancy", "lesions by diagnosis"}),
        covers=[(_of_organ(name), _PRESENT) for name in organs],
    )


def lesions_by_organ(
    tables: Mapping[str, Mapping[str, int | None]], organs: Iterable[str]
) -> dict[str, int | None]:
    """Patients with a lesion of each organ as the tables of the organs show them, which says nothing beyond these."""
    found = {name: tables.get(_of_organ(name), {}).get(_PRESENT, 0) for name in organs}
    return {name: number for name, number in found.items() if number != 0}


def _of_organ(name: str) -> str:
    return f"organ: {name}"


def _band(lesion: Lesion) -> str:
    """In which band the largest diameter of a lesion lies.

    >>> _band(Lesion(lesion_id="L1", organ="liver", diameters_mm=(12.0,)))
    '10 mm to below 20 mm'
    """
    if not lesion.diameters_mm:
        return "not stated"
    largest = max(lesion.diameters_mm)
    edges = (0.0, *_BANDS_MM)
    low = max(edge for edge in edges if edge <= largest)
    high = next((edge for edge in edges if edge > largest), None)
    return f"{low:g} mm or more" if high is None else f"{low:g} mm to below {high:g} mm"


def dictionary_rows(organs: Sequence[str]) -> Iterator[tuple[str, str, str, str, str, str]]:
    """What every column and every key holds: file, column, type, unit, values, meaning."""
    for name, kind in study_columns_released(organs).items():
        meaning, values = _study_meaning(name, organs)
        yield "studies", name, kind.__name__, _unit(name), values, meaning
    for name, kind in lesion_columns_released().items():
        if name in _OF_A_LESION:
            yield "lesions", name, kind.__name__, "", "", RELEASED[ReportRecord][name]
        else:
            annotation = Lesion.model_fields[name].annotation
            words, meaning = _words(annotation), RELEASED[Lesion][name]
            yield "lesions", name, kind.__name__, _unit(name), words, meaning
    for model, fields in RELEASED.items():
        for name, meaning in fields.items():
            annotation = model.model_fields[name].annotation
            where = f"{model.__name__}.{name}"
            yield "records.jsonl", where, _kind(annotation), _unit(name), _words(annotation), meaning


def _study_meaning(name: str, organs: Sequence[str]) -> tuple[str, str]:
    if name in organs:
        from llm_extract.records import OrganStatement

        words = _words(OrganStatement.model_fields["status"].annotation)
        return "what the report says about focal lesions of this organ", words
    if name in {"modality", "phase"}:
        from llm_extract.records import Technique

        return RELEASED[Technique][name], _words(Technique.model_fields[name].annotation)
    own = {
        "day": "since the first study of the patient in this release; empty where date or patient are not known",
        "n_lesions": "lesions and groups of lesions in the record",
        "issues": "codes of its issues, joined by ;",
    }
    if name in own:
        return own[name], ""
    return RELEASED[ReportRecord][name], _words(ReportRecord.model_fields[name].annotation)


def _unit(name: str) -> str:
    return next((unit for ending, unit in _UNITS.items() if name.endswith(ending)), "")


def _words(annotation: Any) -> str:
    """The closed list of words that a field may hold, if it has one."""
    if get_origin(annotation) is Literal:
        return "; ".join(str(value) for value in get_args(annotation))
    inner = [_words(part) for part in get_args(annotation)] if _is_wrapper(annotation) else []
    return next((words for words in inner if words), "")


def _kind(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return "word"
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return annotation.__name__ if not issubclass(annotation, Model) else "object"
    if get_origin(annotation) is tuple:
        return "list"
    if get_origin(annotation) is dict:
        return "object"
    parts = [part for part in get_args(annotation) if part is not type(None)]
    return _kind(parts[0]) if parts else "text"


def _is_wrapper(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType) or hasattr(annotation, "__metadata__")
