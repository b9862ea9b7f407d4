"""Actives, standbys and the broker are killed, stopped and kept from working."""

from __future__ import annotations

import asyncio
from typing import Final

from tenure.contract.interventions import Switchover, SwitchoverStarted
from tenure.contract.vocabulary import ChangeReason
from tenure.sdk import ServiceClient, ServiceRole, queries
from tests.chaos.ledger import Stint, now_ns
from tests.chaos.links import remote_active
from tests.chaos.stage import LEASE_MS, LONG_LEASE_MS, Stage
from tests.chaos.worker import RESOURCE

_PROVEN: Final = ChangeReason.DIED
_SILENT: Final = ChangeReason.EXPIRED
_OUTAGE_LEASE_MS: Final = 12_000
"""Long enough for a broker to be killed and to start again on a busy machine."""
_SWITCHOVERS: Final = 10
_REGISTRATIONS_MAX: Final = 100_000

# --- the active -------------------------------------------------------------------------------------------------------


async def killed_active(stage: Stage) -> None:
    """SIGKILL of a local active: the kernel's word moves the role, before the lease would."""
    await stage.open(workers=3)
    for _ in range(2):
        first = await stage.at_work()
        killed_ns = await stage.worker_of(first).kill()
        stage.check(await stage.why_ended(first.epoch) is _PROVEN, "a local active's exit was not taken for proof")
        next_one = await stage.taken_over(first.epoch)
        stage.notes.append(f"at work after {(next_one.first_ns - killed_ns) / 1e6:.0f} ms")


async def killed_remote_active(stage: Stage) -> None:
    """SIGKILL of an active over tcp: nobody vouches for its death, so that its lease has to run out."""
    first = (await remote_active(stage))[1]
    killed_ns = await stage.worker_of(first).kill()
    stage.check(await stage.why_ended(first.epoch) is _SILENT, "the exit of a remote process was taken for proof")
    next_one = await stage.taken_over(first.epoch)
    stage.notes.append(
        f"at work {(next_one.first_ns - killed_ns) / 1e6:.0f} ms after the kill,"
        f" {(next_one.first_ns - first.deadline_ns) / 1e6:.0f} ms after the old deadline"
    )


async def stopped_active(stage: Stage) -> None:
    """SIGSTOP and SIGCONT of the active: it wakes up under another's tenure, and its next `ensure_active()` raises."""
    await stage.open(workers=2)
    first = await stage.at_work()
    worker = stage.worker_of(first)
    stopped_ns = await worker.stop()
    await stage.taken_over(first.epoch)
    stage.check(await stage.why_ended(first.epoch) is _SILENT, "a stopped process was taken for dead")
    worker.go_on()
    await stage.until(lambda: stage.ledger.is_refused(first.epoch), "the one that woke up is refused")
    await stage.standing_by(1)
    stage.look()
    stage.check_silence(first, stopped_ns)


async def blocked_event_loop(stage: Stage) -> None:
    """An active blocks its event loop for longer than its lease: the lease thread keeps the role."""
    await stage.open(workers=2, lease_ms=LONG_LEASE_MS)
    first = await stage.at_work()
    stage.worker_of(first).tell(f"block {LONG_LEASE_MS + 300}")
    before_ns = now_ns()
    await stage.until(
        lambda: stage.ledger.lines[-1].before_ns > before_ns + LONG_LEASE_MS * 1_000_000, "the loop is free again"
    )
    stage.check(stage.is_kept(first), "a blocked event loop cost the role")


async def gil_hog(stage: Stage) -> None:
    """An active holds the interpreter's lock for longer than its lease: it loses the role, and notices in time."""
    await stage.open(workers=2)
    first = await stage.at_work()
    stage.worker_of(first).tell(f"hog {2 * LEASE_MS}")
    await stage.taken_over(first.epoch)
    stage.check(await stage.why_ended(first.epoch) is _SILENT, "the role did not move by silence")
    await stage.until(lambda: stage.ledger.is_refused(first.epoch), "the hog is refused")
    await stage.standing_by(1)


