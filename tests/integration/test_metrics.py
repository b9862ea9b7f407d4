"""GET /metrics against a real broker: what happens there is counted, and what it is not heard to say is not told."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from time import monotonic

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tenure.contract.interventions import Switchover, SwitchoverStarted
from tenure.sdk import NotActiveError, RoleConflictError, ServiceClient, queries
from tenure.sdk.reader import Reader
from tests.integration.admins import admin_of
from tests.integration.brokers import LONG_LEASE_MS, PATIENCE_S, BrokerHere
from tests.integration.claimants import RESOURCE


@pytest.fixture
async def browser(broker: BrokerHere, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who asks an admin that follows the broker."""
    async with admin_of(broker.ipc, tmp_path) as client:
        yield client


@contextlib.asynccontextmanager
async def claimant(broker: BrokerHere) -> AsyncGenerator[tuple[asyncio.subprocess.Process, int]]:
    """A process that is active, whose exit is proof, and its epoch; it is gone with the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.integration.claimants", broker.ipc, "proof"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            line = await process.stdout.readline()
        yield process, int(line.split()[1])
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


type Samples = dict[str, float]


async def scrape(browser: httpx.AsyncClient) -> Samples:
    """The samples that are served, by name and labels as they are written."""
    answer = await browser.get("/metrics")
    assert answer.status_code == 200
    return {
        sample.name + "".join(f" {label}={value}" for label, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def scraped(browser: httpx.AsyncClient, fits: Callable[[Samples], bool], what: str) -> Samples:
    """Ask until what is served fits; it may be a second old."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                found = await scrape(browser)
                if fits(found):
                    return found
    except TimeoutError:
        raise AssertionError(f"waited {PATIENCE_S} s in vain: {what}") from None


async def test_a_kill_is_one_failover_and_what_was_refused_is_counted(
    broker: BrokerHere, browser: httpx.AsyncClient
) -> None:
    """With its reason, how long it took and how long nobody was active; a conflict and a fenced refusal beside it."""
    async with (
        ServiceClient(broker.ipc, lease_ms=LONG_LEASE_MS) as client,
        Reader(broker.ipc) as reader,
        claimant(broker) as (process, epoch),
    ):
        standby = await client.register("gw", instance_id="second", resource_id=RESOURCE)
        with pytest.raises(RoleConflictError):
            await client.register("gw", instance_id="third", resource_id=RESOURCE, role="active")
        process.kill()
        async with asyncio.timeout(PATIENCE_S):
            await standby.wait_active()
        with pytest.raises(NotActiveError):
            await reader.request(Switchover(resource_id=RESOURCE, epoch=epoch), SwitchoverStarted)

        found = await scraped(
            browser, lambda one: one.get("tenure_fenced_refusals_total code=not_active") == 1, "a fenced refusal"
        )
        committed = broker.count("committed_revision")

    assert found["tenure_broker_up"] == 1
    assert found["tenure_failovers_total reason=died"] == 1
    assert sum(value for name, value in found.items() if name.startswith("tenure_failovers_total")) == 1
    assert sum(value for name, value in found.items() if name.startswith("tenure_switchovers_total")) == 0
    assert found["tenure_failover_duration_seconds_count reason=died"] == 1
    assert found["tenure_vacancy_duration_seconds_count reason=died"] == 1
    assert 0 <= found["tenure_vacancy_duration_seconds_sum reason=died"] < PATIENCE_S
    assert found["tenure_role_conflicts_total"] == 1
    assert found["tenure_sessions_ended_total reason=died"] == 1
    assert (found["tenure_sessions"], found["tenure_sessions_opened_total"]) == (1, 2)
    assert (found["tenure_resources_active"], found["tenure_resources_vacant paused=false"]) == (1, 0)
    assert found["tenure_resources_without_standby"] == 1
    assert found["tenure_request_duration_seconds_count request=register"] == 3
    assert found["tenure_commit_duration_seconds_count"] == found["tenure_commit_events_count"] > 0
    assert found["tenure_commit_events_sum"] == committed
    assert found["tenure_lease_margin_ratio_count"] > 0
    assert found["tenure_broker_loop_lag_seconds_count"] > 0


async def test_while_the_broker_is_away_no_figure_is_told(broker: BrokerHere, browser: httpx.AsyncClient) -> None:
    """When it is back all of them are, and counters begin anew, as does the time of its start."""
    async with ServiceClient(broker.ipc, lease_ms=LONG_LEASE_MS) as client:
        await client.register("gw", instance_id="a", role="active")
        before = await scraped(browser, lambda one: one.get("tenure_resources_active") == 1, "the claim")
        await broker.stop()
        away = await scraped(browser, lambda one: one["tenure_broker_up"] == 0, "that it is away")
        assert {name for name in away if name.startswith("tenure_")} == {
            "tenure_broker_up",
            "tenure_broker_heard_timestamp_seconds",
        }
        await broker.start()
        back = await scraped(browser, lambda one: one["tenure_broker_up"] == 1, "that it is back")
    assert back["tenure_resources_active"] == 1
    assert back["tenure_sessions_opened_total"] == 0 < before["tenure_sessions_opened_total"]
    assert back["tenure_broker_start_time_seconds"] > before["tenure_broker_start_time_seconds"]


async def test_many_scrapes_are_one_question(broker: BrokerHere, browser: httpx.AsyncClient) -> None:
    """However often it is asked here, the broker is asked once in a second at most."""
    began_s = monotonic()
    for _ in range(50):
        await scrape(browser)
    async with Reader(broker.ipc) as reader:
        measured = await queries.measurements(reader)
    took_s = monotonic() - began_s
    asked = {one.of: sum(one.counts) for one in measured.requests_us}
    assert 1 <= asked["get_measurements"] <= 1 + took_s


async def test_promtool_finds_a_real_scrape_good(broker: BrokerHere, browser: httpx.AsyncClient) -> None:
    """Names, types, help texts and units are as Prometheus has them by convention."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed; Debian has it in the package prometheus")
    async with ServiceClient(broker.ipc, lease_ms=LONG_LEASE_MS) as client:
        await client.register("gw", instance_id="a", role="active")
        await client.register("gw", instance_id="a", resource_id="vacant")
        await scraped(browser, lambda one: one.get("tenure_resources_vacant paused=false") == 1, "a vacancy")
        text = (await browser.get("/metrics")).content
    check = await asyncio.create_subprocess_exec(
        *("promtool", "check", "metrics"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await check.communicate(text)
    assert (check.returncode, said.decode()) == (0, "")
