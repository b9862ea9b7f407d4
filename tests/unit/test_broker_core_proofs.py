"""Proof of death outlasts the commit that was to use it: the dead are ended again, whatever was not stored."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tenure.contract.errors import ErrorCode
from tenure.contract.events import AnyEvent, DeregisteredEvent, RegisteredEvent, RoleChangedEvent, SessionClosedEvent
from tenure.contract.interventions import ExpireSession
from tenure.contract.messages import GetResource, Heartbeat, Resource, RoleStatements
from tenure.contract.vocabulary import ChangeReason, Channel, ServiceRole, ServiceStatus
from tenure.domain.registry import Registry
from tests.unit.core_stage import GOODBYE, LEASE_MS, CoreStage, claim_of, codes, hello_of, standby_of
from tests.unit.scene import EMPTY

FULL = (ErrorCode.STORAGE_UNAVAILABLE, "the disk is full")
DEFECT = (ErrorCode.INTERNAL_ERROR, "the broker met a defect")


def a_and_b(*, silent_ms: float = 0.0) -> tuple[CoreStage, int]:
    """The session a holds r and has not been heard for so long; b stands by. The number of a's session."""
    stage = CoreStage()
    session = stage.open("a")
    stage.claim("a")
    stage.now_ms += silent_ms
    stage.open("b")
    stage.says("b/requests", standby_of("b"))
    stage.commit()
    return stage, session


def say_goodbye(stage: CoreStage, session: int) -> None:
    """The session ends itself."""
    del session
    stage.says("a/requests", GOODBYE)


def die(stage: CoreStage, session: int) -> None:
    """The kernel reports the exit of the session's process."""
    stage.core.end_session(session, ChangeReason.DIED, stage.now)


def vouch(stage: CoreStage, session: int) -> None:
    """A person vouches for the death of the session's process."""
    stage.says("b/requests", ExpireSession(session=session, by="ada"))


def refuse(stage: CoreStage, why: tuple[ErrorCode, str] = FULL) -> None:
    """The store has not taken what it was given."""
    stage.core.start_again(stage.ledger.stored(), stage.now, *why)


def decided(stage: CoreStage) -> tuple[AnyEvent, ...]:
    """What the store is given next."""
    batch = stage.core.take_batch()
    assert batch is not None
    return batch.events


@pytest.mark.parametrize(
    ("prove", "reason"),
    [(say_goodbye, ChangeReason.GOODBYE), (die, ChangeReason.DIED), (vouch, ChangeReason.CONFIRMED_DEAD)],
)
@pytest.mark.parametrize("why", [FULL, DEFECT])
@pytest.mark.parametrize("is_taken", [True, False])
def test_whoever_is_dead_is_ended_again(
    prove: Callable[[CoreStage, int], None], reason: ChangeReason, why: tuple[ErrorCode, str], is_taken: bool
) -> None:
    """★ However often it is dropped, under way or waiting, proof leaves the dead no role, and names its source."""
    stage, session = a_and_b(silent_ms=LEASE_MS)
    prove(stage, session)

    for turn in range(3):
        if is_taken or turn:
            decided(stage)
        refuse(stage, why)
        assert session not in stage.core.registry.state.sessions

    events = decided(stage)
    by = "ada" if prove is vouch else ""
    (closed,) = (event for event in events if isinstance(event, SessionClosedEvent))
    assert (closed.session, closed.reason, closed.by) == (session, reason, by)
    assert isinstance(events[0], DeregisteredEvent)
    assert (events[0].reason, events[0].by) == (reason, by)


def test_the_next_one_is_promoted_in_the_commit_that_takes_the_proof() -> None:
    """★ Whoever was heard before the refusal needs no heartbeat after it, and the silence of the dead is told truly."""
    stage, session = a_and_b(silent_ms=LEASE_MS / 2 + 1)
    die(stage, session)
    for _ in range(2):
        decided(stage)
        stage.now_ms += 100
        refuse(stage)

    pushes = stage.commit()

    ended = next(event for event in stage.published if isinstance(event, DeregisteredEvent))
    assert ended.silent_ms == LEASE_MS / 2 + 201
    assert [push.to for push in pushes if isinstance(push.message, RoleStatements)] == ["b/control"]
    assert stage.core.registry.state.ended == {}


def test_what_a_death_needs_is_stored_by_itself() -> None:
    """★ Together with what the disk has no room for it would be refused for as long as somebody repeats that."""
    stage, session = a_and_b()
    stage.open("c")
    stage.says("c/requests", claim_of("c", "too-much"))
    die(stage, session)
    decided(stage)

    refuse(stage)
    stage.says("c/requests", claim_of("c", "too-much"))

    first = stage.store()
    stage.committed()
    second = stage.store()
    assert first is not None
    assert second is not None
    assert [type(event) for event in first.events] == [DeregisteredEvent, SessionClosedEvent, RoleChangedEvent]
    assert [type(event) for event in second.events] == [RegisteredEvent]


