from pathlib import Path

import pytest

from llm_extract.anatomy import load_anatomy


def test_every_organ_of_the_contract_is_there():
    expected = {
        "liver", "pancreas", "kidney", "adrenal_gland", "spleen", "gallbladder", "bile_duct", "bladder",
        "prostate",
        "uterus", "ovary", "esophagus", "stomach", "duodenum", "small_bowel", "colon", "lung", "pleura",
        "bone",
        "breast", "lymph_node", "thyroid", "brain", "peritoneum", "soft_tissue", "vessel", "other",
    }  # fmt: skip
    assert set(load_anatomy().organs) == expected


def test_part_names_carry_their_organ():
    for organ in load_anatomy().organs.values():
        assert all(name.startswith(organ.name) for name in organ.parts)


@pytest.mark.parametrize(
    ("organ", "parts", "laterality", "expected"),
    [
        ("pancreas", ("pancreas_head",), "unknown", ("pancreas_head",)),
        ("pancreas", ("pancreas_uncinate",), "unknown", ("pancreas_head",)),
        ("pancreas", ("pancreas_neck", "pancreas_body"), "n/a", ("pancreas_head", "pancreas_body")),
        ("kidney", (), "left", ("kidney_left",)),
        ("kidney", ("kidney_upper_pole",), "right", ("kidney_right",)),
        ("kidney", (), "bilateral", ("kidney_left", "kidney_right")),
        ("liver", ("liver_left_lobe",), "n/a", ("liver_segment_2", "liver_segment_3", "liver_segment_4")),
        ("lung", ("lung_lower_lobe",), "unknown", ("lung_lower_lobe_left", "lung_lower_lobe_right")),
        ("liver", ("no_such_part",), "unknown", ("liver",)),
        ("bladder", (), "unknown", ("urinary_bladder",)),
        ("peritoneum", (), "unknown", ()),
    ],
)
def test_structures_for(organ, parts, laterality, expected):
    assert load_anatomy().structures_for(organ, parts, laterality) == expected


def test_lesion_class_of_the_adrenal_gland():
    assert load_anatomy().organs["adrenal_gland"].lesion_class == "adrenal_lesion"


def test_a_user_extends_the_table(tmp_path: Path):
    extra = tmp_path / "mine.yaml"
    extra.write_text(
        "organs:\n"
        "  liver: {synonyms: [leber], margin_mm: 12}\n"
        "  parotid: {paired: true, side_structures: {left: [parotid_l], right: [parotid_r]}}\n",
        "utf-8",
    )
    anatomy = load_anatomy(extra)
    assert "leber" in anatomy.organs["liver"].synonyms
    assert "liver" in anatomy.organs["liver"].synonyms
    assert anatomy.organs["liver"].margin_mm == 12
    assert anatomy.organs["liver"].max_diameter_mm == load_anatomy().organs["liver"].max_diameter_mm
    assert anatomy.structures_for("parotid", (), "left") == ("parotid_l",)
    assert "parotid" not in load_anatomy().organs


@pytest.mark.parametrize(
    "text", ["[]", "liver: {}", "organs: {liver: {parts: {liver_x: {one_of: [liver_y]}}}}"]
)
def test_a_broken_table_is_refused(tmp_path: Path, text: str):
    extra = tmp_path / "broken.yaml"
    extra.write_text(text, "utf-8")
    with pytest.raises(ValueError, match=r"organs|one_of"):
        load_anatomy(extra)
