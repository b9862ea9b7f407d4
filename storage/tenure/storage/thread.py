"""One SQLite connection and the thread it lives on: whole functions run there, one hop each, in order.

aiosqlite has the thread and the queue; what it offers on top hops once per statement, and a batch has to be one hop.
This reaches into `_tx` and `_connection`, so its version is pinned to a minor and tests/contract/test_store_thread.py
holds it to what is used here. The thread is not a daemon: a connection that is opened has to be ended.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import cast

import aiosqlite

from tenure.storage.completion import to_its_end


class ConnectionThread(aiosqlite.Connection):
    """A connection that runs functions on its own thread."""

    @classmethod
    async def open(cls, connect: Callable[[], sqlite3.Connection]) -> ConnectionThread:
        """Start the thread and connect on it.

        Raises:
            Exception: What `connect` raised; the thread has ended.
            asyncio.CancelledError: The caller was cancelled; connection and thread are gone.
        """
        self = cls(connect, iter_chunk_size=64)
        self._thread.start()
        connected: asyncio.Future[sqlite3.Connection] = asyncio.get_running_loop().create_future()
        self._tx.put_nowait((connected, connect))
        try:
            self._connection = await to_its_end(connected)
        except BaseException:
            if not connected.exception():
                self._connection = connected.result()
            await self.end()
            raise
        return self

    @property
    def sqlite(self) -> sqlite3.Connection:
        """The connection itself, for what runs on this thread."""
        return self._conn

    def submit[T](self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Queue a function; the future has its outcome. The function runs even if nobody waits for it.

        Raises:
            ValueError: The thread has been told to end.
        """
        if not self._running:
            raise ValueError("the connection's thread has been told to end")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._tx.put_nowait((future, function))
        return future

    def post(self, function: Callable[[], None]) -> None:
        """Queue a function that nobody waits for and that raises nothing."""
        self._tx.put_nowait((None, function))

    async def end(self) -> None:
        """Run what is queued, close the connection, end the thread."""
        ended = cast("asyncio.Future[object]", self.stop())  # None only without a loop
        await to_its_end(ended)
