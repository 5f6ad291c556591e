"""A stranger's mistakes at the command line: one line, a stable code, the exit code, nothing lost, nothing told."""

import csv
import errno
import gzip
import json
import logging
import os
import re
import stat

import nibabel as nib
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from rsuper.cli import app

RUNNER = CliRunner()
CANARIES = (
    "quaggazebra",
    "numbatquokka",
    "axolotlwombat",
)  # stand in every report; no output but text may hold them
TEXT_FILES = re.compile(r"(records\.jsonl|reports\..*|lesions\..*|evidence.*|ledger\..*|\.evidence.*)$")
SIDE, SPACING_MM = 28, 4.0
AFFINE = np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1.0])
TINY = """
network: {width: 4, levels: 3}
sampling: {patch_size: [16, 16, 16], batch_size: 2}
optimisation: {warmup_steps: 1, steps: 2, report_ramp_steps: 1, precision: fp32}
"""
REPORT = """PATIENT: {canary} number {number} of the {canary} ward
FINDINGS: Liver: There is a hypodense {word} mass in the liver measuring 2.4 x 2.0 cm. Pancreas: Normal.
IMPRESSION: Hepatic {word} mass, 2.4 cm, seen by Dr. {canary}.
"""
GOOD = ("good_1", "good_2", "good_3")
BROKEN = {  # case: (code in check, code in prepare), None where it can be used
    "no_liver_mask": ("missing_organ_mask", "missing_organ_mask"),
    "no_ct": ("ct_missing", "ct_missing"),
    "no_report": ("ct_without_report", None),
    "cut_off": ("truncated_file", "truncated_file"),
    "not_a_number": ("nonfinite_voxels", "nonfinite_voxels"),
    "other_grid": ("grid_mismatch", "grid_mismatch"),
    "no_image": ("not_nifti", "not_nifti"),
}


def run(*arguments):
    """The command as a person would type it; unexpected exceptions fail the test, they are no exit code."""
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert "Traceback" not in result.output
    assert not told(result.output)
    return result


def told(text):
    """Canaries in a text."""
    return [word for word in CANARIES if word in text.lower()]


def blob(centre, radius):
    grid = np.indices((SIDE,) * 3).transpose(1, 2, 3, 0)
    return ((grid - centre) ** 2).sum(axis=-1) <= radius**2


LIVER, SPLEEN = blob((17, 14, 14), 8), blob((5, 14, 16), 3)
TUMOUR = blob((17, 14, 14), 3)


