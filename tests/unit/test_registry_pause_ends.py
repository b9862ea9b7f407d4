"""How long a pause lasts: its time by either clock, whatever becomes of the broker, unless somebody says otherwise."""

from __future__ import annotations

import pytest

from tenure.contract.events import ResourceResumedEvent
from tenure.contract.limits import PAUSE_MS_MIN
from tenure.contract.vocabulary import ChangeReason, ResumeReason
from tenure.domain.registry import Registry
from tests.unit.pauses import pause, promotions
from tests.unit.scene import Scene


def test_a_pause_ends_by_itself() -> None:
    """When its time is over the vacancy is filled in the same commit; not a millisecond sooner."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.claim("r")
    b.compete("r")
    pause(scene, for_ms=PAUSE_MS_MIN)
    scene.end_session(a)
    scene.now_ms += PAUSE_MS_MIN - 1
    assert not scene.registry.is_due(scene.now)
    assert scene.expire().events == ()
    scene.now_ms += 1
    assert scene.registry.is_due(scene.now)
    scene.expire()
    resumed = scene.last.events[0]
    assert isinstance(resumed, ResourceResumedEvent)
    assert (resumed.reason, resumed.by) == (ResumeReason.EXPIRED, "")
    assert promotions(scene) == [("b", ChangeReason.FAILOVER)]
    assert not scene.registry.is_due(scene.now)


def passes_within(scene: Scene, ms: int) -> bool:
    """Whether what is left of a pause passes in so many milliseconds by the lease clock, and not in one less."""
    scene.now_ms += ms - 1
    is_early = scene.registry.is_due(scene.now) or scene.expire().events != ()
    scene.now_ms += 1
    assert scene.registry.is_due(scene.now)
    ended = [event.reason for event in scene.expire().events if isinstance(event, ResourceResumedEvent)]
    return not is_early and ended == [ResumeReason.EXPIRED]


def test_a_time_of_day_that_is_set_back_makes_no_pause_longer() -> None:
    """★ It has lasted for as long as it was given for; said anew while the time of day is wrong, from then on."""
    scene = Scene()
    scene.client("a", lease_ms=600_000).claim("r")
    pause(scene, for_ms=5_000)
    scene.set_back_ms = 3_600_000
    scene.now_ms += 1_000
    assert passes_within(scene, 4_000)
    assert not scene.registry.is_due(scene.now)
    pause(scene, for_ms=60_000)
    pause(scene, for_ms=5_000)
    scene.set_back_ms *= 2
    assert passes_within(scene, 5_000)


def test_a_time_of_day_that_is_set_forward_makes_a_pause_shorter() -> None:
    """It ends at the time that was said, whichever is first."""
    scene = Scene()
    scene.client("a", lease_ms=600_000).claim("r")
    pause(scene, for_ms=5_000)
    scene.set_back_ms = -4_000
    assert passes_within(scene, 1_000)


@pytest.mark.parametrize(("set_back_ms", "left_ms"), [(0, 3_000), (1_000, 4_000), (3_600_000, 5_000), (-1_000, 2_000)])
def test_what_is_left_of_a_pause_after_a_restart_is_at_most_its_whole_length(set_back_ms: int, left_ms: int) -> None:
    """★ By the time of day, which is all that outlives a broker: set back, it makes the pause no longer than it was."""
    scene = Scene()
    scene.client("a", lease_ms=600_000).claim("r")
    pause(scene, for_ms=5_000)
    scene.now_ms += 2_000
    scene.set_back_ms = set_back_ms
    scene.restart()
    assert passes_within(scene, left_ms)


def test_a_store_that_refuses_makes_no_pause_longer() -> None:
    """★ The registry is loaded again, and goes on from how long pauses have lasted, if they were stored."""
    scene = Scene()
    a = scene.client("a", lease_ms=600_000)
    for resource_id in "rst":
        a.claim(resource_id)
    pause(scene, "r", for_ms=5_000)
    pause(scene, "s", for_ms=60_000)
    scene.set_back_ms = 3_600_000
    scene.now_ms += 2_000
    stored, before = scene.ledger.stored(), scene.registry
    pause(scene, "s", for_ms=1_000)
    pause(scene, "t", for_ms=1_000)

    scene.registry = Registry(stored, scene.now)
    scene.registry.keep_times(before)

    assert passes_within(scene, 3_000)
    assert scene.resource("r").pause is None
    assert scene.resource("s").pause is not None


def test_to_pause_again_says_anew_who_why_and_until_when() -> None:
    """Whether it is to end later or earlier: the newest word counts."""
    scene = Scene()
    b = scene.client("b", lease_ms=600_000)
    b.claim("r")
    pause(scene, for_ms=5_000)
    later = pause(scene, for_ms=50_000, by="bob", why="other work")
    assert scene.resource("r").pause == later
    assert (later.by, later.why) == ("bob", "other work")
    scene.now_ms += 6_000
    assert scene.expire().events == ()
    pause(scene, for_ms=1_000)
    scene.now_ms += 1_000
    assert [type(event) for event in scene.expire().events] == [ResourceResumedEvent]


def test_many_pauses_end_in_parts() -> None:
    """A look at what is due ends no more of them than it may, and there is something due until all have ended."""
    scene = Scene()
    a = scene.client("a", lease_ms=600_000)
    for resource_id in "rst":
        a.claim(resource_id)
        pause(scene, resource_id, for_ms=1_000)
    scene.now_ms += 1_000
    ended = [len(scene.expire(registrations_max=3).events) for _ in range(3)]
    assert ended == [2, 1, 0]
    assert not scene.registry.is_due(scene.now)
