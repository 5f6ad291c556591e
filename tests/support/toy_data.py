"""Small analytic data sets: an organ of 100 HU in fat of -100 HU, with a dark sphere in it, and what a report says."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from llm_extract.records import Evidence, Lesion, OrganStatement, Provenance, ReportRecord
from rsuper.config import OptimisationConfig, RunConfig
from rsuper.data.batches import SamplingConfig
from rsuper.networks import NetworkConfig
from rsuper.volumes import Volume, write_volume

LESION_CLASS = "pancreas_lesion"
QUOTE = (Evidence(field="lesion", start=0, end=4, text="mass", section="findings"),)


@dataclass(frozen=True)
class ToyCase:
    """One case: ``kind`` is masked, reported, absent or unknown."""

    case_id: str
    kind: str = "masked"
    split: str = "train"
    center: tuple[float, float, float] = (12.0, 14.0, 10.0)
    radius_mm: float = 6.0
    shape: tuple[int, int, int] = (24, 28, 20)
    affine: np.ndarray | None = None


def sphere(
    shape: Sequence[int], center: Sequence[float], radius_mm: float, spacing_mm: Sequence[float]
) -> np.ndarray:
    grid = np.indices(tuple(shape)).astype(float)
    squared = sum(((grid[axis] - center[axis]) * spacing_mm[axis]) ** 2 for axis in range(3))
    return squared <= radius_mm**2


def volumes(case: ToyCase) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """CT in HU, organ, lesion and affine of a case."""
    affine = np.diag([2.0, 2.0, 2.0, 1.0]) if case.affine is None else case.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    organ = sphere(case.shape, case.center, case.radius_mm * 1.7, spacing)
    lesion = sphere(case.shape, case.center, case.radius_mm, spacing)
    if case.kind in {"absent", "unknown"}:
        lesion[:] = False
    noise = np.random.default_rng(list(case.case_id.encode())).normal(0, 4, case.shape)
    ct = np.where(lesion, 20.0, np.where(organ, 100.0, -100.0)) + noise
    return np.rint(ct).astype(np.int16), organ, lesion, affine


def record(case: ToyCase) -> ReportRecord | None:
    """What the report of a case says."""
    if case.kind == "unknown":
        return None
    lesions, organs = (), {}
    if case.kind == "absent":
        organs = {"pancreas": OrganStatement(status="explicitly_lesion_free", evidence=QUOTE)}
    else:
        size = 2 * case.radius_mm
        lesions = (
            Lesion(
                lesion_id="L1",
                organ="pancreas",
                kind="mass",
                diameters_mm=(size, size),
                size_kind="exact",
                attenuation="hypo",
                evidence=QUOTE,
            ),
        )
    return ReportRecord(
        report_id=case.case_id,
        source="radiology",
        text_sha256="0" * 64,
        text_chars=100,
        status="ok",
        lesions=lesions,
        organs=organs,
        provenance=Provenance(backend="by hand", version="1"),
    )


def write_dataset(root: Path, cases: Sequence[ToyCase]) -> Path:
    """Write cases, masks, records and cases.csv in the data set layout."""
    root.mkdir(parents=True, exist_ok=True)
    for case in cases:
        folder = root / case.case_id / "segmentations"
        folder.mkdir(parents=True, exist_ok=True)
        ct, organ, lesion, affine = volumes(case)
        write_volume(folder.parent / "ct.nii.gz", Volume(ct, affine))
        write_volume(folder / "pancreas.nii.gz", Volume(organ.astype(np.uint8), affine))
        if case.kind == "masked":
            write_volume(folder / f"{LESION_CLASS}.nii.gz", Volume(lesion.astype(np.uint8), affine))
    with (root / "cases.csv").open("w", newline="", encoding="utf-8") as handle:
        table = csv.writer(handle)
        table.writerow(["case_id", "patient_id", "split"])
        table.writerows([case.case_id, case.case_id, case.split] for case in cases)
    records = [found for case in cases if (found := record(case)) is not None]
    (root / "records.jsonl").write_text(
        "".join(f"{item.model_dump_json()}\n" for item in records), encoding="utf-8"
    )
    return root


def standard_cases() -> list[ToyCase]:
    """Two masked, two reported, one free and one silent training case; two validation cases."""
    kinds = ("masked", "reported", "absent", "masked", "reported", "unknown")
    cases = [
        ToyCase(f"case_{number}", kind, center=(11.0 + number % 3, 13.0, 9.0 + number % 2))
        for number, kind in enumerate(kinds)
    ]
    return [*cases, ToyCase("val_1", "masked", "val"), ToyCase("val_2", "absent", "val")]


class TinyNetwork(nn.Module):
    """Two convolutions with batch statistics and dropout: everything a resumed run must bring back."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(in_channels, 6, 3, padding=1),
            nn.BatchNorm3d(6),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Conv3d(6, out_channels, 3, padding=1),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layers(image)


class ThresholdNetwork(nn.Module):
    """Logit of the first channel: organ (above -40 HU before normalisation of the toy model), of the second: lesion."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(in_channels, out_channels))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        hu = image * 100.0
        organ = torch.where(hu > -40.0, 8.0, -8.0)
        lesion = torch.where((hu > -40.0) & (hu < 60.0), 8.0, -8.0)
        return torch.cat([organ, lesion], dim=1) * self.scale.mean()


class BlindNetwork(nn.Module):
    """The same logit everywhere, whatever the image."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(in_channels, out_channels))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.level.view(1, -1, 1, 1, 1).expand(len(image), -1, *image.shape[2:])


def toy_config(**optimisation: object) -> RunConfig:
    """A run of eight steps on small crops with the tiny network."""
    settings = {
        "warmup_steps": 3,
        "steps": 5,
        "validate_every": 4,
        "checkpoint_every": 3,
        "report_ramp_steps": 2,
        "learning_rate": 0.01,
        "warmup_learning_rate": 0.01,
    }
    return RunConfig(
        seed=5,
        network=NetworkConfig(name="custom", factory="toy_data:TinyNetwork"),
        sampling=SamplingConfig(patch_size=(16, 16, 16), batch_size=2),
        optimisation=OptimisationConfig(**(settings | optimisation)),
    )
