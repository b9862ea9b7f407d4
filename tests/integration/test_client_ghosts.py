"""An instance that is registered already: the ghost of an earlier run is outwaited, a living duplicate refused."""

from __future__ import annotations

import asyncio

import pytest

from tenure.sdk import DuplicateInstanceError, Registration, ServiceClient
from tests.integration.brokers import LONG_LEASE_MS, PATIENCE_S, SHORT_LEASE_MS, BrokerHere, claim, client_of, until

HOLD_MS = 2 * LONG_LEASE_MS


async def test_an_instance_that_restarts_at_once_outwaits_its_ghost(broker: BrokerHere) -> None:
    """The previous run's lease has to end first: registering waits for that by itself and then succeeds."""
    ghost = ServiceClient(broker.tcp, lease_ms=SHORT_LEASE_MS)
    await ghost.open()
    await claim(ghost, "a")
    _fall_silent(ghost)
    try:
        async with client_of(broker) as client:
            a = await asyncio.wait_for(claim(client, "a"), PATIENCE_S)
            assert a.is_active
    finally:
        await ghost.close()


async def test_a_ghost_that_holds_a_role_for_long_is_outwaited_until_somebody_proves_it_dead(
    broker: BrokerHere,
) -> None:
    """★ Its hold limit would end it in twenty minutes, and registering waits; proof comes sooner, and is noticed."""
    ghost = ServiceClient(broker.tcp, lease_ms=SHORT_LEASE_MS)
    await ghost.open()
    await claim_held(ghost, "a")
    session = next(iter(broker.running._core.registry.state.sessions))  # pyright: ignore[reportPrivateUsage]
    _fall_silent(ghost)
    try:
        async with client_of(broker) as client:
            claiming = asyncio.create_task(claim_held(client, "a"))
            presence = broker.running._core.registry.state.sessions[session]  # pyright: ignore[reportPrivateUsage]
            await until(lambda: presence.has_lapsed, "its lease is over")
            assert not claiming.done()
            broker.running._process_exited(session)  # pyright: ignore[reportPrivateUsage]
            assert (await asyncio.wait_for(claiming, PATIENCE_S)).is_active
    finally:
        await ghost.close()


async def test_a_living_duplicate_is_told_apart_from_a_ghost_before_its_hold_limit(broker: BrokerHere) -> None:
    """★ It is renewed, so that it will not end when it was to: nobody waits twenty minutes to hear that."""
    async with client_of(broker, lease_ms=2_000) as first, client_of(broker) as second:
        await claim_held(first, "a")
        with pytest.raises(DuplicateInstanceError) as refused:
            await asyncio.wait_for(claim_held(second, "a"), PATIENCE_S)
        assert refused.value.retry_after_ms > HOLD_MS - 2_000


async def claim_held(client: ServiceClient, instance_id: str) -> Registration:
    """Claim the role, to be held for twenty minutes of silence."""
    return await client.register(
        "gw", instance_id=instance_id, resource_id="acct", role="active", on_broker_loss="hold", hold_limit_ms=HOLD_MS
    )


def _fall_silent(client: ServiceClient) -> None:
    """Let a client's heartbeats end without a word, as those of a process that hangs."""
    session = client._session  # pyright: ignore[reportPrivateUsage]
    assert session is not None
    session._thread.stop()  # pyright: ignore[reportPrivateUsage]


async def test_a_true_duplicate_is_refused(broker: BrokerHere) -> None:
    """Two living sessions cannot both be the same instance: told at once, or after the lease when it waited for it."""
    async with client_of(broker, lease_ms=2_000) as first, client_of(broker) as second:
        await claim(first, "a")

        with pytest.raises(DuplicateInstanceError) as refused:
            await second.register("gw", instance_id="a", resource_id="acct", wait_for_ghost=False)
        assert 0 < refused.value.retry_after_ms <= 2_000
        with pytest.raises(DuplicateInstanceError):
            await second.register("gw", instance_id="a", resource_id="acct")
