"""The experiment of the demo and of the study: one recipe, so that both tell of the same thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rsuper.config import OptimisationConfig, RunConfig
from rsuper.data.batches import Channels, SamplingConfig
from rsuper.data.prepare import PrepareConfig, PreparedDataset
from rsuper.data.store import PreparedCase
from rsuper.errors import DataError
from rsuper.losses import ReportSupervisionConfig
from rsuper.networks import NetworkConfig
from rsuper.prediction.predict import load_model
from rsuper.synthesis import PhantomConfig, TumourConfig
from rsuper.training import Trained, train
from rsuper.training.validation import THRESHOLDS, score_case

LESION_CLASS = "pancreas_lesion"
Arm = Literal["masks", "yes_no", "ball", "volume", "ball_and_volume"]
ARMS: tuple[Arm, ...] = ("masks", "yes_no", "ball", "volume", "ball_and_volume")
ARM_LABELS: Mapping[Arm, str] = {
    "masks": "masks only",
    "yes_no": "masks + reports, yes/no",
    "ball": "masks + reports, ball",
    "volume": "masks + reports, volume",
    "ball_and_volume": "masks + reports, ball + volume",
}
PATCH = (56, 32, 40)


def phantom_config() -> PhantomConfig:
    """Half of the cases carry tumours of the pancreas, most of them dark; two sites; decoys in all."""
    return PhantomConfig(
        prevalence={"pancreas": 0.5},
        tumours={
            "pancreas": TumourConfig(
                diameter_mm=(15.0, 38.0),
                hypo_fraction=0.9,
                hypo_hu=(50.0, 85.0),
                hyper_hu=(50.0, 80.0),
                counts=(0.8, 0.12, 0.04, 0.04),
                parts={"head": 0.5, "body": 0.25, "tail": 0.25},
            )
        },
        decoys=1.0,
        oral_contrast=1.0,
    )


def prepare_config() -> PrepareConfig:
    """The pancreas and what lies within 18 mm of its bounding box, on the CT's own grid."""
    return PrepareConfig(
        lesion_classes=(LESION_CLASS,),
        structures=("pancreas",),
        roi_structures=("pancreas",),
        roi_margin_mm=18.0,
    )


def loss_config(arm: Arm) -> ReportSupervisionConfig:
    """Weights of one arm: they differ in what a positive report asks, and share all the rest."""
    none = {
        "ball_bce": 0.0,
        "ball_dice": 0.0,
        "volume": 0.0,
        "presence": 0.0,
        "absence": 0.0,
        "attenuation": 0.0,
    }
    positives: dict[Arm, dict[str, float]] = {
        "masks": {},
        "yes_no": {"presence": 1.0, "absence": 1.0},
        "ball": {"ball_bce": 1.0, "ball_dice": 1.0, "absence": 1.0},
        "volume": {"volume": 1.0, "absence": 1.0},
        "ball_and_volume": {"ball_bce": 1.0, "ball_dice": 1.0, "volume": 0.2, "absence": 1.0},
    }
    return ReportSupervisionConfig(report_weight=1.0, **{**none, **positives[arm]})  # type: ignore[arg-type]


