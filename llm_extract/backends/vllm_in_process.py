"""vLLM itself, which fills the process it runs in: requests are fed as others end, no batch waits for its longest.

The model is a folder on this machine; nothing is downloaded. Prompts are counted in tokens before they are sent, and
every schema is compiled once at the start, because one over-long prompt or bad schema can end an engine.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llm_extract.chat.engine import ChatAnswer, ChatRequest, EngineInfo, ModelOptions, message_dicts
from llm_extract.chat.model_folder import folder_info, require_folder
from llm_extract.errors import ResourceError

if TYPE_CHECKING:
    from vllm.v1.engine.llm_engine import LLMEngine

_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # a killed parent would leave its engine process behind
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
}
"""What the engine reads from its environment alone."""
_WARM_UP_TOKENS = 4


class VLLMInProcess:
    """Runs a model folder with vLLM in this process, which can hold one such engine.

    Args:
        options: model folder, context, GPUs and memory.

    Raises:
        UsageError: there is no model folder.
    """

    def __init__(self, options: ModelOptions) -> None:
        self._options = options
        self._folder = require_folder(options, backend="vllm")
        self._info = folder_info(self._folder, options)
        self._context = self._info.context_tokens or options.max_model_len
        self._engine: LLMEngine | None = None
        self._tokenizer: Any = None
        self._schemas: dict[int, dict[str, Any]] = {}
        self._ready: deque[ChatAnswer] = deque()

    @property
    def capacity(self) -> int:
        """Requests in the engine at the same time."""
        return self._options.concurrency

    def info(self) -> EngineInfo:
        """The folder's name, and a hash of its files as revision unless one is given."""
        return self._info

    def start(self, schemas: Mapping[int, Mapping[str, Any]]) -> None:
        """Load the model, then compile every schema by asking for a few tokens under it.

        Raises:
            ResourceError: the engine does not start.
        """
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        self._schemas = {bucket: dict(schema) for bucket, schema in schemas.items()}
        try:
            self._engine = _build(self._options, str(self._folder), self._context)
            self._tokenizer = self._engine.get_tokenizer()
            for bucket in self._schemas:
                self._engine.add_request(
                    f"warm-up-{bucket}",
                    {"type": "token", "prompt_token_ids": self._tokenizer("{").input_ids},
                    self._sampling(bucket, _WARM_UP_TOKENS),
                )
            ended: list[Any] = []
            while self._engine.has_unfinished_requests():
                ended += [output for output in self._engine.step() if output.finished]
        except Exception as error:
            raise ResourceError(
                f"vLLM does not start with {self._folder}: {type(error).__name__}: {str(error)[:300]}",
                code="engine_not_started",
                hint="check memory, --gpus and --max-model-len",
            ) from error
        if any(_answer(output).error is not None for output in ended):
            raise ResourceError(
                "vLLM cannot compile the schema of the answers",
                code="schema_not_compiled",
                hint="install another version of xgrammar",
            )

    def submit(self, request: ChatRequest) -> None:
        """Count the tokens of a request, then add it to the engine."""
        ids = self._prompt_ids(request)
        if len(ids) + request.max_tokens > self._context:
            self._ready.append(_failed(request, "prompt_too_long", len(ids)))
            return
        try:
            self._started().add_request(
                request.request_id,
                {"type": "token", "prompt_token_ids": ids},
                self._sampling(request.bucket, request.max_tokens),
            )
        except ValueError:
            self._ready.append(_failed(request, "request_refused", 0))

    def poll(self, timeout_s: float) -> Sequence[ChatAnswer]:
        """Run the engine until something ends, or for about ``timeout_s``.

        Raises:
            ResourceError: the engine has died; what is done is kept.
        """
        engine = self._started()
        until = time.monotonic() + timeout_s
        while not self._ready and engine.has_unfinished_requests() and time.monotonic() < until:
            try:
                outputs = engine.step()
            except Exception as error:
                raise ResourceError(
                    f"the engine has failed ({type(error).__name__}); what is done is kept",
                    code="engine_failed",
                    hint="run the same command again",
                ) from error
            self._ready.extend(_answer(output) for output in outputs if output.finished)
        answers = list(self._ready)
        self._ready.clear()
        return answers

    def close(self) -> None:
        """Let the engine go."""
        self._engine = None
        self._tokenizer = None

    def _started(self) -> LLMEngine:
        if self._engine is None:
            raise ResourceError("the engine was not started", code="engine_not_started")
        return self._engine

    def _prompt_ids(self, request: ChatRequest) -> list[int]:
        text = self._tokenizer.apply_chat_template(
            message_dicts(request.messages), tokenize=False, add_generation_prompt=True
        )
        ids: list[int] = self._tokenizer(text, add_special_tokens=False).input_ids
        return ids

    def _sampling(self, bucket: int, max_tokens: int) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

        return SamplingParams(
            temperature=0.0,
            max_tokens=max_tokens,
            structured_outputs=StructuredOutputsParams(json=self._schemas[bucket]),
        )


def _build(options: ModelOptions, folder: str, context: int) -> LLMEngine:
    from vllm import EngineArgs
    from vllm.platforms import current_platform
    from vllm.v1.engine.llm_engine import LLMEngine

    args = EngineArgs(
        model=folder,
        max_model_len=context,
        max_num_seqs=options.concurrency,
        tensor_parallel_size=options.gpus,
        enable_prefix_caching=True,
        enforce_eager=current_platform.is_cpu(),
        kv_cache_memory_bytes=options.kv_cache_bytes,
        structured_outputs_config={"backend": "xgrammar", "disable_any_whitespace": True},
        disable_log_stats=True,
    )
    return LLMEngine.from_engine_args(args)


def _answer(output: Any) -> ChatAnswer:
    completion = output.outputs[0]
    reason = completion.finish_reason
    return ChatAnswer(
        output.request_id,
        completion.text,
        finish_reason=reason if reason in {"stop", "length"} else "error",
        prompt_tokens=len(output.prompt_token_ids or ()),
        output_tokens=len(completion.token_ids),
        error=None if reason in {"stop", "length"} else "request_refused",
    )


def _failed(request: ChatRequest, error: Any, n_tokens: int) -> ChatAnswer:
    return ChatAnswer(request.request_id, finish_reason="error", error=error, prompt_tokens=n_tokens)
