"""Roles through the SDK and real sockets: claimed, refused, handed on and left."""

from __future__ import annotations

import asyncio

import pytest

from tenure.contract.interventions import Switchover, SwitchoverStarted
from tenure.sdk import (
    ClientClosedError,
    InvalidRequestError,
    NotFoundError,
    Registration,
    RequestRefusedError,
    RoleConflictError,
    RoleLostError,
    ServiceClient,
    ServiceRole,
    ServiceStatus,
    registration_request,
)
from tenure.sdk.reader import Reader
from tests.integration.brokers import LONG_LEASE_MS, PATIENCE_S, BrokerHere, claim, client_of, until


async def test_a_claim_is_granted_and_a_second_one_is_refused(broker: BrokerHere) -> None:
    """The first claimant is active at once; the second is told who is, and is not registered."""
    async with client_of(broker) as first, ServiceClient(broker.tcp, lease_ms=LONG_LEASE_MS) as second:
        a = await claim(first, "a")
        assert (a.role, a.is_active, a.ensure_active()) == (ServiceRole.ACTIVE, True, a.epoch)
        assert 0 < a.remaining_ms <= LONG_LEASE_MS

        with pytest.raises(RoleConflictError) as refused:
            await claim(second, "b")

        holder = refused.value.holder
        assert (holder.service_name, holder.instance_id, holder.epoch) == ("gw", "a", a.epoch)
        assert [instance.instance_id for instance in await second.services()] == ["a"]


async def test_no_role_given_means_standby_and_none_is_held(broker: BrokerHere) -> None:
    """A registration that asks for nothing stands by, and everything that needs the role says why it is refused."""
    async with client_of(broker) as client:
        standby = await client.register("gw", instance_id="a")

        assert (standby.role, standby.epoch, standby.remaining_ms) == (ServiceRole.STANDBY, 0, 0)
        assert standby.resource_id == "gw"
        with pytest.raises(RoleLostError, match="it stands by"):
            standby.ensure_active()


async def test_a_resignation_promotes_the_standby_and_not_the_one_who_resigned(broker: BrokerHere) -> None:
    """The role moves with a greater epoch; whoever resigned stands by, and resigning again does nothing."""
    async with client_of(broker) as first, client_of(broker) as second:
        a = await claim(first, "a")
        epoch = a.epoch
        b = await second.register("gw", instance_id="b", resource_id="acct")

        await a.resign()
        tenure = await asyncio.wait_for(b.wait_active(), PATIENCE_S)

        assert tenure.epoch > epoch
        assert (a.is_active, a.epoch) == (False, 0)
        with pytest.raises(RoleLostError, match="resigned"):
            a.ensure_active()
        await a.resign()
        assert tenure.ensure_active() == tenure.epoch


async def test_stepping_down_promotes_the_standby_at_once(broker: BrokerHere) -> None:
    """A heartbeat that is not due for two minutes goes out for it; whoever stepped down may win again."""
    async with client_of(broker) as first, client_of(broker) as second:
        a = await claim(first, "a")
        b = await second.register("gw", instance_id="b", resource_id="acct")

        first.step_down(a, "its work was stopped")

        assert not a.is_active
        await asyncio.wait_for(b.wait_active(), PATIENCE_S)
        await b.resign()
        await asyncio.wait_for(a.wait_active(), PATIENCE_S)


async def test_a_deregistration_promotes_the_standby(broker: BrokerHere) -> None:
    """What has deregistered is gone, for everybody; doing so again does nothing."""
    async with client_of(broker) as first, client_of(broker) as second:
        a = await claim(first, "a")
        b = await second.register("gw", instance_id="b", resource_id="acct")

        await a.deregister()
        await asyncio.wait_for(b.wait_active(), PATIENCE_S)

        await a.deregister()
        assert a.is_ended
        view = await second.resource("acct")
        assert view.active is not None
        assert (view.active.instance_id, view.standby_count) == ("b", 0)
        with pytest.raises(RoleLostError, match="deregistered"):
            await a.wait_active()


async def test_a_goodbye_promotes_the_standby(broker: BrokerHere) -> None:
    """Leaving the block of a client hands all its roles on at once; the lease would outlast the test."""
    async with client_of(broker) as second:
        async with client_of(broker) as first:
            a = await claim(first, "a")
            b = await second.register("gw", instance_id="b", resource_id="acct")
        assert not a.is_active
        await asyncio.wait_for(b.wait_active(), PATIENCE_S)
        await until(lambda: broker.count("sessions") == 1, "the session of the first client ends")


