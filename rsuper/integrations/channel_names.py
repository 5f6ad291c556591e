"""Names of output channels: structures, and lesion classes, which end in ``_lesion``."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Collection, Mapping, Sequence

from llm_extract.anatomy import Anatomy, load_anatomy
from rsuper.data.class_map import LESION_SUFFIX
from rsuper.errors import UsageError
from rsuper.supervision import organ_of_class
from rsuper.supervision.types import CaseTargets


def require_channels(channels: Sequence[str], masks: Collection[str], anatomy: Anatomy | None = None) -> None:
    """Refuse a misspelt channel, which would never learn anything, and one that is there twice.

    Args:
        channels: what each output channel is.
        masks: names of the masks of this case; a structure of one's own is known by its mask.
        anatomy: the table of organs; the built-in one by default.

    Raises:
        UsageError: ``unknown_channel`` or ``channel_twice``.
    """
    if isinstance(channels, str):
        raise TypeError(f"channels is a sequence of names, such as [{channels!r}], got one text")
    anatomy = anatomy or load_anatomy()
    if not isinstance(anatomy, Anatomy):
        raise TypeError(f"anatomy is a table, got {type(anatomy).__name__}: load_anatomy(Path('mine.yaml'))")
    twice = [name for number, name in enumerate(channels) if name in channels[:number]]
    if twice:
        raise UsageError(
            f"two channels are {twice[0]}", code="channel_twice", hint="each output of a network is one thing"
        )
    known = {organ.lesion_class for organ in anatomy.organs.values()} | set(masks)
    for organ in anatomy.organs.values():
        known |= {organ.name, organ.class_name, *anatomy.organ_structures(organ.name)}
        known |= {stem for part in organ.parts.values() for stem in part.structures}
    for name in channels:
        if name in known or (name.endswith(LESION_SUFFIX) and organ_of_class(name, anatomy) is not None):
            continue
        near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)
        raise UsageError(
            f"there is no mask, organ or lesion class {name}",
            code="unknown_channel",
            hint=f"did you mean {near[0]}? Lesion classes are named like pancreas_lesion",
        )


def warn_without_organ(targets: CaseTargets, masks: Mapping[str, object]) -> None:
    """Say where the reports of a case teach nothing because the organ has no mask."""
    lost = [name for name, target in targets.classes.items() if "organ_mask_missing" in target.codes]
    if lost:
        warnings.warn(
            f"reports teach nothing of {', '.join(lost)} without a mask of the organ; the masks are "
            f"{', '.join(sorted(masks))}",
            stacklevel=3,
        )
