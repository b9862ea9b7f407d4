"""How many switchovers may be under way, and that nobody pays for those of others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import override

import pytest

from tenure.contract.errors import (
    LimitExceededError,
)
from tenure.contract.interventions import CancelSwitchover, Switchover, SwitchoverStarted
from tenure.contract.limits import DRAIN_MS_MAX
from tenure.domain.limits import RegistryLimits
from tenure.domain.state import Switchover as UnderWay
from tests.unit.planned import Planned
from tests.unit.scene import Scene


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        (RegistryLimits(switchovers_max=2), "switchovers_max"),
        (RegistryLimits(switchovers_per_session_max=2), "switchovers_per_session_max"),
    ],
)
def test_only_so_many_are_under_way(limits: RegistryLimits, named: str) -> None:
    """Each is kept, and repeated to its holder with every heartbeat: their number is bounded, until some have ended."""
    scene = Scene(limits)
    a, b = scene.client("a"), scene.client("b")
    asks = [Switchover(resource_id=each, epoch=a.claim(each).epoch, drain_ms=DRAIN_MS_MAX) for each in "rst"]
    for ask in asks:
        b.stand_by(ask.resource_id)
    for ask in asks[:2]:
        scene.ask(ask)

    with pytest.raises(LimitExceededError, match=named) as refused:
        scene.ask(asks[2])

    assert refused.value.info.limit == 2
    scene.ask(asks[0])
    scene.ask(CancelSwitchover(resource_id=asks[0].resource_id, epoch=asks[0].epoch))
    scene.ask(asks[2])


def test_others_have_room_for_switchovers() -> None:
    """What one session is asked for keeps nobody else's role from being moved."""
    scene = Scene(RegistryLimits(switchovers_per_session_max=1))
    a, b, c = (scene.client(name) for name in "abc")
    for holder, resource_id in ((a, "r"), (b, "s")):
        epoch = holder.claim(resource_id).epoch
        c.stand_by(resource_id)
        assert isinstance(scene.ask(Switchover(resource_id=resource_id, epoch=epoch)), SwitchoverStarted)


class _NotWalked(dict[str, UnderWay]):
    """A mapping that is only ever asked for one of its keys."""

    @override
    def __iter__(self) -> Iterator[str]:
        raise AssertionError("all of them were looked at")

    values = items = keys = __iter__  # type: ignore[assignment]


def test_nobody_pays_for_what_others_are_asked() -> None:
    """★ With 1,000 switchovers of others under way a heartbeat and a look at the leases look at none of them."""
    scene = Scene()
    a, b, other = (scene.client(name, lease_ms=600_000) for name in ("a", "b", "other"))
    for number in range(100):
        epoch = a.claim(f"r{number}").epoch
        b.stand_by(f"r{number}")
        scene.ask(Switchover(resource_id=f"r{number}", epoch=epoch, drain_ms=DRAIN_MS_MAX))
    mine = other.claim("mine")
    switchovers = scene.registry.state.switchovers
    switchovers.by_resource = _NotWalked(switchovers.by_resource)

    ack = other.beat()
    assert (ack.confirmed, ack.asked) == ((mine.epoch,), ())
    scene.expire()
    assert scene.registry.next_expiry_ms == scene.now_ms + 600_000
    assert len(a.beat().asked) == 100


def test_asking_and_calling_off_in_a_loop_fills_no_memory() -> None:
    """★ The times of what was called off are forgotten, and a drain that is shortened is over when it says."""
    planned = Planned()
    for _ in range(1_000):
        planned.start(drain_ms=DRAIN_MS_MAX)
        planned.cancel()
    planned.start(drain_ms=1_000)
    for drain_ms in range(999, 99, -1):
        planned.start(drain_ms=drain_ms)
    deadlines = planned.scene.registry.state.switchovers._deadlines  # pyright: ignore[reportPrivateUsage]
    assert len(deadlines) <= 3

    planned.scene.pass_ms(99, planned.a, planned.b)
    assert planned.a.beat().confirmed == (planned.held.epoch,)
    planned.scene.pass_ms(1, planned.b)
    assert planned.a.beat().confirmed == ()
