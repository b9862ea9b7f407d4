"""Succession: who may fill a vacancy, in which order, and when a vacancy is looked at again."""

from __future__ import annotations

import pytest

from tenure.contract.messages import GivenUp
from tenure.contract.vocabulary import ServiceStatus
from tests.unit.scene import Scene

HEALTHY = ServiceStatus.HEALTHY
DEGRADED = ServiceStatus.DEGRADED


def test_the_higher_priority_comes_first() -> None:
    """Of two healthy standbys the one with the higher priority is promoted, though the other came first."""
    scene = Scene()
    a, b, c = (scene.client(name) for name in "abc")
    a.claim("r")
    b.stand_by("r", priority=1)
    c.stand_by("r", priority=2)
    assert scene.who("r") == "a | c b"

    scene.end_session(a)

    assert scene.who("r") == "c | b"


def test_the_longest_standing_comes_first() -> None:
    """Of equals the one that has stood by longest is promoted."""
    scene = Scene()
    a, b, c = (scene.client(name) for name in "abc")
    a.claim("r")
    b.stand_by("r")
    c.stand_by("r")

    scene.end_session(a)

    assert scene.who("r") == "b | c"


def test_standing_by_begins_anew_after_a_tenure() -> None:
    """Whoever was active stands at the end of the line afterwards."""
    scene = Scene()
    a, b, c = (scene.client(name) for name in "abc")
    held = a.claim("r")
    b.stand_by("r")
    c.stand_by("r")

    a.beat(HEALTHY, GivenUp(epoch=held.epoch))

    assert scene.who("r") == "b | c a"


def test_asking_again_keeps_the_place_in_line() -> None:
    """A standby that asks again with other properties has stood by as long as before."""
    scene = Scene()
    a, b, c = (scene.client(name) for name in "abc")
    a.claim("r")
    b.stand_by("r")
    c.stand_by("r")

    b.compete("r")

    assert scene.who("r") == "a | b c"


def test_healthy_comes_before_degraded() -> None:
    """A healthy standby is promoted before a degraded one of a higher priority."""
    scene = Scene()
    a, b, c = (scene.client(name) for name in "abc")
    a.claim("r")
    b.stand_by("r", priority=9)
    c.stand_by("r")
    b.beat(DEGRADED)
    assert scene.who("r") == "a | c b"

    scene.end_session(a)

    assert scene.who("r") == "c | b"


def test_a_degraded_standby_is_better_than_none() -> None:
    """With nobody healthy a degraded standby is promoted."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b", status=DEGRADED)
    a.claim("r")
    b.stand_by("r")

    scene.end_session(a)

    assert scene.who("r") == "b |"


@pytest.mark.parametrize("status", [ServiceStatus.STARTING, ServiceStatus.UNHEALTHY, ServiceStatus.DRAINING])
def test_who_is_not_fit_is_not_promoted(status: ServiceStatus) -> None:
    """A standby that is starting, unhealthy or draining is passed over; once it is fit it fills the vacancy."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b", status=status)
    a.claim("r")
    b.stand_by("r")

    scene.end_session(a)
    assert scene.who("r") == "- | b"

    b.beat(HEALTHY)
    assert scene.who("r") == "b |"


def test_who_was_never_heard_is_not_promoted() -> None:
    """A standby whose session has not sent a heartbeat yet is passed over until it does."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b", status=None)
    a.claim("r")
    b.stand_by("r")

    scene.end_session(a)
    assert scene.who("r") == "- | b"

    b.beat()
    assert scene.who("r") == "b |"


def test_who_is_late_is_not_promoted() -> None:
    """A standby whose heartbeats are overdue by half its lease is late: passed over until it is heard again."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.claim("r")
    b.stand_by("r")

    scene.pass_ms(1_001, a)
    assert scene.resource("r").standbys[0].status is ServiceStatus.LATE
    scene.end_session(a)
    assert scene.who("r") == "- | b"

    b.beat()
    assert scene.who("r") == "b |"


def test_half_a_lease_is_not_late() -> None:
    """After exactly half its lease a standby is still on time."""
    scene = Scene()
    a = scene.client("a")
    a.stand_by("r")

    scene.now_ms += 1_000
    assert scene.resource("r").standbys[0].status is ServiceStatus.HEALTHY


def test_an_active_that_turns_unhealthy_stays() -> None:
    """Health chooses among standbys; it takes no role away."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.claim("r")
    b.stand_by("r")

    a.beat(ServiceStatus.UNHEALTHY)

    assert scene.who("r") == "a | b"


def test_becoming_fit_fills_every_vacancy_that_waited() -> None:
    """A session that becomes fit is promoted wherever it may be, and only there."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b", status=ServiceStatus.STARTING)
    for resource_id in ("lost-1", "lost-2"):
        a.claim(resource_id)
        b.stand_by(resource_id)
    b.stand_by("never-had-one")
    scene.end_session(a)
    other = scene.client("other")
    other.claim("taken")
    b.compete("taken")

    b.beat()

    roles = [scene.who(resource_id) for resource_id in ("lost-1", "lost-2", "never-had-one", "taken")]
    assert roles == ["b |", "b |", "- | b", "other | b"]


def test_becoming_fit_promotes_the_best_of_a_session() -> None:
    """A session with several instances for one vacancy is promoted once, with its best."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b", status=ServiceStatus.STARTING)
    a.claim("r")
    b.stand_by("r", instance_id="b1", priority=1)
    b.stand_by("r", instance_id="b2", priority=2)
    scene.end_session(a)

    b.beat()

    assert scene.who("r") == "b2 | b1"


def test_staying_fit_looks_at_no_vacancy() -> None:
    """A heartbeat that changes nothing about fitness promotes nobody: whoever could fill a vacancy has."""
    scene = Scene()
    a = scene.client("a")
    a.resign(a.claim("r"))

    a.beat(DEGRADED)
    a.beat(HEALTHY)

    assert scene.who("r") == "- | a"


def test_order_of_succession_shows_who_may_not_at_present_last() -> None:
    """Readers see standbys in succession order, those that may not be promoted at present at the end."""
    scene = Scene()
    holder = scene.client("holder")
    holder.claim("r")
    for name, status, priority in (
        ("unfit", ServiceStatus.UNHEALTHY, 9),
        ("low", HEALTHY, 1),
        ("degraded", DEGRADED, 5),
        ("high", HEALTHY, 2),
    ):
        scene.client(name, status=status).stand_by("r", priority=priority)

    assert scene.who("r") == "holder | high low degraded unfit"


def test_many_standbys_of_one_vacancy_cost_their_number() -> None:
    """A session with n standbys of one vacant resource that turns fit looks at each once, not n times n."""
    scene = Scene()
    a = scene.client("a", status=ServiceStatus.UNHEALTHY)
    for number in range(50):
        a.stand_by("r", instance_id=f"a{number}")
    looked_at = _CountingDict(scene.registry.state.registrations)
    scene.registry.state.registrations = looked_at

    a.beat(HEALTHY)

    assert looked_at.count <= 3 * 50


class _CountingDict[K, V](dict[K, V]):
    """A dict that counts how often something is looked up in it."""

    count = 0

    def __getitem__(self, key: K) -> V:
        self.count += 1
        return super().__getitem__(key)
