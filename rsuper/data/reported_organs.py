"""The masks that the regions of reported lesions depend on, without keeping every organ of a body apart."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
from numpy.typing import NDArray

from llm_extract.anatomy import SIDES, Anatomy
from rsuper.supervision.regions import other_organs

NEIGHBOURS = "all_other_organs"
"""Stands for the masks that are another organ to every reported one: regions ask only for their union."""


class ReportedOrgans:
    """Collects the masks of a case one by one; a segmenter gives a hundred of them, which do not fit into memory.

    Args:
        organs: organs with a reported lesion; without any, nothing is kept.
        names: all structures of the case.
        anatomy: the table of organs.
    """

    def __init__(self, organs: Collection[str], names: Iterable[str], anatomy: Anatomy) -> None:
        self.masks: dict[str, NDArray[np.bool_]] = {}
        present = tuple(names)
        others = [set(other_organs(present, anatomy, organ)) for organ in sorted(organs)]
        self._shared = set.intersection(*others) if others else set()
        self._own = {stem for organ in organs for stem in _files(organ, anatomy)}
        self._wanted = (set().union(*others) if others else set()) | self._own

    def add(self, name: str, mask: NDArray[np.bool_]) -> None:
        """Keep a mask, bool [D,H,W], if the regions depend on it."""
        if name in self._shared:
            union = self.masks.get(NEIGHBOURS)
            self.masks[NEIGHBOURS] = np.asarray(mask, dtype=bool).copy() if union is None else union | mask
        elif name in self._wanted:
            self.masks[name] = mask


def _files(organ: str, anatomy: Anatomy) -> set[str]:
    """Every file that may hold the organ, a side or a part of it."""
    entry = anatomy.organs[organ]
    files = {stem for part in entry.parts.values() for stem in part.structures}
    files.update(anatomy.organ_structures(organ), (organ, entry.class_name))
    files.update(f"{base}_{side}" for base in (organ, entry.class_name) for side in SIDES)
    return files
