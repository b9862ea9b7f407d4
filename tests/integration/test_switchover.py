"""Planned moves through the SDK and real sockets: work that drains, who acknowledges, and what else may happen."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from tenure.contract.errors import SwitchoverUnderWayError
from tenure.contract.messages import GetResource, Resource
from tenure.contract.vocabulary import ChangeReason
from tenure.sdk import (
    InvalidRequestError,
    NotActiveError,
    NotEligibleError,
    NotFoundError,
    Registration,
    RoleLostError,
    ServiceClient,
    SwitchoverFailedError,
    SwitchoverResult,
    Tenure,
)
from tenure.sdk.reader import Reader
from tenure.sdk.switchover import cancel_switchover, switchover
from tests.integration.brokers import PATIENCE_S, BrokerHere, client_of, until_changed
from tests.turns import turns

DRAIN_MS = 600_000
"""A drain that no test waits for."""


async def claim(client: ServiceClient, instance_id: str) -> Registration:
    """Claim the role, or stand by for it."""
    return await client.register(
        "gw", instance_id=instance_id, resource_id="acct", role="active", on_conflict="standby"
    )


async def test_a_switchover_moves_the_role_and_says_how(broker: BrokerHere) -> None:
    """★ A plain registration steps down at once; the result names both tenures, and how long nobody was active."""
    async with client_of(broker) as first, client_of(broker) as second, Reader(broker.ipc) as reader:
        a, b = await claim(first, "a"), await claim(second, "b")
        old = a.epoch

        result = await switchover(reader, "acct", by="a person")

        assert (result.old_instance_id, result.old_epoch) == ("a", old)
        assert (result.new_instance_id, result.new_epoch) == ("b", b.ensure_active())
        assert result.end_reason is ChangeReason.SWITCHOVER
        assert result.gap_ms is not None
        assert 0 <= result.gap_ms <= result.duration_ms + 1
        assert not a.is_active


async def test_a_role_that_comes_with_the_answer_is_told_to_the_broker_at_once(broker: BrokerHere) -> None:
    """★ The next heartbeat would be due in two minutes: it is sent when the tenure is entered."""
    async with client_of(broker) as first, client_of(broker) as second, Reader(broker.ipc) as reader:
        a = await claim(first, "a")
        await a.deregister()
        await second.register("gw", instance_id="keeps-the-resource", resource_id="acct")
        await second.switchover("acct", even_if_vacant=True)
        await claim(second, "b")

        async with asyncio.timeout(PATIENCE_S):
            while True:
                moves = (await reader.request(GetResource(resource_id="acct"), Resource)).moves
                if moves and moves[-1].entered_ms:
                    break

        assert moves[-1].new_instance_id == "b"


async def test_it_moves_to_whom_it_is_meant_to(broker: BrokerHere) -> None:
    """The standby named takes over, though another one would be next; names that fit nobody or several are refused."""
    async with client_of(broker) as first, client_of(broker) as second, client_of(broker) as third:
        await claim(first, "a")
        await claim(second, "b")
        await claim(third, "c")
        await second.register("other", instance_id="c", resource_id="acct")

        with pytest.raises(NotFoundError, match="'d'"):
            await first.switchover("acct", to="d")
        with pytest.raises(InvalidRequestError, match="gw, other"):
            await first.switchover("acct", to="c")
        assert (await first.switchover("acct", to="c", to_service="gw")).new_instance_id == "c"


async def test_what_cannot_be_moved_is_refused_and_nobody_is_asked(broker: BrokerHere) -> None:
    """Nobody active, another tenure than the one named, nobody to take over."""
    async with client_of(broker) as client:
        a = await claim(client, "a")
        with pytest.raises(NotEligibleError):
            await client.switchover("acct")
        with pytest.raises(NotActiveError, match=f"epoch {a.epoch + 1}"):
            await client.switchover("acct", epoch=a.epoch + 1)
        with pytest.raises(NotFoundError):
            await client.cancel_switchover("acct")
        assert a.is_active

        result = await client.switchover("acct", even_if_vacant=True)

        assert (result.new_instance_id, result.new_epoch, result.gap_ms) == ("", 0, None)
        with pytest.raises(NotActiveError, match="nobody is"):
            await client.switchover("acct")


async def test_work_drains_before_the_role_moves(broker: BrokerHere) -> None:
    """★ The work is told, goes on as the active one, returns when it is done, and its instance stands by again."""
    async with client_of(broker) as first, client_of(broker) as second:
        began, asked, may_finish = asyncio.Event(), asyncio.Event(), asyncio.Event()
        tenures: list[Tenure] = []

        async def work(tenure: Tenure) -> str:
            tenures.append(tenure)
            began.set()
            if len(tenures) > 1:
                return "done for good"
            await tenure.wait_asked_to_end()
            assert tenure.drain_left_ms is not None
            assert 0 < tenure.drain_left_ms <= DRAIN_MS
            asked.set()
            await may_finish.wait()
            tenure.ensure_active()
            return "drained"

        running = asyncio.create_task(first.run_as_active("gw", work, instance_id="a", resource_id="acct"))
        await asyncio.wait_for(began.wait(), PATIENCE_S)
        assert (tenures[0].is_asked_to_end, tenures[0].drain_left_ms) == (False, None)
        b = await claim(second, "b")
        moving = asyncio.create_task(second.switchover("acct", drain_ms=DRAIN_MS))
        await asyncio.wait_for(asked.wait(), PATIENCE_S)
        assert not b.is_active
        with pytest.raises(SwitchoverUnderWayError):
            await second.switchover("acct", to="b")
        may_finish.set()

        assert (await asyncio.wait_for(moving, PATIENCE_S)).new_instance_id == "b"
        assert not tenures[0].is_active
        assert (await second.switchover("acct")).new_instance_id == "a"  # it stands by again, and is the next one
        assert await asyncio.wait_for(running, PATIENCE_S) == "done for good"


async def test_work_that_stopped_for_what_was_called_off_runs_again(broker: BrokerHere) -> None:
    """★ It saw the ask and returned, and the ask was withdrawn in between: that does not end the worker for good."""
    async with client_of(broker, 5_000) as first, client_of(broker) as second:
        began, asked, may_finish = asyncio.Event(), asyncio.Event(), asyncio.Event()
        tenures: list[Tenure] = []

        async def work(tenure: Tenure) -> str:
            tenures.append(tenure)
            began.set()
            if len(tenures) > 1:
                return "done for good"
            await tenure.wait_asked_to_end()
            asked.set()
            await may_finish.wait()
            return "stopped for the switchover"

        running = asyncio.create_task(first.run_as_active("gw", work, instance_id="a", resource_id="acct", priority=1))
        await asyncio.wait_for(began.wait(), PATIENCE_S)
        await claim(second, "b")
        moving = asyncio.create_task(second.switchover("acct", drain_ms=DRAIN_MS))
        await asyncio.wait_for(asked.wait(), PATIENCE_S)
        await second.cancel_switchover("acct")
        with pytest.raises(SwitchoverFailedError):
            await asyncio.wait_for(moving, PATIENCE_S)
        held = tenures[0].registration
        await until_changed(held, lambda: not tenures[0].is_asked_to_end, "the holder has heard that")
        may_finish.set()

        assert await asyncio.wait_for(running, PATIENCE_S) == "done for good"
        assert len(tenures) > 1


async def test_work_that_does_not_finish_is_cancelled_when_its_drain_is_over(broker: BrokerHere) -> None:
    """It goes on for the drain and not longer; what it does when cancelled is waited for before the role moves."""
    async with client_of(broker) as first, client_of(broker) as second:
        order: list[str] = []
        started = asyncio.Event()

        async def work(tenure: Tenure) -> None:
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                await turns(100)  # it takes its time, which is no reason for an alarm while the lease lasts
                order.append(f"stopped, active: {tenure.is_active}")

        running = asyncio.create_task(first.run_as_active("gw", work, instance_id="a", resource_id="acct"))
        await asyncio.wait_for(started.wait(), PATIENCE_S)
        await claim(second, "b")

        with capture_logs() as logs:
            result = await second.switchover("acct", drain_ms=200)

        order.append("moved")
        assert "work.outlives_role" not in [log["event"] for log in logs]
        assert order == ["stopped, active: True", "moved"]
        assert (result.new_instance_id, result.end_reason) == ("b", ChangeReason.SWITCHOVER)
        assert result.duration_ms >= 200
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_an_exception_of_work_that_was_asked_to_end_is_raised(broker: BrokerHere) -> None:
    """Only a return counts as having stopped for the switchover."""
    async with client_of(broker) as first, client_of(broker) as second:
        started = asyncio.Event()

        async def work(tenure: Tenure) -> None:
            started.set()
            await tenure.wait_asked_to_end()
            raise LookupError("broken")

        running = asyncio.create_task(first.run_as_active("gw", work, instance_id="a", resource_id="acct"))
        await asyncio.wait_for(started.wait(), PATIENCE_S)
        await claim(second, "b")
        assert (await second.switchover("acct", drain_ms=DRAIN_MS)).new_instance_id == "b"
        with pytest.raises(LookupError):
            await running


async def test_leaving_a_block_early_is_the_acknowledgement(broker: BrokerHere) -> None:
    """★ The block is told, ends by itself and raises nothing; one that stays is cancelled, and told why."""
    async with client_of(broker) as first, client_of(broker) as second:
        b = await claim(second, "b")
        await b.resign()
        async with first.active("gw", instance_id="a", resource_id="acct") as tenure:
            await claim(second, "b")
            moving = asyncio.create_task(second.switchover("acct", drain_ms=DRAIN_MS))
            await tenure.wait_asked_to_end()
        assert (await asyncio.wait_for(moving, PATIENCE_S)).new_instance_id == "b"

        moving = asyncio.create_task(_when_standing_by(second, "a", drain_ms=0))
        staying = asyncio.create_task(_stay_in_a_block(first))
        assert (await moving).new_instance_id == "a"
        assert (await second.switchover("acct")).new_instance_id == "b"
        with pytest.raises(RoleLostError, match="asked to step down"):
            await staying


async def _stay_in_a_block(client: ServiceClient) -> None:
    async with client.active("gw", instance_id="a", resource_id="acct"):
        await asyncio.Event().wait()


async def _when_standing_by(client: ServiceClient, instance_id: str, drain_ms: int) -> SwitchoverResult:
    async with asyncio.timeout(PATIENCE_S):
        while not any(one.instance_id == instance_id for one in (await client.resource("acct")).standbys):
            pass
    return await client.switchover("acct", drain_ms=drain_ms)


async def test_a_switchover_that_is_called_off_is_forgotten(broker: BrokerHere) -> None:
    """★ The holder goes on, and hears that nobody asks any more; whoever waits for the move is told that it failed."""
    async with client_of(broker) as first, client_of(broker) as second, Reader(broker.ipc) as reader:
        a = await claim(first, "a")
        tenure = await a.wait_active()
        await claim(second, "b")
        moving = asyncio.create_task(second.switchover("acct", drain_ms=DRAIN_MS))
        await asyncio.wait_for(tenure.wait_asked_to_end(), PATIENCE_S)

        await cancel_switchover(reader, "acct")

        with pytest.raises(SwitchoverFailedError, match="called off") as failed:
            await asyncio.wait_for(moving, PATIENCE_S)
        assert (failed.value.instance_id, failed.value.epoch) == ("a", tenure.epoch)
        await until_changed(a, lambda: not tenure.is_asked_to_end, "it hears of it")
        assert tenure.is_active


async def test_a_broker_that_starts_again_has_forgotten_it(broker: BrokerHere) -> None:
    """The intent is not durable: the holder goes on once its heartbeats are answered, and the move has failed."""
    async with client_of(broker, lease_ms=5_000) as first, client_of(broker, lease_ms=5_000) as second:
        a = await claim(first, "a")
        tenure = await a.wait_active()
        await claim(second, "b")
        moving = asyncio.create_task(second.switchover("acct", drain_ms=DRAIN_MS))
        await asyncio.wait_for(tenure.wait_asked_to_end(), PATIENCE_S)
        await second.resource("acct")  # answered after the switchover was, which would be asked for again otherwise

        await broker.restart()

        with pytest.raises(SwitchoverFailedError, match="started again"):
            await asyncio.wait_for(moving, PATIENCE_S)
        await until_changed(a, lambda: not tenure.is_asked_to_end, "it hears of it")
        assert tenure.is_active


async def test_a_holder_that_does_not_answer_loses_its_tenure_with_its_lease(broker: BrokerHere) -> None:
    """★ Its work neither ends nor stops: the tenure is renewed no more, and the next one is active after the lease."""
    async with client_of(broker, lease_ms=1_000) as first, client_of(broker) as second:
        a = await claim(first, "a")
        a.held.is_scoped = True  # as a scope whose work does not stop: nobody resigns
        tenure = await a.wait_active()
        b = await claim(second, "b")

        result = await second.switchover("acct")

        assert (result.new_instance_id, result.end_reason) == ("b", ChangeReason.REVOKED)
        assert not tenure.is_active
        b.ensure_active()


async def test_whoever_waits_for_too_short_a_time_is_told_how_it_stands(broker: BrokerHere) -> None:
    """The drain is longer than the patience: nothing has failed, but nothing is known either."""
    async with client_of(broker) as first, client_of(broker) as second:
        await claim(first, "a")
        await claim(second, "b")
        with pytest.raises(SwitchoverFailedError, match="after 100 ms"):
            await second.switchover("acct", drain_ms=DRAIN_MS, timeout_ms=100)
        assert (await second.resource("acct")).switchover is not None


async def test_waiting_to_be_asked_ends_with_the_tenure(broker: BrokerHere) -> None:
    """It is over before anybody asked: there is nothing to finish."""
    async with client_of(broker) as client:
        a = await claim(client, "a")
        tenure = await a.wait_active()
        waiting = asyncio.create_task(tenure.wait_asked_to_end())
        await turns()
        await a.resign()
        with pytest.raises(RoleLostError, match="resigned"):
            await waiting
