"""Regions larger than a patch: the search over all of them finds the lesions, and crops lie there."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import toy_data

from rsuper.data.batches import Batches, Channels, SamplingConfig
from rsuper.data.crops import choose_crop, cut
from rsuper.data.fingerprint import IntensityFingerprint
from rsuper.data.prepare import PreparedDataset
from rsuper.data.store import read_case, write_case
from rsuper.losses import BallRules, ReportSupervisionConfig, ReportSupervisionLoss
from rsuper.losses.localisation import place_lesions
from rsuper.morphology import ball_cells
from rsuper.networks import NetworkConfig, build_network, load_weights
from rsuper.supervision import CaseTargets, ClassTarget, LesionPlace, LesionTarget
from rsuper.supervision.types import SupervisionBatch
from rsuper.training import train
from rsuper.training.checkpoint import newest_checkpoint
from rsuper.training.region_search import RegionSearch

SHAPE = (44, 40, 36)
REGION = (slice(2, 42), slice(3, 37), slice(2, 34))
CENTERS = ((10, 28, 9), (33, 9, 26))
DIAMETERS = (10.0, 7.0)
CHANNELS = Channels(structures=("pancreas",), lesion_classes=(toy_data.LESION_CLASS,))
PLAIN = IntensityFingerprint(low_hu=-2000, high_hu=2000, mean_hu=0, std_hu=100)  # ThresholdNetwork's


def sampling(**changes):
    return SamplingConfig(**({"patch_size": (20, 20, 20), "batch_size": 1, "report_fraction": 1.0} | changes))


def search_of(settings=None, rules=None):
    return RegionSearch(
        CHANNELS, sampling=settings or sampling(), rules=rules or BallRules(), intensity=PLAIN, device="cpu"
    )


def network(name="ThresholdNetwork"):
    factory = f"toy_data:{name}"
    return build_network(NetworkConfig(name="custom", factory=factory), 2, factory=factory).eval()


def lesion(diameter_mm):
    volume = np.pi / 6 * diameter_mm**3
    return LesionTarget(diameters_mm=(diameter_mm,), volume_mm3=(0.6 * volume, 1.4 * volume))


def write_large(folder, *, lesions=2, seen=2):
    """An organ of 40 × 34 × 32 mm with dark spheres, reported without a part."""
    hu = np.full(SHAPE, -100, dtype=np.int16)
    region = np.zeros(SHAPE, dtype=bool)
    region[REGION] = True
    hu[region] = 100
    for center, diameter in list(zip(CENTERS, DIAMETERS, strict=True))[:seen]:
        hu[toy_data.sphere(SHAPE, center, diameter / 2, (1, 1, 1))] = 20
    stated = tuple(lesion(diameter) for diameter in DIAMETERS[:lesions])
    low, high = (sum(one.volume_mm3[end] for one in stated) for end in (0, 1))
    target = ClassTarget(state="reported", region=region, lesions=stated, volume_mm3=(low, high))
    write_case(
        folder,
        image_hu=hu,
        masks={"structure:pancreas": region},
        targets=CaseTargets(
            case_id=folder.name,
            classes={toy_data.LESION_CLASS: target},
            spacing_mm=(1.0, 1.0, 1.0),
            shape=SHAPE,
        ),
        affine=np.eye(4),
        split="train",
    )
    return read_case(folder)


@pytest.fixture
def large(tmp_path):
    return write_large(tmp_path / "large")


def found_places(case, **changes):
    return search_of(**changes).places([case], network(), step=0)[case.case_id]


def test_the_search_sees_lesions_that_no_single_patch_shows(large):
    places = found_places(large)[toy_data.LESION_CLASS]
    assert [place.lesion for place in places] == [0, 1]
    for place, center, diameter in zip(places, CENTERS, DIAMETERS, strict=True):
        assert np.abs(np.subtract(place.center, center)).max() <= 1
        assert place.ball_mm == pytest.approx(1.2 * diameter)


def test_a_crop_at_a_place_is_a_part_of_the_pseudo_mask_of_the_whole(large):
    """Foreground, ignored and background voxels of a crop are those of the whole region, where it holds a ball."""
    places = found_places(large)
    target = large.case_targets().classes[toy_data.LESION_CLASS]
    logits = torch.from_numpy(np.where((large.image() > -40) & (large.image() < 60), 8.0, -8.0))
    whole = place_in(logits, torch.from_numpy(target.region), target.lesions)
    config, held = sampling(mirror_axes=(), lesion_centred=1.0), set()
    for seed in range(25):
        start = choose_crop(
            large, np.random.default_rng(seed), channels=CHANNELS, config=config, places=places
        )
        sample = cut(
            large, start, channels=CHANNELS, patch_size=config.patch_size, intensity=PLAIN, places=places
        )
        (pair,) = sample.pairs
        assert pair.complete
        inside = [
            number
            for number, center in enumerate(CENTERS)
            if all(s <= c < s + 20 for s, c in zip(start, center, strict=True))
        ]
        assert [one.diameters_mm[0] for one in pair.lesions] == [DIAMETERS[number] for number in inside]
        assert len(inside) >= 1
        box = box_at(start)
        own = place_in(logits[box], pair.region, pair.lesions)
        assert torch.equal(own.foreground, whole.foreground[box])
        assert torch.equal(own.background, whole.background[box])
        assert pair.volume_mm3[0] == pytest.approx(sum(lesion(DIAMETERS[n]).volume_mm3[0] for n in inside))
        assert pair.volume_mm3[1] == pytest.approx(sum(lesion(DIAMETERS[n]).volume_mm3[1] for n in inside))
        held.update(inside)
    assert held == {0, 1}, "every lesion gets its crops"


def test_a_ball_that_reaches_into_a_crop_from_elsewhere_is_no_background_and_no_place(large):
    """The brightest voxels of this crop are of a lesion whose centre lies outside it."""
    name, start = toy_data.LESION_CLASS, (10, 18, 8)
    near = LesionPlace(lesion=0, center=(20, 28, 18), ball_mm=12.0)
    outside = LesionPlace(lesion=1, center=(8, 28, 18), ball_mm=8.4)
    sample = cut(
        large,
        start,
        channels=CHANNELS,
        patch_size=(20, 20, 20),
        intensity=PLAIN,
        places={name: (near, outside)},
    )
    (pair,) = sample.pairs
    index = np.indices((20, 20, 20)).reshape(3, -1).T + start
    reached = (((index - outside.center) ** 2).sum(1) <= 4.2**2).reshape(20, 20, 20)
    assert 0 < reached.sum() < 150
    assert np.array_equal(
        pair.region.numpy(), ~reached & large.case_targets().classes[name].region[box_at(start)]
    )
    assert not sample.known[1][torch.from_numpy(reached)].any(), "nothing is known there"
    assert [one.diameters_mm for one in pair.lesions] == [(10.0,)]
    logits = torch.full((20, 20, 20), -8.0)
    logits[torch.from_numpy(reached)] = 8.0
    logits[10, 10, 10] = 1.0
    placed = place_in(logits, pair.region, pair.lesions)
    (center,) = (one.center.tolist() for one in placed.placed)
    assert np.abs(np.subtract(center, 10)).max() <= 5
    assert not (placed.foreground | placed.background)[torch.from_numpy(reached)].any()
    touching = replace(outside, center=(9, 28, 18), ball_mm=30.0)
    sample = cut(
        large,
        start,
        channels=CHANNELS,
        patch_size=(20, 20, 20),
        intensity=PLAIN,
        places={name: (near, touching)},
    )
    assert sample.pairs[0].region[5:16, 10, 10].all(), "the ball of the lesion that is here stays"


def box_at(start):
    return tuple(slice(first, first + 20) for first in start)


def test_a_crop_without_any_of_the_lesions_must_stay_dark(large):
    """But not where their balls reach in, and no lower bound, no ball, no yes."""
    places = found_places(large)
    config = ReportSupervisionConfig(segmentation_bce=0, segmentation_dice=0, volume=1.0, presence=1.0)
    start = (22, 20, 2)
    (pair,) = cut(
        large, start, channels=CHANNELS, patch_size=(20, 20, 20), intensity=PLAIN, places=places
    ).pairs
    assert (pair.complete, pair.lesions, pair.volume_mm3) == (False, (), (0.0, 0.0))
    logits = torch.full((1, 2, 20, 20, 20), -3.0, requires_grad=True)
    everywhere = torch.zeros(1, 2, 20, 20, 20, dtype=torch.bool)
    batch = SupervisionBatch(labels=everywhere, known=everywhere, spacing_mm=torch.ones(1, 3), pairs=(pair,))
    terms = ReportSupervisionLoss(config)(logits, batch)
    terms.total.backward()
    assert terms.terms["ball_bce"] == terms.terms["presence"] == 0
    assert (logits.grad[0, 1][pair.region] > 0).all(), "pushed down"
    assert not logits.grad[0, 1][~pair.region].any()
    dark = 0
    for seed in range(40):  # crops elsewhere are drawn too
        drawn = choose_crop(
            large,
            np.random.default_rng(seed),
            channels=CHANNELS,
            config=sampling(lesion_centred=0.3),
            places=places,
        )
        dark += (
            not cut(large, drawn, channels=CHANNELS, patch_size=(20, 20, 20), intensity=PLAIN, places=places)
            .pairs[0]
            .lesions
        )
    assert dark > 0


def place_in(logits, region, lesions):
    box = tuple(slice(0, size) for size in region.shape)
    rooms = [-1.0] * len(lesions)
    return place_lesions(logits, region, lesions, box=box, spacing_mm=(1.0, 1.0, 1.0), rooms=rooms)


def test_such_crops_pull_up_where_crops_anywhere_force_nothing(large):
    places = found_places(large)
    config, loss = sampling(lesion_centred=1.0), ReportSupervisionLoss(ReportSupervisionConfig(volume=1.0))
    for known, pulls in ((places, True), (None, False)):
        start = choose_crop(large, np.random.default_rng(3), channels=CHANNELS, config=config, places=known)
        sample = cut(large, start, channels=CHANNELS, patch_size=(20, 20, 20), intensity=PLAIN, places=known)
        logits = (torch.where(sample.image < 0.6, -3.0, -5.0) * torch.ones(1, 2, 1, 1, 1)).requires_grad_()
        batch = SupervisionBatch(
            labels=sample.labels[None],
            known=sample.known[None],
            spacing_mm=torch.ones(1, 3),
            pairs=sample.pairs,
        )
        loss(logits, batch).total.backward()
        lifted = logits.grad[0, 1] < 0
        assert bool(lifted.any()) is pulls


def test_a_lesion_that_was_not_found_may_be_anywhere_and_one_found_elsewhere_is_not_here(large, tmp_path):
    unseen = write_large(tmp_path / "unseen", seen=1)
    nothing = write_large(tmp_path / "nothing", seen=0)
    assert found_places(nothing)[toy_data.LESION_CLASS] == (), "a flat prediction says nothing"
    config = sampling()
    sample = cut(
        nothing, (0, 0, 0), channels=CHANNELS, patch_size=config.patch_size, intensity=PLAIN, places={}
    )
    assert not sample.pairs[0].complete
    assert all(one.remainder for one in sample.pairs[0].lesions)
    (first, *_) = found_places(unseen)[toy_data.LESION_CLASS]
    only = {toy_data.LESION_CLASS: (first,)}
    start = tuple(max(0, at - 10) for at in first.center)
    pair = cut(unseen, start, channels=CHANNELS, patch_size=(20, 20, 20), intensity=PLAIN, places=only).pairs[
        0
    ]
    assert [one.remainder for one in pair.lesions] == [False, True]
    assert pair.median_mm3 is None


@pytest.mark.parametrize("side", [8, 10, 12])
def test_a_ball_larger_than_the_patch_asks_for_the_share_that_it_shows(large, side):
    places = found_places(large)
    (place, _) = places[toy_data.LESION_CLASS]
    start = tuple(at - side // 2 for at in place.center)
    pair = cut(
        large, start, channels=CHANNELS, patch_size=(side, side, side), intensity=PLAIN, places=places
    ).pairs[0]
    cells = ball_cells(place.ball_mm, (1.0, 1.0, 1.0)).numpy().T + np.array(place.center)
    shown = np.mean([all(s <= c < s + side for s, c in zip(start, cell, strict=True)) for cell in cells])
    assert 0.3 < shown < 1
    (kept,) = pair.lesions
    assert kept.volume_mm3[0] == pytest.approx(shown * lesion(10.0).volume_mm3[0])
    assert kept.volume_mm3[1] == lesion(10.0).volume_mm3[1]
    assert pair.volume_mm3 == kept.volume_mm3


def test_places_are_remembered_for_a_while_and_survive_a_checkpoint(large):
    search = search_of(sampling(search_again_after=10))
    first = search.places([large], network(), step=3)
    blind = network("TinyNetwork")
    assert search.places([large], blind, step=12) == first
    other = search_of(sampling(search_again_after=10))
    other.restore(json.loads(json.dumps(search.state())))
    assert other.places([large], blind, step=12) == first
    assert search.places([large], blind, step=13) != first


def test_regions_that_fit_are_never_searched(large):
    def fail(_):
        raise AssertionError("the network was asked")

    search = search_of(sampling(patch_size=(48, 48, 48)))
    assert search.places([large], fail, step=0) == {}
    anywhere = search_of(sampling(larger_regions="anywhere"))
    assert anywhere.places([large], fail, step=0) == {}
    silent = replace(
        large, targets={toy_data.LESION_CLASS: {**large.targets[toy_data.LESION_CLASS], "weight": 0}}
    )
    assert search_of().places([silent], fail, step=0) == {}


def test_a_case_prepared_without_the_box_of_its_region_is_read_the_same(large):
    data = {key: value for key, value in large.targets[toy_data.LESION_CLASS].items() if key != "region_box"}
    older = replace(large, targets={toy_data.LESION_CLASS: data})
    assert older.region_box(toy_data.LESION_CLASS) == large.region_box(toy_data.LESION_CLASS) == REGION


def test_the_cases_of_a_batch_are_those_it_is_made_of(toy_prepared):
    batches = Batches(
        toy_prepared.split("train"), CHANNELS, config=sampling(batch_size=3), intensity=PLAIN, seed=4
    )
    for step in range(8):
        for stage in ("masks", "masks_and_reports", "organs"):
            ids = tuple(case.case_id for case in batches.cases(step, stage))
            assert ids == batches.batch(step, stage).case_ids


def test_a_run_that_is_cut_short_takes_the_same_crops_when_it_goes_on(toy_prepared, large, tmp_path):
    """Bitwise equal weights, though the second half starts with places that the first half has searched."""
    cases = [toy_prepared.cases[0], large]
    config = toy_data.toy_config(warmup_steps=2, steps=8, checkpoint_every=5, validate_every=0)
    config = config.model_copy(update={"sampling": sampling(batch_size=2, search_again_after=4)})
    kwargs = {"config": config, "training_cases": cases, "network_factory": "toy_data:TinyNetwork"}
    whole = train(toy_prepared, tmp_path / "whole", **kwargs)

    class Stop(Exception):
        pass

    def stop(progress):
        if progress.step == 7:
            raise Stop

    with pytest.raises(Stop):
        train(toy_prepared, tmp_path / "parts", progress=stop, **kwargs)
    parts = train(toy_prepared, tmp_path / "parts", **kwargs)
    one, two = ((run.run / "model.safetensors").read_bytes() for run in (whole, parts))
    assert one == two
    last = [newest_checkpoint(run.run / "checkpoints") for run in (whole, parts)]
    searched = [load_weights(path)[1]["extra"]["places"] for path in last]
    assert searched[0] == searched[1], "nothing was searched again, or with other weights"
    assert searched[0]["large"][-1]["step"] > 0
    events = [json.loads(line) for line in (whole.run / "log.jsonl").read_text().splitlines()]
    (told,) = [event for event in events if event["event"] == "regions_larger_than_patch"]
    assert (told["cases"], told["crops"]) == ({toy_data.LESION_CLASS: 1}, "search")


def test_prepared_cases_know_the_box_of_their_region(toy_prepared: PreparedDataset):
    for case in toy_prepared.cases:
        if case.state(toy_data.LESION_CLASS) != "reported":
            assert (
                case.region_box(toy_data.LESION_CLASS) is None
                or case.state(toy_data.LESION_CLASS) == "unknown"
            )
            continue
        where = np.argwhere(case.case_targets().classes[toy_data.LESION_CLASS].region)
        box = case.region_box(toy_data.LESION_CLASS)
        assert [part.start for part in box] == where.min(0).tolist()
        assert [part.stop for part in box] == (where.max(0) + 1).tolist()
