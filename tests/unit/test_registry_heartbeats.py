"""Heartbeats: what an acknowledgement confirms, what it never does, and how tenures are given up."""

from __future__ import annotations

import pytest

from tenure.contract.errors import ErrorCode, InvalidRequestError, LimitExceededError
from tenure.contract.events import RoleChangedEvent, StatusChangedEvent
from tenure.contract.limits import GIVEN_UP_MAX
from tenure.contract.messages import ErrorReply, GivenUp, Heartbeat, HeartbeatAck, RoleStatement
from tenure.contract.vocabulary import ChangeReason, ServiceRole, ServiceStatus
from tenure.domain.registry import Origin
from tests.unit.scene import Scene


def test_an_acknowledgement_waits_for_nothing() -> None:
    """A heartbeat's answer is immediate; every other answer waits for the commit of what it was computed from."""
    scene = Scene()
    a = scene.client("a")

    a.beat()
    assert scene.last.is_immediate
    a.claim("r")
    assert not scene.last.is_immediate


def test_a_refused_heartbeat_waits() -> None:
    """That a session has ended is computed from the decision, so that this answer waits for its commit."""
    scene = Scene()
    a = scene.client("a")
    a.goodbye()

    decision = scene.registry.apply(Heartbeat(sequence=9), Origin(session=a.session), scene.now)

    assert isinstance(decision.reply, ErrorReply)
    assert decision.reply.error.code is ErrorCode.SESSION_EXPIRED
    assert not decision.is_immediate


def test_a_grant_counts_from_its_commit() -> None:
    """★ An epoch that is decided but not committed is neither confirmed nor stated."""
    scene = Scene(is_committing=False)
    a = scene.client("a")
    scene.commit()
    held = a.claim("r")

    early = a.beat()
    scene.commit()
    later = a.beat()

    assert (early.confirmed, early.statements) == ((), ())
    assert later.confirmed == (held.epoch,)
    assert later.statements == (
        RoleStatement(
            registration_id=held.registration_id, role=ServiceRole.ACTIVE, epoch=held.epoch, revision=held.revision
        ),
    )


def test_a_revocation_counts_from_its_decision() -> None:
    """★ An epoch whose end is decided but not committed is not confirmed any more."""
    scene = Scene()
    a = scene.client("a")
    held = a.claim("r")
    assert a.beat().confirmed == (held.epoch,)
    scene.is_committing = False

    a.resign(held)

    ack = a.beat()
    assert ack.confirmed == ()
    assert ack.revision < scene.registry.revision


def test_only_own_tenures_are_confirmed() -> None:
    """A heartbeat confirms the session's own tenures, all of them, and nobody else's."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    epochs = [a.claim("r1").epoch, a.claim("r2").epoch]
    b.claim("r3")

    assert a.beat().confirmed == tuple(epochs)


def test_statements_are_about_what_is_newer() -> None:
    """A heartbeat is told the roles that are newer than what its session has applied, once."""
    scene = Scene()
    a = scene.client("a")
    standing = a.stand_by("r1")
    a.beat()
    held = a.claim("r2")

    first, second = a.beat(), a.beat()

    assert standing.revision < held.revision
    assert [statement.registration_id for statement in first.statements] == [held.registration_id]
    assert second.statements == ()


def test_a_lost_acknowledgement_is_made_up_for() -> None:
    """A session that has not applied an answer is told the same again."""
    scene = Scene()
    a = scene.client("a")
    a.claim("r")

    first = a.beat()
    a.applied_revision = 0
    second = a.beat()

    assert first.statements == second.statements != ()


def test_a_statement_waits_for_its_commit_and_then_comes() -> None:
    """★ `applied_revision` follows the committed revision, so that a role decided meanwhile is stated later."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    held = a.claim("r")
    standing = b.stand_by("r")
    scene.is_committing = False
    a.resign(held)
    assert b.beat().statements == ()
    scene.commit()

    told = b.beat().statements

    assert [(statement.registration_id, statement.role) for statement in told] == [
        (standing.registration_id, ServiceRole.ACTIVE)
    ]


