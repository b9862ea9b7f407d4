"""The closed set of error codes and the one exception tree.

    TenureError
    ├── RequestRefusedError            the broker answered with a code
    │   ├── RoleConflictError          role_conflict        somebody else is active; carries who
    │   ├── DuplicateInstanceError     duplicate_instance   another living session has this instance
    │   ├── NotFoundError              not_found
    │   ├── NotActiveError             not_active           the epoch named is not active (any longer)
    │   ├── NotEligibleError           not_eligible         whoever is to take over could not, at present
    │   ├── SwitchoverUnderWayError    switchover_under_way another one is, for this resource
    │   ├── InstanceAliveError         instance_alive       it was declared dead, but its heartbeats come
    │   ├── SessionExpiredError        session_expired      the broker does not know this session (any longer)
    │   ├── SessionLapsedError         session_lapsed       nothing was done; try again once a heartbeat is answered
    │   ├── HelloRequiredError         hello_required       the connection has not said hello to this broker
    │   ├── ForbiddenError             forbidden            the session belongs to somebody else
    │   ├── InvalidRequestError        invalid_request
    │   ├── UnsupportedVersionError    unsupported_version
    │   ├── LimitExceededError         limit_exceeded
    │   ├── RevisionCompactedError     revision_compacted   the events asked for are gone
    │   ├── StoreRolledBackError       store_rolled_back    the broker's store is behind what this client saw
    │   ├── OverloadedError            overloaded           nothing was done; try again later
    │   ├── ShuttingDownError          shutting_down        nothing was done; the broker is leaving
    │   ├── StorageUnavailableError    storage_unavailable  outcome unknown; repeat the request
    │   └── InternalError              internal_error       a defect in the broker; outcome unknown
    ├── SwitchoverFailedError          a switchover was called off, forgotten or not done in time
    ├── RoleLostError                  the role was asked for and is not held (any longer)
    ├── BrokerUnavailableError         no broker answered at any endpoint
    ├── RequestTimeoutError            a request was sent and not answered: outcome unknown
    ├── ClientClosedError              this client is closed, not open yet, or the copy that a fork made of it
    ├── InvalidEndpointError           an endpoint that cannot be bound or connected to; a ValueError too
    └── ProtocolError                  the other side sent what the protocol does not allow

Each exception carries its data and composes its message from it: what happened, why, what to do.
A refusal changes nothing unless its line above says that the outcome is unknown.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Self

from msgspec import Struct

from tenure.contract.views import Holder


class ErrorCode(StrEnum):
    """Every code a broker can answer with; the set is closed within a protocol version."""

    ROLE_CONFLICT = "role_conflict"
    DUPLICATE_INSTANCE = "duplicate_instance"
    NOT_FOUND = "not_found"
    NOT_ACTIVE = "not_active"
    NOT_ELIGIBLE = "not_eligible"
    SWITCHOVER_UNDER_WAY = "switchover_under_way"
    INSTANCE_ALIVE = "instance_alive"
    SESSION_EXPIRED = "session_expired"
    SESSION_LAPSED = "session_lapsed"
    HELLO_REQUIRED = "hello_required"
    FORBIDDEN = "forbidden"
    INVALID_REQUEST = "invalid_request"
    UNSUPPORTED_VERSION = "unsupported_version"
    LIMIT_EXCEEDED = "limit_exceeded"
    REVISION_COMPACTED = "revision_compacted"
    STORE_ROLLED_BACK = "store_rolled_back"
    OVERLOADED = "overloaded"
    SHUTTING_DOWN = "shutting_down"
    STORAGE_UNAVAILABLE = "storage_unavailable"
    INTERNAL_ERROR = "internal_error"


class ErrorInfo(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A refusal as it travels: a code for programs, a message for people, and the data the code promises."""

    code: ErrorCode
    message: str
    holder: Holder | None = None
    """With `role_conflict`: who is active."""
    retry_after_ms: int | None = None
    """With `duplicate_instance`, `overloaded`: when it is worth trying again."""
    limit: int | None = None
    """With `limit_exceeded`: the limit. With `unsupported_version`: the version spoken here."""
    revision: int | None = None
    """With `revision_compacted`: the first revision still kept. With `store_rolled_back`: the store's newest."""
    index: int | None = None
    """With a refused `change_roles`: which of its changes, from 0 on."""


