"""One message of each kind with every field set, and one with as little as it takes; golden/messages.txt has the bytes.

`python -m tests.contract.examples >tests/contract/golden/messages.txt` writes that file anew. Whoever does so changes
the protocol: bytes that other people's clients send and expect. New lines are fine, changed ones need a new version.
"""

from __future__ import annotations

import sys
from typing import Final, NamedTuple, get_args

from msgspec import Struct

from tenure.contract import codec
from tenure.contract.errors import ErrorCode, ErrorInfo
from tenure.contract.events import (
    AnyEvent,
    DeregisteredEvent,
    PreviousHolder,
    RegisteredEvent,
    RegistrationUpdatedEvent,
    ResourcePausedEvent,
    ResourceResumedEvent,
    RoleChangedEvent,
    SessionClosedEvent,
    SessionOpenedEvent,
    StatusChangedEvent,
)
from tenure.contract.interventions import (
    CancelSwitchover,
    ChangeRoles,
    ExpireSession,
    Paused,
    PauseResource,
    Resumed,
    ResumeResource,
    RoleChange,
    RoleChangeResult,
    RoleChangesAccepted,
    SessionEnded,
    Switchover,
    SwitchoverCancelled,
    SwitchoverStarted,
)
from tenure.contract.measurements import Count, GetMeasurements, Histogram, Measurements
from tenure.contract.message import Message
from tenure.contract.messages import (
    BrokerMessage,
    ClientMessage,
    Closing,
    Deregister,
    Deregistered,
    Entered,
    ErrorReply,
    EventPage,
    Events,
    Farewell,
    GetResource,
    GivenUp,
    Goodbye,
    Heartbeat,
    HeartbeatAck,
    Hello,
    ListPresence,
    ListRoles,
    ListServices,
    ListTenures,
    PresencePage,
    ProcessIdentity,
    Progress,
    ReadEvents,
    Register,
    Registered,
    RegisteredMany,
    RegisterMany,
    RegisterResult,
    Resign,
    Resigned,
    Resource,
    RolePage,
    RoleStatement,
    RoleStatements,
    ServicePage,
    StepDown,
    StreamMessage,
    TenurePage,
    Welcome,
)
from tenure.contract.views import Holder, Move, Pause, Presence, ResourceView, ServiceInstance, TenureView
from tenure.contract.views import Switchover as SwitchoverView
from tenure.contract.vocabulary import ChangeReason, Channel, OnConflict, ResumeReason, ServiceRole, ServiceStatus

HISTORY: Final = "01989d1a7c3e4f0b8a52c6d7e8f90a1b"
AT_MS: Final = 1_767_225_600_000
FIRST_EPOCH: Final = 2**53 - 1
"""The greatest integer that every language has."""


class Example(NamedTuple):
    """A message or an event, and how much of it is set."""

    direction: str
    """`client`, `broker`, `stream` or `event`: which union it belongs to."""
    extent: str
    """`full`: every field differs from its default. `short`: only what has no default is there."""
    value: Message | AnyEvent

    @property
    def name(self) -> str:
        """What the example is called in golden/messages.txt."""
        return f"{self.direction} {type(self.value).__struct_config__.tag} {self.extent}"


def kinds(direction: str) -> tuple[type[Struct], ...]:
    """Every kind of message in one direction, from the union that the codec decodes."""
    unions = {"client": ClientMessage, "broker": BrokerMessage, "stream": StreamMessage, "event": AnyEvent}
    return get_args(unions[direction].__value__)


HOLDER: Final = Holder(service_name="order-gateway", instance_id="gw-1", epoch=41, since_ms=AT_MS)

REGISTER_FULL: Final = Register(
    service_name="order-gateway",
    instance_id="gw-2",
    resource_id="account-42",
    role=ServiceRole.ACTIVE,
    on_conflict=OnConflict.STANDBY,
    priority=-5,
    hold_limit_ms=30_000,
    metadata={"host": "müller-1", "zone": ""},
)
REGISTER_SHORT: Final = Register(service_name="order-gateway", instance_id="gw-2")

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

