"""A listener and a broker that is alive: every change once and in order, whatever is lost in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec import structs

from tenure.broker.config import Config
from tenure.broker.server import Broker
from tenure.contract.errors import (
    BrokerUnavailableError,
    ClientClosedError,
    InvalidEndpointError,
    OverloadedError,
    UnsupportedVersionError,
)
from tenure.contract.events import AnyEvent, RegistrationUpdatedEvent, RoleChangedEvent
from tenure.contract.messages import BrokerMessage, ClientMessage
from tenure.sdk import EventListener, RestartReason, ServiceClient, StreamRestarted, registration_request
from tenure.sdk.listener import SILENCE_MS
from tenure.sdk.reader import Reader
from tenure.storage.memory import MemoryStore
from tenure.storage.options import StoreOptions
from tests.integration.live import LEASE_MS, PATIENCE_S, LiveBroker, keep_history, live_broker


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[LiveBroker]:
    """A broker with an empty store."""
    async with live_broker(tmp_path) as live:
        yield live


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


async def test_a_snapshot_and_then_every_change(broker: LiveBroker) -> None:
    """What was before the block is in the replica, what comes after it are events, and the replica goes with them."""
    async with client_of(broker) as client:
        active = await client.register("svc", instance_id="a", resource_id="r", role="active")
        await client.register("svc", instance_id="b", resource_id="r")
        async with EventListener(broker.endpoint) as events:
            before = broker.revision
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


async def test_going_on_after_a_revision(broker: LiveBroker) -> None:
    """With `since` come the events after it, first from the store and then live; the replica is not behind them."""
    async with client_of(broker) as client:
        await client.register("svc", instance_id="a", resource_id="r", role="active")
        async with EventListener(broker.endpoint, since=0) as events:
            first = await next_event(events)
            assert (first.revision, events.revision) == (1, 1)
            assert events.replica.revision == broker.revision
        await client.register("svc", instance_id="b", resource_id="r")

        async with EventListener(broker.endpoint, since=events.revision, history_id=events.history_id) as events:
            kept = broker.revision
            await client.register("svc", instance_id="c", resource_id="r")
            assert revisions(await events_up_to(events, kept + 1)) == list(range(2, kept + 2))
            assert [row.instance_id for row in events.replica.instances()] == ["a", "b", "c"]


async def test_a_filter_leaves_out_what_is_not_asked_for(broker: LiveBroker) -> None:
    """One resource, one service or both: only events of their registrations, and only those in the replica."""
    async with client_of(broker) as client:
        items = [
            registration_request(service, instance_id="a", resource_id=resource)
            for service in ("svc", "other")
            for resource in ("r", "s")
        ]
        await client.register_many(items)
        newest = broker.revision
        for names, expected in (
            ({"resource_id": "s"}, [("svc", "s"), ("other", "s")]),
            ({"service_name": "svc"}, [("svc", "r"), ("svc", "s")]),
            ({"service_name": "svc", "resource_id": "s"}, [("svc", "s")]),
        ):
            async with EventListener(
                broker.endpoint,
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
        assert broker.revision == newest, "listening leaves no trace"


async def test_an_update_passes_the_filter_of_its_resource(broker: LiveBroker) -> None:
    """A registration that asks again with another priority is news for whoever follows its resource."""
    async with client_of(broker) as client:
        await client.register("svc", instance_id="a", resource_id="r")
        async with EventListener(broker.endpoint, resource_id="r") as events:
            await client.register("svc", instance_id="a", resource_id="other")
            await client.register("svc", instance_id="a", resource_id="r", priority=7)

            event = await next_event(events)

            assert isinstance(event, RegistrationUpdatedEvent)
            assert (event.resource_id, event.instance_id, event.priority) == ("r", "a", 7)


async def test_published_events_that_are_lost_are_read_from_the_store(broker: LiveBroker) -> None:
    """Messages lost in the middle show with the next event, and none is missing or doubled."""
    async with client_of(broker) as client, EventListener(broker.endpoint, since=0) as events:
        await events_up_to(events, broker.revision)
        before = broker.revision
        broker.publisher.is_losing = True
        for number in range(10):
            await client.register("svc", instance_id="a", resource_id=f"r{number}")
        broker.publisher.is_losing = False
        await client.register("svc", instance_id="a", resource_id="last")

        assert broker.publisher.lost >= 10
        assert revisions(await events_up_to(events, broker.revision)) == list(range(before + 1, before + 12))


async def test_a_lost_tail_shows_with_the_next_progress(broker: LiveBroker) -> None:
    """If the newest events are lost and none follows, progress tells, and they come from the store."""
    async with client_of(broker) as client, EventListener(broker.endpoint) as events:
        before = broker.revision
        broker.publisher.is_losing = True
        await client.register("svc", instance_id="a", resource_id="r")
        broker.publisher.is_losing = False

        assert revisions(await events_up_to(events, broker.revision)) == [before + 1]


async def test_a_broker_that_starts_again_costs_no_event(broker: LiveBroker) -> None:
    """A restart in the middle, with events on both sides that nobody heard: all come, once and in order."""
    async with EventListener(broker.endpoint, since=0) as events:
        async with client_of(broker) as client:
            await client.register("svc", instance_id="a", resource_id="r")
            broker.publisher.is_losing = True
            await client.register("svc", instance_id="b", resource_id="r")
            await broker.stop()
            waiting = asyncio.ensure_future(events_up_to(events, 5))
            await broker.start()
            await client.register("svc", instance_id="c", resource_id="r")

            seen = revisions(await waiting)
            assert seen == list(range(1, len(seen) + 1))
        seen += revisions(await events_up_to(events, broker.revision))
        assert seen == list(range(1, broker.revision + 1))
        assert broker.broker is not None
        assert len(events.replica) == broker.broker.statistics()["registrations"]


async def test_a_broker_that_is_away_is_waited_for(broker: LiveBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is away the listener says so and goes on trying; when it is back, so is the stream."""
    async with EventListener(broker.endpoint) as events:
        is_tried_anew = asyncio.Event()
        ask = Reader.request

        async def ask_and_tell(reader: Reader, message: ClientMessage, answer: type[BrokerMessage]) -> BrokerMessage:
            is_tried_anew.set()
            return await ask(reader, message, answer)

        monkeypatch.setattr(Reader, "request", ask_and_tell)
        waiting = asyncio.ensure_future(next_event(events))
        await broker.stop()
        async with asyncio.timeout(PATIENCE_S):
            await is_tried_anew.wait()
        silent_ms = events.silent_ms
        assert (waiting.done(), events.is_connected) == (False, False)
        assert silent_ms is not None
        assert silent_ms >= SILENCE_MS

        await broker.start()
        async with client_of(broker):
            assert (await waiting).revision == 1
        assert events.is_connected


