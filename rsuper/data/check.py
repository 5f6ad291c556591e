"""``rsuper check``: read everything a dataset holds and list what is wrong, before any training."""

from __future__ import annotations

import hashlib
import multiprocessing
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from llm_extract.anatomy import Anatomy, load_anatomy
from rsuper.data.case_check import CaseCheck, CaseChecker
from rsuper.data.check_report import CheckedWith, CheckReport
from rsuper.data.class_map import ClassMap
from rsuper.data.issues import DataIssue
from rsuper.data.layout import Dataset
from rsuper.data.prevalence import prevalence_issues
from rsuper.supervision import SupervisionPolicy, load_policy, mask_advice
from rsuper.supervision.inputs import check_policy
from rsuper.supervision.user_anatomy import load_user_anatomy

Progress = Callable[[int, int, str], None]


def check_dataset(
    root: Path | str,
    *,
    class_map: ClassMap | Path | str | None = None,
    records: Path | str | None = None,
    required: Sequence[str] = (),
    workers: int = 1,
    anatomy: Anatomy | Path | None = None,
    policy: str = "tumours",
    progress: Progress | None = None,
) -> CheckReport:
    """Check a dataset folder: tables, every CT and mask, reports, and whether they fit together.

    A case that cannot be read becomes an error of that case; the others are checked all the same.

    Args:
        root: the dataset folder.
        class_map: preset, YAML file or map; by default the layout of this package.
        records: records.jsonl elsewhere, or the folder that extraction wrote.
        required: structures that every case must have.
        workers: processes; one that dies costs one case. A script that asks for more than one must do so
            under ``if __name__ == "__main__":``.
        anatomy: the table of organs, or a file with organs of one's own; the built-in one by default.
        policy: which reported lesions count; a preset or a file, see :func:`rsuper.supervision.load_policy`.
        progress: called with (done, total, case_id).

    Returns:
        The report; its ``exit_code`` is that of the command line.

    Raises:
        DataError: the folder as a whole cannot be read, such as an empty cases.csv.
        UsageError: ``unknown_policy``, ``bad_policy``, ``policy_missing``, ``bad_anatomy``; ``unknown_organ`` in a rule
            of the policy.
    """
    rules = load_policy(policy)
    dataset = Dataset.open(root, class_map=class_map, records=records)
    named, table = _table(anatomy)
    check_policy(rules, table)
    issues = list(dataset.issues)
    issues += _unlisted_folders(dataset)
    job = _Job(dataset, tuple(required), table, rules)
    checks: dict[str, CaseCheck] = {}
    for number, check in enumerate(_run(job, workers), 1):
        checks[check.case_id] = check
        if progress is not None:
            progress(number, len(dataset.cases), check.case_id)
    ordered = [checks[entry.case_id] for entry in dataset.cases]
    for check in ordered:
        issues += check.issues
    issues += _missing_organs(dataset, ordered, anatomy=table, policy=rules)
    summaries = {check.case_id: check.masks for check in ordered if check.masks is not None}
    issues += prevalence_issues(dataset, summaries, policy=policy, anatomy=table)
    issues += _duplicate_images(ordered)
    issues += _duplicate_reports(dataset)
    issues += _patients_across_splits(dataset)
    position = {entry.case_id: index for index, entry in enumerate(dataset.cases)}
    issues.sort(key=lambda issue: (issue.severity, position.get(issue.case_id or "", -1), issue.code))
    return CheckReport(
        root=Path(root),
        case_ids=tuple(entry.case_id for entry in dataset.cases),
        issues=tuple(issues),
        checked_with=CheckedWith.of(policy, rules, named, table),
    )


def _table(anatomy: Anatomy | Path | None) -> tuple[str, Anatomy]:
    """The table of organs and what it is called."""
    if isinstance(anatomy, Path):
        return anatomy.name, load_user_anatomy(anatomy)
    table = anatomy or load_anatomy()
    return ("built-in" if table == load_anatomy() else "own"), table


@dataclass(frozen=True)
class _Job:
    """What a worker needs to check a case."""

    dataset: Dataset
    required: tuple[str, ...]
    anatomy: Anatomy
    policy: SupervisionPolicy

    def __call__(self, case_id: str) -> CaseCheck:
        try:
            return CaseChecker(
                self.dataset,
                case_id,
                required=self.required,
                anatomy=self.anatomy,
                policy=self.policy,
            ).run()
        except MemoryError:
            return _failed(case_id, "out_of_memory", "the case does not fit into memory", "use fewer workers")
        except Exception as error:  # the case must not vanish, nor take the others with it
            return _failed(
                case_id, "check_failed", f"unexpected {type(error).__name__}", "please report this"
            )


def _failed(case_id: str, code: str, message: str, hint: str) -> CaseCheck:
    issue = DataIssue(code=code, severity="error", message=message, hint=hint, case_id=case_id)
    return CaseCheck(case_id=case_id, issues=(issue,))


def _run(job: _Job, workers: int) -> Iterator[CaseCheck]:
    waiting = [entry.case_id for entry in job.dataset.cases]
    if workers <= 1 or len(waiting) <= 1:
        yield from map(job, waiting)
        return
    done: set[str] = set()
    try:
        with _pool(workers) as pool:
            for check in pool.map(job, waiting):
                done.add(check.case_id)
                yield check
    except BrokenProcessPool:
        for case_id in waiting:
            if case_id not in done:
                yield _in_own_process(job, case_id)


