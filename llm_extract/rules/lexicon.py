"""The words the rules know, found in a report in one pass with spaCy's phrase matcher."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import yaml

from llm_extract.anatomy import Anatomy
from llm_extract.rules.spelling import Spelling

if TYPE_CHECKING:
    from spacy.tokens import Doc

_MAX_REMEMBERED = 200_000
_OPENING = re.compile(r"[^\w\s](?<!\w[^\w\s])(?=\w)")
_SOFT_BREAK = re.compile(r"\n(?<=[a-z,]\n)(?=[a-z])")


@dataclass(frozen=True, slots=True)
class Finding:
    """A noun that can be a lesion, with what the word itself settles."""

    kind: str
    diagnosis: str | None = None
    malignancy: str | None = None
    attenuation: str | None = None
    organ: str | None = None
    needs: str | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation that removes an organ or a part of it."""

    organ: str
    procedure: str
    extent: str
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """A word that names an organ, and perhaps a part of it.

    Args:
        organ: the organ, or None for a short part name that several organs share.
        part: part id; ``short`` names hold candidates instead.
        adjective: True for words such as "hepatic".
        candidates: (organ, part) pairs of a short name.
    """

    organ: str | None
    part: str | None = None
    adjective: bool = False
    candidates: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True, eq=False)
class Mark:
    """A known phrase in the text; not frozen, as that takes three times as long to make, and a report has hundreds.

    Args:
        start, end: code points.
        category: ``finding``, ``excluded``, ``place``, ``operation``, ``sign``, ``side``, an attribute or a cue.
        value: what the phrase means.
        plural: True if the phrase was found in its plural form.
    """

    start: int
    end: int
    category: str
    value: Any
    plural: bool = False


_START = attrgetter("start")


@dataclass(slots=True)
class _Entry:
    category: str
    value: Any
    plural: bool


@dataclass(slots=True)
class Marks:
    """The marks of a report in text order."""

    items: list[Mark]
    _starts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._starts = [mark.start for mark in self.items]

    def between(self, start: int, end: int) -> list[Mark]:
        """Marks that start in ``start:end``."""
        return self.items[bisect_left(self._starts, start) : bisect_left(self._starts, end)]


