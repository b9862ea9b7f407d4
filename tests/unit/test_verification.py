"""`verify` on real histories: what the registry and the store make is proven, and each way to damage it is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenure.contract.events import (
    AnyEvent,
    DeregisteredEvent,
    PreviousHolder,
    RegisteredEvent,
    RoleChangedEvent,
    SessionClosedEvent,
    StatusChangedEvent,
)
from tenure.contract.vocabulary import ChangeReason, ServiceRole, ServiceStatus
from tenure.domain.history import KnownRegistration, KnownSession
from tenure.domain.records import Registration, Session
from tenure.domain.verdicts import Guarantee, State
from tests.unit.histories import (
    broken_by,
    busy_scene,
    change_event,
    damage,
    entered,
    extended,
    keep,
    log_of,
    long_scene,
    report_of,
    taken_over,
    verdict_of,
)
from tests.unit.scene import Scene

ALL = frozenset(Guarantee)


async def test_a_history_and_its_logs_are_proven(tmp_path: Path) -> None:
    """All five guarantees of a history from its first revision on, with a log of each holder."""
    scene = busy_scene()
    second = taken_over(scene)
    report = report_of(
        await keep(scene, tmp_path),
        log_of(scene, "a", entered(4, 100.0, 2_000.0), extended(4, 500.0, 2_400.0, 6)),
        log_of(scene, "b", entered(second, 600.0, 2_500.0), extended(second, 900.0, 2_900.0, second)),
    )
    assert {verdict.guarantee for verdict in report.verdicts if verdict.state is State.PROVEN} == ALL, report
    assert (report.first_revision, report.last_revision) == (1, scene.registry.revision)
    assert report.events == len(scene.events)
    assert (report.intervals, report.is_broken) == (2, False)
    assert "1 over by proof" in verdict_of(report, Guarantee.G2).says


async def test_without_logs_two_guarantees_are_not_checked(tmp_path: Path) -> None:
    """Nothing is claimed that was not looked at; what the store shows is proven all the same."""
    report = report_of(await keep(busy_scene(), tmp_path))
    states = {verdict.guarantee: verdict.state for verdict in report.verdicts}
    assert {guarantee for guarantee, state in states.items() if state is State.NOT_CHECKED} == {
        Guarantee.G2,
        Guarantee.G4,
    }
    assert not report.is_broken


async def test_a_history_that_has_lost_its_beginning_is_proven_from_there_on(tmp_path: Path) -> None:
    """What began before the events that are kept is learnt from them, and the report says from which revision on."""
    scene = long_scene()
    whole = report_of(await keep(scene, tmp_path / "whole"))
    assert not whole.is_broken, whole
    for events_kept in range(1, 60, 3):
        report = report_of(await keep(scene, tmp_path / str(events_kept), events_kept=events_kept))
        assert not report.is_broken, (events_kept, report)
        assert report.first_revision > 1
        assert report.events == report.last_revision - report.first_revision + 1
        assert "no longer kept" in verdict_of(report, Guarantee.G1).says


async def test_of_a_new_store_there_is_nothing_to_check(tmp_path: Path) -> None:
    """A history without events proves nothing, with or without logs; what is damaged in it is broken all the same."""
    store = await keep(Scene(), tmp_path)
    for report in (report_of(store), report_of(store, log_of(busy_scene(), "a"))):
        assert (report.events, report.last_revision, report.is_broken) == (0, 0, False)
        assert {verdict.state for verdict in report.verdicts} == {State.NOT_CHECKED}
        assert verdict_of(report, Guarantee.G5).says == "nothing to check: nothing has happened yet"
    damage(tmp_path, "DROP INDEX one_active_per_resource")
    assert verdict_of(report_of(tmp_path), Guarantee.G1).state is State.BROKEN


async def test_a_second_active_is_named(tmp_path: Path) -> None:
    """G1: with the index gone a row says that two are active; the loss of the index alone is named too."""
    scene = busy_scene()
    await keep(scene, tmp_path)
    damage(tmp_path, "DROP INDEX one_active_per_resource")
    report = report_of(tmp_path)
    assert broken_by(report) == {"G1": scene.registry.revision}
    assert "one_active_per_resource" in verdict_of(report, Guarantee.G1).says

    damage(
        tmp_path, "UPDATE registrations SET role = 'active', epoch = 9 WHERE instance_id = 'c' AND resource_id = 'r'"
    )
    found = verdict_of(report_of(tmp_path), Guarantee.G1).findings
    assert any(what.endswith("both active for 'r'") and revision == taken_over(scene) for revision, what in found)


async def test_an_index_that_holds_less_is_not_the_index(tmp_path: Path) -> None:
    """G1: an index of that name over something else does not count."""
    scene = busy_scene()
    await keep(scene, tmp_path)
    damage(
        tmp_path,
        "DROP INDEX one_active_per_resource",
        "CREATE UNIQUE INDEX one_active_per_resource ON registrations (resource_id) WHERE role = 'active' AND epoch",
    )
    assert broken_by(report_of(tmp_path)) == {"G1": scene.registry.revision}


async def test_an_active_that_no_event_made_is_named(tmp_path: Path) -> None:
    """G1: with nobody else active no index sees it, but the events tell another story."""
    scene = Scene()
    standby = scene.client("a").stand_by("r")
    await keep(scene, tmp_path)
    damage(tmp_path, "UPDATE registrations SET role = 'active', epoch = 3, role_revision = 3")
    assert broken_by(report_of(tmp_path)) == {"G1": standby.revision, "G3": standby.revision}


@pytest.mark.parametrize("is_last", [False, True])
async def test_a_deleted_event_is_named(tmp_path: Path, is_last: bool) -> None:
    """G5: a gap, also at the end, is named by the first revision that is missing; nothing after it is claimed."""
    scene = busy_scene()
    await keep(scene, tmp_path)
    revision = scene.registry.revision if is_last else 7
    damage(tmp_path, "DELETE FROM events WHERE revision = :revision", revision=revision)
    report = report_of(tmp_path, log_of(scene, "b", entered(taken_over(scene), 1.0, 2.0)))
    assert broken_by(report) == {"G5": revision}
    assert {verdict.state for verdict in report.verdicts} == {State.BROKEN, State.NOT_CHECKED}


async def test_all_events_deleted_is_named(tmp_path: Path) -> None:
    """G5: the newest event is always kept."""
    await keep(busy_scene(), tmp_path)
    damage(tmp_path, "DELETE FROM events")
    assert set(broken_by(report_of(tmp_path))) == {"G5"}


async def test_events_beyond_the_next_revision_are_named(tmp_path: Path) -> None:
    """G5 and G3: a store that would give revisions out again is named by what it has given already."""
    scene = busy_scene()
    await keep(scene, tmp_path)
    damage(tmp_path, "UPDATE meta SET next_revision = :revision", revision=taken_over(scene))
    assert broken_by(report_of(tmp_path)) == {"G3": taken_over(scene), "G5": taken_over(scene)}


async def test_a_body_that_cannot_be_read_and_one_of_another_revision_are_named(tmp_path: Path) -> None:
    """G5: each row's body is the event of its revision."""
    scene = busy_scene()
    damage(await keep(scene, tmp_path / "a"), "UPDATE events SET body = x'c1' WHERE revision = 6")
    damage(
        await keep(scene, tmp_path / "b"),
        "UPDATE events SET body = (SELECT body FROM events WHERE revision = 8) WHERE revision = 6",
    )
    assert broken_by(report_of(tmp_path / "a")) == broken_by(report_of(tmp_path / "b")) == {"G5": 6}


