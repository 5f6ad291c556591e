"""What the output channels of an nnU-Net are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class NnunetChannels:
    """What the output channels of an nnU-Net are.

    Args:
        names: structure or lesion class of each foreground channel, in the order of the network.
        values: label values of each.
        regions: True for region-based training (sigmoid heads, overlapping), False for labels (softmax heads).
        ignore: the ignore label, if there is one.
    """

    names: tuple[str, ...]
    values: tuple[tuple[int, ...], ...]
    regions: bool
    ignore: int | None

    @classmethod
    def of(cls, label_manager: Any, structures: Mapping[str, str] | None = None) -> NnunetChannels:
        """Read from nnU-Net's label manager; ``structures`` renames labels."""
        named: dict[tuple[int, ...], str] = {}
        for name, value in label_manager.label_dict.items():
            key = tuple(int(v) for v in value) if isinstance(value, list | tuple) else (int(value),)
            named[key] = (structures or {}).get(name, name)
        found = (
            label_manager.foreground_regions if label_manager.has_regions else label_manager.foreground_labels
        )
        values = tuple(
            tuple(int(v) for v in value) if isinstance(value, list | tuple) else (int(value),)
            for value in found
        )
        return cls(
            names=tuple(named[value] for value in values),
            values=values,
            regions=bool(label_manager.has_regions),
            ignore=None if label_manager.ignore_label is None else int(label_manager.ignore_label),
        )
