"""A listener whose broker goes and comes back: it goes on without a gap, or is told that it cannot."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from msgspec import structs

from tenure.contract.errors import BrokerUnavailableError, OverloadedError, UnsupportedVersionError
from tenure.contract.messages import BrokerMessage, ClientMessage
from tenure.sdk import EventListener, RestartReason
from tenure.sdk.listener import SILENCE_MS
from tenure.sdk.reader import Reader
from tenure.storage.memory import MemoryStore
from tenure.storage.options import StoreOptions
from tests.integration.listening import client_of, events_up_to, next_break, next_event, revisions
from tests.integration.live import PATIENCE_S, LiveBroker, keep_history, live_broker


async def test_a_broker_that_starts_again_costs_no_event(live: LiveBroker) -> None:
    """A restart in the middle, with events on both sides that nobody heard: all come, once and in order."""
    async with EventListener(live.endpoint, since=0) as events:
        async with client_of(live) as client:
            await client.register("svc", instance_id="a", resource_id="r")
            live.publisher.is_losing = True
            await client.register("svc", instance_id="b", resource_id="r")
            await live.stop()
            waiting = asyncio.ensure_future(events_up_to(events, 5))
            await live.start()
            await client.register("svc", instance_id="c", resource_id="r")

            seen = revisions(await waiting)
            assert seen == list(range(1, len(seen) + 1))
        seen += revisions(await events_up_to(events, live.revision))
        assert seen == list(range(1, live.revision + 1))
        assert live.broker is not None
        assert len(events.replica) == live.broker.statistics()["registrations"]


async def test_a_broker_that_is_away_is_waited_for(live: LiveBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is away the listener says so and goes on trying; when it is back, so is the stream."""
    async with EventListener(live.endpoint) as events:
        is_tried_anew = asyncio.Event()
        ask = Reader.request

        async def ask_and_tell(reader: Reader, message: ClientMessage, answer: type[BrokerMessage]) -> BrokerMessage:
            is_tried_anew.set()
            return await ask(reader, message, answer)

        monkeypatch.setattr(Reader, "request", ask_and_tell)
        waiting = asyncio.ensure_future(next_event(events))
        await live.stop()
        async with asyncio.timeout(PATIENCE_S):
            await is_tried_anew.wait()
        silent_ms = events.silent_ms
        assert (waiting.done(), events.is_connected) == (False, False)
        assert silent_ms is not None
        assert silent_ms >= SILENCE_MS

        await live.start()
        async with client_of(live):
            assert (await waiting).revision == 1
        assert events.is_connected


async def test_what_passes_is_waited_out_and_what_does_not_is_raised(
    live: LiveBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that is overloaded or away is asked again; one that speaks another version will never answer."""
    async with client_of(live) as client, EventListener(live.endpoint) as events:
        before = live.revision
        live.publisher.is_losing = True
        await client.register("svc", instance_id="a", resource_id="r")
        live.publisher.is_losing = False
        ask = Reader.request
        faults = [
            BrokerUnavailableError((live.endpoint,), 1),
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

        live.publisher.is_losing = True
        await client.register("svc", instance_id="b", resource_id="r")
        live.publisher.is_losing = False
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


async def test_a_store_made_anew_shows_as_a_break(live: LiveBroker) -> None:
    """A broker that comes back with another history starts the listener again: revisions mean something else now."""
    async with client_of(live) as client:
        await client.register("svc", instance_id="a", resource_id="r")
        async with EventListener(live.endpoint) as events:
            before = events.history_id
            waiting = asyncio.ensure_future(next_break(events))
            await live.stop()
            await live.start(MemoryStore())
            broken = await waiting

            assert broken.reason is RestartReason.OTHER_HISTORY
            assert (broken.last_history_id, broken.history_id) == (before, events.history_id)
            assert broken.last_history_id != broken.history_id
            assert len(events.replica) == 0
            async with client_of(live):
                assert (await next_event(events)).revision == broken.revision + 1


async def test_a_revision_of_another_history_shows_as_a_break(live: LiveBroker) -> None:
    """Whoever kept the history's id with the revision is not given another history's events."""
    async with EventListener(live.endpoint, since=0, history_id="another") as events:
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


async def test_a_revision_that_is_yet_to_come_shows_as_a_break(live: LiveBroker) -> None:
    """A revision that the store has not reached belongs to a store that was lost."""
    async with EventListener(live.endpoint, since=1_000) as events:
        assert (await next_break(events)).reason is RestartReason.ROLLED_BACK
