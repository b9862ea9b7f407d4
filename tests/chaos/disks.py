"""A broker whose disk is full: it refuses what it cannot store, and does what it can."""

from __future__ import annotations

import asyncio
from typing import Final

from tenure.contract.errors import RequestRefusedError, StorageUnavailableError, TenureError
from tenure.contract.vocabulary import ServiceRole
from tenure.sdk import ServiceClient, queries, registration_request
from tests.chaos.faults import NoSmallDiskError, fill, small_disk
from tests.chaos.ledger import now_ns
from tests.chaos.stage import LEASE_MS, LONG_LEASE_MS, SkippedError, Stage
from tests.turns import turns

_DISK_BYTES: Final = 16 << 20  # some room beside what a store reserves at its start
_BATCH: Final = 200
_METADATA: Final = {f"key{number}": "x" * 1_000 for number in range(4)}
_BATCHES_MAX: Final = 50
_SINGLES_MAX: Final = 2_000
"""More than fit into what a store reserves ahead, so that a full disk must show."""
_ASK_MS: Final = 1_000
_ASK_ON_MS: Final = 60_000


async def full_disk(stage: Stage) -> None:
    """Not a byte fits any more: `storage_unavailable`, roles are kept, and with room again everything works again."""
    _use_small_disk(stage)
    await stage.open(workers=2, lease_ms=LONG_LEASE_MS)
    first = await stage.at_work()
    async with ServiceClient(stage.broker.ipc, lease_ms=60_000, timeout_ms=_ASK_MS) as client:
        kept = await client.register("kept", instance_id="kept", role=ServiceRole.ACTIVE)
        kept_epoch = kept.standing.epoch
        filler = fill(stage.directory / "disk")
        stored, refusal = await _write_until_refused(client)
        stage.check(isinstance(refusal, StorageUnavailableError), f"a full disk was told as {refusal!r}")
        stage.check(stage.broker.is_running, "the broker ended")
        full_ns = now_ns()
        # Longer than its lease, so that it was heartbeats that kept it.
        await stage.at_work(after_ns=full_ns + (LONG_LEASE_MS + LEASE_MS) * 1_000_000)
        stage.check(stage.is_kept(first), "a full disk cost a holder its role")
        stage.check(kept.is_active and kept.epoch == kept_epoch, "a full disk cost a client its role")
        # What is lost now cannot be given to another: that would have to be stored.
        killed_ns = await stage.worker_of(first).kill()
        await stage.watch(LEASE_MS)
        stage.check(stage.is_kept(first), "a role moved that could not be stored")
        filler.unlink()
        room_ns = now_ns()
        await _register_again(client)
        again_ms = (now_ns() - room_ns) / 1e6
        next_one = await stage.taken_over(first.epoch)
        stage.check(kept.is_active and kept.epoch == kept_epoch, "room on the disk cost a client its role")
        names = {one.instance_id for one in await queries.services(stage.reader, "bulk")}
        missing = [name for name in stored if name not in names]
        stage.check(not missing, f"{len(missing)} registrations that were acknowledged are gone")
    stage.notes.append(
        f"{len(stored)} registrations stored, then {type(refusal).__name__}; with room again the next one after "
        f"{again_ms:.0f} ms, and the role of an active that died meanwhile {(next_one.first_ns - killed_ns) / 1e6:.0f}"
        " ms after its death"
    )


async def repeated_refusals(stage: Stage) -> None:
    """Clients go on asking for what a full disk has no room for: a failover, which needs little, comes in its time."""
    _use_small_disk(stage)
    await stage.open(workers=2)
    filler = fill(stage.directory / "disk")
    first = await stage.at_work()
    asking = [asyncio.create_task(_ask_for_too_much(stage, name)) for name in ("one", "two", "three")]
    try:
        await stage.until(lambda: stage.broker.tail.count("commit.refused") >= len(asking), "too much is asked for")
        stopped_ns = await stage.worker_of(first).stop()
        next_one = await stage.taken_over(first.epoch)
        stage.check(not any(task.done() for task in asking), "they did not go on asking: this shows nothing")
        stage.notes.append(f"the next one at work {(next_one.first_ns - stopped_ns) / 1e6:.0f} ms after a stop")
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    filler.unlink()


async def _ask_for_too_much(stage: Stage, name: str) -> None:
    """Repeat a request that is refused, as a client does for as long as it may."""
    async with ServiceClient(stage.broker.ipc, lease_ms=_ASK_ON_MS, timeout_ms=_ASK_ON_MS) as client:
        await _write_batches(client, name)


def _use_small_disk(stage: Stage) -> None:
    """Have the broker keep its data on a disk that can be filled.

    Raises:
        SkippedError: There can be none here.
    """
    try:
        stage.broker.data = stage.use(small_disk(stage.directory / "disk", _DISK_BYTES)) / "data"
    except NoSmallDiskError as reason:
        raise SkippedError(f"no small disk here: {reason}") from reason


async def _write_until_refused(client: ServiceClient) -> tuple[list[str], TenureError | None]:
    """Register until the store refuses even the smallest change; what was acknowledged, and the refusal.

    One refusal, which the client repeats for less than a lease: each costs every session another hello.
    """
    stored: list[str] = []
    for number in range(_SINGLES_MAX):
        name = f"single-{number}"
        try:
            await client.register("bulk", instance_id=name, resource_id=name)
        except TenureError as refusal:
            return stored, refusal
        stored.append(name)
    return stored, None


async def _write_batches(client: ServiceClient, name: str) -> None:
    """Register as much at once as the store takes.

    Raises:
        StorageUnavailableError: It took no more.
    """
    for batch in range(_BATCHES_MAX):
        names = [f"{name}-{batch}-{number}" for number in range(_BATCH)]
        outcomes = await client.register_many(
            registration_request("bulk", instance_id=name, resource_id=name, metadata=_METADATA) for name in names
        )
        assert not any(isinstance(outcome, RequestRefusedError) for outcome in outcomes)


async def _register_again(client: ServiceClient) -> None:
    """Register, repeating what the store still refuses."""
    for attempt in range(_BATCHES_MAX):
        try:
            await client.register("again", instance_id=f"again-{attempt}", resource_id=f"again-{attempt}")
        except StorageUnavailableError:
            await turns()  # the client itself has tried for as long as it may
        else:
            return
    raise AssertionError("no registration came through although there is room again")
