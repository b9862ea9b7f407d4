"""How a client's sockets are made: they connect, never queue for nobody, never block and never linger."""

from __future__ import annotations

from itertools import count

import zmq
from zmq.backend import Socket as BareSocket

from tenure.contract import codec
from tenure.contract.errors import ProtocolError
from tenure.contract.limits import BROKER_FRAME_BYTES_MAX
from tenure.contract.messages import BrokerMessage

type Context = zmq.Context[zmq.Socket[bytes]]
type Socket = zmq.Socket[bytes]

_SENDS_MAX = 1_000
_STREAM_QUEUED_MAX = 100  # messages of up to 1,000 events each; a listener that is further behind reads the store
_KEEPALIVE_S = 5  # the kernel looks whether a silent peer is there, so that a request does not find out that it is not
_KEEPALIVE_PROBES = 5
_UNACKNOWLEDGED_MS = 10_000
_ASKED_FIRST = 2  # asking whether an answer waits costs a third of the exception that none does

# As plain integers: arithmetic with pyzmq's enumerations costs more than sending a frame.
_NOBLOCK = int(zmq.NOBLOCK)
_NOBLOCK_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)
_POLLIN = int(zmq.POLLIN)
_EVENTS = int(zmq.EVENTS)

# What `zmq.Socket.send` calls once it has looked for options of draft sockets, which takes longer than the sending.
_send = BareSocket.send


def connect_dealer(context: Context, endpoint: str) -> Socket:
    """A DEALER that connects to a broker's endpoint; sends fail until it has."""
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.setsockopt(zmq.SNDHWM, _SENDS_MAX)
    _quiet(socket)
    socket.connect(endpoint)
    return socket


def connect_subscriber(context: Context, endpoint: str) -> Socket:
    """A SUB for the whole stream of a broker."""
    socket = context.socket(zmq.SUB)
    socket.setsockopt(zmq.RCVHWM, _STREAM_QUEUED_MAX)
    socket.setsockopt(zmq.MAXMSGSIZE, BROKER_FRAME_BYTES_MAX)
    _quiet(socket)
    socket.setsockopt(zmq.SUBSCRIBE, b"")
    socket.connect(endpoint)
    return socket


def try_send(socket: Socket, request_id: bytes, body: bytes, trace: bytes = b"") -> bool:
    """Send if it can leave now; False if there is no connection or no room."""
    try:
        _send(socket, request_id, _NOBLOCK_MORE)  # refused here or not at all
        if trace:
            _send(socket, body, _NOBLOCK_MORE)
        _send(socket, trace or body, _NOBLOCK)
    except zmq.Again:
        return False
    return True


def is_readable(socket: Socket) -> bool:
    """Whether an answer waits. Asking re-arms the descriptor's edge."""
    return bool(int(socket.getsockopt(_EVENTS)) & _POLLIN)


def receive_waiting(socket: Socket) -> list[tuple[bytes, BrokerMessage]]:
    """All answers that wait: request id (empty for what answers nothing) and message; malformed ones are left out."""
    received: list[tuple[bytes, BrokerMessage]] = []
    for number in count():
        if number < _ASKED_FIRST and not is_readable(socket):
            break
        try:
            frames = socket.recv_multipart(_NOBLOCK)
        except zmq.Again:
            break
        if len(frames) == 2:
            try:
                received.append((frames[0], codec.decode_broker(frames[1])))
            except ProtocolError:
                continue
    return received


def _quiet(socket: Socket) -> None:
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, _KEEPALIVE_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, _KEEPALIVE_PROBES)
    socket.setsockopt(zmq.TCP_MAXRT, _UNACKNOWLEDGED_MS)
    # No pings of ZMTP: silence is noticed by whoever waits, and libzmq can end a process (`!_io_error`) that sends some
    # or is sent some.
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RECONNECT_IVL, 20)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 100)
