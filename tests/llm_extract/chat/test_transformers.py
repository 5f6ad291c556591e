"""The batches of the transformers backend, with a model that fails above a batch size."""

from __future__ import annotations

import json

import pytest

from llm_extract.backends.transformers import TransformersEngine
from llm_extract.chat.engine import ChatAnswer, ChatRequest, ModelOptions
from llm_extract.chat.prompting import Message
from llm_extract.errors import ResourceError


class SmallMemoryEngine(TransformersEngine):
    """Runs out of memory on a batch of more than ``largest`` requests."""

    largest = 16

    def _generate(self, batch):
        self.sizes = [*getattr(self, "sizes", []), len(batch)]
        if len(batch) > self.largest:
            raise RuntimeError("out of memory")
        return [ChatAnswer(request.request_id, "{}") for request, _, _ in batch]


class WordTokenizer:
    """A token a word."""

    def apply_chat_template(self, messages, **_):
        return " ".join(message["content"] for message in messages)

    def __call__(self, text, **_):
        return type("Tokens", (), {"input_ids": text.split()})


@pytest.fixture
def engine(tmp_path) -> SmallMemoryEngine:
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": 100}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    made = SmallMemoryEngine(ModelOptions(model=str(tmp_path)))
    made._tokenizer = WordTokenizer()
    return made


def submit(engine, names, *, n_words: int = 3) -> None:
    for name in names:
        engine.submit(ChatRequest(name, (Message("user", "word " * n_words),), 4, 50))


@pytest.mark.parametrize(
    ("largest", "sizes"), [(16, [16, 4]), (5, [16, 8, 4, 4, 4, 4, 4]), (1, [16, 8, 4, 2])]
)
def test_a_batch_that_fails_is_answered_in_smaller_ones(engine, largest, sizes):
    engine.largest = largest
    names = [f"R{n}" for n in range(20)]
    submit(engine, names)
    answers = []
    while len(answers) < len(names):
        answers += engine.poll(0.0)
    assert [answer.request_id for answer in answers] == names
    assert engine.sizes[: len(sizes)] == sizes
    assert set(engine.sizes[len(sizes) :]) <= {1}
    assert engine.poll(0.0) == []


def test_a_model_that_fails_on_a_single_request_stops_the_run(engine):
    engine.largest = 0
    submit(engine, ["R0", "R1", "R2"])
    assert (engine.poll(0.0), engine.sizes) == ([], [3])
    with pytest.raises(ResourceError) as caught:
        engine.poll(0.0)
    assert (caught.value.code, engine.sizes) == ("engine_failed", [3, 1])


def test_a_prompt_that_does_not_fit_is_answered_at_once_even_where_the_batch_fails(engine):
    engine.largest = 1
    submit(engine, ["R0", "R1"])
    submit(engine, ["long"], n_words=51)
    (answer,) = engine.poll(0.0)
    assert (answer.request_id, answer.error, answer.prompt_tokens) == ("long", "prompt_too_long", 51)
    assert [[a.request_id for a in engine.poll(0.0)] for _ in range(2)] == [["R0"], ["R1"]]
