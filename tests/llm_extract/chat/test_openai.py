"""The openai backend against a real server that fails in every way."""

from __future__ import annotations

import _socket
import importlib.util
import json
import logging
import socket
import threading
import time
from pathlib import Path

import pytest

from llm_extract import ReportRecord
from llm_extract.archive import ArchiveOptions, extract_archive
from llm_extract.chat.engine import ModelOptions
from llm_extract.errors import ResourceError, UsageError
from llm_extract.ledger import Ledger
from llm_extract.reports import ReportSource

pytest.importorskip("openai", reason="the openai client is not installed (pip install 'rsuper[openai]')")

_spec = importlib.util.spec_from_file_location("chat_server", Path(__file__).with_name("chat_server.py"))
chat_server = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(chat_server)

TEXT = "FINDINGS: A hypodense mass of 3.4 cm in segment 7 of the liver. The spleen is normal."
GOOD = json.dumps(
    {
        "lesions": [
            {"quote": "mass of 3.4 cm in segment 7", "organ": "liver", "kind": "mass", "size": ["M1"]}
        ],
        "free": [],
    }
)


PAGE = 200, b"<html>sign in</html>", [("Content-Type", "text/html")]
MISSHAPEN = {
    "a page": PAGE,
    "a list": (200, [1, 2]),
    "a number": (200, 7),
    "null": (200, None),
    "choices null": (200, chat_server.completion("", choices=None)),
    "choices a number": (200, chat_server.completion("", choices=7)),
    "choices of null": (200, chat_server.completion("", choices=[None])),
    "message null": (
        200,
        chat_server.completion("", choices=[{"index": 0, "finish_reason": "stop", "message": None}]),
    ),
    "no message": (200, chat_server.completion("", choices=[{"index": 0, "finish_reason": "stop"}])),
    "content a number": (200, chat_server.completion(7)),
    "content a list": (200, chat_server.completion([{"type": "text", "text": "x"}])),
    "finish_reason a list": (200, chat_server.completion("", finish_reason=["stop"])),
    "nested without end": (200, b"[" * 200_000),
}
"""Replies of HTTP 200 that are no chat completion."""


