"""The messages, one union per direction; docs/protocol.md explains each and tests/contract keeps their bytes.

Structs are frozen and tagged by `type`; fields with defaults may be left out, unknown fields are ignored, so that
either side may be the newer one within a protocol version. Names and ranges are checked by the broker, not by types.
"""

from __future__ import annotations

from msgspec import Struct, field

from tenure.contract.errors import ErrorInfo
from tenure.contract.history import EventPage, Events, ListTenures, Progress, ReadEvents, TenurePage
from tenure.contract.interventions import (
    CancelSwitchover,
    ChangeRoles,
    ExpireSession,
    Paused,
    PauseResource,
    Resumed,
    ResumeResource,
    RoleChangesAccepted,
    SessionEnded,
    Switchover,
    SwitchoverCancelled,
    SwitchoverStarted,
)
from tenure.contract.limits import LEASE_MS_DEFAULT, PAGE_ITEMS_MAX
from tenure.contract.measurements import GetMeasurements, Measurements
from tenure.contract.message import Message
from tenure.contract.views import Move, Pause, Presence, ResourceView, ServiceInstance
from tenure.contract.vocabulary import Channel, OnConflict, ServiceRole, ServiceStatus

# --- client to broker -------------------------------------------------------------------------------------------------


class ProcessIdentity(Struct, frozen=True, kw_only=True):
    """Which process does the work, so that a broker on the same machine may take its exit as proof of death."""

    pid: int
    start_ticks: int
    """Field 22 of /proc/<pid>/stat: clock ticks after boot at which it started."""
    pid_namespace: int
    """Inode number of /proc/<pid>/ns/pid."""


class Hello(Message, frozen=True, kw_only=True, omit_defaults=True, tag="hello"):
    """The first message of every connection: which version, which session, which channel. Answer: `welcome`."""

    version: int
    session_id: str | None = None
    """The session's secret, chosen by the client; None for a connection that only reads."""
    resume: bool = False
    """True: the session has to exist (else `session_expired`). False: it is opened if it does not."""
    channel: Channel = Channel.REQUESTS
    connection: int = 1
    """Rises with each connection this session makes on this channel; older connections are no longer heard."""
    lease_ms: int = LEASE_MS_DEFAULT
    history_id: str | None = None
    """The history the client has seen, and with it the newest revision it saw there."""
    last_revision: int = 0
    process: ProcessIdentity | None = None
    """Left out: the process's exit is not proof that its work has ended."""
    client: str = ""
    """Name and version of the client library, for people."""


