"""What every test gets: no network, and the folder of real material where there is one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

REAL_MATERIAL = Path(__file__).resolve().parents[1].parent / "shared" / "data"


class NetworkBlockedError(RuntimeError):
    """A test tried to reach the network."""


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    """Refuse every socket that is not local to this machine's processes (AF_UNIX, socketpair)."""

    def refuse_unless_local(name: str):
        original = getattr(socket.socket, name)

        def guarded(self: socket.socket, *args: object, **kwargs: object) -> object:
            if self.family != socket.AF_UNIX:
                raise NetworkBlockedError(f"socket.{name} is blocked in tests")
            return original(self, *args, **kwargs)

        return guarded

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise NetworkBlockedError("name lookup is blocked in tests")

    with pytest.MonkeyPatch.context() as patch:
        for name in ("bind", "connect", "connect_ex", "sendto"):
            patch.setattr(socket.socket, name, refuse_unless_local(name))
        for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr"):
            patch.setattr(socket, name, refuse)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real material beside the checkout; the test is skipped where it is absent."""
    if not REAL_MATERIAL.is_dir():
        pytest.skip("the folder of real material (../shared/data) is not beside this checkout")
    return REAL_MATERIAL


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory):
    """A headless Chromium for the tests of one module; see ``tests/support/browser.py``. Skips where there is none."""
    from browser import CHROMIUM, Browser

    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with Browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture(scope="session")
def toy_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small analytic cases in the data set layout; see ``toy_data``. Read only."""
    import toy_data

    return toy_data.write_dataset(tmp_path_factory.mktemp("toy") / "dataset", toy_data.standard_cases())


@pytest.fixture(scope="session")
def toy_prepared(toy_dataset: Path, tmp_path_factory: pytest.TempPathFactory):
    """``toy_dataset`` prepared: one organ, one lesion class, no margin of the report region. Read only."""
    import toy_data

    from rsuper.data.layout import Dataset
    from rsuper.data.prepare import PrepareConfig, prepare

    config = PrepareConfig(
        lesion_classes=(toy_data.LESION_CLASS,), structures=("pancreas",), margins_mm={"pancreas": 0.0}
    )
    return prepare(Dataset.open(toy_dataset), tmp_path_factory.mktemp("toy") / "prepared", config=config)