@pytest.fixture(autouse=True)
def _loopback(monkeypatch):
    """Let these tests reach this machine, and nothing else."""

    def only_loopback(name: str):
        def guarded(self, address, *args):
            assert self.family == socket.AF_UNIX or address[0] == "127.0.0.1", "only loopback"
            return getattr(_socket.socket, name)(self, address, *args)

        return guarded

    for name in ("bind", "connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, only_loopback(name))
    monkeypatch.setattr(socket, "getfqdn", lambda name="": name)


@pytest.fixture
def serve():
    servers = []

    def start(answer, **options):
        servers.append(chat_server.ChatServer(answer, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def run(tmp_path, write_reports, monkeypatch):
    from llm_extract.backends import openai

    monkeypatch.setattr(openai, "_pause_s", lambda tries: 0.02)

    def extract(texts, url, *, quarantine="keep", **options):
        model = ModelOptions(base_url=url, **{"concurrency": 8, "patience_s": 1.0} | options)
        archive = ArchiveOptions(out=tmp_path / "out", backend="openai", model=model, quarantine=quarantine)
        result = extract_archive(ReportSource(write_reports(texts)), archive)
        lines = (tmp_path / "out" / "records.jsonl").read_text(encoding="utf-8").splitlines()
        return result, [ReportRecord.model_validate_json(line) for line in lines]

    return extract


def texts(n: int) -> list[str]:
    return [f"{TEXT} Number {index}." for index in range(n)]


def test_records_come_back_in_order_under_a_schema_and_within_the_concurrency(serve, run):
    def slowly(body):
        time.sleep(0.02)
        return GOOD

    server = serve(slowly)
    result, records = run(texts(40), server.url)
    assert (result.exit_code, result.extracted) == (0, 40)
    assert [r.report_id for r in records] == [f"R{n}" for n in range(40)]
    assert all(r.lesions[0].diameters_mm == (34.0,) for r in records)
    assert records[0].provenance.model == "toy"
    assert 2 <= server.most_open <= 8
    body = server.bodies[0]
    schema = body["response_format"]["json_schema"]["schema"]
    lesion = schema["properties"]["lesions"]["items"]["properties"]
    assert lesion["size"]["items"]["enum"] == ["M1", "M2", "M3", "M4"]
    assert (body["temperature"], body["model"]) == (0.0, "toy")
    assert "seed" not in body
    prefixes = {json.dumps(b["messages"][:-1]) for b in server.bodies}
    assert len(prefixes) == 1


def test_answers_are_recorded_beside_the_run_and_replayed_without_the_server(
    serve, run, tmp_path, write_reports
):
    server = serve(lambda body: GOOD)
    recording = tmp_path / "answers.jsonl"
    _, records = run(texts(3), server.url, record=recording)
    server.stop()
    model = ModelOptions(recording=recording)
    archive = ArchiveOptions(out=tmp_path / "again", backend="replay", model=model)
    assert extract_archive(ReportSource(write_reports(texts(3))), archive).exit_code == 0
    lines = (tmp_path / "again" / "records.jsonl").read_text(encoding="utf-8").splitlines()
    again = [ReportRecord.model_validate_json(line) for line in lines]
    assert [r.lesions for r in again] == [r.lesions for r in records]
    assert all(r.lesions for r in again)


def test_errors_that_pass_are_waited_for(serve, run):
    failures = iter([429, 500, 503, 502, 429, 408])
    lock = threading.Lock()

    def flaky(body):
        with lock:
            status = next(failures, None)
        if status is None:
            return GOOD
        return status, {"error": {"message": "later"}}, [("Retry-After", "0")]

    result, records = run(texts(12), serve(flaky).url)
    assert (result.exit_code, len(records)) == (0, 12)


def test_a_connection_that_breaks_off_is_tried_again(serve, run):
    broken = iter([True, True, True])
    lock = threading.Lock()

    def drop(handler):
        handler.connection.shutdown(socket.SHUT_RDWR)

    def answer(body):
        with lock:
            return drop if next(broken, False) else GOOD

    result, _ = run(texts(6), serve(answer).url)
    assert (result.exit_code, result.counts.done) == (0, 6)


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ((400, {"error": {"message": "This model's maximum context length is 2048 tokens", "code": 400}}),
         "report_too_long"),
        ((413, {"error": {"message": "too large"}}), "report_too_long"),
        ((400, {"error": {"message": "bad request"}}), "model_request_failed"),
        ((500, {"error": {"message": "crash"}}), "model_request_failed"),
        ((200, b"<html>not json</html>"), "model_request_failed"),
        ((200, {"choices": []}), "model_request_failed"),
        *((reply, "model_request_failed") for reply in MISSHAPEN.values()),
    ],
    ids=["context", "413", "400", "500", "no JSON", "no choice", *MISSHAPEN],
)  # fmt: skip
def test_a_poisoned_report_is_quarantined_alone(serve, run, bad, code):
    def answer(body):
        return bad if "POISON" in body["messages"][-1]["content"] else GOOD

    many = texts(10)
    many[3] += " POISON"
    result, records = run(many, serve(answer).url)
    failed = {r.report_id: [i.code for i in r.issues] for r in records if r.status == "failed"}
    assert failed == {"R3": [code]}
    assert result.exit_code == 4


def test_an_error_that_nobody_expects_is_an_answer_too(serve, run, monkeypatch):
    from llm_extract.backends.openai import OpenAIEngine

    complete = OpenAIEngine._complete

    async def fail_on_poison(self, request):
        if "POISON" in request.messages[-1].content:
            raise RuntimeError("of a new kind")
        return await complete(self, request)

    monkeypatch.setattr(OpenAIEngine, "_complete", fail_on_poison)
    _, records = run([TEXT, f"{TEXT} POISON"], serve(lambda body: GOOD).url)
    assert [[i.code for i in r.issues] for r in records] == [[], ["model_request_failed"]]


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": None}, {"prompt_tokens": "many"}, 7, []])
def test_a_server_that_counts_no_tokens_is_fine(serve, run, usage):
    result, records = run(texts(2), serve(lambda body: (200, chat_server.completion(GOOD, usage=usage))).url)
    assert result.exit_code == 0
    assert all(r.lesions[0].diameters_mm == (34.0,) for r in records)


@pytest.mark.parametrize(
    "listing", [PAGE, (200, [1]), (200, {"data": None}), (200, {"data": [None]}), (200, 7)]
)
def test_what_lists_no_models_is_no_server(serve, run, tmp_path, listing):
    with pytest.raises(UsageError) as caught:
        run(texts(1), serve(lambda body: GOOD, listing=listing).url)
    assert caught.value.code in {"invalid_base_url", "unknown_model"}
    assert not (tmp_path / "out").exists()


def test_a_report_that_hangs_is_quarantined_within_its_own_timeout(serve, run):
    hold = threading.Event()

    def answer(body):
        if "HANG" in body["messages"][-1]["content"]:
            hold.wait(20)
        return GOOD

    many = texts(6)
    many[2] += " HANG"
    started = time.monotonic()
    _, records = run(many, serve(answer).url, request_timeout_s=0.5)
    hold.set()
    assert [r.issues[0].code for r in records if r.status == "failed"] == ["extraction_timeout"]
    assert time.monotonic() - started < 15


def test_answers_cut_off_or_in_prose_fall_back_to_the_rules(serve, run):
    def answer(body):
        cut = 200, chat_server.completion('{"lesions": [', finish_reason="length")
        return cut if "CUT" in body["messages"][-1]["content"] else "The liver has a mass."

    server = serve(answer)
    result, records = run([f"{TEXT} CUT", TEXT], server.url)
    assert {r.status for r in records} == {"needs_review"}
    assert {r.issues[-1].code for r in records} == {"model_output_invalid"}
    assert all(r.lesions for r in records)
    assert len(server.bodies) == 4
    assert result.exit_code == 0


def test_a_server_that_dies_stops_the_run_and_nothing_is_lost(serve, run, tmp_path):
    answered = []
    lock = threading.Lock()
    dead = threading.Event()

    def answer(body):
        with lock:
            answered.append(1)
            if len(answered) > 15:
                dead.set()
        if dead.is_set():
            return lambda handler: handler.connection.shutdown(socket.SHUT_RDWR)
        return GOOD

    server = serve(answer)
    with pytest.raises(ResourceError) as caught:
        run(texts(40), server.url, patience_s=0.3)
    assert (caught.value.code, caught.value.exit_code) == ("server_unreachable", 5)
    assert not (tmp_path / "out" / "records.jsonl").exists()
    with Ledger(tmp_path / "out" / "ledger.sqlite") as ledger:
        counts = ledger.counts()
    assert counts["done"] == 15
    assert "leased" not in counts
    again = serve(lambda body: GOOD)
    result, records = run(texts(40), again.url)  # another address is no other model
    assert (result.exit_code, result.extracted, len(again.bodies)) == (0, 25, 25)
    assert len(records) == 40


@pytest.mark.parametrize("path", ["", "/nowhere"])
def test_a_wrong_url_is_said_before_anything_is_written(serve, run, tmp_path, path):
    server = serve(lambda body: GOOD)
    with pytest.raises(UsageError) as caught:
        run(texts(2), server.url.removesuffix("/v1") + path)
    assert caught.value.code == "unknown_model"
    assert "/v1" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_no_server_at_all_is_said_before_anything_is_written(serve, run, tmp_path):
    server = serve(lambda body: GOOD)
    server.stop()
    with pytest.raises(ResourceError) as caught:
        run(texts(2), server.url)
    assert caught.value.code == "server_unreachable"
    assert not (tmp_path / "out").exists()


def test_a_wrong_model_name_lists_the_right_ones(serve, run):
    server = serve(lambda body: GOOD, models=("alpha", "beta"))
    with pytest.raises(UsageError, match="alpha, beta") as caught:
        run(texts(2), server.url, model="gamma")
    assert caught.value.code == "unknown_model"
    result, records = run(texts(2), server.url, model="beta")
    assert (result.exit_code, records[0].provenance.model) == (0, "beta")


def test_a_context_too_small_for_the_instructions_is_a_usage_error(serve, run):
    with pytest.raises(UsageError) as caught:
        run(texts(2), serve(lambda body: GOOD, max_model_len=1024).url)
    assert caught.value.code == "context_too_small"


def test_a_small_context_shortens_the_answer_instead_of_failing(serve, run):
    server = serve(lambda body: GOOD, max_model_len=2400)
    assert run(texts(2), server.url)[0].exit_code == 0
    assert 300 <= server.bodies[0]["max_tokens"] < 1140


@pytest.mark.parametrize(
    "reply",
    [
        (400, {"error": {"message": "no response_format"}}),
        (200, chat_server.completion("", finish_reason="error")),
        (200, [1, 2]),
    ],
    ids=["400", "ended in an error", "another shape"],
)
def test_a_server_that_refuses_everything_stops_the_run(serve, run, tmp_path, reply):
    with pytest.raises(ResourceError) as caught:
        run(texts(60), serve(lambda body: reply).url)
    assert caught.value.code == "server_refuses_requests"
    with Ledger(tmp_path / "out" / "ledger.sqlite") as ledger:
        assert sum(ledger.counts().values()) < 40  # most of the archive was not spent on it


def test_the_same_refusals_after_an_answer_are_single_reports(serve, run):
    answered = []

    def answer(body):
        answered.append(1)
        return GOOD if len(answered) < 9 else (200, chat_server.completion("", finish_reason="error"))

    result, _ = run(texts(60), serve(answer).url)
    assert (result.counts.done, result.counts.quarantined, result.exit_code) == (8, 52, 4)


def test_the_key_comes_from_a_file_and_a_refused_key_stops_the_run(serve, run, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "from-the-environment")
    key = tmp_path / "key"
    key.write_text("secret-1\n")
    server = serve(lambda body: GOOD)
    run(texts(1), server.url, api_key_file=key)
    assert server.headers[0]["authorization"] == "Bearer secret-1"
    for path in (tmp_path / "out").iterdir():
        assert b"secret-1" not in path.read_bytes()
    refused = serve(lambda body: (401, {"error": {"message": "key"}}))
    with pytest.raises(UsageError) as caught:
        run(texts(3), refused.url)
    assert caught.value.code == "key_refused"
    assert refused.headers[0]["authorization"] == "Bearer none"


@pytest.mark.parametrize(
    "url", ["http://example.org/v1", "http://10.0.0.5:8000/v1", "http://127.0.0.1.x.org/v1"]
)
def test_another_machine_is_refused_unless_allowed(run, url):
    with pytest.raises(UsageError) as caught:
        run(texts(1), url)
    assert caught.value.code == "remote_server"
    assert "full text" in str(caught.value)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "file:///etc/passwd", "", "http://"])
