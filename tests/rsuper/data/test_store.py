"""Prepared cases: what goes in comes out, box by box; broken files are named."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rsuper.data.store import content_sha256, read_case, write_case
from rsuper.errors import DataError
from rsuper.supervision.types import CaseTargets, ClassTarget, LesionTarget

SHAPE = (70, 9, 11)
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(-991, 500, SHAPE).astype(np.int16)
REGION = RNG.random(SHAPE) < 0.3
OWN = REGION & (RNG.random(SHAPE) < 0.5)
CENTERS = OWN & (RNG.random(SHAPE) < 0.5)
IGNORE = RNG.random(SHAPE) < 0.1


def targets() -> CaseTargets:
    lesions = (
        LesionTarget(
            diameters_mm=(12.5, 9.0),
            volume_mm3=(100.0, 900.5),
            region=torch.from_numpy(OWN),
            centers=torch.from_numpy(CENTERS),
            slab=(2, 3, 7),
            weight=0.7,
            median_mm3=300.0,
            sigma_log=0.4,
            attenuation="hypo",
            malignant=True,
        ),
        LesionTarget(remainder=True, volume_mm3=(14.0, math.inf)),
    )
    reported = ClassTarget(
        state="reported",
        region=REGION,
        ignore=IGNORE,
        lesions=lesions,
        volume_mm3=(114.0, math.inf),
        weight=0.9,
        margin_mm=8.0,
        codes=("part_mask_missing",),
    )
    return CaseTargets(
        case_id="c1",
        classes={"pancreas_lesion": reported, "liver_lesion": ClassTarget(state="absent")},
        spacing_mm=(1.0, 2.0, 3.0),
        shape=SHAPE,
    )


@pytest.fixture
def case(tmp_path):
    folder = tmp_path / "c1"
    masks = {"structure:pancreas": REGION.copy(), "structure:liver": IGNORE | REGION}
    write_case(
        folder,
        image_hu=IMAGE,
        masks=masks,
        targets=targets(),
        affine=np.diag([1.0, 2.0, 3.0, 1.0]),
        split="train",
        site="a",
    )
    return read_case(folder)


def test_everything_comes_back(case):
    assert (case.case_id, case.split, case.site, case.shape) == ("c1", "train", "a", SHAPE)
    assert np.array_equal(case.image(), IMAGE)
    assert np.array_equal(case.mask("structure:liver"), IGNORE | REGION)
    expected, found = targets(), case.case_targets()
    assert (found.spacing_mm, found.shape) == (expected.spacing_mm, expected.shape)
    assert found.classes["liver_lesion"] == ClassTarget(state="absent")
    one, two = expected.classes["pancreas_lesion"], found.classes["pancreas_lesion"]
    for name in ("state", "volume_mm3", "median_mm3", "sigma_log", "weight", "margin_mm", "codes"):
        assert getattr(one, name) == getattr(two, name), name
    assert np.array_equal(two.region, REGION)
    assert np.array_equal(two.ignore, IGNORE)
    for first, second in zip(one.lesions, two.lesions, strict=True):
        for name in first.__dataclass_fields__:
            a, b = getattr(first, name), getattr(second, name)
            assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b, name


def test_equal_masks_are_stored_once(case):
    assert case.targets["pancreas_lesion"]["region"] == "structure:pancreas"
    assert len(case.channels) == len(set(case.channels)) == 5  # two structures, own region, centres, ignore


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_box_is_the_slice_of_the_whole(data, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "boxed"
    if not folder.exists():
        write_case(folder, image_hu=IMAGE, masks={"structure:x": REGION}, targets=targets(), affine=np.eye(4))
    start = [data.draw(st.integers(0, size - 1)) for size in SHAPE]
    stop = [data.draw(st.integers(low + 1, size)) for low, size in zip(start, SHAPE, strict=True)]
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    case = read_case(folder)
    assert np.array_equal(case.image(start, stop), IMAGE[box])
    assert np.array_equal(case.mask("structure:x", start, stop), REGION[box])


def test_threads_share_a_case(case):
    boxes = [(i % 60, i % 5, i % 7) for i in range(80)]

    def same(start):
        stop = [first + 4 for first in start]
        box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        image = np.array_equal(case.image(start, stop), IMAGE[box])
        return image and np.array_equal(case.mask("structure:pancreas", start, stop), REGION[box])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(same, boxes))


def test_a_channel_that_is_not_there_names_those_that_are(case):
    with pytest.raises(KeyError, match=r"structure:spleen.*structure:pancreas"):
        case.mask("structure:spleen")


@pytest.mark.parametrize("damage", ["no_json", "half_json", "format", "no_image", "no_masks", "list"])
def test_a_broken_case_is_refused_with_its_name(case, damage):
    description = case.folder / "case.json"
    text = description.read_text()
    if damage == "no_json":
        description.unlink()
    elif damage == "half_json":
        description.write_text(text[: len(text) // 2])
    elif damage == "format":
        description.write_text(json.dumps(json.loads(text) | {"format_version": 99}))
    elif damage == "list":
        description.write_text("[]")
    else:
        (case.folder / f"{damage.removeprefix('no_')}.b2nd").unlink()
    with pytest.raises(DataError) as caught:
        read_case(case.folder)
    assert (caught.value.code, caught.value.case_id) == ("prepared_case_broken", "c1")


def test_a_truncated_volume_is_a_coded_error(case):
    path = case.folder / "image.b2nd"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError) as caught:
        case.image()
    assert caught.value.code == "prepared_case_broken"


def test_the_content_hash_sees_one_voxel(tmp_path, case):
    changed = IMAGE.copy()
    changed[3, 4, 5] += 1
    write_case(tmp_path / "c2", image_hu=changed, masks={}, targets=targets(), affine=np.eye(4))
    write_case(tmp_path / "c3", image_hu=IMAGE, masks={}, targets=targets(), affine=np.eye(4))
    write_case(tmp_path / "c4", image_hu=IMAGE, masks={}, targets=targets(), affine=np.eye(4))
    second, third, fourth = (content_sha256([read_case(tmp_path / name)]) for name in ("c2", "c3", "c4"))
    assert second != third == fourth
