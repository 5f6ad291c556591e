"""Which server is asked: its address, the key, the model it serves.

Only a server on this machine is asked unless the options allow another one. Proxies of the environment and redirects
are not followed, so that no report goes anywhere else than the address says.
"""

from __future__ import annotations

import ipaddress
import logging
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from llm_extract.chat.engine import EngineInfo, ModelOptions
from llm_extract.errors import ResourceError, UsageError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

UNREADABLE = (ValueError, AttributeError, TypeError, LookupError)
"""What comes of reading a reply of another shape: the client takes any JSON, and even a page, for an answer."""
_TALKATIVE = ("openai", "httpx", "httpx2", "httpcore", "httpcore2")


def check_address(options: ModelOptions) -> None:
    """Refuse an address that is no URL, or not on this machine unless that is allowed."""
    parts = urlsplit(options.base_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError(
            f"{options.base_url!r} is no address of a server",
            code="invalid_base_url",
            hint="such as http://127.0.0.1:8000/v1",
        )
    if options.remote == "refused" and not is_this_machine(parts.hostname):
        raise UsageError(
            f"{parts.hostname} is not this machine: the full text of every report would be sent there",
            code="remote_server",
            hint="add --allow-remote if you may",
        )


def is_this_machine(host: str) -> bool:
    """True for ``localhost`` and loopback addresses.

    >>> is_this_machine("127.0.0.1"), is_this_machine("::1"), is_this_machine("127.0.0.1.example.org")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def unreachable(options: ModelOptions, status: int | None = None) -> ResourceError:
    """The error that stops a run whose server is gone; what is done is kept."""
    why = f"answers only HTTP {status}" if status else "cannot be reached"
    return ResourceError(
        f"the server {options.base_url} {why}; what is done is kept",
        code="server_unreachable",
        hint="start it and run the same command again",
    )


async def build_client(options: ModelOptions) -> AsyncOpenAI:
    """A client that asks this address alone, and whose debug messages stay silent."""
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    for name in _TALKATIVE:  # their debug messages hold whole requests
        logging.getLogger(name).setLevel(logging.WARNING)
    return AsyncOpenAI(
        base_url=options.base_url,
        api_key=_read_key(options),
        timeout=options.request_timeout_s,
        max_retries=0,
        http_client=DefaultAsyncHttpxClient(trust_env=False, follow_redirects=False),
    )


def _read_key(options: ModelOptions) -> str:
    if options.api_key_file is None:
        return "none"
    try:
        key = options.api_key_file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the key file {options.api_key_file}", code="key_file") from error
    if not key or not key.isascii() or not key.isprintable():
        raise UsageError(f"{options.api_key_file} holds no key", code="key_file")
    return key


async def find_model(client: AsyncOpenAI, options: ModelOptions) -> EngineInfo:
    """The named model, or the only one the server has."""
    from openai import APIConnectionError, APIError, APIStatusError

    try:
        served = {model.id: model async for model in client.models.list()}
    except APIConnectionError as error:
        raise unreachable(options) from error
    except APIStatusError as error:
        if error.status_code in {401, 403}:
            raise UsageError(
                f"the server {options.base_url} refuses the key",
                code="key_refused",
                hint="give the key with --api-key-file FILE",
            ) from error
        if error.status_code >= 500:
            raise unreachable(options, error.status_code) from error
        served = {}
    except (APIError, *UNREADABLE) as error:
        raise UsageError(
            f"{options.base_url} is no OpenAI-compatible server",
            code="invalid_base_url",
            hint="its address usually ends in /v1",
        ) from error
    name = options.model or (next(iter(served)) if len(served) == 1 else None)
    if name is None or (served and name not in served):
        raise UsageError(
            f"the server {options.base_url} has "
            + (f"the models {', '.join(sorted(served))[:400]}" if served else "no list of models"),
            code="unknown_model",
            hint="choose one with --model, and check that --base-url ends in /v1",
        )
    context = getattr(served.get(name), "max_model_len", None)
    return EngineInfo(name, options.revision, context_tokens=context if isinstance(context, int) else None)
