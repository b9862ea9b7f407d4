"""Much at once: a thousand registrations and a thousand failovers, and a listener that does not listen for a while."""

from __future__ import annotations

import asyncio
from pathlib import Path
from resource import getpagesize
from typing import Final

from tenure.contract.vocabulary import ServiceRole
from tenure.sdk import ServiceClient, ServiceInstance, queries, registration_request
from tests.chaos.crowd import SERVICE
from tests.chaos.processes import Child
from tests.chaos.stage import Stage

_CROWD: Final = 1_000
_CROWD_LEASE_MS: Final = 20_000
"""None runs out on a busy machine: what is measured is proof."""
_BATCH: Final = 200
_EVENTS: Final = 5_000
_METADATA: Final = {"note": "x" * 1_000}
_GROWTH_BYTES_MAX: Final = 64 << 20
"""What a broker may grow by for a listener that does not read: a queue has a bound, and the store has the events."""


async def crowd(stage: Stage) -> None:
    """1,000 registrations at once from two processes, both killed at once: 1,000 successors, on proof."""
    await stage.open()
    half = _CROWD // 2
    holders = [await _crowd(stage, f"holder{number}", number * half, half, "each") for number in range(2)]
    answered = [await holder.hear("answered") for holder in holders]
    await asyncio.gather(*(holder.hear("active") for holder in holders))
    before = {one.resource_id: one.epoch for one in await _actives(stage)}
    stage.check(len(before) == _CROWD, f"{len(before)} of {_CROWD} resources have an active")
    standbys = await _crowd(stage, "standby", 0, _CROWD, "together")
    together = await standbys.hear("answered")
    killed_ns = min(await asyncio.gather(*(holder.kill() for holder in holders)))
    active_ns = int((await standbys.hear("active")).split()[1])
    after = {one.resource_id: one for one in await _actives(stage)}
    stage.check(after.keys() == before.keys(), f"{len(after)} of {_CROWD} resources have an active after the kill")
    wrong = [
        name for name, one in after.items() if one.epoch <= before[name] or not one.instance_id.startswith("standby")
    ]
    stage.check(not wrong, f"{len(wrong)} resources have no proper successor, such as {wrong[:3]}")
    stage.notes.append(
        f"{_CROWD} registrations one by one answered within {max(float(said.split()[1]) for said in answered):.0f} ms,"
        f" {_CROWD} in one request within {float(together.split()[1]):.0f} ms; all {_CROWD} roles moved and known to"
        f" their new holders {(active_ns - killed_ns) / 1e6:.0f} ms after the kill"
    )
    stage.counts["crowd failovers"] += len(after)


async def _crowd(stage: Stage, name: str, first: int, count: int, how: str) -> Child:
    crowd = stage.child(name)
    arguments = (stage.broker.ipc, name, str(first), str(count), str(_CROWD_LEASE_MS), how)
    await crowd.start("tests.chaos.crowd", *arguments)
    return crowd


async def _actives(stage: Stage) -> list[ServiceInstance]:
    return [one for one in await queries.services(stage.reader, SERVICE) if one.role is ServiceRole.ACTIVE]


async def slow_listener(stage: Stage) -> None:
    """A listener is stopped during 5,000 events: the broker stays small, and it then has each once and in order."""
    await stage.open()
    follower = stage.child("follower")
    await follower.start("tests.chaos.follower", stage.broker.ipc)
    await follower.hear("ready")
    await _cause_events(stage, 2 * _BATCH)  # what the broker needs once for this load is not the listener's doing
    await follower.stop()
    before_bytes = _resident_bytes(stage.broker.pid)
    await _cause_events(stage, _EVENTS)
    grown_bytes = _resident_bytes(stage.broker.pid) - before_bytes
    stage.check(grown_bytes < _GROWTH_BYTES_MAX, f"the broker grew by {grown_bytes >> 20} MiB for one slow listener")
    follower.go_on()
    _, newest = await queries.events(stage.reader, 0)
    heard = [await follower.hear() for _ in range(newest)]
    stage.check(
        heard == [str(number) for number in range(1, newest + 1)], "events came twice, not at all or out of order"
    )
    stage.notes.append(f"{newest} events in order; the broker grew by {grown_bytes / (1 << 20):.1f} MiB meanwhile")


async def _cause_events(stage: Stage, least: int) -> None:
    """Have instances come and go until that many events and more have happened."""
    _, newest = await queries.events(stage.reader, 0)
    goal = newest + least
    while newest < goal:
        async with ServiceClient(stage.broker.ipc, lease_ms=_CROWD_LEASE_MS) as client:
            await client.register_many(
                registration_request("busy", instance_id=f"busy-{number}", metadata=_METADATA)
                for number in range(_BATCH)
            )
        _, newest = await queries.events(stage.reader, newest)


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * getpagesize()
