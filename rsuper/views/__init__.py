"""Pictures, plots and the pages that show them: self-contained, escaped, without a network.

Names are looked up when they are used: the explain page is made in seconds and has no use for the demo's libraries.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rsuper.views.demo_page import render_demo_page
    from rsuper.views.explain_page import render_explain_page
    from rsuper.views.overlays import (
        Layer,
        SlicePicture,
        best_slice,
        frame_around,
        picture_png,
        picture_svg,
        slice_picture,
    )
    from rsuper.views.page_data import ArmResult, CaseCard, CaseOutcome, CasePicture, DemoPageData
    from rsuper.views.study import Study, load_study

_HOMES = {
    "demo_page": ("render_demo_page",),
    "explain_page": ("render_explain_page",),
    "overlays": (
        *("Layer", "SlicePicture", "best_slice", "frame_around", "picture_png", "picture_svg"),
        "slice_picture",
    ),
    "page_data": ("ArmResult", "CaseCard", "CaseOutcome", "CasePicture", "DemoPageData"),
    "study": ("Study", "load_study"),
}

__all__ = [
    "ArmResult",
    "CaseCard",
    "CaseOutcome",
    "CasePicture",
    "DemoPageData",
    "Layer",
    "SlicePicture",
    "Study",
    "best_slice",
    "frame_around",
    "load_study",
    "picture_png",
    "picture_svg",
    "render_demo_page",
    "render_explain_page",
    "slice_picture",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"rsuper.views.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
