"""A case's targets go through MONAI's own spatial transforms and arrive as a batch of supervision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, PersistentDataset, set_track_meta
from monai.transforms import (
    Compose,
    CopyItemsd,
    Orientationd,
    RandAffined,
    RandFlipd,
    RandRotate90d,
    RandSpatialCropd,
    RandSpatialCropSamplesd,
    RandZoomd,
    Spacingd,
)

from llm_extract.reports import Report
from llm_extract.rules import extract_record
from rsuper.errors import DataError
from rsuper.integrations.affine_spacing import affine_spacing_mm
from rsuper.integrations.monai import RandTargetCropd, ReportTargetsd, collate_targets, target_key_of
from rsuper.losses import ReportSupervisionConfig, ReportSupervisionLoss
from rsuper.supervision import load_policy

CHANNELS = ("pancreas", "pancreas_lesion")
BOTH = ["image", "targets"]


def item(case, *, masks=("pancreas", "duodenum", "liver"), drawn=False):
    affine = torch.as_tensor(case.affine)
    arrays = {name: case.organs[name] for name in masks if name in case.organs}
    if drawn:
        arrays["pancreas_lesion"] = case.lesion_masks["pancreas_lesion"]
    data = {name: MetaTensor(torch.from_numpy(array)[None], affine=affine) for name, array in arrays.items()}
    data["image"] = MetaTensor(torch.from_numpy(case.ct.astype(np.float32))[None], affine=affine)
    return data | {"report": case.report, "case_id": case.case_id}


def targets_transform(**options):
    return ReportTargetsd(["pancreas", "duodenum", "liver", "pancreas_lesion"], channels=CHANNELS, **options)


def sphere_item(spacing=(2.0, 2.0, 2.0), report="A 2.4 cm mass in the liver."):
    """A liver that is a ball of 60 mm around a tumour of 24 mm; the image is 1 in the tumour."""
    grid = [np.arange(-54 + step / 2, 54, step) for step in spacing]
    x, y, z = np.meshgrid(*grid, indexing="ij")
    affine = torch.diag(torch.tensor([*spacing, 1.0], dtype=torch.float64))
    liver = x**2 + y**2 + z**2 <= 30**2
    tumour = (x - 4) ** 2 + y**2 + z**2 <= 12**2
    return {
        "image": MetaTensor(torch.from_numpy(tumour).float()[None], affine=affine),
        "liver": MetaTensor(torch.from_numpy(liver)[None], affine=affine),
        "report": report,
    }


SPATIAL = {
    "crop": RandSpatialCropd(BOTH, roi_size=(40, 40, 40), random_size=False),
    "flip": RandFlipd(BOTH, prob=1.0, spatial_axis=(0, 2)),
    "quarter turn": RandRotate90d(BOTH, prob=1.0, spatial_axes=(0, 2)),
    "turn": RandAffined(BOTH, prob=1.0, rotate_range=0.4, mode=("bilinear", "nearest"), padding_mode="zeros"),
    "scale": RandAffined(
        BOTH, prob=1.0, scale_range=((0.2, 0.3),) * 3, mode=("bilinear", "nearest"), padding_mode="zeros"
    ),
    "zoom out": RandZoomd(
        BOTH, prob=1.0, min_zoom=0.7, max_zoom=0.8, mode=("trilinear", "nearest"), padding_mode="constant"
    ),
    "zoom in": RandZoomd(BOTH, prob=1.0, min_zoom=1.1, max_zoom=1.2, mode=("trilinear", "nearest"), keep_size=False),
}  # fmt: skip


@pytest.mark.parametrize("name", SPATIAL)
@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (1.6, 2.0, 2.5)])
def test_the_true_tumour_satisfies_the_report_after_every_transform(name, spacing):
    """The tumour moves with the image; marking it perfectly must cost no volume error, and lie inside the region."""
    data = ReportTargetsd(["liver"], channels=("liver_lesion",))(sphere_item(spacing))
    transform = SPATIAL[name].set_random_state(3)
    batch = collate_targets([transform(data)])
    image, supervision = batch["image"].as_subclass(torch.Tensor), batch["targets"]
    [pair] = supervision.pairs
    tumour = image[0, 0] > 0.5
    assert (pair.region & tumour).sum() >= 0.99 * tumour.sum()
    volume_mm3 = float(tumour.sum() * supervision.spacing_mm[0].prod())
    assert volume_mm3 == pytest.approx(4 / 3 * np.pi * 12**3, rel=0.06), "millimetres keep their meaning"
    logits = torch.where(image > 0.5, 20.0, -20.0)
    assert ReportSupervisionLoss()(logits, supervision).terms["volume"] == 0
    empty = ReportSupervisionLoss()(torch.full_like(image, -20.0), supervision).terms["volume"]
    assert (empty > 0) == pair.complete
    if name != "crop":
        assert pair.complete


def test_resampling_before_the_targets_is_seen(positive):
    spatial = Compose(
        [
            Orientationd(["image", "pancreas", "liver"], axcodes="LPS", labels=None),
            Spacingd(
                ["image", "pancreas", "liver"], pixdim=(4, 4, 6), mode=("bilinear", "nearest", "nearest")
            ),
            ReportTargetsd(["pancreas", "liver"], channels=CHANNELS),
        ]
    )
    data = spatial(item(positive, masks=("pancreas", "liver")))
    assert affine_spacing_mm(data["targets"].affine) == (4.0, 4.0, 6.0)
    assert set(data) == {"image", "targets", "case_id"}, "masks and report text are taken out"
    assert data["targets"].shape == data["image"].shape
    assert target_key_of(data["targets"]).states == {"pancreas_lesion": "reported"}


def test_crops_of_a_loader_become_one_batch(positive, negative):
    """Positive and negative reports, a drawn mask, several crops a case, a cache on disk, worker processes."""
    transforms = Compose(
        [
            targets_transform(),
            CopyItemsd(["image"], names=["image_hu"]),
            RandSpatialCropSamplesd([*BOTH, "image_hu"], (48, 48, 36), num_samples=2, random_size=False),
            RandFlipd([*BOTH, "image_hu"], prob=0.5, spatial_axis=1),
        ]
    )
    cases = [item(positive), item(negative), item(positive, drawn=True)]
    loader = DataLoader(
        Dataset(cases, transforms),
        batch_size=3,
        collate_fn=lambda samples: collate_targets(samples, hu_key="image_hu"),
    )
    [batch] = list(loader)
    supervision = batch["targets"]
    assert batch["image"].shape == (6, 1, 48, 48, 36)
    assert supervision.labels.shape == supervision.known.shape == (6, 2, 48, 48, 36)
    assert {pair.sample for pair in supervision.pairs if pair.present} == {0, 1}
    assert {pair.sample for pair in supervision.pairs if not pair.present} == {2, 3}
    assert supervision.known[4:].all()
    assert supervision.labels[4:, 1].any()
    assert torch.equal(
        supervision.organ[:, 1],
        supervision.labels[:, 0] | (supervision.organ[:, 1] & ~supervision.labels[:, 0]),
    )
    logits = torch.zeros(6, 2, 48, 48, 36, requires_grad=True)
    config = ReportSupervisionConfig(partial_crops="determined", absence=1.0)
    terms = ReportSupervisionLoss(config)(logits, supervision)
    terms.total.backward()
    assert {"ball_bce", "volume", "absence", "attenuation"} <= set(terms.terms)
    assert torch.isfinite(logits.grad).all()


def test_targets_survive_a_disk_cache_and_worker_processes(positive, tmp_path):
    data = PersistentDataset(
        [item(positive)],
        Compose([targets_transform(), RandFlipd(BOTH, prob=1.0, spatial_axis=2)]),
        tmp_path,
        track_meta=True,
        weights_only=False,
    )
    first, again = (collate_targets([data[0]])["targets"] for _ in range(2))
    loader = DataLoader(data, batch_size=1, num_workers=1, collate_fn=collate_targets)
    [batch] = list(loader)
    for other in (again, batch["targets"]):
        assert torch.equal(first.known, other.known)
        assert first.pairs[0].lesions[0].volume_mm3 == other.pairs[0].lesions[0].volume_mm3


def test_records_do_as_well_as_texts(positive):
    record = extract_record(Report(report_id="r", text=positive.report))
    one = collate_targets([targets_transform()(item(positive))])["targets"]
    two = collate_targets([targets_transform()(item(positive) | {"report": [record]})])["targets"]
    assert torch.equal(one.known, two.known)
    without = item(positive)
    del without["report"]
    silent = collate_targets([targets_transform()(without)])["targets"]
    assert silent.pairs == ()
    assert not silent.known[0, 1].all()


def test_what_a_user_forgets_is_said(positive):
    data = targets_transform()(item(positive))
    turned = RandAffined(BOTH, prob=1.0, rotate_range=0.3, padding_mode="zeros").set_random_state(1)(data)
    with pytest.raises(DataError, match="mode='nearest'"):
        collate_targets([turned])
    plain = data | {"targets": data["targets"].as_tensor()}
    with pytest.raises(DataError, match="set_track_meta"):
        collate_targets([plain])
    with pytest.raises(DataError, match="no_spacing"):
        targets_transform()(item(positive) | {"pancreas": torch.ones(1, 4, 4, 4)})
    with pytest.raises(DataError, match="no_organ_masks"):
        targets_transform()({"image": data["image"], "report": "Normal."})
    try:
        set_track_meta(False)
        dropped = RandFlipd(BOTH, prob=1.0, spatial_axis=0)(data)
    finally:
        set_track_meta(True)
    with pytest.raises(DataError, match="target_key_lost"):
        collate_targets([dropped])


@pytest.mark.parametrize(("name", "state"), [("tumours", "unknown"), ("all_lesions", "reported")])
def test_the_policy_says_which_lesions_count(name, state):
    transform = ReportTargetsd(["liver"], channels=("liver", "liver_lesion"), policy=load_policy(name))
    made = transform(sphere_item(report="A 2.4 cm simple cyst in the liver."))
    assert target_key_of(made["targets"]).states == {"liver_lesion": state}


def test_a_zoom_that_nobody_tells_is_refused():
    from rsuper.integrations import supervision_batch, target_map

    data = sphere_item()
    made = target_map(
        data["report"], {"liver": data["liver"]}, spacing_mm=(2, 2, 2), channels=("liver_lesion",)
    )
    zoomed = torch.nn.functional.interpolate(
        made.codes[None].float(), scale_factor=1.4, mode="nearest-exact"
    )[0]
    with pytest.raises(DataError, match="spacing_mm") as error:
        supervision_batch([zoomed], [made.key])
    assert error.value.code == "target_region_grew"


def test_crops_hold_the_region_where_it_fits(positive, negative):
    data = targets_transform()(item(positive))
    [pair] = [pair for pair in collate_targets([data])["targets"].pairs if pair.present]
    box = pair.region.nonzero()
    size = (box.amax(dim=0) - box.amin(dim=0) + 3).tolist()
    fitting = RandTargetCropd(BOTH, size).set_random_state(0)
    corners = set()
    for _ in range(10):
        cropped = fitting(data)
        assert cropped["image"].shape == cropped["targets"].shape == (1, *size)
        [found] = collate_targets([cropped])["targets"].pairs
        assert found.complete
        assert torch.equal(cropped["image"].affine, cropped["targets"].affine)
        corners.add(tuple(cropped["targets"].affine[:3, 3].tolist()))
    assert len(corners) > 5
    small = RandTargetCropd(BOTH, [side // 2 for side in size]).set_random_state(0)
    assert all(collate_targets([small(data)])["targets"].pairs for _ in range(10)), "else inside the region"
    drawn = RandTargetCropd(BOTH, (16, 16, 16)).set_random_state(0)(
        targets_transform()(item(positive, drawn=True))
    )
    assert collate_targets([drawn])["targets"].labels[0, 1].any()
    denied = RandTargetCropd(BOTH, (16, 16, 16)).set_random_state(0)(targets_transform()(item(negative)))
    assert collate_targets([denied])["targets"].labels[0, 0].any(), "a structure, where there is no lesion"
    large = RandTargetCropd(BOTH, (80, 80, 80)).set_random_state(0)(data)
    assert large["image"].shape == (1, 80, 80, 80)
    assert not collate_targets([large])["targets"].known[0, :, 79].any(), "padding is unknown"
