"""Batches: a pure function of seed, step and slot; whatever is mirrored or cut stays together."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
import toy_data
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from llm_extract.anatomy import load_anatomy
from rsuper.data.augmentation import augment, mirrored_channels
from rsuper.data.batches import Batches, Channels, SamplingConfig
from rsuper.data.crops import choose_crop, cut, host_structures
from rsuper.data.fingerprint import IntensityFingerprint
from rsuper.data.store import read_case, write_case
from rsuper.supervision.types import CaseTargets, ClassTarget, LesionTarget

CHANNELS = Channels(structures=("pancreas",), lesion_classes=(toy_data.LESION_CLASS,))
PLAIN = IntensityFingerprint(low_hu=-2000, high_hu=2000, mean_hu=0, std_hu=1)  # images stay in HU
STILL = {"shift_sd": 0.0, "scale_sd": 0.0, "noise_sd": 0.0}
SHAPE = (20, 24, 18)
REGION = (slice(3, 11), slice(5, 12), slice(6, 13))
SLAB = (2, 7, 9)


def sampling(**changes):
    return SamplingConfig(**({"patch_size": (12, 12, 12), "batch_size": 4} | changes))


def source(cases, **changes):
    return Batches(cases, CHANNELS, config=sampling(**changes), intensity=PLAIN, seed=1)


@pytest.fixture
def coded_case(tmp_path):
    """A reported case whose image says everything: 1000·(in region) + 100·(in slab) + 10·(right half of the organ)."""
    region = np.zeros(SHAPE, dtype=bool)
    region[REGION] = True
    slab = np.zeros(SHAPE, dtype=bool)
    slab[:, :, SLAB[1] : SLAB[2]] = True
    organ = np.zeros(SHAPE, dtype=bool)
    organ[4:9, 6:10, 7:12] = True
    lesion = LesionTarget(
        diameters_mm=(6.0,), region=torch.from_numpy(region), centers=torch.from_numpy(organ), slab=SLAB
    )
    target = ClassTarget(state="reported", region=region, lesions=(lesion,), volume_mm3=(20.0, 400.0))
    write_case(
        tmp_path / "coded",
        image_hu=(100 * region + 10 * slab + organ).astype(np.int16),
        masks={"structure:pancreas": organ},
        targets=CaseTargets(
            case_id="coded",
            classes={toy_data.LESION_CLASS: target},
            spacing_mm=(1.0, 1.0, 1.0),
            shape=SHAPE,
        ),
        affine=np.eye(4),
    )
    return read_case(tmp_path / "coded")


def equal(first, second):
    one, two = first.supervision, second.supervision
    same = first.case_ids == second.case_ids and torch.equal(first.image, second.image)
    same = same and torch.equal(one.labels, two.labels) and torch.equal(one.known, two.known)
    return same and [torch.equal(a.region, b.region) for a, b in zip(one.pairs, two.pairs, strict=True)] == [
        True
    ] * len(one.pairs)


@pytest.mark.parametrize("stage", ["masks", "masks_and_reports", "organs"])
def test_a_batch_is_a_function_of_seed_step_and_slot(toy_prepared, stage):
    cases = toy_prepared.split("train")
    forward = [source(cases).batch(step, stage) for step in range(4)]
    again = source(cases)
    backward = [again.batch(step, stage) for step in (3, 2, 1, 0)][::-1]
    assert all(equal(one, two) for one, two in zip(forward, backward, strict=True))
    assert not equal(forward[0], forward[1])
    other = Batches(cases, CHANNELS, config=sampling(), intensity=PLAIN, seed=2)
    assert not equal(forward[0], other.batch(0, stage))
    # a slot does not depend on how many there are beside it
    single = source(cases, batch_size=1, report_fraction=1.0 if stage == "masks_and_reports" else 0.5)
    assert torch.equal(single.batch(2, stage).image[0], forward[2].image[0])


def test_stages_draw_from_the_right_cases(toy_prepared):
    batches = source(toy_prepared.split("train"))
    masked, reported = {"case_0", "case_3"}, {"case_1", "case_2", "case_4", "case_5"}
    drawn = {stage: [batches.batch(step, stage) for step in range(15)] for stage in ("masks", "organs")}
    assert {name for batch in drawn["masks"] for name in batch.case_ids} == masked
    assert {name for batch in drawn["organs"] for name in batch.case_ids} == masked | reported
    assert not any(batch.supervision.pairs for group in drawn.values() for batch in group)
    both = [batches.batch(step, "masks_and_reports") for step in range(15)]
    for batch in both:
        assert set(batch.case_ids[:2]) <= reported
        assert set(batch.case_ids[2:]) <= masked
        assert {pair.sample for pair in batch.supervision.pairs if pair.present} == {
            slot for slot, name in enumerate(batch.case_ids) if name in {"case_1", "case_4"}
        }
    positive = Counter(name in {"case_1", "case_4"} for batch in both for name in batch.case_ids[:2])
    assert positive[True] / 30 == pytest.approx(0.67, abs=0.25)


@pytest.mark.parametrize(("batch_size", "fraction"), [(1, 0.5), (1, 0.25), (3, 0.5), (2, 0.5)])
def test_the_share_of_reports_is_kept_also_where_it_is_no_whole_number(toy_prepared, batch_size, fraction):
    batches = source(toy_prepared.split("train"), batch_size=batch_size, report_fraction=fraction)
    steps = 200
    slots = sum(batches._report_slots(step) for step in range(steps))
    assert slots / (steps * batch_size) == pytest.approx(fraction, abs=0.08)
    drawn = [name for step in range(6) for name in batches.batch(step, "masks_and_reports").case_ids]
    expected = sum(batches._report_slots(step) for step in range(6))
    assert sum(name not in {"case_0", "case_3"} for name in drawn) == expected


def test_without_masks_or_without_reports_there_still_is_a_batch(toy_prepared):
    cases = {case.case_id: case for case in toy_prepared.cases}
    reports = source([cases["case_1"], cases["case_2"]])
    assert set(reports.batch(0, "masks_and_reports").case_ids) <= {"case_1", "case_2"}
    masks = source([cases["case_0"]])
    assert set(masks.batch(0, "masks_and_reports").case_ids) == {"case_0"}


@pytest.mark.parametrize(
    "axes",
    [axes for n in range(4) for axes in product((0, 1, 2), repeat=n) if list(axes) == sorted(set(axes))],
)
def test_mirrors_keep_image_labels_regions_and_slabs_together(coded_case, axes):
    config = sampling(patch_size=SHAPE, mirror_axes=axes, **STILL)
    sample = cut(coded_case, (0, 0, 0), channels=CHANNELS, patch_size=SHAPE, intensity=PLAIN)
    seen = set()
    for number in range(8):
        turned = augment(sample, np.random.default_rng(number), channels=CHANNELS, config=config)
        code = turned.image[0].numpy().round().astype(int)
        seen.add(code.tobytes())
        assert np.array_equal(turned.labels[0], code % 10 == 1)
        pair = turned.pairs[0]
        assert np.array_equal(pair.region, code >= 100)
        assert np.array_equal(turned.known[1], code < 100)
        lesion = pair.lesions[0]
        assert np.array_equal(lesion.region, code >= 100)
        assert np.array_equal(lesion.centers, code % 10 == 1)
        axis, first, last = lesion.slab
        inside = np.zeros(SHAPE, dtype=bool)
        inside[tuple(slice(first, last) if a == axis else slice(None) for a in range(3))] = True
        assert np.array_equal(inside, code // 10 % 10 == 1)
    assert len(seen) > 1 or not axes


@settings(max_examples=25, deadline=None)
@given(
    start=st.tuples(*(st.integers(0, size - 1) for size in SHAPE)),
    patch=st.tuples(*(st.integers(1, 30) for _ in range(3))),
)
def test_a_crop_is_the_slice_and_padding_is_unknown(start, patch, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "ramp"
    ramp = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.int16)
    if not folder.exists():
        targets = CaseTargets(
            case_id="ramp",
            classes={toy_data.LESION_CLASS: ClassTarget(state="absent")},
            spacing_mm=(1.0, 1.0, 1.0),
            shape=SHAPE,
        )
        write_case(
            folder,
            image_hu=ramp,
            masks={"structure:pancreas": ramp % 2 == 1},
            targets=targets,
            affine=np.eye(4),
        )
    intensity = replace_range(PLAIN)
    sample = cut(read_case(folder), start, channels=CHANNELS, patch_size=patch, intensity=intensity)
    part = ramp[tuple(slice(a, a + n) for a, n in zip(start, patch, strict=True))]
    inside = tuple(slice(0, n) for n in part.shape)
    assert tuple(sample.image.shape) == (1, *patch)
    assert np.array_equal(sample.image[0][inside], part)
    assert np.array_equal(sample.labels[0][inside], part % 2 == 1)
    known = np.zeros(patch, dtype=bool)
    known[inside] = True
    assert np.array_equal(sample.known[0], known)
    assert np.array_equal(sample.known[1], known)
    assert not (sample.labels.numpy() & ~sample.known.numpy()).any()
    assert sample.image.min() == part.min()


def replace_range(intensity):
    return intensity.model_copy(update={"low_hu": -40000.0, "high_hu": 40000.0})


def test_a_crop_holds_the_region_wherever_it_fits(coded_case):
    config = sampling(patch_size=(12, 9, 8))
    starts = {
        choose_crop(coded_case, np.random.default_rng(n), channels=CHANNELS, config=config) for n in range(80)
    }
    for start in starts:
        for first, side, part, size in zip(start, config.patch_size, REGION, SHAPE, strict=True):
            assert first <= part.start
            assert part.stop <= first + side <= size
    # every admissible start comes up, so the region is not always in the middle of the patch
    assert {start[0] for start in starts} == set(range(4))
    sample = cut(
        coded_case, next(iter(starts)), channels=CHANNELS, patch_size=config.patch_size, intensity=PLAIN
    )
    assert sample.pairs[0].complete


def test_a_region_larger_than_the_patch_is_cut_inside_it(coded_case):
    config = sampling(patch_size=(4, 4, 4))
    hits = 0
    for number in range(20):
        start = choose_crop(coded_case, np.random.default_rng(number), channels=CHANNELS, config=config)
        pairs = cut(coded_case, start, channels=CHANNELS, patch_size=(4, 4, 4), intensity=PLAIN).pairs
        hits += bool(pairs)
        assert not any(pair.complete or pair.volume_mm3[0] > 0 for pair in pairs)
    assert hits >= 17


def test_a_patch_larger_than_the_volume_starts_at_zero(coded_case):
    config = sampling(patch_size=(64, 64, 64))
    assert choose_crop(coded_case, np.random.default_rng(0), channels=CHANNELS, config=config) == (0, 0, 0)


def test_lesion_crops_show_the_lesion(toy_prepared):
    case = toy_prepared.cases[0]
    config = sampling(patch_size=(8, 8, 8), lesion_centred=1.0)
    for number in range(20):
        start = choose_crop(case, np.random.default_rng(number), channels=CHANNELS, config=config)
        sample = cut(case, start, channels=CHANNELS, patch_size=(8, 8, 8), intensity=PLAIN)
        assert sample.labels[1].any()


def test_left_and_right_change_places_in_a_mirror(tmp_path):
    left, right = np.zeros(SHAPE, dtype=bool), np.zeros(SHAPE, dtype=bool)
    left[1:4], right[15:19] = True, True
    targets = CaseTargets(
        case_id="k",
        classes={"kidney_lesion": ClassTarget(state="voxels")},
        spacing_mm=(1.0, 1.0, 1.0),
        shape=SHAPE,
    )
    masks = {"structure:kidney_left": left, "structure:kidney_right": right, "label:kidney_lesion": left}
    write_case(tmp_path / "k", image_hu=left.astype(np.int16), masks=masks, targets=targets, affine=np.eye(4))
    channels = Channels(structures=("kidney_left", "kidney_right"), lesion_classes=("kidney_lesion",))
    sample = cut(read_case(tmp_path / "k"), (0, 0, 0), channels=channels, patch_size=SHAPE, intensity=PLAIN)
    config = sampling(patch_size=SHAPE, mirror_axes=(0,), **STILL)
    turned = [augment(sample, np.random.default_rng(n), channels=channels, config=config) for n in range(8)]
    mirrored = [item for item in turned if not torch.equal(item.image, sample.image)]
    assert 0 < len(mirrored) < 8
    for item in mirrored:
        assert np.array_equal(item.labels[0], right[::-1])  # what lies on the left now, was the right kidney
        assert np.array_equal(item.labels[1], left[::-1])
        assert np.array_equal(item.labels[2], left[::-1])
        assert np.array_equal(item.image[0], left[::-1].astype(float))
    only_left = Channels(structures=("kidney_left",), lesion_classes=("kidney_lesion",))
    single = cut(read_case(tmp_path / "k"), (0, 0, 0), channels=only_left, patch_size=SHAPE, intensity=PLAIN)
    for number in range(8):
        kept = augment(single, np.random.default_rng(number), channels=only_left, config=config)
        assert torch.equal(kept.image, single.image)


def test_mirrored_channels_is_its_own_inverse():
    names = ("liver", "kidney_left", "kidney_right", "lung_upper_lobe_left", "lung_upper_lobe_right")
    order = mirrored_channels(names)
    assert order == (0, 2, 1, 4, 3)
    assert mirrored_channels(("kidney_left", "liver")) is None


def test_the_attenuation_term_gets_hu_and_organ_only_when_asked(toy_prepared):
    cases = toy_prepared.split("train")
    assert source(cases).batch(0, "masks_and_reports").supervision.image_hu is None
    config = sampling(patch_size=(24, 28, 20), mirror_axes=(0, 1, 2))
    batches = Batches(
        cases,
        CHANNELS,
        config=config,
        intensity=PLAIN,
        seed=1,
        hosts={toy_data.LESION_CLASS: ("pancreas", "not_there")},
    )
    for step in range(3):
        batch = batches.batch(step, "masks_and_reports").supervision
        assert torch.equal(batch.organ[:, 1], batch.labels[:, 0])  # augmented alike
        assert not batch.organ[:, 0].any()
        inside = batch.image_hu[:, 0][batch.organ[:, 1]]
        assert 0 < inside.min() < 50  # the dark lesion
        assert 95 < inside.max() < 130  # its organ


def test_organs_of_ones_own_host_their_lesions_as_well(tmp_path):
    channels = Channels(structures=("tail",), lesion_classes=("appendix_lesion", "pancreas_lesion"))
    pancreas = load_anatomy().organ_structures("pancreas")
    assert host_structures(channels) == {"pancreas_lesion": pancreas}
    file = tmp_path / "mine.yaml"
    file.write_text("organs: {appendix: {structures: [tail], margin_mm: 6, synonyms: [appendix]}}\n")
    assert host_structures(channels, load_anatomy(file)) == {
        "appendix_lesion": ("tail",),
        "pancreas_lesion": pancreas,
    }


def test_evaluation_masks_come_along_for_the_log_alone(tmp_path):
    """Two reported cases, one with an evaluation mask that is its image: cut, padded and mirrored with it."""
    lesion, region = np.zeros(SHAPE, dtype=bool), np.zeros(SHAPE, dtype=bool)
    lesion[5:9, 6:9, 8:12], region[REGION] = True, True
    target = ClassTarget(
        state="reported",
        region=region,
        lesions=(LesionTarget(diameters_mm=(4.0,)),),
        volume_mm3=(20.0, 400.0),
    )
    cases = []
    for name, masks in (("with", {f"reference:{toy_data.LESION_CLASS}": lesion}), ("without", {})):
        targets = CaseTargets(
            case_id=name, classes={toy_data.LESION_CLASS: target}, spacing_mm=(1.0, 1.0, 1.0), shape=SHAPE
        )
        write_case(
            tmp_path / name,
            image_hu=lesion.astype(np.int16),
            masks={"structure:pancreas": region} | masks,
            targets=targets,
            affine=np.eye(4),
        )
        cases.append(read_case(tmp_path / name))
    batches = source(cases, patch_size=(22, 20, 20), mirror_axes=(0, 1, 2), **STILL)
    seen = 0
    for step in range(4):
        batch = batches.batch(step, "masks_and_reports")
        assert batches.batch(step, "organs").supervision.reference is None
        reference = batch.supervision.reference
        for slot, case_id in enumerate(batch.case_ids):
            expected = (batch.image[slot, 0] == 1) if case_id == "with" else torch.zeros(22, 20, 20)
            if reference is not None:
                assert torch.equal(reference[slot, 1], expected.bool())
                assert not reference[slot, 0].any()
                seen += int(reference[slot].any())
            else:
                assert case_id == "without"
        assert not batch.supervision.labels[:, 1].any(), "never a label"
    assert seen > 2
    alone = source(cases[1:], **STILL).batch(0, "masks_and_reports")
    assert alone.supervision.reference is None


def test_bad_settings_are_refused():
    for wrong in ({"patch_size": (0, 8, 8)}, {"batch_size": 0}, {"report_fraction": 1.5}, {"typo": 1}):
        with pytest.raises(ValidationError):
            SamplingConfig(**wrong)
    assert replace(CHANNELS, structures=()).lesion_index == {toy_data.LESION_CLASS: 0}


def test_a_report_that_calls_the_organ_free_gives_the_yes_no_loss_its_no():
    from rsuper.data.crops import denials
    from rsuper.data.sampling import Channels
    from rsuper.losses import ReportSupervisionConfig, ReportSupervisionLoss
    from rsuper.supervision.types import CaseTargets, ClassTarget, SupervisionBatch

    classes = {"pancreas_lesion": ClassTarget(state="absent"), "liver_lesion": ClassTarget(state="unknown")}
    targets = CaseTargets(case_id="a", classes=classes, spacing_mm=(3.0, 3.0, 3.0), shape=(8, 8, 8))
    channels = Channels(structures=("pancreas",), lesion_classes=("liver_lesion", "pancreas_lesion"))
    pairs = denials(targets, (4, 5, 6), channels=channels)
    assert [(pair.channel, pair.present, bool(pair.region.all())) for pair in pairs] == [(2, False, True)]
    labels = torch.zeros(1, 3, 4, 5, 6)
    batch = SupervisionBatch(
        labels=labels, known=labels == 1, spacing_mm=torch.full((1, 3), 3.0), pairs=pairs
    )
    for name, gets_gradient in (
        ("absence", True),
        ("presence", False),
        ("ball_bce", False),
        ("volume", False),
    ):
        weights = {
            "presence": 0.0,
            "absence": 0.0,
            "ball_bce": 0.0,
            "ball_dice": 0.0,
            "volume": 0.0,
            "attenuation": 0.0,
        }
        logits = torch.zeros(1, 3, 4, 5, 6, requires_grad=True)
        loss = ReportSupervisionLoss(ReportSupervisionConfig(**{**weights, name: 1.0}))
        loss(logits, batch).total.backward()
        assert bool((logits.grad[0, 2] > 0).any()) is gets_gradient, name
        assert not logits.grad[0, :2].any()