INSTANCE_FULL: Final = ServiceInstance(
    registration_id=7,
    service_name="order-gateway",
    instance_id="gw-2",
    resource_id="account-42",
    role=ServiceRole.ACTIVE,
    epoch=42,
    role_revision=42,
    revision=43,
    since_ms=AT_MS,
    priority=-5,
    candidate=True,
    declined_epoch=41,
    last_epoch=42,
    metadata={"host": "müller-1"},
    session=6,
    status=ServiceStatus.LATE,
    reported_status=ServiceStatus.DEGRADED,
    lease_ms=2_000,
    lease_left_ms=612,
    hold_limit_ms=30_000,
    loop_lag_ms=3,
    margin_ms=1_597,
)
INSTANCE_SHORT: Final = ServiceInstance(
    registration_id=200,
    service_name="order-gateway",
    instance_id="gw-3",
    resource_id="account-42",
    role=ServiceRole.STANDBY,
    role_revision=200,
    revision=200,
    since_ms=AT_MS,
    session=199,
    status=ServiceStatus.HEALTHY,
    reported_status=ServiceStatus.HEALTHY,
    lease_ms=2_000,
    lease_left_ms=2_000,
)
PAUSE_FULL: Final = Pause(
    resource_id="account-42",
    why="the exchange is closed",
    paused_ms=AT_MS,
    until_ms=AT_MS + 3_600_000,
    by="ada (uid:1000)",
)
RESOURCE_FULL: Final = ResourceView(
    resource_id="account-42",
    last_epoch=42,
    active=INSTANCE_FULL,
    standbys=(INSTANCE_SHORT,),
    standby_count=101,
    switchover=SwitchoverView(
        epoch=42,
        asked_ms=AT_MS,
        drain_left_ms=4_100,
        to_registration_id=200,
        to_instance_id="gw-3",
        by="ada (uid:1000)",
    ),
    pause=PAUSE_FULL,
)
MOVE_FULL: Final = Move(
    old_epoch=41,
    old_instance_id="gw-1",
    end_reason=ChangeReason.SWITCHOVER,
    lease_ms=2_000,
    hold_limit_ms=30_000,
    last_heard_ms=AT_MS - 120,
    asked_ms=AT_MS - 300,
    ended_ms=AT_MS,
    new_epoch=42,
    new_instance_id="gw-2",
    promoted_ms=AT_MS,
    committed_ms=AT_MS + 1,
    entered_ms=AT_MS + 2,
)
MOVE_SHORT: Final = Move(
    old_epoch=40,
    old_instance_id="gw-1",
    end_reason=ChangeReason.EXPIRED,
    lease_ms=2_000,
    last_heard_ms=AT_MS - 2_000,
    ended_ms=AT_MS,
)
RESOURCE_VACANT: Final = ResourceView(resource_id="account-43", last_epoch=0, active=None, standbys=(), standby_count=0)

