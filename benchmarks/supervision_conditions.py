"""What the supervision study does to the reports, the host masks and the margins of a training cohort.

Every condition starts from reports that state the size and the part of each lesion, takes something away or spoils
something, and leaves all else as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

from llm_extract.records import Lesion, OrganStatement, ReportRecord
from rsuper.losses import BallRules
from rsuper.supervision import SupervisionPolicy, load_policy

ORGAN = "pancreas"
SHIFT_MM = 6.0
ERODE_MM = 3.0
Masks = dict[str, np.ndarray]
Spoil = Callable[[ReportRecord], ReportRecord]


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One arm of the study.

    Args:
        part: the question it belongs to.
        label: its name in the tables.
        spoil: what happens to a record.
        percent: share of the positive reports that it happens to.
        exchange: True where the records of those cases change places instead.
        host: what happens to the organ masks that the regions are made from, in those cases: ``shifted``, ``eroded``,
            ``punched`` or ``swapped``.
        margin_mm: margin of the region; None is the table's.
        host_use: the organ masks ``as_is``; with the gaps ``filled`` that the stated lesions may have left; and with
            the room beside them ``open`` that these can reach, as is the default of the package.
        weight: factor on the weight of the targets; 0 leaves the regions unknown.
        candidates: places that a lesion is looked for at.
        lit_odds: odds that a place needs to light up.
        core: ``BallRules.foreground_fraction``, how much of lo lights up.
        ramp_steps: steps over which the reports come in.
    """

    part: str
    label: str
    spoil: Spoil | None = None
    percent: int = 100
    exchange: bool = False
    host: str | None = None
    margin_mm: float | None = None
    host_use: Literal["as_is", "filled", "open"] = "as_is"
    weight: float = 1.0
    candidates: int = 1
    lit_odds: float = 0.0
    core: float | tuple[float, float, float] = BallRules().foreground_fraction
    ramp_steps: int = 50


def states_size_and_part(record: ReportRecord) -> bool:
    """True if every lesion of the organ has a size (or a bound) and a part."""
    own = [lesion for lesion in record.lesions if lesion.organ == ORGAN]
    return bool(own) and all(
        lesion.parts and (lesion.diameters_mm or lesion.size_max_mm is not None) for lesion in own
    )


def change_lesions(record: ReportRecord, change: Callable[[Lesion], Lesion]) -> ReportRecord:
    """The record with every lesion of the organ changed."""
    lesions = tuple(change(lesion) if lesion.organ == ORGAN else lesion for lesion in record.lesions)
    return record.model_copy(update={"lesions": lesions})


def without_part(record: ReportRecord) -> ReportRecord:
    """Size and count, but not where in the organ."""
    return change_lesions(
        record,
        lambda lesion: lesion.model_copy(
            update={"parts": (), "part_relation": "unknown", "location_text": None, "image": None}
        ),
    )


def without_size(record: ReportRecord) -> ReportRecord:
    """How many lesions, but neither size nor part."""
    empty = {
        "diameters_mm": (),
        "size_min_mm": None,
        "size_max_mm": None,
        "size_kind": "none",
        "size_precision_mm": 0.0,
        "reported_volume_mm3": None,
        "measurement_ids": (),
    }
    return change_lesions(without_part(record), lambda lesion: lesion.model_copy(update=empty))


def presence_only(record: ReportRecord) -> ReportRecord:
    """That there is at least one lesion in the organ, and nothing else."""
    own = [lesion for lesion in without_size(record).lesions if lesion.organ == ORGAN]
    others = [lesion for lesion in record.lesions if lesion.organ != ORGAN]
    one = own[0].model_copy(
        update={
            "count": 1,
            "count_kind": "at_least",
            "group_id": None,
            "group_role": "individual",
            "attenuation": "unknown",
        }
    )
    return record.model_copy(update={"lesions": (one, *others)})


def scaled(factor: float) -> Spoil:
    """All current sizes times a factor."""

    def times(value: float | None) -> float | None:
        return None if value is None else min(value * factor, 2000.0)

    def change(lesion: Lesion) -> Lesion:
        return lesion.model_copy(
            update={
                "diameters_mm": tuple(min(d * factor, 2000.0) for d in lesion.diameters_mm),
                "size_min_mm": times(lesion.size_min_mm),
                "size_max_mm": times(lesion.size_max_mm),
            }
        )

    return lambda record: change_lesions(record, change)


