"""Report supervision in a plain PyTorch loop: three pure functions on logits, nothing to inherit from."""

import torch
from torch import nn

from rsuper.integrations import supervision_batch, target_map
from rsuper.losses import ball_loss, segmentation_loss, volume_loss
from rsuper.synthesis import PhantomConfig, make_case

CHANNELS = ("pancreas", "pancreas_lesion")  # what the output channels of the network are


def read_case(index: int):
    """A CT, its organ masks, its report, its voxel size; put your own reader here."""
    case = make_case(5, index, PhantomConfig(shape=(44, 36, 26), spacing_mm=(6, 6, 6)))
    return torch.from_numpy(case.ct).float()[None] / 200, case.organs, case.report, case.spacing_mm


def report_losses(logits, batch):
    """Ball and volume loss of every (sample, class) for which a report states a lesion."""
    pairs = [pair for pair in batch.pairs if pair.present]
    mine = torch.stack([logits[pair.sample, pair.channel] for pair in pairs])
    region = torch.stack([pair.region for pair in pairs])
    spacing_mm = torch.stack([batch.spacing_mm[pair.sample] for pair in pairs])
    ball = ball_loss(mine, region, [pair.lesions for pair in pairs], spacing_mm=spacing_mm)
    intervals_mm3 = torch.tensor([pair.volume_mm3 for pair in pairs])
    return ball.bce + ball.dice, volume_loss(
        mine, region, intervals_mm3, spacing_mm=spacing_mm, tolerance=0.0
    )


def train(steps: int = 30, *, report_weight: float = 0.1) -> list[dict[str, float]]:
    """A few steps on a case whose report states a tumour and one whose report denies it."""
    torch.manual_seed(0)
    layers = [nn.Conv3d(1, 8, 3, padding=1), nn.LeakyReLU(), nn.Conv3d(8, 8, 3, padding=1), nn.LeakyReLU()]
    network = nn.Sequential(*layers, nn.Conv3d(8, len(CHANNELS), 3, padding=1))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    cases = [read_case(index) for index in (0, 1)]
    images = torch.stack([image for image, *_ in cases])
    maps = [target_map(report, organs, spacing_mm=mm, channels=CHANNELS) for _, organs, report, mm in cases]
    history = []
    for _ in range(steps):
        # Crop and augment images and codes here, the codes as a label map: nearest neighbour, padded with 0.
        batch = supervision_batch([made.codes for made in maps], [made.key for made in maps])
        logits = network(images)
        voxels = segmentation_loss(logits, batch.labels, batch.known, spacing_mm=batch.spacing_mm)
        ball, volume = report_losses(logits, batch)
        loss = voxels.bce + voxels.dice + report_weight * (ball + volume)
        network.zero_grad()
        loss.backward()
        optimizer.step()
        denied = logits[1, 1].sigmoid().mean()  # tumour probability where the report says that there is none
        terms = {"loss": loss, "ball": ball, "volume": volume, "denied": denied}
        history.append({name: value.item() for name, value in terms.items()})
    return history


if __name__ == "__main__":
    print(*train(), sep="\n")
