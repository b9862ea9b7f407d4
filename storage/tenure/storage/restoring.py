"""Putting a backup in a store's place: it begins a new history, in which no epoch of an old one can come again.

The broker has to be stopped, which its lock decides. The next revision is above unix milliseconds and above all that
the backup and the store it replaces have used. Sessions and registrations end with the old history; whoever had a role
in it may hold it until a lease or a hold limit runs out, so the store remembers for how long the next broker has to be
quiet; what is known of that tenure ends with the backup. The store that is replaced is kept. Everything is made ready
beside it, and one `rename` puts it in place.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
import uuid
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from tenure.contract.codec import decode_event
from tenure.contract.errors import ProtocolError
from tenure.contract.vocabulary import ChangeReason
from tenure.domain.store import StoreLockedError, StoreUnusableError
from tenure.storage.backup import BackupError, inspect
from tenure.storage.lock import StoreLock
from tenure.storage.opening import APPLICATION_ID, DATABASE_FILE, open_writer
from tenure.storage.place import prepare_directory
from tenure.storage.sql import script
from tenure.storage.wal import sync_directory

_READY_DIRECTORY: Final = "restoring"  # what is left of a restore that was killed is taken away by the next one
_WAL: Final = "-wal"
_SHARED_MEMORY: Final = "-shm"
_NEWEST: Final = (
    "created_ms",
    "coalesce((SELECT max(began_ms) FROM tenures), 0)",
    "coalesce((SELECT max(since_ms) FROM registrations), 0)",
)


class Restored(NamedTuple):
    """What has become of a store."""

    revision: int
    """The newest event in the backup."""
    history_id: str
    begins_at: int
    """The first revision of the new history."""
    quiet_ms: int
    """How long the next broker grants nothing."""
    replaced: Path | None
    """Where the store is that was there before."""


class _Known(NamedTuple):
    """What a store says about the time before."""

    next_revision: int
    longest_ms: int
    """The longest that anybody in it may hold a role in silence."""
    newest_ms: int
    """When something in it happened, in unix milliseconds."""


def restore(source: Path, directory: Path, *, quiet_ms: int | None = None) -> Restored:
    """Have a directory hold a new history that goes on from a backup.

    `quiet_ms` is for how long nobody is granted a role; None is the longest lease or hold limit in both stores.

    Raises:
        BackupError: The backup is none, damaged, of a newer version, or the file of a store that a broker serves; or
            `quiet_ms` is needed and not given.
        StoreLockedError: A broker has the store; carries its pid.
        StoreUnusableError: The directory cannot be used, or its store is being read.
    """
    _check(source)
    prepare_directory(directory)
    lock = StoreLock.acquire(directory)
    ready = directory / _READY_DIRECTORY
    try:
        shutil.rmtree(ready, ignore_errors=True)
        ready.mkdir(mode=0o700)
        return _restore(source, directory, ready / DATABASE_FILE, quiet_ms)
    except OSError as error:
        raise StoreUnusableError(f"{directory} cannot be written: {error.strerror}; nothing was changed") from error
    finally:
        shutil.rmtree(ready, ignore_errors=True)
        lock.release()


def _restore(source: Path, directory: Path, path: Path, quiet_ms: int | None) -> Restored:
    with _kept_from_brokers(source, directory):
        _copy(source, path)
    revision, backed_up = _take_in(path, source)
    replaced = _known_of(directory / DATABASE_FILE)
    now_ms = time.time_ns() // 1_000_000
    newest_ms = max(backed_up.newest_ms, replaced.newest_ms if replaced else 0)
    if now_ms < newest_ms:
        raise BackupError(
            f"this machine's clock says {_day(now_ms)}, and what happened last was at {_day(newest_ms)}: set the clock"
        )
    # One that is behind the backup was made after the store that was backed up was lost: it knows of none of its roles.
    knows = replaced is not None and replaced.next_revision >= backed_up.next_revision
    if quiet_ms is None and not knows:
        raise BackupError(
            f"there is no store in {directory} that says how long a role given after this backup may still be held. "
            f"Say so with --quiet-ms: the longest lease or hold limit of any client ({backed_up.longest_ms} is the "
            "longest in the backup), or 0 if none of them runs any more"
        )
    if quiet_ms is None:
        quiet_ms = max(backed_up.longest_ms, replaced.longest_ms if replaced else 0)
    # Microseconds: no broker makes a million revisions a second, so that the clock passes every history it has begun.
    begins_at = max(now_ms * 1_000 + 1, backed_up.next_revision + 1, replaced.next_revision if replaced else 0)
    history_id = uuid.uuid4().hex
    _begin_history(path, history_id, begins_at, quiet_ms, backed_up.newest_ms)
    kept = _keep_aside(directory)
    os.rename(path, directory / DATABASE_FILE)
    sync_directory(directory)
    return Restored(revision, history_id, begins_at, quiet_ms, kept)


def _check(source: Path) -> None:
    """See that a file may be a backup, before anything is made or locked.

    Raises:
        BackupError: It is not.
    """
    try:
        is_empty = source.stat().st_size == 0
        with source.open("rb"):
            pass
    except OSError as error:
        raise BackupError(f"{source} cannot be read: {error.strerror}") from error
    if is_empty:
        raise BackupError(f"{source} is empty, and no backup")


def _copy(source: Path, path: Path) -> None:
    """Copy a backup; or the file of a store, with what its write-ahead log still holds."""
    for suffix in ("", _WAL):
        part = source.with_name(source.name + suffix)
        if part.exists():
            shutil.copyfile(part, path.with_name(path.name + suffix))
            path.with_name(path.name + suffix).chmod(0o600)


@contextmanager
def _kept_from_brokers(source: Path, directory: Path) -> Generator[None]:
    """No broker writes to the backup meanwhile, should it be the file of a store; the directory's own lock is held.

    Raises:
        BackupError: A broker does: its files, copied one after the other, would be of no one moment.
    """
    file, lock = source.resolve(), None
    if file.name == DATABASE_FILE and file.parent != directory.resolve():
        try:
            lock = StoreLock.share(file.parent)
        except StoreLockedError as error:
            raise BackupError(
                f"{source} is the file that a running broker writes to (pid {error.pid}), and may be torn when it is "
                f"copied: make a backup with `tenure backup FILE --data {file.parent}`, and restore that"
            ) from error
        except OSError as error:
            raise BackupError(f"{source} has a lock beside it that cannot be read: {error.strerror}") from error
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def _take_in(path: Path, source: Path) -> tuple[int, _Known]:
    """See that a copied backup can be used, and bring it up to date; its newest revision, and what it knows.

    Raises:
        BackupError: It cannot be used.
    """
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            backup = inspect(connection, path)
        open_writer(path, uuid.uuid4().hex, 0).close()
        known = _known_of(path)
    except (sqlite3.Error, StoreUnusableError) as error:
        raise BackupError(f"{source} cannot be restored: {str(error).replace(str(path), 'it')}") from error
    if known is None:
        raise BackupError(f"{source} cannot be restored: what it says about its clients cannot be read")
    return backup.revision, known


def _known_of(path: Path) -> _Known | None:
    """What the store at a path knows, whichever version it is of; None if there is none, or it cannot be trusted.

    What its write-ahead log holds is in the file itself from here on.

    Raises:
        StoreUnusableError: It is being read by somebody else, who keeps the log from being emptied.
    """
    if not path.is_file():
        return None
    try:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as connection:
            if connection.execute("PRAGMA application_id").fetchone() != (APPLICATION_ID,):
                return None
            if connection.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",):
                return None
            known = _read_known(connection)
            is_busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    except sqlite3.Error:
        return None
    if is_busy:
        raise StoreUnusableError(
            f"{path} is being read, by `tenure verify` or `tenure backup` perhaps: let it end first"
        )
    return known


def _read_known(connection: sqlite3.Connection) -> _Known | None:
    columns = {
        (table, row[1])
        for table in ("meta", "registrations")
        for row in connection.execute(f"PRAGMA table_info({table})")
    }
    longest = ["(SELECT max(lease_ms) FROM sessions)"]
    if ("registrations", "hold_limit_ms") in columns:
        longest.append("(SELECT max(hold_limit_ms) FROM registrations)")
    if ("meta", "quiet_ms") in columns:  # it was restored, and nobody has waited since
        longest.append("quiet_ms")
    longest_ms = ", ".join(f"coalesce({part}, 0)" for part in longest)
    row = connection.execute(
        f"SELECT next_revision, max(0, {longest_ms}), max({', '.join(_NEWEST)}) FROM meta"  # noqa: S608
    ).fetchone()
    if row is None:
        return None
    next_revision, known_ms, newest_ms = row
    return _Known(next_revision, known_ms, max(newest_ms, _newest_event_ms(connection)))


def _newest_event_ms(connection: sqlite3.Connection) -> int:
    """When the newest event happened; 0 if there is none, or this version of Tenure cannot read it."""
    newest = connection.execute("SELECT body FROM events ORDER BY revision DESC LIMIT 1").fetchone()
    try:
        return 0 if newest is None else decode_event(newest[0]).at_ms
    except ProtocolError:
        return 0


def _begin_history(path: Path, history_id: str, begins_at: int, quiet_ms: int, newest_ms: int) -> None:
    """Make a store's contents those of a new history; nothing is known of its tenures after `newest_ms`.

    Raises:
        StoreUnusableError: It cannot be written.
    """
    now_ms = time.time_ns() // 1_000_000
    values = {
        "history_id": history_id,
        "begins_at": begins_at,
        "quiet_ms": quiet_ms,
        "now_ms": now_ms,
        "newest_ms": newest_ms,
        "end_reason": ChangeReason.RESTORED,
    }
    with closing(open_writer(path, history_id, now_ms)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            for statement in filter(None, map(str.strip, script("restore.sql").split(";"))):
                connection.execute(statement, values)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreUnusableError(f"{path} cannot be written: {error}") from error
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)  # closing it has emptied the log; that it is synced counts
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _keep_aside(directory: Path) -> Path | None:
    """Give what is there a second name, below a directory of its own, so that it is nowhere missing meanwhile.

    A broker that found no store would begin an empty one, with epochs from 1 on.
    """
    path = directory / DATABASE_FILE
    log = directory / (DATABASE_FILE + _WAL)
    if not path.exists():
        return None
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    kept = directory / f"replaced-{stamp}-{uuid.uuid4().hex[:6]}"
    kept.mkdir(mode=0o700)
    for file in (path, log):
        if file.exists():
            (kept / file.name).hardlink_to(file)
    sync_directory(kept)
    sync_directory(directory)
    for suffix in (_WAL, _SHARED_MEMORY):  # the log of one database must not meet another one
        (directory / (DATABASE_FILE + suffix)).unlink(missing_ok=True)
    return kept


def _day(unix_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(unix_ms / 1_000))
