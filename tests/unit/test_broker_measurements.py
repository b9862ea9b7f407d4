"""What the broker counts and measures of itself: what goes into which number, and that asking costs nobody else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

import pytest
from msgspec import structs

from tenure.broker import measurements
from tenure.broker.connections import Route
from tenure.broker.core_limits import CoreLimits
from tenure.broker.measurements import Asked, BrokerMeasurements, Buckets
from tenure.contract import codec
from tenure.contract.errors import ErrorCode
from tenure.contract.limits import PROTOCOL_VERSION
from tenure.contract.measurements import Count, GetMeasurements, Histogram, Measurements
from tenure.contract.messages import (
    ClientMessage,
    Deregister,
    Goodbye,
    Heartbeat,
    Hello,
    ListRoles,
    Registered,
    RegisterMany,
    Resign,
)
from tenure.contract.vocabulary import LOST, ChangeReason, Channel
from tenure.domain.records import StoredState
from tests.contract.records import tenure
from tests.unit.core_stage import CoreStage, claim_of, codes, standby_of

EMPTY = StoredState(history_id="h", revision=0, sessions=(), registrations=(), tenures=())


def measured(stage: CoreStage) -> Measurements:
    """What the broker says to somebody who only reads, at once."""
    if stage.core.connections.get(Route(0, b"watcher")) is None:
        stage.says("watcher", Hello(version=PROTOCOL_VERSION))
    stage.sent()
    stage.says("watcher", GetMeasurements())
    (said,) = stage.sent()
    assert isinstance(said.message, Measurements)
    return said.message


def counted(counts: Iterable[Count]) -> dict[str, int]:
    """Counts by what they are of, those that are not 0."""
    return {one.of: one.count for one in counts if one.count}


def how_many(histograms: Iterable[Histogram]) -> dict[str, tuple[int, int]]:
    """Of histograms by what they are of, those that are not empty: how many values, and their sum."""
    return {one.of: (sum(one.counts), one.total) for one in histograms if any(one.counts)}


def active_and_standby(stage: CoreStage) -> tuple[int, Registered]:
    """Two sessions with an instance each for one resource; the session of the active one, and its registration."""
    session = stage.open("a")
    stage.open("b")
    held = stage.claim("a")
    stage.says("b/requests", standby_of("b"))
    stage.commit()
    return session, held


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_a_value_belongs_to_the_first_bound_that_is_not_less() -> None:
    """As Prometheus has it: bounds are included."""
    buckets = Buckets((10, 20))
    for value in (0, 10, 10.5, 20, 21):
        buckets.note(value)
    assert buckets.histogram("x") == Histogram(of="x", bounds=(10, 20), counts=(2, 2, 1), total=61)


def test_every_request_is_measured_under_its_type() -> None:
    """From its receipt to when its answer was handed to the socket."""
    found = BrokerMeasurements(EMPTY, 0)
    found.answered([None, *(Asked(b"1", kind, 10.0) for kind in get_args(ClientMessage.__value__))], 10.002)
    told = found.told("h", 0, sessions=0, connections=0)
    tags = {str(kind.__struct_config__.tag) for kind in get_args(ClientMessage.__value__)}
    assert {one.of for one in told.requests_us} == tags
    assert {(sum(one.counts), one.counts[one.bounds.index(2_500)]) for one in told.requests_us} == {(1, 1)}


def test_the_answer_stays_small_whatever_there_was() -> None:
    """Every kind of everything, with numbers as large as they get, is some ten kilobytes."""
    found = BrokerMeasurements(EMPTY, 2**42)
    found.answered([Asked(b"1", kind, 0.0) for kind in get_args(ClientMessage.__value__)], 1e6)
    for code in ErrorCode:
        found.refused(code)
    for buckets in (*found.failovers.values(), *found.vacancies.values()):
        buckets.note(2**40)
    assert len(codec.encode(found.told("h" * 32, 2**53, sessions=10_000, connections=40_000))) < 16_384


def test_everything_that_may_be_counted_is_there_from_the_start() -> None:
    """As 0, so that a monitor sees the first one too. Who was lost and who left is told apart as the domain does it."""
    told = BrokerMeasurements(EMPTY, 0).told("h", 0, sessions=0, connections=0)
    assert {one.of for one in told.refusals} == set(ErrorCode)
    lost = LOST - {ChangeReason.RESTORED}
    assert {one.of for one in told.failovers_ms} == lost
    assert {one.of for one in told.switchovers}.isdisjoint(lost)
    assert {one.of for one in told.vacancies_ms} == lost | {one.of for one in told.switchovers}
    assert {one.count for one in (*told.sessions_ended, *told.switchovers, *told.refusals)} == {0}


# --- moves ------------------------------------------------------------------------------------------------------------


def test_a_proven_death_is_a_failover_and_a_vacancy_of_that_reason() -> None:
    """Both last from the decided end of the tenure to the commit of the next, and are counted once it is committed."""
    stage = CoreStage()
    session, _ = active_and_standby(stage)
    stage.core.end_session(session, ChangeReason.DIED, stage.now)
    assert how_many(measured(stage).failovers_ms) == {}
    assert stage.store() is not None
    stage.core.committed(stage.now.unix_ms + 3)

    told = measured(stage)
    assert how_many(told.failovers_ms) == how_many(told.vacancies_ms) == {"died": (1, 3)}
    assert (counted(told.sessions_ended), counted(told.switchovers)) == ({"died": 1}, {})


def test_a_clock_that_was_set_back_makes_no_time_less_than_none() -> None:
    """Moves are measured by the wall clock, as their events are; a sum that falls would look like a restart."""
    stage = CoreStage()
    session, _ = active_and_standby(stage)
    stage.core.end_session(session, ChangeReason.DIED, stage.now)
    assert stage.store() is not None
    stage.core.committed(stage.now.unix_ms - 60_000)

    told = measured(stage)
    assert how_many(told.failovers_ms) == how_many(told.vacancies_ms) == {"died": (1, 0)}


def test_a_role_that_is_left_on_purpose_is_a_switchover() -> None:
    """The next one follows in the same commit: planned, whoever asked for it."""
    stage = CoreStage()
    _, held = active_and_standby(stage)
    stage.says("a/requests", Resign(registration_id=held.registration_id, epoch=held.epoch))
    stage.commit()

    told = measured(stage)
    assert (counted(told.switchovers), how_many(told.failovers_ms)) == ({"resigned": 1}, {})
    assert {of: count for of, (count, _) in how_many(told.vacancies_ms).items()} == {"resigned": 1}


def test_a_role_that_is_claimed_again_ended_a_vacancy_and_is_no_move() -> None:
    """The broker promoted nobody: how long nobody was active is known all the same."""
    stage = CoreStage()
    stage.open("a")
    held = stage.claim("a")
    stage.says("a/requests", Deregister(registration_id=held.registration_id, epoch=held.epoch))
    assert stage.store() is not None
    stage.core.committed(stage.now.unix_ms)
    stage.now_ms += 1_500
    stage.says("a/requests", claim_of("a"))
    assert stage.store() is not None
    stage.core.committed(stage.now.unix_ms)

    told = measured(stage)
    assert how_many(told.vacancies_ms) == {"deregistered": (1, 1_500)}
    assert (counted(told.switchovers), how_many(told.failovers_ms)) == ({}, {})


def test_a_vacancy_from_before_a_restart_is_measured() -> None:
    """The store has when its last tenure ended and why; of a held resource it says nothing."""
    stage = CoreStage()
    _, held = active_and_standby(stage)
    stage.open("c")
    stage.claim("c", "held")
    stage.says("b/requests", Goodbye())
    stage.says("a/requests", Deregister(registration_id=held.registration_id, epoch=held.epoch))
    stage.commit()
    stage.crash()
    assert set(stage.core.measurements.ended) == {"r"}
    stage.now_ms += 700
    stage.open("d")
    stage.says("d/requests", claim_of("d"))
    assert stage.store() is not None
    stage.core.committed(stage.now.unix_ms)

    told = measured(stage)
    assert how_many(told.vacancies_ms) == {"deregistered": (1, 700)}
    assert told.sessions_opened == 1, "what was before it started is not counted"


def test_how_long_a_role_of_a_backup_was_vacant_is_not_measured() -> None:
    """Nobody knows when its tenure ended, so that no number is made up."""
    restored = structs.replace(tenure(3, "r", ended=9), end_reason=ChangeReason.RESTORED)
    assert BrokerMeasurements(structs.replace(EMPTY, tenures=(restored,)), 0).ended == {}


def test_vacancies_beyond_the_limit_are_forgotten_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever begins and leaves resources in a loop does not fill the memory."""
    monkeypatch.setattr(measurements, "_VACANCIES_MAX", 2)
    stored = tuple(tenure(epoch, f"r{epoch}", ended=9) for epoch in range(1, 5))
    found = BrokerMeasurements(
        StoredState(history_id="h", revision=9, sessions=(), registrations=(), tenures=stored), 0
    )
    assert set(found.ended) == {"r3", "r4"}


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_refusals_are_counted_by_code_also_those_of_items() -> None:
    """A claim of a held role, alone and in a batch; an epoch that is over; what cannot be read; who said no hello."""
    stage = CoreStage()
    _, held = active_and_standby(stage)
    stage.says("b/requests", claim_of("b"))
    stage.says("b/requests", RegisterMany(items=(claim_of("b"), claim_of("c"))))
    stage.says("a/requests", Resign(registration_id=held.registration_id, epoch=held.epoch + 1))
    stage.says("b/requests", ListRoles(service_name="nobody"))
    stage.frames("b/requests", b"1", b"nonsense")
    stage.says("stranger", Goodbye())
    stage.commit()

    assert counted(measured(stage).refusals) == {
        "role_conflict": 3,
        "not_active": 1,
        "not_found": 1,
        "invalid_request": 1,
        "hello_required": 1,
    }


