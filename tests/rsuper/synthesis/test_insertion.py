"""Insertion into an analytic CT, and into the real one."""

import json

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, label

from rsuper.errors import DataError
from rsuper.prediction.lesions import axial_diameters
from rsuper.synthesis import grown_shape, insert_tumour, report_inserted, shape_from_mask, split_pancreas
from rsuper.synthesis.tumour_shapes import fitted, signed_distance_mm
from rsuper.volumes import Volume, read_labels, read_volume, to_canonical

SPACING = (1.5, 1.5, 2.5)
SHAPE = (64, 64, 40)


def ball(shape, spacing, centre_mm, radius_mm):
    grid = np.meshgrid(
        *[(np.arange(n) + 0.5) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij"
    )
    return sum((g - c) ** 2 for g, c in zip(grid, centre_mm, strict=True)) <= radius_mm**2


@pytest.fixture(scope="module")
def scene():
    """A liver ball of 100 HU in fat, an aorta beside it, a gas bubble and noise of 8 HU."""
    rng = np.random.default_rng(0)
    hu = np.full(SHAPE, -100.0)
    liver = ball(SHAPE, SPACING, (48, 48, 50), 32)
    aorta = ball(SHAPE, SPACING, (84, 48, 50), 9) & ~liver
    hu[liver], hu[aorta] = 100, 160
    hu += rng.normal(0, 8, SHAPE)
    hu[2:6, 2:6, 2:6] = -900
    affine = np.diag([*SPACING, 1.0])
    return Volume(np.rint(hu).astype(np.int16), affine), {"liver": liver, "aorta": aorta}


@pytest.mark.parametrize(("attenuation", "sign"), [("hypo", -1), ("hyper", 1)])
@pytest.mark.parametrize("longest_mm", [9.0, 16.0, 28.0])
def test_size_contrast_and_grain_are_as_ordered(scene, attenuation, sign, longest_mm):
    ct, structures = scene
    result = insert_tumour(
        ct, structures, structure="liver", longest_mm=longest_mm, attenuation=attenuation,
        contrast_hu=40, rng=np.random.default_rng(3),
    )  # fmt: skip
    assert result.truth.diameters_mm[0] == pytest.approx(longest_mm, abs=1.5)
    assert result.truth.diameters_mm == pytest.approx(
        axial_diameters(result.mask, spacing_mm=SPACING, axial_axis=2)[:3]
    )
    assert result.truth.volume_mm3 == pytest.approx(result.mask.sum() * ct.voxel_volume_mm3)
    assert (result.mask & structures["liver"]).sum() > 0.9 * result.mask.sum()
    assert result.ct.array.dtype == ct.array.dtype
    inner = result.mask & ~binary_dilation(~result.mask)
    if inner.sum() > 50:
        change = result.ct.array[inner].astype(float) - ct.array[inner]
        assert change.mean() == pytest.approx(sign * 40, abs=5)
        assert 4 < result.ct.array[inner].std() < 12
    assert label(result.mask, np.ones((3, 3, 3)))[1] == 1


def test_nothing_changes_away_from_the_tumour_or_in_other_organs(scene):
    ct, structures = scene
    result = insert_tumour(
        ct, structures, structure="liver", longest_mm=20, attenuation="hypo", rng=np.random.default_rng(1),
        growth="exophytic",
    )  # fmt: skip
    far = ~binary_dilation(result.mask, iterations=2)
    assert np.array_equal(result.ct.array[far], ct.array[far])
    assert not (result.mask & structures["aorta"]).any()
    share = (result.mask & structures["liver"]).sum() / result.mask.sum()
    assert 0.2 < share < 0.8
    outside = result.mask & ~structures["liver"]
    assert result.ct.array[outside].mean() > 0  # tissue where fat was


def test_the_same_seed_inserts_the_same_tumour(scene):
    ct, structures = scene
    one, other = (
        insert_tumour(
            ct, structures, structure="liver", longest_mm=15, attenuation="hypo", rng=np.random.default_rng(9)
        )
        for _ in range(2)
    )
    assert np.array_equal(one.ct.array, other.ct.array)
    assert one.truth == other.truth


def test_what_cannot_be_done_is_refused(scene):
    ct, structures = scene
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="missing_organ_mask"):
        insert_tumour(ct, structures, structure="pancreas", longest_mm=15, attenuation="hypo", rng=rng)
    with pytest.raises(DataError, match="tumour_does_not_fit"):
        insert_tumour(ct, structures, structure="liver", longest_mm=120, attenuation="hypo", rng=rng)
    with pytest.raises(DataError, match="empty_tumour_shape"):
        shape_from_mask(np.zeros((5, 5, 5), bool), spacing_mm=(1, 1, 1), source="x")


