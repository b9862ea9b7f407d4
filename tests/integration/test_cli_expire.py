"""`tenure expire`: a person vouches for a death, and is asked to be sure."""

from __future__ import annotations

import asyncio
import json

from tenure.contract.vocabulary import ServiceStatus
from tests.integration.cli_stage import SHORT_LEASE_MS, Silent, Stage


async def test_expire_moves_the_role_of_one_who_is_dead_and_says_on_whose_word(stage: Stage) -> None:
    """Its tenure would have been held for ten minutes; the event names who vouched."""
    silent = await asyncio.to_thread(Silent, stage.endpoint, "a")
    try:
        async with stage.instances("b"):
            await stage.until(lambda view: view.active is not None and view.active.status is ServiceStatus.LATE)
            code, out = await stage.run("expire", "a")
            assert (code, "nothing was done" in out, "TWO would be active" in out) == (64, True, True), out
            assert (await stage.view()).last_epoch == silent.epoch

            code, out = await stage.run("expire", "a", "--confirm-dead")

            view = await stage.view()
            assert view.active is not None
            assert (code, view.active.instance_id) == (0, "b"), out
            assert f"acct: a (epoch {silent.epoch}) → b (epoch {view.active.epoch})" in out
            code, out = await stage.run("events", "--json")
            ended = [json.loads(line) for line in out.splitlines() if '"confirmed_dead"' in line]
            assert [event["type"] for event in ended] == ["deregistered", "session_closed"]
            assert all("@" in event["by"] for event in ended)
            assert ended[0]["silent_ms"] > SHORT_LEASE_MS / 2
            code, out = await stage.run("events", "--resource", "acct")
            assert "vouched that its process is dead (confirmed_dead, silent for " in out
            code, out = await stage.run("explain", "acct")
            assert "vouched that its process is dead" in out
            assert "a was suspected: half of its lease of 400 ms had passed" in out
    finally:
        await asyncio.to_thread(silent.client.close)


async def test_expire_is_refused_while_the_instance_is_heard(stage: Stage) -> None:
    """A mistaken word would make two actives: nothing is done."""
    async with stage.instances("a", "b"):
        before = await stage.until(lambda view: view.standby_count == 1)
        code, out = await stage.run("expire", "a", "--confirm-dead")
        assert code == 1
        assert ("a was heard" in out, "its process counts as alive" in out, "session" in out) == (True, True, False), (
            out
        )
        assert (await stage.view()).last_epoch == before.last_epoch


async def test_expire_asks_which_one_is_meant(stage: Stage) -> None:
    """Two processes with an instance of one name are told apart by service or resource; nobody of that name is said."""
    one = await asyncio.to_thread(Silent, stage.endpoint, "a", service="gw", resource_id="acct")
    two = await asyncio.to_thread(Silent, stage.endpoint, "a", service="risk", resource_id="limits")
    try:
        code, out = await stage.run("expire", "a", "--confirm-dead")
        assert (code, "--service gw --resource acct" in out, "--service risk" in out) == (64, True, True), out
        await stage.until(lambda view: view.active is not None and view.active.status is ServiceStatus.LATE)
        code, out = await stage.run("expire", "a", "--resource", "acct", "--confirm-dead")
        assert (code, "acct: a" in out, "nobody stood by" in out) == (0, True, True), out
        code, out = await stage.run("expire", "a", "--service", "gw", "--confirm-dead")
        assert (code, "no instance 'a' is registered of service 'gw'" in out) == (1, True), out
    finally:
        for silent in (one, two):
            await asyncio.to_thread(silent.client.close)
