"""One phantom case, a function of (seed, index): CT, organ and lesion masks, their truth, the report."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rsuper.synthesis.anatomy_phantom import PANCREAS_PARTS, PART_BOUNDS, STRUCTURES, Anatomy, draw_anatomy
from rsuper.synthesis.canvas import Bool
from rsuper.synthesis.decoys import add_decoys
from rsuper.synthesis.lesion_truth import LesionTruth, measured_truth
from rsuper.synthesis.phantom_config import ORGANS, PhantomConfig, SiteConfig
from rsuper.synthesis.report_truth import ReportFacts, ReportTruth
from rsuper.synthesis.reports import write_report
from rsuper.synthesis.texture import blurred, correlated_noise
from rsuper.synthesis.tumours import KIDNEY_PARTS, PlacedLesion, place_tumours

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
PART_ORDER = (*(f"pancreas_{part}" for part in PANCREAS_PARTS), *KIDNEY_PARTS)
PHANTOM_VERSION = 3  # raise it when the same seed draws other voxels or another text
_STREAMS = {"anatomy": 0, "decoys": 1, "tumours": 2, "image": 3, "report": 4, "oral": 5}


@dataclass(frozen=True, kw_only=True)
class PhantomCase:
    """A phantom CT with everything known about it.

    Args:
        case_id, patient_id: pseudonyms made of the index.
        split, site: its place in the cohort.
        ct: int16 HU [i,j,k], RAS array order.
        affine: [4,4] voxel to RAS mm.
        spacing_mm: voxel size in array order.
        organs: structure -> bool [i,j,k]; lesion voxels belong to their organ.
        lesion_masks: lesion class -> bool [i,j,k], empty for classes without lesions in this case.
        lesions: one truth a lesion.
        report: free text.
        report_truth: what the text states.
        decoys: number of drawn decoys.
    """

    case_id: str
    patient_id: str
    split: Split
    site: str
    ct: NDArray[np.int16]
    affine: NDArray[np.float64]
    spacing_mm: tuple[float, float, float]
    organs: dict[str, Bool]
    lesion_masks: dict[str, Bool]
    lesions: tuple[LesionTruth, ...]
    report: str
    report_truth: ReportTruth
    decoys: int

    @property
    def has_tumour(self) -> bool:
        """Whether any organ carries a lesion."""
        return bool(self.lesions)


def _stream(seed: int, index: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, index, _STREAMS[name]])


def _even(index: int, root: float) -> float:
    """A Kronecker sequence in [0, 1): any stretch of indices is spread evenly, so cohorts are balanced."""
    return math.fmod((index + 0.5) * root, 1.0)


def case_split(index: int, config: PhantomConfig) -> Split:
    """The split of a case, interleaved over the index in the configured shares."""
    share = _even(index, math.sqrt(5) - 2)
    train, val, _ = config.split_fractions
    return "train" if share < train else "val" if share < train + val else "test"


def make_case(seed: int, index: int, config: PhantomConfig | None = None) -> PhantomCase:
    """Make one case; the same (seed, index, config) gives the same bytes, however many cases there are.

    Args:
        seed: cohort seed, ≥ 0.
        index: position in the cohort, ≥ 0.
        config: recipe; the default is a pancreas cohort.

    Returns:
        The case.

    >>> case = make_case(1, 0)
    >>> case.ct.shape
    (96, 80, 64)
    """
    config = config or PhantomConfig()
    site = config.sites[int(_even(index, math.sqrt(3) - 1) * len(config.sites))]
    anatomy = draw_anatomy(
        config,
        _stream(seed, index, "anatomy"),
        enhancement=site.enhancement,
        oral_hu=_oral_hu(config, _stream(seed, index, "oral")),
    )
    rng = _stream(seed, index, "decoys")
    bearing = [organ for organ in ORGANS if config.prevalence.get(organ, 0) > 0]
    decoys = sum(add_decoys(anatomy, organ, rng, mean=config.decoys) for organ in bearing)
    rng = _stream(seed, index, "tumours")
    placed: list[PlacedLesion] = []
    for n, organ in enumerate(bearing):
        if _even(index + 7 * n, math.sqrt(2) - 1) < config.prevalence[organ]:
            placed += place_tumours(anatomy, organ, config.tumours[organ], rng)
    ct = _image(anatomy, site, _stream(seed, index, "image"))
    affine = _affine(config)
    lesions = tuple(_truth(lesion, anatomy, affine) for lesion in placed)
    facts = ReportFacts(
        lesions=tuple(lesion.as_fact() for lesion in lesions),
        aorta_mm=anatomy.notes["aorta_mm"],
        duct_mm=anatomy.notes["duct_mm"],
        bile_duct_mm=anatomy.notes["bile_duct_mm"],
    )
    report = write_report(facts, _stream(seed, index, "report"))
    masks = {name: np.zeros(config.shape, bool) for name in config.lesion_classes}
    for lesion in placed:
        masks[f"{lesion.organ}_lesion"] |= lesion.mask
    return PhantomCase(
        case_id=f"case_{index:05d}",
        patient_id=f"patient_{index:05d}",
        split=case_split(index, config),
        site=site.name,
        ct=ct,
        affine=affine,
        spacing_mm=config.spacing_mm,
        organs=_structures(anatomy),
        lesion_masks=masks,
        lesions=lesions,
        report=report.text,
        report_truth=report.truth,
        decoys=decoys,
    )


def _oral_hu(config: PhantomConfig, rng: np.random.Generator) -> float | None:
    given, value = rng.random() < config.oral_contrast, float(rng.uniform(180, 270))
    return value if given else None


def _affine(config: PhantomConfig) -> NDArray[np.float64]:
    affine = np.diag([*config.spacing_mm, 1.0])
    affine[:3, 3] = [-(n - 1) / 2 * s for n, s in zip(config.shape, config.spacing_mm, strict=True)]
    return affine


def _image(anatomy: Anatomy, site: SiteConfig, rng: np.random.Generator) -> NDArray[np.int16]:
    spacing = anatomy.canvas.spacing_mm
    image = blurred(anatomy.canvas.hu, sigma_mm=site.blur_mm, spacing_mm=spacing)
    dose = float(rng.uniform(0.85, 1.2))
    noise = correlated_noise(anatomy.canvas.shape, rng, sigma_mm=site.kernel_mm, spacing_mm=spacing)
    image += np.float32(site.noise_hu * dose) * noise
    image += np.float32(site.offset_hu)
    return np.asarray(np.clip(np.rint(image), -1024, 3071), np.int16)


def _truth(lesion: PlacedLesion, anatomy: Anatomy, affine: NDArray[np.float64]) -> LesionTruth:
    mean_hu = float(anatomy.canvas.hu[lesion.mask].mean())
    return measured_truth(
        lesion.mask,
        affine,
        organ=lesion.organ,
        parts=tuple(sorted(lesion.parts, key=PART_ORDER.index)),
        part=lesion.parts[0] if lesion.parts else None,
        side=lesion.side,
        attenuation=lesion.attenuation,
        contrast_hu=mean_hu - anatomy.parenchyma_hu[lesion.organ],
    )


def _structures(anatomy: Anatomy) -> dict[str, Bool]:
    masks = {name: anatomy.structure(name) for name in STRUCTURES}
    voxels = np.argwhere(masks["pancreas"])
    nth = np.digitize(anatomy.pancreas_share(voxels), PART_BOUNDS)
    for n, part in enumerate(PANCREAS_PARTS):
        mask = np.zeros(anatomy.canvas.shape, bool)
        mask[tuple(voxels[nth == n].T)] = True
        masks[f"pancreas_{part}"] = mask
    return masks


def truth_record(case: PhantomCase) -> dict[str, Any]:
    """The case's truth as plain data for truth.jsonl."""
    from dataclasses import asdict

    return {
        "case_id": case.case_id,
        "split": case.split,
        "site": case.site,
        "has_tumour": case.has_tumour,
        "decoys": case.decoys,
        "lesions": [asdict(lesion) for lesion in case.lesions],
        "report": case.report_truth.model_dump(mode="json"),
    }
