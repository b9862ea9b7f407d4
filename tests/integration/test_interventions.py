"""Pauses and changes of many roles through the SDK, with a real broker, holders and listeners."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from tenure.contract.events import AnyEvent, ResourcePausedEvent, ResourceResumedEvent
from tenure.sdk import (
    EventListener,
    NotFoundError,
    ResumeReason,
    RoleChange,
    RoleConflictError,
    ServiceClient,
    ServiceRole,
    StreamRestarted,
    interventions,
)
from tests.integration.cli_stage import LEASE_MS, Stage


async def test_a_listener_of_a_resource_is_told_of_its_pauses(stage: Stage) -> None:
    """Whoever filters by a resource, or by a service that has instances for it, is told; the replica knows them too."""
    async with (
        stage.instances("a"),
        EventListener(stage.endpoint, resource_id="acct") as of_resource,
    ):
        await stage.until(lambda view: view.active is not None)
        paused = await interventions.pause(stage.reader, "acct", why="work", for_ms=60_000, by="ada")
        async with EventListener(stage.endpoint, service_name="gw") as of_service:
            assert of_service.replica.pauses["acct"] == paused
            ended = await interventions.resume(stage.reader, "acct", by="eve")
            assert ended == paused
            event = await anext(of_service)
            assert isinstance(event, ResourceResumedEvent)
            assert (event.resource_id, event.reason) == ("acct", ResumeReason.ASKED)
            assert of_service.replica.pauses == {}
        told = [event async for event in _until_resumed(of_resource)]
        kinds = [type(event) for event in told]
        assert (ResourcePausedEvent, ResourceResumedEvent) in pairwise(kinds)
        with pytest.raises(NotFoundError):
            await interventions.pause(stage.reader, "elsewhere", why="work")


async def _until_resumed(listener: EventListener) -> AsyncIterator[AnyEvent | StreamRestarted]:
    async for event in listener:
        yield event
        if isinstance(event, ResourceResumedEvent):
            return


async def test_many_roles_are_changed_by_one_request(stage: Stage) -> None:
    """A vacant role is granted at once, a held one moves when its holder has stepped down, and a refusal names whom."""
    async with stage.instances("a"), ServiceClient(stage.endpoint, lease_ms=LEASE_MS) as client:
        held = (await stage.until(lambda view: view.active is not None)).active
        assert held is not None
        next_one = await client.register("gw", instance_id="b", resource_id="acct")
        vacant = await client.register("gw", instance_id="b", resource_id="other")
        to_other = RoleChange(registration_id=vacant.registration_id, role=ServiceRole.ACTIVE)
        to_acct = RoleChange(registration_id=next_one.registration_id, role=ServiceRole.ACTIVE)

        with pytest.raises(RoleConflictError) as conflict:
            await client.change_roles([to_other, to_acct])

        assert (conflict.value.info.index, conflict.value.holder.epoch) == (1, held.epoch)
        assert (await client.resource("other")).active is None
        to_acct = RoleChange(registration_id=next_one.registration_id, role=ServiceRole.ACTIVE, epoch=held.epoch)
        granted, awaited = await client.change_roles([to_other, to_acct], by="ada")
        assert (granted.awaited_epoch, awaited.epoch, awaited.awaited_epoch) == (0, 0, held.epoch)
        assert (await vacant.wait_active()).epoch == granted.epoch > 0
        assert (await next_one.wait_active()).epoch > held.epoch
