"""Prepare: resumable, exact about what changed, one bad case stays its own, volumes keep their size."""

from __future__ import annotations

import gzip
import shutil

import numpy as np
import pytest
import toy_data

import rsuper.data.prepare as module
from rsuper.data.classes import suggest_classes
from rsuper.data.layout import Dataset
from rsuper.data.prepare import PrepareConfig, PreparedDataset, prepare
from rsuper.errors import DataError, ResourceError, UsageError
from rsuper.volumes import Volume, read_volume, write_volume

CONFIG = PrepareConfig(
    lesion_classes=(toy_data.LESION_CLASS,), structures=("pancreas",), margins_mm={"pancreas": 0.0}
)


@pytest.fixture
def dataset(toy_dataset, tmp_path):
    return shutil.copytree(toy_dataset, tmp_path / "dataset")


def stamps(out):
    return {
        path.parent.name: path.stat().st_mtime_ns for path in out.glob("*/case.json") if path.parent.is_dir()
    }


def test_states_masks_and_image_of_each_case(toy_prepared):
    states = [case.state(toy_data.LESION_CLASS) for case in toy_prepared.cases]
    assert states == ["voxels", "reported", "absent", "voxels", "reported", "unknown", "voxels", "absent"]
    assert [case.split for case in toy_prepared.cases] == ["train"] * 6 + ["val"] * 2
    for case, toy in zip(toy_prepared.cases, toy_data.standard_cases(), strict=True):
        ct, organ, lesion, affine = toy_data.volumes(toy)
        assert np.array_equal(case.image(), ct)
        assert np.array_equal(case.mask("structure:pancreas"), organ)
        assert np.array_equal(case.affine, affine)
        if toy.kind == "masked":
            assert np.array_equal(case.mask(f"label:{toy_data.LESION_CLASS}"), lesion)
        if toy.kind == "reported":
            target = case.case_targets().classes[toy_data.LESION_CLASS]
            assert np.array_equal(target.region, organ)
            assert target.lesions[0].diameters_mm == (12.0, 12.0)


def test_the_second_time_nothing_is_written(dataset, tmp_path):
    out = tmp_path / "out"
    prepare(Dataset.open(dataset), out, config=CONFIG)
    before = stamps(out)
    again = prepare(Dataset.open(dataset), out, config=CONFIG)
    assert stamps(out) == before
    assert len(again.cases) == 8


@pytest.mark.parametrize("change", ["record", "mask", "split"])
def test_only_what_changed_is_made_again(dataset, tmp_path, change):
    out = tmp_path / "out"
    prepare(Dataset.open(dataset), out, config=CONFIG)
    before = stamps(out)
    if change == "record":
        path = dataset / "records.jsonl"
        lines = [
            line.replace("12.0", "14.0") if '"case_1"' in line else line
            for line in path.read_text().splitlines()
        ]
        path.write_text("\n".join(lines) + "\n")
        touched = {"case_1"}
    elif change == "mask":
        ct = read_volume(dataset / "case_3" / "ct.nii.gz")
        write_volume(
            dataset / "case_3" / "segmentations" / "pancreas.nii.gz",
            ct.with_array(np.ones(ct.shape, dtype=np.uint8)),
        )
        touched = {"case_3"}
    else:
        path = dataset / "cases.csv"
        path.write_text(path.read_text().replace("case_2,case_2,train", "case_2,case_2,val"))
        touched = {"case_2"}
    prepare(Dataset.open(dataset), out, config=CONFIG)
    after = stamps(out)
    assert {name for name in after if after[name] != before[name]} == touched


