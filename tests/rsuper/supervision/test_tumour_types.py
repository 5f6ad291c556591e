"""Host regions of the 16 tumour types, with the file names that common segmentation tools write."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from llm_extract.anatomy import load_anatomy
from rsuper.supervision import build_case_targets, check_consistency, load_policy, mask_advice, organ_of_class
from rsuper.supervision.regions import find_host, of_side

ANATOMY = load_anatomy()
VERTEBRAE = [f"vertebrae_{a}{i}" for a, n in (("C", 7), ("T", 12), ("L", 5)) for i in range(1, n + 1)]
RIBS = [f"rib_{side}_{i}" for side in ("left", "right") for i in range(1, 13)]
LIMBS = [
    f"{bone}_{side}"
    for bone in ("hip", "femur", "scapula", "clavicula", "humerus")
    for side in ("left", "right")
]
BONES = [*VERTEBRAE, "vertebrae_S1", "sacrum", "sternum", "skull", *RIBS, *LIMBS]
LUNG = {
    "left": ["lung_upper_lobe_left", "lung_lower_lobe_left"],
    "right": ["lung_upper_lobe_right", "lung_middle_lobe_right", "lung_lower_lobe_right"],
}
LIVER_PARTS = [f"liver_segment_{i}" for i in range(1, 9)]
PANCREAS_PARTS = ["pancreas_head", "pancreas_body", "pancreas_tail"]
FILES = [
    *(
        "liver",
        "spleen",
        "gallbladder",
        "stomach",
        "pancreas",
        "esophagus",
        "duodenum",
        "colon",
        "small_bowel",
    ),
    *("urinary_bladder", "prostate", "uterus", "breast_left", "breast_right", "kidney_left", "kidney_right"),
    *("adrenal_gland_left", "adrenal_gland_right", *LUNG["left"], *LUNG["right"], *BONES),
    *(*LIVER_PARTS, *PANCREAS_PARTS),
]
NOT_FROM_TOTALSEGMENTATOR = {"uterus", "breast_left", "breast_right", *LIVER_PARTS, *PANCREAS_PARTS}
TYPES = {
    "adrenal_lesion": ("adrenal_gland", ["adrenal_gland_left", "adrenal_gland_right"]),
    "bladder_lesion": ("bladder", ["urinary_bladder"]),
    "bone_lesion": ("bone", BONES),
    "breast_lesion": ("breast", ["breast_left", "breast_right"]),
    "colon_lesion": ("colon", ["colon"]),
    "duodenum_lesion": ("duodenum", ["duodenum"]),
    "esophagus_lesion": ("esophagus", ["esophagus"]),
    "gallbladder_lesion": ("gallbladder", ["gallbladder"]),
    "kidney_lesion": ("kidney", ["kidney_left", "kidney_right"]),
    "liver_lesion": ("liver", ["liver"]),
    "lung_lesion": ("lung", [*LUNG["left"], *LUNG["right"]]),
    "pancreas_lesion": ("pancreas", ["pancreas"]),
    "prostate_lesion": ("prostate", ["prostate"]),
    "spleen_lesion": ("spleen", ["spleen"]),
    "stomach_lesion": ("stomach", ["stomach"]),
    "uterus_lesion": ("uterus", ["uterus"]),
}


@pytest.fixture(scope="module")
def masks() -> dict[str, np.ndarray]:
    """A 3 x 3 x 3 block a file, in a row of cells 8 voxels apart; parts are slices of their organ."""
    files = [name for name in FILES if name not in LIVER_PARTS + PANCREAS_PARTS]
    found = {}
    for number, name in enumerate(files):
        mask = np.zeros((9, 9, 8 * len(files)), dtype=bool)
        mask[3:6, 3:6, 8 * number + 2 : 8 * number + 5] = True
        found[name] = mask
    for organ, parts in (("liver", LIVER_PARTS), ("pancreas", PANCREAS_PARTS)):
        voxels = np.argwhere(found[organ])
        for part, own in zip(parts, np.array_split(voxels, len(parts)), strict=True):
            found[part] = np.zeros_like(found[organ])
            found[part][tuple(own.T)] = True
    return found


def target(report, masks, name, **options):
    return build_case_targets(
        [report],
        masks,
        case_id="C1",
        spacing_mm=(2.0, 2.0, 2.0),
        lesion_classes=(name,),
        voxel_labelled=frozenset(),
        **options,
    ).classes[name]


def union(masks, stems) -> np.ndarray:
    return np.logical_or.reduce([masks[stem] for stem in stems])


@pytest.mark.parametrize("name", TYPES)
def test_every_tumour_type_has_its_organ_and_its_region(masks, make_lesion, make_record, name):
    organ, files = TYPES[name]
    assert organ_of_class(name, ANATOMY) == organ
    found = target(make_record(make_lesion(organ, diameters_mm=(4.0,))), masks, name)
    assert (found.state, found.weight, found.codes) == ("reported", 1.0, ())
    assert found.margin_mm == ANATOMY.organs[organ].margin_mm
    own = union(masks, files)
    assert found.region[own].all()
    others = union(masks, [f for f in FILES if f not in files and not f.startswith(organ)])
    inner = np.roll(others, 1, 2) & np.roll(others, -1, 2) & others
    assert not found.region[
        inner & (np.arange(9) == 4)[:, None, None] & (np.arange(9) == 4)[None, :, None]
    ].any()


@pytest.mark.parametrize("name", TYPES)
def test_a_part_without_a_mask_of_its_own_is_the_whole_organ_with_a_code(
    masks, make_lesion, make_record, name
):
    organ, files = TYPES[name]
    bare = {stem: mask for stem, mask in masks.items() if stem not in LIVER_PARTS + PANCREAS_PARTS}
    parts = [part for part in ANATOMY.organs[organ].parts.values() if part.side is None]
    missing = next((part for part in parts if not set(part.structures) & set(bare) and not part.one_of), None)
    if missing is None:
        pytest.skip("every part of this organ has its files, or it has no parts")
    report = make_record(make_lesion(organ, parts=(missing.name,), diameters_mm=(4.0,)))
    found = target(report, bare, name)
    assert found.codes == ("part_mask_missing",)
    assert (found.state, found.weight) == ("reported", 1.0)
    assert found.region[union(bare, files)].all()


@pytest.mark.parametrize("name", TYPES)
def test_without_a_mask_the_class_is_unknown_everywhere_and_says_what_to_do(
    masks, make_lesion, make_record, name
):
    organ, files = TYPES[name]
    bare = {stem: m for stem, m in masks.items() if stem not in files and not stem.startswith(organ)}
    report = make_record(make_lesion(organ, diameters_mm=(4.0,)))
    found = target(report, bare, name)
    assert (found.state, found.weight, found.region) == ("unknown", 0.0, None)
    assert found.codes == ("organ_mask_missing",)
    (finding,) = check_consistency(report, bare, spacing_mm=(2.0, 2.0, 2.0))
    assert (finding.code, finding.excludes) == ("organ_mask_missing", True)
    assert mask_advice(organ).endswith("supervise nothing")


@pytest.mark.parametrize("organ", ["breast", "prostate", "uterus"])
def test_organs_that_the_usual_tools_lack_have_advice_of_their_own(organ):
    assert mask_advice(organ) != mask_advice("liver")


@pytest.mark.parametrize(
    ("organ", "parts", "side", "files"),
    [
        ("lung", ("lung_upper_lobe",), "left", ["lung_upper_lobe_left"]),
        ("lung", ("lung_upper_lobe",), "unknown", ["lung_upper_lobe_left", "lung_upper_lobe_right"]),
        ("lung", (), "right", LUNG["right"]),
        ("liver", ("liver_right_posterior",), "n/a", ["liver_segment_6", "liver_segment_7"]),
        ("pancreas", ("pancreas_neck",), "n/a", ["pancreas_head", "pancreas_body"]),
        ("bone", ("bone_vertebra_l3",), "unknown", ["vertebrae_L3"]),
        ("bone", ("bone_spine",), "unknown", VERTEBRAE),
        ("bone", ("bone_rib",), "left", [f"rib_left_{i}" for i in range(1, 13)]),
        ("bone", ("bone_pelvis",), "right", ["hip_right"]),
        ("bone", ("bone_femur",), "unknown", ["femur_left", "femur_right"]),
        ("bone", ("bone_sacrum",), "left", ["sacrum"]),
        ("bone", (), "left", [name for name in BONES if "_right" not in name]),
        ("breast", (), "left", ["breast_left"]),
        ("adrenal_gland", (), "right", ["adrenal_gland_right"]),
        ("kidney", (), "bilateral", ["kidney_left", "kidney_right"]),
    ],
)
def test_parts_and_sides_pick_their_files(masks, organ, parts, side, files):
    host = find_host(masks, ANATOMY, organ=organ, parts=parts, laterality=side)
    assert set(host.structures) == set(files)
    assert host.codes == ()
    assert host.complete


def test_one_mask_of_both_breasts_is_used_whole_and_says_so(masks):
    both = {"breast": masks["breast_left"] | masks["breast_right"]}
    host = find_host(both, ANATOMY, organ="breast", laterality="left")
    assert (host.structures, host.codes, host.complete) == (("breast",), ("side_mask_missing",), True)
    assert find_host(both, ANATOMY, organ="breast").codes == ()


def test_a_skeleton_that_lacks_a_file_is_not_complete(masks):
    some = {name: mask for name, mask in masks.items() if name != "hip_left"}
    assert find_host(some, ANATOMY, organ="bone").complete is False
    assert find_host(some, ANATOMY, organ="bone", laterality="right").complete is True
    assert find_host(some, ANATOMY, organ="bone", parts=("bone_spine",)).complete is True


def test_only_files_of_the_other_side_are_dropped():
    assert of_side(("hip_left", "hip_right", "sacrum", "upright"), "right") == (
        "hip_right",
        "sacrum",
        "upright",
    )
    assert of_side(("hip_left",), "right") == ("hip_left",)
    assert of_side(("hip_left", "hip_right"), "unknown") == ("hip_left", "hip_right")


@pytest.mark.real_data
def test_the_names_are_those_that_totalsegmentator_writes(shared_data):
    table = shared_data / "ct" / "totalsegmentator_label_names.json"
    if not table.is_file():
        pytest.skip("no ct/totalsegmentator_label_names.json in the folder of real material")
    names = set(json.loads(table.read_text(encoding="utf-8"))["total"].values())
    assert set(FILES) - NOT_FROM_TOTALSEGMENTATOR <= names


def test_a_class_that_a_user_adds_works_like_a_built_in_one(tmp_path: Path, masks, make_lesion, make_record):
    extra = tmp_path / "anatomy.yaml"
    extra.write_text(
        "organs:\n"
        "  thymus:\n"
        "    synonyms: [thymus]\n"
        "    structures: [thymus]\n"
        "    margin_mm: 6\n"
        "    parts:\n"
        "      thymus_left_lobe: {short: [left lobe], structures: [thymus_left]}\n",
        encoding="utf-8",
    )
    anatomy = load_anatomy(extra)
    own = {
        **masks,
        "thymus": masks["spleen"],
        "thymus_left": masks["spleen"] & (np.arange(9) < 5)[:, None, None],
    }
    del own["spleen"]
    report = make_record(make_lesion("thymus", parts=("thymus_left_lobe",), diameters_mm=(4.0,)))
    found = target(report, own, "thymus_lesion", anatomy=anatomy, policy=load_policy())
    assert (found.state, found.margin_mm, found.codes) == ("reported", 6.0, ())
    assert found.region[own["thymus_left"]].all()
    assert target(report, own, "thymus_lesion").codes == ("class_without_organ",)
