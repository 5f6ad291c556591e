"""Progress, JSON and failures as a user or a program sees them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import typer

from rsuper import console
from rsuper.console import TerminatedError, emit_json, failures, progress, say
from rsuper.errors import DataError, InterruptedRunError, PartialError, ResourceError, UsageError


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UsageError("no such column", code="missing_column", hint="see --help"), 2, "missing_column"),
        (DataError("cut short", code="truncated", case_id="c1"), 3, "truncated [case c1]: cut short"),
        (PartialError("some", code="partial"), 4, "partial"),
        (ResourceError("none left", code="disk_full"), 5, "disk_full"),
        (InterruptedRunError(15), 143, "goes on from here"),
        (InterruptedRunError(2), 130, "goes on from here"),
        (KeyboardInterrupt(), 130, "the same command goes on"),
        (TerminatedError(), 143, "the same command goes on"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 2, 'pip install "rsuper[train]"'),
        (ModuleNotFoundError("x", name="pydicom.pixels"), 2, 'pip install "rsuper[dicom]"'),
        (MemoryError(), 5, "out_of_memory"),
        (OSError(28, "No space left on device"), 5, "disk_full"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_failures_have_a_code_a_line_and_an_object(capsys, error, code, said, as_json):
    with pytest.raises(typer.Exit) as caught, failures(as_json=as_json):
        raise error
    assert caught.value.exit_code == code
    out, err = capsys.readouterr()
    assert said in err
    assert err.count("\n") == 1
    if as_json and code < 100:
        assert set(json.loads(out)["error"]) == {"code", "message", "case_id", "hint"}
    else:
        assert out == ""


def test_a_defect_of_our_own_is_not_hidden(capsys):
    with pytest.raises((typer.Exit, ModuleNotFoundError)) as caught, failures(as_json=False):
        raise ModuleNotFoundError("No module named 'rsuper.gone'", name="rsuper.gone")
    assert not isinstance(caught.value, typer.Exit) or caught.value.exit_code == 1


def test_json_is_json(capsys):
    emit_json({"a": math.nan, "b": [math.inf, 1.5, None, True], "c": Path("x/y"), "d": {"e": (1, "ü")}})
    assert json.loads(capsys.readouterr().out) == {
        "a": None,
        "b": [None, 1.5, None, True],
        "c": "x/y",
        "d": {"e": [1, "ü"]},
    }


def test_progress_is_plain_lines_where_there_is_no_terminal(capsys, monkeypatch):
    clock = iter([0.0, 1.0, 6.0, 7.0, 20.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    with progress("work") as tick:
        for done in (1, 2, 3):
            tick(done, 10, "case_a")
        tick(10, 10, "")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["work: 2/10, 6 s, ETA 24 s case_a", "work: 10/10, 20 s, ETA 0 s"]


def test_say_goes_where_it_is_told(capsys):
    say("hello")
    assert capsys.readouterr().out == "hello\n"


def test_the_next_command_can_be_pasted(capsys):
    console.say_next("rsuper", "train", Path("my runs/a"), "--out", "b")
    assert capsys.readouterr().out == "Next: rsuper train 'my runs/a' --out b\n"