COMMITS_US: Final = Histogram(bounds=(100, 1_000), counts=(3, 2, 1), total=4_711)
MEASUREMENTS_SHORT: Final = Measurements(
    history_id=HISTORY,
    revision=0,
    started_ms=AT_MS,
    sessions=0,
    connections=0,
    sessions_opened=0,
    commits_us=COMMITS_US,
    batch_events=Histogram(bounds=(1, 2), counts=(0, 0, 0), total=0),
    loop_lag_us=Histogram(bounds=(100, 1_000), counts=(0, 0, 0), total=0),
    lease_margins_permille=Histogram(bounds=(500, 1_000), counts=(0, 0, 0), total=0),
)
MEASUREMENTS_FULL: Final = Measurements(
    history_id=HISTORY,
    revision=300,
    started_ms=AT_MS,
    sessions=2,
    connections=4,
    sessions_opened=5,
    sessions_ended=(Count(of="died", count=1), Count(of="goodbye", count=2)),
    switchovers=(Count(of="switchover", count=1),),
    refusals=(Count(of="not_active", count=2), Count(of="role_conflict", count=12)),
    commits_refused=1,
    requests_us=(
        Histogram(of="heartbeat", bounds=(100, 1_000), counts=(7, 0, 0), total=350),
        Histogram(of="register", bounds=(100, 1_000), counts=(0, 3, 1), total=5_000),
    ),
    commits_us=COMMITS_US,
    batch_events=Histogram(bounds=(1, 2), counts=(3, 2, 1), total=12),
    loop_lag_us=Histogram(bounds=(100, 1_000), counts=(9, 1, 0), total=1_200),
    lease_margins_permille=Histogram(bounds=(500, 1_000), counts=(1, 99, 0), total=79_000),
    failovers_ms=(Histogram(of="died", bounds=(1, 10), counts=(0, 1, 0), total=2),),
    vacancies_ms=(
        Histogram(of="died", bounds=(1, 10), counts=(0, 1, 0), total=2),
        Histogram(of="switchover", bounds=(1, 10), counts=(1, 0, 0), total=1),
    ),
)

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

ROLE_CHANGED_FULL: Final = RoleChangedEvent(
    revision=44,
    at_ms=AT_MS,
    registration_id=7,
    resource_id="account-42",
    service_name="order-gateway",
    instance_id="gw-2",
    old_role=ServiceRole.ACTIVE,
    new_role=ServiceRole.STANDBY,
    epoch=42,
    reason=ChangeReason.RESIGNED,
    previous_holder=PreviousHolder(service_name="order-gateway", instance_id="gw-1", epoch=41),
    declined_epoch=42,
    silent_ms=120,
    by="ada (uid:1000)",
)
REGISTERED_EVENT_FULL: Final = RegisteredEvent(
    revision=42,
    at_ms=AT_MS,
    registration_id=42,
    resource_id="account-42",
    service_name="order-gateway",
    instance_id="gw-2",
    old_role=ServiceRole.STANDBY,
    new_role=ServiceRole.ACTIVE,
    epoch=42,
    reason=ChangeReason.REGISTERED,
    previous_holder=PreviousHolder(service_name="order-gateway", instance_id="gw-1", epoch=41),
    declined_epoch=40,
    silent_ms=120,
    by="ada (uid:1000)",
    session=6,
    lease_ms=2_000,
    status=ServiceStatus.STARTING,
    priority=-5,
    candidate=True,
    hold_limit_ms=30_000,
    last_epoch=41,
    metadata={"host": "müller-1"},
)
SESSION_CLOSED: Final = SessionClosedEvent(
    revision=45, at_ms=AT_MS, session=6, reason=ChangeReason.CONFIRMED_DEAD, by="ada (uid:1000)"
)

