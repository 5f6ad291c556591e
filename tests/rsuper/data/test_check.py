"""The dataset check: every constructed fault has its code, the other cases are checked all the same."""

import csv
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from llm_extract.anatomy import load_anatomy
from rsuper.data.check import check_dataset
from rsuper.errors import DataError, UsageError
from rsuper.volumes import Volume, read_mask, read_volume, to_canonical, write_volume

AFFINE = np.diag([3.0, 3.0, 4.0, 1.0])
WALL = ((0, 36), (0, 1), (0, 24))


def found(report, case_id=None, severity=None):
    return sorted(
        issue.code
        for issue in report.issues
        if (case_id is None or issue.case_id == case_id) and severity in (None, issue.severity)
    )


@pytest.fixture
def root(cohort, lesion):
    """Four sound cases."""
    for number in range(4):
        cohort.add(f"c{number}", lesions=[lesion("liver", 20.0 + number)])
    return cohort.finish()


def test_a_sound_dataset_has_nothing_to_say(root):
    report = check_dataset(root)
    assert report.issues == ()
    assert report.exit_code == 0
    assert report.usable_case_ids == ("c0", "c1", "c2", "c3")


def change_ct(root, case_id, change):
    path = root / case_id / "ct.nii.gz"
    volume = read_volume(path)
    write_volume(path, volume.with_array(change(volume.array.astype(np.float32))))


def with_nan(hu):
    hu[3, 4, 5] = np.nan
    return hu


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (with_nan, "nonfinite_voxels"),
        (lambda hu: hu * 0 - 7, "constant_volume"),
        (lambda hu: np.abs(hu) * 3 + 1, "hu_offset"),
        (lambda hu: hu / 1000, "hu_normalised"),
    ],
)
def test_broken_values_of_one_ct(root, change, code):
    change_ct(root, "c1", change)
    report = check_dataset(root)
    assert found(report) == [code]
    assert found(report, "c1", "error") == [code]
    assert report.exit_code == 4
    assert report.usable_case_ids == ("c0", "c2", "c3")
    assert all(issue.hint for issue in report.issues)


def test_truncated_missing_and_foreign_files(root):
    path = root / "c0" / "ct.nii.gz"
    path.write_bytes(path.read_bytes()[:-500])
    (root / "c1" / "ct.nii.gz").unlink()
    (root / "c2" / "segmentations" / "spleen.nii.gz").write_bytes(b"not an image")
    report = check_dataset(root)
    assert [found(report, f"c{n}") for n in range(4)] == [
        ["truncated_file"],
        ["ct_missing"],
        ["not_nifti"],
        [],
    ]
    assert [issue.structure for issue in report.issues if issue.case_id == "c2"] == ["spleen"]


def test_grids_that_disagree_are_errors(root, cohort, mask_box):
    shifted = AFFINE.copy()
    shifted[2, 3] = 4.0
    cohort.write_mask("c0", "liver", mask_box(((22, 34), (8, 24), (8, 20))), affine=shifted)
    cohort.write_mask("c1", "spleen", np.ones((36, 30, 23), bool))
    report = check_dataset(root)
    assert found(report, severity="error") == ["grid_mismatch", "grid_mismatch"]
    assert "4.00 mm" in next(issue.message for issue in report.issues if issue.case_id == "c0")


def test_the_same_grid_in_another_axis_order_is_fine(root):
    path = root / "c0" / "segmentations" / "liver.nii.gz"
    mask = read_mask(path)
    flipped = mask.affine.copy()
    flipped[:3, 1] *= -1
    flipped[1, 3] = mask.affine[1, 1] * (mask.shape[1] - 1)
    write_volume(path, Volume(mask.array[:, ::-1], flipped))
    assert check_dataset(root).issues == ()


def test_a_mirrored_case(root):
    folder = root / "c2" / "segmentations"
    for path in folder.iterdir():
        mask = to_canonical(read_mask(path))
        write_volume(path, mask.with_array(mask.array[::-1]))
    report = check_dataset(root)
    assert "left_right_swapped" in found(report, "c2", "error")
    assert "organs_mirrored" in found(report, "c2", "warning")


def test_missing_organ_masks(cohort, lesion):
    cohort.add("a", lesions=[lesion("liver", 20.0)]).add("b", lesions=[lesion("kidney", 20.0)])
    root = cohort.add("c").add("d").add("e").finish()
    (root / "a" / "segmentations" / "liver.nii.gz").unlink()
    (root / "b" / "segmentations" / "liver.nii.gz").unlink()
    report = check_dataset(root)
    assert found(report, "a", "error") == ["missing_organ_mask"]
    assert found(report, "b") == ["missing_organ_mask"]
    assert found(report, "b", "error") == []
    assert found(report, "c") == []
    assert found(check_dataset(root, required=["duodenum"]), "c", "error") == ["missing_organ_mask"]


