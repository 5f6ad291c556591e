"""NIfTI volumes in and out, decoded in pieces under caps on size, expansion and time."""

from __future__ import annotations

import gzip
import io
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from rsuper.errors import DataError
from rsuper.files import write_atomic_bytes
from rsuper.volumes.limits import ReadLimits
from rsuper.volumes.nifti_header import EXPORT_HINT, NiftiInfo, checked_header, header_class
from rsuper.volumes.volume import Volume

_CHUNK_BYTES = 8 << 20
_MAX_DEFLATE_RATIO = 1032  # deflate cannot expand further
_MAX_TRAILING_BYTES = 1 << 20
_MAX_EXTENSION_BYTES = 1 << 20
_COPY_HINT = "copy or download the file again"


def read_nifti_info(path: Path, *, limits: ReadLimits | None = None) -> NiftiInfo:
    """Read and check the header alone, against the length of the file too.

    Raises:
        DataError: as :func:`read_nifti`, as far as the header shows it.
    """
    with _opened(path) as stream:
        return _read_header(stream, path, limits or ReadLimits())


def read_nifti_extension(path: Path, *, limits: ReadLimits | None = None) -> bytes:
    """The bytes between header and voxels, one mebibyte at most: where extensions such as label tables lie.

    Raises:
        DataError: as :func:`read_nifti`, as far as the header shows it.
    """
    with _opened(path) as stream:
        info = _read_header(stream, path, limits or ReadLimits())
        return _read_up_to(stream, min(info.data_offset - stream.tell(), _MAX_EXTENSION_BYTES))


def read_nifti(path: Path, *, limits: ReadLimits | None = None) -> Volume:
    """Read intensities: int16 where the values are whole numbers that fit, else float32.

    Raises:
        DataError: ``file_missing``, ``unreadable_file``, ``truncated_file``, ``corrupt_gzip``,
            ``trailing_data``, ``excessive_expansion``, ``read_timeout``, ``nonfinite_voxels`` and the codes
            of :func:`rsuper.volumes.nifti_header.checked_header`.
    """
    limits = limits or ReadLimits()
    with _opened(path) as stream:
        info = _read_header(stream, path, limits)
        _check_expansion(path, info, limits)
        whole = info.dtype.kind in "iu" and info.slope == 1.0 and info.intercept.is_integer()
        fits = whole and info.intercept == 0 and np.can_cast(info.dtype, np.int16)
        array = np.empty(math.prod(info.grid.shape), dtype=np.int16 if fits else np.float32)
        for place, raw in _chunks(stream, path, info, limits):
            array[place] = raw if fits else _scaled(raw, info, path)
    if whole and not fits and array.min() >= -32768 and array.max() <= 32767:
        array = array.astype(np.int16)
    return Volume(array.reshape(info.grid.shape, order="F"), info.grid.affine)


def read_nifti_mask(path: Path, *, limits: ReadLimits | None = None) -> Volume:
    """Read a mask: bool, True where the stored value is not zero.

    Raises:
        DataError: as :func:`read_nifti`.
    """
    limits = limits or ReadLimits()
    with _opened(path) as stream:
        info = _read_header(stream, path, limits)
        array = np.empty(math.prod(info.grid.shape), dtype=np.bool_)
        for place, raw in _chunks(stream, path, info, limits):
            unscaled = info.intercept == 0 and info.dtype.kind in "iu"
            array[place] = (raw if unscaled else _scaled(raw, info, path)) != 0
    return Volume(array.reshape(info.grid.shape, order="F"), info.grid.affine)


def read_nifti_labels(path: Path, *, limits: ReadLimits | None = None) -> Volume:
    """Read a label map: uint8 or uint16, whichever holds its largest label.

    Raises:
        DataError: ``labels_not_integer`` if a value is no whole number from 0 to 65535; others as
            :func:`read_nifti`.
    """
    limits = limits or ReadLimits()
    with _opened(path) as stream:
        info = _read_header(stream, path, limits)
        array = np.empty(math.prod(info.grid.shape), dtype=np.uint16)
        for place, raw in _chunks(stream, path, info, limits):
            values = _scaled(raw, info, path)
            if values.min() < 0 or values.max() > 65535 or (values != np.rint(values)).any():
                raise DataError(
                    f"{path.name}: a label is no whole number from 0 to 65535",
                    code="labels_not_integer",
                    hint="resample label maps with nearest neighbour",
                )
            array[place] = values.astype(np.uint16)
    if array.max() < 256:
        array = array.astype(np.uint8)
    return Volume(array.reshape(info.grid.shape, order="F"), info.grid.affine)