def test_news_come_in_the_order_in_which_roles_were_taken() -> None:
    """What is newer is told from the oldest on, whichever registration came first, and the same after a restart."""
    scene = Scene()
    holder, waiting = scene.client("holder"), scene.client("waiting")
    held = holder.claim("first")
    promoted = waiting.stand_by("first")
    active = waiting.claim("second")
    holder.resign(held)

    def told_since(revision: int) -> tuple[RoleStatement, ...]:
        waiting.applied_revision = revision
        return waiting.beat().statements

    told = told_since(0)
    assert [statement.registration_id for statement in told] == [active.registration_id, promoted.registration_id]
    assert told_since(active.revision) == told[1:]

    scene.restart()
    assert told_since(0) == told
    assert told_since(active.revision) == told[1:]


def test_a_heartbeat_at_rest_still_renews() -> None:
    """★ One that has nothing to tell keeps the session alive, and confirms what is held and committed alone."""
    scene = Scene()
    a = scene.client("a")
    held = a.claim("r")
    a.beat()

    for _ in range(3):
        scene.pass_ms(900)
        assert a.beat().confirmed == (held.epoch,)
    assert not scene.last.events
    scene.is_committing = False
    a.claim("s")
    assert a.beat().confirmed == (held.epoch,)


def test_a_given_up_tenure_ends() -> None:
    """★ A tenure that a heartbeat gives up ends like a resignation; the instance may win again, under a new epoch."""
    scene = Scene()
    a = scene.client("a")
    held = a.claim("r")

    a.beat(ServiceStatus.HEALTHY, GivenUp(epoch=held.epoch))

    ended, begun = scene.last.events
    assert isinstance(ended, RoleChangedEvent)
    assert isinstance(begun, RoleChangedEvent)
    assert (ended.reason, ended.epoch, ended.declined_epoch) == (ChangeReason.GIVEN_UP, held.epoch, 0)
    assert (begun.reason, begun.epoch) == (ChangeReason.FAILOVER, begun.revision)
    assert begun.epoch > held.epoch


def test_a_declined_tenure_is_not_offered_again() -> None:
    """A tenure listed as left on purpose ends as resigned, and its holder does not fill the vacancy."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b", status=ServiceStatus.STARTING)
    held = a.claim("r")
    b.stand_by("r")

    a.beat(ServiceStatus.HEALTHY, GivenUp(epoch=held.epoch, declined=True))
    (ended,) = scene.last.events
    assert isinstance(ended, RoleChangedEvent)
    assert (ended.reason, ended.declined_epoch) == (ChangeReason.RESIGNED, held.epoch)
    assert scene.who("r") == "- | a b"

    b.beat()
    begun = scene.last.events[-1]
    assert isinstance(begun, RoleChangedEvent)
    assert begun.reason is ChangeReason.SUCCESSION


def test_giving_up_is_acknowledged_when_it_is_durable() -> None:
    """★ A given-up epoch is acknowledged only once its end is committed: until then it is to be listed again."""
    scene = Scene()
    a = scene.client("a")
    held = a.claim("r")
    given_up = GivenUp(epoch=held.epoch, declined=True)
    scene.is_committing = False

    assert a.beat(ServiceStatus.HEALTHY, given_up).given_up == ()
    assert a.beat(ServiceStatus.HEALTHY, given_up).given_up == ()
    scene.commit()

    assert a.beat(ServiceStatus.HEALTHY, given_up).given_up == (held.epoch,)
    assert scene.last.events == ()


def test_giving_up_what_a_resignation_has_ended() -> None:
    """★ An epoch that a resignation under way has ended is acknowledged no sooner than that resignation is durable."""
    scene = Scene()
    a = scene.client("a")
    held = a.claim("r")
    given_up = GivenUp(epoch=held.epoch, declined=True)
    scene.is_committing = False
    a.resign(held)

    assert a.beat(ServiceStatus.HEALTHY, given_up).given_up == ()
    scene.commit()

    assert a.beat(ServiceStatus.HEALTHY, given_up).given_up == (held.epoch,)


def test_giving_up_what_a_deregistration_has_ended() -> None:
    """★ The same holds for an epoch whose registration is gone."""
    scene = Scene()
    a = scene.client("a")
    held = a.claim("r")
    scene.is_committing = False
    a.deregister(held)

    assert a.beat(ServiceStatus.HEALTHY, GivenUp(epoch=held.epoch)).given_up == ()
    scene.commit()

    assert a.beat(ServiceStatus.HEALTHY, GivenUp(epoch=held.epoch)).given_up == (held.epoch,)


def test_giving_up_nothing_of_ones_own() -> None:
    """Naming an epoch of somebody else, or of nobody, ends nothing."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    held = a.claim("r")

    b.beat(ServiceStatus.HEALTHY, GivenUp(epoch=held.epoch), GivenUp(epoch=2**64 - 1), GivenUp(epoch=-1))

    assert scene.last.events == ()
    assert scene.who("r") == "a |"


