"""How a client's sockets are made: they connect, never queue for nobody, never block and never linger."""

from __future__ import annotations

import contextlib

import zmq

from tenure.contract import codec
from tenure.contract.errors import ProtocolError
from tenure.contract.messages import BrokerMessage

type Context = zmq.Context[zmq.Socket[bytes]]
type Socket = zmq.Socket[bytes]

_SENDS_MAX = 1_000
_HEARTBEAT_MS = 5_000


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
    socket.setsockopt(zmq.RCVHWM, 0)  # what is behind is bounded by the broker's side and by gap filling
    _quiet(socket)
    socket.setsockopt(zmq.SUBSCRIBE, b"")
    socket.connect(endpoint)
    return socket


def try_send(socket: Socket, request_id: bytes, body: bytes) -> bool:
    """Send if it can leave now; False if there is no connection or no room."""
    try:
        socket.send_multipart((request_id, body), zmq.NOBLOCK)
    except zmq.Again:
        return False
    return True


def receive_waiting(socket: Socket) -> list[tuple[bytes, BrokerMessage]]:
    """All answers that wait: request id (empty for what answers nothing) and message; malformed ones are left out."""
    received: list[tuple[bytes, BrokerMessage]] = []
    while True:
        try:
            frames = socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return received
        if len(frames) == 2:
            with contextlib.suppress(ProtocolError):
                received.append((frames[0], codec.decode_broker(frames[1])))


def _quiet(socket: Socket) -> None:
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RECONNECT_IVL, 20)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
    socket.setsockopt(zmq.HEARTBEAT_IVL, _HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _HEARTBEAT_MS)
