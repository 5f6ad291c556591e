"""nnU-Net v2 with reports on a tiny phantom data set: preprocessed, augmented and trained by nnU-Net itself."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

pytest.importorskip("nnunetv2", reason="nnunetv2 is not installed: pip install 'nnunetv2>=2.8' after torch")

from nnunetv2.experiment_planning.plan_and_preprocess_api import (
    extract_fingerprints,
    plan_experiments,
    preprocess,
)
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

from llm_extract.anatomy import load_anatomy
from llm_extract.reports import Report
from llm_extract.rules import extract_record
from rsuper.errors import DataError, UsageError
from rsuper.integrations.nnunet import ReportSupervisedTrainer
from rsuper.integrations.nnunet_cases import ReportCases, prepare_report_cases
from rsuper.integrations.target_batch import supervision_batch
from rsuper.losses import softmax_log_odds
from rsuper.synthesis import PhantomConfig, make_case

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)
LABELS = {"background": 0, "pancreas": 1, "liver": 2, "pancreas_lesion": 3}
REGIONS = {"background": 0, "pancreas": [1, 3], "liver": 2, "pancreas_lesion": 3}
DENIAL = "Pancreas: normal, without a focal lesion."
PATCH = (32, 40, 48)
GUIDE = Path(__file__).resolve().parents[3] / "examples" / "nnunet"


class TinyTrainer(ReportSupervisedTrainer):
    """A few steps on one core, the reports from the first epoch on."""

    report_warmup = 0.0
    report_ramp = 0.0


@pytest.fixture(scope="module")
def phantom_cases():
    config = PhantomConfig(shape=(54, 45, 36), spacing_mm=(5.0, 5.0, 5.0))
    return {case.case_id: case for case in (make_case(11, index, config) for index in range(8))}


@pytest.fixture(scope="module")
def drawn(phantom_cases):
    tumours = [name for name, case in phantom_cases.items() if case.lesions]
    normals = [name for name, case in phantom_cases.items() if not case.lesions]
    return {*tumours[:2], normals[0]}


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """nnU-Net takes its folders from the environment."""
    root = tmp_path_factory.mktemp("nnunet")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("raw", "preprocessed", "results"):
            (root / name).mkdir()
            patch.setenv(f"nnUNet_{name}", str(root / name))
        patch.setenv("nnUNet_n_proc_DA", "0")
        patch.setenv("nnUNet_compile", "false")
        yield root


@pytest.fixture(scope="module")
def preprocessed(environment, phantom_cases, drawn):
    """Raw data set -> fingerprint, plan and preprocessing, all nnU-Net's own; then a network of a size for tests."""
    name = "Dataset501_Phantom"
    raw = environment / "raw" / name
    for part in ("imagesTr", "labelsTr"):
        (raw / part).mkdir(parents=True)
    for case_id, case in phantom_cases.items():
        labels = case.organs["pancreas"] * 1 + case.organs["liver"] * 2
        if case_id in drawn:
            labels[case.lesion_masks["pancreas_lesion"]] = 3
        nibabel.save(nibabel.Nifti1Image(case.ct, case.affine), raw / "imagesTr" / f"{case_id}_0000.nii.gz")
        nibabel.save(
            nibabel.Nifti1Image(labels.astype(np.uint8), case.affine), raw / "labelsTr" / f"{case_id}.nii.gz"
        )
    dataset = {
        "channel_names": {"0": "CT"},
        "labels": LABELS,
        "numTraining": len(phantom_cases),
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(dataset))
    extract_fingerprints([501], num_processes=1, show_progress_bar=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("nnUNet_n_proc_DA", "1")  # the planner takes it for torch's threads
        plan_experiments([501])
    folder = environment / "preprocessed" / name
    plans = json.loads((folder / "nnUNetPlans.json").read_text())
    plan = plans["configurations"]["3d_fullres"]
    plan |= {"patch_size": list(PATCH), "batch_size": 2}
    plan["architecture"]["arch_kwargs"] |= {
        "n_stages": 3,
        "features_per_stage": [6, 12, 12],
        "kernel_sizes": [[3, 3, 3]] * 3,
        "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
        "n_conv_per_stage": [1, 1, 1],
        "n_conv_per_stage_decoder": [1, 1],
    }
    (folder / "nnUNetPlans.json").write_text(json.dumps(plans))
    preprocess([501], configurations=["3d_fullres"], num_processes=[1], show_progress_bar=False)
    others = sorted(set(phantom_cases) - drawn)
    both = sorted(drawn)
    splits = [{"train": [*both[:2], *others], "val": [both[2], others[0]]}]
    (folder / "splits_final.json").write_text(json.dumps(splits))
    return folder


@pytest.fixture(scope="module")
def records(environment, phantom_cases):
    path = environment / "records.jsonl"
    made = [extract_record(Report(report_id=name, text=case.report)) for name, case in phantom_cases.items()]
    path.write_text("".join(record.model_dump_json() + "\n" for record in made))
    return path


@pytest.fixture(scope="module")
def prepared(preprocessed, records, drawn):
    return prepare_report_cases(preprocessed, records, drawn=drawn)


@pytest.fixture(scope="module")
def by_regions(environment, preprocessed, prepared, records, drawn):
    """The same data with overlapping regions: sigmoid heads."""
    folder = environment / "preprocessed" / "Dataset502_Regions"
    shutil.copytree(preprocessed, folder, ignore=shutil.ignore_patterns("rsuper_targets"))
    dataset = json.loads((folder / "dataset.json").read_text())
    dataset |= {"labels": REGIONS, "regions_class_order": [1, 2, 3]}
    (folder / "dataset.json").write_text(json.dumps(dataset))
    plans = json.loads((folder / "nnUNetPlans.json").read_text()) | {"dataset_name": folder.name}
    (folder / "nnUNetPlans.json").write_text(json.dumps(plans))
    prepare_report_cases(folder, records, drawn=drawn)
    return folder


def trainer_of(folder: Path, kind=TinyTrainer):
    plans = json.loads((folder / "nnUNetPlans.json").read_text()) | {"continue_training": False}
    dataset = json.loads((folder / "dataset.json").read_text())
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - the generator that nnU-Net draws from
    trainer = kind(plans, "3d_fullres", 0, dataset, torch.device("cpu"))
    trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = 2, 2, 1
    return trainer


def test_the_states_are_what_the_reports_say(prepared, phantom_cases, drawn):
    assert set(prepared.states) == set(phantom_cases) - drawn
    for case_id, states in prepared.states.items():
        assert states["pancreas_lesion"] == ("reported" if phantom_cases[case_id].lesions else "absent")
    assert any(prepared.positive(case_id) for case_id in prepared.states)


def test_maps_lie_on_the_grid_that_nnunet_trains_on(prepared, preprocessed):
    from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

    folder = str(preprocessed / "nnUNetPlans_3d_fullres")
    dataset = infer_dataset_class(folder)(folder)
    for case_id in prepared.states:
        labels = np.asarray(dataset.load_case(case_id)[1][:])[0]
        codes = torch.from_numpy(np.asarray(prepared.codes(case_id)[:]))
        batch = supervision_batch([codes], [prepared.key(case_id)])
        for channel, value in enumerate((1, 2)):
            assert torch.equal(batch.labels[0, channel], torch.from_numpy(labels == value))
        for pair in batch.pairs:
            if pair.present:
                assert pair.complete
                assert (pair.region & batch.labels[0, 0]).any()
                beside = pair.region & ~batch.labels[0, 0]
                assert not batch.known[0, 0][beside].any(), "a lesion beside the organ is open"


def test_augmentation_moves_map_and_segmentation_alike(prepared, preprocessed):
    """nnU-Net's turns, zooms and mirrors: organ of the map against nnU-Net's own segmentation; mm³ of the region."""
    trainer = trainer_of(preprocessed)
    trainer.initialize()
    pipeline = trainer.get_training_transforms(
        PATCH, (-0.3, 0.3), None, (0, 1, 2), False, use_mask_for_norm=[False], foreground_labels=[1, 2, 3]
    )
    spatial = pipeline.transforms[0].inner
    spatial.p_rotation = spatial.p_scaling = 1.0
    case_id = next(name for name in prepared.states if prepared.positive(name))
    codes = torch.from_numpy(np.asarray(prepared.codes(case_id)[:]))
    key = prepared.key(case_id)
    organ = supervision_batch([codes], [key]).labels[
        0, 1
    ]  # the liver: no thin organ, whose border is all of it
    whole_mm3 = key.volumes_mm3[key.pairs[0].region]
    from rsuper.integrations.affine_spacing import zoomed_spacing_mm

    zooms, ratios = set(), []
    for _ in range(12):
        image = torch.zeros(1, *organ.shape)
        sample = pipeline(image=image, segmentation=torch.cat([organ[None].to(torch.int16), codes]))
        spacing = zoomed_spacing_mm(key.spacing_mm, sample["voxels"])
        batch = supervision_batch([sample["codes"]], [key], spacing_mm=[spacing])
        theirs, ours = sample["segmentation"][0] == 1, batch.labels[0, 1]
        overlap = 2 * (theirs & ours).sum() / (theirs.sum() + ours.sum())
        assert overlap > 0.93
        zooms.add(round(spacing[0], 3))
        [pair] = batch.pairs
        if pair.complete:
            ratios.append(float(pair.region.sum()) * np.prod(spacing) / whole_mm3)
    assert len(zooms) > 10
    assert len(ratios) >= 3
    assert np.mean(ratios) == pytest.approx(1, abs=0.04), "mm³ keep their meaning"
    assert np.allclose(ratios, 1, atol=0.12), "nearest neighbour on 5 mm voxels"


@pytest.mark.parametrize("fraction", [0.25, 0.5])
def test_batches_hold_the_wanted_share_of_report_cases(prepared, preprocessed, fraction):
    class Wanted(TinyTrainer):
        report_fraction = fraction

    trainer = trainer_of(preprocessed, Wanted)
    trainer.initialize()
    loader = trainer.get_dataloaders()[0].data_loader
    drawn_first = 0
    counts = []
    for _ in range(60):
        keys = loader.get_indices()
        reported = [key in prepared.states for key in keys]
        counts.append(sum(reported))
        drawn_first += reported != sorted(reported, reverse=True)
    assert np.mean(counts) == pytest.approx(fraction * 2, abs=0.25)
    assert drawn_first == 0


def test_report_crops_show_the_region(prepared, preprocessed):
    trainer = trainer_of(preprocessed)
    trainer.initialize()
    loader = trainer.get_dataloaders()[0].data_loader
    shown = []
    for case_id in (name for name in prepared.states if prepared.positive(name)):
        key = prepared.key(case_id)
        region = (
            supervision_batch([torch.from_numpy(np.asarray(prepared.codes(case_id)[:]))], [key])
            .pairs[0]
            .region
        )
        box = np.argwhere(region.numpy())
        fits = (box.max(axis=0) + 1 - box.min(axis=0) <= np.array(PATCH)).all()
        for _ in range(8):
            lower, upper = loader.report_box(region.shape, case_id)
            inner = [
                low + (big - small) // 2
                for low, big, small in zip(lower, loader.patch_size, PATCH, strict=True)
            ]
            cut = tuple(slice(max(0, low), low + side) for low, side in zip(inner, PATCH, strict=True))
            held = region[cut].sum() / region.sum()
            assert held == 1 if fits else held > 0.1
            shown.append(fits)
            assert [high - low for low, high in zip(lower, upper, strict=True)] == list(loader.patch_size)
    assert shown


@pytest.mark.parametrize("labels", ["softmax", "regions"])
def test_nnunet_trains_with_reports(request, preprocessed, prepared, labels, monkeypatch):
    """Two epochs with nnU-Net's own loop, deep supervision and validation; once with worker processes."""
    monkeypatch.setenv("nnUNet_n_proc_DA", "1" if labels == "regions" else "0")
    folder = preprocessed if labels == "softmax" else request.getfixturevalue("by_regions")
    trainer = trainer_of(folder)
    trainer.initialize()
    before = [parameter.detach().clone() for parameter in trainer.network.parameters()]
    trainer.run_training()
    assert any(not torch.equal(a, b) for a, b in zip(before, trainer.network.parameters(), strict=True))
    log = Path(trainer.log_file).read_text()
    assert log.count("report samples (weight 1.00)") == 2
    assert "ball_bce" in log
    assert "volume" in log
    assert "This split has 7 training and 2 validation cases" in log
    assert not set(trainer.do_split()[1]) & set(prepared.states)
    assert (Path(trainer.output_folder) / "checkpoint_final.pth").is_file()


def step_gradient(trainer, batch):
    """Gradient of the loss at the finest head, and the loss."""
    heads = [
        (
            0.1 * torch.randn(2, trainer.label_manager.num_segmentation_heads, *target.shape[2:])
        ).requires_grad_()
        for target in batch["target"]
    ]
    with trainer.loss.reports(trainer._reports(batch)):
        loss = trainer.loss(heads, batch["target"])
    loss.backward()
    return heads, loss


@pytest.mark.parametrize("labels", ["softmax", "regions"])
def test_reports_pull_lesions_up_and_denied_organs_down(request, preprocessed, prepared, labels):
    folder = preprocessed if labels == "softmax" else request.getfixturevalue("by_regions")
    trainer = trainer_of(folder)
    trainer.initialize()
    loader = trainer.get_dataloaders()[0].data_loader
    lesion = 3 if labels == "softmax" else 2
    seen = set()
    for _ in range(30):
        batch = loader.generate_train_batch()
        reports = trainer._reports(batch)
        heads, loss = step_gradient(trainer, batch)
        assert torch.isfinite(loss)
        slope = heads[0].grad[reports.report_rows[0], lesion]
        [pair] = reports.supervision.pairs or [None]
        if pair is None:
            continue
        inside = batch["codes"][0, 0] > 0
        if not pair.present:
            seen.add("denied")
            pushed = slope[inside]
        elif pair.complete:
            seen.add("reported")
            assert (slope[pair.region] < 0).any(), "some voxels are pulled up"
            known = reports.supervision.known[pair.sample, pair.channel]
            pushed = slope[inside & known]
            if labels == "regions":
                left_open = inside & ~known & ~pair.region
                assert (slope[left_open] == 0).all(), "room that the lesion could reach is not called healthy"
        else:
            continue
        assert pushed.sum() > 0, "no lesion here, say the report and the region"
        if labels == "regions":
            assert (pushed > 0).all(), "sigmoid channels do not pull at each other"
        assert heads[0].grad[1].abs().sum() > 0, "the drawn sample learns as ever"
        if seen == {"denied", "reported"}:
            return
    pytest.fail(f"30 batches held only {seen}")


def test_batches_without_reports_have_nnunets_own_loss(preprocessed, prepared):
    trainer = trainer_of(preprocessed)
    trainer.initialize()
    loader = trainer.get_dataloaders()[0].data_loader
    batch = loader.generate_train_batch()
    heads = [torch.randn(2, 4, *target.shape[2:]) for target in batch["target"]]
    assert trainer.loss(heads, batch["target"]) == trainer.loss.drawn(heads, batch["target"])
    mixed = trainer._reports(batch)
    with trainer.loss.reports(mixed):
        both = trainer.loss(heads, batch["target"])
    with trainer.loss.reports(type(mixed)(**{**vars(mixed), "scale": 0.0})):
        without = trainer.loss(heads, batch["target"])
    own = trainer.loss.drawn([head[1:] for head in heads], [target[1:] for target in batch["target"]])
    segmentation = trainer.loss.reported(
        softmax_log_odds(heads[0][:1], ((1, 3), (2,), (3,))), mixed.supervision, report_scale=0.0
    ).total
    assert without == pytest.approx(float(0.5 * own + 0.5 * segmentation), rel=1e-5)
    assert both != without or not any(pair.present for pair in mixed.supervision.pairs)


def test_reports_begin_after_the_warm_up(preprocessed, prepared):
    class Later(TinyTrainer):
        report_warmup, report_ramp = 0.5, 0.25

    trainer = trainer_of(preprocessed, Later)
    trainer.num_epochs = 20
    scales = []
    for trainer.current_epoch in range(20):
        scales.append(trainer.report_scale())
    assert scales == pytest.approx([0.0] * 10 + [0.2, 0.4, 0.6, 0.8] + [1.0] * 6)


def test_drawn_cases_whose_labels_deny_their_report_are_named(preprocessed, records, drawn, tmp_path):
    """A report of a tumour beside labels without one, and the other way round."""
    made = [json.loads(line) for line in records.read_text().splitlines()]
    by_case = {record["report_id"]: record for record in made}
    tumour = next(name for name in sorted(drawn) if by_case[name]["lesions"])
    normal = next(name for name in sorted(drawn) if not by_case[name]["lesions"])
    swapped = tmp_path / "swapped.jsonl"
    names = {tumour: normal, normal: tumour}
    text = [json.dumps(record | {"case_id": names.get(record["report_id"])}) for record in made]
    swapped.write_text("\n".join(text) + "\n")
    found = prepare_report_cases(preprocessed, swapped, drawn=drawn).findings
    assert found[normal] == {"pancreas_lesion": ("mask_denies_report",)}
    assert found[tumour] == {"pancreas_lesion": ("report_denies_mask",)}
    straight = prepare_report_cases(preprocessed, records, drawn=drawn)
    assert not set(straight.findings) & drawn


def test_organs_of_ones_own_reach_the_report_cases(preprocessed, records, drawn, tmp_path):
    table = tmp_path / "mine.yaml"
    table.write_text("organs: {islet: {synonyms: [islet of my own], structures: [islet]}}")
    anatomy = load_anatomy(table)
    named = {"pancreas": "islet", "pancreas_lesion": "islet_lesion"}
    record = extract_record(Report(report_id="x", text="A 2.5 cm mass in the pancreas."))
    lesion = record.lesions[0].model_copy(update={"organ": "islet"})
    mine = tmp_path / "mine.jsonl"
    report_cases = sorted(
        {json.loads(line)["report_id"] for line in records.read_text().splitlines()} - drawn
    )
    own = record.model_copy(update={"lesions": (lesion,), "case_id": report_cases[0]})
    mine.write_text(own.model_dump_json() + "\n")
    with pytest.raises(UsageError, match="unknown_channel"):
        prepare_report_cases(preprocessed, mine, drawn=drawn, structures=named)
    made = prepare_report_cases(preprocessed, mine, drawn=drawn, structures=named, anatomy=anatomy)
    assert made.states[report_cases[0]] == {"islet_lesion": "reported"}
    assert made.key(report_cases[0]).organ[made.channels.index("islet_lesion")] is not None
    prepare_report_cases(preprocessed, records, drawn=drawn)


def test_mistakes_are_named(preprocessed, prepared, records, drawn, tmp_path):
    with pytest.raises(DataError, match="drawn") as error:
        prepare_report_cases(preprocessed, records, drawn=set())
    assert error.value.code == "lesion_in_report_case"
    assert error.value.case_id in drawn
    with pytest.raises(UsageError, match="no_report_cases"):
        ReportCases.open(tmp_path, "nnUNetPlans_3d_fullres")
    with pytest.raises(UsageError, match="unknown_case"):
        prepare_report_cases(preprocessed, records, drawn={"nobody"})
    with pytest.raises(UsageError, match="no_lesion_class"):
        prepare_report_cases(preprocessed, records, drawn=drawn, structures={"pancreas_lesion": "tumour"})
    prepare_report_cases(preprocessed, records, drawn=drawn)


def test_the_guide_does_what_it_says(
    environment, preprocessed, prepared, records, drawn, monkeypatch, tmp_path
):
    """Its Python code runs as it stands, and nnU-Net finds the trainer of the example by its name."""
    [code] = re.findall(r"```python\n(.*?)```", (GUIDE / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(preprocessed, "nnUNet_preprocessed/Dataset501_Pancreas")
    (tmp_path / "extracted").mkdir()
    shutil.copy(records, "extracted/records.jsonl")
    (tmp_path / "drawn_cases.txt").write_text("\n".join(drawn))
    names = {}
    exec(code, names)
    assert names["cases"].states == prepared.states
    for name in ("ReportSupervisedTrainer", "ReportSupervisedTrainer250Epochs"):
        found = recursive_find_python_class(str(GUIDE), name, None, base_folder=str(GUIDE))
        assert issubclass(found, ReportSupervisedTrainer)
    assert trainer_of(preprocessed, found).report_warmup == 0.2
