"""What a client may name and say: every check of a request's values that does not need the registry's state.

Each failure is an `InvalidRequestError` or a `LimitExceededError` whose message names the field, the value's fault and
the rule; values themselves are shown shortened, never in full.
"""

from __future__ import annotations

from typing import Final, assert_never

from tenure.contract.errors import InvalidRequestError, LimitExceededError, UnsupportedVersionError
from tenure.contract.history import ListTenures
from tenure.contract.interventions import (
    AnyIntervention,
    CancelSwitchover,
    ChangeRoles,
    ExpireSession,
    PauseResource,
    ResumeResource,
    RoleChange,
    Switchover,
)
from tenure.contract.limits import (
    BATCH_ITEMS_MAX,
    CONNECTION_MAX,
    DRAIN_MS_MAX,
    GIVEN_UP_MAX,
    HOLD_LIMIT_MS_MAX,
    LEASE_MS_MAX,
    LEASE_MS_MIN,
    METADATA_BYTES_MAX,
    METADATA_ENTRIES_MAX,
    METADATA_VALUE_BYTES_MAX,
    NAME_BYTES_MAX,
    PAUSE_MS_MAX,
    PAUSE_MS_MIN,
    PRIORITY_MAX,
    PRIORITY_MIN,
    PROTOCOL_VERSION,
    SESSION_ID_BYTES_MAX,
    SESSION_ID_BYTES_MIN,
    WHY_BYTES_MAX,
)
from tenure.contract.messages import Heartbeat, Hello, Register, RegisterMany
from tenure.contract.vocabulary import ServiceStatus

_NUMBER_MAX: Final = 2**63 - 1  # what SQLite and most languages keep in an integer
_AGO_MS_MAX: Final = 2**53  # what every language counts to
_SHOWN_CHARS_MAX: Final = 40
_DIRECTORIES: Final = frozenset({".", ".."})


def check_hello(hello: Hello) -> None:
    """Check a hello's values.

    Raises:
        UnsupportedVersionError: The client speaks another version.
        InvalidRequestError: A value is out of its range.
    """
    if hello.version != PROTOCOL_VERSION:
        raise UnsupportedVersionError(
            f"this broker speaks protocol version {PROTOCOL_VERSION}, the client {hello.version}; upgrade the older",
            limit=PROTOCOL_VERSION,
        )
    if hello.session_id is not None:
        _text("session_id", hello.session_id, SESSION_ID_BYTES_MIN, SESSION_ID_BYTES_MAX)
    _text("client", hello.client, 0, NAME_BYTES_MAX)
    _number("connection", hello.connection, 1, CONNECTION_MAX)
    _number("lease_ms", hello.lease_ms, LEASE_MS_MIN, LEASE_MS_MAX)
    _number("last_revision", hello.last_revision, 0, _NUMBER_MAX)


def check_heartbeat(heartbeat: Heartbeat) -> None:
    """Check a heartbeat's values.

    Raises:
        InvalidRequestError: A value is out of its range.
        LimitExceededError: It gives up more tenures than a session can have had.
    """
    if heartbeat.status is ServiceStatus.LATE:
        raise InvalidRequestError("status 'late' is the broker's observation; report another one")
    _number("sequence", heartbeat.sequence, 1, _NUMBER_MAX)
    _number("applied_revision", heartbeat.applied_revision, 0, _NUMBER_MAX)
    _number("last_revision", heartbeat.last_revision, 0, _NUMBER_MAX)
    if len(heartbeat.given_up) > GIVEN_UP_MAX:
        raise LimitExceededError(f"a heartbeat names at most {GIVEN_UP_MAX} given-up epochs", limit=GIVEN_UP_MAX)
    if len(heartbeat.entered) > GIVEN_UP_MAX:
        raise LimitExceededError(f"a heartbeat names at most {GIVEN_UP_MAX} entered epochs", limit=GIVEN_UP_MAX)
    for given_up in heartbeat.given_up:
        _number("ago_ms", given_up.ago_ms or 0, 0, _AGO_MS_MAX)
    for entered in heartbeat.entered:
        _number("ago_ms", entered.ago_ms, 0, _AGO_MS_MAX)
    _number("loop_lag_ms", heartbeat.loop_lag_ms or 0, 0, _AGO_MS_MAX)
    _number("margin_ms", heartbeat.margin_ms or 0, 0, _AGO_MS_MAX)


def check_intervention(request: AnyIntervention) -> None:
    """Check the values of what a person asks for; of a change of many roles each is checked on its own.

    Raises:
        InvalidRequestError: A value is not allowed, or there is no change.
        LimitExceededError: There are more than 1,000 changes.
    """
    if not isinstance(request, ExpireSession | ChangeRoles):
        check_name("resource_id", request.resource_id)
    match request:
        case Switchover():
            _number("epoch", request.epoch, 1, _NUMBER_MAX)
            _number("to_registration_id", request.to_registration_id, 0, _NUMBER_MAX)
            _number("drain_ms", request.drain_ms, 0, DRAIN_MS_MAX)
        case CancelSwitchover():
            _number("epoch", request.epoch, 1, _NUMBER_MAX)
        case ExpireSession():
            _number("session", request.session, 1, _NUMBER_MAX)
        case PauseResource():
            _text("why", request.why, 1, WHY_BYTES_MAX)
            _number("for_ms", request.for_ms, PAUSE_MS_MIN, PAUSE_MS_MAX)
        case ChangeRoles():
            _check_changes(request.changes)
            _number("drain_ms", request.drain_ms, 0, DRAIN_MS_MAX)
        case ResumeResource():
            pass  # all that it names is its resource
        case _:
            assert_never(request)
    _text("by", request.by, 0, NAME_BYTES_MAX)


