"""The parts of an organ that a gold answer means by its words or names for a place."""

from __future__ import annotations

import re
from collections.abc import Collection

from llm_extract.anatomy import Anatomy
from llm_extract.gold import Finding

_SEGMENT = re.compile(r"\bsegments? ?([1-8])(?: ?(?:/|,|-|and) ?([1-8]))?\b")


def gold_parts(finding: Finding, anatomy: Anatomy) -> frozenset[str]:
    """The part ids that a gold finding states, by name or in words; names of several parts are expanded.

    Args:
        finding: a finding of an answer.
        anatomy: table of organs.

    Returns:
        Part ids without further ones in them; empty where the answer states no part that the table knows.
    """
    organ = anatomy.organs.get(finding.organ)
    if organ is None:
        return frozenset()
    named = {
        known for name in finding.parts for known in (name, f"{organ.name}_{name}") if known in organ.parts
    }
    return expanded(organ.name, named | _parts_in_words(finding.place, organ.name, anatomy), anatomy)


def expanded(organ: str, parts: Collection[str], anatomy: Anatomy) -> frozenset[str]:
    """Parts of an organ, a name that stands for several replaced by those."""
    return frozenset(anatomy.expand(organ, sorted(parts))) if organ in anatomy.organs else frozenset(parts)


def _parts_in_words(place: str, organ: str, anatomy: Anatomy) -> set[str]:
    """Longest phrase first, each word used once: "right upper lobe" is not also "upper lobe"."""
    words = place.lower()
    table = anatomy.organs[organ].parts
    phrases = [(phrase, name) for name, part in table.items() for phrase in (*part.synonyms, *part.short)]
    found: set[str] = set()
    for phrase, name in sorted(phrases, key=lambda item: -len(item[0])):
        pattern = rf"(?<!\w){re.escape(phrase)}(?!\w)"
        if re.search(pattern, words):
            found.add(name)
            words = re.sub(pattern, " ; ", words)
    for match in _SEGMENT.finditer(place.lower()):
        found |= {f"{organ}_segment_{number}" for number in match.groups() if number} & set(table)
    return found
