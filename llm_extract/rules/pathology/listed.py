"""Lists of sites under one statement: "Metastatic carcinoma to: a. ...", "The following are free of tumor: ..."."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from llm_extract.rules.lexicon import Finding, Mark
from llm_extract.rules.locations import SIDELESS, Location, resolve
from llm_extract.rules.making import Denial
from llm_extract.rules.mentions import Mention, place_marks
from llm_extract.rules.pathology.headings import organs_of
from llm_extract.rules.pathology.nodes import counted_nodes
from llm_extract.rules.pathology.placing import PlaceReader
from llm_extract.rules.pathology.sightings import Sighting
from llm_extract.rules.pathology.specimens import Specimen
from llm_extract.rules.statements import Statement

_SPREAD_TO = re.compile(
    r"\b(?:carcinoma|adenocarcinoma|tumou?rs?|metasta\w+|implants?|deposits?|sarcoma|melanoma)\b[^:;]{0,60}"
    r"\b(?:to|in|into|on|involving)(?:\sthe following)?(?:\s(?:sites|specimens|organs|areas))?\s?:\s{0,3}$",
    re.IGNORECASE,
)
_FREE = re.compile(
    r"\bfollowing\b[^:]{0,40}\b(?:free of|negative for|uninvolved by|without)\s(?:\w+\s){0,2}"
    r"(?:tumou?r|carcinoma|malignan\w+|neoplas\w+|metasta\w+)\s?:\s{0,3}$",
    re.IGNORECASE,
)
_ITEM = re.compile(r"\W{0,4}(?:(?P<label>[A-Za-z]|\d{1,2})\s?[.)]{1,2}\s{0,3}(?!\d)|[-*]\s{0,2})(?=\S)")
_NONE = re.compile(
    r"(?:\b(?:no|negative|free|uninvolved|benign|not)|without|(?<!\d)0\s?/\s?\d{1,3})\b", re.IGNORECASE
)
_EXCISED = re.compile(r"\b(?:biops\w+|excision|resection|\w+ectomy|dissection)\b[^:]{0,40}:", re.IGNORECASE)
_REMARK = re.compile(r"\W{0,2}\(")
_INVOLVING = re.compile(r"\binvolv(?:ing|es|ement of)\b", re.IGNORECASE)
_MAX_ITEMS = 15
_MAX_ITEM = 160
"""Characters of a site; a longer item is a statement of its own."""


@dataclass(slots=True)
class ListReader(PlaceReader):
    """Takes the sites that one statement lists, a lesion for each."""

    _listed: set[int] = field(default_factory=set)

    def _read_list(self, statement: Statement) -> None:
        """Reads the items below a statement that ends with what they have in common."""
        if statement.sentence.section == "gross" or not statement.text.rstrip().endswith(":"):
            return
        spread = _SPREAD_TO.search(statement.text)
        if spread is not None and not _NONE.search(statement.text[: spread.start()][-40:]):
            for item in self._items(statement):
                self._read_listed_site(item)
        elif _FREE.search(statement.text):
            for item in self._items(statement):
                self._deny_listed_site(item)

    def _items(self, statement: Statement) -> list[Statement]:
        """The items of the list; remarks in brackets between them belong to it."""
        items: list[Statement] = []
        for index in range(self._index + 1, min(self._index + 1 + 2 * _MAX_ITEMS, len(self._assigned))):
            one = self.reading.statements[index]
            if one.sentence.section != statement.sentence.section or len(items) >= _MAX_ITEMS:
                break
            if not (_ITEM.match(one.text) and len(one.text) < _MAX_ITEM) or one.text.rstrip().endswith(":"):
                if items and _REMARK.match(one.text):
                    self._listed.add(index)
                    continue
                break
            if _EXCISED.search(one.text) or (items and not _follows(items[-1], one)):
                break
            items.append(one)
            self._listed.add(index)
        return items

    def _place_of(self, item: Statement) -> tuple[tuple[str, ...], Location, Specimen | None]:
        """Organs that an item names, else the one that its letter stands for, and where in them it lies."""
        match = _ITEM.match(item.text)
        label = match["label"] if match is not None else None
        known = next((s for s in self._assigned if s is not None and label and s.label == label), None)
        organs = organs_of(item.marks)
        if not organs:
            return (known.organs, known.location, known) if known is not None else ((), Location(), None)
        organ = organs[0]
        place = resolve(
            self.reading.text, place_marks(item.marks), (), anatomy=self.anatomy, head=None, topic=(organ,),
            inherited=organ,
        )  # fmt: skip
        sides = {m.value for m in item.of("side")} & {"left", "right"}
        side = next(iter(sides)) if len(sides) == 1 and organ not in SIDELESS else None
        parts = place.parts if place.organ == organ else ()
        return organs, replace(place, organ=organ, parts=parts, laterality=side), known

    def _read_listed_site(self, item: Statement) -> None:
        if _NONE.search(item.text):
            return
        organs, place, known = self._place_of(item)
        if not organs:
            return
        organ = "lymph_node" if "lymph_node" in organs else place.organ or organs[0]
        finding = Finding("metastasis", "metastasis", "malignant", organ=organ)
        span = (item.start, item.start + len(item.text))
        mark = Mark(*span, "finding", finding)
        made = Mention(
            mark, organ, replace(place, organ=organ), item, span,
            kind="metastasis", diagnosis="metastasis", malignancy="malignant",
        )  # fmt: skip
        made.malignancy_basis = "pathology"
        number = counted_nodes(item.text) if organ == "lymph_node" else 1
        made.count, made.count_kind = (number, "exact") if number else (None, "multiple_unknown")
        made.spans.append(("kind", *span))
        label = known.label if known is not None else f"item at {item.start}"
        specimen = Specimen(label, organ, (organ,), made.location)
        self._sightings.append(Sighting(made, specimen, item.sentence.section))

    def _spread_over(self, stated: Sequence[Mention]) -> None:
        """Reads "serous carcinoma involving both ovaries, omentum and the uterine serosa": one lesion an organ."""
        if len(stated) != 1 or stated[0].statement.sentence.section == "gross":
            return
        made = stated[0]
        statement, head = made.statement, made.head
        if (
            self._main != "ovary"
            or made.malignancy != "malignant"
            or head is None
            or "involv" not in statement.low
        ):
            return
        verb = _INVOLVING.search(statement.text, head.end - statement.start, made.span[1] - statement.start)
        places = [
            m
            for m in statement.marks
            if m.category == "place"
            and verb is not None
            and statement.start + verb.end() <= m.start < made.span[1]
            and m.value.organ not in {None, "other", "vessel", "lymph_node", "soft_tissue"}
        ]
        organs = tuple(
            dict.fromkeys(m.value.organ for m in places if not m.value.adjective or _layered(m, statement))
        )
        if len(organs) < 2 or made.sizes:
            return
        for organ in (o for o in organs if o != "ovary"):
            own = [m for m in places if m.value.organ == organ]
            place = resolve(
                self.reading.text, own, (), anatomy=self.anatomy, head=None, topic=(organ,), inherited=organ
            )  # fmt: skip
            parts = place.parts if organ == "peritoneum" else ()
            spread = replace(
                made, organ=organ, location=replace(place, organ=organ, parts=parts, laterality=None)
            )
            spread.kind, spread.diagnosis, spread.count, spread.count_kind = (
                "metastasis",
                "metastasis",
                1,
                "exact",
            )
            spread.spans = list(made.spans)
            self.mentions.append(spread)
        if "ovary" not in organs:
            self.mentions.remove(made)
        elif made.organ != "ovary":
            made.organ, made.location, made.diagnosis = "ovary", Location("ovary"), "ovarian_cancer"
            made.kind = "tumor"
            self._number(made)

    def _deny_listed_site(self, item: Statement) -> None:
        organs, place, _ = self._place_of(item)
        named = tuple(o for o in organs if o not in {"vessel", "other"})
        if named:
            mark = Mark(item.start, item.start + len(item.text), "finding", Finding("tumor"))
            whole = replace(place, parts=())
            self.denials.append(Denial(Finding("tumor"), mark, item, whole, named, no_new=False))


def _layered(mark: Mark, statement: Statement) -> bool:
    """True for "uterine serosa", in which the adjective names the organ."""
    return re.match(r"\s(?:serosa|surface|wall)\b", statement.low[mark.end - statement.start :]) is not None


def _follows(last: Statement, one: Statement) -> bool:
    """True if two items bear the same kind of mark: small letters, capitals, numbers or dashes."""
    marks = [_ITEM.match(s.text) for s in (last, one)]
    labels = [m["label"] if m is not None else None for m in marks]
    kinds = [
        None if x is None else ("digit" if x.isdigit() else "upper" if x.isupper() else "lower")
        for x in labels
    ]
    return kinds[0] == kinds[1]
