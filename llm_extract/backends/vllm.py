"""vLLM without a server: a model folder on this machine, run in a process of its own."""

from __future__ import annotations

import importlib.util

from llm_extract.backends.engine_process import EngineProcess
from llm_extract.chat.engine import ModelOptions
from llm_extract.chat.model_folder import folder_info, require_folder
from llm_extract.errors import UsageError


class VLLMEngine(EngineProcess):
    """Runs a model folder with vLLM.

    Args:
        options: model folder, context, GPUs and memory.

    Raises:
        UsageError: there is no model folder, or no vLLM.
    """

    def __init__(self, options: ModelOptions) -> None:
        folder = require_folder(options, backend="vllm")
        if importlib.util.find_spec("vllm") is None:
            raise UsageError(
                "vLLM is not installed in this environment",
                code="extra_missing",
                hint="install it (pip install vllm), or ask a server with --backend openai",
            )
        engine = "llm_extract.backends.vllm_in_process:VLLMInProcess"
        super().__init__(engine, options, folder_info(folder, options))
