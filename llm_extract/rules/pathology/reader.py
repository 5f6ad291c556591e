"""Reads a pathology report: the tumours of its specimens, the nodes with tumour, and what it calls free."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from llm_extract.drafts import OrganDraft
from llm_extract.measurements import Measurement
from llm_extract.records import UnusedReason
from llm_extract.rules import ownership
from llm_extract.rules.heads import Head, find_heads
from llm_extract.rules.lesions import LesionReader
from llm_extract.rules.lexicon import Finding, Mark
from llm_extract.rules.locations import SIDELESS, WEAK, Location, resolve
from llm_extract.rules.making import Denial
from llm_extract.rules.mentions import Mention, place_marks
from llm_extract.rules.pathology import wording
from llm_extract.rules.pathology.free import free_organs
from llm_extract.rules.pathology.layout import CURRENT
from llm_extract.rules.pathology.nodes import NodeFinding, mentions_nodes, only_sampled, read_nodes
from llm_extract.rules.pathology.specimens import Specimen, SpecimenReader
from llm_extract.rules.pathology.tumours import Sighting, gather
from llm_extract.rules.statements import Statement

_NODE = Finding("metastasis", "metastasis", "malignant", organ="lymph_node")
_CARCINOMAS = {
    "pancreas": "pdac", "prostate": "prostate_cancer", "colon": "colorectal_cancer", "kidney": "rcc", "stomach": "gastric_cancer",
    "bladder": "urothelial_carcinoma", "uterus": "uterine_cancer", "breast": "breast_cancer", "lung": "lung_cancer",
    "ovary": "ovarian_cancer", "thyroid": "thyroid_cancer", "esophagus": "esophageal_cancer",
    "gallbladder": "gallbladder_cancer", "bile_duct": "cholangiocarcinoma", "liver": "hcc",
}  # fmt: skip
_ONLY_ADENO = frozenset({"pancreas", "prostate", "colon", "stomach"})
_HOLLOW = frozenset({"colon", "stomach", "duodenum", "small_bowel", "esophagus"})
_PERITONEAL = frozenset({"peritoneum", "soft_tissue", "other", "pleura"})
_HOST = re.compile(
    r"(?:involv(?:ing|es|ed)|in|of|within|from|replac\w+|(?:present|identified|located) in|metastatic to"
    r"|metastas[ei]s to|to)\s(?:the\s)?(?:\w+\s){0,3}$",
    re.IGNORECASE,
)


_NODE_NOUN = re.compile(r"\b(?:lymph\s?nod\w+|nodes?|nodal)\b", re.IGNORECASE)
_ORIGIN_AFTER = re.compile(r"\s{0,2}(?:type|origin|primary|derivation)\b", re.IGNORECASE)
_ORIGIN_BEFORE = re.compile(
    r"\b(?:origin(?:at\w+)?|primary (?:in|of|from)|metastatic from|derived from|known)\b[^.;]{0,40}$",
    re.IGNORECASE,
)


@dataclass(slots=True)
class PathologyReader(LesionReader):
    """Walks through the statements of a pathology report; leaves mentions, denials and reasons like its base.

    Args:
        organs: what it says of whole organs.
        on_organs: statements that may say something of an organ; those about margins do not.
    """

    organs: list[OrganDraft] = field(default_factory=list)
    on_organs: list[Statement] = field(default_factory=list)
    _sightings: list[Sighting] = field(default_factory=list)
    _main: str | None = None
    _side: str | None = None
    _decided: bool = False
    _sites: list[Location] = field(default_factory=list)

    def run(self) -> None:
        """Read all statements, then reduce the mentions to tumours."""
        specimens = SpecimenReader(self.reading.text, self.anatomy)
        assigned = specimens.assign(self.reading.statements)
        self._main, self._side = specimens.main, specimens.side
        self._decided = any(s.sentence.section == "diagnosis" for s in self.reading.statements)
        held: Specimen | None = None
        for index, (statement, specimen) in enumerate(zip(self.reading.statements, assigned, strict=True)):
            self._index = index
            if statement.sentence.section not in CURRENT:
                self._set_aside(statement)
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
        self._reduce()
        pairs = zip(self.reading.statements, assigned, strict=True)
        self.on_organs = [
            statement for statement, specimen in pairs if specimen is None or not specimen.margin
        ]
        self.organs = list(free_organs(self.reading.statements, assigned))

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
        if (
            statement.sentence.section == "gross"
            and wording.BLOCKS.search(statement.text)
            and not _measured_mass(statement)
        ):
            self._audit(statement)
            return
        nodes = self._read_nodes(statement, specimen)
        if not nodes:
            heads = find_heads(statement)
            before = len(self.mentions)
            for head in heads:
                self._read_tumour(statement, head, heads, specimen)
            self._join(before)
        self._read_size_key(statement, specimen)
        self._read_site(statement, specimen)
        self._audit(statement)

    def _read_site(self, statement: Statement, specimen: Specimen | None) -> None:
        """Reads "Tumor site: hepatic flexure" and "Laterality: left": where the tumour of the specimen lies."""
        key = wording.SITE.match(statement.text)
        if key is None:
            return
        marks = [m for m in place_marks(statement.marks) if m.start >= statement.start + key.end()]
        organ = specimen.organ if specimen is not None and specimen.organ else self._main
        if not marks or organ is None or organ == "lymph_node":
            return
        place = resolve(
            self.reading.text, marks, (), anatomy=self.anatomy, head=None, topic=(organ,), inherited=organ
        )
        sides = {
            w.lower() for w in re.findall(r"\b(left|right)\b", statement.text[key.end() :], re.IGNORECASE)
        }
        if place.organ == organ and (place.parts or len(sides) == 1) and len(place.parts) < 4:
            side = next(iter(sides)) if len(sides) == 1 and organ not in SIDELESS else None
            self._sites.append(replace(place, laterality=side))

    def _join(self, first: int) -> None:
        """Reads "adenocarcinoma forming a 4 cm mass": a plain noun with the size of the tumour named before it."""
        made = self.mentions[first:]
        for named, plain in itertools.pairwise(made):
            if named.head is None or plain.head is None or named.sizes or not plain.sizes:
                continue
            between = self.reading.text[named.head.end : plain.head.start]
            alike = named.kind not in {"polyp", "cyst"} and plain.kind in {
                "mass",
                "tumor",
                "lesion",
                "nodule",
            }
            apart = re.search(r"\b(?:and|with|also|another|separate|additional)\b|;", between, re.IGNORECASE)
            if (
                alike
                and named.diagnosis is not None
                and plain.diagnosis is None
                and not apart
                and len(between) < 150
            ):
                named.sizes, named.count, named.count_kind = plain.sizes, plain.count, plain.count_kind
                named.spans += [("diameters_mm", m.start, m.end) for m in plain.sizes]
                if not named.location.parts and plain.organ == named.organ:
                    named.location = replace(
                        named.location, parts=plain.location.parts, relation=plain.location.relation
                    )
                plain.tentative = True
        self.mentions[first:] = [m for m in made if not m.tentative]

    def _read_nodes(self, statement: Statement, specimen: Specimen | None) -> bool:
        """True if the statement is about nodes and nothing else."""
        heading = specimen is not None and specimen.organ == "lymph_node"
        section = statement.sentence.section
        found = read_nodes(statement, heading=heading)
        if found is None:
            if section == "gross" and only_sampled(statement) and not _measured_mass(statement):
                self.unused.update({m.id: "node" for m in statement.measurements})
                return True
            return heading
        if section == "gross" or (section == "comment" and self._decided):
            return heading
        if found.positive == 0:
            self._deny_nodes(statement, found)
        else:
            self._state_nodes(statement, found, specimen)
        return heading or not _other_tumour(statement)

    def _deny_nodes(self, statement: Statement, found: NodeFinding) -> None:
        start = statement.start + found.start
        mark = Mark(start, statement.start + found.end, "finding", _NODE)
        self.denials.append(
            Denial(
                Finding("tumor", organ="lymph_node"),
                mark,
                statement,
                Location("lymph_node"),
                ("lymph_node",),
                no_new=False,
            )
        )

    def _state_nodes(self, statement: Statement, found: NodeFinding, specimen: Specimen | None) -> None:
        mark = Mark(
            statement.start + found.start,
            statement.start + found.end,
            "finding",
            _NODE,
            plural=found.positive != 1,
        )
        place = Location("lymph_node")
        if specimen is not None and specimen.organ == "lymph_node":
            place = specimen.location
        sides = {m.value for m in statement.of("side")} & {"left", "right"}
        if len(sides) == 1:
            place = replace(place, laterality=next(iter(sides)))
        span = (statement.start, statement.start + len(statement.text))
        made = Mention(
            mark,
            "lymph_node",
            place,
            statement,
            span,
            kind="metastasis",
            diagnosis="metastasis",
            malignancy="malignant",
        )
        made.malignancy_basis = "pathology"
        made.count, made.count_kind = (
            (found.positive, "exact") if found.positive else (None, "multiple_unknown")
        )
        made.spans.append(("kind", mark.start, mark.end))
        made.sizes = self._deposit(statement, found.start)
        self.mentions.append(made)

    def _deposit(self, statement: Statement, start: int) -> list[Measurement]:
        """Size of a nodal metastasis, which a statement on nodes may give; extents of fat and margins are none."""
        held = []
        for size in statement.measurements:
            if size.end - statement.start < start and _other_tumour(statement):
                continue
            before = statement.text[: size.start - statement.start]
            if re.search(
                r"\b(?:largest|greatest|measur\w+|up to|size|metast\w+|deposit)\b[^.;]{0,50}$",
                before,
                re.IGNORECASE,
            ):
                held.append(size)
            else:
                self.unused[size.id] = "node"
        return held[:1]

    def _read_tumour(
        self, statement: Statement, head: Head, heads: list[Head], specimen: Specimen | None
    ) -> None:
        section = statement.sentence.section
        inside = [
            m for m in statement.measurements
            if head.start <= m.start < head.end and not (wording.is_distance(statement, m) or wording.is_tissue(statement, m))
        ]  # fmt: skip
        if head.mark.start < statement.title_end or head.mark.value.kind == "lymph_node":
            return
        if head.polarity == "history" and (wording.is_replaced(statement, head) or section != "gross"):
            head.polarity = "affirmed"
        if wording.is_uninvolved(statement, head):
            head.polarity = "negated"
        elif wording.is_aside(statement, head):
            return
        if head.polarity != "affirmed":
            self._deny_tumour(statement, head, heads, specimen)
            return
        if head.mark.value.needs is not None and not inside:
            return
        again = wording.speaks_again(statement, head)
        if again and not inside:
            return
        if specimen is not None and specimen.margin and section != "gross" and not inside:
            return
        if section == "gross" and not inside:
            return
        before = len(self.mentions)
        self._last_at = -9 if not inside or not again else self._last_at
        self._read_head(statement, head, heads)
        for made in self.mentions[before:]:
            self._settle(made, head, specimen)

    def _deny_tumour(
        self, statement: Statement, head: Head, heads: list[Head], specimen: Specimen | None
    ) -> None:
        inside = [m for m in statement.measurements if head.start <= m.start < head.end]
        self.unused.update({m.id: "other" for m in inside})
        if (
            head.polarity not in {"negated", "no_new"}
            or statement.sentence.section == "gross"
            or _of_a_part(statement)
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

    def _settle(self, made: Mention, head: Head, specimen: Specimen | None) -> None:
        """Organ and side of the specimen where the statement names none, and the basis of what pathology settles."""
        organ = specimen.organ if specimen is not None and specimen.organ else self._main
        hosted = _hosted(made, self.reading.text)
        strange = made.organ == "lymph_node" or (made.organ in WEAK and organ not in WEAK and not hosted)
        origin = bool(made.location.spans) and _is_origin(made, self.reading.text)
        vague = origin or not made.location.spans or not (made.location.certain or hosted)
        named = head.mark.value.organ
        if specimen is not None and named is not None and named in specimen.organs and not made.location.spans:
            made.organ, made.location = named, Location(named)
            organ = named
        fixed = head.mark.value.organ is not None and made.location.spans == () and organ in {None, *WEAK}
        if organ is not None and not fixed and (vague or strange) and organ != made.organ:
            keep = specimen.location if specimen is not None and specimen.organ == organ else Location(organ)
            made.organ, made.location = organ, replace(keep, side_spans=keep.side_spans)
        if specimen is not None and specimen.organ == made.organ:
            self._complete(made, specimen.location)
        if made.organ == self._main and self._paired(made.organ) and made.location.laterality is None:
            made.location = replace(made.location, laterality=self._side)
        made.series = made.image = None
        number = _in_brackets(made, self.reading.text)
        if number is not None and made.is_group:
            made.count, made.count_kind = number, "exact"
        if (
            wording.BOTH.search(made.statement.text)
            and made.organ == "ovary"
            and made.kind == "tumor"
            and made.count == 1
        ):
            made.count, made.location = 2, replace(made.location, laterality="bilateral")
        if wording.CONSISTENT.search(made.statement.text):
            made.presence = "definite"
            made.diagnosis_certainty = "definite" if made.diagnosis_certainty else None
        if made.malignancy != "unknown":
            made.malignancy_basis = "pathology"
        if made.diagnosis == "adenoma" and made.organ in _HOLLOW:
            made.kind = "polyp"
        if made.diagnosis == "carcinoma" and made.organ in _CARCINOMAS and made.kind != "metastasis":
            made.diagnosis = _named_by_organ(made)

    def _paired(self, organ: str) -> bool:
        return organ in self.anatomy.organs and self.anatomy.organs[organ].paired

    def _complete(self, made: Mention, place: Location) -> None:
        if made.location.laterality is None and place.laterality is not None:
            made.location = replace(made.location, laterality=place.laterality, side_spans=place.side_spans)
        if not made.location.parts and place.parts:
            made.location = replace(
                made.location,
                parts=place.parts,
                relation=place.relation,
                spans=(*made.location.spans, *place.spans),
            )

    def _sizes(
        self, statement: Statement, head: Head, inside: Sequence[Measurement]
    ) -> tuple[list[Measurement], list[Measurement]]:
        """Lengths of a stretch that are the tumour's: no distances, no depth, nothing of the specimen."""
        own = []
        for m in inside:
            if wording.is_distance(statement, m):
                self.unused[m.id] = "margin"
            elif wording.is_tissue(statement, m):
                self.unused[m.id] = "specimen"
            else:
                own.append(m)
        return LesionReader._sizes(self, statement, head, own)

    def _read_size_key(self, statement: Statement, specimen: Specimen | None) -> None:
        """Reads "TUMOR SIZE: 5.5 cm": a size under its own heading belongs to the specimen's tumour."""
        used = {m.id for mention in self.mentions for m in mention.sizes}
        free = [
            m for m in statement.measurements
            if m.id not in used and m.tense == "current" and not m.worded and not wording.is_distance(statement, m)
        ]  # fmt: skip
        key = wording.TUMOUR_SIZE.search(statement.text)
        if key is None and statement.sentence.section != "gross":
            key = wording.PLAIN_SIZE.search(statement.text)
            earlier = self.reading.statements[max(0, self._index - 2) : self._index]
            if key is not None and any(wording.ORGAN_SIZE.search(s.text) for s in (*earlier, statement)):
                key = None
        free = [m for m in free if not wording.is_tissue(statement, m)]
        if (
            key is None
            or not free
            or (statement.sentence.section == "gross" and mentions_nodes(statement.text))
        ):
            return
        first = free[0].start - statement.start
        if (
            wording.NOT_TUMOUR_SIZE.search(statement.text[: max(first, key.end())])
            or first < key.start() - 40
        ):
            return
        sizes: list[Measurement] = []
        for size in free:
            gap = statement.text[
                (sizes[-1].end if sizes else size.start) - statement.start : size.start - statement.start
            ]
            if sizes and (len(gap) > 40 or ownership._DISTANCE.search(gap)):
                break
            if sum(len(m.values_mm) for m in sizes) + len(size.values_mm) <= 3:
                sizes.append(size)
        if specimen is not None and specimen.organ == "lymph_node":
            self._size_deposit(sizes, specimen)
            return
        if wording.FURTHER.search(statement.text) and self._extended(sizes, specimen):
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

    def _size_deposit(self, sizes: list[Measurement], specimen: Specimen) -> None:
        """Under a heading of nodes a size is that of the metastasis stated before."""
        last = self._sightings[-1] if self._sightings else None
        if last is not None and last.specimen is specimen and last.mention.organ == "lymph_node":
            if not last.mention.sizes:
                last.mention.sizes = sizes[:1]
                self.unused.pop(sizes[0].id, None)

    def _extended(self, sizes: list[Measurement], specimen: Specimen | None) -> bool:
        """Reads "Additional dimensions: 4 x 3 cm": further diameters of the tumour whose greatest one came before."""
        last = self._sightings[-1] if self._sightings else None
        if last is None or last.specimen is not specimen or not last.mention.sizes:
            return False
        if sum(len(m.values_mm) for m in (*last.mention.sizes, *sizes)) > 3:
            return False
        last.mention.sizes = [*last.mention.sizes, *sizes]
        for size in sizes:
            self.unused.pop(size.id, None)
        return True

    def _reduce(self) -> None:
        tumours = gather(self._sightings, main=self._main)
        kept = [t.mention for t in tumours]
        self._as_metastases(kept)
        self._place_at_sites(kept)
        held = {m.id for mention in kept for m in mention.sizes}
        for sighting in self._sightings:
            for size in sighting.mention.sizes:
                if size.id not in held:
                    self.unused.setdefault(size.id, "other")
        self.mentions = sorted(kept, key=lambda m: m.span[0])

    def _place_at_sites(self, kept: Sequence[Mention]) -> None:
        """The only malignant tumour of an organ lies where the list of sites says."""
        for site in self._sites:
            here = [
                m
                for m in kept
                if m.organ == site.organ and m.kind not in {"polyp", "cyst"} and m.malignancy != "benign"
            ]
            if len(here) != 1:
                continue
            if not here[0].location.parts and site.parts:
                place = here[0].location
                here[0].location = replace(
                    place, parts=site.parts, relation=site.relation, spans=(*place.spans, *site.spans)
                )
            if here[0].location.laterality is None and site.laterality is not None:
                here[0].location = replace(
                    here[0].location, laterality=site.laterality, side_spans=site.side_spans
                )

    def _as_metastases(self, kept: Sequence[Mention]) -> None:
        """A malignant tumour on the peritoneum of an organ's cancer is its metastasis."""
        for mention in kept:
            away = mention.organ in _PERITONEAL and self._main not in _PERITONEAL
            if (
                away
                and mention.kind in {"tumor", "mass", "nodule", "lesion"}
                and mention.malignancy == "malignant"
            ):
                mention.kind = "metastasis"


