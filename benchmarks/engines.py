"""What the loop around a language model costs: throughput against the bare engine, and 10,000 reports end to end.

Run in the environment of ``make test-llm``: ``PYTHONPATH=tests/support .venv-llm/bin/python benchmarks/engines.py PART
[--reports N] [--rounds N] [--json PATH]``, PART being ``ratios``, ``server``, ``large``, ``tokens`` or ``cost``.

The model is the tiny one of the tests: the hardest case for the loop, as a report costs it milliseconds. ``ratios``
alternates in one run between vLLM's own offline batch (``LLM.chat``) and ``extract`` (reading, rules, prompts, checks,
ledger, export) on the same reports; ``server`` between a bare client and ``extract``, both with 64 requests at a time
at one ``vllm serve``. Neighbours are compared, the median of the rounds counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from engine_checks import one_grounded_record_each
from engine_cost import cost
from tiny_model import build_reading_model, made_reports

from llm_extract import archive
from llm_extract.anatomy import load_anatomy
from llm_extract.backends import load_backend
from llm_extract.chat.answer_schema import Answer, answer_schema, bucket_of, max_output_tokens
from llm_extract.chat.engine import ModelOptions, message_dicts
from llm_extract.chat.preparation import Preparer
from llm_extract.chat.prompting import load_prompts, read_examples, render
from llm_extract.reports import Report, ReportSource

CONCURRENCY = 64
FILLER = 8
CACHE_BYTES = 512 << 20
STRUCTURED = {"backend": "xgrammar", "disable_any_whitespace": True}
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
}


def write_reports(folder: Path, n: int, *, seed: int) -> Path:
    """Reports of a block, another text each."""
    path = folder / f"reports-{seed}.jsonl"
    rows = enumerate(made_reports(n, seed=seed, filler=FILLER))
    path.write_text(
        "".join(json.dumps({"id": f"R{i}", "text": r.text, "kind": "radiology"}) + "\n" for i, r in rows),
        encoding="utf-8",
    )
    return path


def prompts_of(path: Path) -> list[tuple[list[dict[str, str]], int]]:
    """The first request of every report: its messages and its schema's bucket."""
    preparer = Preparer()
    prompts = load_prompts(tuple(preparer.anatomy.organs))
    made = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        prepared = preparer.prepare(Report(report_id=row["id"], text=row["text"], kind="radiology"))
        messages = render(prompts, text=row["text"], source="radiology", measurements=prepared.measurements)
        made.append((message_dicts(messages), bucket_of(len(prepared.measurements))))
    return made


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def group_cpu_s(group: int) -> float:
    """CPU seconds of all processes of a group."""
    used = 0.0
    for path in Path("/proc").iterdir():
        with suppress(OSError):  # processes of others come and go
            if path.name.isdigit() and os.getpgid(int(path.name)) == group:
                used += cpu_s(int(path.name))
    return used


def bare_engine(connection: Any, model: str) -> None:
    """Run the offline batch of vLLM in a process of its own: answers each block with its wall and CPU seconds."""
    os.environ |= ENVIRONMENT | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    from vllm import LLM, SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    organs = tuple(load_anatomy().organs)
    llm = LLM(
        model=model, max_model_len=8192, max_num_seqs=CONCURRENCY, kv_cache_memory_bytes=CACHE_BYTES,
        enable_prefix_caching=True, enforce_eager=True, structured_outputs_config=STRUCTURED, disable_log_stats=True,
    )  # fmt: skip
    connection.send("ready")
    while (block := connection.recv()) is not None:
        sampling = [
            SamplingParams(
                temperature=0.0,
                max_tokens=max_output_tokens(bucket),
                structured_outputs=StructuredOutputsParams(json=answer_schema(bucket, organs)),
            )
            for _, bucket in block
        ]
        wall, cpu = time.monotonic(), time.process_time()
        outputs = llm.chat([messages for messages, _ in block], sampling, use_tqdm=False)
        seconds = time.monotonic() - wall, time.process_time() - cpu
        connection.send((*seconds, sum(len(o.outputs[0].token_ids) for o in outputs)))


class Kept:
    """A backend that stays loaded from block to block."""

    def __init__(self, name: str, options: ModelOptions) -> None:
        self._backend = load_backend(name, options)
        self._backend.load()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def close(self) -> None:
        """Not yet."""

    def really_close(self) -> None:
        """Now."""
        self._backend.close()


