"""Prompt files -> the messages of one report: fixed text first, then the report, marked and fenced as data."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from llm_extract.measurements import Measurement
from llm_extract.records import Source

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

ChatRole = Literal["system", "user", "assistant"]
MESSAGE_CHARS_PER_TOKEN = 3.0
"""Characters a token at the least, for an estimate on the safe side; English reports have 3.2 to 4.5."""

_MARK = re.compile(r"\s?\[M[1-9]\d{0,3}(?: prior)?\]")
_FORGED_MARK = re.compile(r"\[(?=M\d)")
_CONTROL = re.compile(r"<(?=[|/A-Za-z｜_])|\[(?=/?(?:INST|SYS|TOOL|AVAILABLE)\b)|(?<=\|)>")
_BREAK = "\u200a"
"""A hair space: put inside what a chat template could take for a control token; white space to the grounding."""
_KEPT = "\n\t" + _BREAK


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: ChatRole
    content: str


@dataclass(frozen=True)
class Prompts:
    """The prompt files.

    Args:
        common: instructions for every report, with ``{organs}`` filled in.
        notes: what is particular to a source.
        repair: the repair turn, with ``{errors}`` to be filled in.
        examples: messages of the worked examples.
        sha256: hash over all of it.
    """

    common: str
    notes: dict[Source, str]
    repair: str
    examples: tuple[Message, ...]
    sha256: str

    def fixed(self, source: Source) -> tuple[Message, ...]:
        """What comes before every report of a source: the same messages each time, so that an engine keeps them."""
        return (Message("system", f"{self.common}\n\n{self.notes[source]}"), *self.examples)


def load_prompts(organs: Sequence[str]) -> Prompts:
    """The installed prompts for a list of organs."""
    return _load(tuple(organs))


@lru_cache(maxsize=4)
def _load(organs: tuple[str, ...]) -> Prompts:
    folder = prompt_folder()
    raw = {
        name: folder.joinpath(name).read_text("utf-8")
        for name in (
            "extract.md",
            "extract_radiology.md",
            "extract_pathology.md",
            "repair.md",
            "examples.jsonl",
        )
    }
    examples: list[Message] = []
    for example in read_examples(raw["examples.jsonl"]):
        examples.append(Message("user", fence(example.text, mark(example.text, example.measurements()))))
        answer = json.dumps(example.answer, ensure_ascii=False, separators=(",", ":"))
        examples.append(Message("assistant", answer))
    common = _body(raw["extract.md"]).replace("{organs}", ", ".join(organs))
    digest = hashlib.sha256(json.dumps([sorted(raw.items()), organs, [m.content for m in examples]]).encode())
    return Prompts(
        common=common,
        notes={
            "radiology": _body(raw["extract_radiology.md"]),
            "pathology": _body(raw["extract_pathology.md"]),
        },
        repair=_body(raw["repair.md"]),
        examples=tuple(examples),
        sha256=digest.hexdigest(),
    )


@dataclass(frozen=True)
class Example:
    """A worked example: a report in our own words and the answer to it."""

    source: Source
    text: str
    answer: dict[str, Any]

    def measurements(self) -> tuple[Measurement, ...]:
        """The scan that the answer's ids point into."""
        from llm_extract.measurements import scan_measurements
        from llm_extract.references import scan_references
        from llm_extract.sections import split_sections, split_sentences

        sentences = split_sentences(self.text, split_sections(self.text))
        return scan_measurements(
            self.text,
            scan_references(self.text),
            bounds=tuple(s.start for s in sentences),
            writing="scanned" if self.source == "pathology" else "typed",
        )


def read_examples(text: str | None = None) -> list[Example]:
    """The worked examples of ``examples.jsonl``."""
    raw = prompt_folder().joinpath("examples.jsonl").read_text("utf-8") if text is None else text
    return [Example(**json.loads(line)) for line in raw.splitlines() if line.strip()]


def prompt_folder() -> Path | Traversable:
    """The installed prompts; in a checkout the folder beside the package."""
    installed = resources.files("llm_extract").joinpath("prompts")
    beside = Path(str(resources.files("llm_extract"))).parent / "prompts"
    return installed if installed.is_dir() else beside


def _body(markdown: str) -> str:
    """A prompt file without its front matter, which must name it."""
    _, header, body = markdown.split("---\n", 2)
    meta = yaml.safe_load(header)
    if not isinstance(meta, dict) or not {"name", "version", "task"} <= set(meta):
        raise ValueError("the front matter of a prompt file holds name, version and task")
    return body.strip()


def mark(text: str, measurements: Sequence[Measurement]) -> str:
    """A copy of a report with the id of each measurement right behind it; what could pass for a mark is broken up.

    >>> from llm_extract.measurements import scan_measurements
    >>> mark("A 3.4 cm mass.", scan_measurements("A 3.4 cm mass."))
    'A 3.4 cm[M1] mass.'
    """
    pieces: list[str] = []
    at = 0
    for m in sorted(measurements, key=lambda m: (m.end, m.start)):
        pieces.append(_tame(text[at : m.end]))
        pieces.append(f"[{m.id} prior]" if m.tense == "prior" else f"[{m.id}]")
        at = m.end
    return "".join(pieces) + _tame(text[at:])


def _tame(text: str) -> str:
    """Break up what looks like a mark of ours, a tag or a control token of a chat template."""
    text = _FORGED_MARK.sub(f"[{_BREAK}", text)
    text = _CONTROL.sub(lambda m: _BREAK + m[0] if m[0] == ">" else m[0] + _BREAK, text)
    return "".join(c if c in _KEPT or c.isprintable() else " " for c in text)


def unmark(quote: str) -> str:
    """A quote as the original text has it: without marks and without what :func:`mark` broke up.

    >>> unmark("3.4 cm[M1] mass")
    '3.4 cm mass'
    """
    return _MARK.sub("", quote).replace(_BREAK, "")


def fence(text: str, marked: str) -> str:
    """A report between two tags that carry a hash of its text, which the text itself cannot hold."""
    salt = 0
    while True:
        digest = hashlib.sha256(f"{salt}{text}".encode("utf-8", "surrogatepass")).hexdigest()[:8]
        if digest not in text:
            break
        salt += 1
    return f"<report {digest}>\n{marked}\n</report {digest}>"


def render(
    prompts: Prompts, *, text: str, source: Source, measurements: Sequence[Measurement]
) -> tuple[Message, ...]:
    """All messages of a first request."""
    return (*prompts.fixed(source), Message("user", fence(text, mark(text, measurements))))


def render_repair(
    prompts: Prompts, messages: Sequence[Message], *, answer: str, errors: Sequence[str]
) -> tuple[Message, ...]:
    """The messages of the repair turn: the refused answer, cut to a bounded length, and why it was refused."""
    said = ", ".join(dict.fromkeys(errors))
    return (
        *messages,
        Message("assistant", _tame(answer[:6000]) or "{}"),
        Message("user", prompts.repair.replace("{errors}", said)),
    )


def estimate_tokens(messages: Sequence[Message]) -> int:
    """Tokens of some messages on the safe side, for sizing without the model's own tokenizer."""
    return sum(int(len(m.content) / MESSAGE_CHARS_PER_TOKEN) + 8 for m in messages)
