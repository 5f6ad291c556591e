"""A dataset on disk: cases, CTs, masks, reports and records, read lazily and case by case."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from llm_extract.records import ReportRecord
from rsuper.data.case_masks import CaseMasks
from rsuper.data.case_reports import CaseReports, read_case_reports
from rsuper.data.cases_table import CaseEntry, is_id, read_cases, read_links
from rsuper.data.class_map import LESION_SUFFIX, ClassMap, load_class_map, read_label_table
from rsuper.data.issues import DataIssue
from rsuper.data.paths import PREDICTION_MARK, contained, refuse_predictions, volume_stem
from rsuper.errors import DataError, RsuperError
from rsuper.volumes import Volume, read_volume, require_ct_values

if TYPE_CHECKING:
    from llm_extract.reports import Report

_CT_SUFFIXES = (".nii.gz", ".nii", ".mha", ".nrrd", "")

__all__ = ["PREDICTION_MARK", "CaseEntry", "Dataset"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A dataset folder; open one with :meth:`open`.

    Args:
        root: the folder.
        cases: its cases, in the order of cases.csv.
        class_map: which files are which structures.
        labels: label value -> source name of the multi-label files; empty where those name their labels themselves.
        table_issues: what was wrong with rows of cases.csv and links.csv.
        links: pairs (case_id, report_id) of links.csv.
        records_path: records.jsonl, if there is one.
        reports_path: reports.jsonl, if there is one.
    """

    root: Path
    cases: tuple[CaseEntry, ...]
    class_map: ClassMap
    labels: dict[int, str]
    table_issues: tuple[DataIssue, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    records_path: Path | None = None
    reports_path: Path | None = None

    @classmethod
    def open(
        cls,
        root: Path | str,
        *,
        class_map: ClassMap | Path | str | None = None,
        records: Path | str | None = None,
    ) -> Dataset:
        """Open a dataset folder; volumes, reports and records are read later, on demand.

        Args:
            root: folder with cases.csv, or with one folder a case.
            class_map: preset name, YAML file or map; by default the layout of this package.
            records: a records.jsonl elsewhere, or the folder that extraction wrote.

        Raises:
            DataError: ``dataset_missing``, ``predictions_as_labels``, ``no_cases``, ``records_missing`` and
                the codes of the tables.
        """
        root = Path(root)
        if not root.is_dir():
            raise DataError(
                f"there is no dataset folder {root}", code="dataset_missing", hint="check the path"
            )
        refuse_predictions(root)
        layout = load_class_map(class_map)
        cases, issues = _find_cases(root, layout)
        links: tuple[tuple[str, str], ...] = ()
        if (root / "links.csv").is_file():
            links, link_issues = read_links(contained(root, root / "links.csv"))
            issues += link_issues
        labels = dict(layout.labels)
        if layout.label_table is not None and (root / layout.label_table).is_file():
            labels |= read_label_table(contained(root, root / layout.label_table))
        reports = root / "reports.jsonl"
        return cls(
            root=root,
            cases=cases,
            class_map=layout,
            labels=labels,
            table_issues=issues,
            links=links,
            records_path=_records_path(root, records),
            reports_path=contained(root, reports) if reports.is_file() else None,
        )

    def __len__(self) -> int:
        return len(self.cases)

    def case(self, case_id: str) -> CaseEntry:
        """The case of that id.

        Raises:
            DataError: ``unknown_case``.
        """
        try:
            return self._by_id[case_id]
        except KeyError as error:
            raise DataError(
                "the dataset has no such case", code="unknown_case", case_id=case_id, hint="see cases.csv"
            ) from error

    def ct_path(self, case: CaseEntry | str) -> Path:
        """The file (or DICOM folder) of the CT; the expected place if there is none."""
        expected = self.root / self.class_map.ct.format(case_id=self._id(case))
        stem = volume_stem(expected.name)
        for suffix in _CT_SUFFIXES:
            candidate = expected.with_name(stem + suffix)
            if candidate.is_file() or (
                not suffix and candidate != self.root / self._id(case) and candidate.is_dir()
            ):
                return contained(self.root, candidate, case_id=self._id(case))
        return expected

    def files(self, case: CaseEntry | str) -> tuple[Path, ...]:
        """Every file that the CT and the masks of a case are read from; they tell whether it has changed."""
        case_id = self._id(case)
        ct = self.ct_path(case_id)
        slices = sorted(ct.iterdir()) if ct.is_dir() else [ct]
        return (*slices, *self._masks.files(case_id))

    def structures(self, case: CaseEntry | str) -> frozenset[str]:
        """Names of all masks of a case, lesion classes included, after the class map."""
        case_id = self._id(case)
        with _about(case_id):
            return frozenset(self._masks.sources(case_id))

    def lesion_classes(self, case: CaseEntry | str) -> frozenset[str]:
        """Lesion classes with a human mask here (all-zero masks count: they say that there is none)."""
        return frozenset(name for name in self.structures(case) if name.endswith(LESION_SUFFIX))

    def read_ct(self, case: CaseEntry | str) -> Volume:
        """Read the CT in its own axis order, HU.

        Raises:
            DataError: ``ct_missing``, what :func:`rsuper.volumes.read_volume` finds, or values that are no
                HU.
        """
        path = self.ct_path(case)
        with _about(self._id(case)):
            if not path.exists():
                raise DataError(
                    f"there is no CT {path.relative_to(self.root)}",
                    code="ct_missing",
                    hint="add the file or take the case out of cases.csv",
                )
            volume = read_volume(path)
            require_ct_values(volume)
            return volume

    def read_structure(self, case: CaseEntry | str, name: str) -> Volume:
        """Read one mask as bool, in its own axis order.

        Raises:
            DataError: ``structure_missing``, ``predictions_as_labels``, ``grid_mismatch`` between the files
                of one structure, or what :func:`rsuper.volumes.read_mask` finds.
        """
        case_id = self._id(case)
        with _about(case_id):
            return self._masks.read(case_id, name)

    def records(self, case: CaseEntry | str) -> tuple[ReportRecord, ...]:
        """The records of a case, in file order."""
        return self.case_reports.records.get(self._id(case), ())

    def reports(self, case: CaseEntry | str) -> tuple[Report, ...]:
        """The report texts of a case, in file order."""
        return self.case_reports.reports.get(self._id(case), ())

    @property
    def issues(self) -> tuple[DataIssue, ...]:
        """Everything that was wrong with the tables, reports and records; reads the latter two."""
        return self.table_issues + self.case_reports.issues

    @cached_property
    def case_reports(self) -> CaseReports:
        """Reports and records by case, read once."""
        return read_case_reports(
            records=self.records_path,
            reports=self.reports_path,
            links=self.links,
            case_ids=self._by_id,
        )

    @cached_property
    def _by_id(self) -> dict[str, CaseEntry]:
        return {entry.case_id: entry for entry in self.cases}

    @cached_property
    def _masks(self) -> CaseMasks:
        return CaseMasks(root=self.root, class_map=self.class_map, labels=self.labels)

    def _id(self, case: CaseEntry | str) -> str:
        return self.case(case).case_id if isinstance(case, str) else case.case_id


def _find_cases(root: Path, layout: ClassMap) -> tuple[tuple[CaseEntry, ...], tuple[DataIssue, ...]]:
    table = root / "cases.csv"
    if table.is_file():
        return read_cases(contained(root, table))
    pattern = re.compile(re.escape(layout.ct).replace(re.escape("{case_id}"), "(?P<case_id>[^/]+)", 1))
    glob = layout.ct.replace("{case_id}", "*")
    found = sorted(
        match["case_id"]
        for path in root.glob(glob)
        if (match := pattern.fullmatch(path.relative_to(root).as_posix())) and is_id(match["case_id"])
    )
    if not found:
        raise DataError(
            f"{root} has neither cases.csv nor a CT like {glob}",
            code="no_cases",
            hint="write cases.csv (case_id, patient_id), or choose the class map of this layout",
        )
    issue = DataIssue(
        code="cases_table_missing",
        severity="warning",
        message=f"there is no cases.csv; {len(found)} cases were found by their CT, each counts as a patient",
        hint="write cases.csv (case_id, patient_id), or splits may leak",
    )
    return tuple(CaseEntry(case_id=case_id, patient_id=case_id) for case_id in found), (issue,)


def _records_path(root: Path, records: Path | str | None) -> Path | None:
    if records is None:
        own = root / "records.jsonl"
        return contained(root, own) if own.is_file() else None
    path = Path(records)
    path = path / "records.jsonl" if path.is_dir() else path
    if not path.is_file():
        raise DataError(
            f"there are no records at {path}", code="records_missing", hint="run `rsuper extract` first"
        )
    return path


@contextmanager
def _about(case_id: str) -> Iterator[None]:
    """Every error inside says which case it is about."""
    try:
        yield
    except RsuperError as error:
        error.case_id = error.case_id or case_id
        raise
