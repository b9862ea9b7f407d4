"""A broker in this process, for tests that watch it from the outside and reach into it only to lose messages.

Its sockets are in a test's own directory, its store is the one in memory. It may be stopped and started again, with the
same store or another one.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path
from typing import Any

from tenure.broker.config import Config
from tenure.broker.server import Broker
from tenure.broker.sockets import Publisher
from tenure.contract import codec
from tenure.contract.events import AnyEvent, RegisteredEvent, RegistrationUpdatedEvent, SessionOpenedEvent
from tenure.contract.vocabulary import ChangeReason, ServiceRole, ServiceStatus
from tenure.domain.records import Batch, Change, PutRegistration, PutSession, Registration, Session
from tenure.storage.memory import MemoryStore

PATIENCE_S = 30.0
"""How long a test waits for what has to come; nothing is as slow as this."""
LEASE_MS = 600_000
"""A lease that no stall of the machine outlasts."""


class LossyPublisher:
    """A broker's publisher that loses messages while it is told to."""

    def __init__(self, publisher: Publisher) -> None:
        self.publisher = publisher
        self.is_losing = False
        self.lost = 0

    def publish(self, body: bytes) -> None:
        """Publish, or lose."""
        if self.is_losing:
            self.lost += 1
        else:
            self.publisher.publish(body)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.publisher, name)


class LiveBroker:
    """A broker that can be stopped and started again where it was."""

    def __init__(self, directory: Path, store: MemoryStore | None = None, name: str = "") -> None:
        self.store = store or MemoryStore()
        self.config = Config(
            data=directory, bind=(f"ipc://{directory}/b{name}",), events_bind=(f"ipc://{directory}/e{name}",)
        )
        self.broker: Broker | None = None
        self.publisher: LossyPublisher

    @property
    def endpoint(self) -> str:
        """Where it takes requests."""
        return self.config.bind[0]

    async def start(self, store: MemoryStore | None = None) -> None:
        """Serve, from another store if one is given."""
        self.store = store or self.store
        self.broker = await Broker.start(self.config, self.store)
        self.publisher = LossyPublisher(self.broker._publisher)  # pyright: ignore[reportPrivateUsage]
        vars(self.broker)["_publisher"] = self.publisher

    async def stop(self) -> None:
        """Stop serving. Safe to repeat."""
        if self.broker is not None:
            await self.broker.stop()
            self.broker = None

    @property
    def revision(self) -> int:
        """The newest committed revision."""
        assert self.broker is not None
        return self.broker.statistics()["committed_revision"]


@contextlib.asynccontextmanager
async def live_broker(directory: Path, store: MemoryStore | None = None, name: str = "") -> AsyncGenerator[LiveBroker]:
    """A running broker; it ends with the block."""
    live = LiveBroker(directory, store, name)
    await live.start()
    try:
        yield live
    finally:
        await live.stop()


async def keep_history(store: MemoryStore, newest: int, batch_items: int = 1_000) -> None:
    """Commit a history of one registration that asked again and again, up to revision `newest`."""
    session = Session(
        number=1,
        session_id="secret-of-the-past",
        identity="",
        lease_ms=LEASE_MS,
        status=ServiceStatus.HEALTHY,
        client="",
        opened_ms=1,
    )
    await commit(
        store,
        [SessionOpenedEvent(revision=1, at_ms=1, lease_ms=LEASE_MS), _registered(2)],
        [PutSession(session), PutRegistration(_registration(2))],
    )
    for first in range(3, newest + 1, batch_items):
        last = min(first + batch_items - 1, newest)
        await commit(store, map(_updated, range(first, last + 1)), [PutRegistration(_registration(last))])


async def commit(store: MemoryStore, events: Iterable[AnyEvent], changes: Iterable[Change]) -> None:
    """Have a store keep events and changes."""
    kept = tuple(events)
    encoded = tuple(map(codec.encode, kept))
    await store.commit(
        Batch(first_revision=kept[0].revision, changes=tuple(changes), events=kept, encoded_events=encoded)
    )


def _registration(revision: int) -> Registration:
    return Registration(
        registration_id=2,
        session=1,
        service_name="svc",
        instance_id="past",
        resource_id="r",
        role=ServiceRole.STANDBY,
        role_revision=2,
        revision=revision,
        since_ms=1,
        priority=revision,
    )


def _registered(revision: int) -> RegisteredEvent:
    return RegisteredEvent(
        revision=revision,
        at_ms=1,
        registration_id=revision,
        resource_id="r",
        service_name="svc",
        instance_id="past",
        new_role=ServiceRole.STANDBY,
        reason=ChangeReason.REGISTERED,
        session=1,
        lease_ms=LEASE_MS,
        status=ServiceStatus.HEALTHY,
        priority=revision,
    )


def _updated(revision: int) -> RegistrationUpdatedEvent:
    return RegistrationUpdatedEvent(
        revision=revision,
        at_ms=1,
        registration_id=2,
        resource_id="r",
        service_name="svc",
        instance_id="past",
        priority=revision,
    )