def write_nifti(path: Path, volume: Volume) -> None:
    """Write a volume in one step (temporary file, fsync, rename); equal input gives equal bytes.

    bool becomes uint8; int8/16/32, uint8/16 and float32 stay; everything else becomes float32.

    Raises:
        DataError: ``bad_file_name`` if the name ends in neither .nii nor .nii.gz.
    """
    if not path.name.endswith((".nii", ".nii.gz")):
        raise DataError(f"{path.name}: NIfTI names end in .nii.gz or .nii", code="bad_file_name")
    array = volume.array
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    elif array.dtype.name not in ("int8", "uint8", "int16", "uint16", "int32", "float32"):
        array = array.astype(np.float32)
    image = nib.Nifti1Image(array, np.asarray(volume.affine))
    image.header.set_xyzt_units("mm")
    image.header.set_slope_inter(1.0, 0.0)
    image.set_sform(volume.affine, code=1)
    image.set_qform(volume.affine, code=1)
    data = image.to_bytes()
    if path.name.endswith(".gz"):
        buffer = io.BytesIO()
        with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, compresslevel=4, mtime=0) as stream:
            stream.write(data)
        data = buffer.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic_bytes(path, data)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A decoded byte stream; every way in which the file itself can be broken becomes a DataError."""
    try:
        with path.open("rb") as file:
            compressed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if compressed:
                with gzip.GzipFile(fileobj=file) as stream:
                    yield stream  # type: ignore[misc]
            else:
                yield file
    except FileNotFoundError as error:
        raise DataError(
            f"{path.name} does not exist", code="file_missing", hint=f"look in {path.parent}"
        ) from error
    except EOFError as error:
        raise DataError(
            f"{path.name}: the gzip stream ends early", code="truncated_file", hint=_COPY_HINT
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{path.name}: the gzip stream is damaged", code="corrupt_gzip", hint=_COPY_HINT
        ) from error
    except OSError as error:
        raise DataError(
            f"{path.name} cannot be read ({error.strerror or type(error).__name__})", code="unreadable_file"
        ) from error


def _read_header(stream: BinaryIO, path: Path, limits: ReadLimits) -> NiftiInfo:
    first = stream.read(4)
    kind = header_class(first)
    if kind is None:
        raise DataError(
            f"{path.name} is no NIfTI file", code="not_nifti" if first else "truncated_file", hint=EXPORT_HINT
        )
    block = first + stream.read(kind.template_dtype.itemsize - 4)
    if len(block) < kind.template_dtype.itemsize:
        raise DataError(
            f"{path.name}: the file ends inside its header", code="truncated_file", hint=_COPY_HINT
        )
    info = checked_header(kind(block, check=False), path, limits=limits)
    needed, stored = info.data_offset + info.data_bytes, path.stat().st_size
    possible = stored * _MAX_DEFLATE_RATIO if isinstance(stream, gzip.GzipFile) else stored
    if needed > possible:
        raise DataError(
            f"{path.name}: the header claims {needed:,} bytes, {stored:,} stored bytes cannot hold them",
            code="truncated_file",
            hint=_COPY_HINT,
        )
    return info


def _check_expansion(path: Path, info: NiftiInfo, limits: ReadLimits) -> None:
    ratio = info.data_bytes / max(1, path.stat().st_size)
    if info.data_bytes > limits.expansion_from_bytes and ratio > limits.max_expansion:
        raise DataError(
            f"{path.name}: {path.stat().st_size:,} bytes would expand {ratio:.0f}-fold, no CT does",
            code="excessive_expansion",
            hint="the file is empty or hostile; raise ReadLimits.max_expansion only if it is genuine",
        )


def _chunks(
    stream: BinaryIO, path: Path, info: NiftiInfo, limits: ReadLimits
) -> Iterator[tuple[slice, NDArray[Any]]]:
    """The stored voxels piece by piece, in file order, then the end of the stream checked."""
    deadline = limits.clock() + limits.time_limit_s
    _skip(stream, path, info.data_offset - stream.tell())
    voxels, step = math.prod(info.grid.shape), max(1, _CHUNK_BYTES // info.dtype.itemsize)
    for start in range(0, voxels, step):
        stop = min(voxels, start + step)
        raw = _read_exactly(stream, path, (stop - start) * info.dtype.itemsize)
        yield slice(start, stop), np.frombuffer(raw, dtype=info.dtype)
        if limits.clock() > deadline:
            raise DataError(
                f"{path.name}: not read after {limits.time_limit_s:g} s",
                code="read_timeout",
                hint="check the disk, or raise ReadLimits.time_limit_s",
            )
    if len(_read_up_to(stream, _MAX_TRAILING_BYTES + 1)) > _MAX_TRAILING_BYTES:
        raise DataError(
            f"{path.name}: much more data than the header announces", code="trailing_data", hint=EXPORT_HINT
        )


def _skip(stream: BinaryIO, path: Path, count: int) -> None:
    while count > 0:
        piece = _read_exactly(stream, path, min(count, _CHUNK_BYTES))
        count -= len(piece)


def _read_up_to(stream: BinaryIO, count: int) -> bytes:
    pieces = []
    while count > 0 and (piece := stream.read(count)):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def _read_exactly(stream: BinaryIO, path: Path, count: int) -> bytes:
    data = _read_up_to(stream, count)
    if len(data) < count:
        raise DataError(f"{path.name}: the voxels end early", code="truncated_file", hint=_COPY_HINT)
    return data


def _scaled(raw: NDArray[Any], info: NiftiInfo, path: Path) -> NDArray[np.float32]:
    with np.errstate(over="ignore", invalid="ignore"):
        values = (raw.astype(np.float64) * info.slope + info.intercept).astype(np.float32)
    if not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        raise DataError(
            f"{path.name}: at least {count:,} voxels are NaN or infinite",
            code="nonfinite_voxels",
            hint="find the step that made them; if they are padding, write -1024 (a mask: 0) there",
        )
    return values
