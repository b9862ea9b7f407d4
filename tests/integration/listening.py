"""What tests of listeners share: a client beside them, and what a listener hears next."""

from __future__ import annotations

import asyncio

from tenure.contract.events import AnyEvent
from tenure.sdk import EventListener, ServiceClient, StreamRestarted
from tests.integration.live import LEASE_MS, PATIENCE_S, LiveBroker


def client_of(broker: LiveBroker) -> ServiceClient:
    """A client whose lease outlasts everything."""
    return ServiceClient(broker.endpoint, lease_ms=LEASE_MS)


async def next_event(listener: EventListener) -> AnyEvent:
    """The next event; the stream must not break."""
    async with asyncio.timeout(PATIENCE_S):
        event = await anext(listener)
    assert not isinstance(event, StreamRestarted)
    return event


async def next_break(listener: EventListener) -> StreamRestarted:
    """The next thing, which has to be that the stream breaks."""
    async with asyncio.timeout(PATIENCE_S):
        event = await anext(listener)
    assert isinstance(event, StreamRestarted)
    return event


async def events_up_to(listener: EventListener, revision: int) -> list[AnyEvent]:
    """The events until a revision."""
    events: list[AnyEvent] = []
    while listener.revision < revision:
        events.append(await next_event(listener))
    return events


def revisions(events: list[AnyEvent]) -> list[int]:
    """Their revisions."""
    return [event.revision for event in events]
