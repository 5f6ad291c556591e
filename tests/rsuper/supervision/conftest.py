"""Analytic organs and hand-made records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from llm_extract.records import Evidence, Lesion, OrganStatement, Provenance, ReportRecord

SHAPE = (56, 64, 60)
QUOTE = (Evidence(field="lesion", start=0, end=4, text="mass", section="findings"),)


def sphere(center: Sequence[float], radius_mm: float, spacing_mm=(1.0, 1.0, 1.0), shape=SHAPE) -> np.ndarray:
    grid = np.indices(shape).astype(float)
    squared = sum(((grid[axis] - center[axis]) * spacing_mm[axis]) ** 2 for axis in range(3))
    return squared <= radius_mm**2


def lesion(organ: str = "pancreas", *, lesion_id: str = "L1", **fields) -> Lesion:
    fields.setdefault("kind", "mass")
    fields.setdefault("evidence", QUOTE)
    if fields.get("diameters_mm") and "size_kind" not in fields:
        fields["size_kind"] = "exact"
    return Lesion(lesion_id=lesion_id, organ=organ, **fields)


def record(
    *lesions: Lesion,
    organs: Mapping[str, OrganStatement] | None = None,
    report_id: str = "R1",
    source: str = "radiology",
    status: str = "ok",
    **fields,
) -> ReportRecord:
    return ReportRecord(
        report_id=report_id,
        source=source,
        text_sha256="0" * 64,
        text_chars=100,
        status=status,
        lesions=lesions,
        organs=dict(organs or {}),
        provenance=Provenance(backend="rules", version="0"),
        **fields,
    )


@pytest.fixture
def make_lesion() -> Callable[..., Lesion]:
    return lesion


@pytest.fixture
def make_record() -> Callable[..., ReportRecord]:
    return record


@pytest.fixture
def organs() -> dict[str, np.ndarray]:
    """A pancreas of three balls, two kidneys with an adrenal above each, a liver and a stomach."""
    head, body, tail = sphere((28, 20, 30), 6), sphere((28, 30, 30), 6), sphere((28, 40, 30), 6)
    body &= ~head
    tail &= ~body
    return {
        "pancreas": head | body | tail,
        "pancreas_head": head,
        "pancreas_body": body,
        "pancreas_tail": tail,
        "kidney_left": sphere((10, 50, 20), 7),
        "kidney_right": sphere((10, 14, 20), 7),
        "adrenal_gland_left": sphere((10, 50, 31), 3),
        "adrenal_gland_right": sphere((10, 14, 31), 3),
        "liver": sphere((44, 14, 44), 9),
        "stomach": sphere((39, 30, 30), 6),
    }


@pytest.fixture
def make_sphere() -> Callable[..., np.ndarray]:
    return sphere
