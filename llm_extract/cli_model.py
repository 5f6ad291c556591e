"""Options of ``extract`` about a language model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from llm_extract.errors import UsageError

if TYPE_CHECKING:
    from llm_extract.chat.engine import ModelOptions

_PANEL = "Language models"
CrossCheck = Literal["none", "rules"]


def _option(name: str, help_text: str, **more: Any) -> Any:
    return typer.Option(name, help=help_text, rich_help_panel=_PANEL, **more)


ModelName = Annotated[
    str | None, _option("--model", "Model of the server, or folder of a model.", metavar="MODEL")
]
Revision = Annotated[
    str | None,
    _option("--revision", "Version of the weights, for the records. [default: a hash of a folder]"),
]
BaseUrl = Annotated[str, _option("--base-url", "Address of an OpenAI-compatible server.", metavar="URL")]
AllowRemote = Annotated[
    bool,
    _option("--allow-remote", "Allow a server that is not this machine: it gets every report's full text."),
]
ApiKeyFile = Annotated[
    Path | None, _option("--api-key-file", "File that holds the key of the server.", metavar="FILE")
]
Concurrency = Annotated[
    int, _option("--concurrency", "Requests at the same time; 64 to 256 keep a GPU busy.", min=1, max=4096)
]
RequestTimeout = Annotated[
    float, _option("--request-timeout-s", "Longest time for one answer of a server.", min=1.0)
]
MaxModelLen = Annotated[int, _option("--max-model-len", "Tokens of context of an in-process model.", min=512)]
Gpus = Annotated[int, _option("--gpus", "GPUs that an in-process model is spread over.", min=1, max=64)]
KvCache = Annotated[
    float | None,
    _option("--kv-cache-gib", "Memory of vLLM's cache. [default: what the GPU has left]", min=0.01),
]
Record = Annotated[
    Path | None, _option("--record", "Also write the model's answers here, to replay them.", metavar="FILE")
]
Recording = Annotated[
    Path | None, _option("--recording", "Recorded answers, for --backend replay.", metavar="FILE")
]
CrossCheckOption = Annotated[
    CrossCheck, _option("--cross-check", "Compare each record with the rules; what differs is for review.")
]
Price = Annotated[
    float | None,
    _option("--price-per-million", "Price of a million tokens, for the progress line and --pilot.", min=0.0),
]
Pilot = Annotated[
    int | None,
    typer.Option(
        "--pilot", metavar="N", min=1, help="Extract a sample only, and forecast the whole from it."
    ),
]


def model_options(
    backend: str, *, allow_remote: bool, kv_cache_gib: float | None, **given: Any
) -> ModelOptions | None:
    """The options of a language model; None for a backend that runs none.

    Raises:
        UsageError: such an option was given for a backend that has no use for it.
    """
    from llm_extract.backends import MODEL_BACKENDS
    from llm_extract.chat.engine import ModelOptions

    options = ModelOptions(
        **given,
        remote="allowed" if allow_remote else "refused",
        kv_cache_bytes=None if kv_cache_gib is None else int(kv_cache_gib * 2**30),
    )
    if backend in MODEL_BACKENDS:
        if backend == "openai" and allow_remote:
            _say_what_is_sent(options)
        return options
    if options != ModelOptions():
        raise UsageError(
            f"the backend {backend!r} asks no language model",
            code="bad_option",
            hint=f"add --backend {' or '.join(MODEL_BACKENDS)}, or leave the model's options out",
        )
    return None


def _say_what_is_sent(options: ModelOptions) -> None:
    from urllib.parse import urlsplit

    from llm_extract.backends.chat_server import is_this_machine

    host = urlsplit(options.base_url).hostname or ""
    if not is_this_machine(host):
        typer.echo(
            f"note: the full text of every report is sent to {host}; ids, patients and dates of the table are not",
            err=True,
        )
