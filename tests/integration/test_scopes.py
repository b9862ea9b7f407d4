"""Work that runs only while active: lost sessions, and requests that can never be sent."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from tenure.sdk import ClientClosedError, InvalidRequestError, LimitExceededError, RoleLostError, ServiceClient, Tenure
from tenure.storage.memory import MemoryStore
from tests.integration.brokers import LONG_LEASE_MS, PATIENCE_S, BrokerHere, until


async def test_a_block_that_outlives_its_role_is_reported(broker: BrokerHere) -> None:
    """A block that goes on after its cancellation until the role is over is said to, at CRITICAL."""

    async def block() -> None:
        async with client.active("gw") as tenure:
            client.step_down(tenure.registration, "a test wants it so")
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await until(lambda: any(entry["log_level"] == "critical" for entry in logs), "it is reported")
                raise

    with capture_logs() as logs:
        async with ServiceClient(broker.ipc, lease_ms=LONG_LEASE_MS) as client:
            with pytest.raises(RoleLostError):
                await block()
    (report,) = [entry for entry in logs if entry["log_level"] == "critical"]
    assert (report["event"], report["resource_id"]) == ("work.outlives_role", "gw")


async def test_every_scope_of_a_client_outlives_a_forgotten_session(broker: BrokerHere) -> None:
    """A broker that knows nothing any more ends the session; each scope is active again in a new one."""
    active: dict[str, list[Tenure]] = {name: [] for name in ("m0", "m1", "m2")}
    entered = asyncio.Queue[None]()

    async def work(tenure: Tenure) -> None:
        active[tenure.resource_id].append(tenure)
        entered.put_nowait(None)
        await asyncio.Event().wait()

    async with ServiceClient(broker.ipc, lease_ms=1_000) as client, asyncio.TaskGroup() as scopes:
        tasks = [scopes.create_task(client.run_as_active(name, work)) for name in active]
        async with asyncio.timeout(PATIENCE_S):
            while not all(active.values()):
                await entered.get()
            await broker.restart(MemoryStore())
            while not all(len(tenures) > 1 for tenures in active.values()):
                await entered.get()
        assert not any(tenures[0].is_active for tenures in active.values())
        assert all(tenures[-1].is_active for tenures in active.values())
        for task in tasks:
            task.cancel()


async def test_a_client_that_is_closed_stays_closed(broker: BrokerHere) -> None:
    """Work that goes on for as long as its client is open does not open it again: whoever closed it is told."""
    began = asyncio.Event()

    async def work(_: Tenure) -> None:
        began.set()
        await asyncio.Event().wait()

    client = ServiceClient(broker.ipc, lease_ms=LONG_LEASE_MS)
    working = asyncio.create_task(client.run_as_active("gw", work))
    await began.wait()
    await client.close()

    with pytest.raises(ClientClosedError):
        await working
    assert client.is_closed
    await client.open()
    assert (client.is_closed, client.is_connected) == (False, True)
    await client.close()


async def test_a_request_that_is_too_long_is_refused_before_it_is_sent(broker: BrokerHere) -> None:
    """What a broker would not read costs neither the connection nor the requests beside it."""
    async with ServiceClient(broker.ipc, lease_ms=LONG_LEASE_MS) as client:
        with pytest.raises(LimitExceededError):
            await client.register("big", metadata={"a": "x" * 2_000_000})
        assert (await client.register("small")).registration_id > 0


@pytest.mark.parametrize(
    "wrong", [{"priority": 2**70}, {"instance_id": "\ud800"}, {"instance_id": ""}, {"resource_id": ""}]
)
async def test_values_that_cannot_be_are_refused_as_such(broker: BrokerHere, wrong: dict[str, int | str]) -> None:
    """Numbers beyond 64 bits, text that is no Unicode and empty ids are `invalid_request`; nothing is registered."""
    async with ServiceClient(broker.ipc, lease_ms=LONG_LEASE_MS) as client:
        with pytest.raises(InvalidRequestError):
            await client.register("gw", **wrong)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        assert await client.services() == []
