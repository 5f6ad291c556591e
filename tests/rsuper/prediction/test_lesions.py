"""Findings against analytic ellipsoids at anisotropic spacing, and against sums done by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_extract.anatomy import load_anatomy
from rsuper.errors import DataError
from rsuper.prediction import CaseFindings, case_score, find_lesions, read_findings, write_findings
from rsuper.prediction.lesions import axial_axis_of, axial_diameters, spacing_of


def ellipsoid(shape, spacing_mm, centre_mm, axes_mm):
    """Voxels whose centre lies inside an ellipsoid with full axes ``axes_mm``."""
    grid = np.meshgrid(*(np.arange(n) * s for n, s in zip(shape, spacing_mm, strict=True)), indexing="ij")
    return sum(((g - c) / (a / 2)) ** 2 for g, c, a in zip(grid, centre_mm, axes_mm, strict=True)) <= 1


def affine_of(spacing_mm, origin=(0.0, 0.0, 0.0)):
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = origin
    return affine


@pytest.mark.parametrize("spacing_mm", [(0.7, 0.7, 2.5), (1.0, 1.0, 1.0), (0.8, 1.1, 5.0)])
@pytest.mark.parametrize("axes_mm", [(30.0, 18.0, 24.0), (14.0, 22.0, 40.0)])
def test_an_ellipsoid_is_measured_within_a_voxel(spacing_mm, axes_mm):
    shape = tuple(int(60 / s) for s in spacing_mm)
    mask = ellipsoid(shape, spacing_mm, (30.1, 29.7, 30.3), axes_mm)
    [finding] = find_lesions(mask, None, None, affine=affine_of(spacing_mm), class_name="pancreas_lesion")
    longest, perpendicular, height = finding.diameters_mm
    in_plane = max(spacing_mm[:2])
    assert longest == pytest.approx(max(axes_mm[:2]), abs=1.1 * in_plane)
    # the direction of the longest diameter is only known to a voxel, so the perpendicular one is wider
    assert perpendicular == pytest.approx(min(axes_mm[:2]), abs=1.5 * in_plane)
    assert height == pytest.approx(axes_mm[2], abs=spacing_mm[2])
    assert finding.volume_mm3 == pytest.approx(math.pi / 6 * math.prod(axes_mm), rel=0.04)
    assert finding.centre_mm == pytest.approx((30.1, 29.7, 30.3), abs=0.3)


def test_an_oblique_rod_has_its_true_length():
    angle = math.radians(33)
    i, j = np.meshgrid(np.arange(120), np.arange(120), indexing="ij")
    along = (i - 60) * 0.5 * math.cos(angle) + (j - 60) * 0.5 * math.sin(angle)
    across = -(i - 60) * 0.5 * math.sin(angle) + (j - 60) * 0.5 * math.cos(angle)
    plane = (np.abs(along) <= 20) & (np.abs(across) <= 4)
    mask = np.repeat(plane[:, :, None], 3, axis=2)
    size = axial_diameters(mask, spacing_mm=(0.5, 0.5, 4.0), axial_axis=2)
    assert size.longest_mm == pytest.approx(math.hypot(40, 8), abs=0.8)  # corner to corner
    assert size.cranio_caudal_mm == 12.0


def test_the_axial_axis_comes_from_the_affine():
    """The same lesion stored with head-feet first, flipped, gives the same finding."""
    spacing_mm = (0.8, 1.0, 3.0)
    mask = ellipsoid((50, 40, 20), spacing_mm, (20, 20, 30), (22, 14, 30))
    plain = find_lesions(mask, None, None, affine=affine_of(spacing_mm), class_name="liver_lesion")[0]
    turned = np.transpose(mask, (2, 0, 1))[::-1]
    affine = np.array([[0, 0.8, 0, 0], [0, 0, 1.0, 0], [-3.0, 0, 0, 3.0 * 19], [0, 0, 0, 1]], dtype=float)
    assert axial_axis_of(affine) == 0
    assert spacing_of(affine) == (3.0, 0.8, 1.0)
    stored = find_lesions(turned, None, None, affine=affine, class_name="liver_lesion")[0]
    assert stored.diameters_mm == plain.diameters_mm
    assert stored.centre_mm == pytest.approx(plain.centre_mm)
    assert stored.slice_index == 19 - plain.slice_index
    assert stored.centre_voxel[0] == pytest.approx(19 - plain.centre_voxel[2])


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    spacing_mm=st.tuples(*[st.floats(0.5, 4.0)] * 3),
)
def test_feret_agrees_with_all_pairs_of_points(seed, spacing_mm):
    rng = np.random.default_rng(seed)
    mask = rng.random((7, 6, 3)) > 0.7
    mask[3, 3, 1] = True
    size = axial_diameters(mask, spacing_mm=spacing_mm, axial_axis=2)
    longest = 0.0
    for k in range(3):
        points = np.argwhere(mask[:, :, k]) * np.array(spacing_mm[:2])
        if len(points):
            longest = max(longest, np.linalg.norm(points[:, None] - points[None], axis=-1).max())
    pixel = (spacing_mm[0] + spacing_mm[1]) / 2
    assert size.longest_mm == pytest.approx(longest + pixel, rel=2e-4)
    assert 0 < size.perpendicular_mm <= size.longest_mm + 1e-9


def test_components_touching_at_a_corner_are_one_and_noise_is_dropped():
    mask = np.zeros((12, 12, 12), dtype=bool)
    mask[1:4, 1:4, 1:4] = True
    mask[4:7, 4:7, 4:7] = True  # touches at one corner: 26-connectivity joins them
    mask[10, 10, 10] = True  # 1 mm³
    findings = find_lesions(mask, None, None, affine=np.eye(4), class_name="spleen_lesion")
    assert [f.volume_mm3 for f in findings] == [54.0]
    kept = find_lesions(mask, None, None, affine=np.eye(4), class_name="spleen_lesion", min_volume_mm3=0)
    assert [f.volume_mm3 for f in kept] == [54.0, 1.0]
    coarse = find_lesions(mask, None, None, affine=np.diag([3.0, 3, 3, 1]), class_name="spleen_lesion")
    assert len(coarse) == 1  # 27 mm³, but a single voxel
    assert [f.lesion_id for f in kept] == ["spleen_lesion-1", "spleen_lesion-2"]


def test_part_side_attenuation_and_confidence():
    shape = (40, 30, 20)
    left, right = np.zeros(shape, bool), np.zeros(shape, bool)
    left[4:14, 5:20, 5:15] = True
    right[26:36, 5:20, 5:15] = True
    mask = np.zeros(shape, bool)
    mask[10:16, 8:14, 8:12] = True  # mostly inside the left kidney
    mask[37:40, 8:14, 8:12] = True  # beside the right one
    probability = np.where(mask, 0.6, 0.1)
    probability[10:15, 8:12, 8:13] = 0.9  # 5×4×4 = 80 mm³ of it in the mask
    ct = np.where(mask, 25.0, 100.0)
    findings = find_lesions(
        mask,
        probability,
        ct,
        affine=np.eye(4),
        class_name="kidney_lesion",
        organ_masks={"kidney_left": left, "kidney_right": right},
    )
    assert [f.side for f in findings] == ["left", "right"]
    assert findings[0].confidence == pytest.approx((80 * 0.9 + 20 * 0.6) / 100)
    assert findings[1].confidence == pytest.approx(0.6)
    assert findings[0].mean_hu == 25.0
    assert findings[0].organ == "kidney"


def test_part_of_the_pancreas_is_the_one_with_most_overlap():
    shape = (30, 10, 10)
    parts = {name: np.zeros(shape, bool) for name in ("pancreas_head", "pancreas_body", "pancreas_tail")}
    parts["pancreas_head"][:10] = parts["pancreas_body"][10:20] = parts["pancreas_tail"][20:] = True
    mask = np.zeros(shape, bool)
    mask[8:15, 3:7, 3:7] = True
    [finding] = find_lesions(
        mask, None, None, affine=np.eye(4), class_name="pancreas_lesion", organ_masks=parts
    )
    assert finding.part == "pancreas_body"
    assert finding.side == "n/a"
    [unknown] = find_lesions(mask, None, None, affine=np.eye(4), class_name="pancreas_lesion")
    assert unknown.part is None


def test_every_lesion_class_of_the_anatomy_has_an_organ():
    mask = np.ones((4, 4, 4), bool)
    for organ in load_anatomy().organs.values():
        [finding] = find_lesions(mask, None, None, affine=np.eye(4), class_name=f"{organ.class_name}_lesion")
        assert finding.organ == organ.name
    with pytest.raises(DataError, match="unknown_class"):
        find_lesions(mask, None, None, affine=np.eye(4), class_name="unicorn_lesion")


def test_a_grid_that_differs_is_an_error():
    mask = np.zeros((4, 4, 4), bool)
    with pytest.raises(DataError, match="shape_mismatch"):
        find_lesions(mask, np.zeros((4, 4, 5)), None, affine=np.eye(4), class_name="liver_lesion")


def test_findings_file_round_trip(tmp_path):
    mask = ellipsoid((30, 30, 30), (1, 1, 1), (15, 15, 15), (12, 10, 14))
    findings = find_lesions(mask, mask * 0.8, mask * 40.0, affine=np.eye(4), class_name="liver_lesion")
    case = CaseFindings(case_id="case_1", spacing_mm=(1, 1, 1), lesions=tuple(findings))
    path = write_findings(tmp_path, case)
    assert path == tmp_path / "findings.json"
    assert read_findings(tmp_path) == case
    entry = json.loads(path.read_text())["lesions"][0]
    assert set(entry) == {
        "lesion_id", "class", "organ", "part", "side", "diameters_mm", "volume_mm3", "mean_hu", "confidence",
        "centre_mm", "centre_voxel", "slice",
    }  # fmt: skip
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(DataError, match="findings_missing"):
        read_findings(tmp_path / "elsewhere.json")
    path.write_text('{"case_id": "x", "lesions": "secret words"}')
    with pytest.raises(DataError, match="findings_invalid") as caught:
        read_findings(path)
    assert "secret" not in str(caught.value)


def test_case_score_by_hand():
    probability = np.zeros((5, 5, 5))
    probability[0, 0, :4] = [0.9, 0.7, 0.5, 0.3]
    assert case_score(probability, spacing_mm=(3, 3, 3)) == pytest.approx(
        (0.9 + 0.7 + 0.5 + (100 / 27 - 3) * 0.3) / (100 / 27)
    )
    assert case_score(probability, spacing_mm=(5, 5, 5)) == 0.9  # one voxel is larger than 100 mm³
    assert case_score(probability, spacing_mm=(5, 5, 4)) == pytest.approx(0.9)
    region = np.zeros((5, 5, 5), bool)
    region[0, 0, 2:4] = True
    assert case_score(probability, region, spacing_mm=(1, 1, 1)) == pytest.approx(0.4)
    with pytest.raises(DataError, match="empty_region"):
        case_score(probability, np.zeros((5, 5, 5), bool), spacing_mm=(1, 1, 1))
    with pytest.raises(DataError, match="not_finite"):
        case_score(np.full((2, 2, 2), np.nan), spacing_mm=(1, 1, 1))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 1000), spacing=st.floats(0.5, 4.0))
def test_case_score_does_not_depend_on_the_sampling(seed, spacing):
    """Splitting every voxel in eight changes nothing; raising a probability never lowers the score."""
    rng = np.random.default_rng(seed)
    probability = rng.random((6, 5, 4))
    fine = probability.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    coarse_score = case_score(probability, spacing_mm=(2 * spacing,) * 3)
    if (2 * spacing) ** 3 <= 100:
        assert case_score(fine, spacing_mm=(spacing,) * 3) == pytest.approx(coarse_score)
    raised = probability.copy()
    raised.flat[rng.integers(raised.size)] = 1.0
    assert case_score(raised, spacing_mm=(2 * spacing,) * 3) >= coarse_score
