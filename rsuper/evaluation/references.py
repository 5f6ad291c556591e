"""What is known to be true of one case and lesion class: a mask, a report, or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llm_extract.anatomy import Anatomy, load_anatomy
from rsuper.data.layout import CaseEntry, Dataset
from rsuper.evaluation.results import Reference
from rsuper.supervision import SupervisionPolicy, load_policy, organ_of_class
from rsuper.supervision.states import organ_evidence
from rsuper.volumes import Volume, read_mask

REFERENCE_FOLDER = "reference"


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The truth of one case and class.

    Args:
        source: where it comes from.
        present: a lesion is there; None if nothing is known.
        mask: the reference mask, where there is one.
    """

    source: Reference
    present: bool | None
    mask: Volume | None = None


def default_reference(dataset: Dataset) -> Path | None:
    """The folder of masks for evaluation only inside a data set, if it has one."""
    folder = dataset.root / REFERENCE_FOLDER
    return folder if folder.is_dir() else None


def mask_path(
    dataset: Dataset, entry: CaseEntry, class_name: str, *, reference: Path | None = None
) -> Path | None:
    """The evaluation-only mask ``REFERENCE/CASE/CLASS.nii.gz``, if there is one."""
    folder = reference or default_reference(dataset)
    path = None if folder is None else folder / entry.case_id / f"{class_name}.nii.gz"
    return path if path is not None and path.is_file() else None


def truth_of(
    dataset: Dataset,
    entry: CaseEntry,
    class_name: str,
    *,
    reference: Path | None = None,
    policy: SupervisionPolicy | None = None,
    anatomy: Anatomy | None = None,
) -> Truth:
    """The truth of one case and class: evaluation mask, else human mask, else what its records state.

    Without a mask a lesion counts as present where a record states a certain one, and as absent where the
    organ is stated free of any focal lesion at full strength; everything else is unknown.

    Args:
        dataset: the data set.
        entry: the case.
        class_name: lesion class.
        reference: folder ``CASE/CLASS.nii.gz`` of masks for evaluation only; None looks for ``reference`` in
            the data set.
        policy: which reported lesions count; None is the default preset.
        anatomy: the table of organs; None is the built-in one.
    """
    path = mask_path(dataset, entry, class_name, reference=reference)
    if path is not None:
        mask = read_mask(path)
    elif class_name in dataset.lesion_classes(entry):
        mask = dataset.read_structure(entry, class_name)
    else:
        return _stated(
            dataset, entry, class_name, policy=policy or load_policy(), anatomy=anatomy or load_anatomy()
        )
    return Truth(source="mask", present=bool(np.any(mask.array)), mask=mask)


def _stated(
    dataset: Dataset, entry: CaseEntry, class_name: str, *, policy: SupervisionPolicy, anatomy: Anatomy
) -> Truth:
    records = dataset.records(entry)
    organ = organ_of_class(class_name, anatomy)
    if not records or organ is None:
        return Truth(source="none", present=None)
    evidence = organ_evidence(records, organ, lesion_class=class_name, anatomy=anatomy, policy=policy)
    present = {"reported": True, "absent": False}.get(evidence.state)
    return Truth(source="none" if present is None else "report", present=present)
