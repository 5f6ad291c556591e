"""Words that outrank the organ and the parts of a specimen's heading, and words that are no place of a tumour."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from llm_extract.anatomy import Anatomy
from llm_extract.rules.lexicon import Mark
from llm_extract.rules.locations import WEAK, Location
from llm_extract.rules.mentions import Mention
from llm_extract.rules.pathology.specimens import Specimen
from llm_extract.rules.statements import Statement

_LOBES = {
    "right": "liver_right_lobe", "left": "liver_left_lobe", "left lateral": "liver_left_lateral",
    "right anterior": "liver_right_anterior", "right posterior": "liver_right_posterior",
}  # fmt: skip
_LOBE = re.compile(
    r"\s{0,2},?\s{1,2}(?P<lobe>(?:left\slateral|right\s(?:anterior|posterior)|right|left))\b"
    r"(?!\s(?:and|kidney|adrenal|colon|upper|lower|side))",
    re.IGNORECASE,
)
_RIGHT_COLON = re.compile(r"right\s{1,3}(?:hemi)?colon", re.IGNORECASE)
_DUCT = re.compile(r"\b(?:ureter|urethr)\w*", re.IGNORECASE)
_TUBE = re.compile(r"(?:fallopian\s|uterine\s)?(?:tubes?|oviducts?)|salpin\w+|(?:para)?tubal", re.IGNORECASE)
_FROM_DUCT = re.compile(r"\b(?:aris\w+|originat\w+|emanat\w+)\s(?:from|in)\s(?:the\s)?$", re.IGNORECASE)
_FAT = re.compile(
    r"[^.;\n]{0,12}(?:[.]\s{0,2}\)\s{0,2})?\bin\s(?:the\s)?(?:[\w-]+\s){0,3}(?:adipose|fatty|fibroadipose|connective|soft)"
    r"\s?tissues?\b",
    re.IGNORECASE,
)
_NEXT_ITEM = re.compile(r"[,;]\s{0,2}\n\s{0,4}(?:[A-Z]\s{0,1}[.)]\s?)?$")
_OPENING = re.compile(
    r"\W{0,4}(?:(?:[A-Z]|\d{1,2})\s?[.):]{1,2}\s{0,2})?[\"“]?(?:the\s|an?\s|some\s|(?:fatty|adipose)\s)?",
    re.IGNORECASE,
)
_HOLDS = re.compile(
    r"\b(?:with|contain\w*|show\w*|reveal\w*|ha[sd]|holds?|replaced|including)\b", re.IGNORECASE
)
_IT_HOLDS = re.compile(
    r"\W{0,3}(?:it|this|which)\s(?:also\s)?(?:contain\w*|holds?|shows?|ha[sd]|bears?|reveals?|harbou?rs?|is\s(?:replaced|occupied))\b",
    re.IGNORECASE,
)
_CLAUSE_OPENS = re.compile(r"(?:(?:the|left|right|attached)\s|\W){0,6}", re.IGNORECASE)
_HOLLOW = frozenset({"duodenum", "stomach", "small_bowel", "colon", "esophagus"})
_OPENED = re.compile(r"\b(?:open(?:s|ed|ing)|mucosa\w*|folds?|lumen)\b", re.IGNORECASE)
_OPENED_BEFORE = 6
"""Statements before a polyp in which the bowel it lies in is described."""


def names_own_organ(made: Mention, text: str, *, anatomy: Anatomy) -> bool:
    """True for a benign name that says where it lies, as "adrenal cortical adenoma"; a cancer's says its origin."""
    mark = made.head
    organ = mark.value.organ if mark is not None and mark.category == "finding" else None
    if mark is None or organ is None or organ in WEAK or organ not in anatomy.organs:
        return False
    if made.malignancy != "benign" and made.kind not in {"cyst", "polyp"}:
        return False
    word = text[mark.start : mark.end].lower()
    entry = anatomy.organs[organ]
    return any(
        word.startswith(f"{name} ") or f" {name} " in word for name in (*entry.adjectives, *entry.synonyms)
    )


def lobe_of(place: Location, text: str, *, anatomy: Anatomy) -> Location:
    """Reads "Liver, right, partial hepatectomy": the side behind the organ of a heading is its lobe.

    The right colon of a heading is what was taken out, of which the ascending colon is the middle.
    """
    if place.parts == ("colon_ascending",) and any(_RIGHT_COLON.fullmatch(text[a:b]) for a, b in place.spans):
        return replace(
            place, parts=("colon_cecum", "colon_ascending", "colon_hepatic_flexure"), relation="one_of"
        )
    if place.organ != "liver" or place.parts:
        return place
    for _, end in place.spans:
        match = _LOBE.match(text, end)
        name = _LOBES.get(" ".join(match["lobe"].lower().split())) if match is not None else None
        if match is not None and name is not None:
            parts = anatomy.expand("liver", (name,))
            return replace(place, parts=parts, relation="one_of", spans=(*place.spans, match.span("lobe")))
    return place