class Lexicon:
    """Finds the known phrases of a report.

    Args:
        anatomy: table of organs and parts whose words are to be found.
    """

    def __init__(self, anatomy: Anatomy) -> None:
        import spacy
        from spacy.attrs import LOWER, NORM
        from spacy.matcher import PhraseMatcher
        from spacy.tokenizer import Tokenizer

        self._paired = frozenset(name for name, organ in anatomy.organs.items() if organ.paired)
        self.nlp = spacy.blank("en")
        # the default tokenizer takes quadratic time over runs of punctuation; this one is linear
        self.nlp.tokenizer = Tokenizer(self.nlp.vocab, infix_finditer=re.compile(r"[^\w\s]").finditer)
        # of what spaCy works out for each new word, such as whether it looks like an address, two things are read here
        self.nlp.vocab.lex_attr_getters = {
            name: of_word
            for name, of_word in self.nlp.vocab.lex_attr_getters.items()
            if name in {LOWER, NORM}
        }
        self.nlp.max_length = 1_000_000
        self._matcher = PhraseMatcher(self.nlp.vocab, attr="NORM")
        self._entries: dict[int, list[_Entry]] = {}
        phrases: dict[str, list[_Entry]] = {}
        words = _read_words()
        for phrase, entry in _entries(anatomy, words):
            held = phrases.setdefault(phrase, [])
            if not any(e.category == entry.category and e.value == entry.value for e in held):
                held.append(entry)
        for phrase, held in phrases.items():
            key = f"p{len(self._entries)}"
            self._matcher.add(key, [self.nlp.make_doc(phrase)])
            self._entries[self.nlp.vocab.strings[key]] = held
        known = {word for phrase in phrases for word in phrase.split() if word.isalpha()}
        self._right: set[int] = set()
        self._mended: dict[int, str] = {}
        self._spelling = Spelling(known, keep=words["real_words"].split())

    def _mend(self, key: int) -> str | None:
        """The correction of a word, or None; remembered by the word's key."""
        held = self._mended.get(key)
        if held is not None:
            return held
        word = self.nlp.vocab.strings[key]
        corrected = self._spelling.correct(word)
        room = len(self._mended) + len(self._right) < _MAX_REMEMBERED
        if corrected == word:
            if room:
                self._right.add(key)
            return None
        if room:
            self._mended[key] = corrected
        return corrected

    def _tokens(self, text: str) -> tuple[Doc, Sequence[int]]:
        """Words of a text and where they start.

        An opening mark does not hide the word behind it, as in "(cyst?)", a wrapped line joins its words, and
        several blanks count as one.
        """
        plain = _SOFT_BREAK.sub(" ", _OPENING.sub(" ", text))
        doc = self.nlp.make_doc(plain)
        starts: list[int] = doc.to_array("IDX").tolist()
        if "  " not in text:
            return doc, starts
        from spacy.tokens import Doc as NewDoc

        ends = (start + length for start, length in zip(starts, doc.to_array("LENGTH").tolist(), strict=True))
        words = [(plain[start:end], start) for start, end in zip(starts, ends, strict=True)]
        kept = [(word, start) for word, start in words if word.strip(" ")]
        return NewDoc(self.nlp.vocab, words=[word for word, _ in kept]), [start for _, start in kept]

    def _lettered_side(self, text: str, mark: Mark) -> Mark | None:
        """The side in "L kidney" and "R adrenal nodule"; a capital letter alone before the name of a paired organ."""
        side = _LETTERS.get(text[max(0, mark.start - 2) : mark.start])
        if side is None or (mark.start > 2 and text[mark.start - 3] not in _BEFORE_LETTER):
            return None
        short = mark.category == "short"
        organs = {o for o, _ in mark.value.candidates} if short else {getattr(mark.value, "organ", None)}
        return Mark(mark.start - 2, mark.start - 1, "side", side) if organs & self._paired else None

    def find(self, text: str) -> Marks:
        """All known phrases, longest first where they overlap; one phrase may have several meanings."""
        doc, starts = self._tokens(text)
        table = doc.to_array(["LOWER", "LENGTH"])
        keys, lengths = table[:, 0].tolist(), table[:, 1].tolist()
        mended = {key: word for key in set(keys) - self._right if (word := self._mend(key)) is not None}
        for position, key in enumerate(keys) if mended else ():
            if key in mended:
                doc[position].norm_ = mended[key]
        spans = self._matcher(doc)
        spans.sort(key=lambda m: (m[1] - m[2], m[1]))
        taken = bytearray(len(doc))
        kept: list[Mark] = []
        seen: set[tuple[int, int]] = set()
        for key, first, last in spans:
            if (first, last) not in seen and 1 in taken[first:last]:
                continue
            seen.add((first, last))
            taken[first:last] = b"\1" * (last - first)
            start, end = starts[first], starts[last - 1] + lengths[last - 1]
            kept += [Mark(start, end, e.category, e.value, e.plural) for e in self._entries[key]]
        kept += [side for mark in kept if (side := self._lettered_side(text, mark)) is not None]
        kept.sort(key=_START)
        return Marks(kept)


@lru_cache(maxsize=1)
def _read_words() -> dict[str, Any]:
    table = _read_table("lexicon.yaml")
    pathology = _read_table("lexicon_pathology.yaml")
    return {**table, **{part: [*table[part], *pathology[part]] for part in ("findings", "excluded")}}


def _read_table(name: str) -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = resources.files("llm_extract.rules").joinpath(name).read_text("utf-8")
    table: dict[str, Any] = yaml.load(text, Loader=loader)  # noqa: S506 - both loaders are safe ones
    return table


def _entries(anatomy: Anatomy, words: dict[str, Any]) -> Iterator[tuple[str, _Entry]]:
    for item in words["findings"]:
        fields = {key: item.get(key) for key in ("diagnosis", "malignancy", "attenuation", "organ", "needs")}
        yield from _forms(item["words"], "finding", Finding(item["kind"], **fields))
    for phrases in words["excluded"]:
        yield from _forms(phrases, "excluded", None)
    for cue, phrases in words["cues"].items():
        category, value = ("side", cue) if cue in _SIDES else (cue, True)
        for phrase in phrases:
            for spelled in _spellings(phrase):
                yield spelled, _Entry(category, value, plural=False)
    for name, values in words["attributes"].items():
        pairs = values.items() if isinstance(values, dict) else [(True, values)]
        for value, phrases in pairs:
            for phrase in phrases:
                for spelled in _spellings(phrase):
                    yield spelled, _Entry(name, value, plural=False)
    for item in words["signs"]:
        yield from _forms(item["words"], "sign", (item["organ"], item["sign"]))
    for item in words["surgery"]:
        operation = Operation(
            item["organ"], item["procedure"], item["extent"], tuple(item.get("removed", ()))
        )
        yield from _forms([*item["words"], *_done_words(item["words"])], "operation", operation)
    yield from _places(anatomy)


