"""Options of ``extract`` about the run: which part of the input, by how many workers, where, and with which ledger."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llm_extract.errors import UsageError

if TYPE_CHECKING:
    from llm_extract.archive_options import ArchiveOptions
    from llm_extract.chat.engine import ModelOptions
    from llm_extract.distributed import RayOptions

_PANEL = "Large archives"


def _option(name: str, help_text: str, **more: Any) -> Any:
    return typer.Option(name, help=help_text, rich_help_panel=_PANEL, **more)


BackendName = Annotated[
    str,
    typer.Option(
        "--backend",
        help="rules; openai (any such server), vllm, transformers or replay; or package.module:Class of your own.",
    ),
]
TimeoutS = Annotated[float, typer.Option("--timeout-s", min=0.1, help="Longest time for one report.")]
EvidenceLimit = Annotated[
    int, typer.Option("--evidence-limit", min=0, help="How many reports the evidence pages show; 0: no page.")
]
RetryQuarantined = Annotated[bool, typer.Option("--retry-quarantined", help="Try quarantined reports again.")]
Workers = Annotated[
    int, typer.Option("--workers", min=0, max=1024, help="Worker processes; 0 extracts in this process.")
]
ShardName = Annotated[
    str | None,
    _option(
        "--shard", "Only this part, in a job array; without it, finished parts are merged.", metavar="I/N"
    ),
]
LedgerFolder = Annotated[
    Path | None,
    _option(
        "--ledger",
        "Keep the ledger here, on a disk of this machine, while it is used; --out gets a copy at the end. Needed "
        "where --out lies on a network file system.",
        metavar="FOLDER",
    ),
]
RayAddress = Annotated[
    str | None,
    _option(
        "--ray",
        "Extract with --workers actors of a Ray cluster; local starts one on this machine, auto finds a running one.",
        metavar="ADDRESS",
    ),
]
RayGpus = Annotated[
    float | None,
    _option("--ray-gpus", "GPUs of each actor. [default: --gpus for an in-process model, else 0]", min=0.0),
]


def ray_options(
    address: str | None,
    *,
    workers: int,
    gpus: float | None,
    allow_remote: bool,
    model: ModelOptions | None,
    backend: str,
) -> RayOptions | None:
    """The options of a Ray cluster; None where none is asked for.

    Raises:
        UsageError: they do not fit together, or reports would leave this machine unasked.
    """
    from llm_extract.distributed import LOCAL, RayOptions

    if address is None:
        if gpus is not None:
            raise UsageError("--ray-gpus goes with --ray", code="bad_option", hint="add --ray local")
        return None
    if workers < 1:
        raise UsageError("a Ray cluster needs a worker", code="bad_option", hint="give --workers 1 or more")
    if model is not None and model.record is not None:
        raise UsageError(
            "answers cannot be recorded on a Ray cluster",
            code="bad_option",
            hint="leave out --record or --ray",
        )
    if address != LOCAL:
        if not allow_remote:
            raise UsageError(
                f"the Ray cluster {address} may be other machines, and gets every report's full text",
                code="remote_refused",
                hint="add --allow-remote if it may have them, or give --ray local",
            )
        typer.echo(
            f"note: reports are sent to the Ray cluster {address}: texts and ids, no patients or dates",
            err=True,
        )
    in_process = model is not None and backend in {"vllm", "transformers"}
    default = float(model.gpus) if in_process and model is not None else 0.0
    return RayOptions(address, workers=workers, gpus_per_worker=default if gpus is None else gpus)


def archive_options(out: Path, *, shard: str | None, retry_quarantined: bool, **given: Any) -> ArchiveOptions:
    """The options of a run.

    Args:
        out: output folder.
        shard: ``I/N``.
        retry_quarantined: try quarantined reports again.
        given: the other fields of :class:`llm_extract.archive_options.ArchiveOptions`.

    Raises:
        UsageError: one of them makes no sense.
    """
    from llm_extract.archive_options import ArchiveOptions, Shard

    return ArchiveOptions(
        out=out,
        shard=Shard.parse(shard) if shard is not None else None,
        quarantine="retry" if retry_quarantined else "keep",
        **given,
    )