def _named_by_organ(made: Mention) -> str | None:
    word = (made.diagnosis_text or "").lower()
    if made.organ in _ONLY_ADENO and "adeno" not in word and "duct" not in word:
        return made.diagnosis
    if re.search(r"neuroendocrine|squamous|small cell|serous|sarcom", word) and made.organ not in {
        "uterus",
        "ovary",
        "lung",
        "esophagus",
    }:
        return made.diagnosis
    return _CARCINOMAS[made.organ]


def _in_brackets(made: Mention, text: str) -> int | None:
    """The number in "hyperplastic polyps (2)" and "multiple (6) hamartomas"."""
    if made.head is None:
        return None
    after = re.match(r"\s?\((?:x\s?)?(\d{1,2})\)", text[made.head.end : made.head.end + 8])
    before = re.search(
        r"\((\d{1,2})\)\s(?:[\w-]+\s){0,4}$", text[max(0, made.head.start - 50) : made.head.start]
    )
    found = after or before
    return int(found[1]) if found is not None and 1 < int(found[1]) <= 50 else None


def _hosted(made: Mention, text: str) -> bool:
    """True if the words say that the tumour lies in the organ: "involving the serosa of the colon"."""
    return any(_HOST.search(text[max(0, start - 60) : start]) for start, _ in made.location.spans)


