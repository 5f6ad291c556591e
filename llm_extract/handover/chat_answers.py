"""A record, or a gold answer, as the answer that a language model should have given to the same report.

Words are quoted as the report has them, sizes are named by the ids of the scan; what cannot be said so has a code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from llm_extract.chat.answer_schema import MAX_COUNT, MAX_FREE, MAX_IDS, MAX_LESIONS, MAX_QUOTE, Group, Side
from llm_extract.chat.answers import check_answer
from llm_extract.chat.preparation import Prepared, organs_named
from llm_extract.grounding import locate
from llm_extract.measurements import Measurement
from llm_extract.records import Evidence, Lesion, OrganStatement, ReportRecord

MAX_WORDS = 15
_MAX_PLACE = 80
_FORBIDDEN = re.compile(r'[\u0000-\u001f\u007f"\\]+')
SIDES = get_args(Side)
GROUPS = get_args(Group)
_DEFAULTS: Mapping[str, object] = {
    "count": 1, "density": "unknown", "presence": "definite", "malignancy": "unknown", "change": "unknown",
    "scope": "any_focal_lesion",
}  # fmt: skip


class NotSayableError(ValueError):
    """What is known of a report cannot be said in an answer.

    Args:
        code: why.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def answer_text(answer: Mapping[str, Any]) -> str:
    """The answer as a model writes it: one line, no spaces, in the order of the schema.

    >>> answer_text({"lesions": [], "free": []})
    '{"lesions":[],"free":[]}'
    """
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":"))


def answer_of_record(record: ReportRecord, prepared: Prepared) -> dict[str, Any]:
    """The answer that stands for a record.

    Args:
        record: what is known of the report, with its evidence.
        prepared: the report.

    Raises:
        NotSayableError: something of it cannot be said.
    """
    groups = dict.fromkeys(lesion.group_id for lesion in record.lesions if lesion.group_id is not None)
    if len(groups) > len(GROUPS):
        raise NotSayableError("too_many_lesions")
    letters = dict(zip(groups, GROUPS, strict=False))
    lesions = [_lesion(lesion, prepared, letters) for lesion in record.lesions]
    return built_answer(lesions, _free(record.organs, prepared), prepared)


def built_answer(
    lesions: list[dict[str, Any]], free: Iterable[dict[str, Any]], prepared: Prepared
) -> dict[str, Any]:
    """An answer of its entries; those of one quote on several organs become one.

    Raises:
        NotSayableError: there are more than an answer holds.
    """
    merged: dict[tuple[Any, ...], dict[str, Any]] = {}
    for entry in free:
        key = (entry["quote"], entry.get("side"), entry.get("scope"))
        held = merged.setdefault(key, {**entry, "organs": []})
        held["organs"] += [name for name in entry["organs"] if name not in held["organs"]]
    if (
        len(lesions) > MAX_LESIONS
        or len(merged) > MAX_FREE
        or any(len(e["organs"]) > 12 for e in merged.values())
    ):
        raise NotSayableError("too_many_lesions")
    place = prepared.report.text.find
    return {
        "lesions": [_ordered(lesion, _LESION_KEYS) for lesion in lesions],
        "free": [
            _ordered(entry, _FREE_KEYS) for entry in sorted(merged.values(), key=lambda e: place(e["quote"]))
        ],
    }


_LESION_KEYS = (
    "quote", "organ", "place", "side", "kind", "name", "size", "prior", "count", "role", "group", "density",
    "presence", "malignancy", "change",
)  # fmt: skip
_FREE_KEYS = ("quote", "organs", "side", "scope")


