"""The report writer's vocabulary, read from phrases.yaml, and how a template becomes a sentence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml

T = TypeVar("T")
_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_ARTICLE = re.compile(r"([Aa])~ (\S+)")
_COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@lru_cache(maxsize=1)
def phrase_book() -> dict[str, Any]:
    """The phrases by purpose."""
    return dict(yaml.safe_load(Path(__file__).with_name("phrases.yaml").read_text("utf-8")))


def pick(options: Sequence[T], rng: np.random.Generator) -> T:
    """One of the options, each as likely."""
    return options[int(rng.integers(len(options)))]


def choose(template: str, rng: np.random.Generator) -> str:
    """The template with each ``[a|b]`` replaced by one of its options."""
    return _CHOICE.sub(lambda match: pick(match.group(1).split("|"), rng), template)


def sentence(template: str, fields: dict[str, Any]) -> str:
    """Fill the fields in, fit the articles and start with a capital.

    >>> sentence("there is a~ {size} mass.", {"size": "8 mm"})
    'There is an 8 mm mass.'
    """
    return sentence_case(fit_articles(template.format(**fields)))


def fit_articles(text: str) -> str:
    """Replace ``a~`` by a or an, as the next word is spoken."""
    return _ARTICLE.sub(
        lambda m: f"{m.group(1)}{'n' if _starts_with_vowel(m.group(2)) else ''} {m.group(2)}", text
    )


def _starts_with_vowel(word: str) -> bool:
    number = re.match(r"\d+", word)
    if number:
        return number.group() in {"8", "11", "18"} or (number.group()[0] == "8" and len(number.group()) == 2)
    return word[:1].lower() in "aeiou"


def sentence_case(text: str) -> str:
    """The text with a capital at the start of each sentence that ends in a full stop and a space."""
    return text[:1].upper() + text[1:]


def plural(noun: str) -> str:
    """The plural of a lesion noun.

    >>> plural("focus"), plural("soft tissue mass")
    ('foci', 'soft tissue masses')
    """
    if noun.endswith("focus"):
        return noun[:-2] + "i"
    return noun + ("es" if noun.endswith("s") else "s")


def count_word(count: int) -> str:
    """A small number in words, a larger one in digits.

    >>> count_word(3), count_word(15)
    ('three', '15')
    """
    return _COUNTS[count] if count < len(_COUNTS) else str(count)
