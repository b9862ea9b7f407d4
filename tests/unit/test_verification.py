"""`verify` on real histories: what the registry and the store make is proven, and each way to damage it is named.

Stores come about by the real path, the registry's decisions committed to SQLite; damage is done to the closed file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest
from msgspec import structs

from tenure.contract.codec import decode_event, encode
from tenure.contract.events import (
    AnyEvent,
    DeregisteredEvent,
    PreviousHolder,
    RegisteredEvent,
    RoleChangedEvent,
    SessionClosedEvent,
    StatusChangedEvent,
)
from tenure.contract.intervals import (
    AnyIntervalRecord,
    EnteredRecord,
    ExtendedRecord,
    LeftRecord,
    SessionRecord,
    StoppedRecord,
)
from tenure.contract.messages import GivenUp
from tenure.contract.vocabulary import ServiceRole, ServiceStatus
from tenure.domain.beliefs import Beliefs, ImpossibleLogError
from tenure.domain.history import KnownRegistration, KnownSession
from tenure.domain.limits import RegistryLimits
from tenure.domain.records import Batch, Registration, Session
from tenure.domain.verdicts import Guarantee, Report, State, Verdict
from tenure.domain.verification import verify
from tenure.storage.history import read_history
from tests.contract.stores import opened, small
from tests.unit.scene import Scene

ALL = frozenset(Guarantee)


async def keep(scene: Scene, directory: Path, *, events_kept: int = 1_000) -> Path:
    """A closed store with all that a scene decided; returns its directory."""
    async with opened(directory, small(events_kept=events_kept)) as store:
        for decision in scene.decisions:
            if decision.events:
                await store.commit(
                    Batch(
                        first_revision=decision.events[0].revision,
                        changes=decision.changes,
                        events=decision.events,
                        encoded_events=tuple(map(encode, decision.events)),
                    )
                )
                await store.idle()
    return directory


def busy_scene() -> Scene:
    """A history with everything in it: claims, failovers of every kind, repeats, and what has been forgotten.

    At its end `b` is active for `r` under epoch 16, which it took over from `a`, who died under epoch 4.
    """
    scene = Scene(RegistryLimits(abandoned_resources_max=1))
    a = scene.client("a")
    a.claim("elsewhere")
    held = a.claim("r")
    assert held.epoch == 4
    b, c = scene.client("b"), scene.client("c")
    b.compete("r", priority=3)
    b.compete("r", priority=5)
    c.stand_by("r")
    other = c.claim("other")
    c.resign(other)
    c.beat(ServiceStatus.DEGRADED)
    scene.end_session(a)
    assert scene.who("r") == "b | c"
    return scene


def long_scene() -> Scene:
    """As above, and then more than a store keeps if it keeps little: the role goes back and forth between two."""
    scene = busy_scene()
    d, e = scene.client("d"), scene.client("e")
    for number in range(3):  # of three resources that are forgotten, two while `d` has another
        short = d.claim(f"short-{number}")
        d.deregister(short)
    d.claim("short-0")
    d.compete("back-and-forth")
    e.compete("back-and-forth")
    for _ in range(20):
        active, standby = (d, e) if scene.who("back-and-forth").startswith("d") else (e, d)
        view = scene.resource("back-and-forth").active
        assert view is not None
        active.beat(ServiceStatus.HEALTHY, GivenUp(epoch=view.epoch, declined=False))
        standby.compete("back-and-forth")
        active.beat()
    e.goodbye()
    return scene


def report_of(directory: Path, *logs: Iterable[AnyIntervalRecord]) -> Report:
    """The report on a store and on logs, called log-0, log-1 and so on, which are of its history unless they say so."""
    beliefs = Beliefs()
    with read_history(directory) as history:
        for number, log in enumerate(logs):
            beliefs.read(f"log-{number}", [of_history(record, history.history_id) for record in log])
        return verify(history, beliefs)


def of_history(record: AnyIntervalRecord, history_id: str) -> AnyIntervalRecord:
    """A record that names the store's history where a test names none."""
    if isinstance(record, SessionRecord) and not record.history_id:
        return structs.replace(record, history_id=history_id)
    return record


