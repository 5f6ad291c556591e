"""A language model as a backend of the batch loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from llm_extract.chat.engine import ChatEngine, ModelOptions
from llm_extract.chat.loop import ChatExtractor
from llm_extract.errors import DataError
from llm_extract.ledger import Job, Result
from llm_extract.records import ReportRecord
from llm_extract.reports import Report


class ModelBackend:
    """Runs an engine over many reports at a time.

    Args:
        name: name of the backend.
        engine: what answers; its weights are loaded by :meth:`load`.
        options: which model, and how.
        anatomy: a user's own anatomy file, on top of the built-in table.
    """

    def __init__(
        self, name: str, engine: ChatEngine, options: ModelOptions, *, anatomy: Path | None = None
    ) -> None:
        self.name = name
        self._extractor = ChatExtractor(name, engine, options, anatomy=anatomy)

    def settings(self) -> Mapping[str, str]:
        """Model, revision, decoding, hashes of prompt and schema, and of the code that checks and assembles."""
        return self._extractor.settings()

    def load(self) -> None:
        """Load the model and compile the schemas."""
        self._extractor.load()

    def run(
        self, jobs: Iterator[Job], *, stop: Callable[[], bool] = lambda: False
    ) -> Iterator[Result | None]:
        """One result a job, in the order in which they end; None while nothing ends."""
        return self._extractor.run(jobs, stop=stop)

    def extract(self, report: Report) -> ReportRecord:
        """The record of one report.

        Raises:
            DataError: there is none, because the request failed.
        """
        self.load()
        for result in self.run(iter([Job("one", report)])):
            if result is not None and result.record_json is not None:
                return ReportRecord.model_validate_json(result.record_json)
            if result is not None:
                code = result.code or "extraction_error"
                raise DataError(f"the model gave no answer ({result.detail})", code=code)
        raise DataError("the model gave no answer", code="extraction_error")

    def close(self) -> None:
        """Free the engine."""
        self._extractor.close()
