"""Report supervision in a MONAI training loop: dictionary transforms, DynUNet with deep supervision.

    python examples/monai_training.py

New to MONAI users are ReportTargetsd, RandTargetCropd, collate_targets and ReportSupervisionLoss.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.networks.nets import DynUNet
from monai.transforms import (
    Compose,
    RandAffined,
    RandFlipd,
    RandGaussianNoised,
    ScaleIntensityRanged,
)

from rsuper.integrations.monai import RandTargetCropd, ReportTargetsd, collate_targets
from rsuper.losses import ReportSupervisionConfig, ReportSupervisionLoss
from rsuper.synthesis import PhantomConfig, make_case

CHANNELS = ("pancreas", "liver", "pancreas_lesion")  # what the output channels of the network are
MASKS = ("pancreas", "liver", "duodenum", "stomach", "pancreas_lesion")
BOTH = ("image", "targets")


def cases(count: int) -> Iterator[dict[str, Any]]:
    """Data dictionaries; yours name files, and LoadImaged and EnsureChannelFirstd come first in the transforms.

    Every third case has a drawn tumour mask, the others have only what their report says. Organ masks come from any
    public organ segmentation model.
    """
    for index in range(count):
        case = make_case(5, index, PhantomConfig(shape=(44, 36, 26), spacing_mm=(6, 6, 6)))
        arrays = {name: mask for name, mask in case.organs.items() if name in MASKS}
        if index % 3 == 2:
            arrays |= case.lesion_masks
        arrays["image"] = case.ct.astype("float32")
        affine = torch.tensor(case.affine)
        data = {
            name: MetaTensor(torch.from_numpy(array)[None], affine=affine) for name, array in arrays.items()
        }
        yield {**data, "report": case.report, "case_id": case.case_id}


def transforms() -> Compose:
    """Once a case: masks and report become the map "targets". Then the spatial transforms, the map as a label map."""
    return Compose(
        [
            ReportTargetsd(MASKS, channels=CHANNELS),
            ScaleIntensityRanged(["image"], a_min=-160, a_max=240, b_min=-1, b_max=1, clip=True),
            RandTargetCropd(BOTH, (32, 28, 24)),
            RandFlipd(BOTH, prob=0.5, spatial_axis=1),
            RandAffined(
                BOTH, prob=0.5, rotate_range=(0.2, 0.2, 0.2), scale_range=(0.15, 0.15, 0.15),
                mode=("bilinear", "nearest"), padding_mode="zeros",
            ),
            RandGaussianNoised(["image"], prob=0.2, std=0.1),
        ]
    )  # fmt: skip


def train(steps: int = 20, *, report_weight: float = 0.1) -> list[dict[str, float]]:
    """A few steps; every term of the loss at each."""
    torch.manual_seed(0)
    pipeline = transforms().set_random_state(0)
    loader = DataLoader(
        Dataset(list(cases(6)), pipeline),
        batch_size=2,
        shuffle=True,
        collate_fn=collate_targets,
        drop_last=True,
    )
    network = DynUNet(
        spatial_dims=3, in_channels=1, out_channels=len(CHANNELS), kernel_size=[3, 3, 3], strides=[1, 2, 2],
        upsample_kernel_size=[2, 2], filters=[8, 16, 16], deep_supervision=True, deep_supr_num=1, res_block=True,
    )  # fmt: skip
    loss = ReportSupervisionLoss(
        ReportSupervisionConfig(report_weight=report_weight, head_weights=(0.67, 0.33))
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    history: list[dict[str, float]] = []
    while len(history) < steps:
        for batch in loader:
            result = loss(network(batch["image"].as_tensor()), batch["targets"])
            optimizer.zero_grad()
            result.total.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            terms = result.terms | result.diagnostics | {"loss": result.total.detach()}
            history.append({name: float(value) for name, value in terms.items()})
    return history[:steps]


if __name__ == "__main__":
    for number, terms in enumerate(train()):
        print(number, {name: round(value, 3) for name, value in terms.items()})