class TenureError(Exception):
    """The root of everything Tenure raises on purpose. Errors may be copied and sent to other processes."""

    def __reduce__(self) -> tuple[object, ...]:
        # The default would call the class with the composed message, which is not what most of them are made from.
        return _rebuilt, (type(self), self.args, self.__dict__)


class RequestRefusedError(TenureError):
    """The broker refused a request; `code` is stable, the message is for people."""

    code: ClassVar[ErrorCode]

    def __init__(self, message: str, **data: Holder | int | None) -> None:
        super().__init__(message)
        self.info = ErrorInfo(code=self.code, message=message, **data)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    @classmethod
    def from_info(cls, info: ErrorInfo) -> Self:
        """Rebuild the exception from what travelled."""
        error = cls.__new__(cls)
        Exception.__init__(error, info.message)
        error.info = info
        return error


class RoleConflictError(RequestRefusedError):
    """Somebody else is active for the resource; nothing was registered. `holder` says who."""

    code = ErrorCode.ROLE_CONFLICT

    @classmethod
    def held(cls, resource_id: str, holder: Holder) -> RoleConflictError:
        """The claim on `resource_id` lost against `holder`."""
        return cls(
            f"resource {resource_id!r} already has an active instance: {holder.service_name}/{holder.instance_id}, "
            f"epoch {holder.epoch}; register with on_conflict='standby' to wait for the role",
            holder=holder,
        )

    @property
    def holder(self) -> Holder:
        """The active instance: service, id, epoch and since when (unix milliseconds)."""
        assert self.info.holder is not None
        return self.info.holder


class DuplicateInstanceError(RequestRefusedError):
    """Another living session has registered this service, instance id and resource."""

    code = ErrorCode.DUPLICATE_INSTANCE

    @classmethod
    def alive(
        cls, service_name: str, instance_id: str, resource_id: str, retry_after_ms: int
    ) -> DuplicateInstanceError:
        """The registration exists under a session whose lease ends in `retry_after_ms` unless it is renewed."""
        return cls(
            f"instance {service_name}/{instance_id} is already registered for {resource_id!r} by another session; if "
            f"that is a previous run it ends within {retry_after_ms} ms, otherwise choose another instance id",
            retry_after_ms=retry_after_ms,
        )

    @property
    def retry_after_ms(self) -> int:
        """When the other session's lease ends if nothing renews it, in milliseconds from the answer."""
        return self.info.retry_after_ms or 0


class NotFoundError(RequestRefusedError):
    """What was named does not exist."""

    code = ErrorCode.NOT_FOUND


class NotActiveError(RequestRefusedError):
    """The epoch named is not active: that tenure has ended, and nothing was changed."""

    code = ErrorCode.NOT_ACTIVE


class NotEligibleError(RequestRefusedError):
    """Whoever is to take over could not be promoted at present, so nobody was asked to step down."""

    code = ErrorCode.NOT_ELIGIBLE


class SwitchoverUnderWayError(RequestRefusedError):
    """Another switchover of the resource is under way; wait for it, or cancel it first."""

    code = ErrorCode.SWITCHOVER_UNDER_WAY


class InstanceAliveError(RequestRefusedError):
    """An instance that was declared dead was heard a moment ago: nothing was done."""

    code = ErrorCode.INSTANCE_ALIVE


class SessionExpiredError(RequestRefusedError):
    """The broker does not know this session: its lease ran out, or it said goodbye. Open a new client."""

    code = ErrorCode.SESSION_EXPIRED


class SessionLapsedError(RequestRefusedError):
    """The session's lease ran out, and it lives on for what it holds alone: nothing is granted before a heartbeat."""

    code = ErrorCode.SESSION_LAPSED


class HelloRequiredError(RequestRefusedError):
    """The connection has to say hello first (it reconnected, or the broker restarted)."""

    code = ErrorCode.HELLO_REQUIRED


class ForbiddenError(RequestRefusedError):
    """The session belongs to another user."""

    code = ErrorCode.FORBIDDEN