def _is_origin(made: Mention, text: str) -> bool:
    """True if the place is where a metastasis comes from: "of colonic type", "primary in the pancreas"."""
    return all(
        _ORIGIN_AFTER.match(text[end : end + 24]) or _ORIGIN_BEFORE.search(text[max(0, start - 50) : start])
        for start, end in made.location.spans
    )


def _measured_mass(statement: Statement) -> bool:
    """True if a size stands beside a tumour noun."""
    return (
        bool(statement.measurements)
        and re.search(
            r"\b(?:mass|tumou?r|lesion|neoplasm|carcinoma|nodule|polyp)s?\b", statement.text, re.IGNORECASE
        )
        is not None
    )


def _other_tumour(statement: Statement) -> bool:
    """True if a statement on nodes states a tumour besides: "adenocarcinoma of the head, with one positive node"."""
    text = statement.text
    node = _NODE_NOUN.search(text)
    for mark in statement.marks:
        if mark.category != "finding" or mark.value.kind not in {"tumor", "mass", "polyp", "cyst"}:
            continue
        if node is None:
            return True
        low, high = mark.start - statement.start, mark.end - statement.start
        between = text[high : node.start()] if high <= node.start() else text[node.end() : low]
        if len(between) > 90 or re.search(r";|\bwith\b|, |\band\b|\bwithout\b", between):
            return True
    return False


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
