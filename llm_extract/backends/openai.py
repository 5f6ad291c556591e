"""Any OpenAI-compatible server, ``vllm serve`` first: many requests at a time, answers held to the JSON schema."""

from __future__ import annotations

import asyncio
import queue
import random
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from llm_extract.backends.chat_server import UNREADABLE, build_client, check_address, find_model, unreachable
from llm_extract.chat.engine import (
    ChatAnswer,
    ChatRequest,
    EngineInfo,
    ModelOptions,
    RequestError,
    message_dicts,
)
from llm_extract.errors import PipelineError, ResourceError, UsageError

if TYPE_CHECKING:
    from openai import APIStatusError

MAX_TRIES = 6
"""Tries of one request while the server answers others; a server out of reach is waited for instead."""
REFUSALS_IN_A_ROW = 20
"""So many refused requests before any success mean that the server refuses what we ask, not a report."""
_LONGEST_PAUSE_S = 20.0


class OpenAIEngine:
    """Sends requests to a server and collects its answers.

    Args:
        options: address, model, key file, concurrency and patience.

    Raises:
        UsageError: the address is no URL, or not on this machine and remote servers are refused.
    """

    def __init__(self, options: ModelOptions) -> None:
        check_address(options)
        self._options = options
        self._schemas: dict[int, dict[str, Any]] = {}
        self._answers: queue.SimpleQueue[ChatAnswer] = queue.SimpleQueue()
        self._fatal: PipelineError | None = None
        self._heard_at = time.monotonic()
        self._served = self._refused = 0
        self._info: EngineInfo | None = None
        self._open: set[Future[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="chat-requests")
        self._thread.start()
        self._client = self._in_loop(build_client(options))
        self._sending = asyncio.Semaphore(options.concurrency)

    @property
    def capacity(self) -> int:
        """Requests at the same time and, half as many, ready to be sent: the server never waits for the next report."""
        return self._options.concurrency + (self._options.concurrency + 1) // 2

    def info(self) -> EngineInfo:
        """The model of the server; the one it serves where none is named.

        Raises:
            ResourceError: the server cannot be reached.
            UsageError: it does not have the model.
        """
        if self._info is None:
            self._info = self._in_loop(find_model(self._client, self._options))
        return self._info

    def start(self, schemas: Mapping[int, Mapping[str, Any]]) -> None:
        """Take the schemas; the server compiles each when it first meets it."""
        self._schemas = {bucket: dict(schema) for bucket, schema in schemas.items()}
        self._heard_at = time.monotonic()

    def submit(self, request: ChatRequest) -> None:
        """Send a request."""
        future = asyncio.run_coroutine_threadsafe(self._ask(request), self._loop)
        self._open.add(future)
        future.add_done_callback(partial(self._end, request))

    def poll(self, timeout_s: float) -> Sequence[ChatAnswer]:
        """Answers that have come in.

        Raises:
            PipelineError: the server cannot be reached any more, or refuses everything.
        """
        answers = []
        with suppress(queue.Empty):
            answers.append(self._answers.get(timeout=timeout_s))
            while True:
                answers.append(self._answers.get_nowait())
        if not answers and self._fatal is not None:
            raise self._fatal
        return answers

    def close(self) -> None:
        """Drop open requests and end the thread."""
        if not self._thread.is_alive():
            return
        for future in list(self._open):
            future.cancel()
        with suppress(Exception):
            self._in_loop(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        if not self._thread.is_alive():
            self._loop.close()

    def _end(self, request: ChatRequest, future: Future[None]) -> None:
        """Forget a request that has ended; one that ended in an error nobody expected is answered all the same."""
        self._open.discard(future)
        if not future.cancelled() and future.exception() is not None:
            self._answers.put(_failed(request, "request_refused"))

    def _in_loop(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _ask(self, request: ChatRequest) -> None:
        """One request with its retries; puts exactly one answer, or sets what stops the run."""
        from openai import APIConnectionError, APIError, APIStatusError, APITimeoutError

        tries = 0
        while self._fatal is None:
            tries += 1
            try:
                async with self._sending:
                    answer = await self._complete(request)
            except APITimeoutError:
                if tries > 1:
                    return self._answers.put(_failed(request, "request_timeout"))
            except APIConnectionError:
                if self._out_of_patience():
                    self._fatal = unreachable(self._options)
                    return None
            except APIStatusError as error:
                if error.status_code not in {408, 409, 425, 429} and error.status_code < 500:
                    return self._refuse(request, error)
                if tries >= MAX_TRIES and error.status_code != 429:
                    return self._count_refusal(request, f"HTTP {error.status_code}")
                if self._out_of_patience():
                    self._fatal = unreachable(self._options, status=error.status_code)
                    return None
            except (APIError, *UNREADABLE):  # an answer that is no chat completion
                if tries >= MAX_TRIES:
                    return self._count_refusal(request, "answers of another kind")
            else:
                return self._hand_over(request, answer)
            await asyncio.sleep(_pause_s(tries))
        return None

    def _hand_over(self, request: ChatRequest, answer: ChatAnswer) -> None:
        self._heard_at = time.monotonic()
        if answer.error is not None:
            self._count_refusal(request, "answers that end in an error")
        else:
            self._served += 1
            self._answers.put(answer)

    def _out_of_patience(self) -> bool:
        return time.monotonic() - self._heard_at > self._options.patience_s

    async def _complete(self, request: ChatRequest) -> ChatAnswer:
        schema = {"name": f"answer_{request.bucket}", "schema": self._schemas[request.bucket]}
        model = self._info.model if self._info is not None else self._options.model
        completion = await self._client.chat.completions.create(
            model=model,
            messages=message_dicts(request.messages),
            response_format={"type": "json_schema", "json_schema": schema},
            max_tokens=request.max_tokens,
            temperature=0.0,
        )
        choice = completion.choices[0]
        if choice.finish_reason not in {"stop", "length"}:
            return _failed(request, "request_refused")
        text = choice.message.content or ""
        if not isinstance(text, str):
            raise TypeError("the content is no text")
        return ChatAnswer(
            request.request_id,
            text,
            finish_reason=choice.finish_reason,
            prompt_tokens=_n_tokens(completion, "prompt_tokens"),
            output_tokens=_n_tokens(completion, "completion_tokens"),
        )

    def _refuse(self, request: ChatRequest, error: APIStatusError) -> None:
        """A request that the server will never answer: too long, or refused; some refusals stop the run."""
        if error.status_code in {401, 403}:
            self._fatal = UsageError(
                f"the server {self._options.base_url} refuses the key (HTTP {error.status_code})",
                code="key_refused",
                hint="give the key with --api-key-file FILE",
            )
            return
        if error.status_code == 404:
            self._fatal = UsageError(
                f"the server {self._options.base_url} does not have the model or the address (HTTP 404)",
                code="unknown_model",
                hint="check --model and --base-url, which usually ends in /v1",
            )
            return
        self._heard_at = time.monotonic()
        if is_too_long(error):
            self._answers.put(_failed(request, "prompt_too_long"))
            return
        self._count_refusal(request, f"HTTP {error.status_code}")

    def _count_refusal(self, request: ChatRequest, how: str) -> None:
        """A request without an answer; many before any success, as where a schema does not compile, end the run."""
        self._refused += 1
        if not self._served and self._refused >= REFUSALS_IN_A_ROW:
            self._fatal = ResourceError(
                f"the server {self._options.base_url} refuses every request ({how})",
                code="server_refuses_requests",
                hint="it must support chat completions with response_format json_schema, and compile our schemas",
            )
            return
        self._answers.put(_failed(request, "request_refused"))


def is_too_long(error: APIStatusError) -> bool:
    """True if a server says that prompt and answer do not fit its context."""
    body = error.body if isinstance(error.body, Mapping) else {}
    said = f"{body.get('code', '')} {body.get('message', '')} {error}".lower()
    return error.status_code == 413 or any(
        words in said
        for words in ("context_length", "context length", "context size", "maximum model length", "too many tokens",
                      "max_tokens", "max_model_len", "longer than the maximum")
    )  # fmt: skip


def _n_tokens(completion: object, name: str) -> int:
    """A count of the server's usage; 0 where it gives none, for the counts decide nothing."""
    count = getattr(getattr(completion, "usage", None), name, None)
    return count if isinstance(count, int) else 0


def _failed(request: ChatRequest, error: RequestError) -> ChatAnswer:
    return ChatAnswer(request.request_id, finish_reason="error", error=error)


def _pause_s(tries: int) -> float:
    """Exponential back-off with full jitter."""
    return random.uniform(0.1, min(_LONGEST_PAUSE_S, 0.5 * 2.0**tries))
