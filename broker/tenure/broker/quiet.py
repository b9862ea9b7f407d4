"""The time after a restore in which nothing is granted: whoever had a role in the old history may still hold it.

The broker does not even take requests meanwhile, since who would hear of the new history would step down at once, and
who does not may work until its own time is up. The time counts on the lease clock, as every lease does, and what is
left of it is in the store: a broker that is started anew in the midst waits for the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, Protocol

import structlog

from tenure.broker.clock import LeaseClock
from tenure.broker.notify import ServiceManager
from tenure.domain.store import StoreRefusedError

_SLICE_MS: Final = 1_000  # how much may be waited for once more after a kill
_EXTENSION_US: Final = 30_000_000  # for a manager that gives a start only so much time


class QuietStore(Protocol):
    """As much of a store as is needed here."""

    async def quiet_ms(self) -> int:
        """How long nothing may be granted yet."""
        ...

    async def keep_quiet(self, quiet_ms: int) -> None:
        """Remember how much of that is left."""
        ...


async def outwait(store: QuietStore, told: asyncio.Event, manager: ServiceManager, clock: LeaseClock) -> None:
    """Wait until nobody can hold a role from before the store was restored, or until told to end.

    Raises:
        StoreError: What is left could not be read, or whether it was written is open.
    """
    left_ms: float = await store.quiet_ms()
    if left_ms <= 0:
        return
    log: structlog.stdlib.BoundLogger = structlog.get_logger("tenure.broker")
    log.warning(
        "broker.waits", quiet_ms=round(left_ms), hint="the store was restored: roles of before may still be held"
    )
    last_ms = clock.now_ms()
    while left_ms > 0 and not told.is_set():
        manager.tell(STATUS=f"Waits {left_ms / 1_000:.0f} s after a restore", EXTEND_TIMEOUT_USEC=_EXTENSION_US)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(told.wait(), min(left_ms, _SLICE_MS) / 1_000)
        now_ms = clock.now_ms()
        left_ms -= now_ms - last_ms
        last_ms = now_ms
        with contextlib.suppress(StoreRefusedError):  # a disk that is full: the next start waits for longer then
            await store.keep_quiet(max(0, -int(-left_ms // 1)))
