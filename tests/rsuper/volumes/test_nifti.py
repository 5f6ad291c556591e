"""Reading and writing NIfTI, with nibabel as the independent implementation."""

import gzip

import nibabel as nib
import numpy as np
import pytest

from rsuper.errors import DataError
from rsuper.volumes import (
    ReadLimits,
    Volume,
    read_grid,
    read_labels,
    read_mask,
    read_volume,
    same_grid,
    write_volume,
)

AFFINE = np.array([[-0.7, 0, 0, 90], [0, 0, 2.5, -40], [0, 0.8, 0, 7], [0, 0, 0, 1.0]])


def hounsfield(shape=(7, 8, 9), seed=0):
    return np.random.default_rng(seed).integers(-1024, 1500, shape)


def save(path, array, *, affine=AFFINE, change=None, kind=nib.Nifti1Image):
    image = kind(array, affine, dtype=array.dtype)
    if change is not None:
        change(image)
    nib.save(image, path)
    return path


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["int16", "int32", "int64", "float32", "float64", "uint16"])
def test_reads_what_nibabel_wrote(tmp_path, dtype, suffix, kind):
    array = hounsfield() + (1024 if dtype == "uint16" else 0)
    path = save(tmp_path / f"ct{suffix}", array.astype(dtype), kind=kind)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)
    assert volume.array.dtype == (np.float32 if dtype.startswith("float") else np.int16)
    assert same_grid(read_grid(path), volume)


def test_big_endian(tmp_path):
    array = hounsfield().astype(">i2")
    image = nib.Nifti1Image(array, AFFINE, header=nib.Nifti1Header(endianness=">"))
    nib.save(image, tmp_path / "ct.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "ct.nii.gz").array, array)


def test_scaling_is_applied_in_full_precision(tmp_path):
    def scale(image):
        image.header.set_slope_inter(0.5, -1024.25)

    stored = hounsfield().astype(np.int16)
    image = nib.Nifti1Image(stored, AFFINE)
    scale(image)
    path = tmp_path / "ct.nii"
    path.write_bytes(image.to_bytes())
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array([0.5, -1024.25], "<f4").tobytes()
    path.write_bytes(raw)
    expected = np.frombuffer(bytes(raw[352:]), "<i2").reshape(stored.shape, order="F") * 0.5 - 1024.25
    volume = read_volume(path)
    assert volume.array.dtype == np.float32
    np.testing.assert_allclose(volume.array, expected)
    np.testing.assert_allclose(volume.array, nib.load(path).get_fdata(), rtol=1e-6)


@pytest.mark.parametrize(("slope", "intercept"), [(0.0, 5.0), (np.nan, np.nan), (1.0, 0.0)])
def test_no_scaling_says_the_standard(tmp_path, slope, intercept):
    path = save(tmp_path / "ct.nii", hounsfield().astype(np.int16))
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array([slope, intercept], "<f4").tobytes()
    path.write_bytes(raw)
    np.testing.assert_array_equal(read_volume(path).array, hounsfield())


def test_offset_is_applied_to_unsigned_data(tmp_path):
    path = save(tmp_path / "ct.nii", (hounsfield() + 1024).astype(np.uint16))
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array([1.0, -1024.0], "<f4").tobytes()
    path.write_bytes(raw)
    volume = read_volume(path)
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array, hounsfield())


def test_values_beyond_int16_stay_exact(tmp_path):
    array = hounsfield().astype(np.int32)
    array[0, 0, 0] = 70_000
    volume = read_volume(save(tmp_path / "ct.nii.gz", array))
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array, array)


def test_a_fourth_axis_of_one_is_dropped(tmp_path):
    path = save(tmp_path / "ct.nii.gz", hounsfield()[..., None].astype(np.int16))
    assert read_volume(path).shape == (7, 8, 9)


def test_qform_alone_is_enough(tmp_path):
    def only_qform(image):
        image.set_sform(None, code=0)
        image.set_qform(AFFINE, code=1)

    path = save(tmp_path / "ct.nii.gz", hounsfield().astype(np.int16), change=only_qform)
    np.testing.assert_allclose(read_volume(path).affine, AFFINE, atol=1e-4)


