"""What happens on the writer's thread: commits, and between two of them checkpoints and pruning.

One connection writes and checkpoints, so a checkpoint never runs beside a commit: then the log wraps, and SQLite's
fault in resetting it under two connections (before 3.51.3) cannot be met. An error whose outcome is open fails the
store for good: nothing more is read from it or written to it.
"""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from sys import intern
from typing import Final

import msgspec
from msgspec import structs

from tenure.contract.codec import decode_event
from tenure.contract.errors import ProtocolError
from tenure.contract.events import AnyEvent
from tenure.contract.views import Pause
from tenure.domain.records import NO_METADATA, KeptTenure, Registration, Session, StoredState, Tenure
from tenure.domain.store import (
    EventsCompactedError,
    StoreError,
    StoreFailedError,
    StoreInvariantError,
    StoreRefusedError,
    StoreUnusableError,
)
from tenure.storage.opening import what_to_do
from tenure.storage.options import StoreOptions
from tenure.storage.rows import BatchRow, ending, kept_tenure
from tenure.storage.sql import queries
from tenure.storage.wal import WalFile

_LOAD_SLICE: Final = 1_000  # records at a time: at most some 35 MB of text
_PRUNE_SLICE: Final = 500  # events at a time: about a millisecond
_PRUNE_LATE: Final = 8 * _PRUNE_SLICE  # more than idle times get rid of: commits take away with what they write
_ROOM_FRAMES: Final = 32  # for what every commit writes, and the depth of its trees
_ROOM_FRAMES_MAX: Final = 1_024  # a larger batch lets SQLite grow the log by itself
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_PRIMARY: Final = 0xFF  # of an extended result code

_sessions: Final = msgspec.json.Decoder(list[Session])
_registrations: Final = msgspec.json.Decoder(list[Registration])
_tenures: Final = msgspec.json.Decoder(list[Tenure])
_kept_tenures: Final = msgspec.json.Decoder(list[tuple[Tenure, str | None]])
_tenure: Final = msgspec.json.Decoder(Tenure)
_pauses: Final = msgspec.json.Decoder(list[Pause])
_bodies: Final = msgspec.json.Decoder(list[str])


