"""The words that a released record may hold: those of the package's own lists, never words of a report."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml

from llm_extract.anatomy import Anatomy
from llm_extract.backends import BACKENDS, MODEL_BACKENDS

REGIONS = frozenset({"head", "neck", "chest", "abdomen", "pelvis"})
MALIGNANCY_BASES = frozenset(
    {"cyst", "diagnosis", "differential", "pathology", "score", "stated", "suspected"}
)
SCORE_SYSTEMS = (
    "LI-RADS", "LUNG-RADS", "PI-RADS", "TI-RADS", "BI-RADS", "O-RADS", "C-RADS", "BOSNIAK", "GLEASON", "FUHRMAN",
    "ISUP", "DEAUVILLE", "CHILD-PUGH", "MELD", "FLEISCHNER",
)  # fmt: skip
SCORE_VALUE = re.compile(
    r"\d{1,2}[A-Z]?|[1-5]\s?\+\s?[1-5](?:\s?=\s?\d{1,2})?|I{1,3}F?|IV|M|TIV|TR[1-5]", re.IGNORECASE
)
HASH = re.compile(r"[0-9a-f]{64}")
VERSION = re.compile(r"\d{1,4}(?:\.\d{1,4}){0,3}")


@dataclass(frozen=True)
class Vocabulary:
    """Closed lists of words.

    Args:
        organs, parts: of the table of organs.
        diagnoses, signs, procedures: codes of the rules' word lists.
        backends: names of the package's backends.
    """

    organs: frozenset[str]
    parts: frozenset[str]
    diagnoses: frozenset[str]
    signs: frozenset[str]
    procedures: frozenset[str]
    backends: frozenset[str]


def vocabulary(anatomy: Anatomy) -> Vocabulary:
    """The words that go with a table of organs."""
    lists = [_lexicon(name) for name in ("lexicon.yaml", "lexicon_pathology.yaml")]
    return Vocabulary(
        organs=frozenset(anatomy.organs),
        parts=frozenset(name for organ in anatomy.organs.values() for name in organ.parts),
        diagnoses=frozenset(_values(lists, "findings", "diagnosis")),
        signs=frozenset(_values(lists, "signs", "sign")),
        procedures=frozenset(_values(lists, "surgery", "procedure")),
        backends=frozenset({*BACKENDS, *MODEL_BACKENDS}),
    )


def score_system(name: str) -> str | None:
    """The name of a standard system as the list has it; None where it has none.

    >>> score_system("li-rads"), score_system("Dr. Who's")
    ('LI-RADS', None)
    """
    wanted = re.sub(r"[\s-]", "", name).upper()
    return next((system for system in SCORE_SYSTEMS if system.replace("-", "") == wanted), None)


def _lexicon(name: str) -> Mapping[str, Any]:
    text = resources.files("llm_extract.rules").joinpath(name).read_text("utf-8")
    value: Mapping[str, Any] = yaml.safe_load(text)
    return value


def _values(lists: list[Mapping[str, Any]], section: str, key: str) -> Iterator[str]:
    for words in lists:
        yield from (item[key] for item in words.get(section, ()) if item.get(key))