async def fenced_gil_hog(stage: Stage) -> None:
    """The same with a fence: the process is gone before its lease ends, so that its exit, as proof, moves the role."""
    await stage.open(2, LONG_LEASE_MS, "fenced")
    first = await stage.at_work()
    worker = stage.worker_of(first)
    worker.is_expected_to_end = True
    worker.tell(f"hog {4 * LONG_LEASE_MS}")
    await stage.taken_over(first.epoch)
    stage.check(await stage.why_ended(first.epoch) is _PROVEN, "the hog outlived its lease, although it is fenced")
    stage.counts["fences"] += 1


async def left_active(stage: Stage) -> None:
    """Actives that leave in good order: each hands over at once."""
    await stage.open(workers=3)
    for _ in range(2):
        first = await stage.at_work()
        await stage.worker_of(first).leave()
        await stage.taken_over(first.epoch)
        reason = await stage.why_ended(first.epoch)
        stage.check(reason in {ChangeReason.DEREGISTERED, ChangeReason.GOODBYE}, f"leaving ended a tenure as {reason}")


async def switchovers(stage: Stage) -> None:
    """A role is moved as planned again and again: each holder finishes its work, and nobody waits for a lease."""
    await stage.open(workers=3, lease_ms=LONG_LEASE_MS)
    took_ms: list[float] = []
    for _ in range(_SWITCHOVERS):
        first = await stage.at_work()
        await stage.standing_by(2)
        asked_ns = now_ns()
        request = Switchover(resource_id=RESOURCE, epoch=first.epoch, drain_ms=LONG_LEASE_MS, by="chaos")
        await stage.reader.request(request, SwitchoverStarted)
        next_one = await stage.taken_over(first.epoch)
        took_ms.append((next_one.first_ns - asked_ns) / 1e6)
        reason = await stage.why_ended(first.epoch)
        stage.check(reason is ChangeReason.SWITCHOVER, f"a switchover ended a tenure as {reason}")
        stage.check(next_one.instance_id != first.instance_id, "a switchover gave the role back to who had it")
    stage.counts["switchovers"] += _SWITCHOVERS
    stage.notes.append(f"{_SWITCHOVERS} switchovers, the slowest after {max(took_ms):.0f} ms")


# --- standbys ---------------------------------------------------------------------------------------------------------


async def killed_standby(stage: Stage) -> None:
    """SIGKILL of a standby: the active works on, and its successor is one that is alive."""
    await stage.open(workers=3, lease_ms=LONG_LEASE_MS)
    first = await stage.at_work()
    victim = next(worker for worker in stage.workers if worker is not stage.worker_of(first))
    await victim.kill()
    await stage.standing_by(1)
    stage.check((await stage.at_work()).epoch == first.epoch, "a standby's death cost the active its role")
    await stage.worker_of(first).kill()
    successor = await stage.taken_over(first.epoch)
    stage.check(stage.worker_of(successor).is_running, "a dead standby succeeded")


async def stopped_standby(stage: Stage) -> None:
    """The next in line is stopped when the active dies: a role it was given moves on once its own lease has run out."""
    await stage.open(workers=3)
    first = await stage.at_work()
    view = await stage.standing_by(2)
    next_in_line = next(child for child in stage.workers if child.name == view.standbys[0].instance_id)
    await next_in_line.stop()
    await stage.worker_of(first).kill()
    successor = await stage.taken_over(first.epoch)
    stage.check(stage.worker_of(successor) is not next_in_line, "a stopped process was at work")
    next_in_line.go_on()
    await stage.standing_by(1)


# --- the broker -------------------------------------------------------------------------------------------------------


