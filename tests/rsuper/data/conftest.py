"""A small dataset on disk, and records written by hand."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from llm_extract.records import Lesion, OrganStatement, Provenance, ReportRecord
from rsuper.volumes import Volume, write_volume

AFFINE = np.diag([3.0, 3.0, 4.0, 1.0])
SHAPE = (36, 30, 24)
BOXES = {
    "liver": ((22, 34), (8, 24), (8, 20)),
    "spleen": ((2, 8), (6, 12), (10, 18)),
    "kidney_left": ((5, 10), (4, 9), (4, 12)),
    "kidney_right": ((26, 31), (4, 8), (4, 12)),
    "pancreas": ((12, 22), (14, 18), (10, 14)),
    "pancreas_head": ((18, 22), (14, 18), (10, 14)),
}


def box(bounds):
    mask = np.zeros(SHAPE, bool)
    mask[tuple(slice(*ends) for ends in bounds)] = True
    return mask


class Cohort:
    """Writes a dataset folder case by case; tests then break it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rows, self.reports, self.records = [], [], []

    def add(
        self,
        case_id,
        *,
        patient_id=None,
        split="train",
        text=None,
        lesions=(),
        organs=None,
        masks=None,
        seed=None,
    ):
        number = len(self.rows) if seed is None else seed
        hu = np.random.default_rng(number).normal(-100, 250, SHAPE)
        write_volume(self.root / case_id / "ct.nii.gz", Volume(hu.astype(np.int16), AFFINE))
        for name, bounds in (BOXES if masks is None else masks).items():
            self.write_mask(case_id, name, box(bounds))
        self.rows.append(f"{case_id},{patient_id or f'p-{case_id}'},{split}")
        text = f"CT of {case_id}." if text is None else text
        self.reports.append({"id": case_id, "text": text})
        self.records.append(make_record(case_id, text, lesions=lesions, organs=organs or {}))
        return self

    def write_mask(self, case_id, name, array, affine=AFFINE):
        write_volume(self.root / case_id / "segmentations" / f"{name}.nii.gz", Volume(array, affine))

    def finish(self):
        (self.root / "cases.csv").write_text("case_id,patient_id,split\n" + "\n".join(self.rows) + "\n")
        (self.root / "reports.jsonl").write_text("".join(json.dumps(row) + "\n" for row in self.reports))
        (self.root / "records.jsonl").write_text(
            "".join(item.model_dump_json() + "\n" for item in self.records)
        )
        return self.root


def make_lesion(organ, *diameters_mm, **fields):
    return Lesion(
        lesion_id="L1",
        organ=organ,
        **{
            "kind": "mass",
            "diameters_mm": diameters_mm,
            "size_kind": "exact" if diameters_mm else "none",
            **fields,
        },
    )


def make_record(report_id, text="", *, lesions=(), organs=None, **fields):
    return ReportRecord(
        report_id=report_id,
        source="radiology",
        text_sha256=hashlib.sha256(text.encode()).hexdigest(),
        text_chars=len(text),
        lesions=tuple(lesions),
        organs={name: OrganStatement(status=status) for name, status in (organs or {}).items()},
        provenance=Provenance(backend="rules", version="1"),
        **{"status": "ok", **fields},
    )


@pytest.fixture
def cohort(tmp_path):
    return Cohort(tmp_path / "data set")


@pytest.fixture
def lesion():
    return make_lesion


@pytest.fixture
def record():
    return make_record


@pytest.fixture
def mask_box():
    return box
