"""A target map says of every crop what the targets themselves say of it, and survives flips, turns and zooms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from llm_extract.reports import Report
from llm_extract.rules import extract_record
from rsuper.data.augmentation import augment
from rsuper.data.crops import Sample
from rsuper.data.sampling import Channels, SamplingConfig
from rsuper.errors import DataError, UsageError
from rsuper.integrations import TargetKey, encode_targets, softmax_classes, supervision_batch, target_map
from rsuper.losses import ReportSupervisionLoss, softmax_log_odds
from rsuper.supervision import build_case_targets, crop_label, crop_pairs
from rsuper.supervision.types import CaseTargets, ClassTarget, LesionTarget, SupervisionBatch

CHANNELS = ("pancreas", "kidney_left", "pancreas_lesion", "kidney_lesion")
LESIONS = {"pancreas_lesion": 2, "kidney_lesion": 3}
TEXTS = (
    "Pancreas: 2.8 x 2.2 cm hypoattenuating mass in the head. 12 mm mass in the left kidney, 9 mm in the right.",
    "There are multiple masses in the pancreas, the largest measuring 3.1 cm. The kidneys are free of focal lesions.",
    "The pancreas is normal, without a focal lesion.",
)


def targets_of(case, text):
    record = extract_record(Report(report_id="r", text=text))
    return build_case_targets(
        [record],
        case.organs,
        case_id=case.case_id,
        spacing_mm=case.spacing_mm,
        lesion_classes=tuple(LESIONS),
        voxel_labelled=frozenset(),
    )


def with_slab(targets):
    """The same targets with a slab on the first lesion of each reported class."""
    classes = dict(targets.classes)
    for name, target in targets.classes.items():
        if target.lesions:
            box = target.region_box
            middle = (box[1].start + box[1].stop) // 2
            first = replace(target.lesions[0], slab=(1, middle - 2, middle + 3))
            classes[name] = replace(target, lesions=(first, *target.lesions[1:]))
    return replace(targets, classes=classes)


def own_region(lesion, pair):
    """The region of a lesion with its slab, as the ball search takes it."""
    region = pair.region if lesion.region is None else pair.region & lesion.region
    if lesion.slab is not None:
        axis, start, stop = lesion.slab
        place = [slice(None)] * 3
        place[axis] = slice(start, stop)
        inside = torch.zeros_like(region)
        inside[tuple(place)] = region[tuple(place)]
        region = inside
    return region


def assert_same_pairs(ours, theirs):
    assert [(p.channel, p.complete, p.volume_mm3, p.median_mm3, p.weight) for p in ours] == [
        (p.channel, p.complete, p.volume_mm3, p.median_mm3, p.weight) for p in theirs
    ]
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one.region, other.region)
        for a, b in zip(one.lesions, other.lesions, strict=True):
            scalars = ("diameters_mm", "volume_mm3", "weight", "remainder", "median_mm3", "sigma_log")
            assert [getattr(a, name) for name in scalars] == [getattr(b, name) for name in scalars]
            assert torch.equal(own_region(a, one), own_region(b, other))
            assert (a.centers is None) == (b.centers is None)
            if a.centers is not None:
                assert torch.equal(a.centers & one.region, b.centers & other.region)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("slabs", ["without", "with"])
def test_every_crop_says_what_the_targets_say_of_it(positive, text, slabs):
    targets = targets_of(positive, text)
    if slabs == "with":
        targets = with_slab(targets)
    carried = encode_targets(targets, positive.organs, channels=CHANNELS)
    rng = np.random.default_rng(7)
    complete = set()
    for number in range(12):
        size = [n if number == 0 else int(rng.integers(n // 3, n + 1)) for n in targets.shape]
        start = [int(rng.integers(0, n - s + 1)) for n, s in zip(targets.shape, size, strict=True)]
        stop = [a + s for a, s in zip(start, size, strict=True)]
        box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        batch = supervision_batch([carried.codes[(slice(None), *box)]], [carried.key])
        for name in ("pancreas", "kidney_left"):
            channel = CHANNELS.index(name)
            assert torch.equal(batch.labels[0, channel], torch.from_numpy(positive.organs[name][box]))
            assert batch.known[0, channel].all()
        for name, channel in LESIONS.items():
            crop = crop_label(targets, name, start, stop)
            assert torch.equal(batch.known[0, channel], torch.from_numpy(crop.known))
            assert not batch.labels[0, channel].any()
        said = tuple(pair for pair in batch.pairs if pair.present)
        assert_same_pairs(said, crop_pairs(targets, start, stop, sample=0, channels=LESIONS))
        complete |= {pair.complete for pair in said}
    if text is not TEXTS[2]:
        assert complete == {True, False}


def test_a_flip_of_the_map_is_the_flip_of_the_targets(positive):
    targets = with_slab(targets_of(positive, TEXTS[0]))
    carried = encode_targets(targets, positive.organs, channels=CHANNELS)
    whole = carried.supervision()
    pairs = crop_pairs(targets, (0, 0, 0), targets.shape, sample=0, channels=LESIONS)
    sample = Sample(
        case=None, start=(0, 0, 0), image=torch.zeros(1, *targets.shape), labels=whole.labels[0],
        known=whole.known[0], pairs=pairs,
    )  # fmt: skip
    config = SamplingConfig(patch_size=targets.shape, mirror_axes=(1, 2))
    names = Channels(structures=CHANNELS[:2], lesion_classes=CHANNELS[2:])
    flipped = augment(sample, np.random.default_rng(0), channels=names, config=config)
    dims = [
        axis for axis in (1, 2) if not torch.equal(flipped.labels, torch.flip(flipped.labels, [axis + 1]))
    ]
    assert dims == [1, 2]
    found = [
        supervision_batch([torch.flip(carried.codes, axes)], [carried.key])
        for axes in ([2], [3], [2, 3])
    ]  # fmt: skip
    same = [batch for batch in found if torch.equal(batch.labels[0], flipped.labels)]
    assert len(same) == 1, "the phantom is not symmetric, so exactly one flip is the augmentation's"
    assert torch.equal(same[0].known[0], flipped.known)
    assert_same_pairs([pair for pair in same[0].pairs if pair.present], flipped.pairs)


def ball(shape, center, radius):
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    return ((grid - np.array(center)) ** 2).sum(axis=-1) <= radius**2


def test_millimetres_keep_their_meaning_through_a_zoom():
    """A tumour of known mm³ that the network marks perfectly has zero volume error before and after a zoom by 1.5."""
    organ, tumour = ball((40, 40, 40), (20, 20, 20), 14), ball((40, 40, 40), (20, 18, 20), 6)
    volume_mm3 = float(tumour.sum()) * 8
    target = ClassTarget(
        state="reported", region=organ, volume_mm3=(0.95 * volume_mm3, 1.05 * volume_mm3),
        lesions=(LesionTarget(diameters_mm=(24.0,), volume_mm3=(0.95 * volume_mm3, 1.05 * volume_mm3)),),
    )  # fmt: skip
    targets = CaseTargets(
        case_id="c", classes={"liver_lesion": target}, spacing_mm=(2, 2, 2), shape=(40, 40, 40)
    )
    carried = encode_targets(targets, {}, channels=("liver_lesion",))
    logits = torch.from_numpy(np.where(tumour, 30.0, -30.0)).float()[None, None]
    zoom = {"size": (60, 60, 60), "mode": "nearest-exact"}
    codes = torch.nn.functional.interpolate(carried.codes[None].float(), **zoom)[0]
    larger = torch.nn.functional.interpolate(logits, **zoom)
    loss = ReportSupervisionLoss()
    before = loss(logits, carried.supervision())
    after = loss(larger, supervision_batch([codes], [carried.key], spacing_mm=[[4 / 3] * 3]))
    assert before.terms["volume"] == 0
    assert after.terms["volume"] == 0
    with pytest.raises(DataError, match=r"3\.4 times the volume"):
        supervision_batch([codes], [carried.key])


def test_a_turn_loses_no_target_and_a_cut_does():
    organ = ball((48, 48, 48), (24, 24, 24), 12)
    carried = target_map(
        "2 cm mass in the liver.", {"liver": organ}, spacing_mm=(2, 2, 2), channels=("liver_lesion",)
    )
    angle = torch.tensor(0.5)
    turn = torch.tensor(
        [[[angle.cos(), -angle.sin(), 0, 0], [angle.sin(), angle.cos(), 0, 0], [0, 0, 1.0, 0]]]
    )
    grid = torch.nn.functional.affine_grid(turn, (1, 1, 48, 48, 48), align_corners=False)
    codes = torch.nn.functional.grid_sample(
        carried.codes[None].float(), grid, mode="nearest", align_corners=False
    )[0]
    [pair] = supervision_batch([codes], [carried.key]).pairs
    assert pair.complete
    assert pair.volume_mm3 == carried.key.pairs[0].volume_mm3
    [cut] = supervision_batch([codes[:, :, :30]], [carried.key]).pairs
    assert not cut.complete
    assert cut.volume_mm3 == (0.0, pair.volume_mm3[1])


def test_padding_is_unknown_and_never_inside_a_region(positive):
    carried = target_map(TEXTS[1], positive.organs, spacing_mm=positive.spacing_mm, channels=CHANNELS)
    padded = torch.nn.functional.pad(carried.codes, (3, 3, 3, 3, 3, 3))
    batch = supervision_batch([padded], [carried.key])
    inside = torch.zeros(batch.known.shape[2:], dtype=torch.bool)
    inside[3:-3, 3:-3, 3:-3] = True
    assert not batch.known[0][:, ~inside].any()
    assert len(batch.pairs) == 2
    assert all(not pair.region[~inside].any() for pair in batch.pairs)
    denied = next(pair for pair in batch.pairs if not pair.present)
    assert torch.equal(denied.region, inside)


def test_interpolated_maps_and_strange_keys_are_refused(positive):
    carried = target_map(TEXTS[0], positive.organs, spacing_mm=positive.spacing_mm, channels=CHANNELS)
    other = target_map(TEXTS[0], positive.organs, spacing_mm=positive.spacing_mm, channels=CHANNELS[:3])
    smooth = torch.nn.functional.avg_pool3d(carried.codes[None].float(), 2)[0]
    with pytest.raises(DataError, match="nearest") as error:
        supervision_batch([smooth], [carried.key])
    assert error.value.code == "target_map_interpolated"
    with pytest.raises(DataError, match="channels"):
        supervision_batch([carried.codes, other.codes], [carried.key, other.key])


def test_the_key_survives_json(positive):
    carried = target_map(TEXTS[1], positive.organs, spacing_mm=positive.spacing_mm, channels=CHANNELS)
    assert any(np.isinf(pair.volume_mm3[1]) for pair in carried.key.pairs)
    assert TargetKey.model_validate_json(carried.key.model_dump_json()) == carried.key


def test_drawn_masks_and_reports_stand_side_by_side(positive):
    drawn = positive.lesion_masks["pancreas_lesion"]
    masks = {**positive.organs, "pancreas_lesion": drawn}
    carried = target_map(
        "15 mm mass in the left kidney.", masks, spacing_mm=positive.spacing_mm, channels=CHANNELS
    )
    assert carried.key.states == {"pancreas_lesion": "voxels", "kidney_lesion": "reported"}
    batch = carried.supervision()
    assert torch.equal(batch.labels[0, 2], torch.from_numpy(drawn))
    assert batch.known[0, 2].all()
    assert not batch.known[0, 3].all()


def test_softmax_heads_leave_open_what_the_lesion_leaves_open(positive):
    drawn = torch.from_numpy(positive.lesion_masks["pancreas_lesion"])
    options = {"spacing_mm": positive.spacing_mm, "channels": CHANNELS, "heads": "softmax"}
    reported = target_map(TEXTS[0], positive.organs, **options).supervision()
    organ, kidney = (torch.from_numpy(positive.organs[name]) for name in CHANNELS[:2])
    beside = ~reported.known[0, 2] & ~organ
    assert reported.known[0, 0][organ].all(), "organ or its lesion: that is known inside the organ"
    assert beside.any()
    assert not reported.known[0, 0][beside].any(), "a lesion beside its organ would count as both"
    assert reported.known[0, 0][reported.known[0, 2]].all()
    assert not reported.known[0, 1][kidney & ~reported.known[0, 2]].any(), (
        "kidney, or pancreas tumour reaching it"
    )
    masks = {**positive.organs, "pancreas_lesion": drawn}
    voxels = target_map(TEXTS[2], masks, **options).supervision()
    assert voxels.labels[0, 0][drawn].all()
    assert not (voxels.labels[0, 1] & drawn).any()


def test_a_perfect_softmax_has_no_loss_and_background_in_the_organ_has(positive):
    masks = {**positive.organs, "pancreas_lesion": positive.lesion_masks["pancreas_lesion"]}
    channels = ("pancreas", "kidney_left", "pancreas_lesion")
    label = torch.zeros(masks["pancreas"].shape, dtype=torch.long)
    for number, name in enumerate(channels, 1):
        label[torch.from_numpy(masks[name])] = number
    head = 20.0 * torch.nn.functional.one_hot(label, 4).movedim(-1, 0)[None].float()
    made = target_map(TEXTS[2], masks, spacing_mm=positive.spacing_mm, channels=channels, heads="softmax")
    loss = ReportSupervisionLoss()
    assert loss(softmax_log_odds(head, softmax_classes(channels)), made.supervision()).total < 1e-4
    reported = target_map(
        TEXTS[0], positive.organs, spacing_mm=positive.spacing_mm, channels=channels, heads="softmax"
    )
    for wrong in (1, 2):
        hole = head.clone()
        hole[:, 0][:, label == wrong] = 40.0  # background inside an organ, on a case that has only a report
        terms = loss(softmax_log_odds(hole, softmax_classes(channels)), reported.supervision()).terms
        assert terms["segmentation_dice"] > 0.2


def test_a_missing_drawn_mask_and_a_foreign_grid_are_errors(positive):
    targets = replace(
        targets_of(positive, TEXTS[2]), classes={"pancreas_lesion": ClassTarget(state="voxels")}
    )
    with pytest.raises(DataError, match="drawn_mask_missing"):
        encode_targets(targets, positive.organs, channels=CHANNELS)
    with pytest.raises(DataError, match="mask_grid_mismatch"):
        target_map(
            "Normal.",
            {"liver": np.ones((4, 4, 4)), "spleen": np.ones((5, 4, 4))},
            spacing_mm=(1, 1, 1),
            channels=(),
        )


def test_a_batch_goes_through_the_loss(positive, negative):
    carried = [
        target_map(case.report, case.organs, spacing_mm=case.spacing_mm, channels=CHANNELS)
        for case in (positive, negative)
    ]
    batch = supervision_batch([c.codes for c in carried], [c.key for c in carried])
    assert isinstance(batch, SupervisionBatch)
    logits = torch.randn(batch.labels.shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    terms = ReportSupervisionLoss()(logits, batch)
    assert set(terms.terms) >= {"ball_bce", "volume", "segmentation_bce"}
    terms.total.backward()
    region = next(pair.region for pair in batch.pairs if pair.present)
    assert logits.grad[0, 2][region].abs().sum() > 0


def test_misspelt_channels_and_lost_reports_are_said(positive):
    liver = {"liver": positive.organs["liver"]}
    spacing = positive.spacing_mm
    for wrong in ("pancreas_leison", "panreas_lesion", "livr"):
        with pytest.raises(UsageError, match="did you mean") as error:
            target_map("Normal.", liver, spacing_mm=spacing, channels=("liver", wrong))
        assert error.value.code == "unknown_channel"
    target_map(
        "Normal.", {"my_organ": liver["liver"]}, spacing_mm=spacing, channels=("my_organ", "pancreas_head")
    )
    with pytest.warns(UserWarning, match="pancreas_lesion without a mask of the organ; the masks are liver"):
        lost = target_map(TEXTS[0], liver, spacing_mm=spacing, channels=("liver", "pancreas_lesion"))
    assert lost.key.findings["pancreas_lesion"]
    assert lost.supervision().pairs == ()
    assert not lost.supervision().known[0, 1].any()
