"""Broken and hostile volumes: each is refused with its code, quickly, without the memory that it claims."""

import gzip
import io
import struct
import time
import tracemalloc
import zlib

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rsuper.errors import DataError
from rsuper.volumes import ReadLimits, Volume, read_grid, read_labels, read_mask, read_volume, write_volume

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])


def good_bytes(shape=(6, 7, 8), dtype=np.int16):
    array = np.random.default_rng(0).integers(-1000, 1000, shape).astype(dtype)
    image = nib.Nifti1Image(array, AFFINE, dtype=dtype)
    image.set_qform(AFFINE, code=1)
    return image.to_bytes()


def patched(offset, fmt, *values, data=None):
    raw = bytearray(data or good_bytes())
    raw[offset : offset + struct.calcsize(fmt)] = struct.pack(fmt, *values)
    return bytes(raw)


def with_affine(affine, *, sform=1, qform=0):
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), None)
    image.header.set_sform(affine, code=sform)
    raw = bytearray(image.to_bytes())
    raw[252:254] = struct.pack("<h", qform)
    raw[280:328] = np.asarray(affine, "<f4")[:3].tobytes()
    raw[254:256] = struct.pack("<h", sform)
    return bytes(raw)


def conflicting():
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), None)
    image.set_sform(np.diag([1.0, 1, 1, 1]), code=1)
    image.set_qform(np.diag([-1.0, 1, 1, 1]), code=1)
    return image.to_bytes()


def four_dimensional():
    return nib.Nifti1Image(np.zeros((4, 5, 6, 2), np.int16), AFFINE).to_bytes()


def complex_numbers():
    return nib.Nifti1Image(np.zeros((4, 5, 6), np.complex64), AFFINE).to_bytes()


def with_nan():
    array = np.zeros((4, 5, 6), np.float32)
    array[1, 2, 3] = np.nan
    return nib.Nifti1Image(array, AFFINE).to_bytes()


def overflowing():
    array = np.zeros((4, 5, 6), np.float64)
    array[1, 2, 3] = 1e300
    return nib.Nifti1Image(array, AFFINE).to_bytes()


SHEARED = np.array([[1.0, 0, 0, 0], [0, 1, 0.3, 0], [0, 0, 1, 0], [0, 0, 0, 1]])

BROKEN = {
    "empty": (b"", "truncated_file"),
    "text": (b"this is no volume, it is a text file" * 20, "not_nifti"),
    "header_only_start": (good_bytes()[:200], "truncated_file"),
    "voxels_cut": (good_bytes()[:-10], "truncated_file"),
    "four_dimensional": (four_dimensional(), "not_3d"),
    "two_dimensional": (patched(40, "<hh", 2, 6), "not_3d"),
    "no_axes": (patched(40, "<h", 0), "not_nifti"),
    "eight_axes": (patched(40, "<h", 8), "not_nifti"),
    "negative_axis": (patched(42, "<h", -5), "not_nifti"),
    "sixteen_gigabytes_claimed": (patched(42, "<hhh", 2000, 2000, 2000), "too_many_voxels"),
    "many_voxels_claimed": (patched(42, "<hhh", 900, 900, 900), "truncated_file"),
    "complex": (complex_numbers(), "unsupported_dtype"),
    "colour": (patched(70, "<h", 128), "unsupported_dtype"),
    "unknown_type": (patched(70, "<h", 9999), "unsupported_dtype"),
    "offset_inside_header": (patched(108, "<f", 10.0), "not_nifti"),
    "offset_beyond": (patched(108, "<f", 1e30), "not_nifti"),
    "offset_nan": (patched(108, "<f", np.nan), "not_nifti"),
    "nan": (with_nan(), "nonfinite_voxels"),
    "overflow": (overflowing(), "nonfinite_voxels"),
    "infinite_intercept": (patched(112, "<ff", 1.0, np.inf), "bad_scaling"),
    "no_orientation": (with_affine(np.eye(4), sform=0), "missing_orientation"),
    "orientation_conflict": (conflicting(), "orientation_conflict"),
    "singular_affine": (with_affine(np.diag([1.0, 0, 1, 1])), "bad_affine"),
    "nan_affine": (with_affine(np.full((4, 4), np.nan)), "bad_affine"),
    "sheared": (with_affine(SHEARED), "sheared_grid"),
    "micrometres_unstated": (with_affine(np.diag([700.0, 700, 1000, 1])), "implausible_spacing"),
    "metres_unstated": (with_affine(np.diag([7e-4, 7e-4, 1e-3, 1])), "implausible_spacing"),
    "two_voxel_sizes": (patched(80, "<f", 3.0), "spacing_conflict"),
    "megabytes_behind": (good_bytes() + bytes(2 << 20), "trailing_data"),
}


@pytest.mark.parametrize("compressed", ["plain", "gzip"])
@pytest.mark.parametrize("name", BROKEN)
def test_every_broken_volume_has_its_code_and_a_way_out(tmp_path, name, compressed):
    content, code = BROKEN[name]
    path = tmp_path / "ct.nii.gz"
    path.write_bytes(gzip.compress(content, mtime=0) if compressed == "gzip" else content)
    with pytest.raises(DataError) as caught:
        read_volume(path)
    assert caught.value.code == code
    assert "ct.nii.gz" in str(caught.value) or code == "bad_affine"
    assert caught.value.exit_code == 3


