"""Which lesions count, and how much."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from llm_extract.anatomy import load_anatomy
from llm_extract.records import Lesion, LesionKind, Malignancy
from rsuper.errors import UsageError
from rsuper.supervision import build_case_targets, load_policy
from rsuper.supervision.inputs import check_policy

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
    path.write_text(
        "presets: {mine: [{kind: [cyst], then: kidney_cyst_lesion}, {kind: [mass], then: count}]}"
    )
    policy = load_policy("mine", path=path)
    assert policy.lesion_class(make_lesion("kidney", kind="cyst"), ANATOMY) == "kidney_cyst_lesion"
    assert policy.lesion_class(make_lesion("adrenal_gland", kind="mass"), ANATOMY) == "adrenal_lesion"
    assert policy.lesion_class(make_lesion("kidney", kind="polyp"), ANATOMY) is None


def test_cysts_are_a_class_of_their_own_in_one_preset(make_lesion):
    policy = load_policy("tumours_and_cysts")
    for fields, name in (
        ({"kind": "cyst"}, "adrenal_cyst_lesion"),
        ({"kind": "lesion", "diagnosis": "simple_cyst"}, "adrenal_cyst_lesion"),
        ({"kind": "cyst", "malignancy": "malignant"}, "adrenal_lesion"),
        ({"kind": "cyst", "diagnosis": "ipmn"}, "adrenal_lesion"),
        ({"kind": "mass"}, "adrenal_lesion"),
        ({"kind": "lesion", "diagnosis": "hemangioma"}, None),
    ):
        assert policy.lesion_class(make_lesion("adrenal_gland", **fields), ANATOMY) == name
    assert {"kidney_cyst_lesion", "adrenal_cyst_lesion"} <= policy.own_classes(ANATOMY)
    assert load_policy().own_classes(ANATOMY) == frozenset()


@given(
    kind=st.sampled_from(get_args(LesionKind)),
    diagnosis=st.sampled_from([None, "ipmn", "simple_cyst", "hemangioma", "rcc"]),
    malignancy=st.sampled_from(get_args(Malignancy)),
    treated=st.booleans(),
)
def test_cysts_of_their_own_change_nothing_else(kind, diagnosis, malignancy, treated):
    lesion = Lesion(
        lesion_id="L1", organ="kidney", kind=kind, diagnosis=diagnosis, malignancy=malignancy, treated=treated
    )
    plain, own = (
        load_policy(name).lesion_class(lesion, ANATOMY) for name in ("tumours", "tumours_and_cysts")
    )
    assert own == plain or (plain, own) == (None, "kidney_cyst_lesion")


def test_the_example_of_the_documentation_loads(make_lesion):
    path = Path(__file__).resolve().parents[3] / "docs" / "policy_example.yaml"
    policy = load_policy(f"{path}:kidney_cancers")
    actions = [
        policy.lesion_class(make_lesion(organ, kind=kind), ANATOMY)
        for organ, kind in (("kidney", "mass"), ("kidney", "cyst"), ("kidney", "nodule"), ("liver", "mass"))
    ]
    assert actions == ["kidney_lesion", "kidney_cyst_lesion", None, None]
    assert load_policy(f"{path}:careful").presence_weight["possible"] == 0.0
    with pytest.raises(UsageError, match="several") as caught:
        load_policy(str(path))
    assert "careful" in caught.value.hint


def test_a_file_with_one_preset_needs_no_name(tmp_path, make_lesion):
    path = tmp_path / "mine.yaml"
    path.write_text("presets: {only: [{kind: [mass], then: count}]}")
    assert load_policy(str(path)).action(make_lesion()) == "count"
    with pytest.raises(UsageError) as caught:
        load_policy(str(tmp_path / "other.yaml"))
    assert caught.value.code == "policy_missing"


def test_a_broken_policy_says_which_field(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("presets: {only: [{kind: [blob], then: count}]}")
    with pytest.raises(UsageError, match=r"rules\.0\.kind\.0"):
        load_policy(str(path))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "presets: {only: [{kind: [mass], then: cuont}]}",
            "'cuont' is none of count, ignore, drop and no class",
        ),
        ("presets: {only: {rules: []}}", "rules: .*at least 1"),
        (
            "only: [{kind: [mass], then: count}]",
            "the policy file does not fit the table .there is no presets",
        ),
    ],
)
def test_what_would_silently_count_nothing_is_refused(tmp_path, text, said):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said) as caught:
        load_policy(str(path))
    assert caught.value.code == "bad_policy"


@pytest.mark.parametrize(
    "text",
    [
        "presets: {mine: [{kind: [mass], then: '../x'}]}",
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


def test_a_rule_for_an_organ_that_is_none_is_refused(tmp_path, make_lesion, make_record, organs):
    """It would never apply: every kidney cyst would be taken for what the next rule says."""
    path = tmp_path / "mine.yaml"
    path.write_text("presets: {only: [{organ: [kidneys], kind: [cyst], then: ignore}, {then: count}]}")
    policy = load_policy(str(path))
    with pytest.raises(UsageError, match="did you mean kidney") as caught:
        build_case_targets(
            [make_record(make_lesion("kidney", kind="cyst"))],
            organs,
            case_id="C1",
            spacing_mm=(1.0, 1.0, 1.0),
            lesion_classes=("kidney_lesion",),
            voxel_labelled=frozenset(),
            policy=policy,
        )
    assert caught.value.code == "unknown_organ"
    own = ANATOMY.model_copy(update={"organs": {**ANATOMY.organs, "kidneys": ANATOMY.organs["kidney"]}})
    check_policy(policy, own)


def test_numbers_of_a_policy_are_finite(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("presets: {only: {rules: [{then: count}], exophytic_factor: .inf}}")
    with pytest.raises(UsageError, match="exophytic_factor"):
        load_policy(str(path))


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
        for preset in ("tumours", "tumours_and_cysts", "all_lesions", "malignant")
        for rule in load_policy(preset).rules
        for code in rule.diagnosis
    }
    assert named
    assert named <= written