def _done_words(phrases: Sequence[str]) -> Iterator[str]:
    """Who had an operation: "nephrectomized"; what follows it: "postcholecystectomy"."""
    for phrase in phrases:
        if phrase.endswith("ectomy"):
            yield from (f"{phrase[:-1]}ized", f"{phrase[:-1]}ised")
            if " " not in phrase:
                yield f"post{phrase}"


_LETTERS, _BEFORE_LETTER = {"L ": "left", "R ": "right"}, frozenset(" \n\t(,.;:")
_SIDES = frozenset({"left", "right", "bilateral", "midline"})


def _places(anatomy: Anatomy) -> Iterator[tuple[str, _Entry]]:
    short: dict[str, list[tuple[str, str]]] = {}
    named: set[str] = set()
    for organ in anatomy.organs.values():
        for part in organ.parts.values():
            for phrase in part.synonyms:
                adjective = phrase in organ.adjectives
                named.add(phrase)
                yield from _forms([phrase], "place", Place(organ.name, part.name, adjective))
            for phrase in part.short:
                short.setdefault(phrase, []).append((organ.name, part.name))
    for organ in anatomy.organs.values():
        for phrase in organ.synonyms:
            if phrase not in named:
                yield from _forms([phrase], "place", Place(organ.name))
        for phrase in organ.adjectives:
            if phrase not in named:
                yield from _forms([phrase], "place", Place(organ.name, adjective=True))
    for phrase, candidates in short.items():
        yield from _forms([phrase], "short", Place(None, candidates=tuple(candidates)))


def _forms(phrases: Sequence[str], category: str, value: Any) -> Iterator[tuple[str, _Entry]]:
    for phrase in phrases:
        for spelled in _spellings(phrase):
            yield spelled, _Entry(category, value, plural=_is_plural(spelled))
            for plural in _plurals(spelled):
                yield plural, _Entry(category, value, plural=True)


_BRITISH = (
    ("tumor", "tumour"),
    ("hemangio", "haemangio"),
    ("hemorrhag", "haemorrhag"),
    ("esophag", "oesophag"),
)


def _spellings(phrase: str) -> Iterable[str]:
    """A phrase as it is, without its hyphens, and in British spelling."""
    british = phrase
    for american, other in _BRITISH:
        if other not in british:
            british = british.replace(american, other)
    for spelled in (phrase, british) if british != phrase else (phrase,):
        yield spelled
        if "-" in spelled:
            yield spelled.replace("-", " ")


_PLURAL_ENDINGS = ("ies", "ases", "oses", "ses", "foci", "mata", "mets", "densities", "leiomyomata")


_MANY = ("polycystic", "adpkd", "renal cystic disease", "cystic kidney disease")
"""Words that stand for many lesions whatever their ending."""


def _is_plural(phrase: str) -> bool:
    if phrase.startswith(_MANY):
        return True
    last = phrase.partition(" of ")[0].rsplit(" ", 1)[-1]  # "adenocarcinoma of the pancreas" is one
    return last.endswith(_PLURAL_ENDINGS) or (last.endswith("s") and not last.endswith(("ss", "us", "is")))


def _plurals(phrase: str) -> Iterator[str]:
    if _is_plural(phrase) or phrase.endswith(("disease", "ing", "carcinomatosis")):
        return
    if phrase.endswith(("sis",)):
        yield phrase[:-2] + "es"
    elif phrase.endswith(("s", "x", "ch")):
        yield phrase + "es"
    elif phrase.endswith("y") and phrase[-2:-1] not in "aeiou":
        yield phrase[:-1] + "ies"
    else:
        yield phrase + "s"
    if " of " in phrase:  # "head of pancreas" -> "heads of pancreas"
        first, rest = phrase.split(" ", 1)
        yield f"{first}s {rest}"