def verdict_of(report: Report, guarantee: Guarantee) -> Verdict:
    """One verdict of a report."""
    (verdict,) = (verdict for verdict in report.verdicts if verdict.guarantee is guarantee)
    return verdict


def broken_by(report: Report) -> dict[str, int | None]:
    """Every guarantee that is broken, and the earliest revision that breaks it."""
    return {str(verdict.guarantee): verdict.revision for verdict in report.verdicts if verdict.state is State.BROKEN}


def damage(directory: Path, *statements: str, **values: int) -> None:
    """Do what no broker does; each statement has to have an effect."""
    with closing(sqlite3.connect(directory / "tenure.db", isolation_level=None)) as connection:
        for statement in statements:
            assert connection.execute(statement, values).rowcount != 0, statement


def change_event(directory: Path, revision: int, **values: object) -> None:
    """Have an event say something else."""
    with closing(sqlite3.connect(directory / "tenure.db", isolation_level=None)) as connection:
        (body,) = connection.execute("SELECT body FROM events WHERE revision = ?", (revision,)).fetchone()
        changed = encode(structs.replace(decode_event(body), **values))
        assert changed != body
        connection.execute("UPDATE events SET body = ? WHERE revision = ?", (changed, revision))


def log_of(scene: Scene, instance: str, *records: AnyIntervalRecord, boot_id: str = "boot") -> list[AnyIntervalRecord]:
    """A log of the session that registered an instance first."""
    session = next(
        event.session for event in scene.events if isinstance(event, RegisteredEvent) and event.instance_id == instance
    )
    own = SessionRecord(format=1, history_id="", session=session, boot_id=boot_id, pid=9, lease_ms=2_000)
    return [own, *records]


def entered(epoch: int, at_ms: float, until_ms: float, *, unix_ms: int = 0) -> EnteredRecord:
    """A tenure is entered."""
    return EnteredRecord(epoch=epoch, at_ms=at_ms, until_ms=until_ms, unix_ms=unix_ms)


def extended(epoch: int, at_ms: float, until_ms: float, revision: int = 1) -> ExtendedRecord:
    """A tenure is extended."""
    return ExtendedRecord(epochs=(epoch,), at_ms=at_ms, until_ms=until_ms, revision=revision)


def left(epoch: int, at_ms: float) -> LeftRecord:
    """A tenure is left."""
    return LeftRecord(epoch=epoch, at_ms=at_ms, why="it resigned")


def taken_over(scene: Scene) -> int:
    """The epoch under which `b` is active for `r` after `a`, who died."""
    return next(
        event.epoch
        for event in scene.events
        if isinstance(event, RoleChangedEvent) and event.new_role is ServiceRole.ACTIVE and event.instance_id == "b"
    )


# --- what is proven ---------------------------------------------------------------------------------------------------


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


async def test_a_new_store_is_proven(tmp_path: Path) -> None:
    """A history without events holds what it promises."""
    report = report_of(await keep(Scene(), tmp_path))
    assert (report.events, report.last_revision, report.is_broken) == (0, 0, False)


# --- what is broken ---------------------------------------------------------------------------------------------------


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


async def test_two_actives_by_the_events_alone_are_named(tmp_path: Path) -> None:
    """G1 over time: a tenure that begins while another goes on, though no table has both."""
    scene = busy_scene()
    await keep(scene, tmp_path)
    standby = next(event for event in scene.events if isinstance(event, RoleChangedEvent) and event.instance_id == "c")
    change_event(tmp_path, standby.revision, new_role=ServiceRole.ACTIVE, epoch=standby.revision)
    report = report_of(tmp_path)
    assert broken_by(report)["G1"] == standby.revision
    assert "becomes active for 'r' while" in verdict_of(report, Guarantee.G1).says