class GivenUp(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A tenure that the client has left and will not enter again."""

    epoch: int
    declined: bool = False
    """True: left on purpose, so it does not want to fill this vacancy either."""
    ago_ms: int | None = None
    """How long before this heartbeat was sent it was left; None: that is not told."""


class Entered(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A tenure that has become valid for its holder since the last answered heartbeat."""

    epoch: int
    ago_ms: int
    """How long before this heartbeat was sent."""


class Heartbeat(Message, frozen=True, kw_only=True, omit_defaults=True, tag="heartbeat"):
    """Renews the session's lease (control channel only). Answer: `heartbeat_ack`, which waits for nothing."""

    sequence: int
    """Rises with each heartbeat of the session; the answer repeats it."""
    status: ServiceStatus = ServiceStatus.HEALTHY
    applied_revision: int = 0
    """The newest revision of a statement about its own roles that the session has applied."""
    last_revision: int = 0
    """The newest revision seen in this history by any means."""
    given_up: tuple[GivenUp, ...] = ()
    """Every tenure it left whose end the broker has not acknowledged yet."""
    entered: tuple[Entered, ...] = ()
    """Tenures that have become valid since the last answered heartbeat: when the role was really taken up."""
    loop_lag_ms: int | None = None
    """The longest that the application's event loop was late since the last heartbeat; None if nobody watches it."""
    margin_ms: int | None = None
    """How much of the lease was left when the newest answer came, the smallest since the last heartbeat."""


class Register(Message, frozen=True, kw_only=True, omit_defaults=True, tag="register"):
    """Declare an instance, its role and for which resource. Answer: `registered`. Safe to repeat."""

    service_name: str
    instance_id: str
    resource_id: str | None = None
    """None: the service's name."""
    role: ServiceRole = ServiceRole.STANDBY
    on_conflict: OnConflict = OnConflict.REJECT
    priority: int = 0
    """The higher is promoted first."""
    hold_limit_ms: int = 0
    """How long its tenures last in silence, if longer than the lease: a second lease. 0: as long as the lease."""
    metadata: dict[str, str] = field(default_factory=dict)


class RegisterMany(Message, frozen=True, kw_only=True, omit_defaults=True, tag="register_many"):
    """Up to 1,000 registrations in one commit, each with a result of its own. Answer: `registered_many`."""

    items: tuple[Register, ...]


class Resign(Message, frozen=True, kw_only=True, omit_defaults=True, tag="resign"):
    """End this tenure and stand by. Answer: `resigned`; `not_active` if the epoch is not active."""

    registration_id: int
    epoch: int


class Deregister(Message, frozen=True, kw_only=True, omit_defaults=True, tag="deregister"):
    """End the registration, and the tenure of `epoch` with it (0: it knows of none). Answer: `deregistered`.

    `not_active` if it is in another tenure; a standby ends whatever epoch is named.
    """

    registration_id: int
    epoch: int = 0


class Goodbye(Message, frozen=True, kw_only=True, omit_defaults=True, tag="goodbye"):
    """End the session and all its registrations: its process does no more work. Answer: `farewell`."""


class ListServices(Message, frozen=True, kw_only=True, omit_defaults=True, tag="list_services"):
    """Instances by registration id, a page at a time, all or some. Answer: `service_page`. Needs no session."""

    service_name: str | None = None
    resource_id: str | None = None
    after: int = 0
    """Only registrations with a greater id."""
    limit: int = PAGE_ITEMS_MAX


class ListRoles(Message, frozen=True, kw_only=True, omit_defaults=True, tag="list_roles"):
    """The resources a service has instances for, with who is active and who is next. Answer: `role_page`."""

    service_name: str
    after: int = 0
    """Only resources of registrations with a greater id."""
    limit: int = PAGE_ITEMS_MAX


class GetResource(Message, frozen=True, kw_only=True, omit_defaults=True, tag="get_resource"):
    """One resource. Answer: `resource`; `not_found` if nobody is registered for it and it is not paused."""

    resource_id: str


class ListPresence(Message, frozen=True, kw_only=True, omit_defaults=True, tag="list_presence"):
    """How the living sessions are doing, a page at a time. Answer: `presence_page`."""

    after: int = 0
    limit: int = PAGE_ITEMS_MAX


type ClientMessage = (
    Hello
    | Heartbeat
    | Register
    | RegisterMany
    | Resign
    | Deregister
    | Switchover
    | CancelSwitchover
    | ExpireSession
    | PauseResource
    | ResumeResource
    | ChangeRoles
    | Goodbye
    | ListServices
    | ListRoles
    | GetResource
    | ListPresence
    | ReadEvents
    | ListTenures
    | GetMeasurements
)


# --- broker to client -------------------------------------------------------------------------------------------------


class Welcome(Message, frozen=True, kw_only=True, omit_defaults=True, tag="welcome"):
    """The connection is accepted."""

    version: int
    history_id: str
    revision: int
    """The newest committed revision."""
    session: int = 0
    """The session's public number; 0 for a connection that only reads."""
    lease_ms: int = 0
    """The lease in force: that of the session's first hello."""
    heartbeat_interval_ms: int = 0
    events_endpoints: tuple[str, ...] = ()
    """Where the stream is published; over tcp, take the port and the host you reached the broker at."""
    broker: str = ""
    """Name and version of the broker, for people."""


class RoleStatement(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the store says of one registration. One that is not newer than what was applied is to be ignored."""

    registration_id: int
    role: ServiceRole | None
    """None: the registration is gone."""
    epoch: int = 0
    revision: int
    hold_limit_ms: int = 0
    """With a tenure: how long it lasts in silence, if longer than the lease."""


class StepDown(Message, frozen=True, kw_only=True, omit_defaults=True, tag="step_down"):
    """Somebody asks for this tenure to end. Pushed on the control channel, and repeated in each `heartbeat_ack`."""

    registration_id: int
    epoch: int
    drain_ms: int = 0
    """How long its work may go on: then stop it, and resign."""
    withdrawn: bool = False
    """True: it need not end any more."""


class HeartbeatAck(Message, frozen=True, kw_only=True, omit_defaults=True, tag="heartbeat_ack"):
    """The lease runs from this heartbeat on, and with it the tenures listed."""

    session: int
    sequence: int
    revision: int
    """The newest committed revision."""
    confirmed: tuple[int, ...] = ()
    """The epochs that are this session's, as committed and as decided."""
    given_up: tuple[int, ...] = ()
    """The epochs given up whose end is durable: they need not be named any more."""
    statements: tuple[RoleStatement, ...] = ()
    """The session's registrations whose role is newer than the heartbeat's `applied_revision`."""
    asked: tuple[StepDown, ...] = ()
    """All tenures of the session that somebody has asked to end; one that is not listed need not end any more."""


class RoleStatements(Message, frozen=True, kw_only=True, omit_defaults=True, tag="role_statements"):
    """Pushed on the control channel when the broker moved roles of this session. Answers nothing."""

    statements: tuple[RoleStatement, ...]


class Registered(Message, frozen=True, kw_only=True, omit_defaults=True, tag="registered"):
    """The registration exists, in this role."""

    registration_id: int
    resource_id: str
    role: ServiceRole
    epoch: int = 0
    revision: int
    """The revision of this statement about its role."""
    hold_limit_ms: int = 0
    """With a tenure: how long it lasts in silence, if longer than the lease."""
    previous_epoch: int = 0
    """With a tenure that took a role over: the tenure before it."""


class RegisterResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One item's outcome: exactly one of the two is there."""

    registered: Registered | None = None
    error: ErrorInfo | None = None


class RegisteredMany(Message, frozen=True, kw_only=True, omit_defaults=True, tag="registered_many"):
    """One result for each item, in order."""

    results: tuple[RegisterResult, ...]


class Resigned(Message, frozen=True, kw_only=True, omit_defaults=True, tag="resigned"):
    """The tenure has ended."""

    statement: RoleStatement


class Deregistered(Message, frozen=True, kw_only=True, omit_defaults=True, tag="deregistered"):
    """The registration has ended."""

    statement: RoleStatement


class Farewell(Message, frozen=True, kw_only=True, omit_defaults=True, tag="farewell"):
    """The session has ended."""


class ServicePage(Message, frozen=True, kw_only=True, omit_defaults=True, tag="service_page"):
    """Instances by registration id. Ask again with `after` = `next_after` until that is None."""

    history_id: str
    revision: int
    """The revision this page was computed at; each item carries its own."""
    instances: tuple[ServiceInstance, ...]
    next_after: int | None = None
    pauses: tuple[Pause, ...] = ()
    """With the first page (`after` 0): every pause, or that of the resource asked for."""


class RolePage(Message, frozen=True, kw_only=True, omit_defaults=True, tag="role_page"):
    """Resources, oldest registration first. Ask again with `after` = `next_after` until that is None.

    A resource with several registrations may come again on a later page; the newer view counts.
    """

    revision: int
    resources: tuple[ResourceView, ...]
    next_after: int | None = None


class Resource(Message, frozen=True, kw_only=True, omit_defaults=True, tag="resource"):
    """One resource at a revision."""

    revision: int
    resource: ResourceView
    moves: tuple[Move, ...] = ()
    """How its role has moved since the broker started, the newest last, at most 8."""


class PresencePage(Message, frozen=True, kw_only=True, omit_defaults=True, tag="presence_page"):
    """Living sessions by number. Ask again with `after` = `next_after` until that is None."""

    presence: tuple[Presence, ...]
    next_after: int | None = None


class ErrorReply(Message, frozen=True, kw_only=True, omit_defaults=True, tag="error"):
    """The request was refused."""

    error: ErrorInfo


class Closing(Message, frozen=True, kw_only=True, omit_defaults=True, tag="closing"):
    """Pushed on the control channel: this broker is leaving. Leases go on; look for it again."""


type BrokerMessage = (
    Welcome
    | HeartbeatAck
    | RoleStatements
    | Registered
    | RegisteredMany
    | Resigned
    | Deregistered
    | SwitchoverStarted
    | SwitchoverCancelled
    | SessionEnded
    | Paused
    | Resumed
    | RoleChangesAccepted
    | StepDown
    | Farewell
    | ServicePage
    | RolePage
    | Resource
    | PresencePage
    | EventPage
    | TenurePage
    | Measurements
    | ErrorReply
    | Closing
)


# --- broker to listeners ----------------------------------------------------------------------------------------------


type StreamMessage = Events | Progress
