"""What clients send: each message with every field set, and with as little as it takes."""

from __future__ import annotations

from typing import Final

from tenure.contract.history import ListTenures, ReadEvents
from tenure.contract.interventions import (
    CancelSwitchover,
    ChangeRoles,
    ExpireSession,
    PauseResource,
    ResumeResource,
    RoleChange,
    Switchover,
)
from tenure.contract.measurements import GetMeasurements
from tenure.contract.messages import (
    Deregister,
    Entered,
    GetResource,
    GivenUp,
    Goodbye,
    Heartbeat,
    Hello,
    ListPresence,
    ListRoles,
    ListServices,
    ProcessIdentity,
    Register,
    RegisterMany,
    Resign,
)
from tenure.contract.vocabulary import Channel, OnConflict, ServiceRole, ServiceStatus
from tests.contract.example import HISTORY, Example

FIRST_EPOCH: Final = 2**53 - 1
"""The greatest integer that every language has."""

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
