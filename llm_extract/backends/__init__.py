"""Backends turn one report into one record; each has a file of its own and loads libraries when asked to."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from llm_extract.anatomy_file import check_anatomy_file
from llm_extract.errors import UsageError
from llm_extract.grounding import check_grounding
from llm_extract.records import ReportRecord
from llm_extract.reports import Report

if TYPE_CHECKING:
    from llm_extract.chat.engine import ChatEngine, ModelOptions
    from llm_extract.ledger import Job, Result

BACKENDS: Mapping[str, str] = {"rules": "llm_extract.backends.rules:RulesBackend"}
"""Name on the command line -> ``module:class`` that is built without arguments."""

MODEL_BACKENDS: Mapping[str, str] = {
    "openai": "llm_extract.backends.openai:OpenAIEngine",
    "vllm": "llm_extract.backends.vllm:VLLMEngine",
    "transformers": "llm_extract.backends.transformers:TransformersEngine",
    "replay": "llm_extract.backends.replay:ReplayEngine",
}
"""Name -> ``module:class`` of an engine that is built with :class:`llm_extract.chat.engine.ModelOptions`."""


@runtime_checkable
class Backend(Protocol):
    """What the batch loop asks of a backend."""

    name: str

    def settings(self) -> Mapping[str, str]:
        """Everything besides the report that decides a record: model, revision, prompt, schema, decoding."""
        ...

    def load(self) -> None:
        """Load libraries and models, once a process and before the first report."""
        ...

    def extract(self, report: Report) -> ReportRecord:
        """The record of one report."""
        ...


@runtime_checkable
class BatchBackend(Backend, Protocol):
    """A backend that has many reports in hand at a time, such as a language model."""

    def run(self, jobs: Iterator[Job], *, stop: Callable[[], bool]) -> Iterator[Result | None]:
        """One result a job, in the order in which they end; None now and then, while nothing ends."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


def load_backend(name: str, model: ModelOptions | None = None, *, anatomy: Path | None = None) -> Backend:
    """Build a backend.

    Args:
        name: a name of :data:`BACKENDS` or :data:`MODEL_BACKENDS`, or ``package.module:Class`` for a backend of
            your own.
        model: which language model, for the backends that run one.
        anatomy: a user's own anatomy file, on top of the built-in table.

    Returns:
        The backend, its heavy libraries not loaded yet.

    Raises:
        UsageError: there is no such backend, the anatomy file is wrong, or a backend of your own was given one.
    """
    if anatomy is not None and name not in MODEL_BACKENDS:
        return _with_anatomy(name, anatomy)
    module_name, _, attribute = {**BACKENDS, **MODEL_BACKENDS}.get(name, name).partition(":")
    if not attribute:
        raise UsageError(
            f"there is no backend {name!r}; there are: {', '.join([*BACKENDS, *MODEL_BACKENDS])}",
            code="unknown_backend",
            hint="or give your own as package.module:Class",
        )
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
        if name in MODEL_BACKENDS:
            from llm_extract.chat.backend import ModelBackend
            from llm_extract.chat.engine import ModelOptions

            options = model or ModelOptions()
            if anatomy is not None:
                check_anatomy_file(anatomy)  # before an engine holds anything
            return ModelBackend(name, _recorded(factory(options), options), options, anatomy=anatomy)
        backend = factory() if callable(factory) else factory
    except (ImportError, AttributeError, TypeError) as error:
        raise UsageError(
            f"cannot load the backend {name!r}: {type(error).__name__}: {error}",
            code="unknown_backend",
            hint="check the import path and the installed extras",
        ) from error
    if not isinstance(backend, Backend):
        raise UsageError(
            f"{name!r} is no backend: it needs name, settings(), load() and extract()", code="unknown_backend"
        )
    return backend


def _recorded(engine: ChatEngine, options: ModelOptions) -> ChatEngine:
    """The engine, its answers written down where the options name a file for them."""
    if options.record is None:
        return engine
    from llm_extract.backends.replay import RecordingEngine

    return RecordingEngine(engine, options.record)


def _with_anatomy(name: str, anatomy: Path) -> Backend:
    if name != "rules":
        raise UsageError(
            f"the backend {name!r} takes no anatomy file",
            code="bad_option",
            hint=f"--anatomy goes with --backend {', '.join([*BACKENDS, *MODEL_BACKENDS])}",
        )
    from llm_extract.backends.rules import RulesBackend

    check_anatomy_file(anatomy)
    return RulesBackend(anatomy)


def extract_checked(backend: Backend, report: Report) -> ReportRecord:
    """Extract one report and refuse a record that is not grounded in exactly this text.

    Args:
        backend: where the record comes from.
        report: the report.

    Returns:
        The record.

    Raises:
        GroundingError: the record belongs to another text, or a quote is not the slice it claims to be.
    """
    record = backend.extract(report)
    check_grounding(record, report)
    return record