class Database:
    """An open store on its thread; every method runs there, `failure` may be read from anywhere."""

    def __init__(self, connection: sqlite3.Connection, path: Path, options: StoreOptions) -> None:
        self._connection = connection
        self._options = options
        self.failure: str | None = None
        """Why nothing more is done here, once an outcome was left open."""
        self._next_revision: int = 0
        self._first_kept: int = 0
        self._read_meta()
        page_bytes: int = connection.execute("PRAGMA page_size").fetchone()[0]
        self._wal = WalFile(path.with_name(path.name + "-wal"), page_bytes)
        self._checkpointed_bytes: int = 0

    def prepare(self) -> None:
        """Empty the log of what an earlier broker left in it, and write it out ahead of use.

        Raises:
            StoreFailedError: The disk fails. One that is full does not matter yet.
        """
        self._follow()
        self._checkpoint()
        self._reserve(self._options.wal_reserved_bytes // self._wal.frame_bytes - self._wal.used_frames)
        self._raise_failure()

    def commit(self, row: BatchRow, pages: int) -> None:
        """Write a batch, which changes about so many pages, in one statement and so in one transaction.

        Raises:
            StoreRefusedError: Nothing of it was written.
            StoreFailedError: Whether it was written is open, or an earlier outcome was left open.
        """
        self._raise_failure()
        if row.first_revision != self._next_revision:
            raise StoreRefusedError(
                f"a batch from revision {row.first_revision} on does not follow: {self._next_revision} is next"
            )
        if not self._reserve(min(_ROOM_FRAMES + pages, _ROOM_FRAMES_MAX)):
            raise StoreRefusedError("the disk is full: there is no room for the write-ahead log")
        excess = self._excess(row.next_revision)
        is_late = excess > _PRUNE_LATE + self._options.events_kept // 8
        self._write(row, min(excess, 2 * (row.next_revision - row.first_revision)) if is_late else 0)

    def between(self) -> None:
        """What has to be done before the next commit, after the answers to this one have left."""
        if self.failure is None:
            self._follow()
        if self.failure is None and self._log_bytes >= self._options.checkpoint_forced_bytes:
            self._checkpoint()

    def idle(self) -> None:
        """One short piece of what was put off: a checkpoint, else a slice of pruning.

        Raises:
            StoreFailedError: The disk failed, now or before.
        """
        self._raise_failure()
        excess = self._excess(self._next_revision)
        if self._log_bytes >= self._options.checkpoint_idle_bytes:
            self._checkpoint()
        elif excess > min(_PRUNE_SLICE, self._options.events_kept // 10):  # not a commit of its own for each event
            nothing = BatchRow(first_revision=self._next_revision, next_revision=self._next_revision)
            with suppress(StoreRefusedError):  # A disk without room to take away in may have some at the next try.
                self._write(nothing, min(excess, _PRUNE_SLICE))
            self._follow()
        self._raise_failure()

    def load(self) -> StoredState:
        """Everything committed.

        Raises:
            StoreUnusableError: It cannot be read.
            StoreFailedError: An earlier outcome was left open.
        """
        self._raise_failure()
        shared = _Shared()
        with readable():
            return StoredState(
                history_id=self._read_meta(),
                revision=self._next_revision - 1,
                sessions=tuple(all_sessions(self._connection)),
                registrations=tuple(map(shared.share_registration, all_registrations(self._connection))),
                tenures=tuple(sorted(map(shared.share_tenure, self._newest_tenures()), key=ending)),
                pauses=all_pauses(self._connection),
            )

    def quiet_ms(self) -> int:
        """How long nothing may be granted yet, since the store was restored."""
        with readable():
            return int(self._connection.execute(queries()["read_quiet"]).fetchone()[0])

    def keep_quiet(self, quiet_ms: int) -> None:
        """Remember how much of that is left.

        Raises:
            StoreRefusedError: It could not be written.
            StoreFailedError: Whether it was written is open, or an earlier outcome was left open.
        """
        self._raise_failure()
        try:
            self._connection.execute(queries()["keep_quiet"], (quiet_ms,))
        except sqlite3.Error as error:
            raise self._judge(error) from error
        self._follow()
        self._raise_failure()

    def close(self) -> None:
        """Before the connection is closed, which checkpoints: after a failure it must not, recovery is to decide."""
        if self.failure is not None:
            self._connection.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)
        self._wal.close()

    # --- parts --------------------------------------------------------------------------------------------------------

    def _read_meta(self) -> str:
        with readable():
            meta = self._connection.execute(queries()["read_meta"]).fetchone()
            history_id, self._next_revision, first_kept, _ = meta
        self._first_kept = self._next_revision if first_kept is None else first_kept
        return str(history_id)

    def _write(self, row: BatchRow, events_pruned: int) -> None:
        row = row._replace(first_kept=self._first_kept, keep_from=self._first_kept + events_pruned)
        try:
            self._connection.execute(queries()["write_batch"], row)
        except Exception as error:
            raise self._judge(error) from error
        self._next_revision = row.next_revision
        self._first_kept = row.keep_from

    def _judge(self, error: Exception) -> StoreError:
        """What a failed write comes to. One statement is one transaction, so what is refused is rolled back with it."""
        code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_INTERNAL)
        if code == sqlite3.SQLITE_CONSTRAINT_TRIGGER:
            return StoreRefusedError(f"the batch does not fit to what is stored: {error}")
        match code & _PRIMARY:
            case sqlite3.SQLITE_CONSTRAINT | sqlite3.SQLITE_MISMATCH | sqlite3.SQLITE_TOOBIG:
                return StoreInvariantError(f"the batch breaks a rule of the store: {error}")
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return StoreRefusedError(f"another program is writing to the database: {error}")
            case sqlite3.SQLITE_FULL if not self._has_unseen_commit():
                return StoreRefusedError("the disk is full")
            case _:
                return self._fail(f"a commit failed, and whether it happened is open: {error}")

    def _has_unseen_commit(self) -> bool:
        """Whether the log ends in a transaction that SQLite did not report as committed.

        A disk that is full in the midst of the last frame leaves that frame's header, and behind it, on a file system
        that does not write in place, perhaps what was there before. The next recovery might take that for whole.
        """
        before = self._wal.used_frames
        has_wrapped = self._follow()
        return self.failure is not None or self._wal.used_frames > (0 if has_wrapped else before)

    def _follow(self) -> bool:
        try:
            has_wrapped = self._wal.scan()
        except OSError as error:
            self._fail(f"the write-ahead log cannot be read: {error}")
            return False
        if has_wrapped:
            self._checkpointed_bytes = 0
        return has_wrapped

    def _checkpoint(self) -> None:
        """Copy the log into the database as far as no reader is in the way; the next commit then begins it anew.

        After a failed sync of the database a second one proves nothing, while the log has everything: recovery has to
        copy it again.
        """
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            if error.sqlite_errorcode & _PRIMARY != sqlite3.SQLITE_FULL:
                self._fail(f"a checkpoint failed: {error}")
        self._checkpointed_bytes = self._wal.used_bytes  # Also if it could not: it is tried again after as much more.

    def _reserve(self, frames: int) -> bool:
        try:
            self._wal.reserve(frames)
        except OSError as error:
            if error.errno in _NO_ROOM:
                return False
            raise self._fail(f"the write-ahead log cannot be written: {error}") from error
        return True

    @property
    def _log_bytes(self) -> int:
        """How much of the log has come since the last checkpoint."""
        return self._wal.used_bytes - self._checkpointed_bytes

    def _excess(self, next_revision: int) -> int:
        """How many events there are beyond those to be kept."""
        return next_revision - self._first_kept - self._options.events_kept

    def _newest_tenures(self) -> Iterator[Tenure]:
        return slices(self._connection, "load_tenures", _tenures, _after_tenure)

    def _fail(self, why: str) -> StoreFailedError:
        self.failure = why
        return StoreFailedError(why)

    def _raise_failure(self) -> None:
        if self.failure is not None:
            raise StoreFailedError(f"{self.failure}; the broker has to start again")


