"""What is kept and shown of pauses, and what is refused."""

from __future__ import annotations

import pytest

from tenure.contract.errors import InvalidRequestError, LimitExceededError, NotFoundError, StoreRolledBackError
from tenure.contract.interventions import PauseResource, ResumeResource
from tenure.contract.limits import PAUSE_MS_MAX, PAUSE_MS_MIN, WHY_BYTES_MAX
from tenure.contract.messages import ClientMessage, ListServices
from tenure.domain.limits import RegistryLimits
from tests.unit.pauses import pause, resume
from tests.unit.scene import Scene


def test_a_pause_outlives_brokers_and_registrations() -> None:
    """It keeps its resource known while nobody is registered; whoever comes then finds it paused."""
    scene = Scene()
    a = scene.client("a")
    held = a.claim("r")
    paused = pause(scene)
    a.deregister(held)
    scene.restart()
    view = scene.resource("r")
    assert (view.active, view.standbys, view.pause) == (None, (), paused)
    assert scene.moves("r") == ()
    scene.client("b").stand_by("r")
    assert scene.who("r") == "- | b"
    assert resume(scene) == paused
    assert scene.who("r") == "b |"


def test_a_resource_that_never_had_an_active_may_be_paused_and_be_empty() -> None:
    """What was known of it goes with its last registration; its pause is shown all the same, and may be said anew."""
    scene = Scene()
    a = scene.client("a")
    a.deregister(a.stand_by("r"))
    with pytest.raises(NotFoundError, match="nobody is registered"):
        pause(scene)
    waiting = a.stand_by("r")
    pause(scene)
    a.deregister(waiting)
    assert scene.resource("r").last_epoch == 0
    assert pause(scene, why="still") == scene.resource("r").pause
    scene.now_ms += 60_000
    scene.expire()
    with pytest.raises(NotFoundError):
        scene.resource("r")


def test_what_is_not_paused_cannot_be_resumed_and_what_is_unknown_not_be_paused() -> None:
    """Both are refused and change nothing."""
    scene = Scene()
    with pytest.raises(NotFoundError, match="nobody is registered"):
        pause(scene)
    scene.client("a").claim("r")
    with pytest.raises(NotFoundError, match="is not paused"):
        resume(scene)


def test_the_first_page_of_a_snapshot_has_the_pauses() -> None:
    """All of them, or that of the resource asked for; later pages have none."""
    scene = Scene()
    a = scene.client("a")
    for resource_id in ("r", "s", "t"):
        a.claim(resource_id)
    first, second = pause(scene, "r"), pause(scene, "s")
    page = scene.page(ListServices(limit=2))
    assert page.pauses == (first, second)
    assert page.next_after is not None
    assert scene.page(ListServices(after=page.next_after)).pauses == ()
    assert scene.page(ListServices(resource_id="s")).pauses == (second,)
    assert scene.page(ListServices(resource_id="t")).pauses == ()


def test_there_is_a_limit_to_pauses() -> None:
    """One more is refused; one that is there may be said anew."""
    scene = Scene(RegistryLimits(pauses_max=1))
    a = scene.client("a")
    a.claim("r")
    a.claim("s")
    pause(scene, "r")
    with pytest.raises(LimitExceededError, match="pauses_max"):
        pause(scene, "s")
    pause(scene, "r")
    resume(scene, "r")
    pause(scene, "s")


@pytest.mark.parametrize(
    "question",
    [
        PauseResource(resource_id="", why="work"),
        PauseResource(resource_id="r", why=""),
        PauseResource(resource_id="r", why="w" * (WHY_BYTES_MAX + 1)),
        PauseResource(resource_id="r", why="two\nlines"),
        PauseResource(resource_id="r", why="work", for_ms=PAUSE_MS_MIN - 1),
        PauseResource(resource_id="r", why="work", for_ms=PAUSE_MS_MAX + 1),
        PauseResource(resource_id="r", why="work", by="b" * 256),
        ResumeResource(resource_id=""),
        ResumeResource(resource_id="r", by="b" * 256),
    ],
)
def test_values_out_of_their_range_are_refused(question: ClientMessage) -> None:
    """The message names the field."""
    scene = Scene()
    scene.client("a").claim("r")
    with pytest.raises(InvalidRequestError):
        scene.ask(question)


def test_an_old_copy_of_a_store_is_not_written_to() -> None:
    """A broker whose store is behind what a client has seen neither pauses nor resumes."""
    scene = Scene()
    a = scene.client("a")
    a.claim("r")
    pause(scene)
    with pytest.raises(StoreRolledBackError):
        a.beat(last_revision=10_000)
    with pytest.raises(StoreRolledBackError):
        pause(scene)
    with pytest.raises(StoreRolledBackError):
        resume(scene)
