"""Processes of their own for tests of stores: run as `python -m tests.unit.storage_programs WHAT DIRECTORY`.

Each prints a line when it has done something and ends when its standard input does, or when it is killed.
"""

from __future__ import annotations

import asyncio
import errno
import resource
import subprocess
import sys
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Final

from tenure.domain.store import StoreError
from tenure.storage.sqlite import SqliteStore
from tests.contract.records import active, batch, put, session, tenure
from tests.contract.stores import small
from tests.unit.system_call_faults import fail_everywhere

ROOT = Path(__file__).resolve().parents[2]


def start(what: str, directory: Path) -> subprocess.Popen[str]:
    """Start a program on a directory."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.unit.storage_programs", what, str(directory)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def say(*words: object) -> None:
    """Print a line at once."""
    print(*words, flush=True)


async def hold(directory: Path) -> None:
    """Keep a store open, with something committed, until standard input ends."""
    store = await SqliteStore.open(directory, options=small())
    await store.commit(batch((await store.load()).revision + 1))
    say("open")
    sys.stdin.read()
    await store.close()


async def commit(directory: Path) -> None:
    """Commit without end, and say of each revision that it is durable."""
    store = await SqliteStore.open(directory, options=small())
    state = await store.load()
    revision = state.revision
    say("from", revision)
    while True:
        first, last = revision + 1, revision + 1 + revision % 7
        changes = [put(session(first))]
        for number in range(first, last + 1):
            resource_id = f"resource-{number}"
            changes += [put(tenure(number - 1, resource_id, ended=number)), put(active(number, resource_id))]
        await store.commit(batch(first, *changes, events=last + 1 - first))
        revision = last
        say(revision)


async def limit(directory: Path) -> None:
    """Say what a limit of the size of files does to commits, and how it is once the limit is lifted."""
    store = await SqliteStore.open(directory, options=small())
    await store.commit(batch(1, put(session(1))))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    wal_bytes = (directory / "tenure.db-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (wal_bytes, hard))
    changes = [put(active(number, f"resource-{number}")) for number in range(2, 1_002)]
    for attempt in (batch(2, *changes, events=1_000), batch(2, put(session(2)))):
        await _say_outcome(store.commit(attempt))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await _say_outcome(store.commit(batch(3, put(session(3)))))
    say([found.number for found in (await store.load()).sessions])
    await store.close()


async def _say_outcome(commit: Awaitable[None]) -> None:
    try:
        await commit
    except StoreError as error:
        say(type(error).__name__)
    else:
        say("done")


async def open_without(call: str, directory: Path) -> None:
    """Say what becomes of opening a store where such a call fails, which this very process then has for good."""
    fail_everywhere(call, errno.EIO)
    try:
        store = await SqliteStore.open(directory, options=small())
    except StoreError as error:
        say(type(error).__name__)
    else:
        say("open")
        await store.close()


PROGRAMS: Final[dict[str, Callable[[Path], Coroutine[None, None, None]]]] = {
    "hold": hold,
    "commit": commit,
    "limit": limit,
    "open without fsync": partial(open_without, "fsync"),
    "open without fdatasync": partial(open_without, "fdatasync"),
}

if __name__ == "__main__":
    asyncio.run(PROGRAMS[sys.argv[1]](Path(sys.argv[2])))
