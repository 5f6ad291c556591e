"""What ``rsuper predict`` wrote: masks, probabilities, scores, and what is said of the network."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from llm_extract.anatomy import Anatomy
from rsuper.data.layout import PREDICTION_MARK
from rsuper.errors import DataError
from rsuper.prediction.case_score import case_score
from rsuper.supervision.policy import SupervisionPolicy
from rsuper.supervision.user_anatomy import written_anatomy
from rsuper.volumes import read_volume


@dataclass(frozen=True, eq=False)
class PredictionFolder:
    """A folder ``CASE/segmentations/CLASS.nii.gz`` as ``rsuper predict`` writes it; only masks are needed.

    Args:
        root: the folder.
    """

    root: Path

    def __post_init__(self) -> None:
        if not self.root.is_dir():
            raise DataError(
                f"there is no prediction folder {self.root.name}",
                code="predictions_missing",
                hint="run `rsuper predict` first, or check the path",
            )

    def mask(self, case_id: str, class_name: str) -> Path:
        """Where the mask of a case and class lies."""
        return self.root / case_id / "segmentations" / f"{class_name}.nii.gz"

    def probability(self, case_id: str, class_name: str) -> Path:
        """Where its probabilities lie, if they were written."""
        return self.root / case_id / "probabilities" / f"{class_name}.nii.gz"

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Lesion classes that the folder predicts."""
        names = {
            path.name.removesuffix(".nii.gz") for path in self.root.glob("*/segmentations/*_lesion.nii.gz")
        }
        return tuple(sorted(names))

    @cached_property
    def scores(self) -> Mapping[str, Mapping[str, str]]:
        """Rows of ``predictions.csv`` by case; empty where there is no such file."""
        path = self.root / "predictions.csv"
        if not path.is_file():
            return {}
        with path.open(encoding="utf-8", newline="") as stream:
            return {row["case_id"]: row for row in csv.DictReader(stream) if row.get("case_id")}

    @cached_property
    def about(self) -> Mapping[str, object]:
        """What ``rsuper predict`` wrote about the network; empty where it did not."""
        try:
            about = json.loads((self.root / PREDICTION_MARK).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return about if isinstance(about, dict) else {}

    @property
    def model_sha256(self) -> str | None:
        """Hash of the weights, where the folder says so."""
        value = self.about.get("model_sha256")
        return value if isinstance(value, str) else None

    @property
    def policy(self) -> SupervisionPolicy | None:
        """Which reported lesions the network was trained to find; None is the default, or nobody says.

        Raises:
            DataError: ``policy_unreadable`` if another version wrote it.
        """
        value = self.about.get("policy")
        try:
            return None if value is None else SupervisionPolicy.model_validate(value)
        except ValidationError as error:
            raise DataError(
                f"{PREDICTION_MARK} holds a policy that does not fit this version",
                code="policy_unreadable",
                hint="say which reported lesions count: --policy PRESET or FILE.yaml",
            ) from error

    @property
    def anatomy(self) -> Anatomy | None:
        """The table of organs that the network was trained with; None is the built-in one, or nobody says.

        Raises:
            DataError: ``anatomy_unreadable`` if another version wrote it.
        """
        return written_anatomy(self.about.get("anatomy"), source=PREDICTION_MARK)

    def score(self, case_id: str, class_name: str) -> float | None:
        """The case score: from ``predictions.csv``, else from the probabilities, else unknown."""
        text = self.scores.get(case_id, {}).get(f"{class_name}_score", "")
        if text:
            try:
                value = float(text)
            except ValueError as error:
                raise DataError(
                    f"predictions.csv: {class_name}_score is not a number",
                    code="score_invalid",
                    case_id=case_id,
                ) from error
            if not np.isfinite(value):
                raise DataError("the case score is not finite", code="score_invalid", case_id=case_id)
            return value
        path = self.probability(case_id, class_name)
        if not path.is_file():
            return None
        volume = read_volume(path)
        return case_score(volume.array, None, spacing_mm=volume.spacing_mm)
