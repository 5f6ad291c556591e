"""Phantom cases for the tests of the integrations; read only."""

from __future__ import annotations

import pytest

from rsuper.synthesis import PhantomConfig, make_case


@pytest.fixture(scope="session")
def phantoms():
    """Small cases: some with pancreas tumours, some without."""
    config = PhantomConfig(shape=(64, 54, 40), spacing_mm=(4.5, 4.5, 4.5))
    return [make_case(5, index, config) for index in range(8)]


@pytest.fixture(scope="session")
def positive(phantoms):
    """A case with one pancreas tumour."""
    return next(case for case in phantoms if len(case.lesions) == 1)


@pytest.fixture(scope="session")
def negative(phantoms):
    """A case without a tumour."""
    return next(case for case in phantoms if not case.lesions)
