"""Either the old or the new content, at every failing operation."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rsuper.files import file_stamps, publish_folder, write_atomic_bytes, write_atomic_text


def fail_at(monkeypatch, number, error):
    """Let the ``number``-th fsync, rename or removal fail."""
    count = [0]

    def wrap(real):
        def wrapped(*args, **kwargs):
            count[0] += 1
            if count[0] == number:
                raise error
            return real(*args, **kwargs)

        return wrapped

    monkeypatch.setattr(os, "fsync", wrap(os.fsync))
    monkeypatch.setattr(Path, "replace", wrap(Path.replace))
    monkeypatch.setattr(Path, "rename", wrap(Path.rename))
    return count


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_file_is_old_or_new(tmp_path, monkeypatch, number, error):
    path = tmp_path / "f"
    write_atomic_text(path, "old")
    with monkeypatch.context() as patch:
        fail_at(patch, number, error)
        try:
            write_atomic_bytes(path, b"new" * 1000)
        except (OSError, KeyboardInterrupt):
            assert number <= 3
    content = path.read_bytes()
    assert content == (b"old" if number <= 2 else b"new" * 1000)
    assert [item.name for item in tmp_path.iterdir()] == ["f"]


def test_a_short_write_is_noticed(tmp_path, monkeypatch):
    path = tmp_path / "f"
    write_atomic_text(path, "old")
    real = os.fsync
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: (os.ftruncate(handle, 2), real(handle))[1])
        with pytest.raises(OSError, match="fewer bytes"):
            write_atomic_bytes(path, b"longer than two")
    assert path.read_text() == "old"


def test_permissions_are_as_asked_for(tmp_path):
    write_atomic_text(tmp_path / "f", "private", mode=0o600)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("number", range(1, 8))
def test_a_folder_is_old_or_new_or_gone_never_mixed(tmp_path, monkeypatch, number):
    folder, temporary = tmp_path / "case", tmp_path / ".case.partial"
    for place, text in ((folder, "old"), (temporary, "new")):
        (place / "sub").mkdir(parents=True)
        (place / "a").write_text(text)
        (place / "sub" / "b").write_text(text)
    with monkeypatch.context() as patch:
        count = fail_at(patch, number, KeyboardInterrupt())
        try:
            publish_folder(temporary, folder)
        except KeyboardInterrupt:
            assert count[0] == number
    found = {(folder / name).read_text() for name in ("a", "sub/b")} if folder.exists() else set()
    assert found in ({"old"}, {"new"}, set())


def test_stamps_change_with_the_file(tmp_path):
    path = tmp_path / "f"
    path.write_text("a")
    first = file_stamps([path, tmp_path / "none"])
    assert first[1] == "none absent"
    os.utime(path, ns=(1, 1))
    assert file_stamps([path])[0] != first[0]