@pytest.mark.parametrize(("unit", "factor"), [("meter", 1e-3), ("micron", 1e3)])
def test_units_become_millimetres(tmp_path, unit, factor):
    affine = AFFINE.copy()
    affine[:3] *= factor
    path = save(
        tmp_path / "ct.nii.gz",
        hounsfield().astype(np.int16),
        affine=affine,
        change=lambda image: image.header.set_xyzt_units(unit),
    )
    np.testing.assert_allclose(read_volume(path).affine, AFFINE, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
def test_a_mask_is_anything_but_zero(tmp_path, dtype):
    array = np.zeros((5, 6, 7), dtype)
    array[1, 2, 3], array[0, 0, 0] = 3, 1
    mask = read_mask(save(tmp_path / "liver.nii.gz", array))
    assert mask.array.dtype == np.bool_
    np.testing.assert_array_equal(mask.array, array != 0)


def test_labels(tmp_path):
    array = np.zeros((5, 6, 7), np.float32)
    array[1, 2, 3], array[0, 0, 0] = 117, 2
    labels = read_labels(save(tmp_path / "seg.nii.gz", array))
    assert labels.array.dtype == np.uint8
    np.testing.assert_array_equal(labels.array, array)
    array[2, 2, 2] = 300
    assert read_labels(save(tmp_path / "seg.nii.gz", array)).array.dtype == np.uint16


@pytest.mark.parametrize("value", [0.5, -1, 70_000])
def test_labels_that_are_none(tmp_path, value):
    array = np.zeros((5, 6, 7), np.float32)
    array[1, 2, 3] = value
    with pytest.raises(DataError) as caught:
        read_labels(save(tmp_path / "seg.nii.gz", array))
    assert caught.value.code == "labels_not_integer"


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "int32", "float32", "float64"])
def test_write_then_read_by_nibabel_and_by_us(tmp_path, dtype):
    array = hounsfield() > 0 if dtype == "bool" else (abs(hounsfield()) // 8).astype(dtype)
    path = tmp_path / "deeper" / "out.nii.gz"
    write_volume(path, Volume(array, AFFINE))
    image = nib.load(path)
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), array)
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-5)
    np.testing.assert_allclose(image.header.get_qform(), AFFINE, atol=1e-4)
    assert image.header.get_xyzt_units()[0] == "mm"
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 1)
    back = read_mask(path) if dtype == "bool" else read_volume(path)
    np.testing.assert_array_equal(back.array, array)


def test_equal_volumes_give_equal_bytes_and_no_temporary_stays(tmp_path):
    volume = Volume(hounsfield().astype(np.int16), AFFINE)
    write_volume(tmp_path / "a.nii.gz", volume)
    write_volume(tmp_path / "b.nii.gz", volume)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nii.gz", "b.nii.gz"]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.nii.gz"
    write_volume(path, Volume(hounsfield().astype(np.int16), AFFINE))
    before = path.read_bytes()

    def full_disk(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_volume(path, Volume(hounsfield(seed=1).astype(np.int16), AFFINE))
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["a.nii.gz"]


def test_a_wrong_name_is_refused(tmp_path):
    with pytest.raises(DataError) as caught:
        write_volume(tmp_path / "mask.png", Volume(hounsfield().astype(np.int16), AFFINE))
    assert caught.value.code == "bad_file_name"


def test_the_clock_stops_a_slow_file(tmp_path):
    ticks = iter(range(0, 10_000, 400))
    path = save(tmp_path / "ct.nii.gz", hounsfield().astype(np.int16))
    with pytest.raises(DataError) as caught:
        read_volume(path, limits=ReadLimits(clock=lambda: float(next(ticks))))
    assert caught.value.code == "read_timeout"


def test_chunks_make_no_difference(tmp_path, monkeypatch):
    path = save(tmp_path / "ct.nii.gz", hounsfield().astype(np.int32))
    monkeypatch.setattr("rsuper.volumes.nifti._CHUNK_BYTES", 100)
    np.testing.assert_array_equal(read_volume(path).array, hounsfield())


def test_a_gz_name_on_plain_bytes_is_read_all_the_same(tmp_path):
    path = save(tmp_path / "ct.nii", hounsfield().astype(np.int16))
    renamed = path.rename(tmp_path / "ct.nii.gz")
    np.testing.assert_array_equal(read_volume(renamed).array, hounsfield())


def test_header_extensions_are_skipped(tmp_path):
    def extend(image):
        image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 4000))

    path = save(tmp_path / "ct.nii.gz", hounsfield().astype(np.int16), change=extend)
    assert len(gzip.decompress(path.read_bytes())) > 4352
    np.testing.assert_array_equal(read_volume(path).array, hounsfield())
