"""The program as it is typed: help, JSON, exit codes, and what it says without the training libraries."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import toy_data
from typer.testing import CliRunner

import rsuper
from rsuper.cli import app

VERBS = (
    "demo",
    "synth",
    "extract",
    "score",
    "audit",
    "agree-records",
    "export-chat",
    "release",
    "check",
    "prepare",
    "train",
    "predict",
    "evaluate",
    "agree",
    "doctor",
)
FACTORY = "toy_data:ThresholdNetwork"


def call(*arguments, code=0):
    result = CliRunner().invoke(app, [str(item) for item in arguments])
    assert result.exit_code == code, result.output + result.stderr
    return result


def one_object(result):
    return json.loads(result.stdout)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example_and_json(verb):
    text = call(verb, "--help").stdout
    flat = " ".join(text.split())
    assert re.search(rf"Example: (rsuper|llm-extract) {verb}\b", flat)
    assert "--json" in text


def test_the_program_introduces_itself():
    text = call("--help").stdout
    assert all(re.search(rf"^  {verb} ", text, re.MULTILINE) for verb in VERBS)
    assert "not a medical device" in " ".join(text.split())
    assert call("--version").stdout == f"rsuper {rsuper.__version__}\n"


def test_unknown_options_and_verbs_are_usage_errors():
    call("prepare", "x", "--outt", "y", code=2)
    call("fly", code=2)


def test_doctor_and_config_print():
    facts = one_object(call("doctor", "--json"))
    assert facts["rsuper"] == rsuper.__version__
    assert facts["extras"]["train"] == "installed"
    assert "Next: rsuper demo" in call("doctor").stdout
    assert "learning_rate" in call("train", "--print-config").stdout


@pytest.fixture(scope="module")
def path_through(toy_dataset, tmp_path_factory):
    """check, prepare, train, predict, evaluate and agree, as a user would type them."""
    base = tmp_path_factory.mktemp("cli run")  # with a space
    config = toy_data.toy_config().model_copy(
        update={"network": toy_data.toy_config().network.model_copy(update={"factory": FACTORY})}
    )
    (base / "config.yaml").write_text(config.to_yaml())
    train = ("train", base / "prepared", "--out", base / "run", "--config", base / "config.yaml")
    predict = ("predict", base / "run", toy_dataset, "--out", base / "out", "--network", FACTORY)
    return base, {
        "check": call("check", toy_dataset, "--json"),
        "prepare": call("prepare", toy_dataset, "--out", base / "prepared", "--json"),
        "train": call(*train, "--network", FACTORY, "--json"),
        "predict": call(*predict, "--case", "val_1", "--case", "val_2", "--json"),
        "evaluate": call("evaluate", base / "out", toy_dataset, "--split", "val", "--json"),
        "agree": call("agree", base / "out", toy_dataset, "--json"),
    }


@pytest.mark.parametrize("verb", ["check", "prepare", "train", "predict", "evaluate", "agree"])
def test_json_is_one_object_and_nothing_else(path_through, verb):
    assert isinstance(one_object(path_through[1][verb]), dict)


def test_the_path_does_what_it_says(path_through):
    base, results = path_through
    prepared = one_object(results["prepare"])
    assert (prepared["cases"], prepared["failed"]) == (8, [])
    assert (prepared["lesion_classes"], prepared["structures"]) == ([toy_data.LESION_CLASS], ["pancreas"])
    assert one_object(results["train"])["best_step"] in {4, 8}
    assert one_object(results["predict"])["done"] == 2
    judged = one_object(results["evaluate"])["classes"][toy_data.LESION_CLASS]
    assert (judged["n_positive"], judged["n_negative"], judged["n_missing"]) == (1, 1, 0)
    assert (base / "out" / "agreement" / "agreement.csv").is_file()


def test_every_verb_says_the_next_command(path_through, toy_dataset):
    base, results = path_through
    out = base / "out"
    assert "Next: rsuper prepare" in call("check", toy_dataset).stdout
    assert (
        "--policy all_lesions --out prepared" in call("check", toy_dataset, "--policy", "all_lesions").stdout
    )
    told = call("prepare", toy_dataset, "--out", base / "prepared").stdout
    assert "Next: rsuper train" in told
    sides = one_object(results["prepare"])["region_voxels"][toy_data.LESION_CLASS]
    assert f"a patch of {sides[0]} × {sides[1]} × {sides[2]} voxels holds 95 %" in told
    assert all(10 <= side <= 28 for side in sides), "the organ's 20 mm at 2 mm, and its margin"
    config = ("--config", base / "config.yaml", "--network", FACTORY)
    assert "Next: rsuper predict" in call("train", base / "prepared", "--out", base / "run", *config).stdout
    predict = ("predict", base / "run", toy_dataset, "--out", out, "--case", "val_1", "--network", FACTORY)
    assert "Next: rsuper evaluate" in call(*predict).stdout
    assert "Next: rsuper agree" in call("evaluate", out, toy_dataset, "--split", "val").stdout
    assert "Next: look at" in call("agree", out, toy_dataset).stdout


def test_partial_results_are_exit_code_4(path_through, toy_dataset, tmp_path):
    base, _ = path_through
    broken = shutil.copytree(toy_dataset, tmp_path / "broken")
    path = broken / "case_1" / "ct.nii.gz"
    path.write_bytes(path.read_bytes()[:-300])
    prepared = one_object(call("prepare", broken, "--out", tmp_path / "prepared", "--json", code=4))
    assert (prepared["cases"], prepared["failed"][0]["case_id"]) == (7, "case_1")
    cases = ("--case", "case_0", "--case", "case_1")
    done = call(
        *("predict", base / "run", broken, "--out", tmp_path / "out", *cases),
        *("--network", FACTORY, "--json"),
        code=4,
    )
    assert list(one_object(done)["failed"]) == ["case_1"]
    call("check", broken, code=4)


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (("prepare", "NOWHERE", "--out", "OUT"), 3, "dataset_missing"),
        (("prepare", "DATA", "--out", "DATA"), 2, "output_holds_inputs"),
        (("prepare", "DATA", "--out", "OUT", "--structure", "spleen"), 3, "nothing_prepared"),
        (("prepare", "DATA", "--out", "OUT", "--records", "NOWHERE"), 3, "records_missing"),
        (("train",), 2, "missing_argument"),
        (("train", "DATA", "--out", "OUT"), 3, "not_prepared"),
        (("train", "DATA", "--config", "NOWHERE"), 2, "config_missing"),
        (("predict", "NOWHERE", "DATA", "--out", "OUT"), 2, "no_model"),
        (("evaluate", "NOWHERE", "DATA"), 3, "predictions_missing"),
        (("agree", "NOWHERE", "DATA"), 3, "predictions_missing"),
        (("check", "NOWHERE"), 3, "dataset_missing"),
    ],
)
def test_errors_have_a_code_in_line_and_object(toy_dataset, tmp_path, arguments, code, error):
    names = {"NOWHERE": tmp_path / "nowhere", "DATA": toy_dataset, "OUT": tmp_path / "out"}
    result = call(*(names.get(item, item) for item in arguments), "--json", code=code)
    assert one_object(result)["error"]["code"] == error
    assert f"error {error}" in result.stderr


BASE_INSTALL = """
import sys

class Missing:
    names = {"torch", "monai", "nibabel", "blosc2", "safetensors", "matplotlib", "jaxtyping"}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from rsuper.cli import main
sys.argv = ["rsuper", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--help",), 0),
        (("train", "--help"), 0),
        (("train", "x"), 2),
        (("predict", "a", "b", "--out", "c", "--json"), 2),
    ],
)
def test_a_base_install_still_helps_and_names_the_extra(tmp_path, arguments, code):
    result = subprocess.run(
        [sys.executable, "-c", BASE_INSTALL, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=60,
    )
    assert result.returncode == code, result.stderr
    if code:
        assert 'pip install "rsuper[train]"' in result.stderr
        assert "Traceback" not in result.stderr
    if "--json" in arguments:
        assert json.loads(result.stdout)["error"]["code"] == "missing_extra"


def test_help_does_not_import_torch():
    code = "import sys, rsuper.cli; assert not {'torch', 'monai', 'spacy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=Path(os.sep))