async def test_a_swapped_epoch_is_named(tmp_path: Path) -> None:
    """G3: the epochs of two tenures change places, in the table of tenures or that of registrations."""
    scene = busy_scene()
    second = taken_over(scene)
    await keep(scene, tmp_path / "a")
    damage(
        tmp_path / "a",
        "UPDATE tenures SET epoch = -1 WHERE epoch = 4",
        "UPDATE tenures SET epoch = 4 WHERE epoch = :second",
        "UPDATE tenures SET epoch = :second WHERE epoch = -1",
        second=second,
    )
    assert broken_by(report_of(tmp_path / "a"))["G3"] == 4
    await keep(scene, tmp_path / "b")
    damage(tmp_path / "b", "UPDATE registrations SET epoch = 4 WHERE epoch = :second", second=second)
    assert broken_by(report_of(tmp_path / "b")) == {"G3": second}


ENDLESS = "UPDATE tenures SET end_revision = NULL, ended_ms = NULL, end_reason = NULL"


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        ("UPDATE tenures SET end_revision = 900 WHERE epoch = 4", {"G1", "G3"}),
        ("UPDATE tenures SET end_reason = 'resigned' WHERE epoch = 4", {"G1"}),
        ("UPDATE tenures SET instance_id = 'somebody-else' WHERE epoch = 4", {"G3"}),
        (f"{ENDLESS} WHERE epoch = 4", {"G1"}),
        (f"{ENDLESS} WHERE resource_id = 'other'", {"G1"}),
        ("DELETE FROM tenures WHERE end_revision IS NULL", {"G1"}),
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


# --- interval logs ----------------------------------------------------------------------------------------------------


async def handed_over(scene: Scene, directory: Path) -> tuple[int, int, Path]:
    """A store in which `a` fell silent and `b` took over `r`: both epochs, and where it is."""
    first = scene.client("a").claim("r")
    b = scene.client("b")
    b.compete("r")
    scene.pass_ms(2_500, b)
    view = scene.resource("r").active
    assert view is not None
    assert view.instance_id == "b"
    return first.epoch, view.epoch, await keep(scene, directory)


@pytest.mark.parametrize(
    ("first", "begins_ms", "is_broken"),
    [
        ([(100.0, 2_000.0)], 2_000.0, False),
        ([(100.0, 2_000.0)], 1_999.0, True),
        ([(100.0, 2_000.0), (500.0, 2_400.0)], 2_399.0, True),
        ([(100.0, 2_000.0), (500.0, 2_400.0)], 2_400.0, False),
    ],
)
async def test_overlapping_beliefs_are_named(
    tmp_path: Path, first: list[tuple[float, float]], begins_ms: float, is_broken: bool
) -> None:
    """G2: whoever fell silent may believe to the end of its lease, and nobody before that."""
    scene = Scene()
    before, after, place = await handed_over(scene, tmp_path)
    (begin, *more) = first
    lines = [entered(before, *begin), *(extended(before, *times) for times in more)]
    report = report_of(
        place, log_of(scene, "a", *lines), log_of(scene, "b", entered(after, begins_ms, begins_ms + 1_900))
    )
    assert broken_by(report) == ({"G2": after} if is_broken else {})
    assert all(name in verdict_of(report, Guarantee.G2).says for name in (("log-0", "log-1") if is_broken else ()))


@pytest.mark.parametrize(
    ("left_ms", "begins_ms", "is_broken"),
    [(700.0, 700.0, False), (700.0, 699.0, True), (9_000.0, 2_000.0, False), (9_000.0, 1_999.0, True)],
)
async def test_a_belief_ends_when_it_was_left_or_with_its_lease(
    tmp_path: Path, left_ms: float, begins_ms: float, is_broken: bool
) -> None:
    """G2: a process that woke late writes a late end, but had not believed since its lease was over."""
    scene = Scene()
    before, after, place = await handed_over(scene, tmp_path)
    report = report_of(
        place,
        log_of(scene, "a", entered(before, 100.0, 2_000.0), left(before, left_ms)),
        log_of(scene, "b", entered(after, begins_ms, begins_ms + 1_900)),
    )
    assert broken_by(report) == ({"G2": after} if is_broken else {})


