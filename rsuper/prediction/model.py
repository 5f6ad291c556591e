"""A trained network on one CT: probabilities of every class on the CT's own grid."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from llm_extract.anatomy import Anatomy
from rsuper.data.batches import normalise
from rsuper.data.fingerprint import IntensityFingerprint
from rsuper.data.roi import organ_box, whole_box
from rsuper.errors import DataError, UsageError
from rsuper.networks import (
    Network,
    NetworkConfig,
    build_network,
    load_into,
    load_weights,
    predict_probabilities,
    require_device,
)
from rsuper.supervision.user_anatomy import written_anatomy
from rsuper.volumes import Volume, resample

HU_RANGE = (-32768, 32767)


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
        case_thresholds: lesion class → case score from which validation calls a case positive, where it had both kinds.
        policy: which reported lesions it was trained to find, as written down; None is the default.
        anatomy: the table of organs that it was trained with; None is the built-in one.
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
    case_thresholds: Mapping[str, float] = field(default_factory=dict)
    policy: Mapping[str, Any] | None = None
    anatomy: Anatomy | None = None
    sha256: str
    device: str

    @property
    def channel_names(self) -> tuple[str, ...]:
        """All output channels."""
        return (*self.structures, *self.lesion_classes)


def load_model(run: Path, *, device: str = "cpu", network_factory: str | None = None) -> Model:
    """Load ``model.safetensors`` of a run folder, or such a file.

    Args:
        run: run folder or file.
        device: torch device.
        network_factory: import path of a custom network. The file names it too, but is never obeyed alone.

    Raises:
        UsageError: ``no_model`` if the run has not finished a validation yet, ``network_not_given``.
        DataError: ``weights_broken``, ``weights_mismatch`` or ``anatomy_unreadable``.
        ResourceError: ``device_missing``.
    """
    require_device(device)
    path = run / "model.safetensors" if run.is_dir() else run
    if not path.is_file():
        raise UsageError(
            f"no model.safetensors in {run}", code="no_model", hint="finish `rsuper train` first"
        )
    tensors, meta = load_weights(path)
    try:
        channels = (*meta["structures"], *meta["lesion_classes"])
        network = build_network(
            NetworkConfig.model_validate(meta["network"]), len(channels), factory=network_factory
        )
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
            case_thresholds=dict(meta.get("case_thresholds", {})),
            policy=prepared.get("policy"),
            anatomy=written_anatomy(prepared.get("anatomy"), source=path.name),
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            device=device,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path.name} does not describe its network ({error.__class__.__name__})",
            code="weights_broken",
            hint="give a file that `rsuper train` wrote",
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
    if not have and any(name in model.structures for name in model.roi_structures):
        first = _infer(model, ct)
        have = [_largest_component(first[name] >= 0.5) for name in model.roi_structures if name in first]
    box = organ_box(have, spacing_mm=ct.spacing_mm, margin_mm=model.roi_margin_mm) or whole_box(ct.shape)
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


def _infer(model: Model, ct: Volume) -> dict[str, NDArray[np.float32]]:
    """Every channel on the grid of ``ct``, through the grid the model was trained on."""
    grid = (
        ct
        if model.spacing_mm is None
        else resample(ct.with_array(ct.array.astype(np.float32)), model.spacing_mm, order=3)
    )
    hu = np.clip(np.rint(grid.array), *HU_RANGE).astype(np.int16)
    image = torch.from_numpy(normalise(hu, model.intensity))[None]
    result = predict_probabilities(
        model.network, image, patch_size=model.patch_size, device=model.device
    ).numpy()
    found = {}
    for number, name in enumerate(model.channel_names):
        values = grid.with_array(result[number])
        found[name] = np.asarray(
            (values if grid is ct else resample(values, ct, order=3, fill=0.0)).array, dtype=np.float32
        )
    return found


def _largest_component(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == int(sizes.argmax()))
