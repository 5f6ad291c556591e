"""One specimen of a pathology report, or one organ of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from llm_extract.rules.locations import Location


@dataclass(slots=True)
class Specimen:
    """One specimen, or one organ of it, as its heading names it.

    Args:
        label: its letter or number, or None.
        organ: the organ it was taken from; None where the heading names none.
        organs: every organ the heading names.
        location: organ, side and part of the heading.
        margin: True for a separately sent margin.
        bare: True for a numbered item without a heading of its own.
        is_tumour: True for a numbered tumour that is the whole specimen ("tumor #2").
        sampled: True for a biopsy, which says nothing of the rest of its organ.
        times: number of tumours that the heading names, or None.
    """

    label: str | None = None
    organ: str | None = None
    organs: tuple[str, ...] = ()
    location: Location = field(default_factory=Location)
    margin: bool = False
    bare: bool = False
    is_tumour: bool = False
    sampled: bool = False
    times: int | None = None
