"""Errors that say what, where, why and what to type next, with a stable code; never any report text."""

from __future__ import annotations

from functools import partial


class PipelineError(Exception):
    """An expected failure of the pipeline.

    Args:
        message: what went wrong and where, without any report text.
        code: stable identifier such as ``missing_column``.
        case_id: the case or report it belongs to, if there is one.
        hint: what to type or change next.
    """

    exit_code = 3

    def __init__(
        self, message: str, *, code: str, case_id: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.case_id = case_id
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        """Errors cross process borders: rebuild with the keyword arguments that the default recipe forgets."""
        return partial(type(self), code=self.code, case_id=self.case_id, hint=self.hint), self.args

    def __str__(self) -> str:
        where = f" [case {self.case_id}]" if self.case_id else ""
        hint = f" — {self.hint}" if self.hint else ""
        return f"{self.code}{where}: {self.args[0]}{hint}"


class UsageError(PipelineError):
    """The command or the configuration asks for something that cannot be done (exit code 2)."""

    exit_code = 2


class DataError(PipelineError):
    """Input data are broken or do not fit together (exit code 3)."""

    exit_code = 3


class PartialError(PipelineError):
    """Some cases could not be processed, the others are done (exit code 4)."""

    exit_code = 4


class ResourceError(PipelineError):
    """Memory, disk or a device is missing (exit code 5)."""

    exit_code = 5


class InterruptedRunError(Exception):
    """The run was asked to stop; the same command goes on where it ended.

    Args:
        signal_number: SIGINT or SIGTERM.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by signal {signal_number}; the same command goes on from here")
        self.exit_code = 128 + signal_number

    def __reduce__(self) -> tuple[object, ...]:
        """Rebuilt from the signal's number on the other side of a process border."""
        return type(self), (self.exit_code - 128,)