def test_a_good_volume_passes_the_same_door(tmp_path):
    (tmp_path / "ct.nii").write_bytes(good_bytes())
    assert read_volume(tmp_path / "ct.nii").shape == (6, 7, 8)


@pytest.mark.parametrize("read", [read_volume, read_mask, read_labels, read_grid])
def test_a_missing_file_and_a_file_that_may_not_be_read(tmp_path, read):
    with pytest.raises(DataError) as caught:
        read(tmp_path / "none.nii.gz")
    assert caught.value.code == "file_missing"


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_gzip_is_noticed_wherever_it_ends(tmp_path, keep):
    data = gzip.compress(good_bytes((40, 40, 40)))
    path = tmp_path / "ct.nii.gz"
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(DataError) as caught:
        read_volume(path)
    assert caught.value.code == "truncated_file"


def test_damage_in_the_middle_and_a_wrong_checksum(tmp_path):
    data = bytearray(gzip.compress(good_bytes((40, 40, 40))))
    path = tmp_path / "ct.nii.gz"
    for place in (len(data) // 2, len(data) - 6):
        damaged = data.copy()
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        with pytest.raises(DataError) as caught:
            read_volume(path)
        assert caught.value.code in {"corrupt_gzip", "truncated_file"}


def quickly_and_small(read, path, *, code, seconds=2.0, megabytes=64):
    tracemalloc.start()
    start = time.perf_counter()
    try:
        with pytest.raises(DataError) as caught:
            read(path)
        peak = tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()
    assert caught.value.code == code
    assert time.perf_counter() - start < seconds
    assert peak < megabytes


@pytest.mark.parametrize("read", [read_volume, read_mask, read_labels])
def test_a_header_of_452_bytes_that_claims_16_gigabytes(tmp_path, read):
    path = tmp_path / "ct.nii.gz"
    path.write_bytes(gzip.compress(patched(42, "<hhh", 1000, 1000, 1000)[:452]))
    quickly_and_small(read, path, code="truncated_file")
    path.write_bytes(patched(42, "<hhh", 32000, 32000, 32000)[:452])
    quickly_and_small(read, path, code="too_many_voxels")


def bomb(megabytes, head):
    """A gzip whose content is ``head`` and then zeros, made without holding the zeros."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    buffer = io.BytesIO()
    buffer.write(packer.compress(head))
    for _ in range(megabytes):
        buffer.write(packer.compress(bytes(1 << 20)))
    buffer.write(packer.flush())
    return buffer.getvalue()


@pytest.mark.parametrize("read", [read_volume, read_mask, read_labels])
def test_a_gzip_bomb_behind_a_small_header(tmp_path, read):
    path = tmp_path / "ct.nii.gz"
    path.write_bytes(bomb(300, good_bytes()[:352]))
    assert path.stat().st_size < 1 << 20
    quickly_and_small(read, path, code="trailing_data")


def test_a_bomb_whose_header_announces_it(tmp_path):
    path = tmp_path / "ct.nii.gz"
    path.write_bytes(bomb(300, patched(42, "<hhh", 530, 530, 530)[:352]))
    quickly_and_small(read_volume, path, code="excessive_expansion")


def test_a_huge_empty_mask_is_legitimate(tmp_path):
    """Masks do compress a thousandfold: the caps must not refuse them."""
    write_volume(tmp_path / "liver.nii.gz", Volume(np.zeros((300, 300, 200), bool), AFFINE))
    assert not read_mask(tmp_path / "liver.nii.gz").array.any()


def test_time_is_capped_between_pieces(tmp_path):
    write_volume(tmp_path / "ct.nii.gz", Volume(np.zeros((300, 300, 200), np.int16), AFFINE))
    ticks = iter(range(1000))
    with pytest.raises(DataError) as caught:
        read_volume(
            tmp_path / "ct.nii.gz", limits=ReadLimits(time_limit_s=1.5, clock=lambda: float(next(ticks)))
        )
    assert caught.value.code == "read_timeout"
    assert next(ticks) <= 4


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    position=st.integers(0, 351),
    value=st.integers(0, 255),
    second=st.integers(0, 351),
    other=st.integers(0, 255),
)
def test_fuzzed_headers_are_read_or_refused_but_never_crash(tmp_path, position, value, second, other):
    raw = bytearray(good_bytes())
    raw[position], raw[second] = value, other
    path = tmp_path / "ct.nii"
    path.write_bytes(raw)
    for read in (read_volume, read_mask, read_labels):
        try:
            volume = read(path)
        except DataError:
            continue
        assert volume.array.size <= len(raw)
        assert np.isfinite(volume.affine).all()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=600), compress=st.sampled_from(["plain", "gzip", "magic"]))
def test_random_bytes_are_refused(tmp_path, content, compress):
    path = tmp_path / "ct.nii.gz"
    data = {"plain": content, "gzip": gzip.compress(content), "magic": b"\x1f\x8b" + content}[compress]
    path.write_bytes(data)
    with pytest.raises(DataError):
        read_volume(path)
