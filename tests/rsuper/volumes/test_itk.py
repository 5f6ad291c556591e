"""MetaImage and NRRD: SimpleITK writes, we read."""

import numpy as np
import pytest

sitk = pytest.importorskip("SimpleITK", reason="needs the [dicom] extra")

from rsuper.errors import DataError  # noqa: E402
from rsuper.volumes import ReadLimits, axis_codes, read_grid, read_labels, read_mask, read_volume, same_grid  # noqa: E402

DIRECTION = (0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, -1)


def write(path, array):
    image = sitk.GetImageFromArray(np.asarray(array).transpose(2, 1, 0))
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-10.0, 20.0, 300.0))
    image.SetDirection(DIRECTION)
    sitk.WriteImage(image, str(path), useCompression=True)
    return image


def hounsfield():
    return np.random.default_rng(0).integers(-1000, 1500, (5, 6, 7)).astype(np.int16)


@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd"])
@pytest.mark.parametrize("dtype", ["int16", "int32", "float32"])
def test_values_and_geometry(tmp_path, suffix, dtype):
    path = tmp_path / f"ct{suffix}"
    image = write(path, hounsfield().astype(dtype))
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, hounsfield())
    assert volume.array.dtype == (np.float32 if dtype == "float32" else np.int16)
    assert volume.spacing_mm == pytest.approx((0.7, 0.8, 2.5))
    assert axis_codes(volume) == "LPI"
    for index in ((0, 0, 0), (4, 5, 6), (1, 3, 2)):
        lps = np.array(image.TransformIndexToPhysicalPoint(index))
        np.testing.assert_allclose(volume.grid.to_world_mm(index), lps * [-1, -1, 1], atol=1e-6)
    assert same_grid(read_grid(path), volume)


def test_masks_and_labels(tmp_path):
    labels = np.zeros((5, 6, 7), np.uint8)
    labels[1, 2, 3], labels[2, 2, 2] = 9, 1
    write(tmp_path / "labels.mha", labels)
    np.testing.assert_array_equal(read_mask(tmp_path / "labels.mha").array, labels > 0)
    found = read_labels(tmp_path / "labels.mha")
    assert found.array.dtype == np.uint8
    np.testing.assert_array_equal(found.array, labels)
    write(tmp_path / "ct.mha", hounsfield())
    with pytest.raises(DataError) as caught:
        read_labels(tmp_path / "ct.mha")
    assert caught.value.code == "labels_not_integer"


def test_what_is_wrong_has_a_code(tmp_path):
    with_nan = hounsfield().astype(np.float32)
    with_nan[0, 0, 0] = np.nan
    write(tmp_path / "nan.mha", with_nan)
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5), np.int16)), str(tmp_path / "flat.mha"))
    colour = sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True)
    sitk.WriteImage(colour, str(tmp_path / "colour.mha"))
    (tmp_path / "text.mha").write_text("hello")
    write(tmp_path / "good.mha", hounsfield())
    data = (tmp_path / "good.mha").read_bytes()
    (tmp_path / "cut.mha").write_bytes(data[: len(data) // 2])
    expected = {
        "nan": "nonfinite_voxels",
        "flat": "not_3d",
        "colour": "unsupported_dtype",
        "text": "unreadable_file",
        "cut": "unreadable_file",
        "absent": "file_missing",
    }
    for name, code in expected.items():
        with pytest.raises(DataError) as caught:
            read_volume(tmp_path / f"{name}.mha")
        assert caught.value.code == code
    with pytest.raises(DataError) as caught:
        read_volume(tmp_path / "good.mha", limits=ReadLimits(max_voxels=100))
    assert caught.value.code == "too_many_voxels"


@pytest.mark.parametrize(
    "target", ["../secret.raw", "/etc/passwd", "LIST", "a/b.raw", "x%03d.raw 1 9 1", ".hidden"]
)
def test_voxels_in_another_place_are_refused(tmp_path, target):
    write(tmp_path / "ct.mhd", hounsfield())
    text = (tmp_path / "ct.mhd").read_text()
    assert "ElementDataFile = ct.zraw" in text
    (tmp_path / "ct.mhd").write_text(text.replace("ct.zraw", target))
    with pytest.raises(DataError) as caught:
        read_volume(tmp_path / "ct.mhd")
    assert caught.value.code == "path_escapes"


def test_a_header_that_claims_a_thousandfold(tmp_path):
    write(tmp_path / "ct.mhd", hounsfield())
    text = (tmp_path / "ct.mhd").read_text()
    (tmp_path / "ct.mhd").write_text(text.replace("DimSize = 5 6 7", "DimSize = 1000 1000 1000"))
    with pytest.raises(DataError) as caught:
        read_volume(tmp_path / "ct.mhd")
    assert caught.value.code == "truncated_file"