@pytest.mark.parametrize(
    ("values", "guarantee"),
    [
        ({"instance_id": "somebody-else"}, "G1"),
        ({"new_role": ServiceRole.STANDBY}, "G1"),
        ({"old_role": ServiceRole.ACTIVE}, "G1"),
        ({"registration_id": 1_000}, "G1"),
        ({"at_ms": 17}, "G1"),
        ({"epoch": 3}, "G3"),
        ({"previous_holder": PreviousHolder(service_name="svc", instance_id="a", epoch=3)}, "G3"),
    ],
)
async def test_a_changed_event_is_named(tmp_path: Path, values: dict[str, object], guarantee: str) -> None:
    """An event that says something else contradicts those around it, or the tables."""
    scene = busy_scene()
    await keep(scene, tmp_path)
    change_event(tmp_path, taken_over(scene), **values)
    findings = verdict_of(report_of(tmp_path), Guarantee(guarantee)).findings
    assert taken_over(scene) in {finding.revision for finding in findings}


@pytest.mark.parametrize(
    ("kind", "values", "guarantee"),
    [
        (RegisteredEvent, {"registration_id": 3}, "G1"),
        (RegisteredEvent, {"last_epoch": 900}, "G3"),
        (RegisteredEvent, {"last_epoch": 3}, "G3"),
        (RegisteredEvent, {"session": 17}, "G1"),
        (DeregisteredEvent, {"epoch": 3}, "G3"),
        (DeregisteredEvent, {"registration_id": 3}, "G1"),
        (StatusChangedEvent, {"old_status": ServiceStatus.DRAINING}, "G1"),
        (StatusChangedEvent, {"new_status": ServiceStatus.DRAINING}, "G1"),
        (SessionClosedEvent, {"session": 5}, "G1"),
    ],
)
async def test_a_changed_event_of_each_kind_is_named(
    tmp_path: Path, kind: type[AnyEvent], values: dict[str, object], guarantee: str
) -> None:
    """The same of the newest event of each kind; its revision is named, or one that does not fit to it."""
    scene = busy_scene()
    await keep(scene, tmp_path)
    change_event(tmp_path, max(event.revision for event in scene.events if isinstance(event, kind)), **values)
    assert guarantee in broken_by(report_of(tmp_path))


