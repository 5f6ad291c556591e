"""Name a running process so that another process can tell whether it has ended."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def this_process() -> str:
    """Name of the running process that no other process has: host, process-id namespace, id, start time."""
    return f"{_host()}|{os.getpid()}|{_start_time(os.getpid())}"


def process_is_gone(owner: str) -> bool:
    """Whether an owner ran on this host and has ended; of other hosts nothing is known."""
    host, _, rest = owner.rpartition("|")[0].rpartition("|")
    started = owner.rpartition("|")[2]
    if host != _host() or not rest.isdigit():
        return False
    return _start_time(int(rest)) != started


def _host() -> str:
    try:
        namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - a magic link, not a path
    except OSError:
        namespace = ""
    return f"{socket.gethostname()}|{namespace}"


def _start_time(process_id: int) -> str:
    try:
        stat = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8", errors="replace")
        state, *fields = stat.rpartition(")")[2].split()
        return "" if state in {"Z", "X"} else fields[18]
    except OSError:
        pass
    if Path("/proc/self/stat").exists():
        return ""
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "running"
