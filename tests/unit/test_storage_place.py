"""Where a store may be: on this machine, in a directory that can be made and is its owner's alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenure.domain.store import StoreUnusableError
from tenure.storage.place import file_system, prepare_directory, refuse_network_file_system

MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:21 / /home rw,relatime master:2 - nfs4 server:/home rw,vers=4.2
24 22 0:22 / /home/of\\040two rw,relatime - xfs /dev/vdb rw
25 22 0:23 / /mnt rw - tmpfs tmpfs rw
26 22 0:24 / /mnt rw - fuse.sshfs me@there:/ rw
27 26 0:25 / /mnt/share rw - cifs //server/share rw
a line that says nothing - at all
28 22 0:26 / / ro,relatime
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/homework", "ext4"),
        ("/home", "nfs4"),
        ("/home/one/deep", "nfs4"),
        ("/home/of two/x", "xfs"),
        ("/mnt/y", "fuse.sshfs"),
        ("/mnt/share", "cifs"),
    ],
)
def test_the_file_system_of_a_path(path: str, kind: str) -> None:
    """The innermost mount over a path says what it is on, the later of two on one point."""
    assert file_system(path, MOUNTS) == kind


def test_no_file_system_is_known_without_a_mount() -> None:
    """A path that no mount is over has no type."""
    assert file_system("/x", "") is None


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "ceph"])
def test_a_network_file_system_is_refused(tmp_path: Path, kind: str) -> None:
    """★ A directory on a network file system is refused, with its type and what to do."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"22 1 0:21 / {tmp_path.resolve()} rw - {kind} server:/data rw\n", encoding="utf-8")
    with pytest.raises(StoreUnusableError, match=rf"network file system \({kind}\).*--data"):
        refuse_network_file_system(tmp_path / "data", mounts)


def test_a_local_file_system_is_fine(tmp_path: Path) -> None:
    """A directory on a disk of this machine is taken, and so is one where the system does not tell."""
    mounts = tmp_path / "mountinfo"
    refuse_network_file_system(tmp_path, mounts)
    mounts.write_text("22 1 254:0 / / rw - ext4 /dev/vda rw\n", encoding="utf-8")
    refuse_network_file_system(tmp_path, mounts)


def test_a_directory_is_made_for_its_owner(tmp_path: Path) -> None:
    """What is missing is made, the store's own directory for its owner alone, and again is fine."""
    directory = tmp_path / "a" / "b"
    prepare_directory(directory)
    prepare_directory(directory)
    assert directory.stat().st_mode & 0o777 == 0o700


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    """A place that cannot be a directory is refused, with what to do."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreUnusableError, match=r"cannot be made.*--data"):
        prepare_directory(tmp_path / "file" / "data")
