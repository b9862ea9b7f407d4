"""What a broker sends to clients: each message with every field set, and with as little as it takes."""

from __future__ import annotations

from typing import Final

from tenure.contract.errors import ErrorCode, ErrorInfo
from tenure.contract.history import EventPage, TenurePage
from tenure.contract.interventions import (
    Paused,
    Resumed,
    RoleChangeResult,
    RoleChangesAccepted,
    SessionEnded,
    SwitchoverCancelled,
    SwitchoverStarted,
)
from tenure.contract.messages import (
    Closing,
    Deregistered,
    ErrorReply,
    Farewell,
    HeartbeatAck,
    PresencePage,
    Registered,
    RegisteredMany,
    RegisterResult,
    Resigned,
    Resource,
    RolePage,
    RoleStatement,
    RoleStatements,
    ServicePage,
    StepDown,
    Welcome,
)
from tenure.contract.views import Holder, Presence, TenureView
from tenure.contract.vocabulary import ChangeReason, ServiceRole, ServiceStatus
from tests.contract.example import AT_MS, HISTORY, Example
from tests.contract.example_views import (
    INSTANCE_FULL,
    INSTANCE_SHORT,
    MEASUREMENTS_FULL,
    MEASUREMENTS_SHORT,
    MOVE_FULL,
    MOVE_SHORT,
    PAUSE_FULL,
    RESOURCE_FULL,
    RESOURCE_VACANT,
)
from tests.contract.examples_of_events import ROLE_CHANGED_FULL, SESSION_CLOSED

HOLDER: Final = Holder(service_name="order-gateway", instance_id="gw-1", epoch=41, since_ms=AT_MS)

STATEMENT_FULL: Final = RoleStatement(
    registration_id=7, role=ServiceRole.ACTIVE, epoch=42, revision=42, hold_limit_ms=30_000
)
STEP_DOWN: Final = StepDown(registration_id=7, epoch=42, drain_ms=5_000)
STATEMENT_GONE: Final = RoleStatement(registration_id=7, role=None, revision=300)

ERROR_FULL: Final = ErrorInfo(
    code=ErrorCode.ROLE_CONFLICT,
    message="resource 'account-42' already has an active instance",
    holder=HOLDER,
    retry_after_ms=1_500,
    limit=1_000,
    revision=65_536,
    index=2,
)
ERROR_SHORT: Final = ErrorInfo(code=ErrorCode.NOT_FOUND, message="no such registration")

REGISTERED_FULL: Final = Registered(
    registration_id=42,
    resource_id="account-42",
    role=ServiceRole.ACTIVE,
    epoch=42,
    revision=42,
    hold_limit_ms=30_000,
    previous_epoch=40,
)
REGISTERED_SHORT: Final = Registered(
    registration_id=42, resource_id="account-42", role=ServiceRole.STANDBY, revision=42
)

BROKER: Final = (
    Example(
        "broker",
        "full",
        Welcome(
            version=1,
            history_id=HISTORY,
            revision=43,
            session=6,
            lease_ms=2_000,
            heartbeat_interval_ms=400,
            events_endpoints=("ipc:///run/user/1000/tenure/events.ipc", "tcp://127.0.0.1:7401"),
            broker="tenure/0.1.0",
        ),
    ),
    Example("broker", "short", Welcome(version=1, history_id=HISTORY, revision=0)),
    Example(
        "broker",
        "full",
        HeartbeatAck(
            session=6,
            sequence=128,
            revision=300,
            confirmed=(42, 300),
            given_up=(41,),
            statements=(STATEMENT_FULL, STATEMENT_GONE),
            asked=(STEP_DOWN,),
        ),
    ),
    Example("broker", "short", HeartbeatAck(session=6, sequence=1, revision=6)),
    Example("broker", "full", RoleStatements(statements=(STATEMENT_FULL,))),
    Example("broker", "full", REGISTERED_FULL),
    Example("broker", "short", REGISTERED_SHORT),
    Example(
        "broker",
        "full",
        RegisteredMany(
            results=(RegisterResult(registered=REGISTERED_FULL), RegisterResult(error=ERROR_SHORT)),
        ),
    ),
    Example(
        "broker", "full", Resigned(statement=RoleStatement(registration_id=7, role=ServiceRole.STANDBY, revision=44))
    ),
    Example("broker", "full", Deregistered(statement=STATEMENT_GONE)),
    Example("broker", "full", SwitchoverStarted(registration_id=7, epoch=42)),
    Example("broker", "full", SwitchoverCancelled(epoch=42)),
    Example("broker", "full", SessionEnded(session=6, registration_count=3)),
    Example("broker", "full", Paused(pause=PAUSE_FULL)),
    Example("broker", "full", Resumed(pause=PAUSE_FULL)),
    Example(
        "broker",
        "full",
        RoleChangesAccepted(
            results=(
                RoleChangeResult(registration_id=200, awaited_epoch=42),
                RoleChangeResult(registration_id=201, epoch=301),
            )
        ),
    ),
    Example("broker", "full", StepDown(registration_id=7, epoch=42, drain_ms=5_000, withdrawn=True)),
    Example("broker", "short", StepDown(registration_id=7, epoch=42)),
    Example("broker", "full", Farewell()),
    Example(
        "broker",
        "full",
        ServicePage(
            history_id=HISTORY,
            revision=300,
            instances=(INSTANCE_FULL, INSTANCE_SHORT),
            next_after=200,
            pauses=(PAUSE_FULL,),
        ),
    ),
    Example("broker", "short", ServicePage(history_id=HISTORY, revision=0, instances=())),
    Example("broker", "full", RolePage(revision=300, resources=(RESOURCE_FULL, RESOURCE_VACANT), next_after=200)),
    Example("broker", "short", RolePage(revision=0, resources=())),
    Example("broker", "full", Resource(revision=300, resource=RESOURCE_FULL, moves=(MOVE_SHORT, MOVE_FULL))),
    Example("broker", "short", Resource(revision=300, resource=RESOURCE_VACANT)),
    Example(
        "broker",
        "full",
        PresencePage(
            presence=(
                Presence(session=6, status=ServiceStatus.HEALTHY, lease_left_ms=1_999, loop_lag_ms=3, margin_ms=1_597),
                Presence(session=199, status=ServiceStatus.STARTING, lease_left_ms=0),
            ),
            next_after=199,
        ),
    ),
    Example("broker", "short", PresencePage(presence=())),
    Example("broker", "full", EventPage(history_id=HISTORY, events=(ROLE_CHANGED_FULL, SESSION_CLOSED), revision=45)),
    Example(
        "broker",
        "full",
        TenurePage(
            history_id=HISTORY,
            tenures=(
                TenureView(epoch=42, service_name="order-gateway", instance_id="gw-2", began_ms=AT_MS),
                TenureView(
                    epoch=41,
                    service_name="order-gateway",
                    instance_id="gw-1",
                    began_ms=AT_MS - 60_000,
                    ended_ms=AT_MS,
                    end_revision=42,
                    end_reason=ChangeReason.REVOKED,
                    certain_until_ms=AT_MS - 1_900,
                    possible_until_ms=AT_MS,
                    by="ada (uid:1000)",
                ),
            ),
            next_before=41,
        ),
    ),
    Example("broker", "short", TenurePage(history_id=HISTORY, tenures=())),
    Example("broker", "full", MEASUREMENTS_FULL),
    Example("broker", "short", MEASUREMENTS_SHORT),
    Example("broker", "full", ErrorReply(error=ERROR_FULL)),
    Example("broker", "full", Closing()),
)
