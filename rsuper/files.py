"""Files and folders that are either the old or the new content, never half of it."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from rsuper.errors import ResourceError, UsageError


def require_writable(folder: Path | None) -> None:
    """Refuse an output folder that cannot be made or written, before any work is done; nothing is created.

    Args:
        folder: where results will go, existing or not; None is nowhere.

    Raises:
        UsageError: ``output_not_a_folder`` if it, or the nearest thing above it, is a file.
        ResourceError: ``output_not_writable`` if it, or the nearest folder above it, is read-only.
    """
    if folder is None:
        return
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    hint = "choose another --out"
    if not nearest.is_dir():
        raise UsageError(f"{nearest} exists and is no folder", code="output_not_a_folder", hint=hint)
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ResourceError(
            f"cannot write to {folder}: {nearest} is read-only", code="output_not_writable", hint=hint
        )


def require_own_folders(out: Path, case_ids: Iterable[str], *, marker: str, writer: str) -> None:
    """Refuse an output folder where a dataset lies, or whose case folders somebody else wrote.

    Args:
        out: output folder, existing or not.
        case_ids: the cases whose folders would be replaced.
        marker: file that ``writer`` leaves in each folder of its own.
        writer: the command that is about to write, for the message.

    Raises:
        UsageError: ``output_holds_inputs``.
    """
    hint = "choose another --out"
    if (out / "cases.csv").exists():
        raise UsageError(f"{out} holds a dataset", code="output_holds_inputs", hint=hint)
    for case_id in case_ids:
        if (out / case_id).exists() and not (out / case_id / marker).is_file():
            raise UsageError(
                f"{out} holds case folders that `{writer}` did not write",
                code="output_holds_inputs",
                case_id=case_id,
                hint=hint,
            )


def write_atomic_bytes(path: Path, content: bytes, *, mode: int | None = None) -> None:
    """Write to a temporary name beside ``path``, fsync, check its length, then rename onto it.

    Args:
        path: target; its folder exists.
        content: the whole file.
        mode: permission bits such as ``0o600``; None keeps the default of the process.

    Raises:
        OSError: the disk is full, broken or kept fewer bytes; ``path`` is as it was before.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with temporary.open("wb") as handle:
            if mode is not None:
                temporary.chmod(mode)
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        _require_size(temporary, len(content))
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_atomic_text(path: Path, text: str, *, mode: int | None = None) -> None:
    """``write_atomic_bytes`` for UTF-8 text."""
    write_atomic_bytes(path, text.encode("utf-8"), mode=mode)


def publish_folder(temporary: Path, folder: Path) -> None:
    """Put a finished folder in the place of ``folder``, which may exist; its files are on disk before it gets the name.

    Args:
        temporary: finished folder on the same file system; gone afterwards.
        folder: final name. A killed run leaves the old folder, the new one, or none, never a mixture.
    """
    for path in sorted(temporary.rglob("*")):
        if path.is_file():
            with path.open("rb") as handle:
                os.fsync(handle.fileno())
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    temporary.rename(folder)
    _sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def file_stamps(paths: Iterable[Path]) -> tuple[str, ...]:
    """Name, size and time of change of each file, in order; work done on files with equal stamps may be kept."""
    stamps = []
    for path in paths:
        try:
            stat = path.stat()
        except OSError:
            stamps.append(f"{path.name} absent")
        else:
            stamps.append(f"{path.name} {stat.st_size} {stat.st_mtime_ns}")
    return tuple(stamps)


def _require_size(path: Path, size: int) -> None:
    if path.stat().st_size != size:
        raise OSError(errno.EIO, "the disk kept fewer bytes than were written", str(path))


def _sync_folder(folder: Path) -> None:
    """Make a rename durable; file systems that cannot sync a folder order their renames themselves."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
