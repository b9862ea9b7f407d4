"""Messages that no client should send, to a live broker: each gets an error with its code, and nothing else happens.

What peers do to a broker by behaving badly, rather than by what they say, is in test_bad_peers.py.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from tenure.contract import codec
from tenure.contract.errors import ErrorCode, ErrorInfo
from tenure.contract.limits import FRAME_BYTES_MAX, PROTOCOL_VERSION, REQUEST_ID_BYTES_MAX
from tenure.contract.messages import (
    BrokerMessage,
    ClientMessage,
    ErrorReply,
    Hello,
    ListServices,
    Register,
    RegisteredMany,
    RegisterMany,
    ServicePage,
)
from tenure.contract.vocabulary import ServiceRole
from tests.integration.raw_client import PATIENCE_MS, RawClient
from tests.integration.served import Served, check_heartbeat, served

A_YEAR_MS = 365 * 24 * 3_600 * 1_000
CLAIM = Register(service_name="svc", instance_id="i", resource_id="r", role=ServiceRole.ACTIVE, metadata={"k": "v"})
# Everything MessagePack can say, to any depth that a frame of a few hundred bytes has room for.
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
TAGS = [str(kind.__struct_config__.tag) for kind in get_args(ClientMessage.__value__)]
FIELDS = sorted({name for kind in get_args(ClientMessage.__value__) for name in kind.__struct_fields__})


@pytest.fixture(scope="module")
def broker() -> Iterator[Served]:
    """One broker for all of it, which is healthy in the end."""
    with served() as broker:
        yield broker
        broker.check_health()


@pytest.fixture(params=["ipc", "tcp"])
def client(request: pytest.FixtureRequest, broker: Served) -> Iterator[RawClient]:
    """A client in a session, over each transport."""
    with RawClient(broker.ipc if request.param == "ipc" else broker.tcp) as client:
        client.hello()
        yield client
        client.hello()  # it is heard as before


@pytest.fixture(scope="module")
def fuzzer(broker: Served) -> Iterator[RawClient]:
    """A client over ipc that lasts for all examples of a property."""
    with RawClient(broker.ipc) as client:
        client.hello()
        yield client


def refusal(answer: BrokerMessage) -> ErrorInfo:
    """The error that an answer is."""
    assert isinstance(answer, ErrorReply), answer
    assert answer.error.message
    return answer.error


# --- bytes ------------------------------------------------------------------------------------------------------------


@given(body=st.binary(max_size=300))
def test_random_bytes_are_refused(fuzzer: RawClient, body: bytes) -> None:
    """Bytes that are no message are answered with `invalid_request`."""
    assert refusal(fuzzer.ask_body(body)).code is ErrorCode.INVALID_REQUEST


@given(frames=st.lists(st.binary(max_size=40), min_size=1, max_size=5))
def test_random_frames_leave_the_connection_as_it_was(fuzzer: RawClient, frames: list[bytes]) -> None:
    """Whatever frames come, in whatever number: the next request is answered, and nothing else but errors."""
    fuzzer.say(*frames)
    fuzzer.say(b"after", codec.encode(ListServices(service_name="nobody")))
    while True:
        request_id, answer = fuzzer.hear()
        if request_id == b"after":
            break
        assert request_id == frames[0]
        assert refusal(answer).code is ErrorCode.INVALID_REQUEST
    assert isinstance(answer, ServicePage)


def test_truncated_messages_are_refused(client: RawClient) -> None:
    """A message cut off at any byte, or with one too many, is answered with `invalid_request`."""
    body = codec.encode(CLAIM)
    for cut in (*(body[:length] for length in range(len(body))), body + b"\x00"):
        assert refusal(client.ask_body(cut)).code is ErrorCode.INVALID_REQUEST


@pytest.mark.parametrize("request_id", [b"", b"x" * (REQUEST_ID_BYTES_MAX + 1)])
def test_a_request_id_of_no_use_is_passed_over(client: RawClient, request_id: bytes) -> None:
    """A message whose request id is empty or too long is dropped: there is no answer that could name it."""
    service_name = secrets.token_hex(8)
    client.say(request_id, codec.encode(msgspec.structs.replace(CLAIM, service_name=service_name)))
    client.say(b"after", codec.encode(ListServices(service_name=service_name)))
    answered, page = client.hear()
    assert answered == b"after"
    assert isinstance(page, ServicePage)
    assert page.instances == ()


def test_a_frame_that_is_too_long_ends_the_connection(client: RawClient) -> None:
    """The longest frame is read and refused; one byte more and the peer is dropped before the frame is read."""
    assert refusal(client.ask_body(b"\xc1" * FRAME_BYTES_MAX)).code is ErrorCode.INVALID_REQUEST
    with contextlib.closing(client.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)) as monitor:
        client.say(b"long", b"\xc1" * (FRAME_BYTES_MAX + 1))
        assert monitor.poll(PATIENCE_MS)
        client.socket.disable_monitor()
    assert refusal(client.ask(ListServices())).code is ErrorCode.HELLO_REQUIRED


# --- messages ---------------------------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(tag=st.sampled_from(TAGS), fields=st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6))
def test_any_values_in_any_message_are_answered(fuzzer: RawClient, tag: str, fields: dict[str, Any]) -> None:
    """Every message with anything in its fields is answered, if it is not right then by a code of the closed set."""
    answer = fuzzer.ask_body(msgspec.msgpack.encode({"type": tag, **fields}))
    if isinstance(answer, ErrorReply):
        assert answer.error.code is not ErrorCode.INTERNAL_ERROR
    fuzzer.hello()


@given(value=VALUES, field=st.sampled_from(CLAIM.__struct_fields__))
def test_a_wrong_value_in_a_claim_is_refused(fuzzer: RawClient, field: str, value: Any) -> None:
    """A field of another type is `invalid_request`; nothing is registered by a refused claim."""
    fields = {**msgspec.to_builtins(CLAIM), "service_name": "fuzz", field: value}
    if not is_of_the_type(field, value):
        assert refusal(fuzzer.ask_body(msgspec.msgpack.encode(fields))).code is ErrorCode.INVALID_REQUEST
    found = fuzzer.ask(ListServices(service_name="fuzz"))
    assert isinstance(found, ServicePage)
    assert found.instances == ()


def is_of_the_type(field: str, value: Any) -> bool:
    """Whether a claim with this value in a field might be right."""
    try:
        msgspec.convert({**msgspec.to_builtins(CLAIM), field: value}, Register)
    except msgspec.ValidationError:
        return False
    return True


@pytest.mark.parametrize("tag", ["nonsense", "", "welcome", "registered", "events", "Hello", 7, None, [], {}])
def test_unknown_tags_are_refused(client: RawClient, tag: object) -> None:
    """A type that no client sends is `invalid_request`, also one that only a broker sends."""
    body = msgspec.msgpack.encode({**msgspec.to_builtins(CLAIM), "type": tag})
    assert refusal(client.ask_body(body)).code is ErrorCode.INVALID_REQUEST


def test_a_message_without_a_type_is_refused(client: RawClient) -> None:
    """A map without a type is `invalid_request`."""
    assert refusal(client.ask_body(msgspec.msgpack.encode({"service_name": "s"}))).code is ErrorCode.INVALID_REQUEST


def test_deep_nesting_is_refused(client: RawClient) -> None:
    """A body that nests deeper than any stack is `invalid_request`."""
    assert refusal(client.ask_body(b"\x91" * 500_000 + b"\x00")).code is ErrorCode.INVALID_REQUEST


def test_a_length_that_is_not_there_is_refused(client: RawClient) -> None:
    """An array, a map or a text that says it has 4 billion items and has none costs nothing but an error."""
    for start in (b"\xdd", b"\xdf", b"\xdb", b"\xc6"):
        assert refusal(client.ask_body(start + b"\xff" * 4)).code is ErrorCode.INVALID_REQUEST


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "x" * 256, "x" * 10_000, "ü" * 128, "a\x00b", "a\nb", "\x1b[31m", "\u202e", " a"])
@pytest.mark.parametrize("field", ["service_name", "instance_id", "resource_id"])
def test_names_that_cannot_be_are_refused(client: RawClient, field: str, name: str) -> None:
    """Empty names, long ones, control characters and outer spaces: `invalid_request`, which names the field."""
    error = refusal(client.ask(msgspec.structs.replace(CLAIM, **{field: name})))
    assert error.code is ErrorCode.INVALID_REQUEST
    assert error.message.startswith(field)
    assert len(error.message) < 300


@pytest.mark.parametrize("session_id", ["", "short", "x" * 65, "x" * 10_000, "\x00" * 16])
def test_session_ids_that_cannot_be_are_refused(client: RawClient, session_id: str) -> None:
    """A session's secret has its bounds too."""
    error = refusal(client.ask(Hello(version=PROTOCOL_VERSION, session_id=session_id)))
    assert error.code is ErrorCode.INVALID_REQUEST
    assert error.message.startswith("session_id")


