"""A broker inside the test's own process, with sockets on ipc and tcp, that can be stopped and started again.

It is the broker that `tenure serve` runs; what a test adds is which store it has and which limits. It never chooses a
port: the first start takes a free one, and later starts keep to it, as a broker that is restarted would.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Final

from tenure.broker.clock import LeaseClock
from tenure.broker.config import Config, Limits
from tenure.broker.server import Broker
from tenure.domain.store import Store
from tenure.sdk import Registration, ServiceClient
from tenure.storage.memory import MemoryStore

PATIENCE_S: Final = 30.0
"""How long a test waits for what has to come. Nothing is as slow as this, not even on a busy machine."""
LONG_LEASE_MS: Final = 600_000
"""A lease that cannot run out while a test lasts, whatever the machine does."""
SHORT_LEASE_MS: Final = 200
"""The shortest lease there is, for clients that are meant to lose it."""


class BrokerHere:
    """One broker, over all its starts."""

    def __init__(self, directory: Path, store: Store, limits: Limits) -> None:
        self.store = store
        self._config = Config(
            data=directory,
            bind=(f"ipc://{directory}/b", "tcp://127.0.0.1:*"),
            events_bind=(f"ipc://{directory}/e",),
            limits=limits,
        )
        self._running: Broker | None = None

    @property
    def running(self) -> Broker:
        """The broker; it has to be running."""
        assert self._running is not None, "the broker is stopped"
        return self._running

    @property
    def memory(self) -> MemoryStore:
        """Its store, which holds commits or fails when it is told to; it has to be the one in memory."""
        assert isinstance(self.store, MemoryStore)
        return self.store

    @property
    def ipc(self) -> str:
        """Where it takes requests of processes that the kernel vouches for."""
        return self._config.bind[0]

    @property
    def tcp(self) -> str:
        """Where it takes requests of anybody on this machine."""
        return self._config.bind[1]

    async def start(self, store: Store | None = None, *, clock: LeaseClock | None = None) -> None:
        """Serve, from another store or by another clock if one is given."""
        self.store = store or self.store
        self._running = await Broker.start(self._config, self.store, clock=clock)
        self._config = Config(
            data=self._config.data,
            bind=self._running.endpoints,
            events_bind=self._config.events_bind,
            limits=self._config.limits,
        )

    async def stop(self) -> None:
        """Stop serving. Safe to repeat."""
        running, self._running = self._running, None
        if running is not None:
            await running.stop()

    async def restart(self, store: Store | None = None) -> None:
        """Stop and serve again, from another store if one is given."""
        await self.stop()
        await self.start(store)

    def count(self, what: str) -> int:
        """One of the broker's statistics."""
        return self.running.statistics()[what]


@contextlib.asynccontextmanager
async def broker_here(
    directory: Path, *, store: Store | None = None, limits: Limits | None = None
) -> AsyncGenerator[BrokerHere]:
    """A running broker; it and its store end with the block."""
    here = BrokerHere(directory, store or MemoryStore(), limits or Limits())
    await here.start()
    try:
        yield here
    finally:
        await here.stop()
        await here.store.close()


def client_of(broker: BrokerHere, lease_ms: int = LONG_LEASE_MS, timeout_ms: float = 10_000) -> ServiceClient:
    """A client over ipc."""
    return ServiceClient(broker.ipc, lease_ms=lease_ms, timeout_ms=timeout_ms)


async def claim(client: ServiceClient, instance_id: str, **more: str) -> Registration:
    """Claim the role of the tests' resource."""
    return await client.register("gw", instance_id=instance_id, resource_id="acct", role="active", **more)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def until_changed(registration: Registration, condition: Callable[[], bool], what: str) -> None:
    """Wait for changes of a registration until a condition holds that one of them brings about."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await registration.wait_changed()
    except TimeoutError:
        raise AssertionError(f"waited {PATIENCE_S} s in vain: {what}") from None


async def until(condition: Callable[[], bool], what: str) -> None:
    """Let the event loop go on until a condition holds that something else brings about, and tells nobody of.

    Where there is an event, a change or an answer, that is to be waited for instead.
    """
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110 (there is no event: what changes are plain values)
                await asyncio.sleep(0.001)
    except TimeoutError:
        raise AssertionError(f"waited {PATIENCE_S} s in vain: {what}") from None