def test_a_lesion_that_the_policy_drops_asks_for_no_mask(cohort, lesion):
    cohort.add("a").add("b", lesions=[lesion("liver", 20.0, change="resolved")])
    root = cohort.finish()
    (root / "b" / "segmentations" / "liver.nii.gz").unlink()
    assert found(check_dataset(root), "b", "error") == []


def test_a_misspelt_organ_of_a_policy_is_refused(root, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("presets: {only: [{organ: [livr], then: ignore}, {then: count}]}")
    with pytest.raises(UsageError, match="did you mean liver"):
        check_dataset(root, policy=str(path))


def test_an_organ_that_nobody_segmented_is_said_once(cohort, lesion):
    root = (
        cohort.add("a", lesions=[lesion("uterus", 20.0)]).add("b", lesions=[lesion("uterus", 30.0)]).finish()
    )
    report = check_dataset(root)
    assert found(report) == ["organ_not_segmented"]
    assert report.issues[0].message.startswith("2 cases")


def test_reports_without_case_and_cases_without_report(root, record):
    with (root / "records.jsonl").open("a") as file:
        file.write(record("lost").model_dump_json() + "\n")
    rows = [json.loads(line) for line in (root / "reports.jsonl").read_text().splitlines()]
    (root / "reports.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows if row["id"] != "c3"))
    lines = (root / "records.jsonl").read_text().splitlines(keepends=True)
    (root / "records.jsonl").write_text("".join(line for line in lines if '"c3"' not in line))
    report = check_dataset(root)
    assert found(report) == ["ct_without_report", "record_without_case"]
    assert found(report, "c3") == ["ct_without_report"]
    assert report.exit_code == 0


def test_reports_that_were_never_extracted_and_records_that_failed(root, record):
    lines = (root / "records.jsonl").read_text().splitlines(keepends=True)
    failed = record("c1", status="failed").model_dump_json() + "\n"
    (root / "records.jsonl").write_text("".join([lines[0], failed, lines[2]]))
    report = check_dataset(root)
    assert found(report, "c1") == ["record_failed"]
    assert found(report, "c3") == ["report_without_record"]


def test_twins(cohort, lesion):
    text = "Liver:  a 2 cm mass in segment 6."
    cohort.add("a", text=text, seed=5).add("b", text=text.upper().replace("  ", "\n"), split="test", seed=5)
    cohort.add("c", split="test").add("d", patient_id="p-a", split="test")
    root = cohort.finish()
    change_ct(root, "b", lambda hu: hu)  # the same voxels as float32
    flipped = to_canonical(read_volume(root / "b" / "ct.nii.gz"))
    affine = flipped.affine.copy()
    affine[:3, 0] *= -1
    affine[0, 3] = flipped.affine[0, 0] * (flipped.shape[0] - 1)
    write_volume(root / "b" / "ct.nii.gz", Volume(flipped.array[::-1], affine))
    report = check_dataset(root)
    assert found(report, "a") == ["duplicate_image", "duplicate_report", "patient_across_splits"]
    assert found(report, "b") == ["duplicate_image", "duplicate_report"]
    assert found(report, "c") == []
    assert found(report, "d") == ["patient_across_splits"]
    assert report.usable_case_ids == ("c",)


@pytest.mark.parametrize(
    ("fields", "codes"),
    [
        (
            {"organ": "pancreas", "size": (150.0,)},
            {"size_above_organ_extent", "volume_above_region", "size_slip_tenfold"},
        ),
        ({"organ": "liver", "size": (0.4,)}, {"size_slip_tenfold"}),
        ({"organ": "pancreas", "size": (20.0,), "parts": ("pancreas_tail",)}, {"part_mask_missing"}),
        ({"organ": "kidney", "size": (20.0,), "laterality": "left"}, set()),
    ],
)
def test_reports_against_organs(cohort, lesion, fields, codes):
    size, organ = fields.pop("size"), fields.pop("organ")
    root = cohort.add("a", lesions=[lesion(organ, *size, **fields)]).add("b").finish()
    report = check_dataset(root)
    assert set(found(report, "a")) >= codes
    assert found(report, "a", "error") == []
    assert found(report, "b") == []
    if not codes:
        assert report.issues == ()


def test_a_side_without_its_organ(cohort, lesion, mask_box):
    cohort.add("a", lesions=[lesion("kidney", 20.0, laterality="left")]).add("b")
    root = cohort.finish()
    cohort.write_mask("a", "kidney_left", np.zeros((36, 30, 24), bool))
    report = check_dataset(root)
    assert {"empty_mask", "side_without_organ"} <= set(found(report, "a"))


def test_masks_against_reports(cohort, lesion, mask_box):
    tumour = mask_box(((24, 28), (10, 14), (10, 12)))
    cohort.add("a", organs={"liver": "explicitly_lesion_free"}).add("b", lesions=[lesion("liver", 20.0)])
    cohort.add("c", lesions=[lesion("liver", 12.0)]).add("d", lesions=[lesion("pancreas", 12.0)])
    root = cohort.finish()
    cohort.write_mask("a", "liver_lesion", tumour)
    cohort.write_mask("b", "liver_lesion", tumour & False)
    cohort.write_mask("c", "liver_lesion", tumour)
    cohort.write_mask("d", "pancreas_lesion", mask_box(((1, 3), (25, 28), (1, 3))))
    report = check_dataset(root)
    assert [found(report, case_id) for case_id in "abcd"] == [
        ["report_denies_mask"],
        ["mask_denies_report"],
        [],
        ["lesion_outside_organ"],
    ]


def test_figures_and_advice_are_those_of_the_policy(cohort, lesion, mask_box, tmp_path):
    """A region that stops at a neighbour's surface is too small for the lesion; one that enters it holds it."""
    large = lesion("pancreas", 30.0, 26.0, 26.0)
    root = cohort.add("a", lesions=[large, lesion("stomach", 20.0)]).finish()
    around = mask_box(((2, 34), (2, 28), (2, 22)))
    cohort.write_mask("a", "stomach", around & ~mask_box(((12, 22), (14, 18), (10, 14))))
    policy = tmp_path / "policies.yaml"
    policy.write_text(
        "presets:\n"
        "  deep: {rules: [{then: count}], interior_mm: 90}\n"
        "  trusting: {rules: [{then: count}], inconsistent_weight: 0.25}\n"
    )

    def too_large(name):
        report = check_dataset(root, policy=name)
        return [issue for issue in report.issues if issue.code == "volume_above_region"]

    (issue,) = too_large("tumours")
    assert issue.message.endswith("limit 5760 mm³")
    assert "stays out of the loss" in issue.hint
    assert too_large(f"{policy}:deep") == []
    (issue,) = too_large(f"{policy}:trusting")
    assert "counts 0.25 times" in issue.hint


@pytest.mark.parametrize(
    ("policy", "denied"),
    [("tumours", []), ("all_lesions", ["liver_lesion"]), ("tumours_and_cysts", ["liver_cyst_lesion"])],
)
def test_an_empty_mask_denies_what_the_policy_counts(cohort, lesion, mask_box, policy, denied):
    root = cohort.add("a", lesions=[lesion("liver", 20.0, kind="cyst")]).finish()
    for name in ("liver_lesion", "liver_cyst_lesion"):
        cohort.write_mask("a", name, mask_box(((0, 0), (0, 0), (0, 0))))
    report = check_dataset(root, policy=policy)
    assert [issue.structure for issue in report.issues if issue.code == "mask_denies_report"] == denied


def test_odd_masks(root, cohort, mask_box):
    cohort.write_mask("c0", "spleen", np.zeros((36, 30, 24), bool))
    cohort.write_mask("c1", "spleen", np.ones((36, 30, 24), bool))
    report = check_dataset(root)
    assert found(report, "c0", "warning") == ["empty_mask"]
    assert report.warnings[0].structure == "spleen"
    assert found(report, "c1", "error") == ["full_mask"]


def test_folders_that_the_table_does_not_name(root, cohort):
    (root / "c9").mkdir()
    (root / "c9" / "ct.nii.gz").write_bytes((root / "c0" / "ct.nii.gz").read_bytes())
    assert found(check_dataset(root)) == ["case_not_in_table"]


def test_predictions_in_place_of_labels(root):
    (root / "c2" / "segmentations" / "predictions.json").write_text("{}")
    report = check_dataset(root)
    assert "predictions_as_labels" in found(report, "c2", "error")
    assert found(report, "c1") == []


def test_a_dataset_without_a_usable_case(root):
    for number in range(4):
        (root / f"c{number}" / "ct.nii.gz").unlink()
    assert check_dataset(root).exit_code == 3
    (root / "cases.csv").write_text("")
    with pytest.raises(DataError) as caught:
        check_dataset(root)
    assert (caught.value.code, caught.value.exit_code) == ("empty_table", 3)


@pytest.mark.parametrize("error", [ZeroDivisionError("CANARY"), MemoryError(), RecursionError()])
def test_a_surprise_in_one_case_does_not_stop_the_others(root, monkeypatch, error):
    from rsuper.data import case_check

    real = case_check.read_volume

    def surprising(path):
        if path.parent.name == "c2":
            raise error
        return real(path)

    monkeypatch.setattr(case_check, "read_volume", surprising)
    report = check_dataset(root)
    assert found(report, "c2", "error") == [
        "out_of_memory" if isinstance(error, MemoryError) else "check_failed"
    ]
    assert report.usable_case_ids == ("c0", "c1", "c3")
    assert "CANARY" not in json.dumps(report.as_dict())


def test_more_workers_find_the_same(cohort):
    root = cohort.add("c0").add("c1").add("c2").finish()  # no lesions: the processes need not load torch
    (root / "c1" / "ct.nii.gz").unlink()
    assert check_dataset(root, workers=2).issues == check_dataset(root).issues


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_case_that_kills_its_process_costs_only_itself(cohort, monkeypatch):
    for number in range(5):
        cohort.add(f"c{number}")
    root = cohort.finish()
    from rsuper.data import case_check, check

    real = case_check.read_volume

    def deadly(path):
        if path.parent.name == "c2":
            os._exit(9)
        return real(path)

    monkeypatch.setattr(case_check, "read_volume", deadly)
    context = multiprocessing.get_context("fork")  # the children inherit the patch
    monkeypatch.setattr(check, "_pool", lambda workers: ProcessPoolExecutor(workers, mp_context=context))
    report = check_dataset(root, workers=2)
    assert found(report, severity="error") == ["check_crashed"]
    assert found(report, "c2", "error") == ["check_crashed"]
    assert report.usable_case_ids == ("c0", "c1", "c3", "c4")
    assert report.exit_code == 4


def test_progress_and_files(root, tmp_path):
    (root / "c1" / "ct.nii.gz").unlink()
    seen = []
    report = check_dataset(root, progress=lambda *call: seen.append(call))
    assert seen == [(n + 1, 4, f"c{n}") for n in range(4)]
    report.write(tmp_path / "out")
    stored = json.loads((tmp_path / "out" / "check.json").read_text())
    assert (stored["cases"], stored["usable"], stored["errors"]) == (4, 3, 1)
    assert stored["counts"] == {"ct_missing": 1}
    with (tmp_path / "out" / "check.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["code"], row["case_id"], row["severity"]) for row in rows] == [("ct_missing", "c1", "error")]


def test_the_report_names_the_policy_and_the_organs_it_used(root, tmp_path):
    own = tmp_path / "mine.yaml"
    own.write_text("organs: {thymus: {synonyms: [thymus], structures: [thymus]}}")
    rules = tmp_path / "rules.yaml"
    rules.write_text("presets: {mine: {rules: [{organ: [thymus], then: count}]}}")
    names = ("policy", "anatomy")
    plain = check_dataset(root).as_dict()
    assert [plain[name] for name in names] == ["tumours", "built-in"]
    mine = check_dataset(root, policy=f"{rules}:mine", anatomy=own)
    mine.write(tmp_path / "out")
    stored = json.loads((tmp_path / "out" / "check.json").read_text())
    assert [stored[name] for name in names] == ["rules.yaml:mine", "mine.yaml"]
    assert check_dataset(root, anatomy=load_anatomy(own)).as_dict()["anatomy"] == "own"
    for name in ("policy_sha256", "anatomy_sha256"):
        assert len(stored[name]) == 64
        assert stored[name] != plain[name]
    assert str(tmp_path) not in (tmp_path / "out" / "check.json").read_text(), "no paths of this machine"
    with pytest.raises(UsageError, match="bad_anatomy"):
        check_dataset(root, anatomy=rules)


def test_no_report_text_in_anything_written(cohort, lesion, tmp_path):
    cohort.add("a", text="CANARY liver with a 900 cm mass.", lesions=[lesion("liver", 1900.0)])
    cohort.add("b", text="CANARY liver with a 900 cm mass.")
    root = cohort.finish()
    with (root / "records.jsonl").open("a") as file:
        file.write('{"report_id": "CANARY"}\n')
    report = check_dataset(root)
    report.write(tmp_path / "out")
    assert report.issues
    assert "CANARY" not in (tmp_path / "out" / "check.json").read_text()
    assert "CANARY" not in (tmp_path / "out" / "check.csv").read_text()
