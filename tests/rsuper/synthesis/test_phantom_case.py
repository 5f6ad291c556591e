"""Phantom cases: the same every time, and what they hold is what they say."""

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, label

from rsuper.prediction.lesions import axial_diameters
from rsuper.synthesis import PhantomConfig, case_split, make_case

CONFIG = PhantomConfig(prevalence={"pancreas": 0.9, "kidney": 0.6, "liver": 0.5})
SEED = 17


@pytest.fixture(scope="module")
def cases():
    return [make_case(SEED, index, CONFIG) for index in range(8)]


def test_a_case_is_a_function_of_seed_index_and_config(cases):
    again = make_case(SEED, 5, CONFIG)
    first = cases[5]
    assert np.array_equal(again.ct, first.ct)
    assert again.report == first.report
    assert again.lesions == first.lesions
    assert all(np.array_equal(again.organs[name], first.organs[name]) for name in first.organs)
    assert not np.array_equal(make_case(SEED + 1, 5, CONFIG).ct, first.ct)
    assert not np.array_equal(cases[6].ct, first.ct)


def test_structures_are_those_of_the_layout_and_do_not_overlap(cases):
    parts = ("pancreas_head", "pancreas_body", "pancreas_tail")
    for case in cases:
        assert set(case.organs) == {
            "liver", "spleen", "pancreas", *parts, "kidney_left", "kidney_right", "aorta", "stomach", "colon",
        }  # fmt: skip
        whole = [mask for name, mask in case.organs.items() if name not in parts]
        assert np.sum(whole, axis=0).max() == 1
        assert np.array_equal(np.sum([case.organs[p] for p in parts], axis=0), case.organs["pancreas"])
        assert all(case.organs[p].sum() * 0.027 > 2 for p in parts)


def test_sides_and_parts_lie_where_ras_says(cases):
    for case in cases:
        centre = {
            n: np.argwhere(m).mean(axis=0) @ case.affine[:3, :3].T + case.affine[:3, 3]
            for n, m in case.organs.items()
        }
        assert centre["kidney_right"][0] > 30
        assert centre["kidney_left"][0] < -30
        assert centre["liver"][0] > 20
        assert centre["spleen"][0] < -40
        assert centre["pancreas_head"][0] > centre["pancreas_body"][0] > centre["pancreas_tail"][0]
        assert centre["stomach"][1] > centre["kidney_left"][1]


def test_organs_have_plausible_volumes_and_portal_venous_values(cases):
    limits_ml = {
        "liver": (500, 2200),
        "spleen": (30, 500),
        "pancreas": (25, 130),
        "kidney_left": (60, 280),
        "aorta": (25, 150),
    }
    for case in cases:
        for name, (low, high) in limits_ml.items():
            assert low < case.organs[name].sum() * 0.027 < high, (name, case.case_id)
        mean = {name: case.ct[mask].mean() for name, mask in case.organs.items()}
        assert mean["kidney_left"] > mean["pancreas"]
        assert 80 < mean["liver"] < 160
        assert 60 < mean["pancreas"] < 140
        assert 110 < mean["aorta"] < 200


def test_lesion_truth_is_what_the_masks_measure(cases):
    seen = 0
    for case in cases:
        for name, mask in case.lesion_masks.items():
            pieces, n = label(mask)
            own = [lesion for lesion in case.lesions if lesion.lesion_class == name]
            assert n == len(own)
            assert mask.sum() * 27 == pytest.approx(sum(lesion.volume_mm3 for lesion in own))
            for lesion in own:
                nearest = np.abs(np.argwhere(mask) - lesion.centre_voxel).sum(axis=1).argmin()
                piece = pieces == pieces[tuple(np.argwhere(mask)[nearest])]
                assert axial_diameters(piece, spacing_mm=case.spacing_mm, axial_axis=2)[:3] == pytest.approx(
                    lesion.diameters_mm
                )
                assert piece.sum() * 27 == pytest.approx(lesion.volume_mm3)
                world = case.affine[:3, :3] @ lesion.centre_voxel + case.affine[:3, 3]
                assert world == pytest.approx(lesion.centre_mm)
                seen += 1
    assert seen >= 12


