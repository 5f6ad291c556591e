"""Errors keep everything they say when they cross a process border."""

from __future__ import annotations

import pickle

import pytest

from llm_extract.errors import DataError, InterruptedRunError, PartialError, ResourceError, UsageError


@pytest.mark.parametrize("kind", [UsageError, DataError, PartialError, ResourceError])
def test_an_error_survives_pickling(kind):
    error = kind("no mask", code="missing_organ_mask", case_id="case_1", hint="add it")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (str(again), again.code, again.case_id, again.hint) == (str(error), error.code, "case_1", "add it")
    assert again.exit_code == kind.exit_code


def test_an_interruption_survives_pickling():
    again = pickle.loads(pickle.dumps(InterruptedRunError(15)))
    assert (again.exit_code, str(again)) == (143, str(InterruptedRunError(15)))
