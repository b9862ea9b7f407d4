"""The worst outage is seen: every instance of a resource killed, over tcp, where nothing but silence tells of it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import httpx

from tenure.sdk import ServiceClient
from tests.integration.admins import admin_of
from tests.integration.brokers import LONG_LEASE_MS, PATIENCE_S, BrokerHere
from tests.integration.claimants import RESOURCE

_VACANT = 'tenure_resources_vacant{paused="false"}'


async def vacant(browser: httpx.AsyncClient) -> list[str]:
    """The resources that nobody is active for."""
    answer = await browser.get("/resources", params={"vacant": "true"})
    return [one["resource_id"] for one in answer.json()["resources"]]


async def until_counted(browser: httpx.AsyncClient, count: int) -> None:
    """Ask until so many are counted as vacant; that may be a second old."""
    async with asyncio.timeout(PATIENCE_S):
        while f"{_VACANT} {count}.0" not in (await browser.get("/metrics")).text:
            pass


async def test_a_resource_whose_every_process_was_killed_is_vacant_until_one_comes_back(
    broker: BrokerHere, tmp_path: Path
) -> None:
    """In the list, in the view and in the metric that the alert goes by; and dismissed by who leaves in good order."""
    async with admin_of(broker.ipc, tmp_path) as browser:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.integration.claimants", broker.tcp, "no-proof"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            async with asyncio.timeout(PATIENCE_S):
                epoch = int((await process.stdout.readline()).split()[1])
        finally:
            process.kill()
            await process.communicate()
        await until_counted(browser, 1)
        assert await vacant(browser) == [RESOURCE]
        found = (await browser.get(f"/resources/{RESOURCE}")).json()["resource"]
        assert (found["active"], found["standby_count"]) == (None, 0)
        assert (found["lost"]["instance_id"], found["lost"]["epoch"], found["lost"]["reason"]) == (
            "first",
            epoch,
            "expired",
        )
        async with ServiceClient(broker.tcp, lease_ms=LONG_LEASE_MS) as client:
            await client.register("gw", instance_id="second", resource_id=RESOURCE, role="active")
            await until_counted(browser, 0)
            assert await vacant(browser) == []
        async with asyncio.timeout(PATIENCE_S):
            while (await browser.get(f"/resources/{RESOURCE}")).status_code != 404:
                pass
        await until_counted(browser, 0)
        assert (await browser.get(f"/resources/{RESOURCE}/history")).json()["tenures"][1]["reason"] == "expired"