def extract_block(backend: Kept, reports: Path, out: Path) -> tuple[float, float]:
    """One archive run with a loaded backend; wall and CPU seconds of this process."""
    archive.load_backend = lambda *_args, **_more: backend
    wall, cpu = time.monotonic(), time.process_time()
    result = archive.extract_archive(
        ReportSource(reports), archive.ArchiveOptions(out=out, backend="vllm", evidence_limit=0)
    )
    seconds = time.monotonic() - wall, time.process_time() - cpu
    assert result.counts.done == result.counts.input
    return seconds


def ratios(folder: Path, *, n: int, rounds: int) -> dict[str, Any]:
    """Time the offline batch of vLLM and ``extract``, by turns on the same reports."""
    model = build_reading_model(folder / "model")
    os.environ |= ENVIRONMENT
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=bare_engine, args=(theirs, str(model)), daemon=True)
    process.start()
    assert ours.recv() == "ready"
    options = ModelOptions(model=str(model), concurrency=CONCURRENCY, kv_cache_bytes=CACHE_BYTES)
    backend = Kept("vllm", options)
    engine_pid = backend._extractor._engine._process.pid
    rows = []
    for number in range(rounds + 1):
        reports = write_reports(folder, n, seed=number)
        block = prompts_of(reports)
        turns: list[Callable[[], None]] = []
        row: dict[str, float] = {}

        def bare(block=block, row=row) -> None:
            ours.send(block)
            row["bare_wall_s"], row["bare_cpu_s"], row["output_tokens"] = ours.recv()

        def extract(reports=reports, row=row, number=number) -> None:
            before = cpu_s(engine_pid)
            row["extract_wall_s"], row["loop_cpu_s"] = extract_block(
                backend, reports, folder / f"out-{number}"
            )
            row["engine_cpu_s"] = cpu_s(engine_pid) - before

        turns = [bare, extract] if number % 2 else [extract, bare]
        for turn in turns:
            turn()
        row["wall_ratio"] = row["extract_wall_s"] / row["bare_wall_s"]
        row["engine_cpu_ratio"] = row["engine_cpu_s"] / row["bare_cpu_s"]
        print(json.dumps({k: round(v, 3) for k, v in row.items()}), flush=True)
        if number:  # the first block warms caches
            rows.append(row)
    ours.send(None)
    backend.really_close()
    return {"reports_a_block": n, **medians(rows)}


def medians(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """The median of each value over the rounds."""
    return {key: round(statistics.median(row[key] for row in rows), 4) for key in rows[0]}


@contextmanager
def serving(model: Path, port: int):
    """``vllm serve`` with the tiny model; gives its process id."""
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--served-model-name", "reading", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--max-model-len", "8192", "--max-num-seqs", str(CONCURRENCY), "--enforce-eager"]
    command += ["--kv-cache-memory-bytes", str(CACHE_BYTES), "--enable-prefix-caching"]
    command += ["--structured-outputs-config", json.dumps(STRUCTURED), "--disable-uvicorn-access-log"]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | ENVIRONMENT,
        start_new_session=True,
    )  # fmt: skip
    try:
        while True:
            assert process.poll() is None, "the server does not start"
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                    break
            except OSError:
                time.sleep(0.5)
        yield process
    finally:
        os.killpg(process.pid, 9)
        process.wait()


async def bare_client(url: str, block: Sequence[tuple[list[dict[str, str]], int]]) -> float:
    """The plain client with so many requests at a time and nothing around it; wall seconds."""
    from openai import AsyncOpenAI

    organs = tuple(load_anatomy().organs)
    schemas = {bucket: answer_schema(bucket, organs) for _, bucket in block}
    free = asyncio.Semaphore(CONCURRENCY)
    async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=600.0) as client:

        async def one(messages: list[dict[str, str]], bucket: int) -> None:
            async with free:
                schema = {"name": f"answer_{bucket}", "schema": schemas[bucket]}
                await client.chat.completions.create(
                    model="reading", messages=messages, temperature=0.0, max_tokens=max_output_tokens(bucket),
                    response_format={"type": "json_schema", "json_schema": schema},
                )  # fmt: skip

        started = time.monotonic()
        await asyncio.gather(*(one(*request) for request in block))
        return time.monotonic() - started


