"""What the broker logs: one line per change of a role, per word of a person and per refused claim."""

from __future__ import annotations

import asyncio
import io
from datetime import UTC, datetime, timedelta

import pytest
from msgspec import structs

from tenure.broker.logs import (
    CONFLICTS_TOLD_MAX,
    ConflictLog,
    RoleLog,
    log_intervention,
    log_role_change,
    log_role_conflict,
    make_logger,
    role_fields,
)
from tenure.contract.errors import ErrorCode, ErrorInfo, RoleConflictError
from tenure.contract.events import (
    DeregisteredEvent,
    RegisteredEvent,
    ResourcePausedEvent,
    ResourceResumedEvent,
    SessionOpenedEvent,
)
from tenure.contract.interventions import (
    CancelSwitchover,
    ChangeRoles,
    ExpireSession,
    PauseResource,
    ResumeResource,
    RoleChange,
    Switchover,
)
from tenure.contract.messages import Register
from tenure.contract.views import Holder
from tenure.contract.vocabulary import ChangeReason, ResumeReason, ServiceRole, ServiceStatus
from tests.turns import turns
from tests.unit.logged import FAILOVER, lines

HOLDER = Holder(service_name="order-gateway", instance_id="gw-1", epoch=12, since_ms=1_800_000_000_250)


def test_role_change_is_one_line_of_json() -> None:
    """A failover is one INFO line with who, for what, under which epoch, why, and whose tenure came before."""
    stream = io.StringIO()
    log_role_change(make_logger("info", "json", stream), FAILOVER)
    (line,) = lines(stream)
    timestamp = line.pop("timestamp")
    assert timestamp.endswith("Z")
    assert datetime.now(UTC) - datetime.fromisoformat(timestamp) < timedelta(hours=1)
    assert line == {
        "level": "info",
        "event": "role.changed",
        "service_name": "order-gateway",
        "instance_id": "gw-1",
        "resource_id": "account-42",
        "role": "active",
        "epoch": 12,
        "old_role": "standby",
        "new_role": "active",
        "reason": "failover",
        "revision": 12,
        "previous_holder": "order-gateway/gw-2",
        "previous_epoch": 4,
    }


def test_the_end_of_a_tenure_says_how_silent_it_was_and_who_asked_for_it() -> None:
    """A planned move names who planned it, and any end of a tenure how long its holder had not been heard."""
    stream = io.StringIO()
    ended = structs.replace(FAILOVER, reason=ChangeReason.SWITCHOVER, silent_ms=120, by="ada (uid:7)")
    log_role_change(make_logger("info", "json", stream), ended)

    (line,) = lines(stream)

    assert (line["reason"], line["silent_ms"], line["by"]) == ("switchover", 120, "ada (uid:7)")


async def test_many_changes_are_written_over_several_turns_of_the_loop() -> None:
    """Thousands of lines do not keep the loop, they come in order whenever they were committed, and an end has all."""
    stream = io.StringIO()
    log = RoleLog(make_logger("info", "json", stream), asyncio.get_running_loop())
    log.tell([structs.replace(FAILOVER, revision=revision) for revision in range(1_000)])
    at_once = len(lines(stream))
    assert 0 < at_once < 1_000

    log.tell([structs.replace(FAILOVER, revision=1_000)])
    await turns()
    assert at_once < len(lines(stream)) < 1_000

    log.tell_all()
    await turns()
    assert [line["revision"] for line in lines(stream)] == list(range(1_001))


async def test_a_few_changes_are_written_at_once() -> None:
    """Who reads the log of a single change does not wait for the loop's next turn."""
    stream = io.StringIO()
    opened = SessionOpenedEvent(revision=1, at_ms=1, lease_ms=2_000)
    RoleLog(make_logger("info", "json", stream), asyncio.get_running_loop()).tell([opened, FAILOVER])
    RoleLog(make_logger("warning", "json", stream), asyncio.get_running_loop()).tell([FAILOVER])
    assert [line["revision"] for line in lines(stream)] == [12]