def _check_changes(changes: tuple[RoleChange, ...]) -> None:
    if not changes:
        raise InvalidRequestError("change_roles has no changes; name at least one registration")
    if len(changes) > BATCH_ITEMS_MAX:
        raise LimitExceededError(
            f"change_roles has {len(changes)} changes, at most {BATCH_ITEMS_MAX} go in one request",
            limit=BATCH_ITEMS_MAX,
        )


def check_role_change(change: RoleChange) -> None:
    """Check the values of one change of a role.

    Raises:
        InvalidRequestError: A value is not allowed.
    """
    _number("registration_id", change.registration_id, 1, _NUMBER_MAX)
    _number("epoch", change.epoch, 0, _NUMBER_MAX)


def check_list_tenures(request: ListTenures) -> None:
    """Check which tenures are asked for; how many go into a page is checked for all pages alike.

    Raises:
        InvalidRequestError: A value is not allowed.
    """
    check_name("resource_id", request.resource_id)
    _number("before", request.before, 0, _NUMBER_MAX)


def check_register(request: Register, lease_ms: int) -> None:
    """Check a registration's values, for a session with this lease.

    Raises:
        InvalidRequestError: A name, the priority, the hold limit or the metadata is not allowed.
        LimitExceededError: There is more metadata than is kept.
    """
    _check_new_name("service_name", request.service_name)
    _check_new_name("instance_id", request.instance_id)
    if request.resource_id is not None:
        _check_new_name("resource_id", request.resource_id)
    _number("priority", request.priority, PRIORITY_MIN, PRIORITY_MAX)
    if request.hold_limit_ms != 0:
        _number("hold_limit_ms", request.hold_limit_ms, lease_ms + 1, HOLD_LIMIT_MS_MAX)
    if request.metadata:
        _check_metadata(request.metadata)


def check_batch(request: RegisterMany) -> None:
    """Check how many items a batch has; each item is checked on its own.

    Raises:
        InvalidRequestError: There is none.
        LimitExceededError: There are more than 1,000.
    """
    if not request.items:
        raise InvalidRequestError("register_many has no items; name at least one registration")
    if len(request.items) > BATCH_ITEMS_MAX:
        raise LimitExceededError(
            f"register_many has {len(request.items)} items, at most {BATCH_ITEMS_MAX} go in one request; split it",
            limit=BATCH_ITEMS_MAX,
        )


def check_names(**names: str | None) -> None:
    """Check the names that a question asks for, given by field; None stands for any.

    Raises:
        InvalidRequestError: One could not be the name of anything.
    """
    for field, name in names.items():
        if name is not None:
            check_name(field, name)


def check_name(field: str, value: str) -> None:
    """Check a service's, an instance's or a resource's name.

    Raises:
        InvalidRequestError: It is empty, longer than 255 bytes, has control characters, or begins or ends with a space.
    """
    if value.isascii() and value.isprintable() and len(value) <= NAME_BYTES_MAX and value.strip(" ") == value != "":
        return  # as nearly all are: what follows finds out what is wrong, and counts the bytes of other letters
    _text(field, value, 1, NAME_BYTES_MAX)
    if value != value.strip():
        raise InvalidRequestError(f"{field} {_shortened(value)} begins or ends with a space")


def _check_new_name(field: str, value: str) -> None:
    """Check a name that is to be registered, and so to be asked for in URLs too."""
    check_name(field, value)
    if value in _DIRECTORIES:
        raise InvalidRequestError(
            f"{field} {value!r} means a directory in a URL, so that it could not be asked for there"
        )


def _check_metadata(metadata: dict[str, str]) -> None:
    if len(metadata) > METADATA_ENTRIES_MAX:
        raise LimitExceededError(
            f"metadata has {len(metadata)} entries; at most {METADATA_ENTRIES_MAX} are kept",
            limit=METADATA_ENTRIES_MAX,
        )
    for key, value in metadata.items():
        check_name("a metadata key", key)
        _text(f"metadata {key!r}", value, 0, METADATA_VALUE_BYTES_MAX)
    size = sum(_size(key) + _size(value) for key, value in metadata.items())
    if size > METADATA_BYTES_MAX:
        raise LimitExceededError(
            f"metadata has {size} bytes in all; at most {METADATA_BYTES_MAX} are kept", limit=METADATA_BYTES_MAX
        )


def _text(field: str, value: str, bytes_min: int, bytes_max: int) -> None:
    size = _size(value)
    if not bytes_min <= size <= bytes_max:
        raise InvalidRequestError(f"{field} has {size} bytes; allowed are {bytes_min} to {bytes_max}")
    if not value.isprintable():
        raise InvalidRequestError(f"{field} {_shortened(value)} has characters that cannot be printed")


def _size(value: str) -> int:
    """How many bytes it takes in UTF-8."""
    return len(value) if value.isascii() else len(value.encode(errors="surrogatepass"))


def _shortened(value: str) -> str:
    return repr(value if len(value) <= _SHOWN_CHARS_MAX else value[:_SHOWN_CHARS_MAX] + "…")


def _number(field: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InvalidRequestError(f"{field} is {value}; allowed are {least} to {most}")