async def test_what_passes_is_waited_out_and_what_does_not_is_raised(
    broker: LiveBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that is overloaded or away is asked again; one that speaks another version will never answer."""
    async with client_of(broker) as client, EventListener(broker.endpoint) as events:
        before = broker.revision
        broker.publisher.is_losing = True
        await client.register("svc", instance_id="a", resource_id="r")
        broker.publisher.is_losing = False
        ask = Reader.request
        faults = [
            BrokerUnavailableError((broker.endpoint,), 1),
            OverloadedError("later"),
            None,
            UnsupportedVersionError("this broker speaks protocol version 2"),
        ]

        async def ask_faultily(reader: Reader, message: ClientMessage, answer: type[BrokerMessage]) -> BrokerMessage:
            fault = faults.pop(0)
            if fault is not None:
                raise fault
            return await ask(reader, message, answer)

        monkeypatch.setattr(Reader, "request", ask_faultily)
        assert (await next_event(events)).revision == before + 1

        broker.publisher.is_losing = True
        await client.register("svc", instance_id="b", resource_id="r")
        broker.publisher.is_losing = False
        with pytest.raises(UnsupportedVersionError):
            await next_event(events)


async def test_a_broker_that_publishes_elsewhere_is_followed_there(tmp_path: Path) -> None:
    """A broker that comes back with another place for its events is heard there as soon as the store is read."""
    store = MemoryStore()
    await keep_history(store, 1_500)
    elsewhere = LiveBroker(tmp_path, store)
    elsewhere.config = structs.replace(elsewhere.config, events_bind=(f"ipc://{tmp_path}/elsewhere",))
    async with live_broker(tmp_path, store) as broker, EventListener(broker.endpoint, since=0) as events:
        assert (await next_event(events)).revision == 1
        await broker.stop()
        await elsewhere.start()
        try:
            await events_up_to(events, 1_500)
            async with client_of(elsewhere):
                assert (await next_event(events)).revision == 1_501
        finally:
            await elsewhere.stop()


async def test_another_endpoint_is_tried_when_one_falls_silent(tmp_path: Path) -> None:
    """A broker that comes back elsewhere is found by its other endpoint, and the stream goes on without a gap."""
    async with live_broker(tmp_path, name="1") as first:
        second = LiveBroker(tmp_path, first.store, name="2")
        async with EventListener(first.endpoint, second.endpoint, since=0) as events:
            async with client_of(first) as client:
                await client.register("svc", instance_id="a", resource_id="r")
            kept = first.revision
            waiting = asyncio.ensure_future(events_up_to(events, kept + 1))
            await first.stop()
            await second.start()
            try:
                async with client_of(second):
                    assert revisions(await waiting) == list(range(1, kept + 2))
            finally:
                await second.stop()


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


async def test_a_snapshot_of_many_pages_while_much_is_going_on(broker: LiveBroker) -> None:
    """Pages of different times and the events between them make one exact copy, which then goes with the stream."""
    async with client_of(broker) as client, client_of(broker) as other:
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
        async with EventListener(broker.endpoint) as events:
            await going_on
            await events_up_to(events, broker.revision)

            theirs = await client.services()
            ours = events.replica.instances()
            assert len(ours) == len(theirs) == 2_030
            assert [(row.registration_id, row.role, row.epoch, row.revision) for row in ours] == [
                (row.registration_id, row.role, row.epoch, row.revision) for row in theirs
            ]


async def test_events_that_are_no_longer_kept_show_as_a_break(tmp_path: Path) -> None:
    """A listener that comes back too late is told so, has a new snapshot, and goes on from there."""
    store = MemoryStore(options=StoreOptions(events_kept=10))
    await keep_history(store, 100)
    await store.idle()
    async with live_broker(tmp_path, store) as broker, EventListener(broker.endpoint, since=5) as events:
        broken = await next_break(events)

        assert (broken.reason, broken.revision, broken.last_revision) == (RestartReason.COMPACTED, 100, 5)
        assert broken.history_id == broken.last_history_id == events.history_id
        assert (events.revision, events.replica.revision, len(events.replica)) == (100, 100, 1)
        async with client_of(broker):
            assert (await next_event(events)).revision == 101


async def test_a_store_made_anew_shows_as_a_break(broker: LiveBroker) -> None:
    """A broker that comes back with another history starts the listener again: revisions mean something else now."""
    async with client_of(broker) as client:
        await client.register("svc", instance_id="a", resource_id="r")
        async with EventListener(broker.endpoint) as events:
            before = events.history_id
            waiting = asyncio.ensure_future(next_break(events))
            await broker.stop()
            await broker.start(MemoryStore())
            broken = await waiting

            assert broken.reason is RestartReason.OTHER_HISTORY
            assert (broken.last_history_id, broken.history_id) == (before, events.history_id)
            assert broken.last_history_id != broken.history_id
            assert len(events.replica) == 0
            async with client_of(broker):
                assert (await next_event(events)).revision == broken.revision + 1


async def test_a_revision_of_another_history_shows_as_a_break(broker: LiveBroker) -> None:
    """Whoever kept the history's id with the revision is not given another history's events."""
    async with EventListener(broker.endpoint, since=0, history_id="another") as events:
        broken = await next_break(events)

        assert (broken.reason, broken.last_history_id) == (RestartReason.OTHER_HISTORY, "another")


async def test_an_old_copy_of_the_store_shows_as_a_break(tmp_path: Path) -> None:
    """A broker that comes back with less than it published has an old copy: the listener says so."""
    store, old_copy = MemoryStore(history_id="h"), MemoryStore(history_id="h")
    await keep_history(store, 50)
    await keep_history(old_copy, 40)
    async with live_broker(tmp_path, store) as broker, EventListener(broker.endpoint) as events:
        waiting = asyncio.ensure_future(next_break(events))
        await broker.stop()
        await broker.start(old_copy)
        broken = await waiting

        assert (broken.reason, broken.last_revision, broken.revision) == (RestartReason.ROLLED_BACK, 50, 40)


async def test_a_revision_that_is_yet_to_come_shows_as_a_break(broker: LiveBroker) -> None:
    """A revision that the store has not reached belongs to a store that was lost."""
    async with EventListener(broker.endpoint, since=1_000) as events:
        assert (await next_break(events)).reason is RestartReason.ROLLED_BACK


async def test_a_wait_that_is_cancelled_loses_no_event(broker: LiveBroker) -> None:
    """Waiting for an event may be given up at any time, and taken up again."""
    async with client_of(broker) as client, EventListener(broker.endpoint) as events:
        before = broker.revision
        for _ in range(5):
            waiting = asyncio.ensure_future(anext(events))
            await asyncio.sleep(0)
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


async def test_without_a_stream_it_does_not_open(broker: LiveBroker) -> None:
    """A broker that answers but is not heard where it publishes is named with that place."""
    broker.publisher.is_losing = True

    with pytest.raises(BrokerUnavailableError, match=broker.config.events_bind[0]):
        async with EventListener(broker.endpoint, timeout_ms=100):
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


async def test_it_is_of_use_only_while_it_is_open(broker: LiveBroker) -> None:
    """Before and after the block there are no events, and waiting for one says why."""
    events = EventListener(broker.endpoint)
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
