"""What the records of a case say about one organ: lesions that count or do not, sides that are free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llm_extract.anatomy import Anatomy
from llm_extract.records import Lesion, OrganStatement, OrganStatus, ReportRecord
from rsuper.supervision.policy import SupervisionPolicy
from rsuper.supervision.types import ClassState

WHOLE = "n/a"
"""The only 'side' of an organ that has none."""


@dataclass(frozen=True, kw_only=True)
class CountedLesion:
    """A lesion that supervises a class.

    Args:
        lesion: the record entry.
        record: the record it comes from.
        weight: certainty weight in [0, 1].
        malignant: what pathology settles about it; None if nothing does.
    """

    lesion: Lesion
    record: ReportRecord
    weight: float
    malignant: bool | None = None

    @property
    def certain(self) -> bool:
        """True for a lesion that forces a lower bound: definite or probable."""
        return self.lesion.presence != "possible"


@dataclass(frozen=True, kw_only=True)
class OrganEvidence:
    """What all records of a case say about one lesion class of one organ.

    Args:
        counted: lesions that supervise the class; several records that describe the same lesion count once.
        ignored: lesions that are there but do not count, so that their host stays unknown.
        free_sides: sides that are stated free of any focal lesion at full strength.
        unmentioned_sides: sides about which nothing certain is said.
        codes: what a reader should know, such as ``records_disagree``.
    """

    counted: tuple[CountedLesion, ...] = ()
    ignored: tuple[Lesion, ...] = ()
    free_sides: frozenset[str] = frozenset()
    unmentioned_sides: frozenset[str] = frozenset()
    codes: tuple[str, ...] = ()

    @property
    def state(self) -> ClassState:
        """The class state without voxel labels: reported, absent or unknown."""
        if any(item.certain and item.weight > 0 for item in self.counted):
            return "reported"
        if self.counted or self.ignored or not self.free_sides or self.unmentioned_sides:
            return "unknown"
        return "absent"


def organ_evidence(
    records: Sequence[ReportRecord],
    organ: str,
    *,
    lesion_class: str,
    anatomy: Anatomy,
    policy: SupervisionPolicy,
) -> OrganEvidence:
    """Read what the records of one case say about one organ.

    Radiology reports say what the CT shows; pathology reports settle the malignancy of what they match, by
    organ, part, side and size, and override radiology's guess. A record that failed says nothing.

    Args:
        records: all records of the case.
        organ: organ of the class.
        lesion_class: class name; lesions that the policy sends to another class are ignored here.
        anatomy: the table of organs.
        policy: which lesions count, and how much.
    """
    used = [record for record in records if policy.status_weight[record.status] > 0]
    radiology = [record for record in used if record.source == "radiology"]
    pathology = [record for record in used if record.source == "pathology"]
    codes = [f"record_{r.status}" for r in records if r.status in ("failed", "needs_review")]
    if not records:
        codes.append("no_record")
    counted, ignored = _split(radiology, organ, lesion_class=lesion_class, anatomy=anatomy, policy=policy)
    from_pathology, _ = _split(pathology, organ, lesion_class=lesion_class, anatomy=anatomy, policy=policy)
    if any(not item.lesion.evidence for item in counted):
        codes.append("ungrounded_lesion")
    merged = merge_mentions(counted)
    if (
        len(radiology) > 1
        and len({_signature(r, organ, lesion_class, anatomy, policy) for r in radiology}) > 1
    ):
        codes.append("records_disagree")
    if not merged and from_pathology:
        codes.append("pathology_alone")
        if policy.pathology_alone == "reported":
            merged = merge_mentions(from_pathology)
        else:
            ignored = (*ignored, *(item.lesion for item in from_pathology))
    merged = tuple(
        replace(item, malignant=settled_malignancy(item.lesion, [p.lesion for p in _all(pathology, organ)]))
        for item in merged
    )
    free, unmentioned = _sides(radiology, organ, merged, ignored, anatomy=anatomy)
    codes += _statement_codes(radiology, organ)
    if merged and not any(item.certain for item in merged):
        codes.append("only_possible_lesions")
    return OrganEvidence(
        counted=merged,
        ignored=tuple(ignored),
        free_sides=free,
        unmentioned_sides=unmentioned,
        codes=tuple(dict.fromkeys(codes)),
    )


def merge_mentions(items: Sequence[CountedLesion]) -> tuple[CountedLesion, ...]:
    """One entry a lesion where several records of a case describe it; the surest mention is kept."""
    merged: list[CountedLesion] = []
    for item in items:
        twin = next(
            (
                position
                for position, other in enumerate(merged)
                if other.record.report_id != item.record.report_id and same_lesion(other.lesion, item.lesion)
            ),
            None,
        )
        if twin is None:
            merged.append(item)
        elif item.weight > merged[twin].weight:
            merged[twin] = item
    return tuple(merged)


def same_lesion(first: Lesion, second: Lesion) -> bool:
    """True if two mentions can be one lesion: same organ, compatible side and part, size within 10 %."""
    if first.organ != second.organ or not _compatible_place(first, second):
        return False
    if first.count_kind != second.count_kind or first.count != second.count:
        return False
    if first.diameters_mm and second.diameters_mm:
        a, b = max(first.diameters_mm), max(second.diameters_mm)
        return abs(a - b) <= max(2.0, 0.1 * max(a, b))
    return True


def settled_malignancy(lesion: Lesion, pathology: Sequence[Lesion]) -> bool | None:
    """What pathology says about one lesion: True, False, or None if it says nothing or says both.

    Pathology lesions are matched by organ, side, part; where those disagree among themselves, by size (20 %).
    """
    settled = [
        other
        for other in pathology
        if other.organ == lesion.organ
        and other.malignancy in ("malignant", "benign")
        and _compatible_place(lesion, other)
    ]
    answers = {other.malignancy for other in settled}
    if len(answers) == 2 and lesion.diameters_mm:
        size = max(lesion.diameters_mm)
        answers = {
            other.malignancy
            for other in settled
            if other.diameters_mm and abs(max(other.diameters_mm) - size) <= 0.2 * size
        }
    return answers == {"malignant"} if len(answers) == 1 else None


def _all(records: Sequence[ReportRecord], organ: str) -> list[CountedLesion]:
    return [
        CountedLesion(lesion=lesion, record=record, weight=1.0)
        for record in records
        for lesion in record.lesions
        if lesion.organ == organ and lesion.evidence
    ]


def _split(
    records: Sequence[ReportRecord],
    organ: str,
    *,
    lesion_class: str,
    anatomy: Anatomy,
    policy: SupervisionPolicy,
) -> tuple[tuple[CountedLesion, ...], tuple[Lesion, ...]]:
    counted: list[CountedLesion] = []
    ignored: list[Lesion] = []
    for item in (found for record in records for found in _record_lesions(record, organ)):
        lesion, record = item
        action = policy.action(lesion)
        if action == "drop":
            continue
        if policy.lesion_class(lesion, anatomy) == lesion_class:
            counted.append(CountedLesion(lesion=lesion, record=record, weight=policy.weight(lesion, record)))
        else:
            ignored.append(lesion)
    return tuple(counted), tuple(ignored)


def _record_lesions(record: ReportRecord, organ: str) -> list[tuple[Lesion, ReportRecord]]:
    return [(lesion, record) for lesion in record.lesions if lesion.organ == organ]


def _signature(
    record: ReportRecord, organ: str, lesion_class: str, anatomy: Anatomy, policy: SupervisionPolicy
) -> tuple[str, int]:
    own = [
        lesion
        for lesion in record.lesions
        if lesion.organ == organ and policy.lesion_class(lesion, anatomy) == lesion_class
    ]
    statement = record.organs.get(organ)
    said = statement.status if statement is not None else "not_mentioned"
    return ("lesion_present" if own else said, len(own))


def _compatible_place(first: Lesion, second: Lesion) -> bool:
    sides = {first.laterality, second.laterality}
    if {"left", "right"} <= sides:
        return False
    return not first.parts or not second.parts or bool(set(first.parts) & set(second.parts))


def _statement_codes(records: Sequence[ReportRecord], organ: str) -> list[str]:
    statements = [record.organs[organ] for record in records if organ in record.organs]
    codes = []
    if any(s.status == "surgically_absent" for s in statements):
        codes.append("organ_surgically_absent")
    if any(s.limited for s in statements) or any(record.technique.limited for record in records):
        codes.append("limited_examination")
    return codes


def side_names(organ: str, anatomy: Anatomy) -> tuple[str, ...]:
    """``left`` and ``right`` of a paired organ, else the one place-holder for the whole."""
    return ("left", "right") if anatomy.organs[organ].paired else (WHOLE,)


def _sides(
    records: Sequence[ReportRecord],
    organ: str,
    counted: Sequence[CountedLesion],
    ignored: Sequence[Lesion],
    *,
    anatomy: Anatomy,
) -> tuple[frozenset[str], frozenset[str]]:
    """Sides that are free at full strength, and sides of which nothing certain is said."""
    free: set[str] = set()
    unmentioned: set[str] = set()
    lesions = [item.lesion for item in counted] + list(ignored)
    for side in side_names(organ, anatomy):
        if any(_touches(lesion, side) for lesion in lesions):
            continue
        verdicts = {_verdict(record, organ, side) for record in records} - {"silent"}
        if verdicts == {"free"}:
            free.add(side)
        else:
            unmentioned.add(side)
    return frozenset(free), frozenset(unmentioned)


def _touches(lesion: Lesion, side: str) -> bool:
    return side == WHOLE or lesion.laterality not in ("left", "right") or lesion.laterality == side


def _verdict(record: ReportRecord, organ: str, side: str) -> str:
    """``free`` at full strength, ``silent``, or ``open`` for every weaker or contrary statement."""
    statement = record.organs.get(organ, OrganStatement())
    status: OrganStatus = statement.status
    scope = statement.scope
    if side in statement.sides:
        own = statement.sides["left" if side == "left" else "right"]
        status, scope = own.status, own.scope
    elif side != WHOLE and status == "lesion_present":
        return "silent"
    if status in ("not_mentioned", "no_statement_on_lesions"):
        return "silent"
    limited = statement.limited or record.technique.limited
    trusted = record.status in ("ok", "ok_with_warnings")
    if status == "explicitly_lesion_free" and scope == "any_focal_lesion" and trusted and not limited:
        return "free"
    return "open"
