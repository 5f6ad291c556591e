"""A gold answer as the answer that a language model should have given to the same report.

Gold files name organs, sizes and numbers; measurements and quotes are found for them in the report.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from llm_extract.chat.answer_schema import MAX_COUNT
from llm_extract.chat.preparation import Prepared
from llm_extract.gold import size_key
from llm_extract.handover.chat_answers import (
    GROUPS,
    SIDES,
    NotSayableError,
    built_answer,
    quoted_words,
    shortened,
    words_of_free,
)
from llm_extract.records import LesionKind, OrganStatement, ReportRecord

_KINDS = get_args(LesionKind)
_ORGANS = {"adrenal": "adrenal_gland"}


def answer_of_gold(value: Mapping[str, Any], prepared: Prepared) -> dict[str, Any]:
    """The answer that stands for a line of a gold file.

    Args:
        value: the line: ``findings`` and ``organs_negative``, or ``expected`` and ``organ_status``.
        prepared: the report.

    Raises:
        NotSayableError: something of it cannot be said.
    """
    items = _items(value)
    taken: set[str] = set()
    in_order = sorted(
        range(len(items)), key=lambda n: not items[n].get("diameters_mm")
    )  # an index before its group
    made = {n: _lesion(items[n], prepared, taken) | _role(items[n], items) for n in in_order}
    lesions = [made[n] for n in range(len(items))]
    return built_answer(lesions, [_free(name, prepared) for name in free_organs(value)], prepared)


def free_organs(value: Mapping[str, Any]) -> list[str]:
    """The organs that a line of a gold file calls free."""
    statuses = value.get("organ_status") or {}
    free = [name for name, said in statuses.items() if said.get("status") == "explicitly_lesion_free"]
    return list(dict.fromkeys(_ORGANS.get(name, name) for name in (*value.get("organs_negative", ()), *free)))


def says_the_gold(record: ReportRecord, value: Mapping[str, Any]) -> bool:
    """Whether the record of an answer has every size and every free organ of the gold answer, and no other free one."""
    found = [
        (lesion.organ, size_key(sizes))
        for lesion in record.lesions
        for sizes in (lesion.diameters_mm, (lesion.size_max_mm,) if lesion.size_max_mm else ())
    ]
    sized = [
        (_ORGANS.get(item["organ"], item["organ"]), size_key(tuple(item["diameters_mm"])))
        for item in _items(value)
        if item.get("diameters_mm")
    ]
    free = {name for name, said in record.organs.items() if said.status == "explicitly_lesion_free"}
    return all(each in found for each in sized) and free == set(free_organs(value))


def _items(value: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    items: Sequence[Mapping[str, Any]] = value["expected"] if "expected" in value else value["findings"]
    return items


def _role(item: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Place in a group that has an index or members; a group of its own has none."""
    names = [each[key] for each in items for key in ("index_of_group", "in_group") if each.get(key)]
    for key, role in (("index_of_group", "index"), ("in_group", "member"), ("group", "remainder")):
        name = item.get(key)
        if name in names:
            place = list(dict.fromkeys(names)).index(name)
            if place >= len(GROUPS):
                raise NotSayableError("too_many_lesions")
            return {"role": role, "group": GROUPS[place]}
    return {}


def _lesion(item: Mapping[str, Any], prepared: Prepared, taken: set[str]) -> dict[str, Any]:
    text = prepared.report.text
    start, end = _place(item, text)
    quote, start = shortened(text, start, end)
    kind = item.get("kind") or item.get("type")
    side = item.get("laterality")
    count = item.get("count")
    uncertain = "probable" if item.get("certainty") == "uncertain" else "definite"
    several = count is None or isinstance(count, str) or count > MAX_COUNT
    place = item.get("location")
    return {
        "quote": quote,
        "organ": _ORGANS.get(item["organ"], item["organ"]),
        "place": quoted_words(place, prepared, start) if isinstance(place, str) else None,
        "side": side if side in SIDES else None,
        "kind": kind if kind in _KINDS else "lesion",
        "size": _sizes(item.get("diameters_mm") or (), prepared, start, taken, tense="current")
        or _bound(item, prepared, start, taken),
        "prior": _sizes(item.get("prior_diameters_mm") or (), prepared, start, taken, tense="prior"),
        "count": "multiple" if several else count,
        "density": item.get("attenuation") or "unknown",
        "presence": item.get("presence") or uncertain,
        "malignancy": item.get("malignancy") or "unknown",
    }


def _place(item: Mapping[str, Any], text: str) -> tuple[int, int]:
    if item.get("evidence_span"):
        start, end = item["evidence_span"]
        return int(start), int(end)
    evidence = item.get("evidence") or ()
    if isinstance(evidence, str):
        start = text.find(evidence)  # it is there: the line was checked
        return start, start + len(evidence)
    places = [(int(quote["start"]), int(quote["end"])) for quote in evidence]
    quotes = [(start, end) for start, end in places if re.search("[a-z]{4}", text[start:end])]
    if not quotes:
        raise NotSayableError("no_evidence")
    return max(quotes, key=lambda place: place[1] - place[0])


def _sizes(
    sizes_mm: Sequence[float], prepared: Prepared, near: int, taken: set[str], *, tense: str
) -> list[str]:
    """The nearest measurement with these diameters that no other lesion has; of a group its largest will do."""
    if not sizes_mm:
        return []
    wanted = size_key(tuple(sizes_mm))
    of_tense = [
        m for m in prepared.measurements if (m.tense == "prior") == (tense == "prior") and m.id not in taken
    ]
    by_place = sorted(of_tense, key=lambda m: abs(m.start - near))
    exact = [m for m in by_place if size_key(m.values_mm) == wanted]
    largest = [m for m in by_place if size_key(m.values_mm)[:1] == wanted]
    for m in (*exact, *largest):
        taken.add(m.id)
        return [m.id]
    raise NotSayableError("prior_not_in_scan" if tense == "prior" else "size_not_in_scan")


def _bound(item: Mapping[str, Any], prepared: Prepared, near: int, taken: set[str]) -> list[str]:
    """The measurement that bounds a lesion without diameters, where it has one that is no other lesion's size."""
    bound = item.get("size_max_mm") or item.get("size_min_mm")
    try:
        return _sizes([bound], prepared, near, taken, tense="current") if bound else []
    except NotSayableError:
        return []


def _free(organ: str, prepared: Prepared) -> dict[str, Any]:
    """A gold answer names the organ only: the words are those of the rules, else of a sentence that names it."""
    known = prepared.rules.organs.get(organ, OrganStatement())
    free = known.status == "explicitly_lesion_free"
    entry = {"organs": [organ], "scope": known.scope if free else None}
    places = [(quote.start, quote.end) for quote in known.evidence] if free else []
    return entry | {"quote": words_of_free(entry, places, prepared)}
