"""A client whose event loop was closed under it, as `asyncio.run` does at its end, keeps no role that nobody uses."""

from __future__ import annotations

import asyncio

import pytest

from tenure.contract.messages import GetResource, Resource
from tenure.contract.vocabulary import ChangeReason
from tenure.sdk import Registration, RoleLostError, ServiceClient, SessionExpiredError
from tenure.sdk.reader import Reader
from tests.integration.brokers import LONG_LEASE_MS, PATIENCE_S, BrokerHere
from tests.turns import turns


def say_nothing(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """Keep what a loop would log to itself."""
    del loop, context


async def abandoned(broker: BrokerHere, lease_ms: int) -> tuple[ServiceClient, Registration]:
    """A client that was active when its event loop was closed."""
    client = ServiceClient(broker.ipc, lease_ms=lease_ms, exit_is_proof=False)

    async def claim() -> Registration:
        await client.open()
        return await client.register("gw", instance_id="abandoned", resource_id="acct", role="active")

    return client, await asyncio.to_thread(asyncio.run, claim())


async def test_a_client_whose_loop_was_closed_loses_its_role_with_its_lease(broker: BrokerHere) -> None:
    """★ Nobody could use or give back what it holds, but work in other threads may go on: silence, and no goodbye."""
    async with ServiceClient(broker.ipc, lease_ms=LONG_LEASE_MS) as other:
        client, registration = await abandoned(broker, lease_ms=1_000)
        standby = await other.register("gw", instance_id="next", resource_id="acct")
        await asyncio.wait_for(standby.wait_active(), PATIENCE_S)

        assert not registration.is_active
        assert isinstance(client.error, SessionExpiredError)
        with pytest.raises(RoleLostError, match="event loop was closed"):
            registration.ensure_active()
        async with Reader(broker.ipc) as reader:
            (move, *_) = (await reader.request(GetResource(resource_id="acct"), Resource)).moves
        assert move.end_reason is ChangeReason.EXPIRED
    await client.close()


async def test_what_still_waited_when_a_loop_was_closed_keeps_nobody_from_opening(broker: BrokerHere) -> None:
    """★ A request and a wait for a change were under way there: neither can be woken, and neither is waited for."""
    client = ServiceClient(broker.ipc, lease_ms=1_000, exit_is_proof=False)
    left: list[asyncio.Task[object]] = []

    async def claim() -> None:
        await client.open()
        registration = await client.register("gw", instance_id="abandoned", resource_id="acct", role="active")
        left.append(asyncio.create_task(registration.wait_changed()))
        left.append(asyncio.create_task(client.resource("acct")))
        await turns()

    def run_and_close() -> None:
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(say_nothing)  # of both tasks, that they were pending
        loop.run_until_complete(claim())
        loop.close()

    await asyncio.to_thread(run_and_close)
    async with asyncio.timeout(PATIENCE_S):
        await client.open()
        again = await client.register("gw", instance_id="abandoned", resource_id="acct", role="active")
    assert again.is_active
    assert not any(task.done() for task in left)
    left.clear()
    await client.close()


async def test_a_client_whose_loop_was_closed_can_be_opened_on_another_one(broker: BrokerHere) -> None:
    """What is left of the session before is let go of; the next one waits until that one's lease is over."""
    client, before = await abandoned(broker, lease_ms=1_000)

    async with client:
        after = await client.register("gw", instance_id="abandoned", resource_id="acct", role="active")

        assert (before.is_active, after.is_active) == (False, True)
        assert after.epoch > before.held.left_epoch > 0
