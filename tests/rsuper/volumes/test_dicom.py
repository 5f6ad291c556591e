"""DICOM series made here: what they hold is read exactly, what is wrong with them is named."""

import subprocess
import sys

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="needs the [dicom] extra")

from pydicom.dataset import FileDataset, FileMetaDataset  # noqa: E402
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid  # noqa: E402

from rsuper.errors import DataError, UsageError  # noqa: E402
from rsuper.volumes import ReadLimits, axis_codes, read_volume, to_canonical  # noqa: E402
from rsuper.volumes.dicom import read_dicom_series  # noqa: E402
from rsuper.volumes.extras import require_extra  # noqa: E402

SERIES = generate_uid()


def stored(count=5, shape=(6, 8), seed=0):
    return np.random.default_rng(seed).integers(0, 3000, (count, *shape)).astype(np.uint16)


def write_slice(folder, pixels, z, *, number, **tags):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    item.SOPClassUID, item.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    item.Modality, item.SeriesInstanceUID, item.SeriesNumber = "CT", SERIES, 2
    item.PatientName, item.ImageType = "CANARY^NAME", ["ORIGINAL", "PRIMARY", "AXIAL"]
    item.Rows, item.Columns = pixels.shape
    item.ImagePositionPatient, item.ImageOrientationPatient = [-100.0, -50.0, z], [1, 0, 0, 0, 1, 0]
    item.PixelSpacing, item.SliceThickness = [0.9, 0.7], 2.0
    item.RescaleSlope, item.RescaleIntercept = 1, -1024
    item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
    item.BitsAllocated, item.BitsStored, item.HighBit, item.PixelRepresentation = 16, 16, 15, 0
    item.PixelData = pixels.tobytes()
    for name, value in tags.items():
        if value is None:
            delattr(item, name)
        else:
            setattr(item, name, value)
    folder.mkdir(exist_ok=True)
    item.save_as(folder / f"{number:03d}.dcm", enforce_file_format=True)


def write_series(folder, *, count=5, **tags):
    for index, pixels in enumerate(stored(count)):
        write_slice(folder, pixels, 2.0 * ((index * 3) % count), number=index, **tags)
    return folder


def code_of(folder, **options):
    with pytest.raises(DataError) as caught:
        read_dicom_series(folder, **options)
    assert "CANARY" not in str(caught.value)
    return caught.value.code


def test_values_and_geometry(tmp_path):
    volume = read_volume(write_series(tmp_path / "ct"))
    assert (volume.shape, axis_codes(volume), volume.array.dtype) == ((8, 6, 5), "LPS", np.int16)
    assert volume.spacing_mm == pytest.approx((0.7, 0.9, 2.0))
    pixels = stored()
    for index in range(5):
        np.testing.assert_array_equal(volume.array[:, :, (index * 3) % 5], pixels[index].T.astype(int) - 1024)
    np.testing.assert_allclose(volume.grid.to_world_mm([1, 2, 3]), [100 - 0.7, 50 - 1.8, 6.0])
    assert axis_codes(to_canonical(volume)) == "RAS"


def test_agrees_with_simpleitk(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    volume = read_volume(write_series(tmp_path / "ct"))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "ct")))
    image = reader.Execute()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).transpose(2, 1, 0), volume.array)
    point = np.array(image.TransformIndexToPhysicalPoint((3, 4, 2)))
    np.testing.assert_allclose(volume.grid.to_world_mm([3, 4, 2]), point * [-1, -1, 1], atol=1e-6)


def test_fractional_rescaling_and_padding(tmp_path):
    volume = read_volume(write_series(tmp_path / "a", RescaleSlope=0.5))
    assert volume.array.dtype == np.float32
    write_slice(
        tmp_path / "b", np.full((6, 8), 63536 - 60000, np.uint16), 0.0, number=0, PixelPaddingValue=3536
    )
    write_slice(tmp_path / "b", stored()[0], 2.0, number=1)
    padded = read_volume(tmp_path / "b")
    assert (padded.array[:, :, 0] == -1024).all()


def test_other_objects_are_passed_over(tmp_path):
    folder = write_series(tmp_path / "ct")
    (folder / "DICOMDIR").write_bytes(b"not DICOM at all")
    (folder / "notes.txt").write_text("hello")
    write_slice(folder, stored()[0], 99.0, number=50, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    write_slice(folder, stored()[0], 98.0, number=51, Modality="MR")
    assert read_volume(folder).shape == (8, 6, 5)


def test_several_series_need_a_choice(tmp_path):
    folder = write_series(tmp_path / "ct")
    other = generate_uid()
    for index, pixels in enumerate(stored(3, seed=9)):
        write_slice(
            folder,
            pixels,
            3.0 * index,
            number=60 + index,
            SeriesInstanceUID=other,
            SeriesNumber=7,
        )
    assert code_of(folder) == "several_series"
    assert read_dicom_series(folder, series_number=2).shape == (8, 6, 5)
    assert read_dicom_series(folder, series_number=7).spacing_mm[2] == pytest.approx(3.0)
    assert code_of(folder, series_number=4) == "several_series"


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ({"ImagePositionPatient": None}, "dicom_geometry_missing"),
        ({"PixelSpacing": None}, "dicom_geometry_missing"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0.951, -0.309]}, "gantry_tilt"),
        ({"ImagePositionPatient": [0, 0, 5.0]}, "duplicate_slices"),
        ({"NumberOfFrames": 3}, "dicom_multiframe"),
        ({"Modality": "MR"}, "no_dicom_images"),
        ({"PixelData": b"\0" * 7}, "dicom_pixels_undecodable"),
    ],
)
def test_what_is_wrong_has_a_code(tmp_path, tags, code):
    assert code_of(write_series(tmp_path / "ct", **tags)) == code


def test_a_missing_slice_and_a_repeated_one(tmp_path):
    folder = write_series(tmp_path / "ct", count=8)
    (folder / "003.dcm").unlink()
    assert code_of(folder) == "missing_slices"
    write_slice(folder, stored(8)[4], 2.0 * ((3 * 3) % 8), number=3)
    assert code_of(folder) == "duplicate_slices"


def test_an_empty_folder_and_the_limits(tmp_path):
    (tmp_path / "empty").mkdir()
    assert code_of(tmp_path / "empty") == "no_dicom_images"
    folder = write_series(tmp_path / "ct")
    assert code_of(folder, limits=ReadLimits(max_voxels=100)) == "too_many_voxels"
    ticks = iter(range(0, 9000, 200))
    assert code_of(folder, limits=ReadLimits(clock=lambda: float(next(ticks)))) == "read_timeout"


def test_a_missing_extra_names_itself():
    with pytest.raises(UsageError) as caught:
        require_extra("no_such_library_at_all", extra="dicom", purpose="reading a DICOM series")
    assert caught.value.code == "extra_missing"
    assert "rsuper[dicom]" in str(caught.value)


def test_nifti_users_never_import_dicom_libraries():
    unwanted = ("rsuper.volumes.dicom", "SimpleITK", "torch")
    code = f"import sys, rsuper.volumes; print([name for name in {unwanted} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