def test_other_settings_make_every_case_again_and_an_interrupted_change_is_no_dataset(
    dataset, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    prepare(Dataset.open(dataset), out, config=CONFIG)
    other = CONFIG.model_copy(update={"hu_window": (-500, 300)})

    def stop(*_args, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_case", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare(Dataset.open(dataset), out, config=other)
    with pytest.raises(DataError, match="not a prepared dataset"):
        PreparedDataset.open(out)
    assert prepare(Dataset.open(dataset), out, config=other).cases[0].image().min() >= -500


@pytest.mark.parametrize("what", ["tables", "rules"])
def test_new_tables_and_rules_of_the_package_make_every_case_again(dataset, tmp_path, monkeypatch, what):
    """An upgrade that calibrates sizes or places lesions anew must not train on targets of before."""
    out = tmp_path / "out"
    prepare(Dataset.open(dataset), out, config=CONFIG)
    before = stamps(out)
    if what == "tables":
        monkeypatch.setattr(module, "_tables_sha256", lambda: "other tables")
    else:
        monkeypatch.setattr(module, "TARGET_RULES", module.TARGET_RULES + 1)
    prepare(Dataset.open(dataset), out, config=CONFIG)
    after = stamps(out)
    assert before.keys() == after.keys()
    assert all(after[name] != before[name] for name in before)


def test_a_killed_prepare_goes_on_where_it_stopped(dataset, tmp_path, monkeypatch):
    out = tmp_path / "out"
    real, calls = module.write_case, []

    def die_at_the_fourth(folder, **kwargs):
        calls.append(folder)
        real(folder, **kwargs)
        if len(calls) == 4:
            (folder / "case.json").write_text("half")
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_case", die_at_the_fourth)
        with pytest.raises(KeyboardInterrupt):
            prepare(Dataset.open(dataset), out, config=CONFIG)
    before = stamps(out)
    done = {name for name in before if not name.startswith(".")}
    assert len(done) == 3
    result = prepare(Dataset.open(dataset), out, config=CONFIG)
    assert not result.failures
    assert {name: stamps(out)[name] for name in done} == {name: before[name] for name in done}
    assert not list(out.glob(".*"))


def break_case(root, kind):
    folder = root / "case_1"
    ct = read_volume(folder / "ct.nii.gz")
    mask = folder / "segmentations" / "pancreas.nii.gz"
    if kind == "missing_organ_mask":
        mask.unlink()
    elif kind == "truncated":
        path = folder / "ct.nii.gz"
        path.write_bytes(path.read_bytes()[:-400])
    elif kind == "nan":
        array = ct.array.astype(np.float32)
        array[3, 4, 5] = np.nan
        import nibabel

        nibabel.save(nibabel.Nifti1Image(array, ct.affine), folder / "ct.nii.gz")
    elif kind == "grid_shape":
        write_volume(mask, Volume(np.ones((5, 5, 5), dtype=np.uint8), ct.affine))
    elif kind == "grid_affine":
        shifted = ct.affine.copy()
        shifted[0, 3] += 3.0
        write_volume(mask, Volume(np.ones(ct.shape, dtype=np.uint8), shifted))
    elif kind == "garbage":
        (folder / "ct.nii.gz").write_bytes(gzip.compress(b"not a volume" * 50))
    elif kind == "no_ct":
        (folder / "ct.nii.gz").unlink()


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("missing_organ_mask", "missing_organ_mask"),
        ("truncated", None),
        ("nan", None),
        ("grid_shape", "grid_mismatch"),
        ("grid_affine", "grid_mismatch"),
        ("garbage", None),
        ("no_ct", "ct_missing"),
    ],
)
def test_one_bad_case_is_named_and_the_others_are_done(dataset, tmp_path, kind, code):
    break_case(dataset, kind)
    result = prepare(Dataset.open(dataset), tmp_path / "out", config=CONFIG)
    assert [item.case_id for item in result.failures] == ["case_1"]
    failure = result.failures[0]
    assert failure.code not in {"prepare_failed", "file_error"}
    assert code is None or failure.code == code
    assert failure.message
    assert len(result.cases) == 7
    assert result.failed == PreparedDataset.open(tmp_path / "out").failed == (("case_1", failure.code),)


