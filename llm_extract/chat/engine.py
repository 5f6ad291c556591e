"""What the extraction loop asks of an engine: take requests up to a capacity, give answers back, close."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from llm_extract.chat.prompting import Message

FinishReason = Literal["stop", "length", "error"]
RequestError = Literal["prompt_too_long", "request_refused", "request_timeout", "not_recorded"]


@dataclass(frozen=True)
class ModelOptions:
    """Which model answers, where, and how the run treats it.

    Args:
        model: name or folder of the model; a server with one model needs none.
        revision: version of the weights, for the records.
        base_url: address of an OpenAI-compatible server.
        remote: whether a server that is not this machine may be asked.
        api_key_file: file that holds the key of the server.
        concurrency: requests in the engine at the same time.
        request_timeout_s: longest time for one answer.
        patience_s: how long a server may be out of reach before the run stops, resumable.
        max_model_len: tokens of context of an in-process engine.
        gpus: GPUs that an in-process engine spreads one model over.
        kv_cache_bytes: memory for the engine's cache; by default what the GPU has left.
        recording: file of recorded answers; the replay backend reads it.
        record: file that answers are recorded in.
        cross_check: whether the rules are compared with every record.
        price_per_million: price of a million tokens, for the progress line.
    """

    model: str | None = None
    revision: str | None = None
    base_url: str = "http://127.0.0.1:8000/v1"
    remote: Literal["refused", "allowed"] = "refused"
    api_key_file: Path | None = None
    concurrency: int = 64
    request_timeout_s: float = 600.0
    patience_s: float = 120.0
    max_model_len: int = 8192
    gpus: int = 1
    kv_cache_bytes: int | None = None
    recording: Path | None = None
    record: Path | None = None
    cross_check: Literal["none", "rules"] = "none"
    price_per_million: float | None = None


@dataclass(frozen=True)
class ChatRequest:
    """One conversation to be continued.

    Args:
        request_id: names the answer.
        messages: the turns so far.
        bucket: which of the engine's schemas the answer follows.
        max_tokens: longest answer.
    """

    request_id: str
    messages: tuple[Message, ...]
    bucket: int
    max_tokens: int

    @property
    def sha256(self) -> str:
        """Hash of the conversation and its schema's bucket: the key of a recorded answer."""
        turns = [[m.role, m.content] for m in self.messages]
        return hashlib.sha256(json.dumps([turns, self.bucket]).encode()).hexdigest()


@dataclass(frozen=True)
class ChatAnswer:
    """How a request ended.

    Args:
        request_id: the request.
        text: what the model wrote.
        finish_reason: ``stop``, ``length`` when it was cut off, ``error`` when there is no answer.
        prompt_tokens, output_tokens: tokens read and written.
        error: why there is no answer.
    """

    request_id: str
    text: str = ""
    finish_reason: FinishReason = "stop"
    prompt_tokens: int = 0
    output_tokens: int = 0
    error: RequestError | None = None


@dataclass(frozen=True)
class EngineInfo:
    """What decides an engine's answers: model, revision and decoding; ``context_tokens`` only limits them."""

    model: str
    revision: str | None = None
    decoding: Mapping[str, str | int | float | bool] = field(default_factory=lambda: {"temperature": 0})
    context_tokens: int | None = field(default=None, compare=False)

    def settings(self) -> dict[str, str]:
        """The same as strings, for the ledger's key."""
        return {
            "model": self.model,
            "revision": self.revision or "",
            "decoding": json.dumps(dict(self.decoding), sort_keys=True),
        }


class ChatEngine(Protocol):
    """An engine that answers many requests at a time.

    Failures of one request come back as answers with an error;
    only what stops the whole run (no server, no such model) is raised, as a ``PipelineError``.
    """

    @property
    def capacity(self) -> int:
        """The most requests it holds."""
        ...

    def info(self) -> EngineInfo:
        """Model, revision and decoding; cheap, may ask a server for its model."""
        ...

    def start(self, schemas: Mapping[int, Mapping[str, Any]]) -> None:
        """Load the model and compile the schemas, bucket -> JSON schema."""
        ...

    def submit(self, request: ChatRequest) -> None:
        """Take a request; never more than ``capacity`` at a time."""
        ...

    def poll(self, timeout_s: float) -> Sequence[ChatAnswer]:
        """Answers that are ready, after at most about ``timeout_s``."""
        ...

    def close(self) -> None:
        """Free everything; open requests are forgotten."""
        ...


def message_dicts(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Messages in the form that chat templates and servers take."""
    return [asdict(message) for message in messages]