CLIENT: Final = (
    Example(
        "client",
        "full",
        Hello(
            version=1,
            session_id="9f86d081884c7d659a2feaa0c55ad015",
            resume=True,
            channel=Channel.CONTROL,
            connection=FIRST_EPOCH,
            lease_ms=600_000,
            history_id=HISTORY,
            last_revision=4_294_967_296,
            process=ProcessIdentity(pid=4_711, start_ticks=123_456_789, pid_namespace=4_026_531_836),
            client="tenure-python/0.1.0",
        ),
    ),
    Example("client", "short", Hello(version=1)),
    Example(
        "client",
        "full",
        Heartbeat(
            sequence=128,
            status=ServiceStatus.DEGRADED,
            applied_revision=255,
            last_revision=256,
            given_up=(GivenUp(epoch=42, declined=True, ago_ms=9), GivenUp(epoch=57)),
            entered=(Entered(epoch=300, ago_ms=2),),
            loop_lag_ms=3,
            margin_ms=1_597,
        ),
    ),
    Example("client", "short", Heartbeat(sequence=1)),
    Example("client", "full", REGISTER_FULL),
    Example("client", "short", REGISTER_SHORT),
    Example("client", "full", RegisterMany(items=(REGISTER_FULL, REGISTER_SHORT))),
    Example("client", "full", Resign(registration_id=7, epoch=42)),
    Example("client", "full", Deregister(registration_id=7, epoch=42)),
    Example("client", "short", Deregister(registration_id=7)),
    Example(
        "client",
        "full",
        Switchover(
            resource_id="account-42", epoch=42, to_registration_id=200, drain_ms=5_000, even_if_vacant=True, by="ada"
        ),
    ),
    Example("client", "short", Switchover(resource_id="account-42", epoch=42)),
    Example("client", "full", CancelSwitchover(resource_id="account-42", epoch=42, by="ada")),
    Example("client", "short", CancelSwitchover(resource_id="account-42", epoch=42)),
    Example("client", "full", ExpireSession(session=6, by="ada")),
    Example("client", "short", ExpireSession(session=6)),
    Example(
        "client",
        "full",
        PauseResource(resource_id="account-42", why="the exchange is closed", for_ms=600_000, by="ada"),
    ),
    Example("client", "short", PauseResource(resource_id="account-42", why="the exchange is closed")),
    Example("client", "full", ResumeResource(resource_id="account-42", by="ada")),
    Example("client", "short", ResumeResource(resource_id="account-42")),
    Example(
        "client",
        "full",
        ChangeRoles(
            changes=(
                RoleChange(registration_id=200, role=ServiceRole.ACTIVE, epoch=42),
                RoleChange(registration_id=201, role=ServiceRole.ACTIVE),
            ),
            drain_ms=5_000,
            by="ada",
        ),
    ),
    Example(
        "client",
        "short",
        ChangeRoles(changes=(RoleChange(registration_id=7, role=ServiceRole.STANDBY, epoch=42),)),
    ),
    Example("client", "full", Goodbye()),
    Example(
        "client",
        "full",
        ListServices(service_name="order-gateway", resource_id="account-42", after=7, limit=100),
    ),
    Example("client", "short", ListServices()),
    Example("client", "full", ListRoles(service_name="order-gateway", after=7, limit=100)),
    Example("client", "short", ListRoles(service_name="order-gateway")),
    Example("client", "full", GetResource(resource_id="account-42")),
    Example("client", "full", ListPresence(after=6, limit=100)),
    Example("client", "short", ListPresence()),
    Example("client", "full", ReadEvents(since=43, limit=100)),
    Example("client", "short", ReadEvents()),
    Example("client", "full", ListTenures(resource_id="account-42", before=42, limit=100)),
    Example("client", "short", ListTenures(resource_id="account-42")),
    Example("client", "full", GetMeasurements()),
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

STREAM: Final = (
    Example("stream", "full", Events(history_id=HISTORY, events=(REGISTERED_EVENT_FULL, SESSION_CLOSED))),
    Example("stream", "full", Progress(history_id=HISTORY, revision=45)),
)

EVENT: Final = (
    Example("event", "full", ROLE_CHANGED_FULL),
    Example(
        "event",
        "short",
        RoleChangedEvent(
            revision=44,
            at_ms=AT_MS,
            registration_id=7,
            resource_id="account-42",
            service_name="order-gateway",
            instance_id="gw-2",
            reason=ChangeReason.EXPIRED,
        ),
    ),
    Example("event", "full", REGISTERED_EVENT_FULL),
    Example(
        "event",
        "short",
        RegisteredEvent(
            revision=42,
            at_ms=AT_MS,
            registration_id=42,
            resource_id="account-42",
            service_name="order-gateway",
            instance_id="gw-2",
            reason=ChangeReason.REGISTERED,
            session=6,
            lease_ms=2_000,
            status=ServiceStatus.HEALTHY,
        ),
    ),
    Example(
        "event",
        "full",
        DeregisteredEvent(
            revision=44,
            at_ms=AT_MS,
            registration_id=7,
            resource_id="account-42",
            service_name="order-gateway",
            instance_id="gw-2",
            old_role=ServiceRole.ACTIVE,
            new_role=ServiceRole.STANDBY,
            epoch=42,
            reason=ChangeReason.GOODBYE,
            previous_holder=PreviousHolder(service_name="order-gateway", instance_id="gw-1", epoch=41),
            declined_epoch=40,
            silent_ms=120,
            by="ada (uid:1000)",
        ),
    ),
    Example(
        "event",
        "short",
        DeregisteredEvent(
            revision=44,
            at_ms=AT_MS,
            registration_id=7,
            resource_id="account-42",
            service_name="order-gateway",
            instance_id="gw-2",
            reason=ChangeReason.DEREGISTERED,
        ),
    ),
    Example(
        "event",
        "full",
        RegistrationUpdatedEvent(
            revision=44,
            at_ms=AT_MS,
            registration_id=7,
            resource_id="account-42",
            service_name="order-gateway",
            instance_id="gw-2",
            priority=-5,
            candidate=True,
            declined_epoch=40,
            hold_limit_ms=30_000,
            metadata={"host": "müller-1"},
        ),
    ),
    Example(
        "event",
        "short",
        RegistrationUpdatedEvent(
            revision=44,
            at_ms=AT_MS,
            registration_id=7,
            resource_id="account-42",
            service_name="order-gateway",
            instance_id="gw-2",
        ),
    ),
    Example("event", "full", SessionOpenedEvent(revision=6, at_ms=AT_MS, lease_ms=2_000, client="tenure-python/0.1.0")),
    Example("event", "short", SessionOpenedEvent(revision=6, at_ms=AT_MS, lease_ms=2_000)),
    Example("event", "full", SESSION_CLOSED),
    Example("event", "short", SessionClosedEvent(revision=45, at_ms=AT_MS, session=6, reason=ChangeReason.DIED)),
    Example(
        "event",
        "full",
        StatusChangedEvent(
            revision=46,
            at_ms=AT_MS,
            session=6,
            old_status=ServiceStatus.STARTING,
            new_status=ServiceStatus.HEALTHY,
        ),
    ),
    Example(
        "event",
        "full",
        ResourcePausedEvent(
            revision=47,
            at_ms=AT_MS,
            resource_id="account-42",
            why="the exchange is closed",
            until_ms=AT_MS + 3_600_000,
            by="ada (uid:1000)",
        ),
    ),
    Example(
        "event",
        "short",
        ResourcePausedEvent(
            revision=47,
            at_ms=AT_MS,
            resource_id="account-42",
            why="the exchange is closed",
            until_ms=AT_MS + 3_600_000,
        ),
    ),
    Example(
        "event",
        "full",
        ResourceResumedEvent(
            revision=48,
            at_ms=AT_MS,
            resource_id="account-42",
            reason=ResumeReason.ASKED,
            by="ada (uid:1000)",
            why="the exchange is closed",
            paused_by="bob (uid:1001)",
        ),
    ),
    Example(
        "event",
        "short",
        ResourceResumedEvent(revision=48, at_ms=AT_MS, resource_id="account-42", reason=ResumeReason.EXPIRED),
    ),
)

EXAMPLES: Final = (*CLIENT, *BROKER, *STREAM, *EVENT)


def golden_text() -> str:
    """What golden/messages.txt has to say: for each example its name, its JSON form and its bytes in hexadecimal."""
    header = (
        "# Every message and event of the protocol: direction, type, how much is set; the same as JSON; the bytes.\n"
        "# docs/protocol.md says what they mean. A client in another language decodes and encodes exactly these.\n"
    )
    blocks = [header]
    for example in EXAMPLES:
        encoded = codec.encode(example.value)
        blocks.append(f"{example.name}\n{codec.to_json(example.value)}\n{encoded.hex()}\n")
    return "\n".join(blocks)


if __name__ == "__main__":
    sys.stdout.write(golden_text())
