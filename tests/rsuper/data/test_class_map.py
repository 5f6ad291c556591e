"""Class maps: presets, YAML, label tables, and what they refuse."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from llm_extract.anatomy import load_anatomy
from rsuper.data.class_map import ClassMap, load_class_map, preset_names, read_label_table
from rsuper.errors import DataError, UsageError


@pytest.mark.parametrize("name", preset_names())
def test_presets_load_and_speak_the_names_of_the_anatomy_table(name):
    layout = load_class_map(name)
    anatomy = load_anatomy()
    known = {stem for organ in anatomy.organs for stem in anatomy.organ_structures(organ)}
    known |= {
        stem for organ in anatomy.organs.values() for part in organ.parts.values() for stem in part.structures
    }
    known |= {organ.lesion_class for organ in anatomy.organs.values()}
    known |= {"inferior_vena_cava", "portal_vein_and_splenic_vein", "pancreas_duct", "heart"}
    assert set(layout.structures) <= known


def test_all_promised_presets_are_there():
    assert {"default", "abdomenatlas", "pants", "merlin_plus", "totalsegmentator", "nnunet"} <= set(
        preset_names()
    )


def test_older_names_become_ours():
    found = load_class_map("abdomenatlas").resolve(
        {"gall_bladder", "postcava", "liver", "pancreatic_lesion", "femur_left"}
    )
    assert found == {
        "femur_left": ("femur_left",),
        "gallbladder": ("gall_bladder",),
        "inferior_vena_cava": ("postcava",),
        "liver": ("liver",),
        "pancreas_lesion": ("pancreatic_lesion",),
    }


def test_parts_make_the_organ_only_when_all_are_there():
    layout = load_class_map("merlin_plus")
    segments = {f"liver_segment_{number}" for number in range(1, 9)}
    whole = layout.resolve(segments)
    assert set(whole["liver"]) == segments
    assert whole["liver_segment_4"] == ("liver_segment_4",)
    assert "liver" not in layout.resolve(segments - {"liver_segment_4"})
    assert layout.resolve(segments | {"liver"})["liver"] == ("liver",)


def test_the_first_alternative_wins_and_ignored_names_vanish():
    layout = ClassMap(structures={"bladder_lesion": ("a", "b")}, ignore=("c",))
    assert layout.resolve({"a", "b", "c"}) == {"b": ("b",), "bladder_lesion": ("a",)}


@pytest.mark.parametrize(
    "content",
    [
        'ct: "../{case_id}.nii.gz"',
        'ct: "/data/{case_id}.nii.gz"',
        "ct: ct.nii.gz",
        'masks: "{case_id}/masks.nii.gz"',
        'ct: "{case_id}/{secret}.nii.gz"',
        "structures: {liver: [../../etc/passwd]}",
        "structures: [liver]",
        "labels: {0: liver}",
        "unknown_key: 1",
        "ct: [",
        "!!python/object/apply:os.system ['true']",
        "- 1",
    ],
)
def test_maps_that_are_refused(tmp_path, content):
    (tmp_path / "map.yaml").write_text(content)
    with pytest.raises(UsageError) as caught:
        load_class_map(tmp_path / "map.yaml")
    assert caught.value.code == "class_map_invalid"
    assert "map.yaml" in str(caught.value)


def test_a_map_that_is_not_there_lists_the_presets():
    with pytest.raises(UsageError, match="totalsegmentator") as caught:
        load_class_map("no_such_preset")
    assert caught.value.code == "class_map_missing"


def test_maps_are_frozen():
    layout = ClassMap()
    with pytest.raises(ValidationError):
        layout.ct = "x"
    assert load_class_map(layout) is layout


TABLE = {1: "spleen", 2: "kidney_right", 13: "pancreas_lesion"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", json.dumps({"1": "spleen", "2": "kidney_right", "13": "pancreas_lesion"})),
        (
            "b.json",
            json.dumps({"labels": {"background": 0, "spleen": 1, "kidney_right": 2, "pancreas_lesion": 13}}),
        ),
        (
            "c.json",
            json.dumps(
                {"total": {"0": "background", "1": "spleen", "2": "kidney right", "13": "pancreas_lesion"}}
            ),
        ),
        ("d.yaml", "1: spleen\n2: kidney_right\n13: pancreas_lesion\n"),
        ("e.csv", "label,name\n0,background\n1,spleen\n2,kidney_right\n13,pancreas_lesion\n"),
        ("f.tsv", "1\tspleen\n2\tkidney_right\n13\tpancreas_lesion\n"),
        ("g.txt", '1 "spleen"\n2 "kidney_right"\n13 "pancreas_lesion"\n'),
    ],
)
def test_label_tables_of_every_tool(tmp_path: Path, name, content):
    (tmp_path / name).write_text(content)
    assert read_label_table(tmp_path / name) == TABLE


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"a": "b"}', '{"1": "../x", "2": ""}', "{broken", '{"1": ["x"]}'],
)
def test_label_tables_that_are_none(tmp_path, content):
    (tmp_path / "labels.json").write_text(content)
    with pytest.raises(DataError) as caught:
        read_label_table(tmp_path / "labels.json")
    assert caught.value.code == "label_table_invalid"
