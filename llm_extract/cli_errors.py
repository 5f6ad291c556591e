"""Expected failures become one line, one JSON object where asked for, and an exit code."""

from __future__ import annotations

import errno
import json
import os
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import typer

from llm_extract.errors import InterruptedRunError, PipelineError, ResourceError

_TEMPORARY = re.compile(r"\.(.+)\.\d+\.tmp")


@contextmanager
def failures(*, as_json: bool) -> Iterator[None]:
    """Turn expected failures into one line and an exit code; nothing of a report is ever printed.

    Args:
        as_json: whether the error is also wanted as one JSON object on standard output.
    """
    try:
        yield
    except PipelineError as error:
        _fail(error, as_json=as_json)
    except InterruptedRunError as error:
        typer.echo(f"interrupted: {error}", err=True)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt as error:  # outside of the loop; a subclass stands for SIGTERM
        typer.echo("interrupted: the same command goes on where it stopped", err=True)
        raise typer.Exit(130 if type(error) is KeyboardInterrupt else 143) from None
    except OSError as error:
        _fail(_of_a_file(error), as_json=as_json)
    except (typer.Exit, typer.Abort):
        raise
    except (
        Exception
    ) as error:  # its message may quote a report: only its type and the lines of code are shown
        for line in traceback.format_tb(error.__traceback__)[-6:]:
            typer.echo(line.rstrip(), err=True)
        name = type(error).__name__
        if as_json:
            typer.echo(json.dumps({"error": {"code": "internal_error", "message": name, "hint": None}}))
        typer.echo(
            f"error internal_error: unexpected {name} — please report it with the lines above", err=True
        )
        raise typer.Exit(1) from None


def program_of(context: typer.Context) -> str:
    """The program that a verb was called from, for the next command to type."""
    return context.find_root().command.name or "llm-extract"


def _of_a_file(error: OSError) -> ResourceError:
    """The error of a disk or a path, with the name that the file was to get."""
    name = "a file"
    if error.filename is not None:
        path = Path(os.fsdecode(error.filename))
        given = _TEMPORARY.fullmatch(path.name)
        name = str(path.with_name(given[1]) if given else path)
    reason = f"{name}: {error.strerror or type(error).__name__}"
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return ResourceError(reason, code="disk_full", hint="free some space and run the same command again")
    return ResourceError(reason, code="file_error", hint="check path and permissions")


def _fail(error: PipelineError, *, as_json: bool) -> NoReturn:
    if as_json:
        message = {"code": error.code, "message": str(error.args[0]), "hint": error.hint}
        typer.echo(json.dumps({"error": message}))
    typer.echo(f"error {error}", err=True)
    raise typer.Exit(error.exit_code) from None
