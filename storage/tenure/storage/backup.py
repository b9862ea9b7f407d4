"""A copy of a store in a file of its own, made beside the broker that may be running.

One connection that cannot write reads one moment of the store, some pages at a time. No commit waits for it; but the
broker's write-ahead log cannot begin anew until the copy is made. The copy has its name only once it is whole, found
sound and synced; until then it is beside it, and whatever ends the work takes that away.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Final, NamedTuple

from tenure.domain.store import StoreError, StoreUnusableError
from tenure.storage.lock import LOCK_FILE
from tenure.storage.opening import DATABASE_FILE, check_version, open_reader
from tenure.storage.wal import sync_directory

_STEP_PAGES: Final = 256  # a mebibyte, which is synced: a large sync would keep the broker's waiting behind it
_FAULTS_SHOWN: Final = 3


class BackupError(StoreError):
    """A copy cannot be made or used; says why and what to do."""


class Backup(NamedTuple):
    """What a copy is of."""

    history_id: str
    revision: int
    """The newest event in it."""
    version: int
    """The version of its schema."""
    bytes: int


def back_up(directory: Path, target: Path, *, overwrite: bool, on_progress: Callable[[int, int], None]) -> Backup:
    """Copy the store in a directory to a file; `on_progress` is told how many pages are copied, of how many.

    Raises:
        BackupError: There is such a file and it is not to be replaced, or it cannot be written.
        StoreUnusableError: There is no store, or it cannot be read, or is damaged.
    """
    path = directory / DATABASE_FILE
    if not path.is_file():
        raise StoreUnusableError(
            f"there is no store in {directory}; name the directory that a broker serves with --data"
        )
    _check_target(directory, target, overwrite=overwrite)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BackupError(f"{target} cannot be written: {error.strerror}") from error
    try:
        backup = _copy(path, partial, descriptor, on_progress)
        os.fsync(descriptor)
        os.rename(partial, target)
        sync_directory(target.absolute().parent)
    except OSError as error:
        raise BackupError(f"{target} cannot be written: {error.strerror}") from error
    finally:
        os.close(descriptor)
        with suppress(FileNotFoundError):
            partial.unlink()
    return backup


def inspect(connection: sqlite3.Connection, path: Path) -> Backup:
    """See that a database is a store, no newer than this program, and sound; says what it is.

    Raises:
        StoreUnusableError: It is something else, newer, or damaged.
        sqlite3.Error: It cannot be read.
    """
    version = check_version(connection, path)
    faults = [row[0] for row in connection.execute(f"PRAGMA integrity_check({_FAULTS_SHOWN})")]
    if faults != ["ok"]:
        raise StoreUnusableError(f"{path} is damaged: {'; '.join(faults)}")
    meta = connection.execute("SELECT history_id, next_revision FROM meta").fetchone()
    if meta is None:
        raise StoreUnusableError(f"{path} has lost the row that names its history")
    return Backup(meta[0], meta[1] - 1, version, path.stat().st_size)


def _check_target(directory: Path, target: Path, *, overwrite: bool) -> None:
    if target.absolute().parent.resolve() == directory.resolve() and target.name.startswith((DATABASE_FILE, LOCK_FILE)):
        raise BackupError(f"{target} is the store itself; name another file")
    if target.is_dir():
        raise BackupError(f"{target} is a directory; name a file")
    if target.exists() and not overwrite:
        raise BackupError(f"{target} is there already; replace it with --force, or name another file")


def _copy(path: Path, partial: Path, descriptor: int, on_progress: Callable[[int, int], None]) -> Backup:
    def told(_status: int, left: int, total: int) -> None:
        os.fdatasync(descriptor)
        on_progress(total - left, total)

    try:
        with (
            closing(open_reader(path)) as source,
            closing(sqlite3.connect(partial, isolation_level=None)) as copy,
        ):
            for setting in (
                "locking_mode = EXCLUSIVE",
                "journal_mode = OFF",
                "synchronous = OFF",
            ):  # ours alone until its end
                copy.execute(f"PRAGMA {setting}")
            source.execute("BEGIN")  # one moment: without it every commit would have the copy begin anew
            check_version(source, path)
            source.backup(copy, pages=_STEP_PAGES, progress=told)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a write-ahead log beside it
            return inspect(copy, partial)
    except sqlite3.Error as error:
        raise StoreUnusableError(f"{path} cannot be copied: {error}") from error
