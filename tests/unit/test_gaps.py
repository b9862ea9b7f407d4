"""How long nobody was active in a move: as exact as the end of the old tenure is known, and never more."""

from __future__ import annotations

import pytest
from msgspec import structs

from tenure.contract.views import Move
from tenure.contract.vocabulary import ChangeReason
from tenure.sdk.timeline import Story, how_long_nobody, is_told, stories
from tests.unit.scene import LEASE_MS, Scene

MOVED = Move(
    old_epoch=41,
    old_instance_id="a",
    end_reason=ChangeReason.EXPIRED,
    lease_ms=2_000,
    last_heard_ms=10_000,
    ended_ms=12_000,
    new_epoch=50,
    new_instance_id="b",
    promoted_ms=12_000,
    committed_ms=12_001,
    entered_ms=12_004,
)


@pytest.mark.parametrize(("reason", "last_heard_ms", "said"), [
    (ChangeReason.EXPIRED, 10_000, "nobody was active for at least 4 and at most 2,004 ms"),
    (ChangeReason.REVOKED, 10_000, "nobody was active for at least 4 and at most 2,004 ms"),
    (ChangeReason.CONFIRMED_DEAD, 10_000, "nobody was active for at least 4 and at most 2,004 ms"),
    (ChangeReason.EXPIRED, 0, "nobody was active for at least 4 ms"),
    (ChangeReason.DIED, 12_000, "nobody was active for 4 ms"),
    (ChangeReason.DIED, 11_000, "nobody was active for at least 4 and at most 1,004 ms"),
    (ChangeReason.DIED, 0, "nobody was active for at least 4 ms"),
    (ChangeReason.GOODBYE, 0, "nobody was active for at least 4 ms"),
    (ChangeReason.GOODBYE, 12_000, "nobody was active for 4 ms"),
    (ChangeReason.RESTORED, 0, None),
])  # fmt: skip
def test_how_long_nobody_was_active_is_as_exact_as_the_end_is_known(
    reason: ChangeReason, last_heard_ms: int, said: str | None
) -> None:
    """★ Who fell silent may have been gone since it was heard last: the gap is a range, as its tenure is."""
    move = structs.replace(MOVED, end_reason=reason, last_heard_ms=last_heard_ms)

    (story,) = stories([move], [], 3)

    assert told_gap(story) == said


def test_who_was_promoted_and_never_active_ended_no_vacancy() -> None:
    """★ Nobody was active while it held the role either: the next gap has no upper end that is known."""
    never = structs.replace(MOVED, entered_ms=0)
    then = structs.replace(
        MOVED, old_epoch=50, old_instance_id="b", last_heard_ms=11_999, ended_ms=14_000, new_epoch=60, entered_ms=14_009
    )

    first, second = stories([never, then], [], 3)

    assert told_gap(first) is None
    assert told_gap(second) == "nobody was active for at least 9 ms"


def test_the_gap_of_a_move_that_only_events_tell_is_told_as_about() -> None:
    """★ The longest vacancies are those that outlived the broker, or everybody: the promotion ends them, about."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.claim("r")
    b.stand_by("r")
    b.goodbye()
    scene.pass_ms(LEASE_MS)
    scene.now_ms += 246_000
    scene.client("c").compete("r")
    assert scene.moves("r") == ()
    events = [event for event in scene.events if is_told(event)]

    (story,) = stories((), events, 3)

    assert told_gap(story) == "nobody was active for at least about 246,000 and at most about 248,000 ms"
    (vacant,) = stories((), events[:-1], 3)
    assert (vacant.new_epoch, told_gap(vacant), vacant.is_gap_about) == (0, None, False)


def told_gap(story: Story) -> str | None:
    """How long nobody was active, in words; None if that is not known."""
    if story.gap_ms is None:
        return None
    return how_long_nobody(story.gap_ms, story.gap_max_ms, is_about=story.is_gap_about)