def save(array, path, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


def write_case(root, case_id, seed, *, masks=True):
    rng = np.random.default_rng(seed)
    hu = np.full((SIDE,) * 3, -120.0)
    hu[LIVER], hu[SPLEEN], hu[TUMOUR] = 100, 110, 50
    hu[:3, :3] = -950
    save(np.rint(hu + rng.normal(0, 8, hu.shape)).astype(np.int16), root / case_id / "ct.nii.gz")
    for name, mask in {"liver": LIVER, "spleen": SPLEEN}.items() if masks else ():
        save(mask.astype(np.uint8), root / case_id / "segmentations" / f"{name}.nii.gz")


def break_case(root, case_id):
    folder = root / case_id
    ct = folder / "ct.nii.gz"
    if case_id == "no_liver_mask":
        (folder / "segmentations" / "liver.nii.gz").unlink()
    elif case_id == "no_ct":
        ct.unlink()
    elif case_id == "cut_off":
        ct.write_bytes(ct.read_bytes()[:-2000])
    elif case_id == "not_a_number":
        values = nib.load(ct).get_fdata().astype(np.float32)
        values[9, 9, 9] = np.nan
        save(values, ct)
    elif case_id == "other_grid":
        shifted = AFFINE.copy()
        shifted[0, 3] = 2 * SPACING_MM
        save(LIVER.astype(np.uint8), folder / "segmentations" / "liver.nii.gz", shifted)
    elif case_id == "no_image":
        ct.write_bytes(gzip.compress(b"this is " + CANARIES[0].encode() * 400))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three good cases, two of them drawn, and one case of every kind of trouble."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("bad") / "data"
    names = (*GOOD, *BROKEN)
    for seed, case_id in enumerate(names):
        write_case(root, case_id, seed)
        break_case(root, case_id)
    for case_id in ("good_1", "good_2"):
        drawn = TUMOUR if case_id == "good_1" else np.zeros_like(TUMOUR)
        save(drawn.astype(np.uint8), root / case_id / "segmentations" / "liver_lesion.nii.gz")
    rows = [f"{case_id},p-{case_id},{'val' if case_id == 'good_2' else 'train'}" for case_id in names]
    (root / "cases.csv").write_text("\n".join(["case_id,patient_id,split", *rows]) + "\n")
    lines = [
        {"id": name, "text": REPORT.format(canary=CANARIES[0], word=CANARIES[1], number=number)}
        for number, name in enumerate((*names, "nowhere"))
        if name != "no_report"
    ]
    lines.append({"id": f"{CANARIES[2]} / born 1970", "text": lines[0]["text"]})
    lines.append({"id": "empty", "text": "  "})
    content = "".join(json.dumps(line) + "\n" for line in lines) + f'{{"id": "broken {CANARIES[2]}\n'
    (root / "reports.jsonl").write_text(content)
    return root


@pytest.fixture(scope="module")
def pipeline(root):
    """Every verb in turn on that data set; output and exit code of each."""
    base = root.parent
    (base / "tiny.yaml").write_text(TINY)
    records = base / "records"
    steps = {
        "extract": ("extract", root / "reports.jsonl", "--out", records, "--workers", 0),
        "check": ("check", root, "--records", records, "--require", "liver", "--out", base / "checked"),
        "prepare": (
            "prepare",
            root,
            "--records",
            records,
            "--out",
            base / "prepared",
            "--structure",
            "liver",
        ),
        "train": ("train", base / "prepared", "--out", base / "run", "--config", base / "tiny.yaml"),
        "predict": ("predict", base / "run", root, "--out", base / "predictions"),
        "evaluate": ("evaluate", base / "predictions", root, "--records", records),
        "agree": ("agree", base / "predictions", records),
    }
    handler = _Heard()
    logging.getLogger().addHandler(handler)
    results = {name: run(*arguments) for name, arguments in steps.items()}
    logging.getLogger().removeHandler(handler)
    assert not told("\n".join(handler.lines))
    return results


class _Heard(logging.Handler):
    """Keeps what any library logs."""

    def __init__(self):
        super().__init__(level=logging.DEBUG)
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_exit_codes_say_that_some_cases_failed(pipeline):
    codes = {name: result.exit_code for name, result in pipeline.items()}
    assert codes == {
        "extract": 4, "check": 4, "prepare": 4, "train": 0, "predict": 4, "evaluate": 4, "agree": 4,
    }  # fmt: skip


def test_every_report_ends_somewhere(pipeline, root):
    summary = json.loads((root.parent / "records" / "summary.json").read_text())
    lines = (root / "reports.jsonl").read_text().splitlines()
    assert summary["input"] == len(lines) == summary["done"] + summary["quarantined"]
    assert summary["quarantined"] == 2  # the empty one and the broken line
    records = [
        json.loads(line) for line in (root.parent / "records" / "records.jsonl").read_text().splitlines()
    ]
    assert len(records) == len(lines)
    good = [record for record in records if record["report_id"] in GOOD]
    assert [record["lesions"][0]["diameters_mm"] for record in good] == [[24.0, 20.0]] * 3


def test_the_check_names_each_trouble_in_its_case(pipeline, root):
    found = rows_of(root.parent / "checked" / "check.csv")
    codes = {
        case_id: {row["code"] for row in found if row["case_id"] == case_id} for case_id in (*GOOD, *BROKEN)
    }
    for case_id, (code, _) in BROKEN.items():
        assert code in codes[case_id], (case_id, codes[case_id])
        assert code in pipeline["check"].output
    errors = {row["case_id"] for row in found if row["severity"] == "error"}
    assert errors == {case_id for case_id, (_, code) in BROKEN.items() if code is not None}
    assert {row["code"] for row in found if row["report_id"] == "nowhere"} == {
        "record_without_case",
        "report_without_case",
    }


def test_the_good_cases_are_prepared_and_the_others_named(pipeline, root):
    meta = json.loads((root.parent / "prepared" / "prepared.json").read_text())
    assert {item["case_id"]: item["code"] for item in meta["failures"]} == {
        case_id: code for case_id, (_, code) in BROKEN.items() if code is not None
    }
    assert meta["cases"] == [*GOOD, "no_report"]
    for item in meta["failures"]:
        assert f"{item['code']} [case {item['case_id']}]" in pipeline["prepare"].output
    assert not list((root.parent / "prepared").glob(".*partial"))


def test_every_case_has_its_row_of_predictions_and_of_results(pipeline, root):
    predictions = root.parent / "predictions"
    rows = {row["case_id"]: row for row in rows_of(predictions / "predictions.csv")}
    assert set(rows) == {*GOOD, *BROKEN}
    failed = {name: row["code"] for name, row in rows.items() if row["status"] == "failed"}
    assert failed == {
        name: BROKEN[name][1] for name in ("no_ct", "cut_off", "not_a_number", "other_grid", "no_image")
    }
    assert not any((predictions / name).exists() for name in failed)
    result = json.loads((predictions / "evaluation" / "evaluation.json").read_text())
    missing = {row["case_id"] for row in result["cases"] if row["status"] != "evaluated"}
    assert {row["case_id"] for row in result["cases"]} == {*GOOD, *BROKEN}
    assert missing == set(failed)


def test_no_output_holds_a_word_of_a_report(pipeline, root):
    """S9: only the files that are meant to hold text hold it, and those are closed to others (S11)."""
    scanned = 0
    for path in root.parent.rglob("*"):
        if not path.is_file() or path.is_relative_to(root):
            continue
        scanned += 1
        if TEXT_FILES.search(path.name):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name
            continue
        assert not told(path.name), path.name
        assert not told(path.read_bytes().decode("latin-1")), path.relative_to(root.parent)
    assert scanned > 40


def test_a_second_run_tries_only_what_was_repaired(pipeline, root, tmp_path):
    """A failed case is tried again and done once its file is there; finished ones are kept as they are."""
    import shutil

    base = root.parent
    copy = tmp_path / "data"
    shutil.copytree(root, copy)
    write_case(copy, "no_ct", 77)
    kept = base / "predictions" / "good_1" / "findings.json"
    before = kept.stat().st_mtime_ns
    assert run("predict", base / "run", root, "--out", base / "predictions").exit_code == 4
    assert kept.stat().st_mtime_ns == before
    result = run("predict", base / "run", copy, "--out", tmp_path / "out", "--case", "no_ct")
    assert result.exit_code == 0
    assert (tmp_path / "out" / "no_ct" / "findings.json").is_file()


MISTAKES = {  # {b} holds what the good run wrote, {root} is the data set; exit code and stable code
    "reports that are not there": ("extract {b}/no.csv --out {b}/new", 3, "reports_missing"),
    "an empty table": ("extract {b}/empty.csv --out {b}/new", 3, "empty_table"),
    "a table without rows": ("extract {b}/header.csv --out {b}/new", 3, "empty_table"),
    "a wrong column": ("extract {b}/table.csv --out {b}/new --text-column befund", 2, "missing_column"),
    "no text column": ("extract {b}/other.csv --out {b}/new", 3, "missing_column"),
    "a wrong backend": ("extract {b}/table.csv --out {b}/new --backend oracle", 2, "unknown_backend"),
    "a wrong shard": ("extract {b}/table.csv --out {b}/new --shard 3/2", 2, "invalid_shard"),
    "extract into a file": ("extract {b}/table.csv --out {b}/table.csv/out", 2, "output_not_a_folder"),
    "extract onto a file": ("extract {b}/table.csv --out {b}/table.csv", 2, "output_not_a_folder"),
    "no data set": ("check {b}/no", 3, "dataset_missing"),
    "a folder that is no data set": ("check {b}/hollow", 3, "no_cases"),
    "an empty cases.csv": ("check {b}/blank", 3, "empty_table"),
    "no records": ("check {root} --records {b}/no", 3, "records_missing"),
    "no class map": ("check {root} --class-map no", 2, "class_map_missing"),
    "a wrong class map": ("check {root} --class-map {b}/bad_map.yaml", 2, "class_map_invalid"),
    "check into a file": ("check {root} --out {b}/table.csv/out", 2, "output_not_a_folder"),
    "prepare into a file": ("prepare {root} --out {b}/table.csv/out", 2, "output_not_a_folder"),
    "prepare onto the data set": ("prepare {root} --out {root}", 2, "output_holds_inputs"),
    "an organ no case has": ("prepare {root} --out {b}/new --structure tonsil", 3, "nothing_prepared"),
    "train on something else": ("train {root} --out {b}/new", 3, "not_prepared"),
    "train on nothing": ("train", 2, "missing_argument"),
    "a wrong setting": ("train {b}/prepared --out {b}/new --config {b}/bad.yaml", 2, "config_invalid"),
    "no configuration": ("train {b}/prepared --out {b}/new --config {b}/no.yaml", 2, "config_missing"),
    "train into a file": ("train {b}/prepared --out {b}/table.csv/out", 2, "output_not_a_folder"),
    "a wrong device": ("train {b}/prepared --out {b}/new --device tpu", 2, "bad_device"),
    "no weights to start from": (
        "train {b}/prepared --out {b}/new --initial-weights {b}/no.safetensors", 2, "no_model",
    ),
    "a run without a model": ("predict {b}/hollow {root} --out {b}/new", 2, "no_model"),
    "a model that is none": ("predict {b}/table.csv {root} --out {b}/new", 3, "weights_broken"),
    "no CT": ("predict {b}/run {b}/no.nii.gz --out {b}/new", 3, "dataset_missing"),
    "no such case": ("predict {b}/run {root} --out {b}/new --case no", 3, "unknown_case"),
    "predict onto the data set": ("predict {b}/run {root} --out {root}", 2, "output_holds_inputs"),
    "predict into a file": ("predict {b}/run {root} --out {b}/table.csv/out", 2, "output_not_a_folder"),
    "no predictions": ("evaluate {b}/no {root}", 3, "predictions_missing"),
    "no such split": ("evaluate {b}/predictions {root} --split nope", 2, "unknown_split"),
    "no threshold": ("evaluate {b}/predictions {root} --threshold liver_lesion", 2, "bad_threshold"),
    "evaluate into a file": (
        "evaluate {b}/predictions {root} --out {b}/table.csv/out", 2, "output_not_a_folder",
    ),
    "agree without predictions": ("agree {b}/hollow {b}/records", 3, "no_predictions"),
    "agree without records": ("agree {b}/predictions {b}/no", 3, "records_missing"),
    "agree into a file": (
        "agree {b}/predictions {b}/records --out {b}/table.csv/out", 2, "output_not_a_folder",
    ),
    "no such phantom": ("synth {b}/new --organ nose", 2, "bad_option"),
    "synth into a file": ("synth {b}/table.csv/out", 2, "output_not_a_folder"),
    "demo into a file": ("demo --out {b}/table.csv/out", 2, "output_not_a_folder"),
}  # fmt: skip


@pytest.fixture(scope="module")
def mistaken(pipeline, root):
    """The files that the mistakes are made with."""
    base = root.parent
    files = {
        "table.csv": f"id,text\nA,{CANARIES[0]}\n",
        "empty.csv": "",
        "header.csv": "id,text\n",
        "other.csv": f"number,body\n1,{CANARIES[0]}\n",
        "bad.yaml": "network: {width: wide}\n",
        "bad_map.yaml": "ct: 3\n",
        "blank/cases.csv": "",
        "hollow/.keep": "",
    }
    for name, content in files.items():
        (base / name).parent.mkdir(exist_ok=True)
        (base / name).write_text(content)
    return {"b": base, "root": root}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_with_a_code(mistaken, mistake):
    command, exit_code, code = MISTAKES[mistake]
    arguments = [item.format(**mistaken) for item in command.split()]
    result = run(*arguments)
    assert result.exit_code == exit_code, result.output
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if "ETA" not in line]
    assert len(lines) == 1, result.stderr
    assert re.fullmatch(rf"error:? {code}\b.*: .+", lines[0]), result.stderr
    as_json = run(*arguments, "--json")
    assert as_json.exit_code == exit_code
    assert json.loads(as_json.stdout)["error"]["code"] == code
    assert not (mistaken["b"] / "new").exists() or not list((mistaken["b"] / "new").iterdir())


