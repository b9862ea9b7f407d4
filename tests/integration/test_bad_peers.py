"""Peers that behave badly towards a live broker: they flood, do not read, leave, connect without end or talk nonsense.

Each is bounded or dropped, and whoever behaves is served as before: heartbeats are answered all the while.
"""

from __future__ import annotations

import resource
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from tenure.broker.admission import burst_max
from tenure.broker.descriptors import OWN
from tenure.contract import codec
from tenure.contract.errors import ErrorCode
from tenure.contract.messages import ErrorReply, ListServices, Register, RegisteredMany, RegisterMany
from tests.integration.raw_client import PATIENCE_MS, RawClient
from tests.integration.served import Served, check_heartbeat, served

pytestmark = pytest.mark.usefixtures("unmeasured")  # a broker that is looked at reads floods three times as long
IN_FLIGHT_MAX = 10
CONNECTIONS_MAX = 60
QUESTIONS = 400
PATIENCE_S = PATIENCE_MS / 1_000


@pytest.fixture(scope="module")
def broker() -> Iterator[Served]:
    """One broker for most of it."""
    with served(requests_in_flight_max=IN_FLIGHT_MAX) as broker:
        yield broker


@pytest.fixture
def good(broker: Served) -> Iterator[RawClient]:
    """Somebody who behaves, and is served as before in the end."""
    with RawClient(broker.ipc) as client:
        client.hello()
        check_heartbeat(client, 1)
        yield client
        check_heartbeat(client, 1_000_000)
    broker.check_health()


# --- too much ---------------------------------------------------------------------------------------------------------


def test_a_flood_is_refused_and_delays_nobody_else(broker: Served, good: RawClient) -> None:
    """★ One client sends thousands of requests at once: it is told `overloaded`, others' heartbeats are answered."""
    with RawClient(broker.tcp) as flooder:
        flooder.hello()
        for turn in range(40):
            for number in range(200):
                name = f"flood-{turn}-{number}"
                flooder.say(name.encode()[:16], codec.encode(Register(service_name="flood", instance_id=name)))
            check_heartbeat(good, turn + 2)
        while True:
            _, answer = flooder.hear()
            if isinstance(answer, ErrorReply):
                assert answer.error.code is ErrorCode.OVERLOADED
                assert answer.error.retry_after_ms
                break


def test_a_flood_of_nonsense_delays_nobody_else(broker: Served, good: RawClient) -> None:
    """★ Thousands of messages that are none, from somebody who never reads the errors: heartbeats are answered."""
    with RawClient(broker.ipc) as flooder:
        for turn in range(20):
            for _ in range(500):
                flooder.say(b"nonsense", b"\xc1")
            check_heartbeat(good, turn + 2)


