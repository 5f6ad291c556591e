"""Report cases of an nnU-Net v2 data set: their targets on the grid that nnU-Net preprocessed them to.

Report cases are ordinary cases of the data set whose label files hold organs and no lesion. After
``nnUNetv2_plan_and_preprocess``, ``prepare_report_cases`` turns their records and organ labels into target maps, which
``ReportSupervisedTrainer`` reads.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
from numpy.typing import NDArray

from llm_extract.anatomy import Anatomy, load_anatomy
from llm_extract.records import ReportRecord
from rsuper.data.class_map import LESION_SUFFIX
from rsuper.errors import DataError, UsageError
from rsuper.files import write_atomic_text
from rsuper.integrations.channel_names import require_channels
from rsuper.integrations.nnunet_channels import NnunetChannels
from rsuper.integrations.target_key import TargetKey
from rsuper.integrations.target_map import TargetMap, encode_targets
from rsuper.supervision import SupervisionPolicy, build_case_targets, load_policy, mask_codes
from rsuper.supervision.inputs import check_policy

FOLDER = "rsuper_targets"
INDEX = "report_cases.json"
FOCUS_VOXELS = 500
MISSING = (
    "report supervision in nnU-Net needs nnunetv2 2.8 or newer: pip install torch, then pip install nnunetv2"
)
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class ReportCases:
    """The report cases that :func:`prepare_report_cases` wrote for one configuration.

    Args:
        folder: where their target maps are.
        channels: names of the foreground channels that they were made for.
        states: case -> lesion class -> state.
        findings: case -> lesion class -> codes of what could not be used as it was said; drawn cases stand here too,
            where their labels and their report contradict each other: ``mask_denies_report`` where no lesion is drawn
            and the report states one. Cases and classes without a code are left out.
    """

    folder: Path
    channels: tuple[str, ...]
    states: Mapping[str, Mapping[str, str]]
    findings: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)

    @classmethod
    def open(cls, preprocessed: Path, data_identifier: str) -> ReportCases:
        """Open what was prepared for a preprocessed data set.

        Raises:
            UsageError: ``no_report_cases``.
        """
        folder = preprocessed / FOLDER / data_identifier
        try:
            index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
            return cls(
                folder=folder,
                channels=tuple(index["channels"]),
                states=index["cases"],
                findings={
                    case_id: {name: tuple(codes) for name, codes in found.items()}
                    for case_id, found in index.get("findings", {}).items()
                },
            )
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(
                f"{preprocessed.name} has no report cases for {data_identifier}",
                code="no_report_cases",
                hint="run rsuper.integrations.nnunet_cases.prepare_report_cases after nnUNetv2_preprocess",
            ) from error

    def positive(self, case_id: str) -> bool:
        """True if a report states a lesion in the case."""
        return "reported" in self.states[case_id].values()

    def codes(self, case_id: str) -> Any:
        """The target map, int16 [1,D,H,W], read from disk only where it is sliced."""
        return blosc2.open(str(self.folder / f"{case_id}.b2nd"), mode="r")

    def key(self, case_id: str) -> TargetKey:
        """What the codes of the case mean."""
        return _read_case(self.folder / f"{case_id}.json")[0]

    def focus(self, case_id: str) -> Mapping[str, NDArray[np.int64]]:
        """Reported class -> [N,3] voxels of its region: the corners of its box first, then random ones."""
        return _read_case(self.folder / f"{case_id}.json")[1]


def prepare_report_cases(
    preprocessed: Path,
    records: Path,
    *,
    drawn: Collection[str],
    configuration: str = "3d_fullres",
    plans: str = "nnUNetPlans",
    structures: Mapping[str, str] | None = None,
    policy: SupervisionPolicy | None = None,
    anatomy: Anatomy | None = None,
    progress: Progress | None = None,
) -> ReportCases:
    """Write the target maps of all report cases of a preprocessed data set.

    Args:
        preprocessed: ``nnUNet_preprocessed/DatasetXXX_NAME``.
        records: ``records.jsonl`` that ``rsuper extract`` wrote; a record's case_id (else report_id) is the case.
        drawn: cases in whose label files a human drew every lesion; nnU-Net trains them as ever. All others are report
            cases; one without a record leaves its lesions unknown.
        configuration: a 3D configuration of the plans.
        plans: name of the plans file.
        structures: label of dataset.json -> structure or lesion class, where they differ.
        policy: which reported lesions count, from :func:`rsuper.supervision.load_policy`; None: ``tumours``.
        anatomy: organs of your own, from ``llm_extract.anatomy.load_anatomy(Path("mine.yaml"))``, as they were given
            to the extraction; the built-in table by default.
        progress: called with (done, total, case_id).

    Returns:
        The report cases; their ``states`` say what was understood, their ``findings`` what contradicts.

    Raises:
        UsageError: ``unknown_case``, ``no_lesion_class``, ``not_3d``, ``unknown_channel`` for a lesion class without
            an organ in the table, ``unknown_organ`` for a rule of the policy.
        DataError: ``lesion_in_report_case`` if a case that is not in ``drawn`` has lesion voxels.
    """
    rules = policy or load_policy()
    source = _Source.open(
        preprocessed, configuration=configuration, plans=plans, structures=structures, anatomy=anatomy
    )
    check_policy(rules, anatomy or load_anatomy())
    missing = sorted(set(drawn) - set(source.case_ids))
    if missing:
        raise UsageError(
            f"there is no case {missing[0]} to be drawn", code="unknown_case", case_id=missing[0]
        )
    said = _records_by_case(records)
    chosen = [case_id for case_id in source.case_ids if case_id not in set(drawn)]
    folder = preprocessed / FOLDER / source.data_identifier
    folder.mkdir(parents=True, exist_ok=True)
    (folder / INDEX).unlink(missing_ok=True)
    states: dict[str, dict[str, str]] = {}
    findings: dict[str, Mapping[str, tuple[str, ...]]] = {
        case_id: source.contradictions(case_id, said[case_id], rules)
        for case_id in sorted(set(drawn) & said.keys())
    }
    for number, case_id in enumerate(chosen, 1):
        made = source.target_map(case_id, said.get(case_id, []), rules)
        _write_case(folder, case_id, made)
        states[case_id] = dict(made.key.states)
        findings[case_id] = {name: codes for name, codes in made.key.findings.items() if codes}
        if progress is not None:
            progress(number, len(chosen), case_id)
    index = {
        "channels": source.channels.names,
        "cases": states,
        "findings": {case_id: found for case_id, found in findings.items() if found},
    }
    write_atomic_text(folder / INDEX, json.dumps(index, indent=1))
    return ReportCases.open(preprocessed, source.data_identifier)


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A preprocessed data set as nnU-Net reads it."""

    dataset: Any
    channels: NnunetChannels
    spacing_mm: tuple[float, float, float]
    data_identifier: str
    anatomy: Anatomy | None = None

    @classmethod
    def open(
        cls,
        preprocessed: Path,
        *,
        configuration: str,
        plans: str,
        structures: Mapping[str, str] | None,
        anatomy: Anatomy | None,
    ) -> _Source:
        try:
            from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
            from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
        except ImportError as error:
            raise ImportError(MISSING) from error
        manager = PlansManager(str(preprocessed / f"{plans}.json"))
        chosen = manager.get_configuration(configuration)
        if len(chosen.spacing) != 3:
            raise UsageError(
                f"{configuration} is not 3D",
                code="not_3d",
                hint="report supervision needs 3d_fullres or 3d_lowres",
            )
        dataset_json = json.loads((preprocessed / "dataset.json").read_text(encoding="utf-8"))
        channels = NnunetChannels.of(manager.get_label_manager(dataset_json), structures)
        if not any(name.endswith(LESION_SUFFIX) for name in channels.names):
            raise UsageError(
                f"no label of dataset.json ends in {LESION_SUFFIX}: {', '.join(channels.names)}",
                code="no_lesion_class",
                hint="name it like pancreas_lesion, or pass structures={'tumour': 'pancreas_lesion'}",
            )
        require_channels([name for name in channels.names if name.endswith(LESION_SUFFIX)], (), anatomy)
        folder = str(preprocessed / chosen.data_identifier)
        first, second, third = (float(step) for step in chosen.spacing)
        return cls(
            dataset=infer_dataset_class(folder)(folder),
            channels=channels,
            spacing_mm=(first, second, third),
            data_identifier=str(chosen.data_identifier),
            anatomy=anatomy,
        )

    @property
    def case_ids(self) -> tuple[str, ...]:
        return tuple(sorted(self.dataset.identifiers))

    @property
    def lesions(self) -> tuple[str, ...]:
        return tuple(name for name in self.channels.names if name.endswith(LESION_SUFFIX))

    def _labels(self, case_id: str) -> NDArray[np.generic]:
        labels: NDArray[np.generic] = np.asarray(self.dataset.load_case(case_id)[1][:])[0]
        return labels

    def contradictions(
        self, case_id: str, records: Sequence[ReportRecord], policy: SupervisionPolicy
    ) -> Mapping[str, tuple[str, ...]]:
        """Classes of a drawn case whose labels say something else than its reports."""
        there = set(np.unique(self._labels(case_id)).tolist())
        values = dict(zip(self.channels.names, self.channels.values, strict=True))
        drawn = {name: not there.isdisjoint(values[name]) for name in self.lesions}
        return mask_codes(records, drawn, anatomy=self.anatomy, policy=policy)

    def target_map(
        self, case_id: str, records: Sequence[ReportRecord], policy: SupervisionPolicy
    ) -> TargetMap:
        labels = self._labels(case_id)
        masks = {
            name: np.isin(labels, values)
            for name, values in zip(self.channels.names, self.channels.values, strict=True)
        }
        for name in self.lesions:
            if masks.pop(name).any():
                raise DataError(
                    f"a report case has voxels of {name}",
                    code="lesion_in_report_case",
                    case_id=case_id,
                    hint="add the case to `drawn` if a human drew all its lesions, else take them out of its labels",
                )
        targets = build_case_targets(
            records,
            masks,
            case_id=case_id,
            spacing_mm=self.spacing_mm,
            lesion_classes=self.lesions,
            voxel_labelled=frozenset(),
            anatomy=self.anatomy,
            policy=policy,
        )
        made = encode_targets(
            targets,
            masks,
            channels=self.channels.names,
            heads="sigmoid" if self.channels.regions else "softmax",
            anatomy=self.anatomy,
        )
        if self.channels.ignore is not None:
            made.codes[0].numpy()[labels == self.channels.ignore] = 0
        return made


