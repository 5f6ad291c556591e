"""One loop for every engine: fill it up, repairs first, settle answers into results, never drop a report."""

from __future__ import annotations

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from llm_extract.anatomy_file import anatomy_sha256, check_anatomy_file
from llm_extract.chat.answer_schema import BUCKETS, answer_schema, bucket_of, max_output_tokens, schema_sha256
from llm_extract.chat.answers import ERROR_CODES, CheckedAnswer, check_answer
from llm_extract.chat.consensus import disagreements, needs_review
from llm_extract.chat.drafting import fallback_record, record_of, with_issues
from llm_extract.chat.engine import ChatAnswer, ChatEngine, ChatRequest, ModelOptions
from llm_extract.chat.injection import looks_like_instructions
from llm_extract.chat.preparation import Prepared, Preparer
from llm_extract.chat.prompting import Message, estimate_tokens, load_prompts, render, render_repair
from llm_extract.errors import UsageError
from llm_extract.grounding import check_grounding
from llm_extract.records import Issue, IssueCode, Provenance, ReportRecord
from llm_extract.rules_hash import rules_sha256
from llm_extract.work import Job, Result, read_to_the_end

ANSWERS_VERSION = "1.0.0"
POLL_S = 0.5
STOP_GRACE_S = 15.0
MAX_RAW_CHARS = 40_000
_SMALLEST_REPORT_TOKENS = 100
_SMALLEST_ANSWER_TOKENS = 300
_ERRORS: Mapping[str, IssueCode] = {
    "prompt_too_long": "report_too_long",
    "request_timeout": "extraction_timeout",
    "request_refused": "model_request_failed",
    "not_recorded": "model_request_failed",
}


@dataclass
class _Open:
    """A report whose answer is awaited."""

    job: Job
    prepared: Prepared
    messages: tuple[Message, ...]
    bucket: int
    started: float
    attempts: int = 1
    tokens: int = 0
    raw: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