async def test_committed_pauses_are_written_among_the_changes_of_roles() -> None:
    """That one has begun, and why it is over: so the log shows a pause that ended by itself, too."""
    stream = io.StringIO()
    paused = ResourcePausedEvent(revision=1, at_ms=1, resource_id="r", why="work", until_ms=1_000, by="ada")
    resumed = ResourceResumedEvent(revision=2, at_ms=1, resource_id="r", reason=ResumeReason.EXPIRED)
    log = RoleLog(make_logger("info", "json", stream), asyncio.get_running_loop())
    log.tell([paused, resumed, FAILOVER])
    first, second, third = lines(stream)
    assert (first["event"], first["until"], first["why"], first["by"]) == (
        "resource.paused",
        "1970-01-01T00:00:01.000000Z",
        "work",
        "ada",
    )
    assert (second["event"], second["reason"], "by" in second) == ("resource.resumed", "expired", False)
    assert third["event"] == "role.changed"


def test_what_people_ask_for_is_written_down() -> None:
    """Who asked for a switchover, its end or a session's, which user the kernel says it was, and what came of it."""
    stream = io.StringIO()
    log = make_logger("info", "json", stream)

    alive = ErrorInfo(code=ErrorCode.INSTANCE_ALIVE, message="it was heard")
    log_intervention(log, Switchover(resource_id="r", epoch=4, drain_ms=500, by="ada"), "uid:7", None)
    log_intervention(log, CancelSwitchover(resource_id="r", epoch=4, by="eve"), "uid:7", None)
    log_intervention(log, ExpireSession(session=6, by="ada"), "uid:7", None)
    log_intervention(log, ExpireSession(session=7, by="ada"), "uid:7", alive)

    asked, cancelled, dead, refused = lines(stream)
    assert (asked["event"], asked["by"], asked["identity"], asked["drain_ms"], asked["outcome"]) == (
        "switchover.requested",
        "ada",
        "uid:7",
        500,
        "accepted",
    )
    assert (cancelled["event"], cancelled["resource_id"], cancelled["epoch"]) == (
        "switchover.withdrawal_requested",
        "r",
        4,
    )
    assert (cancelled["by"], cancelled["identity"], cancelled["outcome"]) == ("eve", "uid:7", "accepted")
    assert (dead["event"], dead["level"], dead["session"], dead["by"], dead["outcome"]) == (
        "session.end_requested",
        "warning",
        6,
        "ada",
        "accepted",
    )
    assert (refused["session"], refused["outcome"], refused["error"]) == (7, "instance_alive", "it was heard")


def test_pauses_and_changes_of_roles_are_written_down() -> None:
    """A pause is a warning, since what it lets happen is one; the others are not."""
    stream = io.StringIO()
    log = make_logger("info", "json", stream)

    log_intervention(log, PauseResource(resource_id="r", why="work", for_ms=5_000, by="ada"), "uid:7", None)
    log_intervention(log, ResumeResource(resource_id="r", by="eve"), "", None)
    change = RoleChange(registration_id=7, role=ServiceRole.ACTIVE)
    log_intervention(log, ChangeRoles(changes=(change, change), drain_ms=500, by="ada"), "uid:7", None)

    told = [(line["event"], line["level"], line["by"], line["outcome"]) for line in lines(stream)]
    assert told == [
        ("pause.requested", "warning", "ada", "accepted"),
        ("resume.requested", "info", "eve", "accepted"),
        ("role_changes.requested", "info", "ada", "accepted"),
    ]
    paused, _, changed = lines(stream)
    assert (paused["resource_id"], paused["why"], paused["for_ms"], paused["identity"]) == ("r", "work", 5_000, "uid:7")
    assert (changed["changes"], changed["drain_ms"]) == (2, 500)


