"""R13 through prepare and predict: a ball of known place and volume, however its CT is stored.

HU encode the signed distance to the ball and the "network" reads it, so that no partial volume, only the pipeline,
can move or change the ball.
"""

import itertools

import nibabel as nib
import numpy as np
import pytest
from torch import nn

from rsuper.data.fingerprint import IntensityFingerprint
from rsuper.data.layout import Dataset
from rsuper.data.prepare import PrepareConfig, prepare
from rsuper.networks import Network
from rsuper.prediction import read_findings
from rsuper.prediction.model import Model
from rsuper.prediction.predict import predict
from rsuper.volumes import Grid, Volume, axis_codes, read_mask, same_grid, write_volume

RADIUS_MM = 16.0
HU_PER_MM = 20.0
BALL_MM3 = 4 / 3 * np.pi * RADIUS_MM**3
CENTRE_MM = np.array([3.0, -4.0, 2.0])
ORIGIN_MM = np.array([11.0, 3.0, -200.0])
AXES = [
    np.eye(3)[:, order] * signs
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


class DistanceIsLesion(nn.Module):
    """The image is the signed distance to the ball's surface; the logit is 0 there and changes by 1.5 a mm."""

    def forward(self, image):
        return 1.5 * image


def model(spacing_mm):
    return Model(
        network=Network(DistanceIsLesion()).eval(),
        structures=(),
        lesion_classes=("liver_lesion",),
        intensity=IntensityFingerprint(low_hu=-300, high_hu=300, mean_hu=0, std_hu=HU_PER_MM),
        spacing_mm=spacing_mm,
        patch_size=(96, 96, 96),
        roi_structures=(),
        roi_margin_mm=0.0,
        thresholds={"liver_lesion": 0.5},
        sha256="0" * 64,
        device="cpu",
    )


def grid_of(axes, spacing_mm, extent_mm=60.0):
    shape = np.maximum(4, np.round(extent_mm / np.asarray(spacing_mm))).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = axes @ np.diag(spacing_mm)
    affine[:3, 3] = -affine[:3, :3] @ ((shape - 1) / 2) + ORIGIN_MM
    return Grid(tuple(shape), affine)


def write_case(root, case_id, grid):
    centre = CENTRE_MM + ORIGIN_MM
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    distance_mm = np.linalg.norm(grid.to_world_mm(index) - centre, axis=-1) - RADIUS_MM
    hu = np.clip(np.rint(-HU_PER_MM * distance_mm), -1000, 1000).astype(np.int16)
    write_volume(root / case_id / "ct.nii.gz", Volume(hu, grid.affine))
    for name, mask in {"liver": distance_mm <= 6, "liver_lesion": distance_mm <= 0}.items():
        write_volume(root / case_id / "segmentations" / f"{name}.nii.gz", Volume(mask, grid.affine))
    return centre


def check_findings(folder, centre, grid, *, volume_mm3, case_id):
    findings = read_findings(folder / case_id).lesions
    assert len(findings) == 1
    lesion = findings[0]
    assert np.linalg.norm(np.array(lesion.centre_mm) - centre) <= 0.5 * max(grid.spacing_mm)
    np.testing.assert_allclose(grid.to_world_mm(lesion.centre_voxel), lesion.centre_mm, atol=0.01)
    assert lesion.volume_mm3 == pytest.approx(volume_mm3, rel=0.02)
    mask = read_mask(folder / case_id / "segmentations" / "liver_lesion.nii.gz")
    assert same_grid(mask, grid)
    assert mask.array.sum() * mask.voxel_volume_mm3 == pytest.approx(lesion.volume_mm3, rel=1e-6)
    return lesion


def test_predict_in_all_48_orientations(tmp_path):
    root = tmp_path / "data"
    grids = {axis_codes(grid_of(axes, (1, 1, 1))): grid_of(axes, (1.5, 2.0, 2.5)) for axes in AXES}
    assert len(grids) == 48
    for codes, grid in grids.items():
        centre = write_case(root, codes, grid)
    rows = "".join(f"{codes},{codes}\n" for codes in grids)
    (root / "cases.csv").write_text("case_id,patient_id\n" + rows)
    result = predict(model((2.0, 2.0, 2.0)), root, tmp_path / "out")
    assert result["failed"] == {}
    for codes, grid in grids.items():
        lesion = check_findings(tmp_path / "out", centre, grid, volume_mm3=BALL_MM3, case_id=codes)
        assert lesion.organ == "liver"
        assert lesion.diameters_mm[0] == pytest.approx(2 * RADIUS_MM, abs=2.5)


@pytest.mark.parametrize("working_mm", [None, (1.5, 1.5, 1.5)])
@pytest.mark.parametrize("spacing", [(0.8, 0.8, 0.8), (0.9, 0.9, 5.0), (3.0, 3.0, 3.0), (2.0, 3.0, 1.0)])
def test_predict_on_oblique_grids(tmp_path, spacing, working_mm):
    grid = grid_of(nib.eulerangles.euler2mat(0.3, -0.2, 0.5), spacing)
    centre = write_case(tmp_path / "data", "c1", grid)
    (tmp_path / "data" / "cases.csv").write_text("case_id,patient_id\nc1,p1\n")
    assert predict(model(working_mm), tmp_path / "data", tmp_path / "out")["failed"] == {}
    mask = read_mask(tmp_path / "data" / "c1" / "segmentations" / "liver_lesion.nii.gz")
    stored = mask.array.sum() * mask.voxel_volume_mm3
    check_findings(tmp_path / "out", centre, grid, volume_mm3=stored, case_id="c1")


def test_a_mask_in_another_axis_order_than_its_ct(tmp_path):
    root = tmp_path / "data"
    grid = grid_of(np.diag([-1.0, -1, 1]), (2.0, 2.0, 2.0))
    centre = write_case(root, "c1", grid)
    path = root / "c1" / "segmentations" / "liver.nii.gz"
    liver = read_mask(path)
    affine = liver.affine.copy()
    affine[:3, 3] += affine[:3, 1] * (liver.shape[1] - 1)
    affine[:3, 1] *= -1
    write_volume(path, Volume(liver.array[:, ::-1], affine))
    (root / "cases.csv").write_text("case_id,patient_id\nc1,p1\n")
    assert predict(model(None), root, tmp_path / "out")["failed"] == {}
    assert check_findings(tmp_path / "out", centre, grid, volume_mm3=BALL_MM3, case_id="c1").organ == "liver"


@pytest.mark.parametrize("spacing_mm", [None, (1.5, 1.5, 1.5)])
def test_prepare_keeps_place_and_volume(tmp_path, spacing_mm):
    root = tmp_path / "data"
    grids = {f"c{n}": grid_of(AXES[n], (1.5, 2.0, 2.5)) for n in range(0, 48, 5)}
    grids["oblique"] = grid_of(nib.eulerangles.euler2mat(0.3, -0.2, 0.5), (1.0, 1.0, 3.0))
    for case_id, grid in grids.items():
        centre = write_case(root, case_id, grid)
    (root / "cases.csv").write_text("case_id,patient_id\n" + "".join(f"{name},{name}\n" for name in grids))
    config = PrepareConfig(
        lesion_classes=("liver_lesion",),
        structures=("liver",),
        spacing_mm=spacing_mm,
        roi_structures=("liver",),
        roi_margin_mm=4,
    )
    prepared = prepare(Dataset.open(root), tmp_path / "prepared", config=config)
    assert {case.case_id for case in prepared.cases} == set(grids)
    for case in prepared.cases:
        where = Grid(case.shape, case.affine)
        lesion, image = case.mask("label:liver_lesion"), case.image()
        assert where.spacing_mm == pytest.approx(case.spacing_mm, rel=1e-6)
        stored = read_mask(root / case.case_id / "segmentations" / "liver_lesion.nii.gz")
        volume = stored.array.sum() * stored.voxel_volume_mm3
        assert lesion.sum() * where.voxel_volume_mm3 == pytest.approx(volume, rel=0.02)
        for mask in (lesion, image > 0):
            place = where.to_world_mm(np.argwhere(mask)).mean(axis=0)
            assert np.linalg.norm(place - centre) <= 0.5 * max(*case.spacing_mm, *stored.spacing_mm)
