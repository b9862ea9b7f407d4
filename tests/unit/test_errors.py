"""Errors: one class for each code and one code for each class, data that survives the way, messages that help."""

from __future__ import annotations

import copy
import pickle

import pytest

import tenure.contract.errors as errors_module
from tenure.contract import codec
from tenure.contract.errors import (
    BrokerUnavailableError,
    ClientClosedError,
    DuplicateInstanceError,
    ErrorCode,
    ErrorInfo,
    InvalidEndpointError,
    LimitExceededError,
    NotFoundError,
    OverloadedError,
    ProtocolError,
    RequestRefusedError,
    RequestTimeoutError,
    RevisionCompactedError,
    RoleConflictError,
    RoleLostError,
    TenureError,
    refusal_from,
)
from tenure.contract.messages import ErrorReply
from tenure.contract.views import Holder

HOLDER = Holder(service_name="order-gateway", instance_id="gw-1", epoch=41, since_ms=1_767_225_600_000)
each_code = pytest.mark.parametrize("code", ErrorCode)


def every(kind: type[TenureError]) -> list[type[TenureError]]:
    """A class and all that derive from it."""
    return [kind, *(found for derived in kind.__subclasses__() for found in every(derived))]


def travelled(error: RequestRefusedError) -> RequestRefusedError:
    """What a client raises when the broker refuses with this error."""
    reply = codec.decode_broker(codec.encode(ErrorReply(error=error.info)))
    assert isinstance(reply, ErrorReply)
    return refusal_from(reply.error)


@each_code
def test_each_code_is_one_class(code: ErrorCode) -> None:
    """Exactly one exception stands for each code, and it travels as that code and back with all its data."""
    kinds = [kind for kind in RequestRefusedError.__subclasses__() if kind.code is code]
    assert len(kinds) == 1

    sent = kinds[0]("what happened", holder=HOLDER, retry_after_ms=0, limit=7, revision=9)
    received = travelled(sent)

    assert type(received) is kinds[0]
    assert received.info == sent.info
    assert received.info.code is code
    assert str(received) == "what happened"


@each_code
def test_each_code_travels_without_data(code: ErrorCode) -> None:
    """A refusal that has nothing but a message has nothing but a message when it arrives."""
    info = ErrorInfo(code=code, message="what happened")

    assert travelled(refusal_from(info)).info == info


def test_no_class_is_without_a_code() -> None:
    """Every refusal has a code of the closed set, so that nothing is raised that could not travel."""
    assert {kind.code for kind in RequestRefusedError.__subclasses__()} == set(ErrorCode)
    assert every(RequestRefusedError)[1:] == RequestRefusedError.__subclasses__()


def test_an_unknown_code_is_refused() -> None:
    """The set is closed within a version: another code is no message of this protocol."""
    frame = codec.encode(ErrorReply(error=ErrorInfo(code=ErrorCode.FORBIDDEN, message=""))).replace(
        b"forbidden", b"forgotten"
    )

    with pytest.raises(ProtocolError):
        codec.decode_broker(frame)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """The docstring draws every class, and beside each refusal its code."""
    assert errors_module.__doc__ is not None
    lines = errors_module.__doc__.splitlines()
    drawn = {
        name: line
        for line in lines
        if ("─ " in line or line.strip() == "TenureError") and (name := line.split("─ ")[-1].split()[0])
    }

    # Other packages derive errors of their own, which are there or not, depending on what ran before.
    assert set(drawn) == {kind.__name__ for kind in every(TenureError) if kind.__module__ == errors_module.__name__}
    for kind in RequestRefusedError.__subclasses__():
        assert f" {kind.code} " in drawn[kind.__name__] + " "


def test_a_conflict_says_who_and_what_to_do() -> None:
    """A lost claim names the holder in its data and its message, and the way to wait instead."""
    error = travelled(RoleConflictError.held("account-42", HOLDER))

    assert isinstance(error, RoleConflictError)
    assert error.holder == HOLDER
    for part in ("'account-42'", "order-gateway/gw-1", "epoch 41", "on_conflict='standby'"):
        assert part in str(error)


def test_a_duplicate_says_when_to_try_again() -> None:
    """A duplicate names the instance and the time after which its ghost is gone."""
    error = travelled(DuplicateInstanceError.alive("order-gateway", "gw-1", "account-42", 1_500))

    assert isinstance(error, DuplicateInstanceError)
    assert error.retry_after_ms == 1_500
    for part in ("order-gateway/gw-1", "'account-42'", "1500 ms"):
        assert part in str(error)


def test_a_duplicate_that_does_not_say_when() -> None:
    """A duplicate without a time may be tried again at once."""
    assert DuplicateInstanceError("what happened").retry_after_ms == 0


EXAMPLES: list[TenureError] = [
    RoleConflictError.held("account-42", HOLDER),
    NotFoundError("no such registration"),
    LimitExceededError("too many", limit=7),
    OverloadedError("busy", retry_after_ms=100),
    RevisionCompactedError("gone", revision=9),
    RoleLostError("account-42", "gw-1", 41, "its lease ran out"),
    BrokerUnavailableError(("ipc:///a", "tcp://b:1"), 2_000),
    RequestTimeoutError("register", 5_000),
    InvalidEndpointError("udp://x", "write tcp://host:port"),
    ClientClosedError("the client is closed"),
    ProtocolError("not a message"),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_errors_go_to_other_processes(error: TenureError) -> None:
    """An error that is pickled or copied is the same error: class, message and data."""
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301  (our own bytes)
        assert type(other) is type(error)
        assert str(other) == str(error)
        assert vars(other) == vars(error)


@pytest.mark.parametrize(
    ("error", "parts"),
    [
        (RoleLostError("account-42", "gw-1", 41, "its lease ran out"), ("gw-1", "'account-42'", "41", "its lease ran")),
        (BrokerUnavailableError(("ipc:///a", "tcp://b:1"), 2_000), ("ipc:///a, tcp://b:1", "2000 ms", "tenure serve")),
        (RequestTimeoutError("register", 5_000), ("register", "5000 ms", "unknown", "safe to repeat")),
        (InvalidEndpointError("udp://x", "write tcp://host:port"), ("'udp://x'", "write tcp://host:port")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_messages_say_what_happened_and_what_to_do(error: TenureError, parts: tuple[str, ...]) -> None:
    """The SDK's own errors compose their message from their data."""
    for part in parts:
        assert part in str(error)
