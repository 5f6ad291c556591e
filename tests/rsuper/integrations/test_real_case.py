"""A real abdominal CT with 61 organ masks through MONAI's transforms, with a report written for it here."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, RandAffined, RandFlipd

from rsuper.integrations.monai import RandTargetCropd, ReportTargetsd, collate_targets, target_key_of

pytestmark = pytest.mark.real_data
REPORT = """Pancreas: 2.4 x 1.9 cm hypoattenuating mass in the tail.
Left kidney: 14 mm exophytic mass. The adrenal glands are normal, without nodules."""


def test_a_real_case_goes_from_masks_and_a_report_to_a_batch(shared_data):
    folder = shared_data / "ct"
    image = nibabel.load(folder / "totalsegmentator" / "example_ct.nii.gz")
    labels = np.asarray(
        nibabel.load(folder / "totalsegmentator" / "example_seg_fast_force_split.nii.gz").dataobj
    )
    names = json.loads((folder / "totalsegmentator_label_names.json").read_text())["total"]
    masks = {name: labels == int(value) for value, name in names.items() if (labels == int(value)).any()}
    affine = torch.as_tensor(image.affine)
    data = {name: MetaTensor(torch.from_numpy(mask)[None], affine=affine) for name, mask in masks.items()}
    data["image"] = MetaTensor(
        torch.from_numpy(np.asarray(image.dataobj, dtype=np.float32))[None], affine=affine
    )
    lesions = ("pancreas_lesion", "kidney_lesion", "adrenal_lesion", "colon_lesion")
    channels = (*masks, *lesions)
    made = ReportTargetsd(list(masks), channels=channels)(data | {"report": REPORT})
    states = dict(zip(lesions, ("reported", "reported", "absent", "unknown"), strict=True))
    assert target_key_of(made["targets"]).states == states
    whole = collate_targets([made])["targets"]
    for number, mask in enumerate(masks.values()):
        assert torch.equal(whole.labels[0, number], torch.from_numpy(mask))
    pancreas, kidney = (pair for pair in whole.pairs if pair.present)
    assert pancreas.region[torch.from_numpy(masks["pancreas"])].float().mean() > 0.99
    assert kidney.region[torch.from_numpy(masks["kidney_left"])].float().mean() > 0.99
    assert not kidney.region[torch.from_numpy(masks["kidney_right"])].any()
    both = ["image", "targets"]
    spatial = Compose(
        [
            RandAffined(
                both,
                prob=1.0,
                rotate_range=0.3,
                scale_range=0.2,
                mode=("bilinear", "nearest"),
                padding_mode="zeros",
            ),
            RandFlipd(both, prob=1.0, spatial_axis=1),
            RandTargetCropd(both, (64, 64, 64)),
        ]
    ).set_random_state(1)
    batch = collate_targets([spatial(made) for _ in range(3)])
    volumes = [
        float(pair.region.sum() * batch["targets"].spacing_mm[pair.sample].prod())
        for pair in batch["targets"].pairs
        if pair.present and pair.complete and channels[pair.channel] == "kidney_lesion"
    ]
    expected_mm3 = float(kidney.region.sum() * whole.spacing_mm[0].prod())
    assert volumes
    assert volumes == pytest.approx([expected_mm3] * len(volumes), rel=0.04)
