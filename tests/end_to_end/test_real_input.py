"""From a real CT and the outlines of real tumours to findings and their agreement with the reports.

Variants of one real CT carry a real tumour's shape each, at a stated size, place and attenuation, or none; the reports
say so. Half of them are stored in another axis order. Everything goes through the command line.
"""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy import ndimage
from typer.testing import CliRunner

from llm_extract.records import ReportRecord
from llm_extract.reports import Report
from llm_extract.rules import extract_record
from rsuper.cli import app
from rsuper.data.fingerprint import IntensityFingerprint
from rsuper.data.layout import Dataset
from rsuper.data.prepare import PrepareConfig, PreparedDataset, prepare
from rsuper.networks import Network
from rsuper.prediction.findings import read_findings
from rsuper.prediction.predict import Model, predict
from rsuper.synthesis import InsertedTumour, insert_tumour, report_inserted, shape_from_mask, split_pancreas
from rsuper.volumes import Volume, read_labels, read_volume, to_canonical

pytestmark = pytest.mark.real_data
CLASSES = ("kidney_lesion", "liver_lesion", "pancreas_lesion")
ORGANS = ("liver", "spleen", "pancreas", "kidney")
KEPT = {"liver", "spleen", "pancreas", "kidney_left", "kidney_right", "stomach", "duodenum", "colon", "aorta"}
MARK_HU = {"kidney_lesion": 600, "liver_lesion": 700, "pancreas_lesion": 800}
RUNNER = CliRunner()
TINY = """
network: {width: 4, levels: 3}
sampling: {patch_size: [32, 32, 32], batch_size: 2}
optimisation: {warmup_steps: 1, steps: 3, report_ramp_steps: 1, checkpoint_every: 100, precision: fp32}
loss: {attenuation: 0.5}
"""


@dataclass(frozen=True)
class Plan:
    """One variant: which real outline goes where, how large, and in which axis order the case is stored."""

    outline: str | None = None
    structure: str = ""
    longest_mm: float = 0.0
    attenuation: str = "hypo"
    growth: str = "inside"
    axes: str = "RAS"
    split: str = "train"


PLANS = {
    "head": Plan("panorama/100530_00001", "pancreas_head", 20, axes="LPS"),
    "tail": Plan("panorama/100438_00001", "pancreas_tail", 18, "hyper"),
    "left": Plan("kits19/case_00006_segmentation", "kidney_left", 30, growth="exophytic", axes="SAL"),
    "right": Plan("kits19/case_00004_segmentation", "kidney_right", 26, "hyper", split="val"),
    "liver": Plan("kits19/case_00020_segmentation", "liver", 38, axes="PIR"),
    "drawn": Plan("kits19/case_00010_segmentation", "kidney_right", 22, growth="exophytic"),
    "normal": Plan(axes="LAS"),
}
TUMOURS = tuple(name for name in PLANS if name != "normal")
DRAWN = ("drawn", "normal")  # these come with human masks of every class


@dataclass(frozen=True)
class World:
    """Where everything lies, and what is true of it (canonical voxel order)."""

    root: Path
    class_map: Path
    ct: Volume
    structures: dict
    inserted: dict[str, InsertedTumour]
    written: dict

    def mask(self, case_id, class_name):
        tumour = self.inserted.get(case_id)
        if tumour is None or tumour.truth.lesion_class != class_name:
            return np.zeros(self.ct.shape, bool)
        return tumour.mask


def rsuper(*arguments, exit_code=0):
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == exit_code, result.output
    return result


def in_axes(array, affine, axes):
    """The same voxels in another axis order, by nibabel."""
    image = nib.Nifti1Image(array, affine)
    start = nib.orientations.io_orientation(affine)
    turn = nib.orientations.ornt_transform(start, nib.orientations.axcodes2ornt(axes))
    return image.as_reoriented(turn)


def canonical(path):
    return np.asanyarray(nib.as_closest_canonical(nib.load(path)).dataobj)


