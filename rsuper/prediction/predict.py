"""A trained run on CTs: masks, probabilities and findings on each CT's own grid; resumable case by case."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from rsuper.data.batches import normalise
from rsuper.data.fingerprint import IntensityFingerprint
from rsuper.data.layout import Dataset
from rsuper.errors import DataError, RsuperError, UsageError
from rsuper.files import write_atomic_text
from rsuper.networks import (
    Network,
    NetworkConfig,
    build_network,
    load_into,
    load_weights,
    predict_probabilities,
)
from rsuper.prediction.case_score import case_score
from rsuper.prediction.findings import CaseFindings, write_findings
from rsuper.prediction.lesions import find_lesions
from rsuper.volumes import (
    Volume,
    read_volume,
    reorient,
    require_ct_values,
    require_same_grid,
    resample,
    to_canonical,
    write_volume,
)

MARKER = "predictions.json"


@dataclass(frozen=True, kw_only=True)
class Model:
    """A trained network with everything its predictions depend on.

    Args:
        network: in evaluation mode, on ``device``.
        structures, lesion_classes: output channels in order.
        intensity: normalisation.
        spacing_mm: grid of the training data; None is the CT's own.
        patch_size: sliding window.
        roi_structures, roi_margin_mm: the network was trained inside this box and predicts only there.
        thresholds: lesion class → probability that makes a voxel a lesion voxel.
        sha256: hash of the weights file.
        device: torch device.
    """

    network: Network
    structures: tuple[str, ...]
    lesion_classes: tuple[str, ...]
    intensity: IntensityFingerprint
    spacing_mm: tuple[float, float, float] | None
    patch_size: tuple[int, int, int]
    roi_structures: tuple[str, ...]
    roi_margin_mm: float
    thresholds: Mapping[str, float]
    sha256: str
    device: str

    @property
    def channel_names(self) -> tuple[str, ...]:
        """All output channels."""
        return (*self.structures, *self.lesion_classes)


def load_model(run: Path, *, device: str = "cpu") -> Model:
    """Load ``model.safetensors`` of a run folder, or such a file.

    Raises:
        UsageError: ``no_model`` if the run has not finished a validation yet.
        DataError: ``weights_broken`` or ``weights_mismatch``.
    """
    path = run / "model.safetensors" if run.is_dir() else run
    if not path.is_file():
        raise UsageError(
            f"no model.safetensors in {run}", code="no_model", hint="finish `rsuper train` first"
        )
    tensors, meta = load_weights(path)
    try:
        channels = (*meta["structures"], *meta["lesion_classes"])
        network = build_network(NetworkConfig.model_validate(meta["network"]), len(channels))
        prepared = meta["prepared"]
        spacing = prepared["spacing_mm"]
        model = Model(
            network=network,
            structures=tuple(meta["structures"]),
            lesion_classes=tuple(meta["lesion_classes"]),
            intensity=IntensityFingerprint.model_validate(meta["intensity"]),
            spacing_mm=None if spacing is None else (spacing[0], spacing[1], spacing[2]),
            patch_size=tuple(meta["patch_size"]),
            roi_structures=tuple(prepared["roi_structures"]),
            roi_margin_mm=float(prepared["roi_margin_mm"]),
            thresholds=dict(meta["thresholds"]),
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            device=device,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path.name} does not describe its network ({error.__class__.__name__})", code="weights_broken"
        ) from error
    load_into(network, tensors, source=path.name)
    network.to(device, memory_format=torch.channels_last_3d).eval()  # type: ignore[call-overload]
    return model


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One case on the canonical grid of its CT: probability of each class, and the box the network saw."""

    probability: Mapping[str, NDArray[np.float32]]
    inside: NDArray[np.bool_]


def predict_volume(
    model: Model, ct: Volume, *, organ_masks: Mapping[str, NDArray[np.bool_]] | None = None
) -> Prediction:
    """Probabilities of every class on a canonical CT.

    The network sees the box around the host organs that it was trained on: from ``organ_masks`` where they are given,
    else from a first pass of its own organ channels over the whole volume.

    Args:
        model: from ``load_model``.
        ct: canonical (RAS) CT in HU.
        organ_masks: structure → bool [D,H,W] on the same grid.

    Returns:
        float32 [D,H,W] probabilities on the CT's grid, 0 outside the box.
    """
    masks = organ_masks or {}
    have = [masks[name] for name in model.roi_structures if name in masks and masks[name].any()]
    whole = (slice(0, ct.shape[0]), slice(0, ct.shape[1]), slice(0, ct.shape[2]))
    if model.roi_structures and not have:
        first = _infer(model, ct)
        have = [_largest_component(first[name] >= 0.5) for name in model.roi_structures if name in first]
        have = [mask for mask in have if mask.any()]
    box = _grown_box(have, ct, model.roi_margin_mm) if have else whole
    affine = ct.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ np.array([part.start for part in box], dtype=float)
    inner = _infer(model, Volume(np.ascontiguousarray(ct.array[box]), affine))
    inside = np.zeros(ct.shape, dtype=bool)
    inside[box] = True
    probability = {}
    for name, values in inner.items():
        probability[name] = np.zeros(ct.shape, dtype=np.float32)
        probability[name][box] = values
    return Prediction(probability=probability, inside=inside)