async def test_a_belief_within_another_hides_nothing(tmp_path: Path) -> None:
    """G2: the longest belief of those before counts, not the newest."""
    scene = Scene()
    a, b = scene.client("a"), scene.client("b")
    epochs = [a.claim("r").epoch]
    b.compete("r")
    for client, other in ((a, b), (b, a)):
        client.beat(ServiceStatus.HEALTHY, GivenUp(epoch=epochs[-1], declined=True))
        view = scene.resource("r").active
        assert view is not None
        assert view.instance_id == other.name
        epochs.append(view.epoch)
    place = await keep(scene, tmp_path)
    mine = log_of(
        scene, "a", entered(epochs[0], 1.0, 900.0), left(epochs[0], 800.0), entered(epochs[2], 700.0, 2_000.0)
    )
    report = report_of(place, mine, log_of(scene, "b", entered(epochs[1], 2.0, 900.0), left(epochs[1], 3.0)))
    found = [finding.revision for finding in verdict_of(report, Guarantee.G2).findings]
    assert found == [epochs[1], epochs[2]]


async def test_proof_of_death_does_not_cover_who_was_seen_alive(tmp_path: Path) -> None:
    """G2: a successor may begin within the lease of one that died, but not before the last that was heard of it."""
    scene = busy_scene()
    second = taken_over(scene)
    place = await keep(scene, tmp_path)
    dead = log_of(scene, "a", entered(4, 100.0, 2_000.0), extended(4, 500.0, 2_400.0))
    assert broken_by(report_of(place, dead, log_of(scene, "b", entered(second, 500.0, 2_400.0)))) == {}
    assert broken_by(report_of(place, dead, log_of(scene, "b", entered(second, 499.0, 2_400.0)))) == {"G2": second}


async def test_clocks_of_two_machines_are_not_compared(tmp_path: Path) -> None:
    """G2: neither another boot nor a boot that is not told proves or breaks anything; wall clocks are a hint."""
    scene = Scene()
    before, after, place = await handed_over(scene, tmp_path)
    for boot_id in ("another boot", ""):
        report = report_of(
            place,
            log_of(scene, "a", entered(before, 100.0, 2_000.0, unix_ms=10_000)),
            log_of(scene, "b", entered(after, 1_000.0, 3_000.0, unix_ms=11_000), boot_id=boot_id),
        )
        assert broken_by(report) == {}
        assert "1 pairs of different clocks not compared" in verdict_of(report, Guarantee.G2).says
        assert "overlap in 1 cases" in verdict_of(report, Guarantee.G2).says
    report = report_of(
        place,
        log_of(scene, "a", entered(before, 100.0, 2_000.0, unix_ms=10_000)),
        log_of(scene, "b", entered(after, 1_000.0, 3_000.0, unix_ms=11_900), boot_id="another boot"),
    )
    assert "show no overlap" in verdict_of(report, Guarantee.G2).says


async def test_a_tenure_believed_by_two_or_by_the_wrong_one_or_again_is_named(tmp_path: Path) -> None:
    """G2: a tenure has one holder, the session it was granted to, and is not entered once it was left."""
    scene = Scene()
    first, second, place = await handed_over(scene, tmp_path)
    own = log_of(scene, "a", entered(first, 1.0, 2.0))
    both = report_of(place, own, log_of(scene, "a", entered(first, 5.0, 6.0), boot_id="another boot"))
    assert broken_by(both) == {"G2": first}
    assert "both believe" in verdict_of(both, Guarantee.G2).says
    wrong = report_of(place, log_of(scene, "a", entered(second, 1.0, 2.0)))
    assert "of session" in verdict_of(wrong, Guarantee.G2).says
    again = log_of(scene, "a", entered(first, 1.0, 9.0), left(first, 2.0), entered(first, 3.0, 9.0))
    assert broken_by(report_of(place, again)) == {"G2": first}
    longer = log_of(scene, "a", entered(first, 1.0, 9.0), left(first, 2.0), extended(first, 3.0, 19.0))
    assert broken_by(report_of(place, longer)) == {"G2": first}


