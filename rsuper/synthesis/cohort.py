"""A phantom cohort on disk in the dataset layout; a killed run resumes at the case where it stopped."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rsuper.errors import DataError, UsageError
from rsuper.files import write_atomic_text
from rsuper.synthesis.phantom_case import PHANTOM_VERSION, SPLITS, PhantomCase, Split, make_case, truth_record
from rsuper.synthesis.phantom_config import ORGANS, PhantomConfig


@dataclass(frozen=True, kw_only=True)
class CaseSummary:
    """What decides whether a case keeps its lesion masks: id, split, site, whether it has a tumour."""

    case_id: str
    split: Split
    site: str
    has_tumour: bool


MaskChoice = Literal["all", "few", "none"] | int | Collection[str] | Callable[[CaseSummary], bool]
Progress = Callable[[int, int], None]
Resume = Literal["refuse", "resume"]
FEW_MASKS = 4


def write_cohort(
    root: Path,
    *,
    n_cases: int,
    seed: int,
    config: PhantomConfig | None = None,
    mask_cases: MaskChoice = "none",
    splits: Mapping[Split, int] | None = None,
    resume: Resume = "refuse",
    progress: Progress | None = None,
) -> Path:
    """Write a cohort: CTs, organ masks, reports, and lesion masks for the chosen cases only.

    ``ROOT/reference/CASE/CLASS.nii.gz`` and ``ROOT/truth.jsonl`` hold the hidden reference of every case, for
    evaluation; training reads ``ROOT/CASE/segmentations`` and ``reports.jsonl``. ``cases.csv`` comes last.

    Args:
        root: folder to make.
        n_cases: number of cases, ≥ 1.
        seed: cohort seed.
        config: recipe.
        mask_cases: which cases are voxel-labelled: ``all``, ``none``, a number (the first so many tumour
            cases of the training split and as many of its normals), ``few`` (a third of the training tumour
            cases, at most 4, so that reports have something to add), case ids, or a predicate on the
            ``CaseSummary``. A normal's all-zero mask is a voxel-labelled negative.
        splits: how many cases of each split, in index order (train, val, test); None interleaves by the
            recipe's shares. The images do not depend on it.
        resume: ``refuse`` a non-empty folder, or ``resume`` the cohort that was begun there.
        progress: called with (done, total) after each case.

    Returns:
        ``root``.

    Raises:
        UsageError: for a non-empty folder, a cohort there that was begun with other settings, or bad counts.
    """
    root, config = Path(root), config or PhantomConfig()
    planned = _planned_splits(n_cases, splits)
    _begin(
        root,
        {
            "phantom_version": PHANTOM_VERSION,
            "n_cases": n_cases,
            "seed": seed,
            "splits": splits and dict(splits),
            "config": config.model_dump(mode="json"),
        },
        resume,
    )
    for index in range(n_cases):
        if not (root / _case_id(index)).is_dir():
            case = make_case(seed, index, config)
            _write_case(root, case, split=planned.get(index, case.split))
        if progress is not None:
            progress(index + 1, n_cases)
    truths = [_read_truth(root, _case_id(index)) for index in range(n_cases)]
    label_cases(root, _chosen(truths, mask_cases))
    _write_tables(root, truths)
    return root


def synth(
    out: Path,
    *,
    cases: int = 24,
    seed: int = 0,
    masks: int | None = None,
    organs: Collection[str] = ("pancreas",),
    resume: Resume = "refuse",
    progress: Progress | None = None,
) -> dict[str, int]:
    """The work of ``rsuper synth``: a cohort in which ``masks`` training tumour cases are voxel-labelled.

    Args:
        out: folder to make.
        cases: number of cases.
        seed: cohort seed.
        masks: number of training tumour cases (and as many normals) that keep their lesion masks; None is ``few`` of
            ``write_cohort``.
        organs: organs that carry tumours: pancreas, kidney, liver.
        resume: ``refuse`` a non-empty folder or ``resume`` a cohort begun there.
        progress: called with (done, total).

    Returns:
        Counts for the closing line: cases, tumour_cases, lesions, voxel_labelled, train_reported (training tumours
        without a mask), train, val, test.

    Raises:
        UsageError: for counts or organs that make no cohort, or a non-empty folder.
    """
    unknown = set(organs) - set(ORGANS)
    if unknown or not organs:
        raise UsageError(
            f"no phantom tumours in {sorted(unknown)}", code="bad_option", hint=f"choose from {ORGANS}"
        )
    if masks is not None and masks < 0:
        raise UsageError(f"masks is {masks}", code="bad_option", hint="give 0 or more")
    share = 0.5 if len(set(organs)) == 1 else 0.35
    config = PhantomConfig(prevalence={organ: share for organ in ORGANS if organ in organs})
    choice: MaskChoice = "few" if masks is None else masks
    write_cohort(
        out, n_cases=cases, seed=seed, config=config, mask_cases=choice, resume=resume, progress=progress
    )
    truths = [_read_truth(Path(out), _case_id(index)) for index in range(cases)]
    labelled = _chosen(truths, choice)
    return {
        "cases": cases,
        "tumour_cases": sum(t["has_tumour"] for t in truths),
        "lesions": sum(len(t["lesions"]) for t in truths),
        "voxel_labelled": len(labelled),
        "train_reported": sum(
            t["has_tumour"] and t["split"] == "train" and t["case_id"] not in labelled for t in truths
        ),
        **{str(split): sum(t["split"] == split for t in truths) for split in SPLITS},
    }


def label_cases(root: Path, case_ids: Iterable[str]) -> None:
    """Copy the reference lesion masks of these cases into the dataset, which makes them voxel-labelled.

    Args:
        root: a cohort.
        case_ids: the cases; the lesion masks of all others are left as they are.

    Raises:
        DataError: if a case has no reference.
    """
    for case_id in case_ids:
        source = root / "reference" / case_id
        if not source.is_dir():
            raise DataError(
                "the cohort holds no reference for this case", code="unknown_case", case_id=case_id
            )
        for mask in sorted(source.glob("*_lesion.nii.gz")):
            target = root / case_id / "segmentations" / mask.name
            partial = target.with_name(f".{mask.name}.partial")
            shutil.copyfile(mask, partial)
            partial.replace(target)


def read_truths(root: Path) -> list[dict[str, Any]]:
    """The truth of every case of a finished cohort, in order."""
    return [json.loads(line) for line in (Path(root) / "truth.jsonl").read_text("utf-8").splitlines()]


def _case_id(index: int) -> str:
    return f"case_{index:05d}"


def _planned_splits(n_cases: int, splits: Mapping[Split, int] | None) -> dict[int, Split]:
    if n_cases < 1:
        raise UsageError(f"a cohort of {n_cases} cases", code="bad_option", hint="give at least 1 case")
    if splits is None:
        return {}
    if set(splits) - set(SPLITS) or sum(splits.values()) != n_cases or min(splits.values()) < 0:
        raise UsageError(
            f"the splits {dict(splits)} do not add up to {n_cases} cases",
            code="bad_option",
            hint=f"counts for {SPLITS}",
        )
    order = [split for split in SPLITS for _ in range(splits.get(split, 0))]
    return dict(enumerate(order))


def _begin(root: Path, settings: dict[str, Any], resume: Resume) -> None:
    marker = root / "cohort.json"
    text = json.dumps(settings, indent=1, sort_keys=True)
    if root.is_dir() and any(root.iterdir()):
        if resume == "refuse":
            raise UsageError(
                f"{root} is not empty", code="output_not_empty", hint="another folder, or resume it"
            )
        if not marker.is_file() or json.loads(marker.read_text("utf-8")) != json.loads(text):
            raise UsageError(
                f"{root} holds something else than this cohort",
                code="not_this_cohort",
                hint="repeat the command it was begun with, or choose another folder",
            )
        for partial in (*root.glob("*.partial"), *(root / "reference").glob("*.partial")):
            shutil.rmtree(partial)
    root.mkdir(parents=True, exist_ok=True)
    write_atomic_text(marker, text)


def _write_case(root: Path, case: PhantomCase, *, split: Split) -> None:
    """The reference first, the case folder last: a case folder that exists is complete."""
    reference = root / "reference" / f"{case.case_id}.partial"
    _fresh(reference)
    for name, mask in case.lesion_masks.items():
        _write_nifti(reference / f"{name}.nii.gz", mask.astype(np.uint8), case.affine)
    truth = {**truth_record(case), "patient_id": case.patient_id, "split": split, "text": case.report}
    write_atomic_text(reference / "truth.json", json.dumps(truth))
    final = root / "reference" / case.case_id
    if final.is_dir():
        shutil.rmtree(final)
    reference.replace(final)
    folder = root / f"{case.case_id}.partial"
    _fresh(folder)
    (folder / "segmentations").mkdir()
    _write_nifti(folder / "ct.nii.gz", case.ct, case.affine)
    for name, mask in case.organs.items():
        _write_nifti(folder / "segmentations" / f"{name}.nii.gz", mask.astype(np.uint8), case.affine)
    folder.replace(root / case.case_id)


def _fresh(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


def _read_truth(root: Path, case_id: str) -> dict[str, Any]:
    return dict(json.loads((root / "reference" / case_id / "truth.json").read_text("utf-8")))


def _chosen(truths: list[dict[str, Any]], choice: MaskChoice) -> list[str]:
    if choice == "none":
        return []
    if choice == "all":
        return [t["case_id"] for t in truths]
    if choice == "few" or isinstance(choice, int):
        training = [t for t in truths if t["split"] == "train"]
        tumours = [t["case_id"] for t in training if t["has_tumour"]]
        normals = [t["case_id"] for t in training if not t["has_tumour"]]
        number = min(FEW_MASKS, len(tumours) // 3) if choice == "few" else int(choice)
        return tumours[:number] + normals[:number]
    if callable(choice):
        keys = ("case_id", "split", "site", "has_tumour")
        return [t["case_id"] for t in truths if choice(CaseSummary(**{key: t[key] for key in keys}))]
    return list(choice)


def _write_tables(root: Path, truths: list[dict[str, Any]]) -> None:
    reports = [
        {"id": t["case_id"], "case_id": t["case_id"], "kind": "radiology", "text": t["text"]} for t in truths
    ]
    write_atomic_text(root / "reports.jsonl", "".join(json.dumps(r) + "\n" for r in reports), mode=0o600)
    hidden = [{key: value for key, value in t.items() if key != "text"} for t in truths]
    write_atomic_text(root / "truth.jsonl", "".join(json.dumps(t) + "\n" for t in hidden))
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["case_id", "patient_id", "site", "phase", "split"])
    writer.writerows([t["case_id"], t["patient_id"], t["site"], "portal_venous", t["split"]] for t in truths)
    write_atomic_text(root / "cases.csv", table.getvalue())


def _write_nifti(path: Path, array: NDArray[Any], affine: NDArray[np.float64]) -> None:
    import nibabel

    image = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
