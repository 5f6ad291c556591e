"""Crops at places, against the same rules written out in plain numpy on distances of every voxel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from rsuper.supervision import CaseTargets, ClassTarget, LesionPlace, LesionTarget, crop_pairs

CLASS = "liver_lesion"


@dataclass(frozen=True)
class Scene:
    targets: CaseTargets
    places: tuple[LesionPlace, ...]
    start: tuple[int, ...]
    stop: tuple[int, ...]

    @property
    def target(self) -> ClassTarget:
        return self.targets.classes[CLASS]

    @property
    def box(self) -> tuple[slice, ...]:
        return tuple(slice(a, b) for a, b in zip(self.start, self.stop, strict=True))

    def own(self, lesion: int) -> np.ndarray:
        region = self.target.lesions[lesion].region
        return self.target.region if region is None else region.numpy()


def random_scene(seed: int) -> Scene:
    """Two or three lesions, some with a half of the region of their own, most of them found; a region no crop holds."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(size) for size in rng.integers(20, 30, 3))
    region = np.zeros(shape, dtype=bool)
    region[1:-1, 2:-1, 1:-2] = True
    lesions, places = [], []
    for number in range(int(rng.integers(2, 4))):
        half = region.copy()
        half[: shape[0] // 2] = False
        diameter = float(rng.uniform(4, 18))
        volume = np.pi / 6 * diameter**3
        lesions.append(
            LesionTarget(
                diameters_mm=(diameter,),
                volume_mm3=(0.5 * volume, 1.6 * volume),
                region=torch.from_numpy(half) if rng.random() < 0.3 else None,
            )
        )
        if rng.random() < 0.85:
            inside = np.argwhere(half)
            center = tuple(int(at) for at in inside[rng.integers(len(inside))])
            places.append(LesionPlace(lesion=number, center=center, ball_mm=1.2 * diameter))
    low, high = (sum(lesion.volume_mm3[end] for lesion in lesions) for end in (0, 1))
    target = ClassTarget(state="reported", region=region, lesions=tuple(lesions), volume_mm3=(low, high))
    spacing_mm = tuple(float(size) for size in rng.choice([0.7, 1.0, 1.5, 2.5], 3))
    side = rng.integers(8, 17, 3)
    start = tuple(int(rng.integers(0, size - own + 1)) for size, own in zip(shape, side, strict=True))
    stop = tuple(first + int(own) for first, own in zip(start, side, strict=True))
    targets = CaseTargets(case_id="C1", classes={CLASS: target}, spacing_mm=spacing_mm, shape=shape)
    return Scene(targets, tuple(places), start, stop)


def ball_of(scene: Scene, place: LesionPlace) -> np.ndarray:
    """Bool [D,H,W]: what lies in the ball and where the lesion may lie, by the distance of every voxel."""
    offset_mm = (np.indices(scene.targets.shape).T - np.array(place.center)) * scene.targets.spacing_mm
    away_mm = np.linalg.norm(offset_mm, axis=-1).T
    return (away_mm <= place.ball_mm / 2 + 1e-9) & scene.own(place.lesion)


@pytest.mark.parametrize("seed", range(80))
def test_a_crop_takes_the_lesions_that_it_holds_and_leaves_out_the_balls_of_others(seed):
    scene = random_scene(seed)
    (pair,) = crop_pairs(
        scene.targets, scene.start, scene.stop, sample=0, channels={CLASS: 0}, places={CLASS: scene.places}
    )
    low, high = scene.target.volume_mm3
    if not scene.places:
        assert (pair.complete, pair.volume_mm3) == (False, (0.0, high))
        assert all(lesion.remainder for lesion in pair.lesions)
        return
    shape = scene.target.region[scene.box].shape
    here, elsewhere, share = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool), {}
    for place in scene.places:
        ball = ball_of(scene, place)
        shown = ball[scene.box]
        share[place.lesion] = 0.0
        if all(a <= at < b for a, at, b in zip(scene.start, place.center, scene.stop, strict=True)):
            here |= shown
            share[place.lesion] = shown.sum() / ball.sum()
        else:
            elsewhere |= shown
    assert np.array_equal(pair.region.numpy(), scene.target.region[scene.box] & ~(elsewhere & ~here))
    wanted = [  # (remainder, lo, hi) of the lesions that were not found, or found here
        (number not in share, share.get(number, 0.0) * lesion.volume_mm3[0], lesion.volume_mm3[1])
        for number, lesion in enumerate(scene.target.lesions)
        if share.get(number, 1.0) > 0
    ]
    assert [lesion.remainder for lesion in pair.lesions] == [remainder for remainder, _, _ in wanted]
    for lesion, (_, lowest, highest) in zip(pair.lesions, wanted, strict=True):
        assert lesion.volume_mm3 == pytest.approx((lowest, highest))
    asked = sum(lowest for _, lowest, _ in wanted)
    assert pair.volume_mm3 == pytest.approx((asked, sum(highest for _, _, highest in wanted)))
    assert asked <= low
    assert pair.volume_mm3[1] <= high * (1 + 1e-12)
    assert pair.complete == (asked > 0)
