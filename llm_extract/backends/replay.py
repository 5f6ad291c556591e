"""Recorded answers in place of a model: record once beside any engine, replay for ever without one.

A recording is JSON lines: a header with model, revision and decoding, then one answer a line under the hash of its
conversation and schema. A changed prompt or report finds no answer; that report is quarantined with a code.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llm_extract.chat.engine import ChatAnswer, ChatEngine, ChatRequest, EngineInfo, ModelOptions
from llm_extract.errors import DataError, UsageError

FORMAT = "chat-recording-1"
_BLOCK_BYTES = 1 << 16


class ReplayEngine:
    """Answers from a recording.

    Args:
        options: ``recording`` names the file.
    """

    capacity = 64

    def __init__(self, options: ModelOptions) -> None:
        if options.recording is None:
            raise UsageError(
                "the replay backend needs a recording", code="recording_missing", hint="add --recording FILE"
            )
        self._info, self._answers = read_recording(options.recording)
        self._queue: deque[ChatAnswer] = deque()

    def info(self) -> EngineInfo:
        """Model, revision and decoding of the recorded run."""
        return self._info

    def start(self, schemas: Mapping[int, Mapping[str, Any]]) -> None:
        """Nothing to load."""

    def submit(self, request: ChatRequest) -> None:
        """Look the answer up."""
        held = self._answers.get(request.sha256)
        if held is None:
            self._queue.append(ChatAnswer(request.request_id, finish_reason="error", error="not_recorded"))
        else:
            self._queue.append(ChatAnswer(request.request_id, **held))

    def poll(self, timeout_s: float) -> Sequence[ChatAnswer]:
        """Everything that was asked for."""
        answers = list(self._queue)
        self._queue.clear()
        return answers

    def close(self) -> None:
        """Nothing to free."""


class RecordingEngine:
    """Passes everything on to another engine and writes its answers down; failed requests are not recorded.

    Args:
        engine: what answers.
        path: file of the recording; a recording of the same model is continued.
    """

    def __init__(self, engine: ChatEngine, path: Path) -> None:
        self._engine = engine
        self._path = path
        self._open: dict[str, str] = {}
        self._descriptor: int | None = None
        self._known: set[str] = set()

    @property
    def capacity(self) -> int:
        """That of the engine."""
        return self._engine.capacity

    def info(self) -> EngineInfo:
        """That of the engine."""
        return self._engine.info()

    def start(self, schemas: Mapping[int, Mapping[str, Any]]) -> None:
        """Open the file, then start the engine."""
        info = self._engine.info()
        if self._path.exists() and self._path.stat().st_size:
            before, _ = read_recording(self._path)  # a file of another kind is left as it is
            if before != info:
                raise UsageError(
                    f"{self._path} was recorded with the model {before.model}",
                    code="recording_of_another_model",
                    hint="choose another --record",
                )
        self._descriptor = _open_private(self._path)
        if _cut_to_whole_lines(self._descriptor) == 0:
            header = {"format": FORMAT, "model": info.model, "revision": info.revision}
            self._write(header | {"decoding": dict(info.decoding)})
        self._known = set(read_recording(self._path)[1])
        self._engine.start(schemas)

    def submit(self, request: ChatRequest) -> None:
        """Pass it on."""
        self._open[request.request_id] = request.sha256
        self._engine.submit(request)

    def poll(self, timeout_s: float) -> Sequence[ChatAnswer]:
        """Write down what the engine answers."""
        answers = self._engine.poll(timeout_s)
        for answer in answers:
            key = self._open.pop(answer.request_id, None)
            if key is None or answer.error is not None or key in self._known:
                continue
            self._known.add(key)
            self._write(
                {
                    "key": key, "text": answer.text, "finish_reason": answer.finish_reason,
                    "prompt_tokens": answer.prompt_tokens, "output_tokens": answer.output_tokens,
                }
            )  # fmt: skip
        return answers

    def close(self) -> None:
        """Close file and engine."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        self._engine.close()

    def _write(self, line: Mapping[str, object]) -> None:
        """One line at the end, so that a killed run leaves whole lines but for the last."""
        if self._descriptor is None:
            return
        rest = memoryview((json.dumps(line, ensure_ascii=True) + "\n").encode())
        while rest:  # one write, but for a signal or a disk about to be full
            rest = rest[os.write(self._descriptor, rest) :]


def _open_private(path: Path) -> int:
    """Descriptor of a file that is read, cut and appended to; its mode is 0600 from now on, for it holds quotes."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags, 0o600)
    if hasattr(os, "fchmod"):
        os.fchmod(descriptor, 0o600)
    return descriptor


def _cut_to_whole_lines(descriptor: int) -> int:
    """Remove a last line without an end, which a crash has cut off; returns the bytes that are left."""
    size = os.fstat(descriptor).st_size
    end = size
    while end > 0:
        start = max(0, end - _BLOCK_BYTES)
        os.lseek(descriptor, start, os.SEEK_SET)
        newline = os.read(descriptor, end - start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        os.ftruncate(descriptor, end)
    return end


def read_recording(path: Path) -> tuple[EngineInfo, dict[str, dict[str, Any]]]:
    """The engine of a recording and its answers by key; a last line cut off by a crash is left out.

    Raises:
        DataError: the file is absent or no recording.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise DataError(
            f"cannot read the recording {path}: {error.strerror}", code="recording_missing"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no recording", code="recording_damaged") from error
    lines = text.splitlines()
    info = _header(lines[0] if lines else "")
    if info is None:
        raise DataError(f"{path} is no recording", code="recording_damaged")
    answers: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(lines[1:], start=2):
        try:
            fields = json.loads(line)
            key = fields.pop("key")
            ChatAnswer("", **fields)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if number == len(lines) and not text.endswith("\n"):
                break
            raise DataError(f"{path}, line {number} is damaged", code="recording_damaged") from error
        answers.setdefault(key, fields)
    return info, answers


def _header(line: str) -> EngineInfo | None:
    try:
        fields = json.loads(line)
        return EngineInfo(**fields) if fields.pop("format") == FORMAT else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
