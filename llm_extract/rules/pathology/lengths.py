"""Lengths of a pathology report that are a tumour's: no distances, no depth, nothing of the specimen."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from llm_extract.drafts import OrganDraft
from llm_extract.measurements import Measurement
from llm_extract.rules.heads import Head
from llm_extract.rules.lesions import LesionReader
from llm_extract.rules.lexicon import Finding, Mark
from llm_extract.rules.locations import Location
from llm_extract.rules.mentions import Mention
from llm_extract.rules.pathology import measured, wording
from llm_extract.rules.pathology.axes import depth_of, is_behind_feature
from llm_extract.rules.pathology.nodes import mentions_nodes
from llm_extract.rules.pathology.sightings import Sighting
from llm_extract.rules.pathology.specimens import Specimen
from llm_extract.rules.statements import Statement

_RANGES = re.compile(r"\b(?:rang\w+|var\w+|measur\w+)\s(?:in\s(?:size|diameter)\s)?from\s{1,2}$")
_UP_TO = re.compile(r"\s{0,3}(?:up\s)?to\s{1,3}")
_MAX_GAP = 40
"""Characters between two diameters of one tumour."""


@dataclass(slots=True)
class LengthReader(LesionReader):
    """Finds the size of a tumour beside its noun and under headings such as "Tumor size".

    Args:
        organs: what the report says of whole organs.
        on_organs: statements that may say something of an organ; those about margins do not.
    """

    organs: list[OrganDraft] = field(default_factory=list)
    on_organs: list[Statement] = field(default_factory=list)
    _assigned: list[Specimen | None] = field(default_factory=list)
    _sightings: list[Sighting] = field(default_factory=list)
    _main: str | None = None
    _side: str | None = None
    _decided: bool = False
    _sites: list[Location] = field(default_factory=list)
    _placed: tuple[int, Location] | None = None
    _foci: list[tuple[str, Statement, int, int]] = field(default_factory=list)

    def _paired(self, organ: str) -> bool:
        return organ in self.anatomy.organs and self.anatomy.organs[organ].paired

    def _sizes(
        self, statement: Statement, head: Head, inside: Sequence[Measurement]
    ) -> tuple[list[Measurement], list[Measurement]]:
        """Lengths of a stretch that are the tumour's: no distances, no depth, nothing of the specimen."""
        own, sure = [], []
        further = wording.FURTHER.search(statement.text) is not None  # of the tumour named before
        for m in () if further else inside:
            if measured.is_distance(statement, m):
                self.unused[m.id] = "margin"
            elif measured.is_tissue(statement, m):
                self.unused[m.id] = "specimen"
            elif measured.is_plain(statement, m, head) or is_behind_feature(statement, m, head):
                sure.append(m)
            else:
                own.append(m)
        sure = [m for m in sure if not self._begins_range(statement, m, inside)]
        own = [m for m in own if not self._begins_range(statement, m, inside)]
        sizes, priors = LesionReader._sizes(self, statement, head, own)
        return sorted([*sure, *sizes], key=lambda m: m.start), priors

    def _qualify(self, made: Mention, head: Head) -> None:
        """Reads "42 x 30 mm with a depth of 24 mm", three diameters of one tumour, and "suspicious for carcinoma"."""
        if wording.is_suspected(made.statement, head):
            made.presence = "probable"
        depth = depth_of(made.statement, made.sizes[0]) if len(made.sizes) == 1 else None
        if depth is not None:
            made.sizes = [*made.sizes, depth]
            self.unused.pop(depth.id, None)

    def _begins_range(self, statement: Statement, size: Measurement, own: Sequence[Measurement]) -> bool:
        """True for the first of "ranging from 1 x 1 cm up to 6 x 5 cm", of which only the last bounds the group."""
        before = statement.low[max(0, size.start - statement.start - 40) : size.start - statement.start]
        after = next((m for m in own if m.start >= size.end), None)
        if after is None or not _RANGES.search(before):
            return False
        gap = statement.low[size.end - statement.start : after.start - statement.start]
        if not _UP_TO.fullmatch(gap):
            return False
        self.unused[size.id] = "other"
        return True

    def _read_size_key(self, statement: Statement, specimen: Specimen | None) -> None:
        """Reads "TUMOR SIZE: 5.5 cm": a size under its own heading belongs to the specimen's tumour."""
        sizes = self._keyed_lengths(statement)
        if not sizes:
            return
        if specimen is not None and specimen.organ == "lymph_node":
            self._size_deposit(sizes, specimen)
            return
        if wording.FURTHER.search(statement.text):
            self._extended(sizes, specimen)
            return
        organ = specimen.organ if specimen is not None and specimen.organ else self._main
        if organ is None:
            return
        for size in sizes:
            self.unused.pop(size.id, None)
        place = specimen.location if specimen is not None and specimen.organ == organ else Location(organ)
        span = (statement.start, statement.start + len(statement.text))
        made = Mention(
            Mark(*span, "finding", Finding("tumor")), organ, place, statement, span, sizes, kind="tumor"
        )
        if organ == self._main and self._paired(organ) and place.laterality is None:
            made.location = replace(place, laterality=self._side)
        self.mentions.append(made)

    def _keyed_lengths(self, statement: Statement) -> list[Measurement]:
        """Lengths that stand under a heading of the tumour's size: up to three diameters of one tumour."""
        key = self._size_key(statement)
        used = {m.id for mention in self.mentions for m in mention.sizes}
        free = [
            m
            for m in statement.measurements
            if m.id not in used
            and m.tense == "current"
            and not m.worded
            and not (measured.is_distance(statement, m) or measured.is_tissue(statement, m))
            and not self._begins_range(statement, m, statement.measurements)
        ]
        exact = [m for m in free if m.qualifier not in {"lower_bound", "upper_bound"}]
        free = exact or free
        if key is None or not free:
            return []
        first = free[0].start - statement.start
        before = statement.text[: max(first, key.end())]
        if wording.NOT_TUMOUR_SIZE.search(before) or first < key.start() - 40:
            return []
        sizes: list[Measurement] = []
        for size in free:
            if sizes and size.start - sizes[-1].end > _MAX_GAP:
                break
            if sum(len(m.values_mm) for m in sizes) + len(size.values_mm) <= 3:
                sizes.append(size)
        return sizes

    def _size_key(self, statement: Statement) -> re.Match[str] | None:
        """The heading of a tumour's size in a statement; the limit of a stage is none."""
        text, gross = statement.text, statement.sentence.section == "gross"
        if wording.STAGING.search(text) or (gross and mentions_nodes(text)):
            return None
        key = wording.TUMOUR_SIZE.search(text)
        earlier = self.reading.statements[max(0, self._index - 2) : self._index]
        if key is not None or (gross and not any(_is_size_title(s.text) for s in earlier)):
            return key
        if any(wording.ORGAN_SIZE.search(s.text) for s in (*earlier, statement)):
            return None
        return wording.PLAIN_SIZE.search(text)

    def _read_whole(self, statement: Statement, specimen: Specimen | None) -> None:
        """Reads "Tumor #2. The specimen consists of a fragment measuring 2 cm": the specimen is the tumour."""
        if specimen is None or not specimen.is_tumour or specimen.organ is None:
            return
        if statement.sentence.section != "gross" or len(statement.measurements) != 1:
            return
        used = {m.id for mention in self.mentions for m in mention.sizes}
        size = statement.measurements[0]
        if size.id in used or not measured.is_tissue(statement, size):
            return
        self.unused.pop(size.id, None)
        span = (statement.start, statement.start + len(statement.text))
        mark = Mark(*span, "finding", Finding("other"))
        self.mentions.append(
            Mention(mark, specimen.organ, specimen.location, statement, span, [size], kind="other")
        )

    def _size_deposit(self, sizes: list[Measurement], specimen: Specimen) -> None:
        """Under a heading of nodes a size is that of the metastasis stated before."""
        last = self._sightings[-1] if self._sightings else None
        same = last is not None and last.specimen is specimen and last.mention.organ == "lymph_node"
        if last is not None and same and not last.mention.sizes:
            last.mention.sizes = sizes[:1]
            self.unused.pop(sizes[0].id, None)

    def _is_deposit(self, made: Mention) -> bool:
        """Reads "The largest metastasis is 4 mm" after a sentence on nodes: the size of what is in the node."""
        last = self._sightings[-1] if self._sightings else None
        if last is None or last.mention.organ != "lymph_node" or not made.sizes:
            return False
        if any(m.category == "place" for m in made.statement.marks):
            return False
        if made.statement.start - last.mention.span[1] > 120:
            return False
        if not last.mention.sizes:
            last.mention.sizes = made.sizes[:1]
        return True

    def _extended(self, sizes: list[Measurement], specimen: Specimen | None) -> None:
        """Reads "Additional dimensions: 4 x 3 cm": further diameters of the tumour whose greatest one came before.

        Without that one they say nothing of how large it is.
        """
        last = self._sightings[-1] if self._sightings else None
        self.unused.update({m.id: "other" for m in sizes})
        if last is None or last.specimen is not specimen or not last.mention.sizes:
            return
        if sum(len(m.values_mm) for m in (*last.mention.sizes, *sizes)) > 3:
            return
        last.mention.sizes = [*last.mention.sizes, *sizes]
        for size in sizes:
            self.unused.pop(size.id, None)


def _is_size_title(text: str) -> bool:
    """True for the line "Tumor size:", whose values stand below it."""
    return text.rstrip().endswith(":") and wording.TUMOUR_SIZE.search(text) is not None and len(text) < 40
