"""The wait after a restore: on the lease clock, remembered as it passes, and ended early only with the broker."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest
from structlog.testing import capture_logs

from tenure.broker import quiet
from tenure.broker.clock import LeaseClock
from tenure.broker.notify import ServiceManager
from tenure.broker.quiet import outwait
from tenure.domain.store import StoreRefusedError


class Kept:
    """A store as far as it matters here; what it was told to remember is in `kept`."""

    def __init__(self, quiet_ms: int) -> None:
        self.kept = [quiet_ms]

    async def quiet_ms(self) -> int:
        """What is left."""
        return self.kept[-1]

    async def keep_quiet(self, quiet_ms: int) -> None:
        """Remember it."""
        self.kept.append(quiet_ms)


def clock(step_ms: int, slower_ms: int | None = None) -> LeaseClock:
    """A clock that advances by so much whenever it is read; the other one of the machine perhaps by less."""
    boot, raw = count(step=step_ms * 1_000_000), count(step=(slower_ms or step_ms) * 1_000_000)
    return LeaseClock(boot=lambda: next(boot), raw=lambda: next(raw))


@pytest.fixture(autouse=True)
def _short_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time is what the clock says; what is really waited for is a millisecond."""
    monkeypatch.setattr(quiet, "_SLICE_MS", 1)


async def test_what_is_left_is_remembered_as_it_passes() -> None:
    """★ To the end, by the slower of the machine's clocks, and said once."""
    store = Kept(2_000)
    with capture_logs() as logs:
        await outwait(store, asyncio.Event(), ServiceManager({}), clock(5_000, slower_ms=600))
    assert store.kept == [2_000, 1_400, 800, 200, 0]
    assert [(entry["event"], entry["quiet_ms"]) for entry in logs] == [("broker.waits", 2_000)]


async def test_a_store_that_was_not_restored_waits_for_nothing() -> None:
    """It is asked, and nothing else."""
    store = Kept(0)
    with capture_logs() as logs:
        await outwait(store, asyncio.Event(), ServiceManager({}), clock(1))
    assert (store.kept, logs) == ([0], [])


async def test_a_disk_that_is_full_does_not_end_the_wait() -> None:
    """What is not remembered is waited for again, after the next start."""

    class Full(Kept):
        async def keep_quiet(self, quiet_ms: int) -> None:
            await super().keep_quiet(quiet_ms)
            raise StoreRefusedError("the disk is full")

    store = Full(1_000)
    await outwait(store, asyncio.Event(), ServiceManager({}), clock(600))
    assert store.kept == [1_000, 400, 0]


async def test_who_is_told_to_end_does_not_wait() -> None:
    """What is left stays for the next start, rounded up: nobody is granted anything a moment early."""
    store, told = Kept(86_400_000), asyncio.Event()
    told.set()
    await outwait(store, told, ServiceManager({}), clock(300))
    assert store.kept == [86_400_000]

    class Ends(Kept):
        async def keep_quiet(self, quiet_ms: int) -> None:
            await super().keep_quiet(quiet_ms)
            told.set()

    told.clear()
    store = Ends(1_000)
    boot, raw = count(step=400_000), count(step=400_000)
    await outwait(store, told, ServiceManager({}), LeaseClock(boot=lambda: next(boot), raw=lambda: next(raw)))
    assert store.kept == [1_000, 1_000]
