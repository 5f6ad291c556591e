"""How an archive is extracted: everything about a run besides where its reports are."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from llm_extract.errors import UsageError
from llm_extract.reports import Report

if TYPE_CHECKING:
    from llm_extract.chat.engine import ModelOptions
    from llm_extract.distributed import RayOptions

Quarantine = Literal["keep", "retry"]


@dataclass(frozen=True)
class Shard:
    """One of several parts of the input, about equally large; ``index`` counts from 1.

    A report's text decides which shard it belongs to, wherever the report stands: shards stay disjoint and complete
    when a query gives its rows in another order or rows are added, and a text that stands in two rows is extracted
    once. A row without a text goes by its id.

    >>> Shard.parse("2/4").suffix
    '.2-of-4'
    """

    index: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``I/N``.

        Raises:
            UsageError: it is not two whole numbers with 1 <= I <= N.
        """
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise UsageError(f"{text!r} is no shard", code="invalid_shard", hint="write --shard 1/4 … 4/4")
        return cls(index=int(match[1]), of=int(match[2]))

    def holds(self, report: Report) -> bool:
        """Whether this report belongs to this shard."""
        key = report.text_sha256 if report.text else hashlib.sha256(report.report_id.encode()).hexdigest()
        return int(key[:15], 16) % self.of == self.index - 1

    @property
    def suffix(self) -> str:
        """Middle of the names of the files of this shard, such as ``.1-of-4``."""
        return f".{self.index}-of-{self.of}"


@dataclass(frozen=True)
class ArchiveOptions:
    """How an archive is extracted.

    Args:
        out: folder for everything that is written.
        backend: name of a backend.
        shard: which part of the input; None for all of it.
        workers: worker processes; 0 extracts in this process.
        timeout_s: longest time for one report.
        lease_s: how long work stays reserved for a process of another machine that has gone silent.
        quarantine: keep quarantined reports as they are, or try them again.
        evidence_limit: how many reports the evidence pages show; 0 for no page.
        anatomy: a user's own anatomy file, on top of the built-in table.
        deidentify: ``module:function`` of a hook that rewrites each text first, see :mod:`llm_extract.deidentify`.
        pilot: extract only a sample of this size, and forecast the whole from it.
        ledger_folder: where the ledger is kept while it is used, see :func:`llm_extract.ledger_place.open_ledger`;
            by default ``out``, which must then lie on a disk of this machine.
        ray: extract on Ray workers instead of in processes of this machine.
        model: which language model, for the backends that run one; these work in this process.

    Raises:
        UsageError: ``quarantine`` is another word.
    """

    out: Path
    backend: str = "rules"
    shard: Shard | None = None
    workers: int = 0
    timeout_s: float = 60.0
    lease_s: float = 600.0
    quarantine: Quarantine = "keep"
    evidence_limit: int = 20_000
    anatomy: Path | None = None
    deidentify: str | None = None
    pilot: int | None = None
    ledger_folder: Path | None = None
    ray: RayOptions | None = None
    model: ModelOptions | None = None

    def __post_init__(self) -> None:
        if self.quarantine not in get_args(Quarantine):
            raise UsageError(
                f"quarantine is {self.quarantine!r}", code="bad_option", hint="choose 'keep' or 'retry'"
            )

    @property
    def suffix(self) -> str:
        """Middle of the names of the output files of a shard or a pilot, else empty."""
        return (self.shard.suffix if self.shard else "") + (".pilot" if self.pilot is not None else "")
