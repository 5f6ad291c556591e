"""Which lesions count, and how much."""

from __future__ import annotations

from importlib import resources

import pytest
import yaml

from llm_extract.anatomy import load_anatomy
from rsuper.errors import UsageError
from rsuper.supervision import load_policy

ANATOMY = load_anatomy()


@pytest.mark.parametrize(
    ("fields", "action"),
    [
        ({"kind": "mass"}, "count"),
        ({"kind": "nodule"}, "count"),
        ({"kind": "metastasis"}, "count"),
        ({"kind": "lesion", "malignancy": "indeterminate"}, "count"),
        ({"kind": "cyst"}, "ignore"),
        ({"kind": "cyst", "diagnosis": "ipmn"}, "count"),
        ({"kind": "cyst", "malignancy": "malignant"}, "count"),
        ({"kind": "lesion", "diagnosis": "hemangioma"}, "ignore"),
        ({"kind": "lesion", "malignancy": "benign"}, "ignore"),
        ({"kind": "mass", "treated": True}, "ignore"),
        ({"kind": "mass", "change": "resolved"}, "drop"),
        ({"kind": "mass", "change": "smaller"}, "count"),
        ({"kind": "wall_thickening"}, "ignore"),
        ({"kind": "other"}, "ignore"),
    ],
)
def test_default_policy(make_lesion, fields, action):
    assert load_policy().action(make_lesion(**fields)) == action


def test_presets_differ_where_they_should(make_lesion):
    cyst, nodule = make_lesion(kind="cyst"), make_lesion(kind="nodule")
    assert [load_policy(p).action(cyst) for p in ("tumours", "all_lesions", "malignant")] == [
        "ignore",
        "count",
        "ignore",
    ]
    assert load_policy("malignant").action(nodule) == "ignore"


def test_a_user_file_gives_cysts_a_class_of_their_own(tmp_path, make_lesion):
    path = tmp_path / "policy.yaml"
    path.write_text("presets: {mine: [{kind: [cyst], then: kidney_cyst}, {kind: [mass], then: count}]}")
    policy = load_policy("mine", path=path)
    assert policy.lesion_class(make_lesion("kidney", kind="cyst"), ANATOMY) == "kidney_cyst"
    assert policy.lesion_class(make_lesion("adrenal_gland", kind="mass"), ANATOMY) == "adrenal_lesion"
    assert policy.lesion_class(make_lesion("kidney", kind="polyp"), ANATOMY) is None


@pytest.mark.parametrize(
    "text",
    [
        "presets: {mine: [{kind: [blob], then: count}]}",
        "presets: [",
        "[]",
        "presets: {mine: [{kin: [mass]}]}",
    ],
)
def test_a_broken_user_file_is_a_usage_error(tmp_path, text):
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_policy("mine", path=path)
    assert caught.value.code == "bad_policy"


def test_an_unknown_preset_names_the_known_ones():
    with pytest.raises(UsageError, match="tumours"):
        load_policy("everything")


def test_weights_follow_presence_status_and_evidence(make_lesion, make_record):
    policy = load_policy()
    sure = make_lesion()
    weight = policy.weight(sure, make_record(sure))
    assert weight == 1.0
    less_sure = [
        policy.weight(make_lesion(presence="probable"), make_record()),
        policy.weight(make_lesion(presence="possible"), make_record()),
        policy.weight(sure, make_record(status="needs_review")),
        policy.weight(
            make_lesion(evidence=tuple(q.model_copy(update={"match": "normalised"}) for q in sure.evidence)),
            make_record(),
        ),
    ]
    assert all(0 < value < 1 for value in less_sure)
    assert policy.weight(make_lesion(evidence=()), make_record()) == 0.0
    assert policy.weight(sure, make_record(status="failed")) == 0.0


def test_every_diagnosis_of_the_table_is_one_that_extraction_writes():
    lexicon = yaml.safe_load(resources.files("llm_extract.rules").joinpath("lexicon.yaml").read_text("utf-8"))
    written = {entry["diagnosis"] for entry in lexicon["findings"] if "diagnosis" in entry}
    named = {
        code
        for preset in ("tumours", "all_lesions", "malignant")
        for rule in load_policy(preset).rules
        for code in rule.diagnosis
    }
    assert named
    assert named <= written
