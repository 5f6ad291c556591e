"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

OutDir = Annotated[Path, typer.Option("--out", help="Folder to write.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
Device = Annotated[str, typer.Option("--device", help="Torch device: cpu, cuda, cuda:1 …")]
Records = Annotated[
    Path | None,
    typer.Option(
        "--records", help="records.jsonl, or the folder of an extraction; by default the data set's own."
    ),
]
ClassMapOption = Annotated[
    str | None, typer.Option("--class-map", help="YAML class map, or a preset such as totalsegmentator.")
]
Policy = Annotated[
    str,
    typer.Option(
        "--policy",
        help="Which reported lesions count: tumours, tumours_and_cysts, all_lesions, malignant, or a YAML file.",
    ),
]
OwnPolicy = Annotated[
    str | None,
    typer.Option(
        "--policy",
        help="Which reported lesions count: a preset or a YAML file. [default: what the network was trained under]",
    ),
]
AnatomyFile = Annotated[
    Path | None,
    typer.Option(
        "--anatomy", help="YAML file with organs, parts and classes of your own, beside the built-in ones."
    ),
]
OwnAnatomy = Annotated[
    Path | None,
    typer.Option(
        "--anatomy",
        help="YAML file with organs, parts and classes of your own. [default: what the network was trained with]",
    ),
]
Classes = Annotated[
    list[str] | None,
    typer.Option(
        "--class", help="Only this lesion class; repeat for more. [default: all that were predicted]"
    ),
]
Network = Annotated[
    str | None,
    typer.Option(
        "--network",
        help="Your own network as package.module:function; its code runs, so name only what you trust.",
    ),
]