def _ordered(entry: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Keys in the order of the schema, without those that say nothing."""
    return {
        key: entry[key]
        for key in keys
        if entry.get(key) not in (None, [], ()) and entry[key] != _DEFAULTS.get(key)
    }


def _lesion(lesion: Lesion, prepared: Prepared, letters: Mapping[str, str]) -> dict[str, Any]:
    quote, start = _quote_of(lesion.evidence, prepared.report.text)
    many = lesion.count is None or lesion.count > MAX_COUNT
    return {
        "quote": quote,
        "organ": lesion.organ,
        "place": quoted_words(lesion.location_text, prepared, start) if lesion.parts else None,
        "side": lesion.laterality if lesion.laterality in SIDES else None,
        "kind": lesion.kind,
        "name": quoted_words(lesion.diagnosis_text, prepared, start),
        "size": _sizes(lesion, prepared),
        "prior": _priors(lesion, prepared, start),
        "count": "multiple" if many else lesion.count,
        "role": None if lesion.group_role == "individual" else lesion.group_role,
        "group": letters.get(lesion.group_id or ""),
        "density": lesion.attenuation,
        "presence": lesion.presence,
        "malignancy": lesion.malignancy,
        "change": lesion.change,
    }


def _quote_of(evidence: Sequence[Evidence], text: str) -> tuple[str, int]:
    """The shortest stretch with the word for the lesion, and with its size and density where that is short enough."""
    home = next((quote for quote in evidence if quote.field in {"lesion", "status"}), None)
    if home is None:
        raise NotSayableError("no_evidence")
    inside = [q for q in evidence if home.start <= q.start and q.end <= home.end and q is not home]
    for wanted in ({"kind", "diameters_mm", "attenuation", "diagnosis"}, {"kind", "diameters_mm"}, {"kind"}):
        chosen = [q for q in inside if q.field in wanted]
        if any(q.field == "kind" for q in chosen):
            start, end = min(q.start for q in chosen), max(q.end for q in chosen)
            if _fits(text[start:end]):
                return text[start:end], start
    return shortened(text, home.start, home.end)


def shortened(text: str, start: int, end: int) -> tuple[str, int]:
    """The beginning of a stretch of the report as far as it can be quoted, and where it starts.

    Raises:
        NotSayableError: nothing of it can.
    """
    for part in _FORBIDDEN.split(text[start:end]):
        words = part.split()
        if len("".join(words)) < 4:
            continue
        first = text.index(part, start) + len(part) - len(part.lstrip())
        for number in range(min(len(words), MAX_WORDS), 0, -1):
            found = locate(text[first:end], " ".join(words[:number]))
            if found is not None and _fits(text[first + found[0] : first + found[1]]):
                return text[first + found[0] : first + found[1]].rstrip(" .;,:"), first + found[0]
    raise NotSayableError("no_quote")


def _fits(words: str) -> bool:
    return 4 <= len(words) <= MAX_QUOTE and len(words.split()) <= MAX_WORDS and not _FORBIDDEN.search(words)


def quoted_words(words: str | None, prepared: Prepared, near: int) -> str | None:
    """Words of a place or a diagnosis as the report has them; None where it does not have them in one piece."""
    found = locate(prepared.report.text, words, near=near) if words else None
    if found is None:
        return None
    text = prepared.report.text[found[0] : found[1]]
    return text if 2 <= len(text) <= _MAX_PLACE and not _FORBIDDEN.search(text) else None


def _sizes(lesion: Lesion, prepared: Prepared) -> list[str]:
    known = {m.id for m in prepared.measurements}
    if not set(lesion.measurement_ids) <= known or len(lesion.measurement_ids) > MAX_IDS:
        raise NotSayableError("size_not_in_scan")
    if lesion.diameters_mm and not lesion.measurement_ids:
        raise NotSayableError("size_not_in_scan")
    return list(lesion.measurement_ids)


def _priors(lesion: Lesion, prepared: Prepared, near: int) -> list[str]:
    """The nearest measurements of earlier examinations that hold the prior diameters."""
    left = list(lesion.prior_diameters_mm)
    chosen: list[Measurement] = []
    earlier = [m for m in prepared.measurements if m.tense == "prior"]
    for m in sorted(earlier, key=lambda m: abs(m.start - near)):
        if left and all(left.count(value) >= m.values_mm.count(value) for value in m.values_mm):
            chosen.append(m)
            for value in m.values_mm:
                left.remove(value)
    if left:
        raise NotSayableError("prior_not_in_scan")
    return [m.id for m in sorted(chosen, key=lambda m: m.start)]


def _free(organs: Mapping[str, OrganStatement], prepared: Prepared) -> Iterable[dict[str, Any]]:
    for name, statement in organs.items():
        sides = [s for s, said in statement.sides.items() if said.status == "explicitly_lesion_free"]
        if not sides and (statement.status != "explicitly_lesion_free" or statement.sides):
            continue
        side = sides[0] if len(sides) == 1 else None
        scope = statement.sides[sides[0]].scope if sides else statement.scope
        entry = {"organs": [name], "side": side, "scope": scope}
        yield entry | {
            "quote": words_of_free(entry, [(q.start, q.end) for q in statement.evidence], prepared)
        }


def words_of_free(entry: Mapping[str, Any], places: Sequence[tuple[int, int]], prepared: Prepared) -> str:
    """The words that call an organ free: of some places, and the sentences that name the organ, the first that do.

    Args:
        entry: the entry of the answer without its quote, of one organ.
        places: where the text is known to say it.
        prepared: the report.

    Raises:
        NotSayableError: no such words.
    """
    (organ,) = entry["organs"]
    text, side = prepared.report.text, entry.get("side")
    named = [s.sentence for s in prepared.reading.statements if organ in organs_named(s)]
    spans = list(dict.fromkeys((*places, *((s.start, s.end) for s in named))))
    if side is not None:  # words about this side, where there are some
        spans.sort(key=lambda span: re.search(rf"\b{side}\b", text[slice(*span)], re.IGNORECASE) is None)
    for start, end in spans:
        try:
            words, _ = shortened(text, start, end)
        except NotSayableError:
            continue
        trial = built_answer([], [{**entry, "quote": words}], prepared)
        if not check_answer(answer_text(trial), finish_reason="stop", prepared=prepared).errors:
            return words
    raise NotSayableError("free_without_words")
