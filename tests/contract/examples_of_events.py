"""What listeners hear: each event with every field set and with as little as it takes, and the stream they come in."""

from __future__ import annotations

from typing import Final

from tenure.contract.events import (
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
from tenure.contract.history import Events, Progress
from tenure.contract.vocabulary import ChangeReason, ResumeReason, ServiceRole, ServiceStatus
from tests.contract.example import AT_MS, HISTORY, Example

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
