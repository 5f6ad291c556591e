"""One sentence of a report, explained: words -> measurement -> place -> ball -> what each voxel is told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llm_extract.anatomy import Anatomy, load_anatomy
from llm_extract.records import Lesion, ReportRecord
from llm_extract.reports import Report
from rsuper.errors import DataError, UsageError
from rsuper.supervision.inputs import check_policy
from rsuper.supervision.policy import SupervisionPolicy, load_policy
from rsuper.supervision.regions import Host, find_host, union_mask
from rsuper.supervision.targets import organ_of_class
from rsuper.supervision.types import ClassTarget
from rsuper.supervision.user_anatomy import load_user_anatomy
from rsuper.views.explain_case import ExplainCase, Seat, phantom_case, read_case, require_hosts
from rsuper.views.explain_crop import clamped, crop_case, read_probabilities
from rsuper.views.explain_facts import ClassLesson, GuessFacts, Pull, pulled_mm3
from rsuper.views.explain_guesses import (
    OTHERWISE,
    REPORTED,
    Blob,
    GuessKey,
    Logits,
    Scene,
    make_guess,
    smooth_noise,
)

Bool = NDArray[np.bool_]
MAX_VOXELS = 2_600_000
MAX_CLASSES = 3
SUMMARY_PULLS: tuple[tuple[str, Pull], ...] = (
    ("pulled up", "up"),
    ("pushed down", "down"),
    ("left alone", "alone"),
)
NEIGHBOURS = ("pancreas", "liver", "kidney", "spleen")


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """One lesion class on its crop, with what the loss says to each output.

    Args:
        lesion_class, organ: the class and its organ.
        title: name of the class on the page: its organ, or ``kidney cyst`` where a policy has such a class.
        lesson: target and loss.
        ct_hu: [i,j,k] of the crop.
        organ_mask: bool, the whole organ.
        host_mask: bool, the organ or part that the lesions are said to lie in.
        hosts: one a lesion entry of the organ, in record order.
        lesions: those entries.
        truth: bool, the painted lesions; None on a CT.
        guesses: one an output.
        mentioned: False for an organ that the sentence leaves out.
        focus: voxel of the crop that the page opens at.
    """

    lesion_class: str
    organ: str
    title: str
    lesson: ClassLesson
    ct_hu: NDArray[np.generic]
    organ_mask: Bool
    host_mask: Bool
    hosts: tuple[Host, ...]
    lesions: tuple[Lesion, ...]
    truth: Bool | None
    guesses: tuple[GuessFacts, ...]
    mentioned: bool
    focus: tuple[int, int, int]

    def summary(self) -> str:
        """One line for a terminal: state, interval, and what the first output is told."""
        target, first = self.lesson.target, self.guesses[0]
        pulled = ", ".join(f"{name} {pulled_mm3(first.rows, pull):,.0f} mm³" for name, pull in SUMMARY_PULLS)
        state: str = target.state if self.mentioned else "not mentioned"
        if target.state == "reported":
            state += f", {_demand(target)}"
        return f"{self.lesion_class}: {state}; {pulled}"


def _demand(target: ClassTarget) -> str:
    """What a reported class asks for, in words."""
    if target.weight <= 0:
        return f"left out ({', '.join(target.codes)})"
    low, high = target.volume_mm3
    return f"{low:,.0f} to {high:,.0f} mm³" if math.isfinite(high) else f"at least {low:,.0f} mm³"


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Everything the page and ``--json`` show.

    Args:
        text: the sentence.
        record: what the extraction made of it.
        case: the patient.
        lessons: the classes, those with lesions first.
        without_mask: organs that the sentence names and that have no mask here.
        policy: which lesions count.
        anatomy: the table of organs.
    """

    text: str
    record: ReportRecord
    case: ExplainCase
    lessons: tuple[Lesson, ...]
    without_mask: tuple[str, ...]
    policy: SupervisionPolicy
    anatomy: Anatomy


