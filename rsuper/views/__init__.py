"""Pictures, plots and the page that shows them: self-contained, escaped, without a network."""

from rsuper.views.demo_page import render_demo_page
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
    "slice_picture",
]