def _pool(workers: int) -> ProcessPoolExecutor:
    """Fresh processes: forking one that has started threads can hang for ever."""
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def _in_own_process(job: _Job, case_id: str) -> CaseCheck:
    try:
        with _pool(1) as pool:
            return pool.submit(job, case_id).result()
    except BrokenProcessPool:
        return _failed(
            case_id, "check_crashed", "the process that read the case died", "is there enough memory?"
        )


def _unlisted_folders(dataset: Dataset) -> Iterator[DataIssue]:
    known = {entry.case_id for entry in dataset.cases}
    for folder in sorted(dataset.root.iterdir()):
        if folder.is_dir() and folder.name not in known and (folder / "ct.nii.gz").exists():
            yield DataIssue(
                code="case_not_in_table",
                severity="warning",
                message=f"folder {folder.name} has a CT but no row in cases.csv; it is not used",
                hint="add a row to cases.csv, or move the folder away",
            )


def _missing_organs(
    dataset: Dataset, checks: Sequence[CaseCheck], *, anatomy: Anatomy, policy: SupervisionPolicy
) -> Iterator[DataIssue]:
    """Organs that other cases have: an error where a lesion is reported, a warning if most have them."""
    having: Counter[str] = Counter()
    for check in checks:
        having.update(name for name in check.masks or {} if not name.endswith("_lesion"))
    unsegmented: Counter[str] = Counter()
    for check in checks:
        if check.masks is None:
            continue
        reported = _reported_organs(dataset, check.case_id, policy) & set(anatomy.organs)
        for organ in sorted(anatomy.organs):
            stems = anatomy.organ_structures(organ)
            if not any(having[stem] for stem in stems):
                unsegmented[organ] += organ in reported
                continue
            missing = [stem for stem in stems if having[stem] and stem not in check.masks]
            unread = {issue.structure for issue in check.issues if issue.severity == "error"}
            usual = any(having[stem] > len(checks) / 2 for stem in missing)
            if not missing or unread.intersection(missing) or not (organ in reported or usual):
                continue
            yield DataIssue(
                code="missing_organ_mask",
                severity="error" if organ in reported else "warning",
                message=f"there is no mask of {', '.join(missing)}"
                + (
                    ", where the report states a lesion"
                    if organ in reported
                    else ", which most other cases have"
                ),
                hint="segment the organ (e.g. with TotalSegmentator); without it the report cannot supervise",
                case_id=check.case_id,
                structure=missing[0],
            )
    for organ, count in sorted(unsegmented.items()):
        if count:
            yield DataIssue(
                code="organ_not_segmented",
                severity="warning",
                message=f"{count} case{'s report' if count > 1 else ' reports'} lesions of the "
                f"{organ.replace('_', ' ')}, no case has a mask of it",
                hint=mask_advice(organ),
            )


def _reported_organs(dataset: Dataset, case_id: str, policy: SupervisionPolicy) -> set[str]:
    """Organs with a lesion, whether it counts or its place stays unknown; what a policy drops says nothing of them."""
    return {
        lesion.organ
        for record in dataset.records(case_id)
        for lesion in record.lesions
        if policy.action(lesion) != "drop"
    }


def _duplicate_images(checks: Sequence[CaseCheck]) -> Iterator[DataIssue]:
    groups = _groups(
        (check.image_sha256, check.case_id) for check in checks if check.image_sha256 is not None
    )
    for case_ids in groups.values():
        for case_id in case_ids:
            twins = ", ".join(other for other in case_ids if other != case_id)
            yield DataIssue(
                code="duplicate_image",
                severity="error",
                message=f"the CT has the same voxels as {twins}",
                hint="keep one of them; twins in two splits leak the answer",
                case_id=case_id,
            )


def _duplicate_reports(dataset: Dataset) -> Iterator[DataIssue]:
    """One text under two ids: normal reports repeat word by word, so this is a warning."""
    texts = {
        (_normalised_sha256(report.text), report.report_id)
        for entry in dataset.cases
        for report in dataset.reports(entry)
        if report.text.strip()
    }
    where = {report.report_id: entry.case_id for entry in dataset.cases for report in dataset.reports(entry)}
    if not texts:
        where = {
            record.report_id: entry.case_id for entry in dataset.cases for record in dataset.records(entry)
        }
        texts = {
            (record.text_sha256, record.report_id)
            for entry in dataset.cases
            for record in dataset.records(entry)
            if record.text_chars
        }
    for report_ids in _groups(sorted(texts)).values():
        for report_id in report_ids:
            yield DataIssue(
                code="duplicate_report",
                severity="warning",
                message=f"the same text as {', '.join(other for other in report_ids if other != report_id)}",
                hint="a template, or one report linked to two cases? Check case_id and links.csv",
                case_id=where[report_id],
                report_id=report_id,
            )


def _normalised_sha256(text: str) -> str:
    return hashlib.sha256(re.sub(r"\s+", " ", text).strip().casefold().encode("utf-8", "replace")).hexdigest()


def _patients_across_splits(dataset: Dataset) -> Iterator[DataIssue]:
    splits: Mapping[str, set[str]] = defaultdict(set)
    for entry in dataset.cases:
        if entry.split is not None:
            splits[entry.patient_id].add(entry.split)
    for entry in dataset.cases:
        if entry.split is not None and len(splits[entry.patient_id]) > 1:
            yield DataIssue(
                code="patient_across_splits",
                severity="error",
                message=f"its patient has cases in {', '.join(sorted(splits[entry.patient_id]))}",
                hint="give all cases of a patient one split",
                case_id=entry.case_id,
            )


def _groups(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for key, name in pairs:
        groups[key].append(name)
    return {key: names for key, names in groups.items() if len(names) > 1}
