"""What a heartbeat's answer may say before the commit, and how sessions end that send none."""

from __future__ import annotations

from tenure.broker.core_limits import CoreLimits
from tenure.broker.peers import Peer
from tenure.contract.errors import ErrorCode
from tenure.contract.events import SessionClosedEvent
from tenure.contract.interventions import ExpireSession, Switchover
from tenure.contract.messages import (
    GivenUp,
    Heartbeat,
    HeartbeatAck,
    Registered,
    Resign,
    RoleStatements,
)
from tenure.contract.vocabulary import ChangeReason, ServiceRole
from tests.unit.core_stage import CoreStage, claim_of, codes, standby_of


def test_a_heartbeat_waits_for_nothing_and_confirms_nothing_uncommitted() -> None:
    """★ A grant counts from its commit: until then the answer comes at once, and without the epoch."""
    stage = CoreStage()
    stage.open("a")
    stage.says("a/requests", claim_of("a"))
    assert stage.beat("a", 2).confirmed == ()
    assert stage.store() is not None
    assert stage.beat("a", 3).confirmed == ()

    (reply,) = stage.committed()

    assert isinstance(reply.message, Registered)
    assert stage.beat("a", 4).confirmed == (reply.message.epoch,)


def test_a_revocation_counts_from_its_decision() -> None:
    """★ The resignation is decided and not committed: the epoch is not confirmed any more."""
    stage = CoreStage()
    stage.open("a")
    held = stage.claim("a")
    stage.says("a/requests", Resign(registration_id=held.registration_id, epoch=held.epoch))

    assert stage.beat("a", 2).confirmed == ()

    assert stage.store() is not None
    assert stage.beat("a", 3).confirmed == ()


def test_what_was_given_up_is_acknowledged_when_its_end_is_durable() -> None:
    """★ The heartbeat's own demotion is not committed when it is answered: a later answer acknowledges it."""
    stage = CoreStage()
    stage.open("a")
    epoch = stage.claim("a").epoch
    given_up = (GivenUp(epoch=epoch, declined=True),)
    stage.says("a/control", Heartbeat(sequence=2, given_up=given_up))
    (first,) = stage.sent()
    assert isinstance(first.message, HeartbeatAck)
    assert (first.message.confirmed, first.message.given_up) == ((), ())
    stage.commit()

    stage.says("a/control", Heartbeat(sequence=3, given_up=given_up))

    (second,) = stage.sent()
    assert isinstance(second.message, HeartbeatAck)
    assert second.message.given_up == (epoch,)


def test_a_session_whose_expiry_is_decided_gets_no_answer() -> None:
    """★ The lease ran out, the expiry is not committed yet: the heartbeat that comes now renews nothing."""
    stage = CoreStage()
    stage.open("a")
    stage.claim("a")
    stage.now_ms += 2_000
    stage.core.tick(stage.now)
    assert stage.core.has_batch

    stage.says("a/control", Heartbeat(sequence=2))

    assert stage.sent() == []
    (refusal,) = stage.commit()
    assert codes([refusal]) == [ErrorCode.SESSION_EXPIRED]


def test_an_expired_session_is_forgotten_with_its_connections() -> None:
    """Once the end is durable, its connections have to introduce themselves, and are told that the session is over."""
    stage = CoreStage()
    stage.open("a")
    stage.now_ms += 2_000
    stage.core.tick(stage.now)
    stage.commit()
    assert len(stage.core.connections) == 0

    stage.says("a/control", Heartbeat(sequence=2))
    assert codes(stage.sent()) == [ErrorCode.HELLO_REQUIRED]


def test_nothing_expires_before_its_time() -> None:
    """A tick a moment before the end of the lease does nothing."""
    stage = CoreStage()
    stage.open("a")
    stage.now_ms += 1_999
    stage.core.tick(stage.now)
    assert not stage.core.has_batch


def test_expiries_come_a_bounded_number_at_a_time() -> None:
    """Each look at the leases ends so many registrations and no more, so that heartbeats are heard in between."""
    stage = CoreStage(CoreLimits(expiries_max=1))
    stage.open("a")
    stage.open("b")
    stage.now_ms += 2_000

    stage.core.tick(stage.now)
    assert len(stage.core.registry.state.sessions) == 1
    stage.core.tick(stage.now)
    assert len(stage.core.registry.state.sessions) == 0


def test_a_process_that_died_ends_its_session_at_once() -> None:
    """Proof of death needs no lease: the standby is promoted in the same commit."""
    stage = CoreStage()
    a = stage.open("a")
    stage.open("b")
    stage.claim("a")
    stage.says("b/requests", standby_of("b"))
    stage.commit()

    stage.core.end_session(a, ChangeReason.DIED, stage.now)

    (push,) = stage.commit()
    assert push.to == "b/control"
    assert isinstance(push.message, RoleStatements)
    assert push.message.statements[0].role is ServiceRole.ACTIVE
    assert [event.reason for event in stage.published if isinstance(event, SessionClosedEvent)] == [ChangeReason.DIED]


def test_what_a_person_asks_for_is_noted_with_what_was_decided() -> None:
    """★ A word that was refused has ended nobody, and the log says so: each request is noted with its outcome."""
    stage = CoreStage()
    session = stage.open("a", peer=Peer(uid=7, pid=1))
    held = stage.claim("a")
    requests: list[Switchover | ExpireSession] = [
        ExpireSession(session=session),
        Switchover(resource_id="r", epoch=held.epoch, even_if_vacant=True),
    ]

    for request in requests:
        stage.says("a/requests", request)

    noted = [(one.request, one.identity, one.refusal and one.refusal.code) for one in stage.core.interventions]
    assert noted == [(requests[0], "uid:7", ErrorCode.INSTANCE_ALIVE), (requests[1], "uid:7", None)]
