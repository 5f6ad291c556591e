"""An engine in a process of its own: answers come back, failures are said, and neither outlives the other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llm_extract.backends.engine_process import EngineProcess
from llm_extract.backends.vllm import VLLMEngine
from llm_extract.chat.engine import ChatRequest, EngineInfo, ModelOptions
from llm_extract.chat.prompting import Message
from llm_extract.errors import ResourceError, UsageError

SCHEMAS = {4: {"type": "object"}, 8: {"enum": [1]}}


@pytest.fixture
def start():
    """Start a process with the echo; ended after the test."""
    engines = []

    def make(**options) -> EngineProcess:
        engines.append(
            EngineProcess("process_engines:Echo", ModelOptions(**options), EngineInfo("echo", "1"))
        )
        engines[-1].start(SCHEMAS)
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


def ask(engine, *words: str, bucket: int = 4) -> None:
    for number, content in enumerate(words):
        messages = (Message("system", "as ever"), Message("user", content))
        engine.submit(ChatRequest(f"{content} {number}", messages, bucket, 10))


def answers(engine, n: int) -> list:
    until, got = time.monotonic() + 60, []
    while len(got) < n and time.monotonic() < until:
        got += engine.poll(0.2)
    return got


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()


def test_requests_and_answers_cross_the_border_as_they_are(start):
    engine = start(concurrency=4)
    assert (engine.capacity, engine.info().model) == (6, "echo")
    words = ["a mass", "näive \u2028 \udcff\n\"quoted\" [M1]", "\u200a"]  # fmt: skip
    ask(engine, *words)
    ask(engine, "other", bucket=8)
    got = answers(engine, 4)
    assert [a.request_id for a in got] == [*(f"{w} {n}" for n, w in enumerate(words)), "other 0"]
    pid = int(got[0].text.split()[-2])
    assert pid != os.getpid()
    assert got[1].text == f"{words[1]} {pid} ['type']"
    assert got[3].text == f"other {pid} ['enum']"
    assert (got[0].prompt_tokens, got[0].output_tokens, got[0].error) == (3, 2, None)
    engine.close()
    assert not alive(pid)


@pytest.mark.parametrize(
    ("model", "kind", "code"),
    [("missing", UsageError, "model_missing"), ("broken", ResourceError, "engine_failed")],
)
def test_an_engine_that_does_not_start_says_why(start, model, kind, code):
    with pytest.raises(kind) as caught:
        start(model=model)
    assert caught.value.code == code
    assert "CANARY" not in str(caught.value)


def test_an_engine_that_fails_says_so_without_words_of_a_report(start, capfd):
    engine = start()
    ask(engine, "fail")
    with pytest.raises(ResourceError) as caught:
        answers(engine, 1)
    assert (caught.value.code, caught.value.exit_code) == ("engine_failed", 5)
    assert "ValueError" in str(caught.value)
    engine.close()
    said = capfd.readouterr()
    assert "CANARY" not in f"{caught.value}{said.out}{said.err}"


def test_what_was_answered_before_the_engine_died_comes_first(start):
    engine = start()
    ask(engine, "one", "two", "die", "three")
    assert [a.text.split()[0] for a in answers(engine, 2)] == ["one", "two"]
    with pytest.raises(ResourceError, match="signal 9") as caught:
        answers(engine, 1)
    assert caught.value.code == "engine_failed"
    ask(engine, "more")  # no error of its own: the next look at the answers says what happened


def test_signals_to_the_group_leave_the_end_to_the_run(start):
    engine = start()
    ask(engine, "interrupt", "on")
    assert [a.text.split()[0] for a in answers(engine, 2)] == ["interrupt", "on"]


PARENT = """
import sys, time
sys.path[:0] = {path!r}
from llm_extract.backends.engine_process import EngineProcess
from llm_extract.chat.engine import ChatRequest, EngineInfo, ModelOptions
from llm_extract.chat.prompting import Message

engine = EngineProcess("process_engines:Echo", ModelOptions(), EngineInfo("echo", "1"))
engine.start({{4: {{}}}})
engine.submit(ChatRequest("1", (Message("user", "who"),), 4, 10))
answers = []
while not answers:
    answers = engine.poll(0.2)
print(answers[0].text.split()[1], flush=True)
time.sleep(600)
"""


def test_a_killed_run_takes_its_engine_with_it():
    root = Path(__file__).parents[3]
    script = PARENT.format(path=[str(root), str(root / "tests/support")])
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    with parent:
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    until = time.monotonic() + 20
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive(pid)


def test_without_vllm_its_backend_is_refused_before_anything_is_loaded(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "vllm", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError) as caught:
        VLLMEngine(ModelOptions(model=str(tmp_path)))
    assert caught.value.code == "extra_missing"
