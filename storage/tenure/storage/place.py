"""Whether a directory is a fit place for a store: it can be made and written, and is not on another machine.

SQLite's write-ahead log shares memory between its users and trusts `fsync`; over a network neither can be relied on.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from tenure.domain.store import StoreUnusableError
from tenure.storage.wal import sync_directory

_MOUNTINFO: Final = Path("/proc/self/mountinfo")
_NETWORK_FILE_SYSTEMS: Final = frozenset({
    "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "pvfs2", "smb3",
    "smbfs",
    "fuse.ceph", "fuse.curlftpfs", "fuse.davfs2", "fuse.gcsfuse", "fuse.glusterfs", "fuse.juicefs", "fuse.mfs",
    "fuse.rclone", "fuse.s3fs", "fuse.smbnetfs", "fuse.sshfs",
})  # fmt: skip


def prepare_directory(directory: Path) -> None:
    """Make the directory, for its owner alone, if it is not there, and see that a store may be in it.

    Raises:
        StoreUnusableError: It cannot be made, or is on a network file system.
    """
    try:
        missing = [place for place in (directory, *directory.parents) if not place.exists()]
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for place in missing:
            sync_directory(place.parent)
    except OSError as error:
        raise StoreUnusableError(
            f"{directory} cannot be made: {error.strerror}; choose a place that can be written with --data"
        ) from error
    refuse_network_file_system(directory)


def refuse_network_file_system(directory: Path, mountinfo: Path = _MOUNTINFO) -> None:
    """See that the directory is on this machine, where the system tells (on Linux).

    Raises:
        StoreUnusableError: It is on a network file system.
    """
    try:
        mounts = mountinfo.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return
    kind = file_system(os.path.realpath(directory), mounts)
    if kind in _NETWORK_FILE_SYSTEMS:
        raise StoreUnusableError(
            f"{directory} is on a network file system ({kind}), where neither locks nor durability can be relied on; "
            "choose a directory on a disk of this machine with --data"
        )


def file_system(path: str, mounts: str) -> str | None:
    """The type of the file system an absolute path is on, by the text of /proc/self/mountinfo (see proc(5))."""
    best, kind = "", None
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):  # of two mounts on one point the later one covers the earlier
            best, kind = point, after.split(" ", 1)[0]
    return kind