class _Shared:
    """One object for each value, however many fields have it: records stay in memory, and most of that are values."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._session = self._since_ms = 0
        """Those of the registration before, which mostly are those of the next."""

    def share_registration(self, registration: Registration) -> Registration:
        """The same record."""
        same = self._known.setdefault
        number = registration.registration_id
        role_revision = _either(number, registration.role_revision)
        self._session = _either(self._session, registration.session)
        self._since_ms = _either(self._since_ms, registration.since_ms)
        return Registration(
            registration_id=number,
            session=self._session,
            service_name=intern(registration.service_name),
            instance_id=same(registration.instance_id, registration.instance_id),
            resource_id=same(registration.resource_id, registration.resource_id),
            role=registration.role,
            epoch=_either(role_revision, registration.epoch),
            role_revision=role_revision,
            revision=_either(role_revision, registration.revision),
            since_ms=self._since_ms,
            priority=registration.priority,
            candidate=registration.candidate,
            declined_epoch=registration.declined_epoch,
            metadata=registration.metadata or NO_METADATA,
            hold_limit_ms=registration.hold_limit_ms,
        )

    def share_tenure(self, tenure: Tenure) -> Tenure:
        """The same record."""
        same = self._known.setdefault
        return structs.replace(
            tenure,
            service_name=intern(tenure.service_name),
            instance_id=same(tenure.instance_id, tenure.instance_id),
            resource_id=same(tenure.resource_id, tenure.resource_id),
        )


def _either(known: int, number: int) -> int:
    """The number, as the object that is known if they are equal."""
    return known if known == number else number


def read_page(connection: sqlite3.Connection, since: int, limit: int) -> tuple[AnyEvent, ...]:
    """Up to `limit` events from `since` + 1 on, as `Store.read_events` has them; runs on the reader's thread.

    Raises:
        EventsCompactedError: Event `since` + 1 is no longer kept.
        StoreUnusableError: They cannot be read.
    """
    with readable():
        first, bodies, following = connection.execute(queries()["read_events"], (since, max(limit, 0))).fetchone()
        if first is None and limit > 0 and following > max(since, 0) + 1:
            raise EventsCompactedError(following)  # a store that was restored has none yet
        if first is None:
            return ()
        events = [decode_event(bytes.fromhex(body)) for body in _bodies.decode(bodies)]
    if first > max(since, 0) + 1:
        raise EventsCompactedError(first)
    return tuple(event for offset, event in enumerate(events) if event.revision == first + offset)


def read_tenures(connection: sqlite3.Connection, resource_id: str, before: int, limit: int) -> tuple[KeptTenure, ...]:
    """Up to `limit` tenures of a resource before an epoch, as `Store.read_tenures` has them; on the reader's thread.

    Raises:
        StoreUnusableError: They cannot be read.
    """
    with readable():
        found = connection.execute(queries()["read_tenures_of"], (resource_id, before, max(limit, 0))).fetchone()[0]
        return tuple(kept_tenure(tenure, bytes.fromhex(end or "")) for tenure, end in _kept_tenures.decode(found))


@contextmanager
def readable() -> Generator[None]:
    """What cannot be read makes the store unusable.

    Raises:
        StoreUnusableError: SQLite could not read, or what was read is not what was written.
    """
    try:
        yield
    except (sqlite3.Error, msgspec.DecodeError, ProtocolError, TypeError) as error:
        raise StoreUnusableError(f"the store cannot be read: {error}; {what_to_do(error)}") from error


def all_sessions(connection: sqlite3.Connection) -> Iterator[Session]:
    """The sessions, by number."""
    return slices(connection, "load_sessions", _sessions, _after_session)


def all_registrations(connection: sqlite3.Connection) -> Iterator[Registration]:
    """The registrations, by id."""
    return slices(connection, "load_registrations", _registrations, _after_registration)


def all_tenures(connection: sqlite3.Connection) -> Iterator[Tenure]:
    """Every tenure that is kept, and every one that lasts, by epoch."""
    return (_tenure.decode(row[0]) for row in connection.execute(queries()["read_tenures"]))


def all_pauses(connection: sqlite3.Connection) -> tuple[Pause, ...]:
    """The pauses, by resource."""
    return tuple(_pauses.decode(connection.execute(queries()["load_pauses"]).fetchone()[0]))


def slices[T](
    connection: sqlite3.Connection, name: str, decoder: msgspec.json.Decoder[list[T]], after: Callable[[T], int]
) -> Iterator[T]:
    """All records that a query finds, a slice at a time, each from the key after the last."""
    start = 0
    while True:
        records = decoder.decode(connection.execute(queries()[name], (start, _LOAD_SLICE)).fetchone()[0])
        yield from records
        if len(records) < _LOAD_SLICE:
            return
        start = after(records[-1])


def _after_session(session: Session) -> int:
    return session.number + 1


def _after_registration(registration: Registration) -> int:
    return registration.registration_id + 1


def _after_tenure(tenure: Tenure) -> int:
    return tenure.epoch + 1