def run_config(arm: Arm, *, seed: int, warmup_steps: int, steps: int) -> RunConfig:
    """Settings of one training run; only the arm's loss and data differ."""
    return RunConfig(
        seed=seed,
        network=NetworkConfig(width=24, levels=3, fold=2),
        sampling=SamplingConfig(patch_size=PATCH, batch_size=2),
        loss=loss_config(arm),
        optimisation=OptimisationConfig(
            arm="masks" if arm == "masks" else "masks_and_reports",
            warmup_steps=warmup_steps,
            steps=steps,
            warmup_learning_rate=5e-3,
            learning_rate=5e-3,
            weight_decay=1e-3,
            report_ramp_steps=50,
            validate_every=400,
            checkpoint_every=1000,
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Pools:
    """Training cases of one seed, in the order they are taken: the first n masks are used with n masks."""

    mask_tumours: tuple[PreparedCase, ...]
    mask_normals: tuple[PreparedCase, ...]
    report_tumours: tuple[PreparedCase, ...]
    report_normals: tuple[PreparedCase, ...]

    def training(self, *, masks: int, reports: int) -> list[PreparedCase]:
        """``masks`` tumour masks and as many drawn normals, ``reports`` positive and half as many negative."""
        wanted = (
            (self.mask_tumours, masks),
            (self.mask_normals, masks),
            (self.report_tumours, reports),
            (self.report_normals, reports // 2),
        )
        chosen: list[PreparedCase] = []
        for pool, count in wanted:
            if len(pool) < count:
                raise DataError(
                    f"the cohort has {len(pool)} cases of a kind, {count} are wanted", code="pool_too_small"
                )
            chosen += pool[:count]
        return chosen


def pools(cases: Sequence[PreparedCase], lesion_class: str = LESION_CLASS) -> Pools:
    """Sort prepared training cases by what they bring: a lesion mask, or what their report says."""
    masked = [case for case in cases if case.state(lesion_class) == "voxels"]
    drawn = {case.case_id: bool(case.mask(f"label:{lesion_class}").any()) for case in masked}
    return Pools(
        mask_tumours=tuple(case for case in masked if drawn[case.case_id]),
        mask_normals=tuple(case for case in masked if not drawn[case.case_id]),
        report_tumours=tuple(case for case in cases if case.state(lesion_class) == "reported"),
        report_normals=tuple(case for case in cases if case.state(lesion_class) == "absent"),
    )


def balanced(
    cases: Sequence[PreparedCase], count: int, lesion_class: str = LESION_CLASS
) -> list[PreparedCase]:
    """The first ``count`` cases with and without a reference lesion."""
    positive = [case for case in cases if case.mask(f"reference:{lesion_class}").any()]
    chosen = {case.case_id for case in positive[:count]}
    normal = [case for case in cases if case not in positive][:count]
    chosen |= {case.case_id for case in normal}
    return [case for case in cases if case.case_id in chosen]


def warm_up(
    prepared: PreparedDataset, run: Path, *, seed: int, steps: int, training_cases: Sequence[PreparedCase]
) -> Path:
    """The masks-only start that all arms share; organ masks alone where no lesion mask is given.

    Returns:
        The weights file to start the arms from.
    """
    weights = run / "model.safetensors"
    if not weights.is_file():
        config = run_config("masks", seed=seed, warmup_steps=steps, steps=0)
        train(prepared, run, config=config, training_cases=training_cases, validation_cases=())
    return weights


def run_arm(
    prepared: PreparedDataset,
    run: Path,
    *,
    arm: Arm,
    seed: int,
    steps: int,
    initial_weights: Path,
    training_cases: Sequence[PreparedCase],
    validation_cases: Sequence[PreparedCase],
) -> Trained:
    """Train one arm from the shared warm-up."""
    return train(
        prepared,
        run,
        config=run_config(arm, seed=seed, warmup_steps=0, steps=steps),
        initial_weights=initial_weights,
        training_cases=training_cases,
        validation_cases=validation_cases,
    )


def score_run(run: Path, cases: Sequence[PreparedCase], lesion_class: str = LESION_CLASS) -> dict[str, Any]:
    """Case scores and DSC of a finished run on prepared test cases, at the threshold its validation chose.

    Returns:
        Per case: id, whether it has a tumour, score, DSC at the threshold (positives), log volume ratio (positives).
    """
    model = load_model(run)
    channels = Channels(structures=model.structures, lesion_classes=model.lesion_classes)
    threshold = model.thresholds[lesion_class]
    index = THRESHOLDS.index(threshold)
    rows = []
    for case in cases:
        result = score_case(
            model.network, case, channels=channels, intensity=model.intensity, patch_size=model.patch_size
        )[lesion_class]
        rows.append(
            {
                "case_id": result.case_id,
                "positive": result.positive,
                "score": result.score,
                "dsc": result.dice[index] if result.positive else None,
                "dsc_at_half": result.dice[THRESHOLDS.index(0.5)] if result.positive else None,
                "volume_mm3": result.volumes_mm3[index],
                "reference_mm3": result.reference_mm3,
            }
        )
    return {"threshold": threshold, "cases": rows}