def test_an_output_that_cannot_be_written_is_exit_code_5(root, mistaken, monkeypatch):
    """Root may write everywhere, so the file system's refusal is played here."""

    def refuse(path, *_arguments, **_options):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("os.mkdir", refuse)
    monkeypatch.setattr("os.access", lambda _path, mode, **_options: not mode & os.W_OK)
    base = mistaken["b"]
    for command in (
        ("extract", base / "table.csv", "--workers", 0), ("check", root), ("prepare", root),
        ("train", base / "prepared"), ("predict", base / "run", root), ("demo",),
        ("evaluate", base / "predictions", root), ("agree", base / "predictions", base / "records"),
    ):  # fmt: skip
        result = run(*command, "--out", base / "closed")
        assert result.exit_code == 5, result.output
        assert "output_not_writable" in result.stderr


def test_a_defect_of_the_program_tells_no_text(mistaken, root, monkeypatch):
    """Even an exception nobody expected shows its type and where it came from, not what it quotes."""

    def broken(*_arguments, **_options):
        raise ValueError(f"cannot parse {CANARIES[0]}")

    monkeypatch.setattr("rsuper.data.check.check_dataset", broken)
    result = run("check", root)
    assert result.exit_code == 1
    assert "error internal_error: unexpected ValueError" in result.stderr


def test_wrong_words_at_the_command_line_are_exit_code_2(root):
    for arguments in (
        ("chekc", root),
        ("check",),
        ("check", root, "--nope"),
        ("synth", "x", "--cases", "many"),
    ):
        assert run(*arguments).exit_code == 2