def test_an_unexpected_error_stays_with_its_case(dataset, tmp_path, monkeypatch):
    real = module.build_case_targets

    def explode(records, organs, *, case_id, **kwargs):
        if case_id == "case_4":
            raise ZeroDivisionError("a secret")
        return real(records, organs, case_id=case_id, **kwargs)

    monkeypatch.setattr(module, "build_case_targets", explode)
    result = prepare(Dataset.open(dataset), tmp_path / "out", config=CONFIG)
    assert result.failed == (("case_4", "prepare_failed"),)
    assert "secret" not in result.failures[0].message


def test_a_full_disk_stops_the_run_as_a_resource_error(dataset, tmp_path, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "publish_folder", full)
    with pytest.raises(ResourceError) as caught:
        prepare(Dataset.open(dataset), tmp_path / "out", config=CONFIG)
    assert (caught.value.code, caught.value.exit_code) == ("disk_full", 5)


def test_nothing_prepared_is_an_error(dataset, tmp_path):
    config = CONFIG.model_copy(update={"structures": ("spleen",)})
    with pytest.raises(DataError, match="missing_organ_mask") as caught:
        prepare(Dataset.open(dataset), tmp_path / "out", config=config)
    assert caught.value.code == "nothing_prepared"


def test_unknown_case_ids_are_refused(dataset, tmp_path):
    with pytest.raises(DataError) as caught:
        prepare(Dataset.open(dataset), tmp_path / "out", config=CONFIG, cases=["nobody"])
    assert caught.value.code == "unknown_case"


@pytest.mark.parametrize("where", ["the dataset itself", "a copy without cases.csv"])
def test_inputs_are_never_overwritten(dataset, tmp_path, where):
    out = dataset
    if where != "the dataset itself":
        out = shutil.copytree(dataset, tmp_path / "copy")
        (out / "cases.csv").unlink()
    before = sorted(path.relative_to(out) for path in out.rglob("*"))
    with pytest.raises(UsageError) as caught:
        prepare(Dataset.open(dataset), out, config=CONFIG)
    assert caught.value.code == "output_holds_inputs"
    assert sorted(path.relative_to(out) for path in out.rglob("*")) == before


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (1.5, 1.5, 2.5), (3.0, 2.0, 2.0)])
def test_a_new_spacing_keeps_volume_and_place(tmp_path, spacing_mm):
    toy = toy_data.ToyCase("ball", center=(12.3, 14.2, 9.7), radius_mm=10.0, shape=(34, 36, 30))
    root = toy_data.write_dataset(tmp_path / "dataset", [toy])
    config = CONFIG.model_copy(update={"spacing_mm": spacing_mm})
    case = prepare(Dataset.open(root), tmp_path / "out", config=config).cases[0]
    assert case.spacing_mm == pytest.approx(spacing_mm)
    _, organ, lesion, affine = toy_data.volumes(toy)
    for name, before in (("structure:pancreas", organ), (f"label:{toy_data.LESION_CLASS}", lesion)):
        after = case.mask(name)
        volume = after.sum() * np.prod(spacing_mm)
        assert volume == pytest.approx(before.sum() * 8.0, rel=0.02)
        there = case.affine[:3, :3] @ np.argwhere(after).mean(axis=0) + case.affine[:3, 3]
        here = affine[:3, :3] @ np.argwhere(before).mean(axis=0) + affine[:3, 3]
        assert np.abs(there - here).max() < 0.5 * min(spacing_mm)


def test_the_box_holds_the_organ_and_its_margin_and_knows_where_it_is(toy_dataset, tmp_path):
    config = CONFIG.model_copy(update={"roi_structures": ("pancreas",), "roi_margin_mm": 3.0})
    result = prepare(Dataset.open(toy_dataset), tmp_path / "out", config=config, cases=["case_0"])
    case = result.cases[0]
    ct, organ, _, affine = toy_data.volumes(toy_data.standard_cases()[0])
    hit = np.argwhere(organ)
    low = np.maximum(hit.min(axis=0) - 2, 0)  # 3 mm are two voxels of 2 mm, rounded up
    high = np.minimum(hit.max(axis=0) + 3, ct.shape)
    assert case.shape == tuple(high - low)
    assert np.array_equal(case.image(), ct[tuple(slice(a, b) for a, b in zip(low, high, strict=True))])
    assert np.allclose(case.affine @ [0, 0, 0, 1], affine @ [*low, 1])


