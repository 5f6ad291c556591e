"""A trained network on a whole volume: sliding window, probabilities of every class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


@torch.inference_mode()
def predict_probabilities(
    network: nn.Module,
    image: Float[Tensor, "1 D H W"],
    *,
    patch_size: Sequence[int],
    device: torch.device | str = "cpu",
    overlap: float = 0.25,
    windows_per_batch: int = 1,
    channels: Sequence[int] | None = None,
) -> Float[Tensor, "C D H W"]:
    """Sigmoid probabilities of the final head, Gaussian-blended over overlapping windows.

    Args:
        network: a ``rsuper.networks.Network``; put in evaluation mode by the caller.
        image: normalised image of one case, float32.
        patch_size: window, array order; smaller volumes are padded with the darkest value.
        device: where the network is.
        overlap: share of a window that its neighbour covers.
        windows_per_batch: windows in one forward pass.
        channels: output channels to keep, in this order; all by default.

    Returns:
        float32 probabilities in [0, 1] on the image's grid, on the CPU.
    """
    from monai.inferers.utils import sliding_window_inference

    device_type = torch.device(device).type

    def forward(windows: Tensor) -> Tensor:
        with torch.autocast(device_type, torch.bfloat16):
            logits = network(windows.to(memory_format=torch.channels_last_3d))[0]
        kept = logits if channels is None else logits[:, list(channels)]
        return torch.sigmoid(kept.float())

    result = sliding_window_inference(
        image[None].to(device),
        roi_size=tuple(patch_size),
        sw_batch_size=windows_per_batch,
        predictor=forward,
        overlap=overlap,
        mode="gaussian",
        cval=float(
            image.min()
        ),  # as training pads; zeros would look like tissue and shift every instance norm
    )
    if not isinstance(result, Tensor):
        raise TypeError("a network must return one tensor a window")
    return result[0].cpu()
