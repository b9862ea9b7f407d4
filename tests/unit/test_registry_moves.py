"""What people are told of a move: when the old holder was heard, when and why its tenure ended, who came, and when."""

from __future__ import annotations

import pytest

from tenure.contract.errors import InstanceAliveError, InvalidRequestError, LimitExceededError, NotFoundError
from tenure.contract.events import DeregisteredEvent, SessionClosedEvent
from tenure.contract.interventions import ExpireSession, SessionEnded, Switchover
from tenure.contract.limits import GIVEN_UP_MAX
from tenure.contract.messages import Entered, Heartbeat
from tenure.contract.views import Presence
from tenure.contract.vocabulary import ChangeReason, ServiceRole, ServiceStatus
from tests.unit.scene import LEASE_MS, Scene

ACTIVE = ServiceRole.ACTIVE


def test_a_failover_is_timed_from_the_last_heartbeat_to_the_first_activity() -> None:
    """Last heard, ended, promoted, committed and entered: all by the broker's clock, in this order."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    held = a.claim("r")
    b.stand_by("r")
    a.beat()
    heard_ms = scene.now.unix_ms
    scene.is_committing = False
    scene.pass_ms(LEASE_MS, b)
    ended_ms = scene.now.unix_ms
    scene.now_ms += 5
    scene.commit()
    scene.now_ms += 10
    epoch = next(iter(scene.registry.state.sessions[b.session].tenures))
    b.beat(entered=(Entered(epoch=epoch, ago_ms=3), Entered(epoch=10**6, ago_ms=0)))

    (move,) = scene.moves("r")

    assert (move.old_epoch, move.old_instance_id, move.end_reason) == (held.epoch, "a", ChangeReason.EXPIRED)
    assert (move.new_epoch, move.new_instance_id, move.lease_ms) == (epoch, "b", LEASE_MS)
    assert (move.last_heard_ms, move.ended_ms, move.promoted_ms) == (heard_ms, ended_ms, ended_ms)
    assert (move.committed_ms, move.entered_ms, move.gap_ms) == (ended_ms + 5, ended_ms + 12, 12)


def test_the_first_word_on_an_entry_counts() -> None:
    """A heartbeat whose answer was lost says the same again, later."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.claim("r")
    b.stand_by("r")
    a.goodbye()
    epoch = scene.resource("r").last_epoch
    b.beat(entered=(Entered(epoch=epoch, ago_ms=0),))
    scene.now_ms += 100

    b.beat(entered=(Entered(epoch=epoch, ago_ms=90),))

    assert scene.moves("r")[-1].gap_ms == 0


@pytest.mark.parametrize("ago_ms", [8, 2_000, 2**53])
def test_nobody_was_active_before_it_was_granted(ago_ms: int) -> None:
    """★ A client whose clock or word is wrong makes no gap that cannot have been: the grant was durable first."""
    scene = Scene(is_committing=False)
    a, b = scene.client("a"), scene.client("b")
    a.claim("r")
    b.stand_by("r")
    scene.commit()
    a.goodbye()
    scene.now_ms += 5
    scene.commit()
    scene.now_ms += 7
    epoch = scene.registry.state.resources["r"].last_epoch
    b.beat(entered=(Entered(epoch=epoch, ago_ms=ago_ms), Entered(epoch=epoch, ago_ms=0)))

    assert scene.moves("r")[-1].gap_ms == 5


def test_a_vacancy_is_a_move_that_is_not_complete() -> None:
    """Until somebody is promoted nothing is known of the new tenure, nor of a gap."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b", status=None)
    held = a.claim("r")
    b.stand_by("r")

    a.resign(held)
    (move,) = scene.moves("r")
    assert (move.new_epoch, move.gap_ms) == (0, None)

    scene.now_ms += 50
    b.beat()
    (move,) = scene.moves("r")
    assert (move.new_instance_id, move.promoted_ms - move.ended_ms) == ("b", 50)


def test_a_claim_that_takes_a_role_over_is_told_so() -> None:
    """Its holder is to tell when it entered; a first tenure follows on nothing, and a standby has none."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    first = a.claim("r")
    standby = a.stand_by("other")
    a.resign(first)

    second = b.claim("r")

    assert (first.previous_epoch, standby.previous_epoch) == (0, 0)
    assert (second.previous_epoch, scene.moves("r")[-1].new_epoch) == (first.epoch, second.epoch)
    assert b.claim("r").previous_epoch == first.epoch


def test_a_switchover_says_when_it_was_asked_for() -> None:
    """The time from asking to the acknowledgement is the drain."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    held = a.claim("r")
    b.stand_by("r")
    scene.ask(Switchover(resource_id="r", epoch=held.epoch, drain_ms=500))
    scene.now_ms += 300

    a.resign(held)

    (move,) = scene.moves("r")
    assert (move.end_reason, move.ended_ms - move.asked_ms) == (ChangeReason.SWITCHOVER, 300)


def test_only_the_newest_moves_are_kept() -> None:
    """Eight of a resource, and none of one that nobody is registered for."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    for client in (a, b):
        client.compete("r")
    for _ in range(5):
        for client in (a, b):
            held = client.compete("r")
            client.resign(held)
            client.compete("r")

    moves = scene.moves("r")
    assert len(moves) == 8
    assert [move.old_epoch for move in moves] == sorted(move.old_epoch for move in moves)
    a.goodbye()
    b.goodbye()
    assert scene.registry.state.resources["r"].moves == ()


