"""A policy and an anatomy of one's own reach the prepared targets, and are part of what makes a case anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_extract.anatomy_file import check_anatomy_file
from llm_extract.records import Evidence, Lesion
from rsuper.data.classes import suggest_classes
from rsuper.data.layout import Dataset
from rsuper.data.prepare import PrepareConfig, prepare
from rsuper.errors import UsageError
from rsuper.supervision import load_policy
from rsuper.supervision.user_anatomy import load_user_anatomy

QUOTE = Evidence(field="lesion", start=0, end=2, text="CT", section="findings")
TABLE = "organs:\n  thymus:\n    synonyms: [thymus]\n    structures: [thymus]\n    margin_mm: 7\n"


@pytest.fixture
def dataset(cohort) -> Dataset:
    cyst = Lesion(
        lesion_id="L1",
        organ="pancreas",
        kind="cyst",
        diameters_mm=(12.0,),
        size_kind="exact",
        evidence=(QUOTE,),
    )
    thymoma = Lesion(lesion_id="L2", organ="thymus", kind="mass", evidence=(QUOTE,))
    masks = {"pancreas": ((12, 22), (14, 18), (10, 14)), "thymus": ((2, 8), (6, 12), (10, 18))}
    return Dataset.open(cohort.add("a", lesions=[cyst, thymoma], masks=masks).finish())


def test_cysts_become_a_class_of_their_own(dataset, tmp_path):
    classes = ("pancreas_lesion", "pancreas_cyst_lesion")
    states = {}
    for name in ("tumours", "tumours_and_cysts", "all_lesions"):
        config = PrepareConfig(lesion_classes=classes, policy=load_policy(name))
        (case,) = prepare(dataset, tmp_path / name, config=config).cases
        states[name] = tuple(case.state(lesion_class) for lesion_class in classes)
    assert states == {
        "tumours": ("unknown", "unknown"),
        "tumours_and_cysts": ("unknown", "reported"),
        "all_lesions": ("reported", "unknown"),
    }


def test_another_policy_makes_the_case_anew(dataset, tmp_path):
    for name, state in (("tumours", "unknown"), ("all_lesions", "reported")):
        config = PrepareConfig(lesion_classes=("pancreas_lesion",), policy=load_policy(name))
        (case,) = prepare(dataset, tmp_path / "out", config=config).cases
        assert case.state("pancreas_lesion") == state


def test_an_organ_of_ones_own_is_supervised(dataset, tmp_path: Path):
    file = tmp_path / "anatomy.yaml"
    file.write_text(TABLE, encoding="utf-8")
    anatomy = load_user_anatomy(file)
    classes, structures = suggest_classes(dataset, ("thymus_lesion",), anatomy=anatomy)
    assert (classes, structures) == (("thymus_lesion",), ("thymus",))
    config = PrepareConfig(lesion_classes=classes, structures=structures, anatomy=anatomy)
    (case,) = prepare(dataset, tmp_path / "out", config=config).cases
    target = case.case_targets().classes["thymus_lesion"]
    assert (target.state, target.margin_mm) == ("reported", 7.0)
    with pytest.raises(UsageError, match="thymus_lesion"):
        suggest_classes(dataset, ("thymus_lesion",))


@pytest.mark.parametrize(
    "text", ["organs: [", "other: {}", "organs: {thymus: {margin_mm: wide}}", "organs: {a: 3}"]
)
def test_a_broken_anatomy_is_a_usage_error(tmp_path: Path, text):
    file = tmp_path / "anatomy.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load_user_anatomy(file)
    assert caught.value.code == "bad_anatomy"


def test_every_verb_reads_an_anatomy_file_as_the_extraction_does(tmp_path: Path):
    """Mistakes come with their line; a file that is good for one verb is good for all."""
    file = tmp_path / "anatomy.yaml"
    file.write_text("organs:\n  thymus:\n    synonyms: [thymus]\n    margin_mm: wide\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"line 4: organs\.thymus\.margin_mm"):
        load_user_anatomy(file)
    file.write_text(TABLE, encoding="utf-8")
    assert load_user_anatomy(file) == check_anatomy_file(file)


def test_a_missing_anatomy_file_is_a_usage_error(tmp_path: Path):
    with pytest.raises(UsageError, match="nowhere"):
        load_user_anatomy(tmp_path / "nowhere.yaml")


def test_an_empty_drawn_mask_beside_a_positive_report_is_named(cohort, tmp_path: Path):
    mass = Lesion(lesion_id="L1", organ="pancreas", kind="mass", evidence=(QUOTE,))
    masks = {"pancreas": ((12, 22), (14, 18), (10, 14)), "pancreas_lesion": ((0, 0), (0, 0), (0, 0))}
    data = Dataset.open(cohort.add("a", lesions=[mass], masks=masks).finish())
    (case,) = prepare(data, tmp_path / "out", config=PrepareConfig(lesion_classes=("pancreas_lesion",))).cases
    target = case.case_targets().classes["pancreas_lesion"]
    assert (target.state, target.codes) == ("voxels", ("mask_denies_report",))


def test_a_case_with_nothing_but_a_drawn_lesion_is_prepared(cohort, tmp_path: Path):
    data = Dataset.open(cohort.add("a", masks={"pancreas_lesion": ((12, 16), (14, 18), (10, 14))}).finish())
    result = prepare(data, tmp_path / "out", config=PrepareConfig(lesion_classes=("pancreas_lesion",)))
    assert result.failures == ()
    assert result.cases[0].state("pancreas_lesion") == "voxels"