def in_urinary_duct(place: Location, text: str) -> bool:
    """True for a heading that names a ureter or the urethra, whose cancer is none of the bladder."""
    return place.organ == "other" and any(_DUCT.search(text[start:end]) for start, end in place.spans)


def is_of_tube(made: Mention, text: str) -> bool:
    """True if all that says where a tumour lies is the fallopian tube."""
    spans = made.location.spans
    return made.organ == "ovary" and bool(spans) and all(_TUBE.fullmatch(text[a:b]) for a, b in spans)


def is_from_duct(made: Mention, text: str) -> bool:
    """True for a measured nodule of the liver that arises from a duct of it."""
    spans = made.location.spans
    if made.organ != "bile_duct" or not made.sizes or not spans:
        return False
    return all(_FROM_DUCT.search(text[max(0, start - 30) : start]) for start, _ in spans)


def is_in_fat(made: Mention, text: str) -> bool:
    """True for "leiomyoma (8 mm) in the perivesical adipose tissue": it lies in no organ."""
    return made.malignancy == "benign" and made.head is not None and _fat_follows(made.head, text)


def _fat_follows(mark: Mark, text: str) -> bool:
    behind = re.match(r"\s?\([^()\n]{0,16}\)\s?", text[mark.end : mark.end + 24])
    start = mark.end + (behind.end() if behind is not None else 0)
    return _FAT.match(text, start, start + 90) is not None


def names_next_item(made: Mention, text: str) -> bool:
    """True if a place behind a tumour only begins the next item of a list that lost its marks."""
    head = made.head
    if head is None:
        return False
    return any(
        start > head.end
        and _NEXT_ITEM.search(text[max(0, start - 12) : start]) is not None
        and text[end : end + 3].lstrip()[:1] in {",", ":"}
        for start, end in made.location.spans
    )


def bowel_described(statements: Sequence[Statement], index: int) -> str | None:
    """The hollow organ that a gross description was speaking of last, which a polyp without a place lies in."""
    last: str | None = None
    for statement in reversed(statements[max(0, index - _OPENED_BEFORE) : index + 1]):
        if statement.sentence.section != "gross":
            break
        named = {m.value.organ for m in statement.marks if m.category == "place"} & _HOLLOW
        if len(named) == 1:
            organ: str = next(iter(named))
            if _OPENED.search(statement.text):
                return organ
            last = last or organ
    return last


def organ_spoken_of(made: Mention, statements: Sequence[Statement], index: int) -> Location | None:
    """Reads "Left ovary 4 x 3 cm. It contains a cyst": the pronoun is what the sentence before opens with.

    Args:
        made: what is said of it.
        statements: those of the report.
        index: the number of the one that holds the mention.
    """
    named = bool(made.location.spans) and made.organ not in WEAK
    if named or index == 0 or not _IT_HOLDS.match(made.statement.text):
        return None
    before = statements[index - 1]
    first = next((m for m in before.marks if m.category == "place"), None)
    if before.sentence.section != made.statement.sentence.section or first is None:
        return None
    organ = first.value.organ
    if organ in {None, "other", "vessel", *WEAK} or first.value.adjective or first.value.part:
        return None
    if _CLAUSE_OPENS.fullmatch(before.text[: first.start - before.start]) is None:
        return None
    sides = {m.value for m in before.marks if m.category == "side" and m.start < first.start} & {
        "left",
        "right",
    }
    return Location(
        organ, laterality=next(iter(sides)) if len(sides) == 1 else None, spans=((first.start, first.end),)
    )


def opening_organ(made: Mention, specimen: Specimen | None) -> str | None:
    """Reads "Omentum, 22 x 10 cm, with several nodules": a gross description without a heading names its organ."""
    statement = made.statement
    if specimen is not None or statement.sentence.section != "gross" or made.head is None:
        return None
    first = next((m for m in statement.marks if m.category == "place"), None)
    if first is None or first.value.organ in {None, "other", "vessel"} or first.value.adjective:
        return None
    opens = _OPENING.fullmatch(statement.text[: first.start - statement.start]) is not None
    between = statement.text[first.end - statement.start : max(0, made.head.start - statement.start)]
    return first.value.organ if opens and _HOLDS.search(between) and ":" not in between else None
