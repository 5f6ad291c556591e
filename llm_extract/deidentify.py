"""A hook of the user's own that rewrites each report before anything else sees it.

The hook is a function from text to text, named ``module:function``. What it returns takes the place of the report: the
language check, the hash, the rules, the prompt, the ledger, the offsets and the evidence page know nothing else. A
report on which it fails, or gives no text, is quarantined with the code ``deidentification_failed``.

Texts are rewritten once and kept in ``deidentified.sqlite`` beside the ledger (mode 0600), so that a run that goes on
later, and a hook that draws surrogates at random, see the same texts again. Both stay in the output folder: a ledger
that is kept elsewhere (``--ledger``) leaves a copy there, these texts do not, and a merge on another machine would
rewrite them differently; the pair is refused with the code ``deidentify_with_ledger``. Which hook a folder was made
with stands in ``deidentify.json``: the same folder is never continued with another one, or without it.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from llm_extract.errors import UsageError
from llm_extract.private_files import private_text
from llm_extract.records import IssueCode
from llm_extract.reports import MAX_TEXT_CHARS, Report
from llm_extract.rows import SURROGATES
from llm_extract.stopping import Stop
from llm_extract.text_cache import LOCAL_HINT, TextCache, holds_nothing
from llm_extract.work import Job

if TYPE_CHECKING:
    from llm_extract.archive_options import ArchiveOptions
    from llm_extract.hook_workers import HookPool

MARKER = "deidentify.json"
CACHE = "deidentified.sqlite"
NOT_INSTALLED = "not installed: "
"""How the detail of a result begins where a hook could not import something: that is no fault of the report."""

_CHUNK_A_WORKER = 64
_FAILURES_IN_A_ROW = 50
"""So many texts that fail, and none that does not, are a hook that does not work here, as without its model."""

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
    except ModuleNotFoundError as error:
        if error.name is not None and not f"{module_name}.".startswith(f"{error.name}."):
            raise needs_package(name, error.name) from error
        raise UsageError(
            f"there is no module {error.name!r}", code="deidentify_missing", hint=_HINT
        ) from error
    except Exception as error:  # no report has been read yet: the message can quote none
        raise UsageError(
            f"cannot load the hook {name!r}: {type(error).__name__}: {str(error)[:200]}",
            code="deidentify_missing",
            hint=_HINT,
        ) from error
    if not callable(hook):
        raise UsageError(f"{name!r} is no function", code="deidentify_missing", hint=_HINT)
    return hook


def needs_package(name: str, package: str) -> UsageError:
    """The error of a hook that imports what is not there, when it is loaded or at the first report."""
    return UsageError(
        f"the hook {name!r} needs {package!r}, which is not installed",
        code="deidentify_missing",
        hint="install it into the environment that this program runs in; what is done is kept",
    )


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
        UsageError: ``deidentify_changed``: the folder was made with another hook, or with none;
            ``deidentify_with_ledger``: the ledger is kept elsewhere.
        ResourceError: the texts cannot be kept.
    """
    check_hook(options)
    if options.deidentify is None:
        yield None
        return
    with private_text(options.out / MARKER) as file:
        json.dump({"hook": hook_identity(options.deidentify)}, file)
    cache = TextCache(options.out / CACHE)
    try:
        if options.quarantine == "retry":
            cache.forget_failures()
        yield Rewriter(options.deidentify, cache, workers=options.workers, timeout_s=options.timeout_s)
    finally:
        cache.close()


def check_hook(options: ArchiveOptions) -> None:
    """Refuse a hook with a ledger kept elsewhere, and a folder that was made with another hook.

    Raises:
        UsageError: ``deidentify_with_ledger``: the ledger is not kept in ``out``, as the rewritten texts are;
            ``deidentify_changed``: the folder was made with another hook, or with none.
    """
    out, hook, ledger = options.out, options.deidentify, options.ledger_folder
    if hook is not None and ledger is not None and ledger.resolve() != out.resolve():
        raise UsageError(
            "--deidentify needs the ledger in --out: another machine would not find the texts that the hook wrote",
            code="deidentify_with_ledger",
            hint=LOCAL_HINT,
        )
    path = out / MARKER
    before = json.loads(path.read_text("utf-8"))["hook"] if path.is_file() else None
    now = None if hook is None else hook_identity(hook)
    if before != now and _is_begun(out, before, hook):
        was = "without a hook" if before is None else f"with {before.partition('@')[0]}"
        same = hook is not None and before is not None and before.partition("@")[0] == hook
        raise UsageError(
            f"{out} was made {was}" + (", whose code was another one" if same else ""),
            code="deidentify_changed",
            hint="choose another --out: texts of two kinds must not be mixed in one folder",
        )


def _is_begun(out: Path, before: str | None, hook: str | None) -> bool:
    """Whether a folder holds what was made with the hook before; one that has not written a text yet may be mended."""
    if before is None:
        return any(out.glob("ledger*.sqlite"))
    return hook is None or not holds_nothing(out / CACHE)


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
        self._works = False

    def __call__(self, reports: Iterable[Report], stop: Stop) -> Iterator[Report]:
        """The same reports in the same order with the texts that the hook gave them.

        Raises:
            InterruptedRunError: the run was asked to stop while texts were still to be rewritten.
            UsageError: the hook lacks a package, or fails on every text.
        """
        source = iter(reports)
        pool: HookPool | None = None
        try:
            while chunk := list(islice(source, _CHUNK_A_WORKER * max(1, self._workers))):
                texts = {_key(report.text): report.text for report in chunk if _is_readable(report)}
                known = self._cache.known(list(texts))
                new = [key for key in texts if key not in known]
                self._works = self._works or any(text is not None for text in known.values())
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
        written: list[tuple[str, str | None]] = []
        failures = Counter[str]()
        for result in results:
            detail = result.detail or ""
            if detail.startswith(NOT_INSTALLED):
                raise needs_package(self._hook, detail.removeprefix(NOT_INSTALLED))
            written.append((result.key, result.record_json))
            failures[detail] += result.record_json is None
        self._works = self._works or failures.total() < len(written)
        if not self._works and len(written) >= _FAILURES_IN_A_ROW:
            raise UsageError(
                f"the hook {self._hook!r} fails on each of the first {len(written)} texts "
                f"(mostly {failures.most_common(1)[0][0]})",
                code="deidentify_fails",
                hint="call it on a text of your own, in this environment, to see why; nothing was kept",
            )
        return written


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
    is_cleaned = bool(text) and (report.is_cleaned or text != report.text)
    return report.model_copy(
        update={"text": text or "", "issues": tuple(dict.fromkeys(issues)), "is_cleaned": is_cleaned}
    )


def checked_text(value: object) -> str:
    """What a hook returned, if it is text that can be written.

    Raises:
        TypeError: it is no text.
    """
    if not isinstance(value, str) or SURROGATES.search(value):
        raise TypeError
    return value
