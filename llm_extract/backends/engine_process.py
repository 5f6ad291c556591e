"""An engine in a process of its own: it computes while this process prepares reports and checks answers.

What ends the engine, memory or a driver, does not end the run's own process; and when that one ends, however it
does, the engine's input ends and the engine goes with it. The two exchange JSON lines over pipes.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from llm_extract.chat.engine import ChatAnswer, ChatEngine, ChatRequest, EngineInfo, ModelOptions
from llm_extract.chat.prompting import Message
from llm_extract.errors import PipelineError, ResourceError, UsageError

_STEP_S = 0.02
"""The engine looks for new requests this often."""
_CLOSE_S = 10.0
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from llm_extract.backends.engine_process import serve; serve()"
)
_ERRORS: Mapping[str, type[PipelineError]] = {"UsageError": UsageError, "ResourceError": ResourceError}
_PATHS = ("api_key_file", "recording", "record")


class EngineProcess:
    """Passes requests on to an engine that runs in a process of its own.

    Args:
        engine: ``module:class`` of the engine, built there with the options.
        options: which model, and how.
        info: what the engine is; known without loading it.
    """

    def __init__(self, engine: str, options: ModelOptions, info: EngineInfo) -> None:
        self._engine = engine
        self._options = options
        self._info = info
        self._process: subprocess.Popen[str] | None = None
        self._inbox: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._listener: threading.Thread | None = None

    @property
    def capacity(self) -> int:
        """Requests in the engine and, half as many, ready for it: it never waits for the next report."""
        return self._options.concurrency + (self._options.concurrency + 1) // 2

    def info(self) -> EngineInfo:
        """What the engine is."""
        return self._info

    def start(self, schemas: Mapping[int, Mapping[str, Any]]) -> None:
        """Start the process and wait until the engine is ready.

        Raises:
            PipelineError: the engine does not start.
        """
        self._process = subprocess.Popen(  # noqa: S603 — this interpreter and our own module
            [sys.executable, "-c", _START, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            errors="surrogatepass",
        )
        self._listener = threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True)
        self._listener.start()
        options = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self._options).items()}
        self._send({"engine": self._engine, "options": options, "schemas": list(schemas.items())})
        self._take(self._inbox.get())

    def submit(self, request: ChatRequest) -> None:
        """Hand a request over."""
        self._send(asdict(request))

    def poll(self, timeout_s: float) -> Sequence[ChatAnswer]:
        """Answers that have come in.

        Raises:
            PipelineError: the engine has failed, or its process has ended; what is done is kept.
        """
        answers: list[ChatAnswer] = []
        with suppress(queue.Empty):
            frame = self._inbox.get(timeout=timeout_s)
            while True:
                if answers and (frame is None or "error_class" in frame):
                    self._inbox.put(frame)  # first what was answered before it failed
                    break
                answers += self._take(frame)
                frame = self._inbox.get_nowait()
        return answers

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
        try:
            process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if self._listener is not None:
            self._listener.join(_CLOSE_S)

    def _send(self, frame: Mapping[str, Any]) -> None:
        """Write one line; a process that has ended is noticed by :meth:`poll`."""
        if self._process is None or self._process.stdin is None:
            raise ResourceError("the engine was not started", code="engine_not_started")
        with suppress(OSError):
            self._process.stdin.write(json.dumps(frame) + "\n")
            self._process.stdin.flush()

    def _listen(self, lines: IO[str]) -> None:
        with lines, suppress(ValueError):  # what a dying process leaves half-written
            for line in lines:
                self._inbox.put(json.loads(line))
        self._inbox.put(None)

    def _take(self, frame: dict[str, Any] | None) -> list[ChatAnswer]:
        """The answers of one line; raises what it reports."""
        if frame is None:
            code = self._process.wait() if self._process is not None else 0
            raise ResourceError(
                f"the process of the engine has ended ({_how(code)}); what is done is kept",
                code="engine_failed",
                hint="check memory, then run the same command again",
            )
        if "error_class" in frame:
            kind = _ERRORS.get(frame["error_class"], ResourceError)
            raise kind(frame["message"], code=frame["code"], hint=frame["hint"])
        return [ChatAnswer(**answer) for answer in frame["answers"]]


def _how(code: int) -> str:
    """How a process ended.

    >>> _how(-9), _how(1)
    ('signal 9', 'exit code 1')
    """
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def serve() -> None:
    """What the process of an engine does: build it, then answer requests until the input ends."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the run decides when the engine ends
        signal.signal(number, signal.SIG_IGN)
    answers_to = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="surrogatepass")
    os.dup2(2, 1)  # whatever libraries print goes to standard error
    requests_from = os.fdopen(os.dup(0), encoding="utf-8", errors="surrogatepass")

    def tell(frame: Mapping[str, Any]) -> None:
        answers_to.write(json.dumps(frame) + "\n")
        answers_to.flush()

    try:
        _answer_all(requests_from, tell)
    except PipelineError as error:
        message = str(error.args[0])
        tell(
            {"error_class": type(error).__name__, "message": message, "code": error.code, "hint": error.hint}
        )
    except Exception as error:  # the type alone: a message may hold words of a prompt
        tell(
            {
                "error_class": "ResourceError",
                "message": f"the engine ended with {type(error).__name__}; what is done is kept",
                "code": "engine_failed",
                "hint": "run the same command again",
            }
        )
    finally:
        os._exit(0)  # an engine may leave threads that never end


def _answer_all(requests_from: IO[str], tell: Callable[[Mapping[str, Any]], None]) -> None:
    first = json.loads(requests_from.readline())
    module, _, name = first["engine"].partition(":")
    given: dict[str, Any] = {
        k: Path(v) if k in _PATHS and v is not None else v for k, v in first["options"].items()
    }
    engine: ChatEngine = getattr(importlib.import_module(module), name)(ModelOptions(**given))
    inbox: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=(requests_from, inbox), daemon=True).start()
    engine.start(dict(first["schemas"]))
    tell({"answers": []})
    n_open = 0
    while True:
        with suppress(queue.Empty):
            request = inbox.get() if n_open == 0 else inbox.get_nowait()
            while True:
                engine.submit(_request(request))
                n_open += 1
                request = inbox.get_nowait()
        answers = engine.poll(_STEP_S)
        if answers:
            n_open -= len(answers)
            tell({"answers": [asdict(answer) for answer in answers]})


def _read_requests(lines: IO[str], inbox: queue.SimpleQueue[dict[str, Any]]) -> None:
    """Take requests in; when the input ends, the run is over or dead, and so is this process."""
    with suppress(ValueError):
        for line in lines:
            inbox.put(json.loads(line))
    os._exit(0)


def _request(frame: Mapping[str, Any]) -> ChatRequest:
    messages = tuple(Message(**message) for message in frame["messages"])
    return ChatRequest(**{**frame, "messages": messages})
