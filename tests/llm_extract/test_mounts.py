from pathlib import Path

import pytest

from llm_extract import ledger_file
from llm_extract.errors import UsageError
from llm_extract.ledger import Ledger
from llm_extract.mounts import MOUNTS, file_system_of, is_network_file_system, refuse_network_file_system

TABLE = """21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 21 0:25 / /proc rw - proc proc rw
34 21 0:40 / /data rw,relatime - nfs4 server:/export rw,vers=4.2
35 34 8:17 / /data/scratch rw - xfs /dev/sdb1 rw
36 21 0:41 / /my\\040share rw - cifs //server/share rw
37 21 0:42 / /twice rw - ext4 /dev/sdc rw
38 21 0:43 / /twice rw - lustre mds:/fs rw
a line that is no mount
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/x", "ext4"),
        ("/data/out", "nfs4"),
        ("/data", "nfs4"),
        ("/database/out", "ext4"),
        ("/data/scratch/out", "xfs"),
        ("/my share/out", "cifs"),
        ("/twice/out", "lustre"),
    ],
)
def test_the_deepest_and_latest_mount_holds_a_path(path, kind):
    assert file_system_of(Path(path), TABLE) == kind


@pytest.mark.parametrize(
    "kind",
    [
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "lustre",
        "gpfs",
        "beegfs",
        "9p",
        "ceph",
        "fuse.sshfs",
        "fuse.rclone",
        "NFS",
    ],
)
def test_network_file_systems_are_refused_by_type(kind, tmp_path):
    assert is_network_file_system(kind)
    table = tmp_path / "mounts"
    table.write_text(
        f"21 1 8:1 / / rw - ext4 /dev/sda1 rw\n34 21 0:40 / {tmp_path} rw - {kind} server:/x rw\n"
    )
    with pytest.raises(UsageError, match="--ledger") as caught:
        refuse_network_file_system(tmp_path / "not" / "yet", mounts=table)
    assert caught.value.code == "ledger_on_network"
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "kind", ["ext4", "xfs", "btrfs", "zfs", "overlay", "tmpfs", "apfs", "fuseblk", "fuse.bindfs"]
)
def test_disks_of_this_machine_are_not(kind, tmp_path):
    table = tmp_path / "mounts"
    table.write_text(f"21 1 8:1 / / rw - {kind} /dev/sda1 rw\n")
    refuse_network_file_system(tmp_path, mounts=table)


def test_without_a_table_of_mounts_nothing_is_refused(tmp_path):
    refuse_network_file_system(tmp_path, mounts=tmp_path / "missing")


@pytest.mark.skipif(not MOUNTS.exists(), reason="this system has no table of mounts")
def test_the_table_of_this_machine_is_read():
    assert file_system_of(Path("/proc/self"), MOUNTS.read_text()) == "proc"


def test_a_ledger_on_a_network_leaves_no_file(tmp_path, monkeypatch):
    table = tmp_path / "mounts"
    table.write_text(f"34 21 0:40 / {tmp_path} rw - nfs4 server:/x rw\n")
    monkeypatch.setattr(
        ledger_file,
        "refuse_network_file_system",
        lambda folder: refuse_network_file_system(folder, mounts=table),
    )
    with pytest.raises(UsageError, match="nfs4"):
        Ledger(tmp_path / "ledger.sqlite")
    assert [path.name for path in tmp_path.iterdir()] == ["mounts"]
