"""Two real patients and a handful of real oddities are read with the geometry that other readers find."""

import json

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from rsuper.errors import DataError
from rsuper.volumes import (
    axis_codes,
    ct_value_issues,
    read_labels,
    read_mask,
    read_volume,
    resample,
    same_grid,
    to_canonical,
    write_volume,
)

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def ct_folder(shared_data):
    return shared_data / "ct"


@pytest.fixture(scope="module")
def label_names(ct_folder):
    table = json.loads((ct_folder / "totalsegmentator_label_names.json").read_text(encoding="utf-8"))["total"]
    return {name: int(value) for value, name in table.items()}


@pytest.fixture(scope="module")
def first_patient(ct_folder):
    folder = ct_folder / "totalsegmentator"
    return read_volume(folder / "example_ct.nii.gz"), read_labels(
        folder / "example_seg_fast_force_split.nii.gz"
    )


def centre_mm(labels, value):
    return labels.grid.to_world_mm(np.argwhere(labels.array == value)).mean(axis=0)


def median_hu(ct, labels, value):
    return float(np.median(ct.array[labels.array == value]))


def test_first_patient_agrees_with_nibabel(ct_folder, first_patient):
    ct, _ = first_patient
    image = nib.load(ct_folder / "totalsegmentator" / "example_ct.nii.gz")
    assert image.get_data_dtype() == np.int32
    assert ct.array.dtype == np.int16
    np.testing.assert_array_equal(ct.array, np.asanyarray(image.dataobj))
    np.testing.assert_allclose(ct.affine, image.affine)
    assert ct.shape == (122, 101, 112)
    assert ct.spacing_mm == pytest.approx((3, 3, 3))
    assert ct_value_issues(ct) == ()


def test_first_patient_organs_lie_where_organs_lie(first_patient, label_names):
    ct, labels = first_patient
    assert same_grid(ct, labels)
    place = {
        name: centre_mm(labels, label_names[name])
        for name in (
            "liver",
            "spleen",
            "kidney_left",
            "kidney_right",
            "urinary_bladder",
            "vertebrae_L3",
            "aorta",
        )
    }
    assert place["liver"][0] > place["spleen"][0]  # RAS+: the patient's right is larger x
    assert place["kidney_right"][0] > place["kidney_left"][0]
    assert place["urinary_bladder"][2] < place["kidney_left"][2]
    assert place["vertebrae_L3"][1] < place["aorta"][1]
    assert 20 < median_hu(ct, labels, label_names["liver"]) < 90
    assert np.percentile(ct.array, 30) < -120


def test_first_patient_survives_a_working_grid(first_patient, label_names, tmp_path):
    ct, labels = first_patient
    mask = labels.with_array(labels.array == label_names["kidney_left"])
    working = resample(to_canonical(mask), (1.5, 1.5, 1.5))
    write_volume(tmp_path / "kidney.nii.gz", resample(working, ct))
    back = read_mask(tmp_path / "kidney.nii.gz")
    assert same_grid(back, ct)
    assert back.array.sum() == pytest.approx(mask.array.sum(), rel=0.02)
    assert (back.array & mask.array).sum() > 0.97 * mask.array.sum()


def test_one_file_a_structure_lies_on_the_slab(ct_folder):
    folder = ct_folder / "totalsegmentator"
    slab = read_volume(folder / "example_ct_sm.nii.gz")
    liver = read_mask(folder / "example_seg_fast" / "liver.nii.gz")
    assert same_grid(slab, liver)
    assert 20 < float(np.median(slab.array[liver.array])) < 90


@pytest.fixture(scope="module")
def second_patient(ct_folder):
    pytest.importorskip("pydicom", reason="needs the [dicom] extra")
    folder = ct_folder / "totalsegmentator"
    return read_volume(folder / "example_ct_dicom"), read_labels(folder / "example_seg_dicom.nii.gz")


def test_second_patient_from_dicom_agrees_with_simpleitk(ct_folder, second_patient):
    sitk = pytest.importorskip("SimpleITK", reason="needs the [dicom] extra")
    ct, _ = second_patient
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(
        reader.GetGDCMSeriesFileNames(str(ct_folder / "totalsegmentator" / "example_ct_dicom"))
    )
    image = reader.Execute()
    assert ct.shape == (512, 512, 20)
    assert ct.spacing_mm == pytest.approx((0.9765625, 0.9765625, 2.0))
    np.testing.assert_array_equal(ct.array, sitk.GetArrayFromImage(image).transpose(2, 1, 0))
    for index in ((0, 0, 0), (511, 17, 19)):
        lps = np.array(image.TransformIndexToPhysicalPoint(index))
        np.testing.assert_allclose(ct.grid.to_world_mm(index), lps * [-1, -1, 1], atol=1e-6)


