"""One broker per store: an exclusive `flock` on a file beside the database, which holds the owner's pid.

The kernel frees it when the process is gone, however it went. SQLite's own locks would not do: they are POSIX locks,
which vanish when any code of the process closes the file. The lock file is never removed, since a second opener may
already have the old one open.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

from tenure.domain.store import StoreLockedError, StoreUnusableError

LOCK_FILE: Final = "tenure.lock"
_PID_BYTES: Final = 20


class StoreLock:
    """The right to use the store in a directory, for as long as it is not released."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, directory: Path) -> StoreLock:
        """Take the lock of the store in `directory`.

        Raises:
            StoreLockedError: Somebody else has it; carries the pid.
            StoreUnusableError: The file cannot be written.
        """
        path = directory / LOCK_FILE
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnusableError(
                f"{path} cannot be written: {error.strerror}; serve other data with --data"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Written over what is there and as long, so that a disk that is full does not keep a broker from its store.
            os.pwrite(descriptor, b"%-*d\n" % (_PID_BYTES - 1, os.getpid()), 0)
        except BlockingIOError:
            pid = _pid(os.pread(descriptor, _PID_BYTES, 0))
            os.close(descriptor)
            raise StoreLockedError(str(directory), pid) from None
        except OSError as error:
            os.close(descriptor)
            raise StoreUnusableError(
                f"{path} cannot be locked: {error.strerror}; serve other data with --data"
            ) from error
        return cls(descriptor)

    @classmethod
    def share(cls, directory: Path) -> StoreLock | None:
        """Keep brokers from the store in `directory` while its files are read; None if none has ever served it.

        Raises:
            StoreLockedError: A broker has it; carries the pid.
            OSError: The file cannot be read.
        """
        try:
            descriptor = os.open(directory / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _pid(os.pread(descriptor, _PID_BYTES, 0))
            os.close(descriptor)
            raise StoreLockedError(str(directory), pid) from None
        return cls(descriptor)

    def release(self) -> None:
        """Let the next one have it. Safe to repeat."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _pid(content: bytes) -> int | None:
    return int(content) if content.strip().isdigit() else None