def outline(shared_data, name):
    """The real tumour of a mask, read by nibabel and cut out before anything else: these masks are large."""
    image = nib.load(shared_data / "masks" / f"{name}.nii.gz")
    tumour = np.asanyarray(image.dataobj) == (2 if name.startswith("kits19") else 1)
    cut = tumour[ndimage.find_objects(tumour.astype(np.uint8))[0]]
    lesion = to_canonical(Volume(cut, image.affine))
    return shape_from_mask(lesion.array, spacing_mm=lesion.spacing_mm, source=name)


def sized_report(tumours, seed):
    """The first wording that states size and density of every lesion, by the writer's own account."""
    for number in range(200):
        report = report_inserted(tumours, np.random.default_rng([seed, number]), organs=ORGANS)
        stated = report.truth.lesions
        if tumours and all(
            item.size_kind == "exact" and item.attenuation != "unknown" and not item.prior_diameters_mm
            for item in stated
        ):
            return report
        if not tumours and all(
            report.truth.organs.get(organ) == "explicitly_lesion_free"
            for organ in ("liver", "pancreas", "kidney")
        ):
            return report
    raise AssertionError("no wording states everything")


def write_case(world_root, case_id, plan, ct, labels, structures, masks):
    folder = world_root / case_id
    (folder / "segmentations").mkdir(parents=True)
    nib.save(in_axes(ct.array, ct.affine, plan.axes), folder / "ct.nii.gz")
    nib.save(in_axes(labels, ct.affine, plan.axes), folder / "segmentations.nii.gz")
    parts = {name: mask for name, mask in structures.items() if name.startswith("pancreas_")}
    for name, mask in parts.items():
        path = folder / "segmentations" / f"{name}.nii.gz"
        nib.save(in_axes(mask.astype(np.uint8), ct.affine, plan.axes), path)
    for name, mask in masks.items():
        image = in_axes(mask.astype(np.uint8), ct.affine, plan.axes)
        reference = world_root / "reference" / case_id
        reference.mkdir(parents=True, exist_ok=True)
        nib.save(image, reference / f"{name}.nii.gz")
        if case_id in DRAWN:
            nib.save(image, folder / "segmentations" / f"{name}.nii.gz")


