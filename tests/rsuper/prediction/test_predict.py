"""Predictions lie where the lesion lies, on the CT's own grid, and nothing of anybody else is overwritten."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toy_data
from pydantic import BaseModel

from llm_extract.anatomy import load_anatomy
from rsuper.data.fingerprint import IntensityFingerprint
from rsuper.data.layout import Dataset
from rsuper.errors import DataError, RsuperError, UsageError
from rsuper.evaluation.prediction_folder import PredictionFolder
from rsuper.networks import NetworkConfig, build_network, own_tensors, save_weights
from rsuper.prediction.findings import read_findings
from rsuper.prediction.predict import load_model, predict
from rsuper.supervision import load_policy
from rsuper.volumes import read_mask, read_volume, same_grid

FACTORY = "toy_data:ThresholdNetwork"
INTENSITY = IntensityFingerprint(low_hu=-1000, high_hu=1000, mean_hu=0, std_hu=100)
PATCH = (16, 16, 16)


def write_model(path: Path, *, lesion_class: str = toy_data.LESION_CLASS, **changes) -> Path:
    network = NetworkConfig(name="custom", factory=FACTORY)
    prepared = {"spacing_mm": None, "roi_structures": [], "roi_margin_mm": 0.0} | changes
    save_weights(
        path,
        own_tensors(build_network(network, 2, factory=FACTORY)),
        metadata={
            "network": network.model_dump(mode="json"),
            "structures": ["pancreas"],
            "lesion_classes": [lesion_class],
            "intensity": INTENSITY.model_dump(),
            "prepared": prepared,
            "patch_size": list(PATCH),
            "thresholds": {lesion_class: 0.5},
        },
    )
    return path


@pytest.fixture
def model(tmp_path):
    return load_model(write_model(tmp_path / "model.safetensors"), network_factory=FACTORY)


def oriented(kind: str) -> np.ndarray:
    """Affines with the axes in another order, reversed, and voxels that are not cubes."""
    spacing = np.diag([1.5, 2.0, 3.0])
    turn = {
        "RAS": np.eye(3),
        "LPS": np.diag([-1.0, -1.0, 1.0]),
        "SAR": np.array([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]]),
        "AIL": np.array([[0.0, 0, -1], [1, 0, 0], [0, -1, 0]]),
    }[kind]
    affine = np.eye(4)
    affine[:3, :3] = turn @ spacing
    affine[:3, 3] = (-31.0, 17.5, 400.0)
    return affine


@pytest.mark.parametrize("resampled", [None, (2.0, 2.0, 2.0)])
@pytest.mark.parametrize("kind", ["RAS", "LPS", "SAR", "AIL"])
def test_masks_and_findings_lie_on_the_cts_own_grid(tmp_path, kind, resampled):
    affine = oriented(kind)
    case = toy_data.ToyCase(
        "ball", center=(14.3, 11.6, 8.4), radius_mm=9.0, shape=(30, 24, 18), affine=affine
    )
    root = toy_data.write_dataset(tmp_path / "data", [case])
    path = write_model(tmp_path / "model.safetensors", spacing_mm=resampled)
    model = load_model(path, network_factory=FACTORY)
    result = predict(model, root, tmp_path / "out", probabilities=True)
    assert result == {"done": 1, "failed": {}, "failures": []}
    ct = read_volume(root / "ball" / "ct.nii.gz")
    mask = read_mask(tmp_path / "out" / "ball" / "segmentations" / f"{toy_data.LESION_CLASS}.nii.gz")
    probability = read_volume(tmp_path / "out" / "ball" / "probabilities" / f"{toy_data.LESION_CLASS}.nii.gz")
    assert same_grid(mask, ct)
    assert same_grid(probability, ct)
    _, _, lesion, _ = toy_data.volumes(case)
    if resampled is None:
        inside = lesion & mask.array.astype(bool)
        assert inside.sum() == lesion.sum()
    largest = max(read_findings(tmp_path / "out" / "ball").lesions, key=lambda item: item.volume_mm3)
    centre = np.argwhere(lesion).mean(axis=0)
    assert np.abs(np.array(largest.centre_voxel) - centre).max() <= 0.5
    world = affine[:3, :3] @ centre + affine[:3, 3]
    assert np.abs(np.array(largest.centre_mm) - world).max() <= 0.5 * 3.0
    tolerance = 0.02 if resampled is None else 0.35  # a shell of one voxel is half-way in brightness
    assert largest.volume_mm3 == pytest.approx(lesion.sum() * 9.0, rel=tolerance)
    assert largest.mean_hu == pytest.approx(20.0, abs=12.0)
    assert probability.array.max() <= 1.0


def test_the_box_around_the_organ_comes_from_masks_or_from_a_first_pass(tmp_path):
    case = toy_data.ToyCase("ball", shape=(30, 28, 24))
    root = toy_data.write_dataset(tmp_path / "data", [case])
    ct, organ, lesion, _ = toy_data.volumes(case)
    path = write_model(tmp_path / "model.safetensors", roi_structures=["pancreas"], roi_margin_mm=4.0)
    model = load_model(path, network_factory=FACTORY)
    predict(model, root, tmp_path / "masks", probabilities=True)
    predict(model, root / "ball" / "ct.nii.gz", tmp_path / "alone", probabilities=True)
    for out in ("masks", "alone"):
        name = f"{toy_data.LESION_CLASS}.nii.gz"
        found = read_mask(tmp_path / out / "ball" / "segmentations" / name).array.astype(bool)
        assert np.array_equal(found & lesion, lesion)
        probability = read_volume(tmp_path / out / "ball" / "probabilities" / name).array
        hit = np.argwhere(organ)
        outside = np.ones(ct.shape, dtype=bool)
        outside[tuple(slice(a - 2, b + 3) for a, b in zip(hit.min(axis=0), hit.max(axis=0), strict=True))] = (
            False
        )
        assert not probability[outside].any()
        assert read_findings(tmp_path / out / "ball").lesions[0].organ == "pancreas"


def rows(out):
    with (out / "predictions.csv").open(newline="") as handle:
        return {row["case_id"]: row for row in csv.DictReader(handle)}


def times(out):
    return {path.parent.name: path.stat().st_mtime_ns for path in out.glob("*/case.json")}


@pytest.fixture
def dataset(toy_dataset, tmp_path):
    return shutil.copytree(toy_dataset, tmp_path / "dataset")


def test_finished_cases_are_kept_until_something_they_depend_on_changes(dataset, model, tmp_path):
    out = tmp_path / "out"
    predict(model, dataset, out, cases=["case_0"])
    before = times(out)
    predict(model, dataset, out, cases=["case_0", "case_1"])
    assert times(out)["case_0"] == before["case_0"]
    assert set(rows(out)) == {"case_0", "case_1"}  # one table of all that is there
    predict(model, dataset, out, cases=["case_1"])
    assert set(rows(out)) == {"case_0", "case_1"}
    before = times(out)
    predict(model, dataset, out, cases=["case_0"], probabilities=True)
    assert times(out)["case_0"] != before["case_0"]
    before = times(out)
    predict(replace(model, thresholds={toy_data.LESION_CLASS: 0.3}), dataset, out, cases=["case_0"])
    assert times(out)["case_0"] != before["case_0"]
    before = times(out)
    path = dataset / "case_0" / "ct.nii.gz"
    shutil.copyfile(dataset / "case_3" / "ct.nii.gz", path)
    predict(replace(model, thresholds={toy_data.LESION_CLASS: 0.3}), dataset, out, cases=["case_0"])
    assert times(out)["case_0"] != before["case_0"]


def test_a_killed_run_leaves_no_half_case(dataset, model, tmp_path, monkeypatch):
    import rsuper.prediction.predict as module

    def killed(*_args, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "find_lesions", killed)
        with pytest.raises(KeyboardInterrupt):
            predict(model, dataset, tmp_path / "out", cases=["case_0"])
    assert not (tmp_path / "out" / "case_0").exists()
    assert predict(model, dataset, tmp_path / "out", cases=["case_0"])["done"] == 1
    assert not list((tmp_path / "out").glob(".*"))


def test_a_broken_case_is_a_coded_row_and_leaves_no_old_result(dataset, model, tmp_path):
    out = tmp_path / "out"
    wanted = ["case_0", "case_1", "case_2"]
    predict(model, dataset, out, cases=wanted)
    path = dataset / "case_1" / "ct.nii.gz"
    path.write_bytes(path.read_bytes()[:-300])
    result = predict(model, dataset, out, cases=wanted)
    assert result["done"] == 2
    assert set(result["failed"]) == {"case_1"}
    assert result["failures"][0]["message"]
    table = rows(out)
    assert [table[name]["status"] for name in wanted] == ["done", "failed", "done"]
    assert table["case_1"]["code"] == result["failed"]["case_1"]
    assert table["case_1"][f"{toy_data.LESION_CLASS}_score"] == ""
    assert not (out / "case_1").exists()


def test_an_unexpected_error_stays_with_its_case(dataset, model, tmp_path, monkeypatch):
    import rsuper.prediction.predict as module

    real = module.predict_volume

    def explode(model, ct, *, organ_masks):
        if not organ_masks["pancreas"].any():
            raise ZeroDivisionError
        return real(model, ct, organ_masks=organ_masks)

    monkeypatch.setattr(module, "predict_volume", explode)
    mask = dataset / "case_1" / "segmentations" / "pancreas.nii.gz"
    volume = read_mask(mask)
    from rsuper.volumes import write_volume

    write_volume(mask, volume.with_array(np.zeros(volume.shape, dtype=np.uint8)))
    result = predict(model, dataset, tmp_path / "out", cases=["case_0", "case_1"])
    assert result["failed"] == {"case_1": "predict_failed"}


@pytest.mark.parametrize("kind", ["dataset", "no_table", "ct_folder", "parent", "foreign"])
def test_folders_that_hold_inputs_are_refused_untouched(dataset, model, tmp_path, kind):
    source: Path = dataset
    out = dataset
    if kind == "no_table":
        (dataset / "cases.csv").unlink()
    elif kind == "ct_folder":
        source = dataset / "case_0" / "ct.nii.gz"
        out = dataset / "case_0"
    elif kind == "parent":
        out = tmp_path
    elif kind == "foreign":
        out = shutil.copytree(dataset, tmp_path / "copy")
        (out / "cases.csv").unlink()
    before = sorted(out.rglob("*"))
    with pytest.raises(UsageError) as caught:
        predict(model, source, out)
    assert (caught.value.code, caught.value.exit_code) == ("output_holds_inputs", 2)
    assert sorted(out.rglob("*")) == before
    if kind == "foreign":
        (out / "predictions.json").write_text("{}")  # not even if it calls itself predictions
        with pytest.raises(UsageError):
            predict(model, source, out)


def test_predictions_are_never_taken_for_labels(dataset, model, tmp_path):
    predict(model, dataset, tmp_path / "out", cases=["case_0"])
    with pytest.raises(DataError) as caught:
        Dataset.open(tmp_path / "out")
    assert caught.value.code == "predictions_as_labels"


@pytest.mark.parametrize("name", ["bad name!.nii.gz", ".hidden.nii.gz"])
def test_a_file_name_that_is_no_case_id_is_refused(dataset, model, tmp_path, name):
    path = tmp_path / name
    shutil.copyfile(dataset / "case_0" / "ct.nii.gz", path)
    with pytest.raises(RsuperError) as caught:
        predict(model, path, tmp_path / "out")
    assert caught.value.code == "invalid_case_id"


def test_weights_cannot_choose_what_code_runs(tmp_path):
    path = write_model(tmp_path / "model.safetensors")
    for given in (None, "os:getcwd"):
        with pytest.raises(UsageError) as caught:
            load_model(path, network_factory=given)
        assert caught.value.code == "network_not_given"
        assert FACTORY in str(caught.value)


def test_a_file_without_description_is_named(tmp_path, model):
    path = tmp_path / "bare.safetensors"
    save_weights(path, own_tensors(model.network), metadata={"step": 3})
    with pytest.raises(DataError) as caught:
        load_model(path)
    assert caught.value.code == "weights_broken"
    with pytest.raises(UsageError) as caught:
        load_model(tmp_path / "nowhere")
    assert caught.value.code == "no_model"


def test_the_mark_says_which_model_wrote_the_folder(dataset, model, tmp_path):
    predict(model, dataset, tmp_path / "out", cases=["case_0"])
    mark = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert mark["model_sha256"] == model.sha256
    assert mark["policy"] is None


def test_the_mark_says_which_reported_lesions_the_network_was_trained_to_find(dataset, tmp_path):
    policy = load_policy("malignant")
    path = write_model(tmp_path / "model.safetensors", policy=policy.model_dump(mode="json"))
    predict(load_model(path, network_factory=FACTORY), dataset, tmp_path / "out", cases=["case_0"])
    assert PredictionFolder(tmp_path / "out").policy == policy
    assert issubclass(type(read_findings(tmp_path / "out" / "case_0")), BaseModel)


OWN_ORGANS = "organs: {thymus: {synonyms: [thymus], structures: [pancreas]}}"


def test_organs_of_ones_own_are_predicted_and_said(dataset, tmp_path):
    """The table goes from the network's training into its findings and into the mark of the folder."""
    (tmp_path / "mine.yaml").write_text(OWN_ORGANS)
    anatomy = load_anatomy(tmp_path / "mine.yaml")
    path = write_model(
        tmp_path / "model.safetensors",
        lesion_class="thymus_lesion",
        anatomy=anatomy.model_dump(mode="json"),
    )
    result = predict(load_model(path, network_factory=FACTORY), dataset, tmp_path / "out", cases=["case_0"])
    assert result["failed"] == {}
    assert PredictionFolder(tmp_path / "out").anatomy == anatomy
    findings = read_findings(tmp_path / "out" / "case_0").lesions
    assert {(item.class_name, item.organ) for item in findings} == {("thymus_lesion", "thymus")}


def test_a_table_of_organs_of_another_version_is_refused(tmp_path):
    path = write_model(tmp_path / "model.safetensors", anatomy={"organs": {"thymus": {"odd": 1}}})
    with pytest.raises(DataError, match="anatomy_unreadable"):
        load_model(path, network_factory=FACTORY)


def test_a_class_that_a_policy_makes_is_predicted(dataset, tmp_path):
    path = write_model(tmp_path / "model.safetensors", lesion_class="pancreas_cyst_lesion")
    result = predict(load_model(path, network_factory=FACTORY), dataset, tmp_path / "out", cases=["case_0"])
    assert result["failed"] == {}
    findings = read_findings(tmp_path / "out" / "case_0").lesions
    assert {(item.class_name, item.organ) for item in findings} == {("pancreas_cyst_lesion", "pancreas")}