def test_lesions_belong_to_the_organ_part_and_side_that_the_truth_names(cases):
    for case in cases:
        for lesion in case.lesions:
            mask = case.lesion_masks[lesion.lesion_class]
            near = np.zeros_like(mask)
            centre = tuple(round(c) for c in lesion.centre_voxel)
            near[tuple(slice(max(0, c - 9), c + 10) for c in centre)] = True
            host = f"kidney_{lesion.side}" if lesion.organ == "kidney" else lesion.organ
            assert (mask & near & case.organs[host]).any()
            union = (
                case.organs["kidney_left"] | case.organs["kidney_right"]
                if lesion.organ == "kidney"
                else case.organs[host]
            )
            assert not (mask & ~union).any()
            if lesion.organ == "pancreas":
                assert lesion.part in lesion.parts
                assert case.organs[lesion.part][centre] or any(
                    case.organs[p][binary_dilation(mask & near, iterations=1)].any() for p in lesion.parts
                )


def test_hypo_is_darker_and_hyper_brighter_than_the_parenchyma():
    config = PhantomConfig(prevalence={"pancreas": 1.0}, decoys=0.0)
    differences = {"hypo": [], "hyper": []}
    for index in range(14):
        case = make_case(3, index, config)
        mask = case.lesion_masks["pancreas_lesion"]
        parenchyma = np.median(case.ct[case.organs["pancreas"] & ~binary_dilation(mask)])
        for lesion in case.lesions:
            if len(case.lesions) == 1:
                differences[lesion.attenuation].append(np.median(case.ct[mask]) - parenchyma)
    assert len(differences["hypo"]) >= 4
    assert np.mean(differences["hypo"]) < -20
    assert np.mean(differences["hyper"]) > 12
    assert max(differences["hypo"]) < 0 < min(differences["hyper"])


def test_sites_differ_in_noise_and_offset():
    quiet, loud = PhantomConfig().sites
    spread = {quiet.name: [], loud.name: []}
    for index in range(6):
        case = make_case(1, index)
        inner = case.organs["liver"] & ~binary_dilation(~case.organs["liver"], iterations=3)
        rough = np.diff(case.ct.astype(float), axis=0)[inner[1:]]
        spread[case.site].append(rough.std())
    assert min(spread[loud.name]) > 1.3 * max(spread[quiet.name])


def test_decoys_do_not_depend_on_tumours():
    with_tumours = PhantomConfig(prevalence={"pancreas": 1.0})
    without = PhantomConfig(prevalence={"pancreas": 1e-9})
    for index in range(3):
        one, other = make_case(2, index, with_tumours), make_case(2, index, without)
        assert one.decoys == other.decoys
        assert one.lesions
        assert not other.lesions
        far = ~binary_dilation(one.lesion_masks["pancreas_lesion"], iterations=4)
        assert np.array_equal(one.ct[far], other.ct[far])


def test_cohorts_come_out_balanced_over_any_stretch():
    config = PhantomConfig(split_fractions=(0.5, 0.2, 0.3))
    splits = [case_split(index, config) for index in range(200, 400)]
    assert splits.count("train") == pytest.approx(100, abs=4)
    assert splits.count("val") == pytest.approx(40, abs=4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"shape": (40, 80, 64)},
        {"spacing_mm": (9.0, 9.0, 9.0)},
        {"prevalence": {"pancreas": 1.5}},
        {"split_fractions": (0.5, 0.5, 0.5)},
        {"tumours": {"pancreas": {"hypo_hu": (50, 20)}}},
        {"unknown_option": 1},
    ],
)
def test_recipes_that_make_no_cohort_are_refused(wrong):
    with pytest.raises(ValueError, match=r".+"):
        PhantomConfig(**wrong)


def test_a_finer_grid_draws_the_same_patient_size():
    fine = PhantomConfig(shape=(144, 120, 96), spacing_mm=(2.0, 2.0, 2.0))
    case = make_case(1, 0, fine)
    coarse = make_case(1, 0)
    assert case.ct.shape == (144, 120, 96)
    ratio = case.organs["pancreas"].sum() * 8 / (coarse.organs["pancreas"].sum() * 27)
    assert 0.6 < ratio < 1.7


def test_oral_contrast_brightens_the_stomach_and_nothing_of_the_pancreas():
    plain, bright = make_case(11, 4), make_case(11, 4, PhantomConfig(oral_contrast=1.0))
    stomach, pancreas = plain.organs["stomach"], plain.organs["pancreas"]
    assert np.array_equal(bright.organs["pancreas"], pancreas)
    assert np.median(bright.ct[stomach]) > np.median(plain.ct[stomach]) + 60
    assert abs(float(bright.ct[pancreas].mean()) - float(plain.ct[pancreas].mean())) < 5