def server(folder: Path, *, n: int, rounds: int, idle_layers: int = 0) -> dict[str, Any]:
    """A bare client and ``extract`` by turns at one server; idle layers only make the model slower."""
    model = build_reading_model(folder / "model", idle_layers=idle_layers)
    port = 18765
    url = f"http://127.0.0.1:{port}/v1"
    rows = []
    with serving(model, port) as process:
        backend = Kept("openai", ModelOptions(base_url=url, concurrency=CONCURRENCY))
        for number in range(rounds + 1):
            reports = write_reports(folder, n, seed=number)
            block = prompts_of(reports)
            row: dict[str, float] = {}
            for turn in ("bare", "extract") if number % 2 else ("extract", "bare"):
                before = group_cpu_s(process.pid)
                if turn == "bare":
                    cpu = time.process_time()
                    row["bare_wall_s"] = asyncio.run(bare_client(url, block))
                    row["bare_client_cpu_s"] = time.process_time() - cpu
                else:
                    row["extract_wall_s"], row["loop_cpu_s"] = extract_block(
                        backend, reports, folder / f"out-{number}"
                    )
                row[f"server_cpu_s_{turn}"] = group_cpu_s(process.pid) - before
            row["throughput_kept"] = row["bare_wall_s"] / row["extract_wall_s"]
            row["server_cpu_ratio"] = row["server_cpu_s_extract"] / row["server_cpu_s_bare"]
            print(json.dumps({k: round(v, 3) for k, v in row.items()}), flush=True)
            if number:
                rows.append(row)
        backend.really_close()
    return {"reports_a_block": n, **medians(rows)}


def large(folder: Path, *, n: int, rounds: int) -> dict[str, Any]:
    """Many reports through the real engine, as a user runs them."""
    os.environ |= ENVIRONMENT
    model = build_reading_model(folder / "model")
    reports = write_reports(folder, n, seed=1)
    out, recording = folder / "out", folder / "answers.jsonl"
    options = ModelOptions(
        model=str(model), concurrency=CONCURRENCY, kv_cache_bytes=CACHE_BYTES, record=recording
    )
    started = time.monotonic()
    result = archive.extract_archive(
        ReportSource(reports),
        archive.ArchiveOptions(out=out, backend="vllm", model=options, evidence_limit=0),
    )
    seconds = time.monotonic() - started
    records = one_grounded_record_each(reports, out)
    answers = [json.loads(line) for line in recording.read_text(encoding="utf-8").splitlines()[1:]]
    for answer in answers:
        if answer["finish_reason"] == "stop":
            Answer.model_validate_json(answer["text"])
    valid = sum(answer["finish_reason"] == "stop" for answer in answers)
    return {
        "reports": n,
        "records": len(records),
        "grounded": len(records),
        "done": result.counts.done,
        "quarantined": result.counts.quarantined,
        "answers": len(answers),
        "schema_valid_answers": valid,
        "requests_a_report": round(len(answers) / n, 3),
        "from_the_model": Counter(r.provenance.backend for r in records)["vllm"],
        "status": dict(Counter(r.status for r in records)),
        "seconds": round(seconds, 1),
    }


def tokens(folder: Path, *, n: int, rounds: int) -> dict[str, Any]:
    """Length of the fixed prompt and of the worked answers, in tokens of a vocabulary that real models use."""
    import mistral_common
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    data = Path(mistral_common.__file__).parent / "data"
    tekken = Tekkenizer.from_file(str(sorted(data.glob("tekken_*.json"))[-1]))

    def count(text: str) -> int:
        return len(tekken.encode(text, bos=False, eos=False))

    prompts = load_prompts(tuple(load_anatomy().organs))
    found: dict[str, Any] = {}
    for source in ("radiology", "pathology"):
        fixed = prompts.fixed(source)
        found[source] = {
            "fixed_tokens": sum(count(m.content) for m in fixed),
            "fixed_characters": sum(len(m.content) for m in fixed),
        }
    for example in read_examples():
        answer = json.dumps(example.answer, ensure_ascii=False, separators=(",", ":"))
        found[f"{example.source} example"] = {
            "lesions": len(example.answer["lesions"]),
            "free": len(example.answer["free"]),
            "output_tokens": count(answer),
        }
    return found


def main() -> None:
    """Run one part and print it."""
    parts = {"ratios": ratios, "server": server, "large": large, "tokens": tokens}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=[*parts, "cost"])
    parser.add_argument("--reports", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--idle-layers", type=int, default=0, help="server: a slower model with the same answers"
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    slower = {"idle_layers": options.idle_layers} if options.part == "server" else {}
    with tempfile.TemporaryDirectory(prefix="engines-") as folder:
        part = parts.get(options.part, lambda *_, **_unused: cost())
        result = part(Path(folder), n=options.reports, rounds=options.rounds, **slower)
    text = json.dumps(result, indent=2)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