@pytest.mark.parametrize("values", [{"reason": ChangeReason.GOODBYE}, {"by": "somebody"}])
@pytest.mark.parametrize("is_registration", [False, True])
async def test_an_end_that_is_told_in_two_ways_is_named(
    tmp_path: Path, values: dict[str, object], is_registration: bool
) -> None:
    """G1: a registration that ends with its session does so for the same reason, and on the same word."""
    scene = busy_scene()
    await keep(scene, tmp_path)
    closed = next(event.revision for event in scene.events if isinstance(event, SessionClosedEvent))
    change_event(tmp_path, closed - 2 if is_registration else closed, **values)
    findings = verdict_of(report_of(tmp_path), Guarantee.G1).findings
    named = {finding.revision for finding in findings if "ended with its session" in finding.what}
    assert named == {closed - 1 if is_registration else closed}


async def test_a_session_that_does_not_end_with_its_registrations_is_named(tmp_path: Path) -> None:
    """G1: an end by itself is told as such."""
    scene = Scene()
    a = scene.client("a")
    a.deregister(a.claim("r"))
    a.beat(ServiceStatus.DEGRADED)
    await keep(scene, tmp_path)
    ended = next(event.revision for event in scene.events if isinstance(event, DeregisteredEvent))
    damage(tmp_path, "UPDATE tenures SET end_reason = 'expired'")
    change_event(tmp_path, ended, reason=ChangeReason.EXPIRED)
    assert broken_by(report_of(tmp_path)) == {"G1": ended + 1}


async def test_two_actives_by_the_events_alone_are_named(tmp_path: Path) -> None:
    """G1 over time: a tenure that begins while another goes on, though no table has both."""
    scene = busy_scene()
    await keep(scene, tmp_path)
    standby = next(event for event in scene.events if isinstance(event, RoleChangedEvent) and event.instance_id == "c")
    change_event(tmp_path, standby.revision, new_role=ServiceRole.ACTIVE, epoch=standby.revision)
    report = report_of(tmp_path)
    assert broken_by(report)["G1"] == standby.revision
    assert "becomes active for 'r' while" in verdict_of(report, Guarantee.G1).says


async def test_an_epoch_that_is_not_its_revision_is_named(tmp_path: Path) -> None:
    """G3: the event that begins a tenure is named, and not only the one that ends it."""
    await keep(busy_scene(), tmp_path)
    change_event(tmp_path, 4, epoch=3)
    verdict = verdict_of(report_of(tmp_path), Guarantee.G3)
    assert verdict.says == "revision 4: the tenure that begins has epoch 3"


