"""A listener and a broker that is alive: every change once and in order, whatever is lost in between."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tenure.broker.config import Config
from tenure.broker.server import Broker
from tenure.contract.errors import BrokerUnavailableError, ClientClosedError, InvalidEndpointError
from tenure.contract.events import RegistrationUpdatedEvent, RoleChangedEvent
from tenure.sdk import EventListener, registration_request
from tenure.storage.memory import MemoryStore
from tests.integration.listening import client_of, events_up_to, next_event, revisions
from tests.integration.live import PATIENCE_S, LiveBroker, keep_history, live_broker
from tests.turns import turns


async def test_a_snapshot_and_then_every_change(live: LiveBroker) -> None:
    """What was before the block is in the replica, what comes after it are events, and the replica goes with them."""
    async with client_of(live) as client:
        active = await client.register("svc", instance_id="a", resource_id="r", role="active")
        await client.register("svc", instance_id="b", resource_id="r")
        async with EventListener(live.endpoint) as events:
            before = live.revision
            assert (events.revision, events.replica.revision, events.is_connected) == (before, before, True)
            assert [row.instance_id for row in events.replica.instances()] == ["a", "b"]

            await active.resign()
            resigned = await next_event(events)
            view = events.replica.resource("r")
            assert isinstance(resigned, RoleChangedEvent)
            assert (resigned.instance_id, resigned.new_role, resigned.reason) == ("a", "standby", "resigned")
            assert view is not None
            assert view.active is None, "the replica is as of this event, not as of the next one"

            promoted = await next_event(events)
            view = events.replica.resource("r")
            assert isinstance(promoted, RoleChangedEvent)
            assert (promoted.instance_id, promoted.new_role) == ("b", "active")
            assert view is not None
            assert view.active is not None
            assert (view.active.instance_id, view.active.epoch) == ("b", promoted.epoch)
            assert revisions([resigned, promoted]) == [before + 1, before + 2]
            assert events.history_id == events.replica.history_id != ""


async def test_going_on_after_a_revision(live: LiveBroker) -> None:
    """With `since` come the events after it, first from the store and then live; the replica is not behind them."""
    async with client_of(live) as client:
        await client.register("svc", instance_id="a", resource_id="r", role="active")
        async with EventListener(live.endpoint, since=0) as events:
            first = await next_event(events)
            assert (first.revision, events.revision) == (1, 1)
            assert events.replica.revision == live.revision
        await client.register("svc", instance_id="b", resource_id="r")

        async with EventListener(live.endpoint, since=events.revision, history_id=events.history_id) as events:
            kept = live.revision
            await client.register("svc", instance_id="c", resource_id="r")
            assert revisions(await events_up_to(events, kept + 1)) == list(range(2, kept + 2))
            assert [row.instance_id for row in events.replica.instances()] == ["a", "b", "c"]


async def test_a_filter_leaves_out_what_is_not_asked_for(live: LiveBroker) -> None:
    """One resource, one service or both: only events of their registrations, and only those in the replica."""
    async with client_of(live) as client:
        items = [
            registration_request(service, instance_id="a", resource_id=resource)
            for service in ("svc", "other")
            for resource in ("r", "s")
        ]
        await client.register_many(items)
        newest = live.revision
        for names, expected in (
            ({"resource_id": "s"}, [("svc", "s"), ("other", "s")]),
            ({"service_name": "svc"}, [("svc", "r"), ("svc", "s")]),
            ({"service_name": "svc", "resource_id": "s"}, [("svc", "s")]),
        ):
            async with EventListener(
                live.endpoint,
                since=0,
                service_name=names.get("service_name"),
                resource_id=names.get("resource_id"),
            ) as events:
                seen: list[tuple[str, str]] = []
                for _ in expected:
                    event = await next_event(events)
                    assert isinstance(event, RoleChangedEvent)
                    seen.append((event.service_name, event.resource_id))
                assert seen == expected
                rows = events.replica.instances()
                assert [(row.service_name, row.resource_id) for row in rows] == expected
        assert live.revision == newest, "listening leaves no trace"


async def test_an_update_passes_the_filter_of_its_resource(live: LiveBroker) -> None:
    """A registration that asks again with another priority is news for whoever follows its resource."""
    async with client_of(live) as client:
        await client.register("svc", instance_id="a", resource_id="r")
        async with EventListener(live.endpoint, resource_id="r") as events:
            await client.register("svc", instance_id="a", resource_id="other")
            await client.register("svc", instance_id="a", resource_id="r", priority=7)

            event = await next_event(events)

            assert isinstance(event, RegistrationUpdatedEvent)
            assert (event.resource_id, event.instance_id, event.priority) == ("r", "a", 7)


async def test_published_events_that_are_lost_are_read_from_the_store(live: LiveBroker) -> None:
    """Messages lost in the middle show with the next event, and none is missing or doubled."""
    async with client_of(live) as client, EventListener(live.endpoint, since=0) as events:
        await events_up_to(events, live.revision)
        before = live.revision
        live.publisher.is_losing = True
        for number in range(10):
            await client.register("svc", instance_id="a", resource_id=f"r{number}")
        live.publisher.is_losing = False
        await client.register("svc", instance_id="a", resource_id="last")

        assert live.publisher.lost >= 10
        assert revisions(await events_up_to(events, live.revision)) == list(range(before + 1, before + 12))


async def test_a_lost_tail_shows_with_the_next_progress(live: LiveBroker) -> None:
    """If the newest events are lost and none follows, progress tells, and they come from the store."""
    async with client_of(live) as client, EventListener(live.endpoint) as events:
        before = live.revision
        live.publisher.is_losing = True
        await client.register("svc", instance_id="a", resource_id="r")
        live.publisher.is_losing = False

        assert revisions(await events_up_to(events, live.revision)) == [before + 1]


@pytest.mark.slow
async def test_a_hundred_thousand_events_of_backlog(tmp_path: Path) -> None:
    """A listener that was away for long gets everything it missed, and never holds more than a page of it."""
    newest = 100_000
    store = MemoryStore()
    await keep_history(store, newest)
    async with live_broker(tmp_path, store) as broker, EventListener(broker.endpoint, since=0) as events:
        expected, held = 1, 0
        async with asyncio.timeout(4 * PATIENCE_S):
            async for event in events:
                assert event.revision == expected
                expected += 1
                held = max(held, len(events._core._ready))  # pyright: ignore[reportPrivateUsage]
                if event.revision == newest:
                    break
        assert held < 1_000
        async with client_of(broker):
            assert (await next_event(events)).revision == newest + 1


async def test_a_snapshot_of_many_pages_while_much_is_going_on(live: LiveBroker) -> None:
    """Pages of different times and the events between them make one exact copy, which then goes with the stream."""
    async with client_of(live) as client, client_of(live) as other:
        for half in (0, 1):
            items = [registration_request("svc", instance_id="a", resource_id=f"r{half}-{n}") for n in range(1_000)]
            await client.register_many(items)
        registrations = [
            await other.register("svc", instance_id="b", resource_id=f"r0-{n}", role="active") for n in range(20)
        ]

        async def go_on() -> None:
            for number, registration in enumerate(registrations):
                await registration.resign()
                await client.register("svc", instance_id="c", resource_id=f"new-{number}", role="active")
                if number % 2:
                    await registration.deregister()

        going_on = asyncio.ensure_future(go_on())
        async with EventListener(live.endpoint) as events:
            await going_on
            await events_up_to(events, live.revision)

            theirs = await client.services()
            ours = events.replica.instances()
            assert len(ours) == len(theirs) == 2_030
            assert [(row.registration_id, row.role, row.epoch, row.revision) for row in ours] == [
                (row.registration_id, row.role, row.epoch, row.revision) for row in theirs
            ]


async def test_a_wait_that_is_cancelled_loses_no_event(live: LiveBroker) -> None:
    """Waiting for an event may be given up at any time, and taken up again."""
    async with client_of(live) as client, EventListener(live.endpoint) as events:
        before = live.revision
        for _ in range(5):
            waiting = asyncio.ensure_future(anext(events))
            await turns()
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            assert waiting.cancelled()
        for number in range(3):
            await client.register("svc", instance_id="a", resource_id=f"r{number}")

        assert revisions(await events_up_to(events, before + 3)) == [before + 1, before + 2, before + 3]


async def test_without_a_broker_it_does_not_open(tmp_path: Path) -> None:
    """Nobody answers: opening says so instead of waiting for ever."""
    with pytest.raises(BrokerUnavailableError):
        async with EventListener(f"ipc://{tmp_path}/nobody", timeout_ms=100):
            pass


async def test_without_a_stream_it_does_not_open(live: LiveBroker) -> None:
    """A broker that answers but is not heard where it publishes is named with that place."""
    live.publisher.is_losing = True

    with pytest.raises(BrokerUnavailableError, match=live.config.events_bind[0]):
        async with EventListener(live.endpoint, timeout_ms=100):
            pass


async def test_a_stream_out_of_reach_is_named(tmp_path: Path) -> None:
    """A broker reached over tcp that publishes over ipc alone cannot be followed; the message says what to add."""
    config = Config(data=tmp_path, bind=("tcp://127.0.0.1:*",), events_bind=(f"ipc://{tmp_path}/e",))
    broker = await Broker.start(config, MemoryStore())
    try:
        with pytest.raises(InvalidEndpointError, match="events_bind"):
            async with EventListener(*broker.endpoints):
                pass
    finally:
        await broker.stop()


async def test_it_is_of_use_only_while_it_is_open(live: LiveBroker) -> None:
    """Before and after the block there are no events, and waiting for one says why."""
    events = EventListener(live.endpoint)
    assert (events.silent_ms, events.is_connected, events.revision) == (None, False, 0)
    with pytest.raises(ClientClosedError, match="async with"):
        await anext(events)
    async with events:
        pass
    with pytest.raises(ClientClosedError, match="async with"):
        await anext(events)


@pytest.mark.parametrize("since", [-1, 2**63])
def test_what_is_no_revision_is_refused(since: int) -> None:
    """A number that no event can have is a mistake, not a break."""
    with pytest.raises(ValueError, match="since"):
        EventListener(since=since)