def predict(
    model: Model,
    source: Path,
    out: Path,
    *,
    cases: Sequence[str] | None = None,
    probabilities: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """Predict a dataset folder or one CT file.

    Args:
        model: from ``load_model``.
        source: a dataset folder (its organ masks place the box and name parts), or a CT file.
        out: output folder; ``CASE/segmentations/CLASS.nii.gz``, ``CASE/findings.json``, ``predictions.csv``.
        cases: case ids to predict, all by default.
        probabilities: also write ``CASE/probabilities/CLASS.nii.gz``.
        progress: called with (done, total, case_id).

    Returns:
        ``{"done": n, "failed": {case_id: code}}``.

    Raises:
        UsageError: ``output_holds_inputs`` if ``out`` is a dataset or holds the input CT.
    """
    inputs = _inputs(source, cases)
    _refuse(out, source)
    out.mkdir(parents=True, exist_ok=True)
    write_atomic_text(
        out / MARKER,
        json.dumps(
            {
                "written_by": "rsuper predict",
                "model_sha256": model.sha256,
                "thresholds": dict(model.thresholds),
            }
        ),
    )
    failed: dict[str, str] = {}
    for number, (case_id, read) in enumerate(inputs, 1):
        try:
            if not _is_done(out / case_id, model, probabilities=probabilities):
                _predict_case(model, case_id, read, out, probabilities=probabilities)
        except RsuperError as error:
            failed[case_id] = error.code
        if progress is not None:
            progress(number, len(inputs), case_id)
    _write_table(out, [case_id for case_id, _ in inputs if case_id not in failed], model)
    return {"done": len(inputs) - len(failed), "failed": failed}


_Reader = Callable[[], tuple[Volume, dict[str, Volume]]]


def _inputs(source: Path, cases: Sequence[str] | None) -> list[tuple[str, _Reader]]:
    if source.is_file():
        name = source.name.removesuffix(".gz").removesuffix(".nii")
        case_id = source.parent.name if name == "ct" else name
        return [(case_id, lambda: (read_volume(source), {}))]
    dataset = Dataset.open(source)
    wanted = None if cases is None else set(cases)
    entries = [entry for entry in dataset.cases if wanted is None or entry.case_id in wanted]
    if not entries:
        raise DataError(
            f"no case to predict in {source}", code="no_cases", hint="check --cases and cases.csv"
        )

    def reader(entry: Any) -> _Reader:
        def read() -> tuple[Volume, dict[str, Volume]]:
            names = sorted(dataset.structures(entry) - dataset.lesion_classes(entry))
            return dataset.read_ct(entry), {name: dataset.read_structure(entry, name) for name in names}

        return read

    return [(entry.case_id, reader(entry)) for entry in entries]


def _predict_case(model: Model, case_id: str, read: _Reader, out: Path, *, probabilities: bool) -> None:
    original, structures = read()
    require_ct_values(original, case_id=case_id)
    for name, mask in structures.items():
        require_same_grid(original, mask, case_id=case_id, names=("CT", name))
    ct = to_canonical(original)
    organs = {name: np.asarray(to_canonical(mask).array).astype(bool) for name, mask in structures.items()}
    prediction = predict_volume(model, ct, organ_masks=organs)
    temporary = out / f".{case_id}.partial"
    shutil.rmtree(temporary, ignore_errors=True)
    (temporary / "segmentations").mkdir(parents=True)
    lesions = []
    scores = {}
    own_organs = organs or {
        name: prediction.probability[name] >= 0.5
        for name in model.structures
        if name in prediction.probability
    }
    for name in model.lesion_classes:
        p = prediction.probability[name]
        mask = p >= model.thresholds.get(name, 0.5)
        scores[name] = case_score(p, prediction.inside, spacing_mm=ct.spacing_mm)
        write_volume(
            temporary / "segmentations" / f"{name}.nii.gz", _back(mask.astype(np.uint8), ct, original)
        )
        if probabilities:
            (temporary / "probabilities").mkdir(exist_ok=True)
            write_volume(temporary / "probabilities" / f"{name}.nii.gz", _back(p, ct, original))
        native = {key: np.asarray(_back(value, ct, original).array) for key, value in own_organs.items()}
        lesions += find_lesions(
            np.asarray(_back(mask, ct, original).array),
            np.asarray(_back(p, ct, original).array),
            original.array,
            affine=original.affine,
            class_name=name,
            organ_masks=native,
        )
    write_findings(
        temporary / "findings.json",
        CaseFindings(case_id=case_id, spacing_mm=original.spacing_mm, lesions=tuple(lesions)),
    )
    write_atomic_text(
        temporary / "case.json",
        json.dumps({"model_sha256": model.sha256, "scores": scores, "thresholds": dict(model.thresholds)}),
    )
    shutil.rmtree(out / case_id, ignore_errors=True)
    temporary.rename(out / case_id)


def _infer(model: Model, ct: Volume) -> dict[str, NDArray[np.float32]]:
    """Every channel on the grid of ``ct``, through the grid the model was trained on."""
    grid = (
        ct
        if model.spacing_mm is None
        else resample(ct.with_array(ct.array.astype(np.float32)), model.spacing_mm)
    )
    image = torch.from_numpy(normalise(np.rint(grid.array).astype(np.int16), model.intensity))[None]
    result = predict_probabilities(
        model.network, image, patch_size=model.patch_size, device=model.device
    ).numpy()
    found = {}
    for number, name in enumerate(model.channel_names):
        values = grid.with_array(result[number])
        found[name] = np.asarray(
            (values if grid is ct else resample(values, ct, fill=0.0)).array, dtype=np.float32
        )
    return found


def _back(array: NDArray[Any], canonical: Volume, original: Volume) -> Volume:
    """An array on the canonical grid, in the voxel order of the original file."""
    return reorient(canonical.with_array(array), original)


def _largest_component(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == int(sizes.argmax()))


def _grown_box(
    masks: Sequence[NDArray[np.bool_]], ct: Volume, margin_mm: float
) -> tuple[slice, slice, slice]:
    union = np.logical_or.reduce(list(masks))
    parts = []
    for axis in range(3):
        hit = np.flatnonzero(union.any(axis=tuple(other for other in range(3) if other != axis)))
        margin = int(np.ceil(margin_mm / ct.spacing_mm[axis]))
        parts.append(slice(max(0, int(hit[0]) - margin), min(ct.shape[axis], int(hit[-1]) + 1 + margin)))
    return parts[0], parts[1], parts[2]


def _refuse(out: Path, source: Path) -> None:
    inside = source.is_file() and source.resolve().parent == out.resolve()
    if inside or (out / "cases.csv").exists() or out.resolve() == source.resolve():
        raise UsageError(
            f"{out} holds inputs",
            code="output_holds_inputs",
            hint="choose an empty folder for the predictions",
        )


def _is_done(folder: Path, model: Model, *, probabilities: bool) -> bool:
    try:
        meta = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    complete = (folder / "findings.json").is_file() and (
        not probabilities or (folder / "probabilities").is_dir()
    )
    return bool(
        complete and meta["model_sha256"] == model.sha256 and meta["thresholds"] == dict(model.thresholds)
    )


def _write_table(out: Path, cases: Sequence[str], model: Model) -> None:
    from rsuper.prediction.findings import read_findings

    handle = io.StringIO(newline="")
    writer = csv.writer(handle)
    columns = [
        f"{name}_{what}" for name in model.lesion_classes for what in ("score", "lesions", "volume_mm3")
    ]
    writer.writerow(["case_id", *columns])
    for case_id in cases:
        scores = json.loads((out / case_id / "case.json").read_text(encoding="utf-8"))["scores"]
        findings = read_findings(out / case_id).lesions
        row: list[str] = [case_id]
        for name in model.lesion_classes:
            own = [lesion for lesion in findings if lesion.class_name == name]
            row += [f"{scores[name]:.6f}", str(len(own)), f"{sum(lesion.volume_mm3 for lesion in own):.1f}"]
        writer.writerow(row)
    write_atomic_text(out / "predictions.csv", handle.getvalue())


__all__ = ["Model", "Prediction", "load_model", "predict", "predict_volume"]