async def test_a_swapped_epoch_is_named(tmp_path: Path) -> None:
    """G3: the epochs of two tenures change places, in the table of tenures or that of registrations."""
    scene = busy_scene()
    second = taken_over(scene)
    other = next(
        event.epoch
        for event in scene.events
        if isinstance(event, RegisteredEvent) and event.resource_id == "other" and event.new_role is ServiceRole.ACTIVE
    )
    await keep(scene, tmp_path / "a")
    damage(
        tmp_path / "a",
        "UPDATE tenures SET epoch = -1 WHERE epoch = 4",
        "UPDATE tenures SET epoch = 4 WHERE epoch = :other",
        "UPDATE tenures SET epoch = :other WHERE epoch = -1",
        other=other,
    )
    assert broken_by(report_of(tmp_path / "a"))["G3"] == 4
    await keep(scene, tmp_path / "b")
    damage(tmp_path / "b", "UPDATE registrations SET epoch = 4 WHERE epoch = :second", second=second)
    assert broken_by(report_of(tmp_path / "b")) == {"G1": 4, "G3": 4}


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        ("UPDATE tenures SET end_revision = 900 WHERE epoch = 4", {"G1", "G3"}),
        ("UPDATE tenures SET end_reason = 'resigned' WHERE epoch = 4", {"G1"}),
        ("UPDATE tenures SET instance_id = 'somebody-else' WHERE epoch = 4", {"G3"}),
        ("INSERT INTO tenures VALUES (5, 'r', 's', 'i', 1, 1, 6, 'resigned')", {"G1", "G3"}),
        ("UPDATE registrations SET revision = 900 WHERE role = 'active'", {"G1", "G3"}),
        ("UPDATE registrations SET priority = 900 WHERE role = 'active'", {"G1"}),
        ("UPDATE registrations SET hold_limit_ms = 9000 WHERE role = 'active'", {"G1"}),
        ("DELETE FROM registrations WHERE role = 'active'", {"G1"}),
        ("UPDATE registrations SET registration_id = 5 WHERE role = 'active'", {"G1"}),
        ("UPDATE sessions SET status = 'draining' WHERE number = 5", {"G1"}),
        ("UPDATE sessions SET number = 3 WHERE number = 5", {"G1"}),
        ("DELETE FROM sessions WHERE number = 5", {"G1"}),
    ],
)
async def test_a_table_that_is_not_what_its_events_come_to_is_named(
    tmp_path: Path, statement: str, broken: set[str]
) -> None:
    """The state that a broker would load is the one that its history tells."""
    await keep(busy_scene(), tmp_path)
    damage(tmp_path, statement)
    assert set(broken_by(report_of(tmp_path))) == broken


def test_every_column_is_compared() -> None:
    """What a registration or a session gets as a new column is looked at here too, but for its key and its secret."""
    assert set(KnownRegistration.__slots__) == set(Registration.__struct_fields__) - {"registration_id"}
    assert set(KnownSession.__slots__) == set(Session.__struct_fields__) - {"number", "session_id", "identity"}


async def test_damage_that_only_the_database_sees_is_named(tmp_path: Path) -> None:
    """G1: the index is defined as it should be, and does not have what it should."""
    await keep(busy_scene(), tmp_path)
    redefine = "UPDATE sqlite_schema SET sql = replace(sql, '''{}''', '''{}''') WHERE name = 'one_active_per_resource'"
    damage(tmp_path, "PRAGMA writable_schema = ON", redefine.format("active", "standby"))
    damage(tmp_path, "UPDATE registrations SET resource_id = 'z' WHERE resource_id = 'r' AND priority = 0")
    damage(tmp_path, "PRAGMA writable_schema = ON", redefine.format("standby", "active"))
    assert "the database is damaged" in str(verdict_of(report_of(tmp_path), Guarantee.G1).findings)


async def test_of_many_faults_the_earliest_are_listed(tmp_path: Path) -> None:
    """A report stays readable however much is wrong, and says how much that is."""
    scene = Scene()
    client = scene.client("a")
    for number in range(50):
        client.stand_by(f"r-{number}")
    await keep(scene, tmp_path)
    damage(tmp_path, "UPDATE registrations SET priority = 9")
    verdict = verdict_of(report_of(tmp_path), Guarantee.G1)
    assert (verdict.findings_count, len(verdict.findings), verdict.revision) == (50, 20, 3)
    assert [finding.revision for finding in verdict.findings] == list(range(3, 23))