def test_beginning_and_end_of_a_registration_are_role_changes() -> None:
    """A new registration comes from no role and one that ends goes to none; neither invents a previous holder."""
    stream = io.StringIO()
    log = make_logger("info", "json", stream)
    log_role_change(
        log,
        RegisteredEvent(
            revision=1,
            at_ms=0,
            registration_id=1,
            new_role=ServiceRole.STANDBY,
            reason=ChangeReason.REGISTERED,
            session=1,
            lease_ms=2_000,
            status=ServiceStatus.HEALTHY,
            resource_id="r",
            service_name="s",
            instance_id="i",
        ),
    )
    log_role_change(
        log,
        DeregisteredEvent(
            revision=2,
            at_ms=0,
            registration_id=1,
            old_role=ServiceRole.ACTIVE,
            epoch=1,
            reason=ChangeReason.EXPIRED,
            resource_id="r",
            service_name="s",
            instance_id="i",
        ),
    )
    began, ended = lines(stream)
    assert (began["old_role"], began["new_role"], began["role"], began["epoch"]) == (None, "standby", "standby", 0)
    assert (ended["old_role"], ended["new_role"], ended["role"], ended["epoch"]) == ("active", None, None, 1)
    assert (began["reason"], ended["reason"]) == ("registered", "expired")
    assert "previous_holder" not in began
    assert "previous_holder" not in ended


def test_role_fields_are_the_five_that_every_line_has() -> None:
    """The fields to bind to a logger are those that users filter by."""
    assert role_fields(FAILOVER) == {
        "service_name": "order-gateway",
        "instance_id": "gw-1",
        "resource_id": "account-42",
        "role": "active",
        "epoch": 12,
    }


def test_role_conflict_is_a_warning_with_both_sides() -> None:
    """A refused claim says who asked and who holds the role, under which epoch and since when."""
    stream = io.StringIO()
    request = Register(service_name="order-gateway", instance_id="gw-9", role=ServiceRole.ACTIVE)
    error = RoleConflictError.held("order-gateway", HOLDER).info
    log_role_conflict(make_logger("info", "json", stream), request, error)
    (line,) = lines(stream)
    del line["timestamp"]
    assert line == {
        "level": "warning",
        "event": "role.conflict",
        "service_name": "order-gateway",
        "instance_id": "gw-9",
        "resource_id": "order-gateway",
        "role": "active",
        "epoch": 12,
        "holder": "order-gateway/gw-1",
        "holder_since": "2027-01-15T08:00:00.250000Z",
    }


def test_whoever_is_refused_in_a_loop_does_not_fill_the_log() -> None:
    """★ Twenty refused claims a second are written; of the others it is said how many there were, once each second."""
    stream = io.StringIO()
    conflicts = ConflictLog(make_logger("info", "json", stream))
    refused = (
        Register(service_name="order-gateway", instance_id="gw-9", role=ServiceRole.ACTIVE),
        RoleConflictError.held("order-gateway", HOLDER).info,
    )

    for number in range(50):
        conflicts.tell([refused] * 2, 5_000 + number)
    conflicts.tell((), 6_000)
    conflicts.tell((), 6_100)
    conflicts.tell([refused], 6_200)
    conflicts.tell((), 7_000)

    written = lines(stream)
    assert [line["event"] for line in written] == [
        *["role.conflict"] * CONFLICTS_TOLD_MAX,
        "role.conflicts_left_out",
        "role.conflict",
    ]
    assert written[CONFLICTS_TOLD_MAX]["count"] == 100 - CONFLICTS_TOLD_MAX


def test_role_conflict_needs_its_holder() -> None:
    """An error that names no holder is no role conflict, and is not logged as one."""
    error = ErrorInfo(code=RoleConflictError.code, message="")
    with pytest.raises(AssertionError, match="names the holder"):
        log_role_conflict(
            make_logger("info", "json", io.StringIO()), Register(service_name="s", instance_id="i"), error
        )
