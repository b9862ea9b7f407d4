"""What applications import: `ServiceClient`, `EventListener`, and the words and errors that go with them.

Needs pyzmq, msgspec and structlog only.
"""

from __future__ import annotations

from tenure.contract.errors import (
    BrokerUnavailableError,
    ClientClosedError,
    DuplicateInstanceError,
    ErrorCode,
    InvalidEndpointError,
    InvalidRequestError,
    LimitExceededError,
    NotActiveError,
    NotEligibleError,
    NotFoundError,
    RequestRefusedError,
    RequestTimeoutError,
    RoleConflictError,
    RoleLostError,
    SessionExpiredError,
    SessionLapsedError,
    StorageUnavailableError,
    StoreRolledBackError,
    SwitchoverFailedError,
    SwitchoverUnderWayError,
    TenureError,
)
from tenure.contract.events import (
    AnyEvent,
    DeregisteredEvent,
    Event,
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
from tenure.contract.history import TenurePage
from tenure.contract.interventions import RoleChange, RoleChangeResult
from tenure.contract.messages import Register
from tenure.contract.views import Holder, Pause, ResourceView, ServiceInstance, TenureView
from tenure.contract.vocabulary import ChangeReason, OnConflict, ResumeReason, ServiceRole, ServiceStatus
from tenure.sdk.client import ServiceClient
from tenure.sdk.heartbeats import ConnectionState
from tenure.sdk.listener import EventListener
from tenure.sdk.registering import registration_request
from tenure.sdk.registration import Registration, Tenure
from tenure.sdk.replica import Replica
from tenure.sdk.stream import RestartReason, StreamRestarted
from tenure.sdk.switchover import SwitchoverResult

__all__ = [
    "AnyEvent",
    "BrokerUnavailableError",
    "ChangeReason",
    "ClientClosedError",
    "ConnectionState",
    "DeregisteredEvent",
    "DuplicateInstanceError",
    "ErrorCode",
    "Event",
    "EventListener",
    "Holder",
    "InvalidEndpointError",
    "InvalidRequestError",
    "LimitExceededError",
    "NotActiveError",
    "NotEligibleError",
    "NotFoundError",
    "OnConflict",
    "Pause",
    "PreviousHolder",
    "Register",
    "RegisteredEvent",
    "Registration",
    "RegistrationUpdatedEvent",
    "Replica",
    "RequestRefusedError",
    "RequestTimeoutError",
    "ResourcePausedEvent",
    "ResourceResumedEvent",
    "ResourceView",
    "RestartReason",
    "ResumeReason",
    "RoleChange",
    "RoleChangeResult",
    "RoleChangedEvent",
    "RoleConflictError",
    "RoleLostError",
    "ServiceClient",
    "ServiceInstance",
    "ServiceRole",
    "ServiceStatus",
    "SessionClosedEvent",
    "SessionExpiredError",
    "SessionLapsedError",
    "SessionOpenedEvent",
    "StatusChangedEvent",
    "StorageUnavailableError",
    "StoreRolledBackError",
    "StreamRestarted",
    "SwitchoverFailedError",
    "SwitchoverResult",
    "SwitchoverUnderWayError",
    "Tenure",
    "TenureError",
    "TenurePage",
    "TenureView",
    "registration_request",
]
