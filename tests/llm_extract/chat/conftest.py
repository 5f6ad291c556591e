"""Engines without a model for the tests of the loop."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable

import pytest

from llm_extract.chat.engine import ChatAnswer, ChatRequest, EngineInfo, ModelOptions
from llm_extract.chat.loop import ChatExtractor
from llm_extract.chat.preparation import Prepared, Preparer
from llm_extract.ledger import Job
from llm_extract.reports import Report

NOTHING = json.dumps({"lesions": [], "free": []})


class FakeEngine:
    """Answers each request with what a function makes of it."""

    def __init__(self, answer: Callable[[ChatRequest], ChatAnswer | str], *, capacity: int = 8) -> None:
        self.capacity = capacity
        self.requests: list[ChatRequest] = []
        self.most_open = 0
        self.closed = False
        self.schemas: dict = {}
        self._answer = answer
        self._open: deque[ChatRequest] = deque()

    def info(self) -> EngineInfo:
        return EngineInfo("fake", "1")

    def start(self, schemas) -> None:
        self.schemas = dict(schemas)

    def submit(self, request: ChatRequest) -> None:
        self.requests.append(request)
        self._open.append(request)
        self.most_open = max(self.most_open, len(self._open))
        assert len(self._open) <= self.capacity

    def poll(self, timeout_s: float) -> list[ChatAnswer]:
        ended = [self._open.pop() for _ in range(min(3, len(self._open)))]
        answers = []
        for request in ended:
            made = self._answer(request)
            if isinstance(made, str):
                made = ChatAnswer(request.request_id, made, prompt_tokens=100, output_tokens=10)
            answers.append(made)
        return answers

    def close(self) -> None:
        self.closed = True


@pytest.fixture(scope="session")
def preparer() -> Preparer:
    return Preparer()


@pytest.fixture
def prepare(preparer) -> Callable[..., Prepared]:
    def make(text: str, kind: str = "radiology") -> Prepared:
        return preparer.prepare(Report(report_id="R1", text=text, kind=kind))

    return make


@pytest.fixture
def fake_engine() -> type[FakeEngine]:
    return FakeEngine


@pytest.fixture
def extract():
    """Run texts through the loop with an answering function; results by position, and the engine."""

    def run(texts, answer, *, capacity: int = 8, stop=lambda: False, **options):
        engine = FakeEngine(answer, capacity=capacity)
        extractor = ChatExtractor("fake", engine, ModelOptions(**options))
        extractor.load()
        jobs = (Job(str(n), Report(report_id=f"R{n}", text=text)) for n, text in enumerate(texts))
        results = {r.key: r for r in extractor.run(jobs, stop=stop) if r is not None}
        return [results.get(str(n)) for n in range(len(texts))], engine

    return run
