"""What is relied on of aiosqlite 0.22 and its insides: a thread, a queue, and work that a cancellation does not stop.

`ConnectionThread` reaches into them, so another version has to pass this before it is allowed.
"""

# What is tested here is inside the store, so this looks inside.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from importlib.metadata import version

import pytest

from tenure.storage.thread import ConnectionThread


def connect() -> sqlite3.Connection:
    """A connection that the test may look at too."""
    return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)


@pytest.fixture
async def thread() -> AsyncIterator[ConnectionThread]:
    """An open connection on its thread."""
    opened = await ConnectionThread.open(connect)
    yield opened
    await opened.end()


def test_the_version_is_the_one_this_was_written_for() -> None:
    """The insides used are those of 0.22."""
    assert version("aiosqlite").startswith("0.22.")


async def test_functions_run_on_the_connections_thread_in_order(thread: ConnectionThread) -> None:
    """Whatever is submitted or posted runs on one other thread, one after the other, with the connection at hand."""
    ran: list[int] = []
    names: set[str] = set()

    def note(number: int) -> int:
        ran.append(number)
        names.add(threading.current_thread().name)
        return int(thread.sqlite.execute("SELECT ?", (number,)).fetchone()[0])

    def note_three() -> None:
        note(3)

    first, second = thread.submit(lambda: note(1)), thread.submit(lambda: note(2))
    thread.post(note_three)
    last = thread.submit(lambda: note(4))
    assert await last == 4
    assert (await first, await second, ran) == (1, 2, [1, 2, 3, 4])
    assert len(names) == 1
    assert names != {threading.current_thread().name}


async def test_an_exception_is_the_outcome(thread: ConnectionThread) -> None:
    """What a function raises comes out where it is waited for, and the thread goes on."""
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        await thread.submit(lambda: thread.sqlite.execute("SELECT * FROM missing"))
    assert await thread.submit(lambda: 5) == 5


async def test_a_cancelled_wait_does_not_stop_the_function(thread: ConnectionThread) -> None:
    """A function whose waiter is cancelled runs to its end all the same."""
    go, ended = threading.Event(), threading.Event()

    def work() -> None:
        assert go.wait(60)
        ended.set()

    waiting = thread.submit(work)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go.set()
    await thread.submit(lambda: None)
    assert ended.is_set()


async def test_the_end_runs_what_is_queued_and_closes() -> None:
    """Ending runs what is queued, closes the connection and takes nothing more; the thread, no daemon, is gone."""
    thread = await ConnectionThread.open(connect)
    connection = thread.sqlite
    assert not thread._thread.daemon
    queued = thread.submit(lambda: "ran")
    await thread.end()
    assert queued.result() == "ran"
    thread._thread.join(60)
    assert not thread._thread.is_alive()
    with pytest.raises(ValueError, match="end"):
        thread.submit(lambda: None)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")


async def test_a_connection_that_cannot_be_made_leaves_no_thread() -> None:
    """What connecting raises comes out, and the thread ends."""
    threads: list[threading.Thread] = []

    def refuse() -> sqlite3.Connection:
        threads.append(threading.current_thread())
        raise sqlite3.OperationalError("unable to open")

    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        await ConnectionThread.open(refuse)
    threads[0].join(60)
    assert not threads[0].is_alive()


async def test_opening_that_is_cancelled_leaves_nothing_open() -> None:
    """A caller that is cancelled while the connection is made is told so once it is closed again."""
    go, started = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    made: list[sqlite3.Connection] = []
    threads: list[threading.Thread] = []

    def connect_late() -> sqlite3.Connection:
        threads.append(threading.current_thread())
        loop.call_soon_threadsafe(started.set)
        assert go.wait(60)
        made.append(connect())
        return made[0]

    opening = asyncio.ensure_future(ConnectionThread.open(connect_late))
    await started.wait()
    opening.cancel()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await opening
    threads[0].join(60)
    assert not threads[0].is_alive()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        made[0].execute("SELECT 1")