def test_second_patient_mask_with_its_y_axis_reversed(second_patient, label_names):
    ct, labels = second_patient
    assert (axis_codes(ct), axis_codes(labels)) == ("LPS", "LAS")
    assert not same_grid(ct, labels)  # voxel for voxel they disagree …
    ct, labels = to_canonical(ct), to_canonical(labels)
    assert same_grid(ct, labels)  # … and in the patient they are one
    for name in ("liver", "spleen", "aorta"):
        value = label_names[name]
        if (labels.array == value).sum() > 500:
            assert median_hu(ct, labels, value) > 60  # portal-venous contrast
    flipped = ct.array[:, ::-1]
    liver = labels.array == label_names["liver"]
    assert abs(float(flipped[liver].std())) > 3 * float(ct.array[liver].std())


def test_a_tilted_gantry_with_uneven_gaps_is_refused(ct_folder):
    pytest.importorskip("pydicom", reason="needs the [dicom] extra")
    from rsuper.volumes.dicom import read_dicom_series

    folder = ct_folder / "dicom_misc" / "ge_head_gantry_tilt"
    with pytest.raises(DataError, match=r"18\.5 degrees") as caught:
        read_volume(folder)
    assert caught.value.code == "gantry_tilt"
    with pytest.raises(DataError) as caught:
        read_dicom_series(folder, tilt="correct")
    assert caught.value.code == "uneven_slices"


def test_a_tilted_gantry_with_even_gaps_is_corrected(ct_folder, tmp_path):
    pydicom = pytest.importorskip("pydicom", reason="needs the [dicom] extra")
    from rsuper.volumes.dicom import read_dicom_series

    for number in range(1, 15):  # the slices 4 mm thick
        name = f"{number:02d}.dcm"
        (tmp_path / name).write_bytes((ct_folder / "dicom_misc" / "ge_head_gantry_tilt" / name).read_bytes())
    volume = read_dicom_series(tmp_path, tilt="correct")
    assert volume.spacing_mm == pytest.approx((0.4882812, 0.4882812, 4.0), abs=0.01)
    slices = [pydicom.dcmread(path) for path in sorted(tmp_path.iterdir())]
    for item in (slices[2], slices[12]):
        columns, rows = np.meshgrid(np.arange(60, 450, 7), np.arange(60, 450, 7))
        cosines = np.array(item.ImageOrientationPatient, dtype=float).reshape(2, 3)
        lps = np.array(item.ImagePositionPatient, dtype=float) + 0.4882812 * (
            columns[..., None] * cosines[0] + rows[..., None] * cosines[1]
        )
        index = volume.grid.to_index(lps * [-1, -1, 1])
        seen = ndimage.map_coordinates(volume.array.astype(float), np.moveaxis(index, -1, 0), order=1)
        assert np.corrcoef(seen.ravel(), item.pixel_array[rows, columns].ravel())[0, 1] > 0.98


def test_two_slices_with_the_same_pixels_are_refused(ct_folder):
    pytest.importorskip("pydicom", reason="needs the [dicom] extra")
    with pytest.raises(DataError) as caught:
        read_volume(ct_folder / "lungmask")
    assert caught.value.code == "duplicate_slices"


def test_slices_beside_a_segmentation_object(ct_folder):
    pytest.importorskip("pydicom", reason="needs the [dicom] extra")
    volume = read_volume(ct_folder / "dcmqi")
    assert volume.shape == (512, 512, 3)
    assert volume.spacing_mm == pytest.approx((0.810547, 0.810547, 1.0))


def test_meta_images_agree_with_simpleitk(ct_folder):
    sitk = pytest.importorskip("SimpleITK", reason="needs the [dicom] extra")
    path = ct_folder / "elastix_lung" / "3DCT_lung_baseline_small.mha"
    image, volume = sitk.ReadImage(str(path)), read_volume(path)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).transpose(2, 1, 0), volume.array)
    point = np.array(image.TransformIndexToPhysicalPoint((5, 6, 7)))
    np.testing.assert_allclose(volume.grid.to_world_mm([5, 6, 7]), point * [-1, -1, 1], atol=1e-6)
    mask = read_mask(ct_folder / "elastix_lung" / "3DCT_lung_baseline_mask.mha")
    lung = read_volume(ct_folder / "elastix_lung" / "3DCT_lung.mha")
    assert mask.array.dtype == np.bool_
    assert mask.array.any()
    assert lung.spacing_mm == pytest.approx(mask.spacing_mm)