class InvalidRequestError(RequestRefusedError):
    """The request is malformed or a value is out of its range; the message names it."""

    code = ErrorCode.INVALID_REQUEST


class UnsupportedVersionError(RequestRefusedError):
    """The broker does not speak this protocol version."""

    code = ErrorCode.UNSUPPORTED_VERSION


class LimitExceededError(RequestRefusedError):
    """A limit of the protocol or of the broker's configuration would be passed."""

    code = ErrorCode.LIMIT_EXCEEDED


class RevisionCompactedError(RequestRefusedError):
    """The events asked for are no longer kept: start again from a snapshot."""

    code = ErrorCode.REVISION_COMPACTED


class StoreRolledBackError(RequestRefusedError):
    """A client saw a revision that the broker's store does not have: it grants nothing until it is restored."""

    code = ErrorCode.STORE_ROLLED_BACK


class OverloadedError(RequestRefusedError):
    """The broker has too much in hand; nothing was done."""

    code = ErrorCode.OVERLOADED


class ShuttingDownError(RequestRefusedError):
    """The broker is leaving; nothing was done."""

    code = ErrorCode.SHUTTING_DOWN


class StorageUnavailableError(RequestRefusedError):
    """The store could not take the change: the outcome is unknown, repeat the request."""

    code = ErrorCode.STORAGE_UNAVAILABLE


class InternalError(RequestRefusedError):
    """The broker met a defect of its own while it handled this request; the outcome is unknown."""

    code = ErrorCode.INTERNAL_ERROR


class RoleLostError(TenureError):
    """The role is not held; do nothing that needs it."""

    def __init__(self, resource_id: str, instance_id: str, epoch: int, why: str) -> None:
        self.resource_id = resource_id
        self.instance_id = instance_id
        self.epoch = epoch
        """The epoch that was held, or 0 if none was."""
        self.why = why
        super().__init__(f"{instance_id} is not active for {resource_id!r} (epoch {epoch}): {why}")


class SwitchoverFailedError(TenureError):
    """A switchover that had begun has not moved the role; whoever was active may be so still, or nobody is."""

    def __init__(self, resource_id: str, instance_id: str, epoch: int, why: str) -> None:
        self.resource_id = resource_id
        self.instance_id = instance_id
        """Who was to step down."""
        self.epoch = epoch
        """From which tenure."""
        self.why = why
        super().__init__(f"the switchover of {resource_id!r} from {instance_id} (epoch {epoch}) is not done: {why}")


class BrokerUnavailableError(TenureError):
    """No broker answered at any endpoint in time."""

    def __init__(self, endpoints: tuple[str, ...], waited_ms: int) -> None:
        self.endpoints = endpoints
        self.waited_ms = waited_ms
        super().__init__(
            f"no broker answered at {', '.join(endpoints)} within {waited_ms} ms; is `tenure serve` running, and is "
            "TENURE_ENDPOINT (or --endpoint) right?"
        )


class RequestTimeoutError(TenureError):
    """A request was sent and repeated but not answered: whether it was carried out is unknown."""

    def __init__(self, request: str, waited_ms: int) -> None:
        self.request = request
        self.waited_ms = waited_ms
        super().__init__(
            f"{request} was not answered within {waited_ms} ms: its outcome is unknown, it is safe to repeat"
        )


class ClientClosedError(TenureError):
    """The client cannot be used (any longer); nothing was sent."""


class InvalidEndpointError(TenureError, ValueError):
    """An endpoint that cannot be bound or connected to; the message says what to write instead."""

    def __init__(self, endpoint: str, why: str) -> None:
        self.endpoint = endpoint
        self.why = why
        super().__init__(f"endpoint {endpoint!r}: {why}")


class ProtocolError(TenureError):
    """A frame that the protocol does not allow."""


def _rebuilt(kind: type[TenureError], args: tuple[object, ...], data: dict[str, object]) -> TenureError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(data)
    return error


_REFUSALS: dict[ErrorCode, type[RequestRefusedError]] = {
    kind.code: kind for kind in RequestRefusedError.__subclasses__()
}


def refusal_from(info: ErrorInfo) -> RequestRefusedError:
    """The exception for a refusal that travelled."""
    return _REFUSALS[info.code].from_info(info)