def prior_taken(record: ReportRecord) -> ReportRecord:
    """The size of an earlier study taken for the current one, where the report states one."""
    return change_lesions(
        record,
        lambda lesion: (
            lesion.model_copy(update={"diameters_mm": lesion.prior_diameters_mm})
            if lesion.prior_diameters_mm
            else lesion
        ),
    )


def falsely_free(record: ReportRecord) -> ReportRecord:
    """A lesion that was overlooked: the organ is called free."""
    lesions = tuple(lesion for lesion in record.lesions if lesion.organ != ORGAN)
    free = OrganStatement(status="explicitly_lesion_free", scope="any_focal_lesion")
    return record.model_copy(update={"lesions": lesions, "organs": {**record.organs, ORGAN: free}})


def wrong_part(record: ReportRecord) -> ReportRecord:
    """Head and tail exchanged, body taken for the tail: what a wrong side is in an organ with one side."""
    swap = {"pancreas_head": "pancreas_tail", "pancreas_uncinate": "pancreas_tail"}
    return change_lesions(
        record,
        lambda lesion: lesion.model_copy(
            update={"parts": tuple(swap.get(part, "pancreas_head") for part in lesion.parts)}
        ),
    )


SHARES = (5, 10, 20, 40)
WRONG: Mapping[str, tuple[str, Spoil | None]] = {
    "tenfold": ("sizes × 10", scaled(10.0)),
    "absent": ("lesions called absent", falsely_free),
    "part": ("wrong part", wrong_part),
    "shuffled": ("reports of other patients", None),
}
CONDITIONS: Mapping[str, Condition] = {
    "none": Condition(part="tiers", label="positive reports at weight 0", weight=0.0),
    "presence": Condition(part="tiers", label="presence only", spoil=presence_only),
    "count": Condition(part="tiers", label="count only", spoil=without_size),
    "size": Condition(part="tiers", label="size, no part", spoil=without_part),
    "size_part": Condition(part="tiers", label="size + part"),
    "size_candidates_3": Condition(
        part="locking on", label="size, no part; 3 candidate places", spoil=without_part, candidates=3
    ),
    "size_lit_0.5": Condition(
        part="locking on",
        label="size, no part; 3 candidate places, lit from odds of 0.5",
        spoil=without_part,
        candidates=3,
        lit_odds=0.5,
    ),
    "size_ramp_400": Condition(
        part="locking on",
        label="size, no part; reports come in over 400 steps",
        spoil=without_part,
        ramp_steps=400,
    ),
    "size_part_ramp_400": Condition(
        part="locking on", label="size + part; reports come in over 400 steps", ramp_steps=400
    ),
    "size_part_lit_0.5": Condition(
        part="locking on",
        label="size + part; 3 candidate places, lit from odds of 0.5",
        candidates=3,
        lit_odds=0.5,
    ),
    "size_core_1.4": Condition(
        part="core",
        label="size, no part; reports come in over 400 steps; cores of 1.4·lo",
        spoil=without_part,
        ramp_steps=400,
        core=1.4,
    ),
    "size_part_core_1.4": Condition(
        part="core",
        label="size + part; reports come in over 400 steps; cores of 1.4·lo",
        ramp_steps=400,
        core=1.4,
    ),
    "size_part_core_by_diameters": Condition(
        part="core",
        label="size + part; reports come in over 400 steps; cores of 1.4, 1 and 0.8·lo for 1, 2 and 3 diameters",
        ramp_steps=400,
        core=(1.4, 1.0, 0.8),
    ),
    **{
        f"margin_{margin}": Condition(
            part="margins", label=f"margin {margin} mm (table: 8)", margin_mm=float(margin)
        )
        for margin in (3, 6, 10, 15)
    },
    "sizes_x0.7": Condition(part="sizes", label="all sizes × 0.7", spoil=scaled(0.7)),
    "sizes_x1.4": Condition(part="sizes", label="all sizes × 1.4", spoil=scaled(1.4)),
    "prior": Condition(part="sizes", label="earlier sizes taken for current ones", spoil=prior_taken),
    **{
        f"{kind}_{percent}": Condition(
            part="wrong",
            label=f"{percent} % {label}",
            spoil=spoil,
            percent=percent,
            exchange=kind == "shuffled",
        )
        for kind, (label, spoil) in WRONG.items()
        for percent in SHARES
    },
    "host_shifted": Condition(part="hosts", label=f"host masks shifted by {SHIFT_MM:g} mm", host="shifted"),
    "host_eroded": Condition(part="hosts", label=f"host masks eroded by {ERODE_MM:g} mm", host="eroded"),
    "host_punched": Condition(part="hosts", label="tumour missing in the host masks", host="punched"),
    **{
        f"{name}_{use}": Condition(part="hosts", label=f"{label}, {how}", host=host, host_use=use)
        for name, host, label in (
            ("host_punched", "punched", "tumour missing in the host masks"),
            ("size_part", None, "whole host masks"),
        )
        for use, how in (("filled", "gaps filled"), ("open", "gaps filled, room beside them open"))
    },
    **{
        f"host_swapped_{percent}": Condition(
            part="hosts",
            label=f"head and tail exchanged in {percent} % of the host masks",
            host="swapped",
            percent=percent,
        )
        for percent in (5, 20)
    },
}
PARTS = tuple(dict.fromkeys(condition.part for condition in CONDITIONS.values()))