def test_a_box_without_its_organ_is_a_failure_not_a_whole_volume(dataset, tmp_path):
    ct = read_volume(dataset / "case_1" / "ct.nii.gz")
    write_volume(
        dataset / "case_1" / "segmentations" / "pancreas.nii.gz",
        ct.with_array(np.zeros(ct.shape, dtype=np.uint8)),
    )
    config = CONFIG.model_copy(update={"roi_structures": ("pancreas",)})
    result = prepare(Dataset.open(dataset), tmp_path / "out", config=config)
    assert result.failed == (("case_1", "empty_organ_mask"),)


def test_orientation_does_not_matter(tmp_path):
    flipped = np.array([[-2.0, 0, 0, 40.0], [0, 0, 2.0, -5.0], [0, -2.0, 0, 7.0], [0, 0, 0, 1.0]])
    root = toy_data.write_dataset(tmp_path / "dataset", [toy_data.ToyCase("lpi", affine=flipped)])
    case = prepare(Dataset.open(root), tmp_path / "out", config=CONFIG).cases[0]
    ct, _, lesion, _ = toy_data.volumes(toy_data.ToyCase("lpi", affine=flipped))
    canonical = np.flip(np.transpose(ct, (0, 2, 1)), (0, 2))
    assert np.array_equal(case.image(), canonical)
    centre = flipped[:3, :3] @ np.argwhere(lesion).mean(axis=0) + flipped[:3, 3]
    found = case.affine[:3, :3] @ np.argwhere(case.mask(f"label:{toy_data.LESION_CLASS}")).mean(axis=0)
    assert np.allclose(found + case.affine[:3, 3], centre)


def test_reference_masks_are_kept_apart_from_labels(dataset, tmp_path):
    toy = toy_data.standard_cases()[1]
    _, _, lesion, affine = toy_data.volumes(toy)
    (tmp_path / "reference" / toy.case_id).mkdir(parents=True)
    write_volume(
        tmp_path / "reference" / toy.case_id / f"{toy_data.LESION_CLASS}.nii.gz",
        Volume(lesion.astype(np.uint8), affine),
    )
    result = prepare(Dataset.open(dataset), tmp_path / "out", config=CONFIG, reference=tmp_path / "reference")
    case = next(case for case in result.cases if case.case_id == toy.case_id)
    assert np.array_equal(case.mask(f"reference:{toy_data.LESION_CLASS}"), lesion)
    assert case.state(toy_data.LESION_CLASS) == "reported"
    assert f"label:{toy_data.LESION_CLASS}" not in case.channels


def test_classes_are_suggested_from_the_masks(toy_dataset, tmp_path):
    opened = Dataset.open(toy_dataset)
    assert suggest_classes(opened) == ((toy_data.LESION_CLASS,), ("pancreas",))
    assert suggest_classes(opened, ("liver_lesion",), ()) == (("liver_lesion",), ())
    root = toy_data.write_dataset(tmp_path / "unlabelled", [toy_data.ToyCase("a", "reported")])
    with pytest.raises(UsageError) as caught:
        suggest_classes(Dataset.open(root))
    assert caught.value.code == "missing_argument"


@pytest.mark.parametrize("name", ["pancreas_leison", "pancreatic_lesion", "pancreas", "Pancreas_Lesion"])
def test_a_misspelt_class_is_named_with_the_nearest_one(toy_dataset, name):
    with pytest.raises(UsageError) as caught:
        suggest_classes(Dataset.open(toy_dataset), (name,))
    assert caught.value.code == "unknown_lesion_class"
    assert "pancreas_lesion" in caught.value.hint
