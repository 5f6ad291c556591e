"""Engines for a process of their own that answer, print, fail or die."""

from __future__ import annotations

import os
import signal

from llm_extract.chat.engine import ChatAnswer, EngineInfo
from llm_extract.errors import UsageError


class Echo:
    """Answers with the last message; words of command make it fail."""

    capacity = 4

    def __init__(self, options) -> None:
        self._options = options
        self._open = []
        self._schemas = {}

    def info(self) -> EngineInfo:
        return EngineInfo("echo", "1")

    def start(self, schemas) -> None:
        print("libraries print what they like")
        if self._options.model == "missing":
            raise UsageError("no such model", code="model_missing", hint="choose another")
        if self._options.model == "broken":
            raise RuntimeError("CANARY")
        self._schemas = schemas

    def submit(self, request) -> None:
        self._open.append(request)

    def poll(self, timeout_s):
        answers = []
        for request in self._open:
            words = request.messages[-1].content
            if words == "die":
                break
            if words == "interrupt":
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGTERM)
            if words == "fail":
                raise ValueError("CANARY")
            about = f"{words} {os.getpid()} {sorted(self._schemas[request.bucket])}"
            answers.append(ChatAnswer(request.request_id, about, prompt_tokens=3, output_tokens=2))
        self._open = self._open[len(answers) :]
        if self._open and not answers:
            os.kill(os.getpid(), signal.SIGKILL)
        return answers