def spoilt_cases(condition: Condition, names: Iterable[str], *, seed: int) -> list[str]:
    """The cases that a condition spoils: its share of them, chosen by the seed alone."""
    order = np.random.default_rng([seed, 20]).permutation(sorted(names))
    return [str(name) for name in order[: round(len(order) * condition.percent / 100)]]


def changed_records(
    condition: Condition, records: Mapping[str, ReportRecord], *, seed: int
) -> dict[str, ReportRecord]:
    """The records of the positive cases under a condition."""
    chosen = spoilt_cases(condition, records, seed=seed)
    changed = dict(records)
    for place, name in enumerate(chosen):
        if condition.exchange:
            changed[name] = records[chosen[place - 1]]
        elif condition.spoil is not None:
            changed[name] = condition.spoil(records[name])
    return changed


def policy_of(condition: Condition) -> SupervisionPolicy:
    """The default policy but for what a condition makes of the host masks."""
    policy = load_policy()
    without: dict[str, dict[str, float]] = {
        "as_is": {"fill_diameters": 0.0, "open_diameters": 0.0},
        "filled": {"open_diameters": 0.0},
        "open": {},
    }
    return policy.model_copy(update=without[condition.host_use])


def ball_rules(condition: Condition, usual: BallRules) -> BallRules:
    """The rules of the ball under a condition."""
    changed = {
        "candidates": condition.candidates,
        "lit_odds": condition.lit_odds,
        "foreground_fraction": condition.core,
    }
    return BallRules.model_validate(usual.model_dump() | changed)


def host_masks(
    condition: Condition, masks: Masks, tumour: np.ndarray, *, spacing_mm: tuple[float, float, float]
) -> Masks:
    """The organ masks that the regions are made from; parts follow their organ."""
    if condition.host is None:
        return masks
    own = {name: mask for name, mask in masks.items() if name.startswith(ORGAN)}
    if condition.host == "swapped":
        ends = {f"{ORGAN}_head": f"{ORGAN}_tail", f"{ORGAN}_tail": f"{ORGAN}_head"}
        changed = {name: own[ends.get(name, name)] for name in own}
    elif condition.host == "punched":
        changed = {name: mask & ~tumour for name, mask in own.items()}
    elif condition.host == "shifted":
        steps = round(SHIFT_MM / spacing_mm[0])
        changed = {name: ndimage.shift(mask, (steps, 0, 0), order=0) for name, mask in own.items()}
    else:
        depth = ndimage.distance_transform_edt(masks[ORGAN], sampling=spacing_mm)
        changed = {name: mask & (depth > ERODE_MM) for name, mask in own.items()}
    return {**masks, **changed}
