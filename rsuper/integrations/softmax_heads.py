"""Softmax heads: what the channels of a target map are where background or one class holds at a voxel."""

from __future__ import annotations

from collections.abc import Sequence

from llm_extract.anatomy import Anatomy, load_anatomy
from rsuper.data.class_map import LESION_SUFFIX
from rsuper.supervision import organ_of_class
from rsuper.supervision.regions import Mask


def make_exclusive(
    labels: dict[str, Mask], known: dict[str, Mask], lesions: Sequence[str], *, anatomy: Anatomy | None = None
) -> None:
    """What a lesion says of the structures where only one of them can hold; ``anatomy`` says which hosts which."""
    table = anatomy or load_anatomy()
    structures = [name for name in labels if name not in lesions]
    for lesion in lesions:
        for name in structures:
            if hosts(name, lesion, table):
                labels[name] = labels[name] | labels[lesion]
                known[name] = known[name] & (known[lesion] | labels[name])
            else:
                known[name] = known[name] & (known[lesion] | ~labels[name])
                labels[name] = labels[name] & ~labels[lesion]


def softmax_classes(
    channels: Sequence[str], *, anatomy: Anatomy | None = None
) -> tuple[tuple[int, ...], ...]:
    """The classes of a softmax head whose union each channel of a target map is, for ``softmax_log_odds``.

    A lesion lies in an organ, but a softmax counts it as another class; the organ of the map is both.

    Args:
        channels: what classes 1, 2, … of the softmax are; class 0 is background.
        anatomy: the table of organs that the targets were made with; the built-in one by default.

    >>> softmax_classes(("pancreas", "liver", "pancreas_lesion"))
    ((1, 3), (2,), (3,))
    """
    table = anatomy or load_anatomy()
    lesions = [(number, name) for number, name in enumerate(channels, 1) if name.endswith(LESION_SUFFIX)]
    return tuple(
        (number, *(other for other, lesion in lesions if hosts(name, lesion, table)))
        for number, name in enumerate(channels, 1)
    )


def hosts(structure: str, lesion_class: str, anatomy: Anatomy) -> bool:
    """True if the structure is the organ of a lesion class, a side or a part of it."""
    organ = organ_of_class(lesion_class, anatomy)
    if organ is None or structure.endswith(LESION_SUFFIX):
        return False
    entry = anatomy.organs[organ]
    parts = {stem for part in entry.parts.values() for stem in part.structures}
    return structure in parts | {organ, entry.class_name} | set(anatomy.organ_structures(organ))