def explain(
    text: str,
    *,
    ct: Path | None = None,
    organs: Path | None = None,
    prediction: Path | None = None,
    policy: str = "tumours",
    anatomy: Path | None = None,
) -> Explanation:
    """Follow a sentence through the code that trains.

    Args:
        text: a sentence of a radiology report, or all of it.
        ct: a CT; None is the phantom, into which the stated lesions are painted.
        organs: folder with one organ mask a file, on the grid of the CT.
        prediction: probabilities on the grid of the CT: a file for the first class, or a folder with CLASS.nii.gz.
        policy: which lesions count: a preset or a file.
        anatomy: a file with organs, parts and words of your own, beside the built-in ones.

    Raises:
        UsageError: ``ct_needs_organs``, ``prediction_needs_ct``, ``unknown_policy``, ``organs_missing``,
            ``bad_anatomy``, ``unknown_organ`` for a rule of the policy.
        DataError: ``unreadable_text``, ``no_lesion_found``, ``organ_mask_missing``, ``grid_mismatch`` …
    """
    if (ct is None) != (organs is None):
        raise UsageError(
            "a CT and its organ masks belong together",
            code="ct_needs_organs",
            hint="give both --ct CT and --organs DIR, or neither for the phantom",
        )
    if prediction is not None and ct is None:
        raise UsageError(
            "probabilities need the CT they belong to",
            code="prediction_needs_ct",
            hint="give --ct CT and --organs DIR as well",
        )
    rules = load_policy(policy)
    table = load_user_anatomy(anatomy)
    check_policy(rules, table)
    record = _record(text, table)
    named = _named_organs(record)
    if ct is None or organs is None:
        case = phantom_case(record, table)
    else:
        case = read_case(record, table, ct=ct, organs=organs)
    there = require_hosts(case, named, table)[:MAX_CLASSES]
    beside = () if len(there) >= MAX_CLASSES else _not_mentioned(record, case, table)
    stated = [name for organ in there for name in _classes(organ, record, rules, table)][:MAX_CLASSES]
    loaded = read_probabilities(prediction, case, stated)
    names = (*stated, *(table.organs[organ].lesion_class for organ in beside))
    lessons = [
        _lesson(
            name,
            record,
            case,
            anatomy=table,
            policy=rules,
            voxels=MAX_VOXELS // len(names),
            probability=loaded.get(name),
        )
        for name in names
    ]
    return Explanation(
        text=text,
        record=record,
        case=case,
        lessons=tuple(lessons),
        without_mask=tuple(organ for organ in named if organ not in there),
        policy=rules,
        anatomy=table,
    )


def _classes(
    organ: str, record: ReportRecord, policy: SupervisionPolicy, anatomy: Anatomy
) -> tuple[str, ...]:
    """The classes that the lesions of an organ supervise; that of the organ where none counts."""
    own = [policy.lesion_class(lesion, anatomy) for lesion in record.lesions if lesion.organ == organ]
    found = tuple(dict.fromkeys(name for name in own if name is not None))
    return found or (anatomy.organs[organ].lesion_class,)


def _record(text: str, anatomy: Anatomy) -> ReportRecord:
    from llm_extract.rules import RulesExtractor, extract_record

    report = Report(report_id="sentence", text=text, kind="radiology")
    record = extract_record(report) if anatomy == load_anatomy() else RulesExtractor(anatomy).extract(report)
    if record.status == "failed":
        code = next((issue.code for issue in record.issues), "extraction_error")
        raise DataError(
            f"the sentence cannot be read ({code})",
            code="unreadable_text",
            hint="give one English sentence of a radiology report in quotes",
        )
    return record


def _named_organs(record: ReportRecord) -> tuple[str, ...]:
    """Organs with a lesion, then organs of which anything is said about lesions."""
    with_lesion = dict.fromkeys(lesion.organ for lesion in record.lesions)
    said = dict.fromkeys(
        name
        for name, statement in record.organs.items()
        if statement.status not in ("not_mentioned", "lesion_present")
    )
    named = tuple(with_lesion | said)
    if not named:
        raise DataError(
            "the sentence states neither a lesion of an organ nor that an organ is free of lesions",
            code="no_lesion_found",
            hint='try rsuper explain "2.1 cm hypoattenuating mass in the pancreatic tail", '
            'or rsuper explain "No focal liver lesion"',
        )
    return named


def _not_mentioned(record: ReportRecord, case: ExplainCase, anatomy: Anatomy) -> tuple[str, ...]:
    """One organ that the sentence leaves out, to show what happens to it."""
    for organ in NEIGHBOURS:
        silent = record.organs.get(organ) is None or record.organs[organ].status == "not_mentioned"
        if silent and find_host(case.organs, anatomy, organ=organ).structures:
            return (organ,)
    return ()


