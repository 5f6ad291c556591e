"""A hook of the user's own that rewrites each report before anything else sees it.

The hook is a function from text to text, named ``module:function``. What it returns takes the place of the report: the
language check, the hash, the rules, the prompt, the ledger, the offsets and the evidence page know nothing else. A
report on which it fails, or gives no text, is quarantined with the code ``deidentification_failed``.

Texts are rewritten once and kept in ``deidentified.sqlite`` beside the ledger (mode 0600), so that a run that goes on
later, and a hook that draws surrogates at random, see the same texts again. Which hook a folder was made with stands in
``deidentify.json``: the same folder is never continued with another one, or without it.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from llm_extract.errors import DataError, UsageError
from llm_extract.mounts import refuse_network_file_system
from llm_extract.private_files import private_path, private_text
from llm_extract.records import IssueCode
from llm_extract.reports import MAX_TEXT_CHARS, Report
from llm_extract.rows import SURROGATES
from llm_extract.stopping import Stop
from llm_extract.work import Job

if TYPE_CHECKING:
    from llm_extract.archive_options import ArchiveOptions
    from llm_extract.hook_workers import HookPool

MARKER = "deidentify.json"
CACHE = "deidentified.sqlite"
_CHUNK_A_WORKER = 64
_HINT = "write package.module:function; a module of this folder is found with PYTHONPATH=."


def load_hook(name: str) -> Callable[[str], str]:
    """The function behind ``module:function``.

    Raises:
        UsageError: there is none.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise UsageError(f"{name!r} names no function", code="deidentify_missing", hint=_HINT)
    try:
        hook = importlib.import_module(module_name)
        for part in attribute.split("."):
            hook = getattr(hook, part)
    except Exception as error:
        raise UsageError(
            f"cannot load the hook {name!r}: {type(error).__name__}", code="deidentify_missing", hint=_HINT
        ) from error
    if not callable(hook):
        raise UsageError(f"{name!r} is no function", code="deidentify_missing", hint=_HINT)
    return hook


def hook_identity(name: str) -> str:
    """The name of a hook with a hash of the source files that it comes from: it changes with their code.

    Raises:
        UsageError: there is no such hook.
    """
    hook = load_hook(name)
    modules = sorted({name.partition(":")[0], getattr(hook, "__module__", None) or ""} - {""})
    digest = hashlib.sha256()
    for module in modules:
        origin = getattr(sys.modules.get(module), "__file__", None)
        digest.update(module.encode() + b"\0")
        if origin is not None and Path(origin).is_file():
            digest.update(hashlib.sha256(Path(origin).read_bytes()).digest())
    return f"{name}@{digest.hexdigest()}"


