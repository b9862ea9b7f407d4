"""Stores with a history, made by the real path: what the registry decides is committed to SQLite; and logs beside it.

Damage is done to the closed file, by statements or to the body of an event.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from msgspec import structs

from tenure.contract.codec import decode_event, encode
from tenure.contract.events import (
    RegisteredEvent,
    RoleChangedEvent,
)
from tenure.contract.intervals import (
    AnyIntervalRecord,
    EnteredRecord,
    ExtendedRecord,
    LeftRecord,
    SessionRecord,
)
from tenure.contract.messages import GivenUp
from tenure.contract.vocabulary import ServiceRole, ServiceStatus
from tenure.domain.beliefs import Beliefs
from tenure.domain.limits import RegistryLimits
from tenure.domain.records import Batch
from tenure.domain.verdicts import Guarantee, Report, State, Verdict
from tenure.domain.verification import verify
from tenure.storage.history import read_history
from tests.contract.stores import opened, small
from tests.unit.scene import Scene


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
