"""Hugging Face transformers with xgrammar: batches of a model folder, for machines on which vLLM does not run."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from llm_extract.chat.engine import ChatAnswer, ChatRequest, EngineInfo, ModelOptions, message_dicts
from llm_extract.chat.model_folder import folder_info, require_folder
from llm_extract.errors import ResourceError

LARGEST_BATCH = 16


class TransformersEngine:
    """Generates batches of answers, each under its schema.

    Args:
        options: model folder and context.

    Raises:
        UsageError: there is no model folder.
    """

    def __init__(self, options: ModelOptions) -> None:
        self._options = options
        self._folder = require_folder(options, backend="transformers")
        self._info = folder_info(self._folder, options)
        self._context = self._info.context_tokens or options.max_model_len
        self._batch_size = min(options.concurrency, LARGEST_BATCH)
        self._waiting: deque[tuple[ChatRequest, str, int]] = deque()
        self._failed: list[ChatAnswer] = []
        self._model: Any = None
        self._tokenizer: Any = None
        self._grammars: dict[int, Any] = {}

    @property
    def capacity(self) -> int:
        """Size of the largest batch."""
        return min(self._options.concurrency, LARGEST_BATCH)

    def info(self) -> EngineInfo:
        """The folder's name, and a hash of its files as revision unless one is given."""
        return self._info

    def start(self, schemas: Mapping[int, Mapping[str, Any]]) -> None:
        """Load model and tokenizer, compile the schemas.

        Raises:
            ResourceError: the model cannot be loaded.
        """
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        import xgrammar
        from transformers import AutoModelForCausalLM, AutoTokenizer

        try:
            self._tokenizer = AutoTokenizer.from_pretrained(self._folder, padding_side="left")
            if self._tokenizer.pad_token_id is None:
                self._tokenizer.pad_token = self._tokenizer.eos_token
            self._model = AutoModelForCausalLM.from_pretrained(
                self._folder, dtype="auto", use_safetensors=True
            ).eval()
        except Exception as error:
            raise ResourceError(
                f"cannot load {self._folder}: {type(error).__name__}: {str(error)[:300]}",
                code="engine_not_started",
                hint="check memory and the files of the model",
            ) from error
        tokens = xgrammar.TokenizerInfo.from_huggingface(
            self._tokenizer, vocab_size=self._model.config.vocab_size
        )
        compiler = xgrammar.GrammarCompiler(tokens)
        self._grammars = {
            bucket: compiler.compile_json_schema(dict(schema), any_whitespace=False, separators=(",", ":"))
            for bucket, schema in schemas.items()
        }

    def submit(self, request: ChatRequest) -> None:
        """Count the tokens of a request and let it wait for its batch."""
        text = self._tokenizer.apply_chat_template(
            message_dicts(request.messages), tokenize=False, add_generation_prompt=True
        )
        n_tokens = len(self._tokenizer(text, add_special_tokens=False).input_ids)
        if n_tokens + request.max_tokens > self._context:
            self._failed.append(
                ChatAnswer(
                    request.request_id, finish_reason="error", error="prompt_too_long", prompt_tokens=n_tokens
                )
            )
        else:
            self._waiting.append((request, text, n_tokens))

    def poll(self, timeout_s: float) -> Sequence[ChatAnswer]:
        """Answer a batch of what is waiting; one that fails, mostly for want of memory, waits again for smaller ones.

        Raises:
            ResourceError: the model fails on a batch of one request, for want of memory or another reason.
        """
        answers, self._failed = self._failed, []
        batch = [self._waiting.popleft() for _ in range(min(self._batch_size, len(self._waiting)))]
        if not batch:
            return answers
        try:
            return [*answers, *self._generate(batch)]
        except Exception as error:
            if len(batch) > 1:
                self._batch_size = len(batch) // 2
                self._waiting.extendleft(reversed(batch))
                return answers
            raise ResourceError(
                f"the model has failed ({type(error).__name__}); what is done is kept",
                code="engine_failed",
                hint="run the same command again with a smaller --max-model-len, or on a larger GPU",
            ) from error

    def close(self) -> None:
        """Let the model go."""
        self._model = None
        self._grammars = {}

    def _generate(self, batch: Sequence[tuple[ChatRequest, str, int]]) -> list[ChatAnswer]:
        from xgrammar.contrib.hf import LogitsProcessor

        inputs = self._tokenizer(
            [text for _, text, _ in batch], padding=True, add_special_tokens=False, return_tensors="pt"
        ).to(self._model.device)
        processor = LogitsProcessor([self._grammars[request.bucket] for request, _, _ in batch])
        written = self._model.generate(
            **inputs,
            max_new_tokens=max(request.max_tokens for request, _, _ in batch),
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            pad_token_id=self._tokenizer.pad_token_id,
            logits_processor=[processor],
        )
        start = inputs["input_ids"].shape[1]
        rows = written[:, start:].tolist()
        return [self._answer(item, row) for item, row in zip(batch, rows, strict=True)]

    def _answer(self, item: tuple[ChatRequest, str, int], row: list[int]) -> ChatAnswer:
        request, _, n_tokens = item
        ends = {self._tokenizer.eos_token_id}
        end = next((i for i, token in enumerate(row) if token in ends), None)
        ids = row if end is None else row[:end]
        return ChatAnswer(
            request.request_id,
            self._tokenizer.decode(ids, skip_special_tokens=True),
            finish_reason="length" if end is None or len(ids) > request.max_tokens else "stop",
            prompt_tokens=n_tokens,
            output_tokens=len(ids),
        )