def test_what_is_no_address_is_refused(run, url):
    with pytest.raises(UsageError) as caught:
        run(texts(1), url)
    assert caught.value.code == "invalid_base_url"


def test_proxies_and_redirects_are_not_followed(serve, run, monkeypatch):
    elsewhere = serve(lambda body: GOOD)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, elsewhere.url.removesuffix("/v1"))
    server = serve(lambda body: (307, {}, [("Location", elsewhere.url + "/chat/completions")]))
    with pytest.raises(ResourceError):
        run(texts(30), server.url)
    assert server.bodies
    assert not elsewhere.bodies


def test_no_text_reaches_messages_or_files_that_are_not_for_text(serve, run, tmp_path, capsys, caplog):
    canary = "Zebra Canaryname"
    caplog.set_level(logging.DEBUG)

    def answer(body):
        return (
            (400, {"error": {"message": f"cannot read {canary}"}})
            if "BAD" in str(body["messages"][-1])
            else GOOD
        )

    run([f"{TEXT} {canary}", f"{TEXT} {canary} BAD", TEXT], serve(answer).url, cross_check="rules")
    printed = capsys.readouterr()
    assert canary not in printed.out + printed.err + caplog.text
    for name in ("summary.json", "agreement.json", "studies.csv", "lesions.csv"):
        assert canary not in (tmp_path / "out" / name).read_text()