def test_a_shape_keeps_its_proportions_on_another_grid():
    spacing = (0.8, 0.8, 3.0)
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip((60, 60, 20), spacing, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    ellipsoid = (x / 20) ** 2 + (y / 12) ** 2 + (z / 15) ** 2 <= 1
    shape = shape_from_mask(ellipsoid, spacing_mm=spacing, source="ellipsoid")
    for turn in (0.0, 0.7, 2.0):
        out = fitted(shape, spacing_mm=(1, 1, 1), longest_mm=30, turn_rad=turn, mirror=turn > 1)
        size = axial_diameters(out > 0, spacing_mm=(1, 1, 1), axial_axis=2)
        assert size.longest_mm == pytest.approx(30, abs=0.8)
        assert size.perpendicular_mm == pytest.approx(18, abs=1.5)
        assert size.cranio_caudal_mm == pytest.approx(22.5, abs=3)
        assert (out > 0).sum() == pytest.approx(np.pi / 6 * 30 * 18 * 22.5, rel=0.15)


def test_the_largest_component_is_taken_and_grown_shapes_are_one_piece():
    mask = np.zeros((30, 30, 30), bool)
    mask[2:5, 2:5, 2:5] = True
    mask[10:22, 10:22, 10:22] = True
    shape = shape_from_mask(mask, spacing_mm=(1, 1, 1), source="two")
    assert (shape.distance_mm > 0).sum() == 12**3
    grown = grown_shape(np.random.default_rng(1))
    assert label(grown.distance_mm > 0)[1] == 1
    assert 25 < grown.diameters_mm[0] < 60


def test_signed_distance_of_a_half_space():
    mask = np.zeros((10, 5, 5), bool)
    mask[:4] = True
    distance = signed_distance_mm(mask, spacing_mm=(2, 2, 2))
    assert distance[:, 2, 2] == pytest.approx([7, 5, 3, 1, -1, -3, -5, -7, -9, -11])


def test_a_bent_and_broken_pancreas_is_split_from_right_to_left():
    gland = np.zeros((60, 20, 20), bool)
    gland[4:28, 8:13, 12:16] = True  # tail and body, left of the patient
    gland[31:50, 8:14, 4:14] = True  # head, with a gap of three voxels
    parts = split_pancreas(gland)
    assert np.array_equal(np.sum(list(parts.values()), axis=0), gland)
    centre = [np.argwhere(parts[f"pancreas_{n}"])[:, 0].mean() for n in ("head", "body", "tail")]
    assert centre[0] > centre[1] > centre[2]
    assert parts["pancreas_head"].sum() / gland.sum() == pytest.approx(0.45, abs=0.02)
    assert not any(m.any() for m in split_pancreas(np.zeros((3, 3, 3), bool)).values())


def test_the_report_states_the_tumour(scene):
    ct, structures = scene
    result = insert_tumour(
        ct, structures, structure="liver", longest_mm=18, attenuation="hyper", rng=np.random.default_rng(2)
    )
    report = report_inserted([result.truth], np.random.default_rng(2), organs=("liver", "spleen"))
    assert [s.organ for s in report.truth.lesions] == ["liver"]
    assert set(report.truth.lesions[0].diameters_mm) <= {float(round(d)) for d in result.truth.diameters_mm}
    assert "liver" in report.text.lower() or "hepatic" in report.text.lower()


@pytest.mark.real_data
def test_real_tumour_shapes_go_into_a_real_ct(shared_data):
    folder = shared_data / "ct"
    ct = to_canonical(read_volume(folder / "totalsegmentator/example_ct.nii.gz"))
    labels = to_canonical(read_labels(folder / "totalsegmentator/example_seg_fast_force_split.nii.gz"))
    names = json.loads((folder / "totalsegmentator_label_names.json").read_text())["total"]
    structures = {
        name: labels.array == int(value)
        for value, name in names.items()
        if (labels.array == int(value)).any()
    }
    structures |= split_pancreas(structures["pancreas"])
    mask = to_canonical(read_labels(shared_data / "masks/panorama/100234_00001.nii.gz"))
    shape = shape_from_mask(mask.array == 1, spacing_mm=mask.spacing_mm, source="real")
    rng = np.random.default_rng(0)
    for structure, longest_mm, attenuation, growth in (
        ("kidney_left", 30, "hypo", "exophytic"),
        ("pancreas_head", 18, "hyper", "inside"),
        ("liver", 35, "hypo", "inside"),
    ):
        result = insert_tumour(
            ct, structures, structure=structure, longest_mm=longest_mm, attenuation=attenuation, rng=rng,
            shape=shape, growth=growth, contrast_hu=45,
        )  # fmt: skip
        assert result.truth.diameters_mm[0] == pytest.approx(longest_mm, abs=2.5)
        assert result.truth.organ == structure.split("_")[0]
        assert result.truth.side == ("left" if structure == "kidney_left" else "n/a")
        inside = result.mask & structures[structure]
        change = result.ct.array[inside].astype(float) - ct.array[inside]
        assert (change.mean() < -15) if attenuation == "hypo" else (change.mean() > 15)