def test_what_a_failed_commit_leaves_open_is_counted() -> None:
    """Whoever waited is told that the outcome is unknown."""
    stage = CoreStage()
    stage.open("a")
    stage.says("a/requests", claim_of("a"))
    assert stage.core.take_batch() is not None
    stage.core.start_again(stage.ledger.stored(), stage.now, ErrorCode.STORAGE_UNAVAILABLE, "full")
    assert counted(measured(stage).refusals) == {"storage_unavailable": 1}


# --- leases -----------------------------------------------------------------------------------------------------------


def test_a_heartbeat_shows_how_much_of_the_lease_was_left() -> None:
    """In thousandths, so that leases of all lengths can be compared; a lapsed one has nothing left."""
    stage = CoreStage()
    stage.open("a", lease_ms=1_000)
    before = measured(stage).lease_margins_permille
    stage.now_ms += 700
    stage.beat("a")
    after = measured(stage).lease_margins_permille
    assert after.total - before.total == 300
    assert after.counts[after.bounds.index(300)] - before.counts[before.bounds.index(300)] == 1


def test_a_heartbeat_after_the_end_of_its_lease_shows_that_nothing_was_left() -> None:
    """It comes before anybody has looked at the leases: a sum that falls would look like a restart."""
    stage = CoreStage()
    stage.open("a", lease_ms=1_000)
    before = measured(stage).lease_margins_permille
    stage.now_ms += 2_500
    stage.beat("a")
    after = measured(stage).lease_margins_permille
    assert (after.total - before.total, after.counts[0] - before.counts[0]) == (0, 1)