def test_a_commit_after_the_resource_was_left() -> None:
    """A promotion whose commit is reported when nobody is registered any more is no news."""
    scene = Scene(is_committing=False)
    a, b = scene.client("a"), scene.client("b")
    scene.commit()
    held = a.claim("r")
    b.stand_by("r")
    a.resign(held)
    a.goodbye()
    b.goodbye()
    del scene.registry.state.resources["r"]

    scene.commit()

    assert scene.registry.committed_revision == scene.registry.revision


def test_a_person_vouches_for_a_death() -> None:
    """The session ends at once, others take over, and the events say who said so."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    a.claim("r", hold_limit_ms=60_000)
    b.stand_by("r")
    scene.pass_ms(LEASE_MS / 2 + 1, b)

    reply = scene.ask(ExpireSession(session=a.session, by="ada"), identity="uid:7")

    assert reply == SessionEnded(session=a.session, registration_count=1)
    ended, closed = scene.last.events[:2]
    assert scene.who("r") == "b |"
    assert isinstance(ended, DeregisteredEvent)
    assert isinstance(closed, SessionClosedEvent)
    assert (ended.reason, ended.by, ended.silent_ms) == (ChangeReason.CONFIRMED_DEAD, "ada (uid:7)", LEASE_MS // 2 + 1)
    assert (closed.reason, closed.by) == (ChangeReason.CONFIRMED_DEAD, "ada (uid:7)")
    with pytest.raises(NotFoundError):
        scene.ask(ExpireSession(session=a.session))


def test_nobody_can_vouch_for_the_death_of_one_who_is_heard() -> None:
    """★ A word against the heartbeats is a mistake that would make two actives: nothing is done."""
    scene = Scene()
    a = scene.client("a")
    a.claim("r")
    scene.now_ms += LEASE_MS / 2

    with pytest.raises(InstanceAliveError, match="was heard 1000 ms ago"):
        scene.ask(ExpireSession(session=a.session))

    assert scene.who("r") == "a |"


def test_of_one_who_was_not_heard_since_the_broker_started_nobody_says_that_it_was() -> None:
    """What a broker knows of a session that it has loaded is when it did so: its silence counts from there."""
    scene = Scene()
    a = scene.client("a")
    a.claim("r", hold_limit_ms=60_000)
    scene.now_ms += 10_000
    scene.restart()
    scene.now_ms += 700

    with pytest.raises(InstanceAliveError, match="has sent no heartbeat since this broker came to know it, 700 ms ago"):
        scene.ask(ExpireSession(session=a.session))

    scene.now_ms += LEASE_MS / 2
    scene.ask(ExpireSession(session=a.session))
    assert scene.registry.state.sessions == {}


@pytest.mark.parametrize("request_", [ExpireSession(session=0), ExpireSession(session=1, by="\n")])
def test_words_that_are_not_allowed(request_: ExpireSession) -> None:
    """Refused by name."""
    with pytest.raises(InvalidRequestError):
        Scene().ask(request_)


def test_risk_travels_with_heartbeats_and_is_shown() -> None:
    """How late an application's loop is and how much lease was left: by instance, and for all sessions."""
    scene = Scene()
    a = scene.client("a")
    a.claim("r")
    assert (active := scene.resource("r").active) is not None
    assert (active.loop_lag_ms, active.margin_ms, active.is_at_risk) == (None, None, False)

    a.beat(loop_lag_ms=7, margin_ms=900)

    assert (active := scene.resource("r").active) is not None
    assert (active.loop_lag_ms, active.margin_ms, active.is_at_risk) == (7, 900, True)
    a.beat(loop_lag_ms=LEASE_MS // 2 + 1, margin_ms=1_600)
    assert (active := scene.resource("r").active) is not None
    assert active.is_at_risk
    a.beat(loop_lag_ms=7, margin_ms=1_600)
    scene.now_ms += LEASE_MS / 2 + 1
    assert (active := scene.resource("r").active) is not None
    assert (active.status, active.is_at_risk) == (ServiceStatus.LATE, True)


def test_risk_is_shown_for_all_sessions() -> None:
    """A page of presence has it too."""
    scene = Scene()
    a = scene.client("a")
    a.beat(loop_lag_ms=7, margin_ms=900)

    (presence,) = scene.presence()

    assert presence == Presence(
        session=a.session, status=ServiceStatus.HEALTHY, lease_left_ms=LEASE_MS, loop_lag_ms=7, margin_ms=900
    )


@pytest.mark.parametrize(
    ("heartbeat", "kind"),
    [
        (Heartbeat(sequence=2, entered=(Entered(epoch=1, ago_ms=-1),)), InvalidRequestError),
        (Heartbeat(sequence=2, entered=(Entered(epoch=1, ago_ms=0),) * (GIVEN_UP_MAX + 1)), LimitExceededError),
        (Heartbeat(sequence=2, loop_lag_ms=-1), InvalidRequestError),
        (Heartbeat(sequence=2, margin_ms=-1), InvalidRequestError),
    ],
)
def test_a_heartbeat_that_says_what_cannot_be(
    heartbeat: Heartbeat, kind: type[InvalidRequestError | LimitExceededError]
) -> None:
    """It is refused, and renews nothing."""
    scene = Scene()
    a = scene.client("a")
    scene.now_ms += 100

    with pytest.raises(kind):
        a.ask(heartbeat)

    assert scene.registry.state.sessions[a.session].last_heard_ms == 1_000
