"""What ``rsuper prepare`` writes: its settings, its cases, and the cases that failed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from llm_extract.anatomy import Anatomy
from rsuper.data.store import FORMAT_VERSION, Index3, PreparedCase, read_case
from rsuper.errors import DataError
from rsuper.supervision.policy import SupervisionPolicy

PREPARED_FILE = "prepared.json"
_Spacing = Annotated[float, Field(gt=0, le=50, allow_inf_nan=False)]
_Margin = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class PrepareConfig(BaseModel):
    """What the prepared dataset holds.

    Args:
        lesion_classes: classes that reports and masks supervise, such as ``pancreas_lesion``.
        structures: organ masks that the network learns beside them.
        spacing_mm: voxel size of the prepared grid in array (RAS) order; None keeps the CT's own.
        roi_structures: crop to the bounding box of these masks plus ``roi_margin_mm``; empty keeps all.
        roi_margin_mm: margin of that box.
        hu_window: HU are clipped to this range (LOSSES § 7).
        margins_mm: organ → margin of the report region; missing organs take the shipped defaults.
        policy: which reported lesions count for which class; None is the preset ``tumours``.
        anatomy: the table of organs; None is the built-in one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    lesion_classes: tuple[str, ...] = Field(min_length=1)
    structures: tuple[str, ...] = ()
    spacing_mm: tuple[_Spacing, _Spacing, _Spacing] | None = None
    roi_structures: tuple[str, ...] = ()
    roi_margin_mm: _Margin = 24.0
    hu_window: tuple[int, int] = (-991, 500)
    margins_mm: dict[str, _Margin] = Field(default_factory=dict)
    policy: SupervisionPolicy | None = None
    anatomy: Anatomy | None = None

    @property
    def sha256(self) -> str:
        """Hash of everything that changes a prepared case."""
        return hashlib.sha256(f"{FORMAT_VERSION}{self.model_dump_json()}".encode()).hexdigest()


@dataclass(frozen=True)
class CaseFailure:
    """Why a case could not be prepared: a stable code, what is wrong, and what to do."""

    case_id: str
    code: str
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        hint = f" — {self.hint}" if self.hint else ""
        return f"{self.code} [case {self.case_id}]: {self.message}{hint}"


@dataclass(frozen=True)
class PreparedDataset:
    """A folder that ``prepare`` wrote: its configuration, its cases and the ones that failed.

    Args:
        root: the folder.
        config: what it was made with.
        cases: cases in the order of cases.csv.
        failures: the others, each with its reason.
    """

    root: Path
    config: PrepareConfig
    cases: tuple[PreparedCase, ...]
    failures: tuple[CaseFailure, ...] = ()

    @classmethod
    def open(cls, root: Path) -> PreparedDataset:
        """Open a prepared dataset.

        Raises:
            DataError: ``not_prepared`` if the folder was not written by ``prepare``, or not to the end.
        """
        try:
            meta = json.loads((root / PREPARED_FILE).read_text(encoding="utf-8"))
            config = PrepareConfig.model_validate(meta["config"])
            names = [str(name) for name in meta["cases"]]
            failures = tuple(CaseFailure(**item) for item in meta.get("failures", ()))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{root} is not a prepared dataset",
                code="not_prepared",
                hint="run `rsuper prepare DATASET --out DIR` first",
            ) from error
        return cls(root, config, tuple(read_case(root / name) for name in names), failures)

    @property
    def failed(self) -> tuple[tuple[str, str], ...]:
        """(case_id, code) of the cases that could not be prepared."""
        return tuple((item.case_id, item.code) for item in self.failures)

    def region_voxels(self) -> dict[str, Index3]:
        """Lesion class → sides, in voxels and array order, of a patch that holds 95 % of its reported regions.

        Classes that no report states are left out.
        """
        sides = {}
        for name in self.config.lesion_classes:
            boxes = [case.region_box(name) for case in self.cases if case.state(name) == "reported"]
            sizes = [[part.stop - part.start for part in box] for box in boxes if box is not None]
            if sizes:
                first, second, third = np.quantile(sizes, 0.95, axis=0, method="higher").astype(int).tolist()
                sides[name] = (first, second, third)
        return sides

    def split(self, name: str) -> tuple[PreparedCase, ...]:
        """The cases of one split, in file order."""
        return tuple(case for case in self.cases if case.split == name)