def _lesson(
    lesion_class: str,
    record: ReportRecord,
    case: ExplainCase,
    *,
    anatomy: Anatomy,
    policy: SupervisionPolicy,
    voxels: int,
    probability: NDArray[np.float32] | None,
) -> Lesson:
    organ = organ_of_class(lesion_class, anatomy) or lesion_class
    host = find_host(case.organs, anatomy, organ=organ)
    crop = crop_case(
        case, host, margin_mm=anatomy.organs[organ].margin_mm, voxels=voxels, probability=probability
    )
    lesson = ClassLesson(
        record,
        crop.organs,
        lesion_class=lesion_class,
        spacing_mm=crop.spacing_mm,
        anatomy=anatomy,
        policy=policy,
    )
    lesions = tuple(lesion for lesion in record.lesions if lesion.organ == organ)
    hosts = tuple(
        find_host(crop.organs, anatomy, organ=organ, parts=item.parts, laterality=item.laterality)
        for item in lesions
    )
    organ_mask = union_mask(crop.organs, host.structures)
    stems = tuple(dict.fromkeys(stem for one in hosts for stem in one.structures))
    host_mask = union_mask(crop.organs, stems) if stems else np.zeros_like(organ_mask)
    counted = [lesion.lesion_id for lesion in lesions if policy.lesion_class(lesion, anatomy) == lesion_class]
    seats = [seat for seat in crop.seats if seat.organ == organ]
    mentioned = organ in _named_organs(record)
    guesses = _guesses(
        lesson,
        organ_mask,
        [seat for seat in seats if seat.lesion_id in counted],
        probability=crop.probability,
        otherwise=OTHERWISE if mentioned else OTHERWISE[:1],
    )
    known = [seat.mask for seat in seats if seat.mask is not None]
    usual = anatomy.organs[organ].lesion_class == lesion_class
    return Lesson(
        lesion_class=lesion_class,
        organ=organ,
        title=(organ if usual else lesion_class.removesuffix("_lesion")).replace("_", " "),
        lesson=lesson,
        ct_hu=crop.ct_hu,
        organ_mask=organ_mask,
        host_mask=host_mask,
        hosts=hosts,
        lesions=lesions,
        truth=np.logical_or.reduce(known) if known else None,
        guesses=guesses,
        mentioned=mentioned,
        focus=_focus(guesses, seats, organ_mask),
    )


def _guesses(
    lesson: ClassLesson,
    organ_mask: Bool,
    seats: Sequence[Seat],
    *,
    probability: NDArray[np.float32] | None,
    otherwise: tuple[GuessKey, ...],
) -> tuple[GuessFacts, ...]:
    """The loss on every made-up output, or on the one that was given."""
    if probability is not None:
        p = np.clip(probability.astype(np.float64), 1e-6, 1 - 1e-6)
        return (lesson.ask("yours", np.asarray(np.log(p / (1 - p)), np.float32)),)
    pair = lesson.pair
    nothing = np.zeros_like(organ_mask)
    centers = nothing
    if pair is not None:
        masks = [item.centers.numpy() for item in pair.lesions if item.centers is not None]
        centers = np.logical_or.reduce(masks) if masks else pair.region.numpy()
    scene = Scene(
        blobs=tuple(Blob(voxel=s.voxel, diameter_mm=s.diameter_mm, mask=s.mask) for s in seats),
        organ=organ_mask,
        region=nothing if pair is None else pair.region.numpy(),
        centers=centers,
        spacing_mm=lesson.spacing_mm,
        volume_mm3=lesson.target.volume_mm3,
    )
    noise = smooth_noise(scene.shape, spacing_mm=scene.spacing_mm)
    keys: tuple[GuessKey, ...] = REPORTED if pair is not None and scene.blobs else otherwise
    made: list[tuple[GuessKey, Logits]] = []
    for key in keys:
        logits = make_guess(key, scene, noise)
        if logits is not None:
            made.append((key, logits))
    return tuple(lesson.ask(key, logits) for key, logits in made)


def _focus(guesses: Sequence[GuessFacts], seats: Sequence[Seat], organ: Bool) -> tuple[int, int, int]:
    """The first ball, else the first lesion, else the middle of the organ."""
    if guesses and guesses[0].balls:
        return guesses[0].balls[0].centre
    if seats:
        return seats[0].voxel
    middle = np.argwhere(organ).mean(axis=0)
    return clamped([round(float(at)) for at in middle], organ.shape)
