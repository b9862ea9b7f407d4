"""The broker is the one that is gone: what holds its role for how long, and that a client tells how it stands."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from structlog.testing import capture_logs

from tenure.broker.clock import LeaseClock, boot_clock, raw_clock
from tenure.contract.messages import GetResource, Resource
from tenure.contract.views import Move
from tenure.contract.vocabulary import ChangeReason
from tenure.sdk import (
    ConnectionState,
    InvalidRequestError,
    Registration,
    ServiceClient,
    SessionExpiredError,
    registration_request,
)
from tenure.sdk.connection_changes import ConnectionChanges
from tenure.sdk.registering import HOLD_LIMIT_MS_DEFAULT
from tenure.storage.memory import MemoryStore
from tests.integration.brokers import LONG_LEASE_MS, PATIENCE_S, BrokerHere, until_changed
from tests.integration.served import served

LEASE_MS = 1_000
HOLD_MS = 600_000


async def test_a_role_that_is_held_outlasts_a_broker_that_is_away_for_longer_than_the_lease(broker: BrokerHere) -> None:
    """★ Of two tenures of one session one steps down with the lease; the other goes on under its epoch, also after."""
    async with ServiceClient(broker.ipc, lease_ms=LEASE_MS) as client:
        held = await client.register(
            "gw", instance_id="a", resource_id="held", role="active", on_broker_loss="hold", hold_limit_ms=HOLD_MS
        )
        plain = await client.register("gw", instance_id="a", resource_id="plain", role="active")
        epoch = held.ensure_active()
        assert plain.is_active
        assert (await client.resource("held")).active is not None

        changes = client.connection_changes()
        await broker.stop()
        async with asyncio.timeout(PATIENCE_S):
            while await anext(changes) is not ConnectionState.LOST:
                pass
        await until_changed(plain, lambda: not plain.is_active, "what is not held has ended")
        assert held.ensure_active() == epoch
        assert held.remaining_ms > HOLD_MS / 2
        await broker.start()
        await asyncio.wait_for(client.wait_connected(), PATIENCE_S)

        assert held.ensure_active() == epoch
        view = await client.resource("held")
        assert view.active is not None
        assert (view.active.epoch, view.active.hold_limit_ms) == (epoch, HOLD_MS)


async def test_a_tenure_that_ran_out_without_a_broker_ended_then_and_not_when_one_was_back(broker: BrokerHere) -> None:
    """★ The history has it from its holder: what the broker missed is no time in which anybody was active."""
    async with ServiceClient(broker.ipc, lease_ms=LEASE_MS) as client:
        registration = await client.register("gw", instance_id="a", resource_id="acct", role="active")
        await broker.stop()
        stopped_ms = time.time_ns() // 1_000_000
        await until_changed(registration, lambda: not registration.is_active, "its lease has run out")
        await broker.start()
        await asyncio.wait_for(client.wait_connected(), PATIENCE_S)
        async with asyncio.timeout(PATIENCE_S):
            while (tenure := (await client.tenures("acct")).tenures[-1]).ended_ms is None:
                pass

    assert tenure.end_reason is ChangeReason.GIVEN_UP
    assert tenure.possible_until_ms is not None
    assert tenure.possible_until_ms == tenure.certain_until_ms
    assert tenure.possible_until_ms <= stopped_ms + LEASE_MS
    assert tenure.possible_until_ms < tenure.ended_ms


async def test_who_falls_silent_while_it_holds_keeps_the_others_waiting(broker: BrokerHere) -> None:
    """★ What a hold costs: the lease is over, and the standby is not promoted before the hold limit is."""
    holder = ServiceClient(broker.tcp, lease_ms=LEASE_MS)
    async with ServiceClient(broker.ipc, lease_ms=LONG_LEASE_MS) as second:
        await holder.open()
        held = await holder.register(
            "gw", instance_id="a", resource_id="acct", role="active", on_broker_loss="hold", hold_limit_ms=4 * LEASE_MS
        )
        standby = await second.register("gw", instance_id="b", resource_id="acct")
        session = holder._session  # pyright: ignore[reportPrivateUsage]
        assert session is not None
        session._thread.stop()  # pyright: ignore[reportPrivateUsage]
        until_reading = held.standing.valid_until

        tenure = await asyncio.wait_for(standby.wait_active(), PATIENCE_S)

        assert not held.is_active  # by its own clocks: it was never believed by two
        assert tenure.is_active
        assert until_reading == held.standing.valid_until
        (move,) = (await _moves(second))[-1:]
        assert move.ended_ms - move.last_heard_ms >= 4 * LEASE_MS
        await holder.close()


async def test_who_is_granted_nothing_before_it_is_heard_again_need_not_care(broker: BrokerHere) -> None:
    """★ Its lease is over and it lives on for what it holds: a registration waits for a heartbeat, and succeeds."""
    skipped_ns = 0
    clock = LeaseClock(lambda: boot_clock() + skipped_ns, lambda: raw_clock() + skipped_ns)
    await broker.stop()
    await broker.start(clock=clock)
    async with ServiceClient(broker.ipc, lease_ms=LEASE_MS) as client:
        held = await client.register(
            "gw", instance_id="a", resource_id="held", role="active", on_broker_loss="hold", hold_limit_ms=HOLD_MS
        )
        asked_late = [registration_request("gw", instance_id="a", resource_id=f"late-{n}") for n in range(3)]

        skipped_ns = 2 * LEASE_MS * 1_000_000
        broker.running._settle()  # pyright: ignore[reportPrivateUsage]  (before a heartbeat comes)
        one = await client.register("gw", instance_id="a", resource_id="other")
        skipped_ns *= 2
        broker.running._settle()  # pyright: ignore[reportPrivateUsage]
        many = await client.register_many(asked_late)

        assert held.is_active
        assert not one.is_ended
        assert all(isinstance(result, Registration) for result in many)


async def _moves(client: ServiceClient) -> tuple[Move, ...]:
    return (await client._living().request(GetResource(resource_id="acct"), Resource)).moves  # pyright: ignore[reportPrivateUsage]


async def test_what_to_do_on_the_loss_of_a_broker_is_said_when_registering(broker: BrokerHere) -> None:
    """A hold without a limit has the default one; a limit without a hold, or one within the lease, is refused."""
    assert registration_request("gw", on_broker_loss="hold").hold_limit_ms == HOLD_LIMIT_MS_DEFAULT
    assert registration_request("gw").hold_limit_ms == 0
    with pytest.raises(ValueError, match="on_broker_loss='hold'"):
        registration_request("gw", hold_limit_ms=5_000)
    with pytest.raises(ValueError, match="'panic'"):
        registration_request("gw", on_broker_loss="panic")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async with ServiceClient(broker.ipc, lease_ms=2_000) as client:
        with pytest.raises(InvalidRequestError):
            await client.register("gw", on_broker_loss="hold", hold_limit_ms=2_000)
        async with client.active("gw", on_broker_loss="hold", hold_limit_ms=5_000) as tenure:
            assert tenure.remaining_ms > 2_000


# --- how it stands ----------------------------------------------------------------------------------------------------


async def test_each_change_is_told_once_and_in_order(broker: BrokerHere) -> None:
    """★ Connected; the broker goes: suspended, then lost; it comes back; another session; and the end of it all."""
    client = ServiceClient(broker.ipc, lease_ms=LEASE_MS)
    assert client.connection_state is ConnectionState.LOST
    with capture_logs() as logs:
        await client.open()
        changes = client.connection_changes()
        async with asyncio.timeout(PATIENCE_S):
            assert await anext(changes) is ConnectionState.CONNECTED
            await broker.stop()
            assert await anext(changes) is ConnectionState.SUSPENDED
            assert await anext(changes) is ConnectionState.LOST
            await broker.start()
            assert await anext(changes) is ConnectionState.CONNECTED
            await client.close()
            assert [state async for state in changes] == [ConnectionState.LOST]

    assert client.connection_state is ConnectionState.LOST
    events = [log["event"] for log in logs if log["event"].startswith("session.")]
    assert events == ["session.suspended", "session.lost", "session.connected"]


async def test_a_follower_outlives_a_session(broker: BrokerHere) -> None:
    """The broker ends the session, and the client opens another: lost, then connected, for whoever follows."""
    client = ServiceClient(broker.ipc, lease_ms=LEASE_MS)
    async with client:
        changes = client.connection_changes()
        assert await anext(changes) is ConnectionState.CONNECTED
        session = client._session  # pyright: ignore[reportPrivateUsage]
        assert session is not None
        await broker.restart(MemoryStore())
        async with asyncio.timeout(PATIENCE_S):
            while await anext(changes) is not ConnectionState.LOST:
                pass
            with pytest.raises(SessionExpiredError):
                await session.wait_connected()
            await client.open()
            assert await anext(changes) is ConnectionState.CONNECTED
    assert [state async for state in changes] == [ConnectionState.LOST]


async def test_a_follower_that_does_not_read_keeps_its_newest_changes() -> None:
    """What is kept is bounded; the same state twice is no change; a closed client has none."""
    changes = ConnectionChanges()
    follower = changes.follow(ConnectionState.LOST)
    for _ in range(2_000):
        changes.tell(ConnectionState.CONNECTED)
        changes.tell(ConnectionState.CONNECTED)
        changes.tell(ConnectionState.SUSPENDED)
    changes.end()
    changes.tell(ConnectionState.CONNECTED)

    kept = [state async for state in follower]

    assert kept == 500 * [ConnectionState.CONNECTED, ConnectionState.SUSPENDED]


@pytest.mark.parametrize("leave", [Registration.resign, Registration.deregister])
async def test_who_leaves_while_the_broker_stands_still_is_not_said_to_have_been_active_all_the_time(
    leave: Callable[[Registration], Awaitable[object]],
) -> None:
    """★ Its word waits, beside heartbeats from before it and after it: nothing is certain of what nobody heard."""
    with served() as broker:
        async with ServiceClient(broker.ipc, lease_ms=LEASE_MS) as client:
            registration = await client.register("gw", instance_id="a", resource_id="acct", role="active")
            changes = client.connection_changes()
            broker.process.send_signal(signal.SIGSTOP)
            try:
                await until_connection_is(changes, ConnectionState.SUSPENDED)  # heartbeats lie unread by now
                leaving = asyncio.ensure_future(leave(registration))
                await until_connection_is(changes, ConnectionState.LOST)
                woken_ms = time.time_ns() // 1_000_000
            finally:
                broker.process.send_signal(signal.SIGCONT)
            await asyncio.wait_for(leaving, PATIENCE_S)
            tenure = (await client.tenures("acct")).tenures[-1]

    assert tenure.end_reason is not None
    assert tenure.certain_until_ms is None or tenure.certain_until_ms < woken_ms
    assert tenure.possible_until_ms is not None


async def test_who_leaves_while_there_is_no_broker_is_not_said_to_have_been_active_all_the_time(
    broker: BrokerHere,
) -> None:
    """★ The next one hears of it from a request that says no time, or from a heartbeat that does."""
    async with ServiceClient(broker.ipc, lease_ms=LEASE_MS) as client:
        registration = await client.register("gw", instance_id="a", resource_id="acct", role="active")
        changes = client.connection_changes()
        await broker.stop()
        leaving = asyncio.ensure_future(registration.resign())
        await until_connection_is(changes, ConnectionState.LOST)
        woken_ms = time.time_ns() // 1_000_000
        await broker.start()
        await asyncio.wait_for(leaving, PATIENCE_S)
        tenure = (await client.tenures("acct")).tenures[-1]

    assert tenure.end_reason is ChangeReason.RESIGNED
    assert tenure.certain_until_ms is None or tenure.certain_until_ms < woken_ms


async def until_connection_is(changes: AsyncIterator[ConnectionState], state: ConnectionState) -> None:
    """Wait until a client says that it stands so."""
    async with asyncio.timeout(PATIENCE_S):
        while await anext(changes) is not state:
            pass
