"""The store a broker runs on: one SQLite database in one directory, for one broker at a time.

What is committed is synced before `commit` returns. Two connections, each on a thread of its own: one writes and
checkpoints, one reads pages of events beside it. A commit under way is never cancelled and its outcome never guessed;
once one is open, everything is refused until the store is opened anew.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from tenure.contract.events import AnyEvent
from tenure.domain.records import Batch, KeptTenure, StoredState
from tenure.domain.store import StoreFailedError, StoreRefusedError, StoreUnusableError
from tenure.storage.completion import to_its_end
from tenure.storage.database import Database, read_page, read_tenures
from tenure.storage.lock import StoreLock
from tenure.storage.opening import DATABASE_FILE, open_reader, open_writer
from tenure.storage.options import StoreOptions
from tenure.storage.place import prepare_directory
from tenure.storage.rows import encode
from tenure.storage.thread import ConnectionThread


class SqliteStore:
    """An open store; made by `open`, and always to be closed, since its threads are not daemons."""

    def __init__(self, lock: StoreLock, writer: ConnectionThread, reader: ConnectionThread, database: Database) -> None:
        self._lock = lock
        self._writer = writer
        self._reader = reader
        self._database = database
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, directory: Path, *, options: StoreOptions | None = None) -> SqliteStore:
        """Open the store in a directory, which is made if it is not there.

        Raises:
            StoreLockedError: Another broker has it; carries its pid.
            StoreUnusableError: It cannot be a store's place, or what is there is not a store this program can use.
            asyncio.CancelledError: Nothing is left open.
        """
        prepare_directory(directory)
        path = directory / DATABASE_FILE
        async with AsyncExitStack() as undo:
            lock = StoreLock.acquire(directory)
            undo.callback(lock.release)
            connect = partial(open_writer, path, uuid.uuid4().hex, time.time_ns() // 1_000_000)
            writer = await ConnectionThread.open(connect)
            undo.push_async_callback(writer.end)
            database = await to_its_end(writer.submit(lambda: Database(writer.sqlite, path, options or StoreOptions())))
            undo.callback(writer.post, database.close)
            try:
                await to_its_end(writer.submit(database.prepare))
            except StoreFailedError as error:
                raise StoreUnusableError(f"{path} cannot be used: {error}") from error
            reader = await ConnectionThread.open(partial(open_reader, path))
            undo.pop_all()
            return cls(lock, writer, reader, database)

    async def quiet_ms(self) -> int:
        """How long nothing may be granted yet: what was given before the store was restored has to run out.

        Raises:
            StoreUnusableError: It cannot be read, or the store is closed.
        """
        return await to_its_end(self._on_writer(self._database.quiet_ms))

    async def keep_quiet(self, quiet_ms: int) -> None:
        """Remember how much of that time is left, so that a start after this one does not wait for all of it again.

        Raises:
            StoreRefusedError: It was not written.
            StoreFailedError: The outcome is open.
            StoreUnusableError: The store is closed.
        """
        await to_its_end(self._on_writer(partial(self._database.keep_quiet, quiet_ms)))

    async def load(self) -> StoredState:
        """Everything committed.

        Raises:
            StoreUnusableError: It cannot be read, or the store is closed.
            StoreFailedError: The outcome of an earlier commit is open.
        """
        return await to_its_end(self._on_writer(self._database.load))

    async def commit(self, batch: Batch) -> None:
        """Make a batch durable: all of it or nothing.

        Raises:
            StoreRefusedError: Nothing of it was committed; `StoreInvariantError` if the registry has a defect.
            StoreFailedError: The outcome is open, or that of an earlier commit was.
            asyncio.CancelledError: The caller was cancelled; the commit has ended, one way or the other.
        """
        if self._closing is not None:
            raise StoreRefusedError("the store is closed")
        committed = self._writer.submit(partial(self._write, batch))
        self._writer.post(self._database.between)  # in the queue before any other commit, and after this one's answer
        await to_its_end(committed)

    async def read_events(self, since: int, limit: int) -> tuple[AnyEvent, ...]:
        """Up to `limit` committed events with revisions from `since` + 1 on, without a gap; runs beside commits.

        Raises:
            EventsCompactedError: Event `since` + 1 has existed and is no longer kept.
            StoreUnusableError: They cannot be read, or the store is closed.
            StoreFailedError: The outcome of an earlier commit is open.
        """
        return await self._on_reader(lambda: read_page(self._reader.sqlite, since, limit))

    async def read_tenures(self, resource_id: str, before: int, limit: int) -> tuple[KeptTenure, ...]:
        """Up to `limit` tenures of a resource with a lower epoch than `before`, the newest first; beside commits.

        Raises:
            StoreUnusableError: They cannot be read, or the store is closed.
            StoreFailedError: The outcome of an earlier commit is open.
        """
        return await self._on_reader(lambda: read_tenures(self._reader.sqlite, resource_id, before, limit))

    async def idle(self) -> None:
        """One short piece of what was put off: a checkpoint, or a slice of the events that are not kept.

        Raises:
            StoreFailedError: The disk failed, now or before.
            StoreUnusableError: The store is closed.
        """
        await self._on_writer(self._database.idle)

    async def close(self) -> None:
        """Finish what is under way and let go of everything. Safe to repeat.

        Raises:
            asyncio.CancelledError: The caller was cancelled; the store is closed all the same.
        """
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await to_its_end(self._closing)

    def _write(self, batch: Batch) -> None:
        """Encode and commit, on the writer's thread: encoding may take longer than heartbeats can wait."""
        row, pages = encode(batch)
        self._database.commit(row, pages)

    async def _close(self) -> None:
        try:
            await self._reader.end()
        finally:  # The writer's connection is the last one, so that it empties the log and removes it.
            self._writer.post(self._database.close)
            try:
                await self._writer.end()
            finally:
                self._lock.release()

    def _on_writer[T](self, function: Callable[[], T]) -> asyncio.Future[T]:
        self._raise_closed()
        return self._writer.submit(function)

    def _on_reader[T](self, function: Callable[[], T]) -> asyncio.Future[T]:
        self._raise_closed()
        if self._database.failure is not None:
            raise StoreFailedError(self._database.failure)
        return self._reader.submit(function)

    def _raise_closed(self) -> None:
        if self._closing is not None:
            raise StoreUnusableError("the store is closed")
