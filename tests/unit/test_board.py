"""The resources sorted by trouble: whatever has changed, as if all had been looked at anew."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from tenure.cli.board import Board, Trouble
from tenure.contract.interventions import PauseResource
from tenure.contract.vocabulary import ServiceStatus
from tests.unit.replica_stage import copy_of, presence_of
from tests.unit.scene import Scene
from tests.unit.stories import Step, Story, occurrences


def board_of(scene: Scene) -> Board:
    """A board that is as new as the scene."""
    board = Board()
    board.begin(copy_of(scene))
    board.observe(presence_of(scene))
    board.refresh()
    return board


def troubled() -> Scene:
    """Six resources, each with another trouble, the least troubled first by name."""
    scene = Scene()
    well, sick, late = scene.client("well"), scene.client("sick"), scene.client("late")
    well.claim("a-well")
    scene.client("b").stand_by("a-well")
    well.claim("b-alone")
    sick.beat(ServiceStatus.DEGRADED)
    sick.claim("c-sick")
    scene.client("c").stand_by("c-sick")
    late.claim("d-late")
    late.beat(margin_ms=1)
    well.claim("cc-paused")
    scene.ask(PauseResource(resource_id="cc-paused", why="a test", for_ms=60_000))
    scene.client("d", status=ServiceStatus.UNHEALTHY).stand_by("e-vacant")
    return scene


def test_the_worst_trouble_comes_first() -> None:
    """Nobody active, at risk, paused, not healthy, no standby ready, and then those that are well."""
    board = board_of(troubled())
    assert board.ids() == ["e-vacant", "d-late", "cc-paused", "c-sick", "b-alone", "a-well"]
    assert dict(board.counts()) == dict.fromkeys(Trouble, 1)


def test_all_that_are_paused_are_counted() -> None:
    """Also those that have a worse trouble: that nobody is active for them is what the pause is about."""
    scene = troubled()
    scene.ask(PauseResource(resource_id="e-vacant", why="a test", for_ms=60_000))
    counts = board_of(scene).counts()
    assert (counts[Trouble.NOBODY_ACTIVE], counts[Trouble.PAUSED]) == (1, 2)


def test_a_filter_finds_parts_of_any_name() -> None:
    """Of resources, services and instances, whichever the case of its letters."""
    board = board_of(troubled())
    assert board.ids("LATE") == ["d-late"]
    assert board.ids("svc/well") == ["cc-paused", "b-alone", "a-well"]
    assert board.ids("no such name") == []


def test_only_what_changed_is_looked_at_anew() -> None:
    """A heartbeat that says what the one before said changes nothing, another one its session's resources alone."""
    scene = troubled()
    board = board_of(scene)
    board.observe(presence_of(scene))
    assert board.refresh() == []
    presence = presence_of(scene)
    view = board.view("a-well")
    assert view is not None
    assert view.active is not None
    session = view.active.session
    board.observe({**presence, session: structs.replace(presence[session], margin_ms=1)})
    assert board.refresh() == ["a-well", "b-alone", "cc-paused"]
    assert board.ids()[1:5] == ["a-well", "b-alone", "cc-paused", "d-late"]


def test_a_board_of_one_service_shows_who_else_competes() -> None:
    """A resource that the service has an instance for is shown whole; others are not."""
    scene = troubled()
    board = Board("svc")
    board.begin(copy_of(scene))
    board.refresh()
    assert len(board) == 6
    other = Board("other")
    other.begin(copy_of(scene))
    other.refresh()
    assert len(other) == 0


@settings(max_examples=100)
@given(st.lists(st.lists(occurrences, max_size=12), max_size=4))
def test_it_is_as_if_all_had_been_looked_at(portions: list[list[Step]]) -> None:
    """Whatever happens, in whichever portions it is noticed."""
    story = Story()
    board = board_of(story.scene)
    seen = len(story.scene.events)
    for steps in portions:
        story.happen(steps)
        for event in story.scene.events[seen:]:
            board.replica.apply(event)
            board.apply(event)
        seen = len(story.scene.events)
        board.observe(presence_of(story.scene))
        board.refresh()
        anew = board_of(story.scene)
        assert (board.ids(), board.counts()) == (anew.ids(), anew.counts())
        for resource_id in board.ids():
            assert board.view(resource_id) == story.scene.resource(resource_id)
