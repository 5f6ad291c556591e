"""A name becomes a MONAI network: full-resolution logits, one channel a class."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from rsuper.errors import UsageError

# Structures fill a few percent of a crop: heads that start there (p = 0.05) need no steps to unlearn p = 0.5 everywhere
# (Lin et al., Focal loss for dense object detection, 2017, section 3.3).
PRIOR_LOGIT = -3.0


class NetworkConfig(BaseModel):
    """Which network, and how large.

    Args:
        name: ``dynunet`` (nnU-Net's plain U-Net), ``segresnet``, or ``custom`` with ``factory``.
        width: channels of the first level; every level doubles them up to ``max_width``.
        levels: resolution levels, at least 3 for ``dynunet``; the patch must be divisible by fold · 2 ** (levels - 1).
        max_width: upper bound of channels.
        deep_supervision: also return the head one level below, upsampled (training only).
        fold: 2 folds blocks of 2×2×2 voxels into channels before the first convolution and unfolds the logits again
            (sub-pixel convolution, Shi et al. 2016): full-resolution output at about an eighth of the cost of a
            full-resolution first level; 1 does not fold.
        factory: ``package.module:function`` called with ``(in_channels, out_channels)``; only for ``custom``. It is
            imported only where the caller names it again: a weights file cannot choose what code runs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: Literal["dynunet", "segresnet", "custom"] = "dynunet"
    width: int = Field(default=32, ge=4, le=256)
    levels: int = Field(default=5, ge=2, le=7)
    max_width: int = Field(default=320, ge=4)
    deep_supervision: bool = False
    fold: Literal[1, 2] = 1
    factory: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> NetworkConfig:
        if (self.name == "custom") != (self.factory is not None):
            raise ValueError("factory goes with the name custom, and only with it")
        if self.name == "dynunet" and self.levels < 3:
            raise ValueError("dynunet needs at least 3 levels")
        if self.deep_supervision and (self.name == "segresnet" or self.levels < 3):
            raise ValueError("deep_supervision needs dynunet (or custom) with at least 3 levels")
        return self

    @property
    def filters(self) -> tuple[int, ...]:
        """Channels a level."""
        return tuple(min(self.width * 2**level, self.max_width) for level in range(self.levels))

    @property
    def stride(self) -> int:
        """Every side of a patch must be a multiple of this."""
        return int(self.fold * 2 ** (self.levels - 1))


class Network(nn.Module):
    """A backbone whose output is always a list of full-resolution heads, the final head first.

    Args:
        backbone: maps [B,1,D,H,W] to [B,C,D,H,W], or in training to [B,heads,C,D,H,W] (MONAI's deep supervision);
            with ``fold`` it sees fold³ times the channels on a grid that is fold times coarser.
        fold: see ``NetworkConfig``.
    """

    def __init__(self, backbone: nn.Module, *, fold: int = 1) -> None:
        super().__init__()
        self.backbone = backbone
        self.fold = fold

    def forward(self, image: Tensor) -> list[Tensor]:
        """Logits of every head, each [B,C,D,H,W]."""
        if self.fold == 1:
            return _heads(self.backbone(image))
        from monai.networks.utils import pixelshuffle, pixelunshuffle

        folded = pixelunshuffle(image, spatial_dims=3, scale_factor=self.fold)
        return [
            pixelshuffle(head, spatial_dims=3, scale_factor=self.fold)
            for head in _heads(self.backbone(folded))
        ]


def _heads(output: Tensor | Sequence[Tensor]) -> list[Tensor]:
    if isinstance(output, Tensor) and output.ndim == 6:
        return list(output.unbind(1))
    return [output] if isinstance(output, Tensor) else list(output)


def build_network(
    config: NetworkConfig, out_channels: int, *, in_channels: int = 1, factory: str | None = None
) -> Network:
    """The network a configuration names, with fresh weights.

    Args:
        config: name and size.
        out_channels: number of classes C.
        in_channels: image channels, 1 for CT.
        factory: for a custom network, the same import path as in ``config``, from a person and not from a file.

    Returns:
        A module from [B,in_channels,D,H,W] to a list of [B,C,D,H,W] logits.

    Raises:
        UsageError: ``unknown_network`` if the factory of a custom network cannot be imported, ``network_not_given`` if
            only the configuration names it.

    Example:
        >>> network = build_network(NetworkConfig(width=4, levels=3), 3)
        >>> import torch
        >>> [tuple(head.shape) for head in network(torch.zeros(1, 1, 8, 8, 8))]
        [(1, 3, 8, 8, 8)]
    """
    if config.name == "custom":
        if factory is None or factory != config.factory:
            raise UsageError(
                f"this network is code of {config.factory!r}, which is imported only if you name it",
                code="network_not_given",
                hint=f"if you trust it, add --network {config.factory}",
            )
        return Network(_import_factory(factory)(in_channels, out_channels))
    if config.name == "segresnet":
        from monai.networks.nets.segresnet import SegResNet

        return Network(
            SegResNet(
                spatial_dims=3,
                init_filters=config.width,
                in_channels=in_channels,
                out_channels=out_channels,
                blocks_down=(1,) * config.levels,
                blocks_up=(1,) * (config.levels - 1),
            )
        )
    from monai.networks.blocks.dynunet_block import UnetOutBlock
    from monai.networks.nets.dynunet import DynUNet

    backbone = DynUNet(
        spatial_dims=3,
        in_channels=in_channels * config.fold**3,
        out_channels=out_channels * config.fold**3,
        kernel_size=[3] * config.levels,
        strides=[1] + [2] * (config.levels - 1),
        upsample_kernel_size=[2] * (config.levels - 1),
        filters=list(config.filters),
        deep_supervision=config.deep_supervision,
        deep_supr_num=1,
    )
    for head in (module for module in backbone.modules() if isinstance(module, UnetOutBlock)):
        nn.init.constant_(head.conv.conv.bias, PRIOR_LOGIT)
    return Network(backbone, fold=config.fold)


def _import_factory(path: str) -> Callable[[int, int], nn.Module]:
    module, _, name = path.partition(":")
    try:
        factory: Callable[[int, int], nn.Module] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"no network at {path!r}",
            code="unknown_network",
            hint="give --network package.module:function, importable from here",
        ) from error
    return factory