@contextmanager
def rewriting(options: ArchiveOptions) -> Iterator[Rewriter | None]:
    """The rewriter of a run; None without a hook. The output folder must exist.

    Raises:
        UsageError: ``deidentify_changed``: the folder was made with another hook, or with none.
    """
    check_hook(options.out, options.deidentify)
    if options.deidentify is None:
        yield None
        return
    with private_text(options.out / MARKER) as file:
        json.dump({"hook": hook_identity(options.deidentify)}, file)
    folder = options.ledger_folder or options.out
    folder.mkdir(parents=True, exist_ok=True)
    own = hashlib.sha256(str(options.out.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:12]
    name = CACHE if options.ledger_folder is None else f"{own}.{CACHE}"
    cache = TextCache(folder / name)
    try:
        if options.quarantine == "retry":
            cache.forget_failures()
        yield Rewriter(options.deidentify, cache, workers=options.workers, timeout_s=options.timeout_s)
    finally:
        cache.close()


def check_hook(out: Path, hook: str | None) -> None:
    """Refuse to continue a folder with another hook than the one it was made with.

    Raises:
        UsageError: it was made with another one, or with none.
    """
    path = out / MARKER
    before = json.loads(path.read_text("utf-8"))["hook"] if path.is_file() else None
    begun = before is not None or any(out.glob("ledger*.sqlite"))
    now = None if hook is None else hook_identity(hook)
    if begun and before != now:
        was = "without a hook" if before is None else f"with {before.partition('@')[0]}"
        same = hook is not None and before is not None and before.partition("@")[0] == hook
        raise UsageError(
            f"{out} was made {was}" + (", whose code was another one" if same else ""),
            code="deidentify_changed",
            hint="choose another --out: texts of two kinds must not be mixed in one folder",
        )


class Rewriter:
    """Rewrites a stream of reports, each text once.

    Args:
        hook: ``module:function``.
        cache: texts that were rewritten before.
        workers: processes that run the hook; 0 runs it in this one.
        timeout_s: longest time for one text.
    """

    def __init__(self, hook: str, cache: TextCache, *, workers: int, timeout_s: float) -> None:
        self._hook = hook
        self._cache = cache
        self._workers = workers
        self._timeout_s = timeout_s

    def __call__(self, reports: Iterable[Report], stop: Stop) -> Iterator[Report]:
        """The same reports in the same order with the texts that the hook gave them.

        Raises:
            InterruptedRunError: the run was asked to stop while texts were still to be rewritten.
        """
        source = iter(reports)
        pool: HookPool | None = None
        try:
            while chunk := list(islice(source, _CHUNK_A_WORKER * max(1, self._workers))):
                texts = {_key(report.text): report.text for report in chunk if _is_readable(report)}
                known = self._cache.known(list(texts))
                new = [key for key in texts if key not in known]
                if new:
                    if self._workers and pool is None:
                        pool = self._pool()
                    self._cache.add(self._rewritten({key: texts[key] for key in new}, pool, stop))
                    known = self._cache.known(list(texts))
                if any(key not in known for key in texts):
                    stop.raise_if_asked()
                yield from (_with_text(report, known.get(_key(report.text))) for report in chunk)
        finally:
            if pool is not None:
                pool.close()

    def _pool(self) -> HookPool:
        from llm_extract.hook_workers import HookPool

        return HookPool(self._hook, self._workers, timeout_s=self._timeout_s)

    def _rewritten(
        self, texts: Mapping[str, str], pool: HookPool | None, stop: Stop
    ) -> list[tuple[str, str | None]]:
        from llm_extract.hook_workers import rewrite_here

        jobs = [Job(key, Report(report_id="text", text=text)) for key, text in texts.items()]
        if pool is not None:
            results = pool.run(jobs, stop=stop.asked)
        else:
            hook = load_hook(self._hook)
            results = rewrite_here(jobs, hook, timeout_s=self._timeout_s, stop=stop.asked)
        return [(result.key, result.record_json) for result in results]


class TextCache:
    """Texts that a hook wrote, by the hash of what it read; as private as the reports.

    Args:
        path: an SQLite file, created with mode 0600.
    """

    def __init__(self, path: Path) -> None:
        refuse_network_file_system(path.parent)
        if path.is_symlink():
            raise UsageError(f"{path} is a link", code="output_is_a_link", hint="choose another --out")
        if not path.exists():
            private_path(path).replace(path)
        try:
            self._connection = sqlite3.connect(path, timeout=60, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS text (key BLOB PRIMARY KEY, rewritten TEXT) WITHOUT ROWID"
            )
        except sqlite3.DatabaseError as error:
            raise DataError(f"{path} is damaged", code="ledger_damaged", hint="delete it") from error

    def known(self, keys: Sequence[str]) -> dict[str, str | None]:
        """Rewritten texts by key; None where the hook failed."""
        found: dict[str, str | None] = {}
        for start in range(0, len(keys), 500):
            some = [bytes.fromhex(key) for key in keys[start : start + 500]]
            query = f"SELECT key, rewritten FROM text WHERE key IN ({', '.join('?' * len(some))})"  # noqa: S608
            found |= {key.hex(): text for key, text in self._connection.execute(query, some)}
        return found

    def add(self, texts: Iterable[tuple[str, str | None]]) -> None:
        """Keep rewritten texts; what another process kept first stays."""
        rows = [(bytes.fromhex(key), text) for key, text in texts]
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany("INSERT OR IGNORE INTO text VALUES (?, ?)", rows)
        self._connection.execute("COMMIT")

    def forget_failures(self) -> None:
        """Let the hook try again what it failed on."""
        self._connection.execute("DELETE FROM text WHERE rewritten IS NULL")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def _key(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _is_readable(report: Report) -> bool:
    return bool(report.text) and "report_too_long" not in report.issues


def _with_text(report: Report, text: str | None) -> Report:
    """The report with its new text; without one where there is none, or none that can be read."""
    if not report.text:
        return report
    issues: list[IssueCode] = [issue for issue in report.issues if issue != "empty_report"]
    if text is None and _is_readable(report):
        issues.append("deidentification_failed")
    elif text is not None and not text.strip():
        issues.append("empty_report")
    elif text is not None and len(text) > MAX_TEXT_CHARS:
        issues.append("report_too_long")
        text = None
    return report.model_copy(
        update={"text": text or "", "issues": tuple(dict.fromkeys(issues)), "is_cleaned": bool(text)}
    )


def checked_text(value: object) -> str:
    """What a hook returned, if it is text that can be written.

    Raises:
        TypeError: it is no text.
    """
    if not isinstance(value, str) or SURROGATES.search(value):
        raise TypeError
    return value
