"""The voxels of a lesson as text for a page: grey values, masks as bits, and what every voxel is told."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsuper.supervision.regions import Mask
from rsuper.views.explain import Lesson
from rsuper.views.explain_facts import GuessFacts

LUNG_WINDOW = (-450.0, 1500.0)
LUNG_ORGANS = frozenset({"lung"})
SOFT_WINDOW = (45.0, 380.0)
FAINT = 0.2  # belief below this is no place to go to
BITS = ("organ", "host", "region", "truth", "centers", "spared")


def packed(array: NDArray[np.uint8]) -> str:
    """Deflated bytes as base64, for a browser's ``DecompressionStream``.

    >>> packed(np.zeros(4, np.uint8))
    'eJxjYGBgAAAABAAB'
    """
    return base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 5)).decode()


def grey_values(lesson: Lesson) -> NDArray[np.uint8]:
    """The CT in the window that fits the organ, 7 bits: more than an eye sees, and a smaller page."""
    level, width = LUNG_WINDOW if lesson.organ in LUNG_ORGANS else SOFT_WINDOW
    share = (np.nan_to_num(lesson.ct_hu.astype(np.float32), nan=-1024.0) - (level - width / 2)) / width
    return np.asarray(np.rint(np.clip(share, 0, 1) * 127) * 2, np.uint8)


def mask_bits(lesson: Lesson) -> NDArray[np.uint8]:
    """One bit a mask, in the order of ``BITS``."""
    target, pair = lesson.lesson.target, lesson.lesson.pair
    masks: dict[str, Mask | None] = {
        "organ": lesson.organ_mask,
        "host": lesson.host_mask,
        "region": target.region,
        "truth": lesson.truth,
        "spared": target.ignore,
    }
    if pair is not None:
        near = [item.centers.numpy() for item in pair.lesions if item.centers is not None]
        masks["centers"] = np.logical_or.reduce(near) if near else None
    bits = np.zeros(lesson.ct_hu.shape, np.uint8)
    for number, name in enumerate(BITS):
        mask = masks.get(name)
        if mask is not None:
            bits |= mask.astype(np.uint8) << number
    return bits


def guess_bytes(guess: GuessFacts) -> NDArray[np.uint8]:
    """What each voxel is told in the low four bits, the root of its probability in fifteenths in the high four."""
    level = np.asarray(np.rint(np.sqrt(guess.probability) * 15), np.uint8)
    return np.asarray(guess.codes | (level << 4), np.uint8)


def volume_block(lesson: Lesson) -> dict[str, Any]:
    """Everything the page's script draws of a lesson."""
    return {
        "shape": list(lesson.ct_hu.shape),
        "spacing": [round(float(s), 4) for s in lesson.lesson.spacing_mm],
        "focus": list(lesson.focus),
        "grey": packed(grey_values(lesson)),
        "bits": packed(mask_bits(lesson)),
        "guesses": {guess.key: packed(guess_bytes(guess)) for guess in lesson.guesses},
        "peaks": {guess.key: _peak(guess) for guess in lesson.guesses},
        "truth": _middle(lesson.truth),
        "balls": {guess.key: [_ball(ball, lesson) for ball in guess.balls] for guess in lesson.guesses},
    }


def _peak(guess: GuessFacts) -> list[int] | None:
    """The voxel of the strongest belief; None where there is hardly any."""
    best = int(guess.probability.argmax())
    if guess.probability.flat[best] < FAINT:
        return None
    return [int(at) for at in np.unravel_index(best, guess.probability.shape)]


def _middle(mask: Mask | None) -> list[int] | None:
    """The voxel of a mask that is nearest to its centre."""
    if mask is None or not mask.any():
        return None
    voxels = np.argwhere(mask)
    nearest = np.linalg.norm(voxels - voxels.mean(axis=0), axis=1).argmin()
    return [int(at) for at in voxels[nearest]]


def _ball(ball: Any, lesson: Lesson) -> dict[str, Any]:
    target = lesson.lesson.target.lesions[ball.lesion]
    low, high = (ball_diameter_mm(volume) for volume in target.volume_mm3)
    return {
        "at": list(ball.centre),
        "search": round(ball.search_mm, 2),
        "ball": round(ball.ball_mm, 2),
        "low": low,
        "high": high,
    }


def ball_diameter_mm(volume_mm3: float) -> float | None:
    """Diameter of a ball of that volume; None if it has no bound."""
    return round((6 * volume_mm3 / np.pi) ** (1 / 3), 2) if np.isfinite(volume_mm3) else None