@pytest.mark.parametrize("lease_ms", [0, -1, 199, 600_001, A_YEAR_MS, 2**63 - 1])
def test_leases_out_of_bounds_are_refused(client: RawClient, lease_ms: int) -> None:
    """A lease of 0 or of a year is `invalid_request`."""
    hello = Hello(version=PROTOCOL_VERSION, session_id=secrets.token_hex(16), lease_ms=lease_ms)
    error = refusal(client.ask(hello))
    assert error.code is ErrorCode.INVALID_REQUEST
    assert error.message.startswith("lease_ms")


@pytest.mark.parametrize("version", [0, 2, -1, 2**62])
def test_another_protocol_version_is_refused(client: RawClient, version: int) -> None:
    """Another version is told which one is spoken here."""
    error = refusal(client.ask(Hello(version=version, session_id=secrets.token_hex(16))))
    assert (error.code, error.limit) == (ErrorCode.UNSUPPORTED_VERSION, PROTOCOL_VERSION)


def test_too_many_items_are_refused_as_a_whole(client: RawClient) -> None:
    """1,001 items are `limit_exceeded`, none `invalid_request`; 1,000 have a result each, also those that are wrong."""
    service_name = secrets.token_hex(8)
    right = Register(service_name=service_name, instance_id="i", resource_id="")
    items = tuple(msgspec.structs.replace(right, resource_id=f"{service_name}-{n}") for n in range(1_001))
    error = refusal(client.ask(RegisterMany(items=items)))
    assert (error.code, error.limit) == (ErrorCode.LIMIT_EXCEEDED, 1_000)
    assert refusal(client.ask(RegisterMany(items=()))).code is ErrorCode.INVALID_REQUEST
    answer = client.ask(RegisterMany(items=(*items[:999], right)))
    assert isinstance(answer, RegisteredMany)
    codes = [result.error and result.error.code for result in answer.results]
    assert codes == [None] * 999 + [ErrorCode.INVALID_REQUEST]


INTRUDER = """
import os, sys
from tenure.contract.limits import PROTOCOL_VERSION
from tenure.contract.messages import Hello
from tests.integration.raw_client import RawClient
os.setgid(65534)
os.setuid(65534)
with RawClient(sys.argv[1]) as client:
    answer = client.ask(Hello(version=PROTOCOL_VERSION, session_id=sys.argv[2], resume=True, connection=2))
print(answer.error.code if hasattr(answer, "error") else answer)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_somebody_elses_session_is_forbidden(broker: Served) -> None:
    """Over ipc a session belongs to the user that opened it: another one who knows its secret gets `forbidden`."""
    broker.directory.chmod(0o711)
    Path(broker.ipc.removeprefix("ipc://")).chmod(0o777)
    session_id = secrets.token_hex(16)
    with RawClient(broker.ipc) as owner:
        owner.hello(session_id=session_id)
        intruder = subprocess.run(
            [sys.executable, "-c", INTRUDER, broker.ipc, session_id],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE_MS / 1_000,
        )
        assert intruder.stdout == "forbidden\n"
        check_heartbeat(owner, 1)