def test_decisions_go_one_by_one_until_the_store_takes_one() -> None:
    """★ What does not fit takes no other with it; then they are stored together again."""
    stage, _ = a_and_b()
    stage.says("b/requests", claim_of("b", "one"))
    decided(stage)
    refuse(stage)

    for resource_id in ("two", "three"):
        stage.says("b/requests", claim_of("b", resource_id))
    for _ in range(2):
        batch = stage.store()
        assert batch is not None
        assert len(batch.events) == 1
        stage.committed()
    for resource_id in ("four", "five"):
        stage.says("b/requests", claim_of("b", resource_id))
    assert len(decided(stage)) == 2


def test_what_is_read_waits_for_all_that_is_decided() -> None:
    """★ An answer does not overtake the decisions that it was computed from, though they are stored apart."""
    stage, session = a_and_b()
    die(stage, session)
    decided(stage)
    refuse(stage)
    stage.sent()

    stage.says("b/requests", GetResource(resource_id="r"))

    assert stage.sent() == []
    (view,) = [said.message for said in stage.commit() if isinstance(said.message, Resource)]
    assert view.resource.active is not None
    assert view.resource.active.instance_id == "b"


def test_a_vacancy_that_was_filled_is_filled_again() -> None:
    """★ What filled it was that somebody became fit; he has stayed so, and no heartbeat says so a second time."""
    stage, _ = a_and_b()
    stage.crash()
    stage.hello("a", Channel.REQUESTS)
    stage.says("a/requests", GOODBYE)
    stage.commit()
    stage.hello("b", Channel.CONTROL)
    stage.beat("b", 2)
    assert [type(event) for event in decided(stage)] == [RoleChangedEvent]

    refuse(stage)

    stage.commit()
    promoted = stage.published[-1]
    assert isinstance(promoted, RoleChangedEvent)
    assert (promoted.instance_id, promoted.new_role) == ("b", ServiceRole.ACTIVE)


def test_nobody_is_promoted_whose_newest_word_was_not_stored() -> None:
    """★ It had just said that it is unhealthy, and the store has it as healthy: its next heartbeat is waited for."""
    stage, session = a_and_b()
    stage.says("b/control", Heartbeat(sequence=2, status=ServiceStatus.UNHEALTHY))
    die(stage, session)
    decided(stage)
    refuse(stage)

    stage.commit()

    assert stage.core.registry.state.resources["r"].active is None
    stage.says("b/control", Heartbeat(sequence=3))
    stage.commit()
    assert stage.core.registry.state.resources["r"].active is not None


def test_an_expiry_is_decided_again_and_after_a_defect_forgotten() -> None:
    """Silence is what a memory says: it counts on, unless that memory is not trusted."""
    for why, lives in ((FULL, False), (DEFECT, True)):
        stage, session = a_and_b(silent_ms=LEASE_MS)
        stage.core.tick(stage.now)
        decided(stage)

        refuse(stage, why)

        assert (session in stage.core.registry.state.sessions) is lives
        stage.core.tick(stage.now)
        assert stage.core.has_batch is not lives


def test_the_end_of_a_session_that_was_not_stored_leaves_nothing() -> None:
    """★ Its number will be another session's, which is not ended in its place."""
    stage = CoreStage()
    stage.says("a/requests", hello_of("a", Channel.CONTROL))
    opened = stage.core.registry.revision
    stage.core.end_session(opened, ChangeReason.DIED, stage.now)
    decided(stage)

    refuse(stage)

    assert not stage.core.has_work
    assert stage.open("b") == opened
    assert opened in stage.core.registry.state.sessions


def test_who_repeats_its_goodbye_learns_that_the_session_is_gone() -> None:
    """The connection goes on: what is repeated is refused as any request of a session that has ended, once it has."""
    stage, session = a_and_b()
    say_goodbye(stage, session)
    decided(stage)
    refuse(stage)
    assert codes(stage.sent()) == [ErrorCode.STORAGE_UNAVAILABLE]

    stage.says("a/requests", GOODBYE)
    assert stage.sent() == []

    assert ErrorCode.SESSION_EXPIRED in codes(stage.commit())


def test_a_session_that_the_registry_before_did_not_know_has_a_full_lease() -> None:
    """Somebody else wrote into the store: what it has counts, and nothing was heard of that."""
    stage, session = a_and_b()
    registry = Registry(stage.ledger.stored(), stage.now)

    registry.keep_times(Registry(EMPTY, stage.now))

    assert registry.state.sessions[session].expires_at_ms == stage.now_ms + LEASE_MS
