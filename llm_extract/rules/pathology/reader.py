"""Reads a pathology report: the tumours of its specimens, the nodes with tumour, and what it calls free."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from llm_extract.drafts import OrganDraft
from llm_extract.records import UnusedReason
from llm_extract.rules.heads import Head, find_heads
from llm_extract.rules.lesions import MAX_MENTIONS
from llm_extract.rules.lexicon import Finding
from llm_extract.rules.locations import Location
from llm_extract.rules.making import Denial
from llm_extract.rules.mentions import Mention
from llm_extract.rules.pathology import measured, wording
from llm_extract.rules.pathology.absorbing import members_apart
from llm_extract.rules.pathology.agreeing import take_full_sizes
from llm_extract.rules.pathology.counts import in_groups, with_others
from llm_extract.rules.pathology.entries import without_labels
from llm_extract.rules.pathology.free import (
    at_margins,
    free_organs,
    is_cells,
    is_margin,
    is_rest,
    is_shape,
    is_tube,
    weakened,
)
from llm_extract.rules.pathology.joining import in_one_phrase, joined
from llm_extract.rules.pathology.layout import CURRENT
from llm_extract.rules.pathology.listed import ListReader
from llm_extract.rules.pathology.nodal import measured_mass
from llm_extract.rules.pathology.nodes import mentions_nodes
from llm_extract.rules.pathology.sightings import Sighting
from llm_extract.rules.pathology.specimens import Specimen, SpecimenReader
from llm_extract.rules.pathology.tumours import gather
from llm_extract.rules.statements import Statement


@dataclass(slots=True)
class PathologyReader(ListReader):
    """Walks through the statements of a pathology report; leaves mentions, denials and reasons like its base."""

    _beside: frozenset[int] = frozenset()

    def run(self) -> None:
        """Read all statements, then reduce the mentions to tumours."""
        specimens = SpecimenReader(self.reading.text, self.anatomy)
        assigned = specimens.assign(self.reading.statements)
        self._main, self._side, self._assigned = specimens.main, specimens.side, assigned
        self._decided = any(s.sentence.section == "diagnosis" for s in self.reading.statements)
        self._beside = at_margins(self.reading.statements)
        held: Specimen | None = None
        for index, (statement, specimen) in enumerate(zip(self.reading.statements, assigned, strict=True)):
            self._index = index
            if len(self._sightings) >= MAX_MENTIONS or self._made >= 3 * MAX_MENTIONS:
                self.overfull = True
                break
            if statement.sentence.section not in CURRENT:
                self._set_aside(statement)
                continue
            if index in self._listed:
                continue
            if specimen is not held or specimen is None:
                held, self._last_at = specimen, -9
            self._enter(specimen, statement)
            before = len(self.mentions)
            self._read_statement(statement, specimen)
            self._sightings += [
                Sighting(m, specimen, statement.sentence.section)
                for m in self.mentions[before:]
                if not m.tentative
            ]
            self._read_list(statement)
        self._reduce()
        pairs = enumerate(zip(self.reading.statements, assigned, strict=True))
        self.on_organs = [
            statement
            for index, (statement, specimen) in pairs
            if (specimen is None or not specimen.margin)
            and index not in self._beside
            and not (is_rest(statement.text) or is_shape(statement) or is_margin(statement))
            and not (is_tube(statement.text) or is_cells(statement.text))
        ]
        self.organs = list(free_organs(self.reading.statements, assigned))

    @property
    def looked_at(self) -> frozenset[str]:
        """Organs that specimens were taken from."""
        return frozenset(s.organ for s in self._assigned if s is not None and s.organ is not None)

    def organ_drafts(self, spoken: Sequence[OrganDraft], paired: frozenset[str]) -> tuple[OrganDraft, ...]:
        """All that is said of whole organs, each as strong as what was looked at.

        Args:
            spoken: what the statements of :attr:`on_organs` say.
            paired: organs that exist on both sides.
        """
        drafts = (*spoken, *self.organs)
        return tuple(weakened(drafts, self.reading.statements, self._assigned, paired, held=self.mentions))

    def _enter(self, specimen: Specimen | None, statement: Statement) -> None:
        """What a statement without an organ or side of its own is about."""
        organ = specimen.organ if specimen is not None and specimen.organ else self._main
        self._subject, self._subject_line, self._list = organ, statement.sentence.line, None
        self._subject_side = None
        statement.references = [
            r for r in statement.references if r.kind in {"segment", "hounsfield", "volume"}
        ]

    def _set_aside(self, statement: Statement) -> None:
        section = statement.sentence.section
        reason: UnusedReason = (
            "prior" if section == "history" else "specimen" if section != "note" else "other"
        )
        self.unused.update({m.id: reason for m in statement.measurements})

    def _read_statement(self, statement: Statement, specimen: Specimen | None) -> None:
        self._leave_terms(statement)
        if wording.PRECURSOR.search(statement.text) or (
            self._index and wording.PRECURSOR_KEY.fullmatch(self.reading.statements[self._index - 1].text)
        ):
            self._audit(statement)
            return
        if self._read_items(statement, specimen):
            self._audit(statement)
            return
        if (
            statement.sentence.section == "gross"
            and wording.BLOCKS.search(statement.text)
            and not measured_mass(statement)
        ):
            self._audit(statement)
            return
        if self._at_margin(statement):
            self.unused.update({m.id: "margin" for m in statement.measurements})
            return
        nodes = self._read_nodes(statement, specimen)
        if not nodes:
            heads = in_one_phrase(statement, wording.without_landmarks(statement, find_heads(statement)))
            heads = without_labels(statement, heads)
            before = len(self.mentions)
            for head in heads:
                self._read_tumour(statement, head, heads, specimen)
            self.mentions[before:] = joined(self.mentions[before:], self.reading.text)
            if not heads:
                self._read_members(statement, specimen)
        self._read_size_key(statement, specimen)
        self._read_whole(statement, specimen)
        self._read_site(statement, specimen)
        self._read_place(statement, specimen)
        self._read_foci(statement, specimen)
        self._audit(statement)

    def _leave_terms(self, statement: Statement) -> None:
        """Lengths in the brackets of a key are its terms: "Dominant nodule (at least 1 cm): not present"."""
        keys = (
            [(m.start(), m.end()) for m in wording.TERMS.finditer(statement.text)]
            if statement.measurements
            else []
        )
        terms = [
            m
            for m in statement.measurements
            if any(low <= m.start - statement.start < high for low, high in keys)
        ]
        if terms:
            self.unused.update({m.id: "other" for m in terms})
            statement.measurements = [m for m in statement.measurements if m not in terms]

    def _at_margin(self, statement: Statement) -> bool:
        """True for more on margins behind a semicolon: "Margins: positive; left apex, focus of 1 mm"."""
        before = self.reading.text[max(0, statement.start - 6) : statement.start].rstrip()
        if not before.endswith(";") or self._index == 0:
            return False
        for earlier in reversed(self.reading.statements[max(0, self._index - 6) : self._index]):
            if wording.MARGIN_KEY.match(earlier.text):
                return True
            if ":" in earlier.text or not self.reading.text[: earlier.start].rstrip().endswith(";"):
                return False
        return False

    def _read_tumour(
        self, statement: Statement, head: Head, heads: list[Head], specimen: Specimen | None
    ) -> None:
        section = statement.sentence.section
        inside = [m for m in statement.measurements if head.start <= m.start < head.end]
        inside = [
            m for m in inside if not (measured.is_distance(statement, m) or measured.is_tissue(statement, m))
        ]
        if head.mark.start < statement.title_end or head.mark.value.kind == "lymph_node":
            return
        if head.polarity == "history" and (wording.is_replaced(statement, head) or section != "gross"):
            head.polarity = "affirmed"
        if wording.is_uninvolved(statement, head):
            head.polarity = "negated"
        elif wording.is_aside(statement, head) or (not inside and wording.PATIENT.search(statement.text)):
            return
        if head.polarity != "affirmed":
            self._deny_tumour(statement, head, heads, specimen)
            return
        if not inside and (head.mark.value.needs is not None or wording.is_normal_body(statement, head)):
            return
        again = wording.speaks_again(statement, head) and not self._is_first(statement, head, specimen)
        if again and not inside:
            return
        again = again or (bool(inside) and wording.is_known(statement, head))
        if specimen is not None and specimen.margin and section != "gross" and not inside:
            return
        if (section == "gross" and (not inside or wording.is_texture(statement, head))) or (
            not inside and wording.is_empty_key(statement, head)
        ):
            return
        before = len(self.mentions)
        self._last_at = -9 if not inside or not again else self._last_at
        self._read_head(statement, head, heads)
        if head.mark.value.kind == "metastasis":
            self.mentions[before:] = [m for m in self.mentions[before:] if not self._is_deposit(m)]
        lost = head.mark.value.kind == "metastasis" or wording.is_metastatic(statement, head)
        if lost and (specimen is None or specimen.organ is None):
            self.mentions[before:] = [m for m in self.mentions[before:] if m.location.spans]
        for made in self.mentions[before:]:
            made.refers_back = again
            self._qualify(made, head)
            self._settle(made, head, specimen)
            self._keep_urothelial(made)
            self._number_by_heading(made, specimen)
            self._take_own_side(made)
        self._spread_over(self.mentions[before:])

    def _keep_urothelial(self, made: Mention) -> None:
        """A urothelial carcinoma under the heading of the bowel is the bladder's, whose heading was not read."""
        strange = made.organ in {"colon", "small_bowel", "stomach", "gallbladder", "ovary"}
        if (
            strange
            and made.diagnosis == "urothelial_carcinoma"
            and self._main == "bladder"
            and made.kind == "tumor"
        ):
            made.organ, made.location = "bladder", Location("bladder")

    def _number_by_heading(self, made: Mention, specimen: Specimen | None) -> None:
        """Reads "Sigmoid nodule x3: metastatic carcinoma": as many tumours as the heading names."""
        stated = made.statement.sentence.section != "gross" and made.count == 1 and not made.sizes
        if stated and specimen is not None and specimen.times is not None:
            made.count = specimen.times

    def _take_own_side(self, made: Mention) -> None:
        """Reads "both ovaries (right 15 cm; left 8 cm)": each size has its side before it."""
        if not made.sizes or not self._paired(made.organ or ""):
            return
        start = made.sizes[0].start
        side = _SIDE_BEFORE.search(self.reading.text[max(0, start - 10) : start])
        if side is not None:
            made.location = replace(
                made.location, laterality=side[1].lower(), side_spans=((start - len(side[0]), start),)
            )
            made.count, made.count_kind = 1, "exact"

    def _is_first(self, statement: Statement, head: Head, specimen: Specimen | None) -> bool:
        """True for the first named tumour under a heading of the diagnosis, which speaks of nothing earlier."""
        named = head.mark.value.diagnosis is not None and specimen is not None and not specimen.bare
        listed = statement.sentence.section in {"diagnosis", "preamble"}
        return named and listed and all(s.specimen is not specimen for s in self._sightings)

    def _deny_tumour(
        self, statement: Statement, head: Head, heads: list[Head], specimen: Specimen | None
    ) -> None:
        inside = [m for m in statement.measurements if head.start <= m.start < head.end]
        self.unused.update({m.id: "other" for m in inside})
        if (
            head.polarity not in {"negated", "no_new"}
            or statement.sentence.section == "gross"
            or _of_a_part(statement)
            or is_tube(statement.text)
            or self._index in self._beside
            or (specimen is not None and specimen.margin)
        ):
            return
        own = [
            m for m in statement.marks if m.category == "place" and m.value.organ and not m.value.adjective
        ]
        organs = tuple(dict.fromkeys(m.value.organ for m in own if m.value.organ not in {"vessel", "other"}))
        if not organs and any(m.category == "place" for m in statement.marks):
            return
        if not organs and specimen is not None and specimen.organ is not None and not specimen.margin:
            organs = specimen.organs
        if organs and not mentions_nodes(statement.text):
            side = (
                specimen.location
                if specimen is not None and specimen.organ in organs
                else Location(organs[0])
            )
            self.denials.append(
                Denial(
                    Finding("tumor"),
                    head.mark,
                    statement,
                    replace(side, parts=()),
                    organs,
                    head.polarity == "no_new",
                )
            )

    def _reduce(self) -> None:
        tumours = in_groups(gather(self._sightings, main=self._main), self.reading.text)
        for short, full in take_full_sizes(tumours, self.reading.statements, self._assigned).items():
            self.unused[short] = "other"
            self.unused.pop(full, None)
        tumours = [t for t in tumours if not _is_empty(t.first)]
        kept = [m for t in tumours for m in (*members_apart(t), t.rest) if m is not None]
        self._as_metastases(kept)
        self._place_at_sites(kept)
        self._add_further_foci(kept)
        kept += with_others(kept, self.reading.text, self._link)
        held = {m.id for mention in kept for m in mention.sizes}
        for sighting in self._sightings:
            for size in sighting.mention.sizes:
                if size.id not in held:
                    self.unused.setdefault(size.id, "other")
        self.mentions = sorted(kept, key=lambda m: m.span[0])


_SIDE_BEFORE = re.compile(r"\b(left|right)[\s:,=]{1,4}$", re.IGNORECASE)


def _is_empty(sighting: Sighting) -> bool:
    """True for a bare "tumor" of which neither name nor size nor organ is known."""
    mention = sighting.mention
    known = sighting.is_specific or mention.sizes or mention.location.spans or mention.organ != "other"
    return not known


def _of_a_part(statement: Statement) -> bool:
    """True for a denial at a margin, in vessels or beyond the organ, which says nothing of the organ."""
    return (
        re.search(
            r"\b(?:margins?|invasion|vascular|lymphatic|perineural|extension|capsul\w+|vein|vessels?"
            r"|perirenal|perinephric|sinus|serosa\w*"
            r"|distant|regional|additional|residual|satellite|surface|inked|beyond|in situ|resection)\b",
            statement.text,
            re.IGNORECASE,
        )
        is not None
    )
