"""Between an active and the broker is a link that is slow, cut, or silent in one direction."""

from __future__ import annotations

from tenure.contract.vocabulary import ChangeReason
from tests.chaos.ledger import Stint
from tests.chaos.proxy import Proxy
from tests.chaos.stage import LEASE_MS, LONG_LEASE_MS, Stage


async def slow_link(stage: Stage) -> None:
    """A link that delays a little, and then longer than a lease: the role moves, and never before the deadline."""
    link, first = await remote_active(stage)
    for direction in link.directions:
        direction.delay_ms = stage.random.uniform(10, 50)
    heard_bytes = link.from_broker.passed_bytes
    await stage.until(lambda: link.from_broker.passed_bytes > heard_bytes + 500, "heartbeats are answered")
    is_kept = stage.is_kept(first)
    stage.notes.append(f"{sum(d.delay_ms for d in link.directions):.0f} ms there and back: {is_kept=}")
    link.to_broker.delay_ms = 2 * LEASE_MS
    await stage.taken_over(first.epoch)


async def held_link(stage: Stage) -> None:
    """Everything between them arrives late, when another is active: neither side takes it for news."""
    link, first = await remote_active(stage)
    for direction in link.directions:
        direction.hold()
    second = await stage.taken_over(first.epoch)
    stage.check(await stage.why_ended(first.epoch) is ChangeReason.EXPIRED, "the role did not move by silence")
    link.heal()
    await stage.standing_by(1)
    stage.look()
    stage.check_silence(first, second.first_ns)


async def deaf_link(stage: Stage) -> None:
    """Only the way to the broker is cut: it hears nothing and waits for the lease, and the holder stops before that."""
    link, first = await remote_active(stage)
    link.to_broker.drop()
    second = await stage.taken_over(first.epoch)
    stage.check(await stage.why_ended(first.epoch) is ChangeReason.EXPIRED, "the role did not move by silence")
    link.heal()
    await stage.standing_by(1)
    stage.look()
    stage.check_silence(first, second.first_ns)


async def mute_link(stage: Stage) -> None:
    """Only the way from the broker is cut: it hears heartbeats, whose sender stops because no answer comes."""
    link, first = await remote_active(stage)
    link.from_broker.drop()
    second = await stage.taken_over(first.epoch)
    link.heal()
    await stage.standing_by(1)
    stage.look()
    stage.check_silence(first, second.first_ns)


async def cut_link(stage: Stage) -> None:
    """Connections are cut again and again: new ones take their place, and the role is kept."""
    link, first = await remote_active(stage, lease_ms=LONG_LEASE_MS)
    for _ in range(5):
        heard_bytes = link.from_broker.passed_bytes
        link.cut()
        await stage.until(lambda heard=heard_bytes: link.from_broker.passed_bytes > heard + 200, "it is back")  # type: ignore[misc]
    await stage.at_work()
    stage.check(stage.is_kept(first), "cut connections cost the role")


async def remote_active(stage: Stage, lease_ms: int = LEASE_MS) -> tuple[Proxy, Stint]:
    """An active over a link, and a standby over another one."""
    await stage.open()
    links = [await stage.link() for _ in range(2)]
    await stage.add_worker(links[0], lease_ms)
    first = await stage.at_work()
    await stage.add_worker(links[1], lease_ms)
    await stage.standing_by(1)
    first = await stage.at_work()  # the role may have moved
    if stage.worker_of(first).name != "worker0":
        links.reverse()
    return links[0], first
