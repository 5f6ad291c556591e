"""How cases and crops are drawn, and which output channel is what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

_Side = Annotated[int, Field(ge=1, le=1024)]


class SamplingConfig(BaseModel):
    """How cases and crops are drawn and augmented.

    Args:
        patch_size: voxels of a crop, array order.
        batch_size: crops a step.
        report_fraction: share of the slots of a batch that report cases fill in the second stage; where it is not a
            whole number of slots, the rest is drawn step by step.
        positive_fraction: chance that a slot takes a case with a lesion, where there are both kinds.
        lesion_centred: chance that a crop of a voxel-labelled case is centred on a lesion voxel, and one of a reported
            region larger than the patch on a lesion that was found there.
        larger_regions: crops of reports whose region is larger than the patch: where the network's ball search over
            the whole region puts a lesion (``search``), or anywhere in the region (``anywhere``), where such a report
            forces no foreground.
        search_again_after: steps after which such a place is looked for again when its case is drawn.
        mirror_axes: array axes along which crops are mirrored at random.
        shift_sd, scale_sd, noise_sd: random intensity shift, scale and noise, in normalised units.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    patch_size: tuple[_Side, _Side, _Side] = (128, 128, 128)
    batch_size: int = Field(default=2, ge=1)
    report_fraction: float = Field(default=0.5, ge=0, le=1)
    positive_fraction: float = Field(default=0.67, ge=0, le=1)
    lesion_centred: float = Field(default=0.67, ge=0, le=1)
    larger_regions: Literal["search", "anywhere"] = "search"
    search_again_after: int = Field(default=100, ge=1)
    mirror_axes: tuple[Literal[0, 1, 2], ...] = (0, 1, 2)
    shift_sd: float = Field(default=0.15, ge=0)
    scale_sd: float = Field(default=0.1, ge=0)
    noise_sd: float = Field(default=0.1, ge=0)


@dataclass(frozen=True, kw_only=True)
class Channels:
    """Output channels of the network: organ structures first, then lesion classes."""

    structures: tuple[str, ...]
    lesion_classes: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All channel names in order."""
        return (*self.structures, *self.lesion_classes)

    @property
    def lesion_index(self) -> dict[str, int]:
        """Lesion class → output channel."""
        return {name: len(self.structures) + number for number, name in enumerate(self.lesion_classes)}
