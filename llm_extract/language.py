"""Is a report in English? The rules read nothing else, and must not take what they cannot read for "not mentioned".

Counting beats a statistical model here: radiology reports are terse, full of numbers and of Latin words that all
languages share. A report is refused only on positive evidence: another script, words of another language that
outnumber the English ones, or a text long enough in which hardly a word is English.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import yaml

LOOKED_AT_CHARS = 6_000
FOREIGN_LETTERS = 0.3
"""Share of letters outside of the Latin script from which a text is not English."""

ENOUGH_WORDS = 12
ENGLISH_SHARE = 0.06
"""A text of so many words with a smaller share of English ones is in a language that is not listed."""

FEW_WORDS = 3
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_ASCII_WORD = re.compile(r"[a-z]+(?:['-][a-z]+)*")
"""The same in lower-case ASCII, twice as fast."""
_ACCENTED = re.compile(r"[\u00df-\u00f6\u00f8-\u024f\u1e00-\u1eff]")
_ENGLISH_LOOKS = re.compile(
    r"(?:y|ed|ing|tion|sion|oma|omas|osis|oses|itis|asis|emia|ism|ic|al|ous|ive|able|ular|ment|ness|ity|ate|er|or|th|ck|sh"
    r"|ee|wh|gh)$"
)


@dataclass(frozen=True)
class LanguageWords:
    """Words by language.

    Args:
        english: English words that no other language writes in its reports.
        neutral: words of several languages, which speak for none.
        others: a word that no English report writes -> the other languages that do.
    """

    english: frozenset[str]
    neutral: frozenset[str]
    others: Mapping[str, tuple[str, ...]]


@lru_cache(maxsize=1)
def language_words() -> LanguageWords:
    """The table ``language.yaml``, and the words of the anatomy table, which are English too."""
    from llm_extract.anatomy import load_anatomy

    text = resources.files("llm_extract").joinpath("language.yaml").read_text("utf-8")
    table = yaml.safe_load(text)
    neutral = frozenset(table["english"].pop("neutral").split())
    english = frozenset(" ".join(table["english"].values()).split())
    others: dict[str, tuple[str, ...]] = {}
    for name, words in table["others"].items():
        for word in frozenset(words.split()) - english - neutral:
            others[word] = (*others.get(word, ()), name)
    anatomy = {
        word
        for organ in load_anatomy().organs.values()
        for phrase in (*organ.synonyms, *organ.adjectives)
        for word in phrase.lower().split()
    }
    return LanguageWords((english | anatomy) - neutral - set(others), neutral, others)


def is_english(text: str) -> bool:
    """Whether the rules may read this text.

    Args:
        text: a report; its first 6,000 characters decide.

    Returns:
        False only on positive evidence of another language; telegraphic English, abbreviations and numbers pass.

    >>> is_english("Liver: 3 cm mass seg 7. Spleen nl.")
    True
    >>> is_english("Leber: 3 cm große Raumforderung im Segment 7. Milz unauffällig.")
    False
    """
    sample = text[:LOOKED_AT_CHARS]
    words = Counter((_ASCII_WORD if sample.isascii() else _WORD).findall(sample.lower()))
    for letter in [word for word in words if len(word) == 1]:
        del words[letter]
    total = words.total()
    if not sample.isascii() and _foreign_share(sample) > FOREIGN_LETTERS:
        return False
    table = language_words()
    english = sum(number for word, number in words.items() if word in table.english)
    if _another_language(words, table, english):
        return False
    if total >= ENOUGH_WORDS:
        shared = sum(number for word, number in words.items() if word in table.neutral)
        return (english + shared) / total >= ENGLISH_SHARE
    return total < FEW_WORDS or english > 0 or any(_may_be_english(word, table) for word in words)


def _another_language(words: Mapping[str, int], table: LanguageWords, english: int) -> bool:
    """Words of one other language, or accented words, that outnumber the English ones."""
    found: dict[str, list[str]] = {}
    for word in words.keys() & table.others.keys():
        for name in table.others[word]:
            found.setdefault(name, []).append(word)
    for theirs in found.values():
        speaks = len(theirs) >= 2 or any(len(word) > 3 for word in theirs)
        if speaks and sum(words[word] for word in theirs) > english:
            return True
    accented = (word for word in words if not word.isascii() and _ACCENTED.search(word))
    return sum(words[word] for word in accented) > english


def _may_be_english(word: str, table: LanguageWords) -> bool:
    """Of a text without a single known word: abbreviations, shared words and English endings leave it readable."""
    return len(word) <= 4 or word in table.neutral or _ENGLISH_LOOKS.search(word) is not None


def _foreign_share(text: str) -> float:
    """Share of letters beyond the Latin blocks (Greek, Cyrillic, Arabic, Chinese …)."""
    letters = [character for character in text if character.isalpha()]
    foreign = sum(character > "\u024f" and not "\u1e00" <= character <= "\u1eff" for character in letters)
    return foreign / len(letters) if letters else 0.0