async def test_an_acknowledged_revision_that_the_store_lacks_is_named(tmp_path: Path) -> None:
    """G4: a heartbeat's answer or a grant beyond the end of the store; and a grant that is not one by the store."""
    scene = Scene()
    first, second, place = await handed_over(scene, tmp_path)
    newest = scene.registry.revision
    assert (
        broken_by(report_of(place, log_of(scene, "a", entered(first, 1.0, 9.0), extended(first, 2.0, 9.0, newest))))
        == {}
    )
    lost = log_of(scene, "a", entered(first, 1.0, 9.0), extended(first, 2.0, 9.0, newest + 1))
    assert broken_by(report_of(place, lost)) == {"G4": newest + 1}
    assert broken_by(report_of(place, log_of(scene, "a", entered(900, 1.0, 9.0)))) == {"G4": 900}
    assert broken_by(report_of(place, log_of(scene, "a", entered(second - 1, 1.0, 9.0)))) == {"G4": second - 1}


async def test_a_log_of_another_history_is_named(tmp_path: Path) -> None:
    """G4: what was acknowledged in another history is not in this one, and its revisions say nothing here."""
    scene = Scene()
    first, _, place = await handed_over(scene, tmp_path)
    session, *lines = log_of(scene, "a", entered(first, 1.0, 9.0))
    assert isinstance(session, SessionRecord)
    report = report_of(place, [structs.replace(session, history_id="another"), *lines])
    assert broken_by(report) == {"G4": first}
    assert "history another" in verdict_of(report, Guarantee.G4).says


async def test_what_a_log_does_not_cover_is_said(tmp_path: Path) -> None:
    """Logs that stopped, and tenures of before the events that are kept, are counted and not passed over."""
    scene = long_scene()
    place = await keep(scene, tmp_path, events_kept=20)
    report = report_of(
        place, log_of(scene, "a", entered(4, 1.0, 9.0), StoppedRecord(at_ms=2.0, why="the disk is full"))
    )
    assert not report.is_broken
    assert "1 of tenures that are no longer kept" in verdict_of(report, Guarantee.G2).says
    assert "1 logs stopped" in verdict_of(report, Guarantee.G2).says


async def test_a_tenure_that_began_before_the_events_that_are_kept_is_found(tmp_path: Path) -> None:
    """The newest tenure of a resource stays in its table for as long as the resource does."""
    scene = long_scene()
    second = taken_over(scene)
    place = await keep(scene, tmp_path, events_kept=3)
    report = report_of(place, log_of(scene, "b", entered(second, 1.0, 9.0)))
    assert report.first_revision > second
    assert "no longer kept" not in verdict_of(report, Guarantee.G2).says
    assert broken_by(report) == {}


@pytest.mark.parametrize(
    "lines",
    [
        [entered(4, 1.0, 2.0)],
        [SessionRecord(format=1, history_id="h", session=1, boot_id="b", pid=1, lease_ms=1), left(4, 1.0)],
        [SessionRecord(format=1, history_id="h", session=1, boot_id="b", pid=1, lease_ms=1), extended(4, 1.0, 2.0)],
    ],
)
def test_lines_that_no_client_writes_are_refused(lines: list[AnyIntervalRecord]) -> None:
    """A log without its session, or that leaves what it never entered, is no ground for a verdict."""
    with pytest.raises(ImpossibleLogError, match="the-log"):
        Beliefs().read("the-log", lines)
