"""Faults that a process does to itself, and a disk that can be filled.

Nothing here imitates: the interpreter's lock is held, the event loop is blocked, and the disk has no room left.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Final

_CHUNK_BYTES: Final = 4_096

# `PyDLL`, unlike `CDLL`, does not let go of the interpreter's lock around a call, as many an extension does not.
_libc_with_lock: Final = ctypes.PyDLL(None)


def hold_interpreter(for_ms: int) -> None:
    """Keep every other thread of this process from running Python, the lease thread's too."""
    _libc_with_lock.poll(None, 0, for_ms)


def block(for_ms: int) -> None:
    """Keep this thread, and with it its event loop, waiting in the kernel; other threads run on."""
    select.select((), (), (), for_ms / 1_000)


class NoSmallDiskError(Exception):
    """A file system of our own cannot be mounted here; the message says why."""


@contextlib.contextmanager
def small_disk(directory: Path, size_bytes: int) -> Generator[Path]:
    """A file system of so many bytes, in a directory that is made for it.

    Raises:
        NoSmallDiskError: It cannot be mounted.
    """
    directory.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=700", "tmpfs", str(directory))
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise NoSmallDiskError(str(error)) from error
    if done.returncode:
        raise NoSmallDiskError(f"{done.stderr.strip()} (it takes root, and CAP_SYS_ADMIN in a container)")
    try:
        yield directory
    finally:  # lazily, should a process that was just killed still have a file open there
        subprocess.run(("umount", "--lazy", str(directory)), check=True)


def fill(directory: Path) -> Path:
    """Write a file until not a byte fits into its file system any more; remove it to make room."""
    path = directory / "filler"
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, _CHUNK_BYTES, 1):
            try:
                while True:
                    os.write(file.fileno(), bytes(size))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
    return path
