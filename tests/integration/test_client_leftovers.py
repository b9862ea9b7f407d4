"""Registrations that are cancelled, never answered or being left: nothing of them stays, and nothing comes back."""

from __future__ import annotations

import asyncio

import pytest

from tenure.sdk import RequestTimeoutError, registration_request
from tests.integration.brokers import BrokerHere, claim, client_of, until, until_changed
from tests.turns import turns


async def test_a_registration_that_was_cancelled_leaves_nothing(broker: BrokerHere) -> None:
    """★ The request is under way when whoever asked is cancelled: what it made is found and ended."""
    store = broker.memory
    async with client_of(broker) as client:
        revision = broker.count("revision")
        store.hold_commits()
        asking = asyncio.create_task(claim(client, "a"))
        await until(lambda: broker.count("revision") > revision, "the broker has decided")
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        store.release_commits()

        await until(lambda: broker.count("registrations") == 0, "the registration is ended")
        async with client_of(broker) as other:
            assert (await claim(other, "b")).is_active


async def test_a_registration_whose_answer_never_came_leaves_nothing(broker: BrokerHere) -> None:
    """★ The time is up before the answer: the outcome is unknown to whoever asked, and undone by itself."""
    store = broker.memory
    async with client_of(broker, timeout_ms=300) as client:
        store.hold_commits()
        with pytest.raises(RequestTimeoutError):
            await claim(client, "a")
        with pytest.raises(RequestTimeoutError):
            await client.register_many([registration_request("gw", instance_id="m", resource_id="many")])
        store.release_commits()

        await until(lambda: broker.count("registrations") == 0, "both registrations are ended")


async def test_a_registration_that_existed_before_survives_a_cancelled_repeat(broker: BrokerHere) -> None:
    """Whoever holds the registration keeps it when somebody else's repeat of it is cancelled."""
    store = broker.memory
    async with client_of(broker) as client:
        a = await claim(client, "a")
        store.hold_commits()
        asking = asyncio.create_task(claim(client, "a", on_conflict="standby"))
        await until(lambda: broker.count("revision") > broker.count("committed_revision"), "the repeat was decided")
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        store.release_commits()

        await client.services()
        await client.services()
        assert a.is_active
        assert broker.count("registrations") == 1


async def test_registering_what_is_being_left_makes_a_new_registration(broker: BrokerHere) -> None:
    """★ The broker has not answered the deregistration: the tenure that was left is not entered again."""
    store = broker.memory
    async with client_of(broker) as client:
        old = await claim(client, "a")
        epoch = old.epoch
        store.hold_commits()
        leaving = asyncio.create_task(old.deregister())
        await until_changed(old, lambda: old.is_ended, "it is left")
        asking = asyncio.create_task(claim(client, "a"))
        await turns()
        assert not asking.done()
        store.release_commits()
        await leaving

        new = await asking

        assert new is not old
        assert new.epoch > epoch
        assert not old.is_active


async def test_leaving_what_is_being_registered_again_never_revives_it(broker: BrokerHere) -> None:
    """★ A repeat is under way, answered from before the deregistration: what comes of it is a new registration."""
    store = broker.memory
    async with client_of(broker) as client:
        old = await claim(client, "a")
        epoch = old.epoch
        store.hold_commits()
        asking = asyncio.create_task(claim(client, "a", on_conflict="standby"))
        await until(lambda: broker.count("revision") > broker.count("committed_revision"), "the repeat was decided")
        leaving = asyncio.create_task(old.deregister())
        await until_changed(old, lambda: old.is_ended, "it is left")
        store.release_commits()
        await leaving

        new = await asking

        assert new is not old
        assert (new.is_active, new.epoch > epoch) == (True, True)
        assert broker.count("registrations") == 1
