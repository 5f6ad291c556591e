"""Paths in a dataset folder: nothing leaves it, nothing in it is a prediction."""

from __future__ import annotations

from pathlib import Path

from rsuper.errors import DataError

PREDICTION_MARK = "predictions.json"


def refuse_predictions(folder: Path, *, case_id: str | None = None) -> None:
    """Refuse a folder that ``rsuper predict`` wrote: what a model says is no label.

    Raises:
        DataError: ``predictions_as_labels``.
    """
    if (folder / PREDICTION_MARK).exists():
        raise DataError(
            f"{folder.name} holds predictions of a model ({PREDICTION_MARK}), they are no labels",
            code="predictions_as_labels",
            case_id=case_id,
            hint="give the folder with the human masks",
        )


def contained(root: Path, path: Path, *, case_id: str | None = None) -> Path:
    """``path`` itself, if it lies in the dataset folder after every symbolic link is followed.

    Raises:
        DataError: ``path_escapes``.
    """
    if not path.resolve().is_relative_to(root.resolve()):
        raise DataError(
            f"{path.relative_to(root)} points outside the dataset folder",
            code="path_escapes",
            case_id=case_id,
            hint="copy the file into the folder; symbolic links may not leave it",
        )
    return path


def volume_stem(name: str) -> str:
    """A file name without the suffix of its volume format."""
    for suffix in (".nii.gz", ".nii", ".mha", ".nrrd"):
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    return name