@pytest.fixture(scope="module")
def world(shared_data, tmp_path_factory):
    """The data set on disk: organs as one label map, parts of the pancreas and drawn lesions one file each."""
    torch.set_num_threads(1)
    base = tmp_path_factory.mktemp("real_input")
    root = base / "data"
    folder = shared_data / "ct"
    ct = to_canonical(read_volume(folder / "totalsegmentator" / "example_ct.nii.gz"))
    labels = to_canonical(read_labels(folder / "totalsegmentator" / "example_seg_fast_force_split.nii.gz"))
    names = json.loads((folder / "totalsegmentator_label_names.json").read_text())["total"]
    structures = {name: labels.array == int(value) for value, name in names.items() if name in KEPT}
    structures |= split_pancreas(structures["pancreas"])
    inserted, written, lines = {}, {}, []
    for number, (case_id, plan) in enumerate(PLANS.items()):
        variant = ct
        if plan.outline is not None:
            inserted[case_id] = insert_tumour(
                ct, structures, structure=plan.structure, longest_mm=plan.longest_mm,
                attenuation=plan.attenuation, growth=plan.growth, contrast_hu=45,
                shape=outline(shared_data, plan.outline), rng=np.random.default_rng([7, number]),
            )  # fmt: skip
            variant = inserted[case_id].ct
        tumours = [inserted[case_id].truth] if case_id in inserted else []
        written[case_id] = sized_report(tumours, number)
        lines.append({"id": f"r-{case_id}", "case_id": case_id, "text": written[case_id].text})
        world = World(root, base / "map.yaml", ct, structures, inserted, written)
        masks = {name: world.mask(case_id, name) for name in CLASSES}
        write_case(root, case_id, plan, variant, labels.array, structures, masks)
    rows = [f"{case_id},p-{case_id},{plan.split}" for case_id, plan in PLANS.items()]
    (root / "cases.csv").write_text("\n".join(["case_id,patient_id,split", *rows]) + "\n")
    (root / "reports.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (root / "labels.json").write_text(json.dumps({"total": names}))
    world.class_map.write_text(
        json.dumps(
            {
                "masks": "{case_id}/segmentations/{structure}.nii.gz",
                "label_file": "{case_id}/segmentations.nii.gz",
                "label_table": "labels.json",
                "ignore": sorted(set(names.values()) - KEPT),
            }
        )
    )
    return world


@pytest.fixture(scope="module")
def records(world):
    """What `rsuper extract` makes of the reports."""
    out = world.root.parent / "records"
    rsuper("extract", world.root / "reports.jsonl", "--out", out, "--workers", 0, "--evidence-limit", 0)
    return out


@pytest.fixture(scope="module")
def prepared(world, records):
    """What `rsuper prepare` makes of the data set, cropped to the organs, on the CT's own voxels."""
    out = world.root.parent / "prepared"
    rois = [
        part for organ in ("pancreas", "kidney_left", "kidney_right", "liver") for part in ("--roi", organ)
    ]
    rsuper(
        "prepare", world.root, "--records", records, "--class-map", world.class_map, "--out", out, *rois
    )  # fmt: skip
    return PreparedDataset.open(out)


@pytest.fixture(scope="module")
def predictions(world, prepared):
    """What a network of a few steps predicts: anything at all, on the right grid."""
    base = world.root.parent
    (base / "tiny.yaml").write_text(TINY)
    rsuper("train", prepared.root, "--out", base / "run", "--config", base / "tiny.yaml")
    rsuper(
        "predict", base / "run", world.root, "--class-map", world.class_map, "--out", base / "predictions",
        "--probabilities",
    )  # fmt: skip
    return base / "predictions"


class ReadsMarks(torch.nn.Module):
    """A network that knows the answer: a voxel of HU ``MARK_HU[class]`` belongs to that class."""

    def __init__(self, intensity):
        super().__init__()
        self.intensity = intensity

    def forward(self, image):
        hu = image * self.intensity.std_hu + self.intensity.mean_hu
        return torch.cat([20 - (hu - MARK_HU[name]).abs() for name in CLASSES], dim=1)


@pytest.fixture(scope="module")
def perfect(world):
    """Predictions of that network on copies of the CTs in which every tumour voxel carries its mark."""
    base = world.root.parent
    marked = base / "marked"
    for case_id, plan in PLANS.items():
        array = np.minimum(world.ct.array, 500)
        for name in CLASSES:
            array[world.mask(case_id, name)] = MARK_HU[name]
        masks = {name: np.zeros(world.ct.shape, bool) for name in CLASSES}
        labels = canonical(world.root / case_id / "segmentations.nii.gz")
        volume = Volume(array, world.ct.affine)
        write_case(marked, case_id, plan, volume, labels, world.structures, masks)
    for name in ("cases.csv", "labels.json"):
        (marked / name).write_text((world.root / name).read_text())
    intensity = IntensityFingerprint(low_hu=-200, high_hu=1000, mean_hu=40, std_hu=50)
    model = Model(
        network=Network(ReadsMarks(intensity)), structures=(), lesion_classes=CLASSES, intensity=intensity,
        spacing_mm=None, patch_size=(64, 48, 64), roi_structures=("pancreas", "kidney_left", "kidney_right", "liver"),
        roi_margin_mm=24.0, thresholds={}, sha256="0" * 64, device="cpu",
    )  # fmt: skip
    out = base / "perfect"
    assert predict(model, marked, out, class_map=str(world.class_map))["failed"] == {}
    return out


def record_of(records, case_id):
    lines = (records / "records.jsonl").read_text().splitlines()
    return next(r for r in map(ReportRecord.model_validate_json, lines) if r.case_id == case_id)


def stated(lesions):
    """What both sides say of lesions; a density that only the enhancement states may stand in either field."""
    return [
        (
            item.organ, tuple(sorted(item.parts)), item.laterality, item.diameters_mm, item.size_kind, item.count,
            item.enhancement if item.attenuation == "unknown" else item.attenuation, item.prior_diameters_mm,
        )
        for item in lesions
    ]  # fmt: skip


@pytest.mark.parametrize("case_id", PLANS)
def test_records_say_what_was_inserted(world, records, case_id):
    record = record_of(records, case_id)
    assert record.status in {"ok", "ok_with_warnings"}
    assert stated(record.lesions) == stated(world.written[case_id].truth.lesions)
    if case_id == "normal":
        free = {record.organs[organ].status for organ in ("liver", "pancreas", "kidney")}
        assert free == {"explicitly_lesion_free"}
        return
    plan, truth, lesion = PLANS[case_id], world.inserted[case_id].truth, record.lesions[0]
    assert len(record.lesions) == lesion.count == 1
    assert lesion.organ == plan.structure.split("_")[0]
    assert lesion.parts == ((plan.structure,) if lesion.organ == "pancreas" else ())
    assert lesion.laterality == {"kidney_left": "left", "kidney_right": "right"}.get(plan.structure, "n/a")
    assert lesion.attenuation == plan.attenuation
    assert lesion.diameters_mm == pytest.approx(truth.diameters_mm[: len(lesion.diameters_mm)], abs=0.51)
    assert lesion.diameters_mm[0] == pytest.approx(plan.longest_mm, abs=2.5)


def test_records_survive_a_hundred_wordings_of_the_same_tumours(world):
    """Every wording of every tumour, also those that leave out the size, against the writer's own account."""
    wrong = []
    for number, case_id in enumerate(TUMOURS):
        for seed in range(20):
            rng = np.random.default_rng([11, number, seed])
            written = report_inserted([world.inserted[case_id].truth], rng, organs=ORGANS)
            record = extract_record(Report(report_id=f"{case_id}-{seed}", text=written.text, row=0))
            if stated(record.lesions) != stated(written.truth.lesions):
                wrong.append(record.report_id)
    assert wrong == []


def test_the_check_finds_nothing_to_object_to(world, records, tmp_path):
    result = rsuper(
        "check", world.root, "--records", records, "--class-map", world.class_map, "--out", tmp_path, "--json"
    )
    assert [issue for issue in json.loads(result.stdout)["issues"] if issue["severity"] == "error"] == []
    with (tmp_path / "check.csv").open(newline="") as file:
        assert {row["code"] for row in csv.DictReader(file)} <= {"empty_mask"}


@pytest.mark.parametrize("case_id", TUMOURS)
def test_targets_hold_the_tumour_and_not_the_other_side(world, prepared, case_id):
    case = next(case for case in prepared.cases if case.case_id == case_id)
    truth = world.inserted[case_id].truth
    target = case.case_targets().classes[truth.lesion_class]
    tumour = case.mask(f"reference:{truth.lesion_class}")
    assert tumour.any()
    if case_id in DRAWN:
        assert target.state == "voxels"
        np.testing.assert_array_equal(case.mask(f"label:{truth.lesion_class}"), tumour)
        return
    assert target.state == "reported"
    assert target.weight == 1
    assert (target.region & tumour).sum() >= 0.95 * tumour.sum()
    low, high = target.volume_mm3
    assert low <= truth.volume_mm3 <= high < 20 * low
    assert len(target.lesions) == 1
    other = {"left": "kidney_right", "right": "kidney_left"}.get(truth.side)
    if other is not None:
        assert not (target.region & case.mask(f"structure:{other}")).any()
        own = case.mask(f"structure:kidney_{truth.side}")
        assert (target.region & own).sum() == own.sum()
    if truth.part == "pancreas_head":
        assert not (target.region & case.mask("structure:pancreas_tail")).any()


def test_the_normal_case_is_a_negative_of_every_class(prepared):
    case = next(case for case in prepared.cases if case.case_id == "normal")
    assert {case.state(name) for name in CLASSES} == {"voxels"}
    assert not any(case.mask(f"label:{name}").any() for name in CLASSES)
    absent = {c.case_id: {name for name in CLASSES if c.state(name) == "reported"} for c in prepared.cases}
    assert absent["normal"] == set()


@pytest.mark.parametrize("case_id", PLANS)
def test_the_prepared_crop_is_the_same_place(world, prepared, case_id):
    """Every prepared voxel is the voxel of the inserted CT at the same millimetres, clipped."""
    case = next(case for case in prepared.cases if case.case_id == case_id)
    source = world.inserted[case_id].ct if case_id in world.inserted else world.ct
    start = np.rint(np.linalg.inv(source.affine) @ case.affine @ [0, 0, 0, 1])[:3].astype(int)
    box = tuple(slice(s, s + n) for s, n in zip(start, case.shape, strict=True))
    np.testing.assert_allclose(case.affine[:3, :3], source.affine[:3, :3])
    np.testing.assert_array_equal(case.image(), np.clip(source.array[box], -991, 500))
    for name in CLASSES:
        own = world.mask(case_id, name)
        assert case.mask(f"reference:{name}").sum() == own.sum()
        np.testing.assert_array_equal(case.mask(f"reference:{name}"), own[box])


def test_another_voxel_size_keeps_place_and_volume(world, records, tmp_path):
    dataset = Dataset.open(world.root, records=records, class_map=world.class_map)
    config = PrepareConfig(
        lesion_classes=CLASSES, spacing_mm=(1.5, 1.5, 2.0), roi_structures=("kidney_left", "pancreas")
    )
    result = prepare(
        dataset, tmp_path / "fine", config=config, reference=world.root / "reference", cases=("left", "tail")
    )
    for case in result.cases:
        truth = world.inserted[case.case_id].truth
        tumour = case.mask(f"reference:{truth.lesion_class}")
        assert tumour.sum() * np.prod(case.spacing_mm) == pytest.approx(truth.volume_mm3, rel=0.02)
        centre = case.affine @ [*np.argwhere(tumour).mean(axis=0), 1]
        np.testing.assert_allclose(centre[:3], truth.centre_mm, atol=0.5)


@pytest.mark.parametrize("case_id", PLANS)
def test_predictions_lie_on_the_grid_of_their_ct(world, predictions, case_id):
    """Whatever the network says: masks, probabilities and findings are on the input's grid and agree."""
    ct = nib.load(world.root / case_id / "ct.nii.gz")
    assert nib.aff2axcodes(ct.affine) == tuple(PLANS[case_id].axes)
    findings = read_findings(predictions / case_id).lesions
    for name in CLASSES:
        masked = nib.load(predictions / case_id / "segmentations" / f"{name}.nii.gz")
        likely = nib.load(predictions / case_id / "probabilities" / f"{name}.nii.gz")
        for image in (masked, likely):
            assert image.shape == ct.shape
            np.testing.assert_allclose(image.affine, ct.affine, atol=1e-4)
        assert masked.get_data_dtype() == np.uint8
        assert likely.get_fdata().max() <= 1
        assert likely.get_fdata().std() > 0
        pieces, n_pieces = ndimage.label(np.asanyarray(masked.dataobj), np.ones((3, 3, 3)))
        own = [lesion for lesion in findings if lesion.class_name == name]
        sizes = np.bincount(pieces.ravel(), minlength=1)[1:]
        assert len(own) == (sizes >= 2).sum() if n_pieces else own == []
        for lesion in own:
            place = nib.affines.apply_affine(ct.affine, lesion.centre_voxel)
            np.testing.assert_allclose(place, lesion.centre_mm, atol=0.01)


@pytest.mark.parametrize("case_id", PLANS)
def test_a_network_that_knows_the_answer_gives_the_answer(world, perfect, case_id):
    """Reading, axis order, box, sliding window and writing change no voxel; findings measure what was inserted."""
    for name in CLASSES:
        mask = canonical(perfect / case_id / "segmentations" / f"{name}.nii.gz")
        np.testing.assert_array_equal(mask.astype(bool), world.mask(case_id, name))
    findings = read_findings(perfect / case_id).lesions
    assert len(findings) == (case_id != "normal")
    for finding in findings:
        truth = world.inserted[case_id].truth
        assert (finding.class_name, finding.organ, finding.side) == (
            truth.lesion_class,
            truth.organ,
            truth.side,
        )
        assert finding.part == truth.part
        assert finding.diameters_mm == pytest.approx(truth.diameters_mm, abs=0.01)
        assert finding.volume_mm3 == pytest.approx(truth.volume_mm3, rel=1e-4)
        np.testing.assert_allclose(finding.centre_mm, truth.centre_mm, atol=0.01)
        assert finding.mean_hu == pytest.approx(MARK_HU[truth.lesion_class], abs=0.01)


def evaluation(world, records, folder, out):
    rsuper(
        "evaluate", folder, world.root, "--records", records, "--class-map", world.class_map, "--out", out
    )  # fmt: skip
    return json.loads((out / "evaluation.json").read_text())


def test_evaluation_of_the_perfect_prediction_is_perfect(world, records, perfect, tmp_path):
    result = evaluation(world, records, perfect, tmp_path)
    for name, positives in (("kidney_lesion", 3), ("liver_lesion", 1), ("pancreas_lesion", 2)):
        entry = result["classes"][name]
        assert (entry["n_positive"], entry["n_negative"]) == (positives, len(PLANS) - positives)
        for metric in ("dsc", "auc", "sensitivity", "specificity"):
            assert entry["metrics"][metric]["value"] == pytest.approx(1), (name, metric)


def test_evaluation_of_any_prediction_agrees_with_plain_counting(world, records, predictions, tmp_path):
    result = evaluation(world, records, predictions, tmp_path)
    assert {row["status"] for row in result["cases"]} == {"evaluated"}
    for row in result["cases"]:
        truth = world.mask(row["case_id"], row["class_name"])
        mask = canonical(predictions / row["case_id"] / "segmentations" / f"{row['class_name']}.nii.gz") > 0
        assert row["present"] == truth.any()
        if truth.any():
            dice = 2 * (mask & truth).sum() / (mask.sum() + truth.sum())
            assert row["dsc"] == pytest.approx(dice, abs=1e-6)


def agreement(predictions, records, out, *, exit_code=0):
    rsuper("agree", predictions, records, "--out", out, exit_code=exit_code)
    with (out / "agreement.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_was_found_agrees_with_the_reports(records, perfect, tmp_path):
    rows = agreement(perfect, records, tmp_path)
    matched = [row for row in rows if row["verdict"] == "matched"]
    assert sorted(row["case_id"] for row in matched) == sorted(TUMOURS)
    assert {row["verdict"] for row in rows} <= {"matched", "both_negative"}
    for row in matched:
        assert float(row["size_ratio"]) == pytest.approx(1, abs=0.06)
        assert row["found_side"] == row["reported_side"]


def test_reported_tumours_that_are_not_found_are_named_first(world, records, perfect, tmp_path):
    empty = tmp_path / "empty"
    for case_id in PLANS:
        for name in CLASSES:
            image = nib.load(perfect / case_id / "segmentations" / f"{name}.nii.gz")
            path = empty / case_id / "segmentations" / f"{name}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), path)
    rows = agreement(empty, records, tmp_path / "agreement")
    missed = [(row["case_id"], row["class_name"]) for row in rows if row["verdict"] == "reported_not_found"]
    assert sorted(missed) == sorted((name, world.inserted[name].truth.lesion_class) for name in TUMOURS)
    assert {row["verdict"] for row in rows if row["case_id"] == "normal"} == {"both_negative"}
    assert rows[-1]["case_id"] == "normal"


def test_a_mirrored_prediction_is_noticed(records, perfect, tmp_path):
    """The findings of the left kidney moved to the right one: the report contradicts the side."""
    source = perfect / "left"
    document = json.loads((source / "findings.json").read_text())
    document["lesions"][0]["side"] = "right"
    for case_id, content in (("left", document),):
        folder = tmp_path / "mirrored" / case_id
        (folder / "segmentations").mkdir(parents=True)
        (folder / "findings.json").write_text(json.dumps(content))
        for path in (source / "segmentations").iterdir():
            (folder / "segmentations" / path.name).write_bytes(path.read_bytes())
    rows = agreement(tmp_path / "mirrored", records, tmp_path / "agreement")
    verdicts = {row["class_name"]: row["verdict"] for row in rows}
    assert verdicts["kidney_lesion"] == "side_disagreement"