async def killed_broker(stage: Stage) -> None:
    """SIGKILL of the broker while it registers: what it acknowledged is there again, and no role is lost."""
    await stage.open(workers=2, lease_ms=_OUTAGE_LEASE_MS)
    first = await stage.at_work()
    async with ServiceClient(stage.broker.ipc, lease_ms=2 * _OUTAGE_LEASE_MS, timeout_ms=60_000) as client:
        acknowledged: dict[str, int] = {}
        registering = asyncio.create_task(_register_on(client, acknowledged))
        is_conclusive = True
        for _ in range(2):
            known, left_ms = len(acknowledged), await _renewed_ms(stage, first)
            await stage.until(lambda known=known: len(acknowledged) >= known + 30, "it registers")  # type: ignore[misc]
            killed_ns = await stage.broker.kill()
            told = dict(acknowledged)
            await stage.broker.serve()
            away_ms = (now_ns() - killed_ns) / 1e6
            found = {one.instance_id: one.epoch for one in await queries.services(stage.reader, "kept")}
            lost = [name for name, epoch in told.items() if found.get(name) != epoch]
            stage.check(not lost, f"{len(lost)} of {len(told)} acknowledged registrations are gone, as {lost[:3]}")
            stage.notes.append(f"{len(told)} acknowledged, away for {away_ms:.0f} ms")
            is_conclusive &= away_ms < left_ms / 2  # the rest is for what the holder's client needs to notice
        registering.cancel()
        await asyncio.gather(registering, return_exceptions=True)
        await stage.at_work()
        stage.check(stage.is_kept(first) or not is_conclusive, "the broker's short absence cost a role")


async def _register_on(client: ServiceClient, acknowledged: dict[str, int]) -> None:
    """Register one instance after the other, and note each once it is acknowledged."""
    for number in range(_REGISTRATIONS_MAX):
        name = f"kept-{number}"
        role = await client.register("kept", instance_id=name, resource_id=name, role=ServiceRole.ACTIVE)
        acknowledged[name] = role.standing.epoch


async def _renewed_ms(stage: Stage, stint: Stint) -> float:
    """Wait until a holder's lease is renewed, and say how much of it is left then; 0 if it is over."""
    known_ns = stage.ledger.stints[stint.epoch].deadline_ns
    await stage.until(
        lambda: not stage.is_kept(stint) or stage.ledger.stints[stint.epoch].deadline_ns > known_ns, "it is renewed"
    )
    return (stage.ledger.stints[stint.epoch].deadline_ns - now_ns()) / 1e6 if stage.is_kept(stint) else 0.0


async def killed_broker_while_held(stage: Stage) -> None:
    """The broker is away for more than two leases: an active that holds on works on, and has its role afterwards."""
    await stage.open(2, LEASE_MS, "hold")
    first = await stage.at_work()
    killed_ns = await stage.broker.kill()
    await stage.at_work(after_ns=killed_ns + int(2.5 * LEASE_MS * 1e6))
    await stage.broker.serve()
    await stage.standing_by(1)
    await stage.at_work()
    stage.check(stage.is_kept(first), "the role was not held beyond the lease")


async def killed_broker_and_active(stage: Stage) -> None:
    """Both die at once: nobody is left who saw the active's end, so the next broker waits for a whole lease."""
    await stage.open(workers=3)
    first = await stage.at_work()
    await asyncio.gather(stage.broker.kill(), stage.worker_of(first).kill())
    killed_ns = now_ns()
    await stage.broker.serve()
    up_ns = now_ns()
    successor = await stage.taken_over(first.epoch)
    stage.check(await stage.why_ended(first.epoch) is _SILENT, "a death that nobody saw was taken for proven")
    stage.notes.append(
        f"away for {(up_ns - killed_ns) / 1e6:.0f} ms, the next one {(successor.first_ns - up_ns) / 1e6:.0f} ms later"
    )


async def stopped_broker(stage: Stage) -> None:
    """The broker stands still for two leases: holders stop in time by themselves, and its own stall is no silence."""
    await stage.open(workers=3)
    first = await stage.at_work()
    stopped_ns = await stage.broker.stop()
    silent_from_ns = stopped_ns + LEASE_MS * 1_000_000
    await stage.watch(2 * LEASE_MS)
    woken_ns = stage.broker.go_on()
    await stage.at_work()
    believing = [line for line in stage.ledger.lines if silent_from_ns < line.before_ns < woken_ns and line.deadline_ns]
    stage.check(not believing, f"somebody was active with nobody to renew it: {believing[:1]}")
    stage.check(first.epoch in stage.ledger.stints, "the ledger forgot")
    await stage.standing_by(2)
