"""The verb that explains: what one sentence of a report teaches a network."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from rsuper.commands.options import AnatomyFile, Json, Policy
from rsuper.console import emit_json, failures, say


def explain(
    sentence: Annotated[str, typer.Argument(help="A sentence of a radiology report, in quotes.")],
    *,
    ct: Annotated[
        Path | None, typer.Option("--ct", help="A CT. [default: a phantom with the stated lesions]")
    ] = None,
    organs: Annotated[
        Path | None, typer.Option("--organs", help="Folder with the CT's organ masks, one a file.")
    ] = None,
    prediction: Annotated[
        Path | None,
        typer.Option(
            "--prediction",
            help="Probabilities on the CT's grid: a file for the first organ, or a folder with CLASS.nii.gz. "
            "[default: several made-up outputs]",
        ),
    ] = None,
    policy: Policy = "tumours",
    anatomy: AnatomyFile = None,
    out: Annotated[Path, typer.Option("--out", help="Page to write.")] = Path("explain.html"),
    as_json: Json = False,
) -> None:
    """One page: the words of a sentence → measurement → region → ball → which voxels are pulled up or pushed down.

    Example: rsuper explain "1.8 x 1.6 cm hypoattenuating lesion in the pancreatic head"

    Edit the sentence and run it again to see what changes. The page holds the sentence; it loads nothing.
    """
    with failures(as_json=as_json), _no_garbage_collection():
        from rsuper.files import require_writable, write_atomic_text
        from rsuper.views.explain import explain as run
        from rsuper.views.explain_json import explanation_facts
        from rsuper.views.explain_page import render_explain_page

        page = out / "explain.html" if out.is_dir() else out
        require_writable(page.parent)
        with _one_thread():
            explanation = run(
                sentence, ct=ct, organs=organs, prediction=prediction, policy=policy, anatomy=anatomy
            )
        page.parent.mkdir(parents=True, exist_ok=True)
        write_atomic_text(page, render_explain_page(explanation), mode=0o600)  # it holds report text
        if as_json:
            emit_json(explanation_facts(explanation) | {"page": str(page)})
            return
        for lesson in explanation.lessons:
            say(lesson.summary())
        say(f"The page: {page.resolve()}")
        say("Next: edit the sentence, run it again, and reload the page")


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """The libraries are loaded a sixth faster; a page is made before garbage could matter."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Arrays of a page are small: threads that wait for each other on a busy machine cost more than they bring."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