def _records_by_case(path: Path) -> Mapping[str, list[ReportRecord]]:
    found: dict[str, list[ReportRecord]] = defaultdict(list)
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                record = ReportRecord.model_validate_json(line)
                found[record.case_id or record.report_id].append(record)
    return found


def _write_case(folder: Path, case_id: str, made: TargetMap) -> None:
    """The map chunk by chunk, so that a crop reads only what it shows; the key and where to look beside it."""
    target = folder / f"{case_id}.b2nd"
    target.unlink(missing_ok=True)
    codes = made.codes.numpy()
    sides = [min(64, size) for size in codes.shape[1:]]
    blosc2.asarray(
        np.ascontiguousarray(codes),
        urlpath=str(target),
        chunks=(1, *sides),
        blocks=(1, *(min(32, side) for side in sides)),
        cparams={"codec": blosc2.Codec.ZSTD, "clevel": 5, "filters": [blosc2.Filter.SHUFFLE], "nthreads": 1},
    )
    focus: dict[str, list[list[int]]] = {}
    for pair in made.key.pairs:
        if pair.present and pair.region is not None:
            held = np.array([pair.region in masks for masks in made.key.codes])
            focus[made.key.channels[pair.channel]] = _some_voxels(held[codes[0]])
    text = json.dumps({"key": made.key.model_dump_json(), "focus": focus})
    write_atomic_text(folder / f"{case_id}.json", text)


def _some_voxels(region: NDArray[np.bool_]) -> list[list[int]]:
    voxels = np.argwhere(region)
    if not len(voxels):
        return []
    rng = np.random.default_rng(len(voxels))
    some = voxels[rng.choice(len(voxels), min(FOCUS_VOXELS, len(voxels)), replace=False)]
    return [*np.stack([voxels.min(axis=0), voxels.max(axis=0)]).tolist(), *some.tolist()]


@lru_cache(maxsize=4096)
def _read_case(path: Path) -> tuple[TargetKey, dict[str, NDArray[np.int64]]]:
    stored = json.loads(path.read_text(encoding="utf-8"))
    return TargetKey.model_validate_json(stored["key"]), {
        name: np.array(voxels, dtype=np.int64) for name, voxels in stored["focus"].items()
    }