async def test_candidates_succeed_by_priority_and_then_by_who_stood_by_longest(broker: BrokerHere) -> None:
    """The order that `resource` shows is the order in which the role moves."""
    async with client_of(broker) as client:
        active = await claim(client, "a")
        others = {
            name: await client.register("gw", instance_id=name, resource_id="acct", priority=priority)
            for name, priority in (("low", -1), ("first", 0), ("second", 0), ("high", 5))
        }
        order = [standby.instance_id for standby in (await client.resource("acct")).standbys]
        assert order == ["high", "first", "second", "low"]

        for name in order:
            await active.deregister()
            await asyncio.wait_for(others[name].wait_active(), PATIENCE_S)
            active = others[name]


async def test_only_the_fit_are_promoted(broker: BrokerHere) -> None:
    """A standby that reports to be unhealthy is passed over, until it reports otherwise."""
    async with client_of(broker, lease_ms=2_000) as first, client_of(broker, lease_ms=2_000) as second:
        second.set_status("unhealthy")
        b = await second.register("gw", instance_id="b", resource_id="acct")
        await _until_status(second, ServiceStatus.UNHEALTHY)
        a = await claim(first, "a")

        await a.deregister()
        assert (await second.resource("acct")).active is None
        second.set_status("healthy")

        await asyncio.wait_for(b.wait_active(), PATIENCE_S)
        with pytest.raises(ValueError, match="late"):
            second.set_status("late")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def _until_status(client: ServiceClient, status: ServiceStatus) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while [instance.status for instance in await client.services()] != [status]:
            pass


async def test_many_are_registered_at_once_each_with_a_result(broker: BrokerHere) -> None:
    """One request, a registration or a refusal for each item, in order."""
    async with client_of(broker) as first, client_of(broker) as second:
        await claim(first, "a")
        items = [
            registration_request("gw", instance_id="b", resource_id="acct", role="active"),
            registration_request("gw", instance_id="b", resource_id="other", role="active"),
            registration_request("", instance_id="b"),
        ]

        refused, granted, invalid = await second.register_many(items)

        assert isinstance(refused, RoleConflictError)
        assert isinstance(granted, Registration)
        assert granted.is_active
        assert isinstance(invalid, InvalidRequestError)
        with pytest.raises(RequestRefusedError):
            await second.register_many([])


async def test_asking_again_is_the_same_registration(broker: BrokerHere) -> None:
    """A repeat finds what is there, with its tenure, and changes only what it names."""
    async with client_of(broker) as client:
        first = await claim(client, "a")
        epoch = first.epoch
        again = await client.register("gw", instance_id="a", resource_id="acct", role="active", priority=3)
        assert again is first
        assert again.epoch == epoch
        assert (await client.services())[0].priority == 3


async def test_whoever_is_asked_to_resign_does(broker: BrokerHere) -> None:
    """A plain registration steps down when anybody asks for its tenure's end; the standby follows."""
    async with client_of(broker) as first, client_of(broker) as second, Reader(broker.ipc) as reader:
        a = await claim(first, "a")
        b = await second.register("gw", instance_id="b", resource_id="acct")

        request = Switchover(resource_id="acct", epoch=a.epoch)
        await reader.request(request, SwitchoverStarted)

        await asyncio.wait_for(b.wait_active(), PATIENCE_S)
        assert not a.is_active


async def test_questions_about_what_is_not_there_are_refused(broker: BrokerHere) -> None:
    """A resource or a service that nobody is registered for is not found."""
    async with client_of(broker) as client:
        with pytest.raises(NotFoundError):
            await client.resource("nothing")
        with pytest.raises(NotFoundError):
            await client.roles("nothing")
        assert await client.services() == []


# --- the client itself ------------------------------------------------------------------------------------------------


async def test_a_client_that_is_not_open_says_so() -> None:
    """Nothing is sent, and nothing hangs."""
    client = ServiceClient("ipc:///nowhere/b")
    with pytest.raises(ClientClosedError):
        await claim(client, "a")
    assert not client.is_connected
    assert client.error is None
    await client.close()


async def test_a_client_can_be_closed_again_and_opened_again(broker: BrokerHere) -> None:
    """Opening an open client does nothing; one that was closed begins another session."""
    client = client_of(broker)
    await client.open()
    await client.open()
    assert client.is_connected
    assert broker.count("sessions") == 1
    await client.close()
    await client.close()
    async with client:
        assert (await claim(client, "a")).is_active
    assert not client.is_connected


async def test_a_client_whose_closing_is_cancelled_lets_go_of_everything(broker: BrokerHere) -> None:
    """The broker does not answer the goodbye, and whoever closes is cancelled: nothing is left to wait for."""
    store = broker.memory
    client = client_of(broker)
    await client.open()
    a = await claim(client, "a")
    store.hold_commits()
    closing = asyncio.create_task(client.close())
    await until(lambda: broker.count("revision") > broker.count("committed_revision"), "the goodbye was decided")

    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing

    assert not a.is_active
    await client.close()
    store.release_commits()
