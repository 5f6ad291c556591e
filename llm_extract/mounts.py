"""Which file system a path lies on, and whether it belongs to this machine alone.

SQLite's write-ahead log needs shared memory and locks that network file systems do not keep: two machines that
write one ledger there damage it, sometimes without any error.
"""

from __future__ import annotations

import re
from pathlib import Path

from llm_extract.errors import UsageError

MOUNTS = Path("/proc/self/mountinfo")
NETWORK_FILE_SYSTEMS = frozenset(
    {
        "9p", "acfs", "afs", "beegfs", "beegfs_nodev", "ceph", "cifs", "coda", "cvfs", "dvs", "fhgfs", "gfs", "gfs2",
        "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "nfs4.1", "ocfs2", "orangefs", "panfs", "prl_fs",
        "pvfs2", "quobyte", "smb", "smb2", "smb3", "smbfs", "vboxsf", "vmhgfs", "wekafs",
    }
)  # fmt: skip
_NETWORK_FUSE = frozenset(
    {
        "afp", "blobfuse", "blobfuse2", "ceph", "ceph-fuse", "cifs", "cvmfs2", "dav", "davfs", "davfs2", "gcsfuse",
        "glusterfs", "goofys", "juicefs", "lustre", "moosefs", "mfs", "mount-s3", "nfs", "quobyte", "rclone", "s3fs",
        "seaweedfs", "smb", "smbnetfs", "sshfs", "vmhgfs-fuse",
    }
)  # fmt: skip
_ESCAPED = re.compile(r"\\([0-7]{3})")


def file_system_of(path: Path, mounts: str) -> str | None:
    """Type of the file system that a path lies on.

    Args:
        path: absolute and resolved; it need not exist.
        mounts: text of ``/proc/self/mountinfo``.

    Returns:
        Such as ``ext4``; None where no line covers the path. Of two mounts on one place, the later hides the earlier.

    >>> table = '21 1 8:1 / / rw - ext4 /dev/sda1 rw' + chr(10) + '34 21 0:40 / /data rw - nfs4 server:/x rw'
    >>> file_system_of(Path('/data/out'), table), file_system_of(Path('/database'), table)
    ('nfs4', 'ext4')
    """
    found: tuple[int, str] | None = None
    for line in mounts.splitlines():
        place, _, kind = line.partition(" - ")
        fields, kinds = place.split(), kind.split()
        if len(fields) < 5 or not kinds:
            continue
        root = Path(_ESCAPED.sub(lambda match: chr(int(match[1], 8)), fields[4]))
        depth = len(root.parts)
        if path.is_relative_to(root) and (found is None or depth >= found[0]):
            found = (depth, kinds[0])
    return found[1] if found is not None else None


def is_network_file_system(kind: str) -> bool:
    """Whether a type of file system is shared over a network, or between a virtual machine and its host.

    >>> is_network_file_system("fuse.sshfs"), is_network_file_system("xfs")
    (True, False)
    """
    name = kind.lower()
    return name in NETWORK_FILE_SYSTEMS or (
        name.startswith(("fuse.", "fuse-")) and name[len("fuse.") :] in _NETWORK_FUSE
    )


def refuse_network_file_system(folder: Path, *, mounts: Path = MOUNTS) -> None:
    """Refuse a place where a ledger would not be safe; where the system has no table of mounts, nothing is known.

    Args:
        folder: where the ledger is to be; it need not exist.
        mounts: the table of mounts.

    Raises:
        UsageError: it lies on a network file system.
    """
    try:
        table = mounts.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return
    kind = file_system_of(folder.resolve(), table)
    if kind is not None and is_network_file_system(kind):
        raise UsageError(
            f"{folder} lies on a network file system ({kind}), where a ledger can be damaged",
            code="ledger_on_network",
            hint="add --ledger FOLDER with a folder on a disk of this machine; --out may stay where it is",
        )