def test_a_heartbeat_of_a_session_that_lapsed_shows_that_nothing_was_left() -> None:
    """★ It goes on for as long as it may hold its role, which is no lease: never more than all of that is left."""
    stage = CoreStage()
    stage.open("a", lease_ms=1_000)
    stage.says("a/requests", structs.replace(claim_of("a"), hold_limit_ms=60_000))
    stage.commit()
    before = measured(stage).lease_margins_permille
    stage.now_ms += 2_500
    stage.core.tick(stage.now)
    stage.beat("a")
    after = measured(stage).lease_margins_permille
    assert (after.total - before.total, after.counts[0] - before.counts[0]) == (0, 1)


def test_a_heartbeat_of_no_session_shows_nothing() -> None:
    """It is refused, and there is no lease that could be left."""
    stage = CoreStage()
    session = stage.open("a")
    before = measured(stage).lease_margins_permille
    stage.core.end_session(session, ChangeReason.DIED, stage.now)
    stage.says("a/control", Heartbeat(sequence=9))
    assert measured(stage).lease_margins_permille == before


# --- asking -----------------------------------------------------------------------------------------------------------


def test_it_is_answered_at_once_also_under_an_overload() -> None:
    """It is what the overload is seen by, and waits for no commit."""
    stage = CoreStage(CoreLimits(queue_max=1))
    stage.open("a")
    measured(stage)
    stage.says("a/requests", claim_of("a"))
    stage.says("a/requests", ListRoles(service_name="gw"))
    assert codes(stage.sent()) == [ErrorCode.OVERLOADED]

    told = measured(stage)

    assert counted(told.refusals) == {"overloaded": 1}
    assert (told.sessions, told.sessions_opened, told.revision) == (1, 1, stage.core.registry.committed_revision)


def test_it_needs_a_hello_and_no_session() -> None:
    """As every read does."""
    stage = CoreStage()
    stage.says("stranger", GetMeasurements())
    assert codes(stage.sent()) == [ErrorCode.HELLO_REQUIRED]
    assert measured(stage).connections == 1


def test_it_is_measured_itself() -> None:
    """The answer names what it answers, so that the shell can say how long it took."""
    stage = CoreStage()
    stage.hello("a", Channel.REQUESTS)
    stage.commit()
    stage.says("a/requests", GetMeasurements())
    (outgoing,) = stage.core.outgoing
    assert outgoing.asked is not None
    assert outgoing.asked.kind is GetMeasurements