def test_a_client_that_never_reads_loses_answers_and_delays_nobody(broker: Served, good: RawClient) -> None:
    """★ Answers that nobody takes are dropped, not kept for ever: the broker's memory stays bounded."""
    items = tuple(Register(service_name="big", instance_id=f"i-{n}", metadata={"k": "v" * 1_000}) for n in range(500))
    assert isinstance(good.ask(RegisterMany(items=items)), RegisteredMany)
    question = codec.encode(ListServices(service_name="big"))
    answer_bytes = len(codec.encode(good.ask_body(question)))
    before_bytes = resident_bytes(broker.process.pid)
    with RawClient(broker.ipc) as deaf:
        deaf.socket.setsockopt(zmq.RCVHWM, 1)
        deaf.hello()
        for turn in range(20):
            for _ in range(QUESTIONS // 20):
                deaf.say(b"big", question)
            check_heartbeat(good, turn + 2)
        assert resident_bytes(broker.process.pid) - before_bytes < QUESTIONS * answer_bytes / 2


def test_a_listener_that_never_reads_delays_nobody(broker: Served, good: RawClient) -> None:
    """A subscriber that takes nothing: events go on for others, and so do heartbeats."""
    with zmq.Context() as context, context.socket(zmq.SUB) as deaf:
        deaf.setsockopt(zmq.RCVHWM, 1)
        deaf.setsockopt(zmq.LINGER, 0)
        deaf.subscribe(b"")
        deaf.connect(broker.events)
        assert deaf.poll(PATIENCE_MS)  # it is connected; from here on it reads nothing
        for turn in range(100):
            name = f"unheard-{turn}"
            assert not isinstance(good.ask(Register(service_name=name, instance_id=name)), ErrorReply)
            check_heartbeat(good, turn + 2)


def resident_bytes(pid: int) -> int:
    """How much memory a process has."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


# --- leaving ----------------------------------------------------------------------------------------------------------


def test_answers_to_those_who_left_are_dropped(broker: Served, good: RawClient) -> None:
    """Clients that ask and leave without waiting: their answers have nobody to go to, which harms nobody."""
    for turn in range(50):
        with RawClient(broker.endpoints[turn % 2]) as leaver:
            leaver.hello()
            for number in range(5):
                name = f"left-{turn}-{number}"
                leaver.say(b"bye", codec.encode(Register(service_name="left", instance_id=name, resource_id=name)))
        check_heartbeat(good, turn + 2)


@pytest.mark.slow
@pytest.mark.timeout(600)  # what is read is a matter of processor time, of which a busy machine has little to give
def test_who_floods_and_leaves_does_not_end_the_broker() -> None:
    """★ More than it takes at once waits to be read from many who are gone, for longer than any timer of libzmq's."""
    with served() as broker, RawClient(broker.tcp) as good:
        good.hello()
        check_heartbeat(good, 1)
        descriptors = Path(f"/proc/{broker.process.pid}/fd")
        before = len(list(descriptors.iterdir()))
        with zmq.Context[zmq.Socket[bytes]]() as context:
            flooders = [context.socket(zmq.DEALER) for _ in range(100)]
            for flooder in flooders:
                flooder.setsockopt(zmq.LINGER, 0)
                flooder.setsockopt(zmq.SNDHWM, 0)
                flooder.connect(broker.ipc)
                for _ in range(4_000):
                    flooder.send_multipart([b"flood", b"nonsense"])
            sequence = 2
            while len(list(descriptors.iterdir())) < before + len(flooders):
                check_heartbeat(good, sequence)
                sequence += 1
            for flooder in flooders:
                flooder.close()
        while len(list(descriptors.iterdir())) > before:  # what they said is being read
            check_heartbeat(good, sequence)
            sequence += 1
        broker.check_health()


# --- nonsense below the messages --------------------------------------------------------------------------------------

GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + b"\x00" + bytes(31)
READY = b"\x05READY" + b"\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER"
BAD_FRAMES = {
    "longer than the limit": b"\x02" + struct.pack(">Q", 2**30),
    "longer than anything": b"\x02" + b"\xff" * 8,
}


def connect(endpoint: str) -> socket.socket:
    """A connection without libzmq."""
    if endpoint.startswith("ipc://"):
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(PATIENCE_S)
        peer.connect(endpoint.removeprefix("ipc://"))
        return peer
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    return socket.create_connection((host, int(port)), PATIENCE_S)


@settings(max_examples=50)
@given(first=st.sampled_from([b"", GREETING[:10], GREETING]), rest=st.binary(max_size=200), is_tcp=st.booleans())
def test_bytes_that_are_no_zeromq_harm_nobody(broker: Served, first: bytes, rest: bytes, is_tcp: bool) -> None:
    """Random bytes instead of a greeting or after it: at worst that connection is dropped."""
    with connect(broker.tcp if is_tcp else broker.ipc) as peer:
        peer.sendall(first + rest)
    assert broker.process.poll() is None


def test_web_browsers_are_not_served(broker: Served, good: RawClient) -> None:
    """Somebody who takes it for a web server gets no answer, and is forgotten when it leaves."""
    with connect(broker.tcp) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" + b"x" * 200)
        peer.shutdown(socket.SHUT_WR)
        assert b"HTTP" not in until_the_end(peer)
    check_heartbeat(good, 2)


def test_whoever_connects_and_says_nothing_is_dropped(broker: Served, good: RawClient) -> None:
    """A connection without a handshake is closed after a few seconds, over both transports."""
    with connect(broker.ipc) as silent, connect(broker.tcp) as mute:
        until_the_end(silent)
        until_the_end(mute)
    check_heartbeat(good, 2)


@pytest.mark.parametrize("frame", BAD_FRAMES.values(), ids=BAD_FRAMES)
def test_frames_that_cannot_be_end_the_connection(broker: Served, good: RawClient, frame: bytes) -> None:
    """A frame that announces more than is taken ends its connection at once."""
    with connect(broker.tcp) as peer:
        peer.sendall(GREETING)
        peer.sendall(b"\x04" + bytes([len(READY)]) + READY)
        peer.sendall(frame)
        until_the_end(peer)
    check_heartbeat(good, 2)


def test_a_truncated_frame_is_never_a_message(broker: Served, good: RawClient) -> None:
    """A connection that ends within a frame: what came of it is dropped."""
    claim = codec.encode(Register(service_name="cut", instance_id="i"))
    with connect(broker.ipc) as peer:
        peer.sendall(GREETING + b"\x04" + bytes([len(READY)]) + READY)
        peer.sendall(b"\x01\x01x" + b"\x00" + bytes([len(claim)]) + claim[:-1])
    page: Any = good.ask(ListServices(service_name="cut"))
    assert page.instances == ()


def until_the_end(peer: socket.socket) -> bytes:
    """All that comes until the other side has closed the connection."""
    received = b""
    try:
        while more := peer.recv(4_096):
            received += more
    except ConnectionResetError:
        pass
    return received


# --- descriptors ------------------------------------------------------------------------------------------------------

# Connects as often as it can, waiting a second for each place, and holds what it gets until it is told to go.
FLOOD = """
import resource, socket, struct, sys
*address, wanted = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_NOFILE, (int(wanted) + 50,) * 2)
held = []
try:
    while len(held) < int(wanted):
        visitor = socket.socket(socket.AF_UNIX if len(address) == 1 else socket.AF_INET)
        visitor.settimeout(1)
        visitor.connect(address[0] if len(address) == 1 else (address[0], int(address[1])))
        held.append(visitor)
except OSError:
    pass
print(len(held), flush=True)
sys.stdin.readline()
"""
DESCRIPTORS = OWN + CONNECTIONS_MAX + 20 + burst_max(3, 3) + 100


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["ipc", "tcp"])
@pytest.mark.skipif(
    0 <= resource.getrlimit(resource.RLIMIT_NOFILE)[1] < DESCRIPTORS + 200, reason="too few descriptors for a flood"
)
def test_connections_cannot_use_up_the_descriptors(transport: str) -> None:
    """★ More connections than there are descriptors: the doors shut, who is in is served, and they open again."""
    with served(descriptors=DESCRIPTORS, connections_max=CONNECTIONS_MAX) as broker, ExitStack() as stack:
        good = stack.enter_context(RawClient(broker.ipc))
        good.hello()
        check_heartbeat(good, 1)
        host, _, port = broker.tcp.removeprefix("tcp://").rpartition(":")
        address = [broker.ipc.removeprefix("ipc://")] if transport == "ipc" else [host, port]
        flood = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", FLOOD, *address, str(DESCRIPTORS + 100)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(flood.kill)
        assert flood.stdout is not None
        assert CONNECTIONS_MAX / 2 < int(flood.stdout.readline()) < DESCRIPTORS
        check_heartbeat(good, 2)
        flood.communicate("\n", timeout=PATIENCE_S)
        broker.check_health()
        check_heartbeat(good, 3)