def test_giving_up_lost_with_a_batch_is_repeated() -> None:
    """A step-down whose commit failed is undone with the batch; the next heartbeat lists it again and it counts."""
    scene = Scene()
    a = scene.client("a")
    held = a.claim("r")
    given_up = GivenUp(epoch=held.epoch, declined=True)
    scene.is_committing = False
    a.beat(ServiceStatus.HEALTHY, given_up)

    scene.restart()
    a.beat(ServiceStatus.HEALTHY, given_up)
    scene.commit()

    assert a.beat(ServiceStatus.HEALTHY, given_up).given_up == (held.epoch,)
    assert scene.who("r") == "- | a"


def test_a_status_is_an_event_once() -> None:
    """A status that a session reports is an event when it changes, and none while it stays."""
    scene = Scene()
    a = scene.client("a")

    a.beat(ServiceStatus.DEGRADED)
    a.beat(ServiceStatus.DEGRADED)

    assert scene.events[2:] == [
        StatusChangedEvent(
            revision=3,
            at_ms=scene.now.unix_ms,
            session=a.session,
            old_status=ServiceStatus.HEALTHY,
            new_status=ServiceStatus.DEGRADED,
        )
    ]


def test_late_is_not_a_clients_word() -> None:
    """A heartbeat that reports `late` is refused, and does not renew the lease."""
    scene = Scene()
    a = scene.client("a")
    scene.now_ms += 1_900

    with pytest.raises(InvalidRequestError):
        a.beat(ServiceStatus.LATE)
    scene.now_ms += 100

    assert scene.expire().events


def test_too_many_given_up() -> None:
    """A heartbeat lists at most as many epochs as a session may have registrations."""
    a = Scene().client("a")
    a.beat(ServiceStatus.HEALTHY, *[GivenUp(epoch=epoch) for epoch in range(GIVEN_UP_MAX)])

    with pytest.raises(LimitExceededError) as refused:
        a.beat(ServiceStatus.HEALTHY, *[GivenUp(epoch=epoch) for epoch in range(GIVEN_UP_MAX + 1)])

    assert refused.value.info.limit == GIVEN_UP_MAX


@pytest.mark.parametrize(
    "heartbeat",
    [
        Heartbeat(sequence=0),
        Heartbeat(sequence=2**63),
        Heartbeat(sequence=1, applied_revision=-1),
        Heartbeat(sequence=1, last_revision=-1),
    ],
)
def test_numbers_out_of_range(heartbeat: Heartbeat) -> None:
    """Numbers that no store keeps are refused."""
    a = Scene().client("a")

    with pytest.raises(InvalidRequestError):
        a.ask(heartbeat)


def test_the_whole_acknowledgement() -> None:
    """An acknowledgement names session and sequence, the committed revision, and nothing that is not so."""
    scene = Scene()
    a = scene.client("a")

    assert a.beat() == HeartbeatAck(session=a.session, sequence=2, revision=2)