class ChatExtractor:
    """Extracts reports with an engine.

    Args:
        backend: name of the backend, for the records.
        engine: what answers.
        options: how the run treats it.
        anatomy: a user's own anatomy file: its organs reach prompt and schema, its words the checks and the parts.
        clock: seconds; only differences count.
    """

    def __init__(
        self,
        backend: str,
        engine: ChatEngine,
        options: ModelOptions,
        *,
        anatomy: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._options = options
        self._clock = clock
        self._anatomy_sha256 = anatomy_sha256(anatomy)
        self._preparer = Preparer(check_anatomy_file(anatomy) if anatomy is not None else None)
        organs = tuple(self._preparer.anatomy.organs)
        self._prompts = load_prompts(organs)
        try:
            info = engine.info()
        except BaseException:
            engine.close()
            raise
        self._provenance = Provenance(
            backend=backend, version=ANSWERS_VERSION, model=info.model, revision=info.revision,
            prompt_sha256=self._prompts.sha256, schema_sha256=schema_sha256(organs), decoding=dict(info.decoding),
        )  # fmt: skip
        self._organs = organs
        self._loaded = False

    def settings(self) -> dict[str, str]:
        """Everything besides the report that decides a record; where and how fast it is made does not."""
        own = {"anatomy_sha256": self._anatomy_sha256} if self._anatomy_sha256 is not None else {}
        return {
            **self._engine.info().settings(),
            "prompt_sha256": self._prompts.sha256,
            "schema_sha256": schema_sha256(self._organs),
            "cross_check": self._options.cross_check,
            "rules_sha256": rules_sha256(),
            "answers_sha256": answers_sha256(),
            **own,
        }

    def load(self) -> None:
        """Start the engine; once."""
        if not self._loaded:
            self._check_context()
            self._loaded = True
            self._engine.start({bucket: answer_schema(bucket, self._organs) for bucket in BUCKETS})

    def _check_context(self) -> None:
        """Refuse a model whose context does not even hold the instructions and a short report."""
        context = self._engine.info().context_tokens
        fixed = sum(len(m.content) for m in self._prompts.fixed("pathology")) // 4
        if context is not None and context < fixed + _SMALLEST_REPORT_TOKENS + _SMALLEST_ANSWER_TOKENS:
            raise UsageError(
                f"a context of {context:,} tokens is too small: the instructions alone take about {fixed:,}",
                code="context_too_small",
                hint="start the model with a context of 8,192 tokens or more",
            )

    def run(
        self, jobs: Iterator[Job], *, stop: Callable[[], bool] = lambda: False
    ) -> Iterator[Result | None]:
        """Extract jobs; results come in the order in which they end.

        Args:
            jobs: what to do; pulled only as the engine has room.
            stop: when true, nothing is started any more and what is open is awaited for a moment.

        Yields:
            One result a job; None now and then, while nothing ends.
        """
        open_: dict[str, _Open] = {}
        repairs: deque[_Open] = deque()
        source: Iterator[Job] | None = jobs
        stop_at: float | None = None
        while True:
            if stop_at is None and stop():
                stop_at = self._clock() + STOP_GRACE_S
            while repairs and len(open_) < self._engine.capacity:
                self._submit(repairs.popleft(), open_)
            while source is not None and stop_at is None and len(open_) < self._engine.capacity:
                job = next(source, None)
                if job is None:
                    source = None
                    break
                result = self._begin(job, open_)
                if result is not None:
                    yield result
            if (not open_ and not repairs) or (stop_at is not None and self._clock() > stop_at):
                if source is None or stop_at is not None:
                    return
                continue
            ended = 0
            for answer in self._engine.poll(POLL_S):
                item = open_.pop(answer.request_id, None)
                result = self._settle(item, answer, repairs) if item is not None else None
                if result is not None:
                    ended += 1
                    yield result
            if not ended:
                yield None

    def _begin(self, job: Job, open_: dict[str, _Open]) -> Result | None:
        """Send a report, or settle at once what needs no model."""
        started = self._clock()
        try:
            prepared = self._preparer.prepare(job.report)
        except Exception as error:
            return Result(
                job.key, "quarantined", code="extraction_error", detail=type(error).__name__[:80],
                seconds=self._clock() - started,
            )  # fmt: skip
        if not prepared.readable:
            return read_to_the_end(job.key, prepared.rules, seconds=self._clock() - started)
        messages = render(
            self._prompts,
            text=job.report.text,
            source=prepared.rules.source,
            measurements=prepared.measurements[: BUCKETS[-1]],
        )
        self._submit(_Open(job, prepared, messages, bucket_of(len(prepared.measurements)), started), open_)
        return None

    def _submit(self, item: _Open, open_: dict[str, _Open]) -> None:
        open_[item.job.key] = item
        longest = max_output_tokens(item.bucket)
        context = self._engine.info().context_tokens
        if context is not None:
            room = context - estimate_tokens(item.messages)
            longest = min(longest, max(room, _SMALLEST_ANSWER_TOKENS))
        self._engine.submit(ChatRequest(item.job.key, item.messages, item.bucket, longest))

    def _settle(self, item: _Open, answer: ChatAnswer, repairs: deque[_Open]) -> Result | None:
        """A result, or None where the one repair turn is on its way."""
        try:
            item.tokens += answer.prompt_tokens + answer.output_tokens
            if answer.error is not None:
                return self._quarantined(item, _ERRORS[answer.error], answer.error)
            item.raw.append(answer.text[:MAX_RAW_CHARS])
            checked = check_answer(answer.text, finish_reason=answer.finish_reason, prepared=item.prepared)
            if not checked.errors:
                return self._done(item, self._record(item, checked))
            item.errors += checked.errors
            if item.attempts == 1:
                said = [ERROR_CODES[code] for code in checked.errors]
                item.messages = render_repair(self._prompts, item.messages, answer=answer.text, errors=said)
                item.attempts = 2
                repairs.append(item)
                return None
            fallen = fallback_record(item.prepared, self._provenance, "model_output_invalid")
            return self._done(item, self._reviewed(item, fallen))
        except Exception as error:
            return self._quarantined(item, "extraction_error", type(error).__name__)

    def _record(self, item: _Open, checked: CheckedAnswer) -> ReportRecord:
        """The record of a good answer, compared with the rules where that is asked for or the text is suspicious."""
        record = record_of(item.prepared, checked, self._provenance)
        if self._options.cross_check == "rules" or looks_like_instructions(item.job.report.text):
            found = disagreements(record, item.prepared.rules)
            record = with_issues(record, found, review=needs_review(found))
        return self._reviewed(item, record)

    def _reviewed(self, item: _Open, record: ReportRecord) -> ReportRecord:
        if looks_like_instructions(item.job.report.text):
            record = with_issues(record, [Issue(code="instruction_like_text")], review=True)
        return record

    def _done(self, item: _Open, record: ReportRecord) -> Result:
        check_grounding(record, item.job.report)
        return Result(
            item.job.key, "done", record_json=record.model_dump_json(), attempts=item.attempts, tokens=item.tokens,
            seconds=self._clock() - item.started, raw_output=_raw(item) if item.errors else None,
            detail=",".join(dict.fromkeys(item.errors))[:80] or None,
        )  # fmt: skip

    def _quarantined(self, item: _Open, code: IssueCode, detail: str) -> Result:
        return Result(
            item.job.key, "quarantined", code=code, detail=detail[:80], attempts=item.attempts, tokens=item.tokens,
            seconds=self._clock() - item.started, raw_output=_raw(item) if item.raw else None,
        )  # fmt: skip

    def close(self) -> None:
        """End the engine."""
        self._engine.close()


def answers_sha256() -> str:
    """SHA-256 over the source files of this folder, which check answers and make records of them."""
    digest = hashlib.sha256()
    for entry in sorted(resources.files("llm_extract.chat").iterdir(), key=lambda e: e.name):
        if entry.name.endswith(".py"):
            digest.update(entry.name.encode() + b"\0" + hashlib.sha256(entry.read_bytes()).digest())
    return digest.hexdigest()


def _raw(item: _Open) -> bytes:
    """What the model wrote and what was wrong with it."""
    return json.dumps({"errors": item.errors, "answers": item.raw}).encode("utf-8", "surrogatepass")
