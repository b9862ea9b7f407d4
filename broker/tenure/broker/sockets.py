"""The broker's ZeroMQ sockets: one ROUTER per transport, because trust differs, and one PUB for the stream.

Reading goes through the socket's file descriptor, which is edge-triggered: whoever was told of it reads until nothing
is left, and looks again after sending. Sending never blocks: what a peer does not take is dropped and counted.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable

import zmq
from msgspec import Struct
from zmq.backend import Socket as BareSocket

from tenure.broker.admission import BACKLOG, Admission
from tenure.broker.connections import Connections, Route
from tenure.broker.outgoing import Outgoing
from tenure.broker.peers import NOBODY, Peer, parse_peer_address
from tenure.contract.limits import REQUEST_ID_BYTES_MAX

# Connections whose peer is gone without a word are closed by the kernel. Pings of ZMTP would do that too, but libzmq
# ends the process (`!_io_error`) when one is due to a peer that is gone while its last messages wait to be read.
_KEEPALIVE_S = 5
_KEEPALIVE_PROBES = 5
_UNACKNOWLEDGED_MS = 10_000
_HANDSHAKE_MS = 3_000  # whoever connects and says nothing is dropped
_FRAMES = (2, 3)  # request id, body and perhaps a trace, after the routing id
_ASKED_FIRST = 2  # messages after the first of a round: asking for one costs a third of the exception that none waits
_MAPPED = re.compile(r"\[::ffff:([0-9.]+)\]")  # how libzmq names an IPv4 address while it may use IPv6
_EVENTS_QUEUED_MAX = 1_000  # commits that one listener may be behind before it reads them from the store instead

# As plain integers: arithmetic with pyzmq's enumerations costs more than sending a frame.
_NOBLOCK = int(zmq.NOBLOCK)
_NOBLOCK_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)
_POLLIN = int(zmq.POLLIN)
_EVENTS = int(zmq.EVENTS)
_RCVMORE = int(zmq.RCVMORE)

# What `zmq.Socket.send` calls once it has looked for options of draft sockets, which takes longer than the sending.
_send = BareSocket.send


type Context = zmq.Context[zmq.Socket[bytes]]


class Received(Struct, frozen=True, gc=False):
    """One message: where from, the frames after the routing id, and whom the kernel vouches for."""

    route: Route
    frames: list[bytes]
    peer: Peer


class Requests:
    """One ROUTER, bound to the endpoints of one transport."""

    def __init__(
        self,
        context: Context,
        index: int,
        frame_bytes_max: int,
        sends_max: int,
        *,
        vouches: bool,
    ) -> None:
        """`vouches`: over this transport the kernel says who a peer is; over any other a peer could say it itself."""
        self.index = index
        """Which of the broker's ROUTERs it is, as routes name it."""
        self.endpoints: list[str] = []
        """Where it listens, wildcards resolved."""
        self.dropped = 0
        """Messages that a peer did not take, or that were not of the protocol's form."""
        self._vouches = vouches
        self._socket = context.socket(zmq.ROUTER)
        _never_hang(self._socket)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.setsockopt(zmq.MAXMSGSIZE, frame_bytes_max)
        self._socket.setsockopt(zmq.SNDHWM, sends_max)
        self._socket.setsockopt(zmq.RCVHWM, sends_max)

    @property
    def fd(self) -> int:
        """What to watch for reading."""
        return int(self._socket.getsockopt(zmq.FD))

    @property
    def is_readable(self) -> bool:
        """Whether a message waits. Asking re-arms the descriptor's edge."""
        return bool(int(self._socket.getsockopt(_EVENTS)) & _POLLIN)

    def bind(self, endpoint: str) -> None:
        """Listen at an endpoint."""
        self.endpoints.append(_bound(self._socket, endpoint))

    def admit_by(self, admission: Admission) -> None:
        """Let a doorkeeper count its connections; there are to be no more endpoints after that."""
        admission.watch(self._socket, self.endpoints)

    def receive(self, connections: Connections, most: int) -> list[Received]:
        """Up to `most` waiting messages; fewer mean that no more wait, and that the descriptor tells of the next.

        Whoever calls has mostly been told that some wait, so that the first is not asked for.
        """
        received: list[Received] = []
        for number in range(most):
            if 0 < number <= _ASKED_FIRST and not self.is_readable:
                break
            try:
                routing_id = self._socket.recv(_NOBLOCK)
            except zmq.Again:
                break
            known = connections.at(self.index, routing_id)
            if known is None:
                route = Route(self.index, routing_id)
                frames, peer = self._vouched_frames()
            else:
                route, peer = known.route, known.peer
                frames = self._frames()
            if len(frames) not in _FRAMES or not 1 <= len(frames[0]) <= REQUEST_ID_BYTES_MAX:
                self.dropped += 1  # the core passes over it
            received.append(Received(route, frames, peer))
        return received

    def _frames(self) -> list[bytes]:
        """The frames of a message after its routing id; there is at least one."""
        socket = self._socket
        frames = [socket.recv()]
        while socket.getsockopt(_RCVMORE):
            frames.append(socket.recv())
        return frames

    def _vouched_frames(self) -> tuple[list[bytes], Peer]:
        """The same, and whom the kernel vouches for."""
        frame = self._socket.recv(copy=False)
        peer = _peer_of(frame) if self._vouches else NOBODY
        frames = [frame.bytes]
        while frame.more:
            frame = self._socket.recv(copy=False)
            frames.append(frame.bytes)
        return frames, peer

    def send(self, message: Outgoing) -> bool:
        """Send one message; False if the peer is gone."""
        try:
            _send(self._socket, message.route.routing_id, _NOBLOCK_MORE)  # refused here or not at all
            _send(self._socket, message.request_id, _NOBLOCK_MORE)
            _send(self._socket, message.body, _NOBLOCK)
        except zmq.Again:  # it does not read: it loses this one, and heartbeats tell it the rest
            self.dropped += 1
        except zmq.ZMQError as error:
            self.dropped += 1
            if error.errno != errno.EHOSTUNREACH:
                raise
            return False
        return True

    def close(self, linger_ms: int) -> None:
        """Let go, giving what was sent `linger_ms` to leave."""
        self._socket.close(linger_ms)


def bind_requests(context: Context, endpoints: Iterable[str], frame_bytes_max: int, sends_max: int) -> list[Requests]:
    """A ROUTER for each transport among the endpoints, bound to all of it.

    Raises:
        zmq.ZMQError: An endpoint cannot be bound; nothing is.
    """
    by_transport: dict[str, list[str]] = {}
    for endpoint in endpoints:
        by_transport.setdefault(endpoint.partition("://")[0], []).append(endpoint)
    routers: list[Requests] = []
    try:
        for index, (transport, its_endpoints) in enumerate(by_transport.items()):
            routers.append(Requests(context, index, frame_bytes_max, sends_max, vouches=transport == "ipc"))
            for endpoint in its_endpoints:
                routers[-1].bind(endpoint)
    except zmq.ZMQError:
        for router in routers:
            router.close(0)
        raise
    return routers


class Publisher:
    """The PUB of the stream."""

    def __init__(self, context: Context) -> None:
        self.endpoints: list[str] = []
        """Where it publishes, wildcards resolved."""
        self._socket = context.socket(zmq.PUB)
        _never_hang(self._socket)
        self._socket.setsockopt(zmq.SNDHWM, _EVENTS_QUEUED_MAX)
        self._socket.setsockopt(zmq.MAXMSGSIZE, 1_024)  # all a listener ever sends is a subscription

    def bind(self, endpoint: str) -> None:
        """Publish at an endpoint."""
        self.endpoints.append(_bound(self._socket, endpoint))

    def admit_by(self, admission: Admission) -> None:
        """Let a doorkeeper count its connections; there are to be no more endpoints after that."""
        admission.watch(self._socket, self.endpoints)

    def publish(self, body: bytes) -> None:
        """Send to every listener that can take it; never waits."""
        self._socket.send(body, zmq.NOBLOCK)

    def close(self, linger_ms: int) -> None:
        """Let go, giving what was sent `linger_ms` to leave."""
        self._socket.close(linger_ms)


def _bound(socket: zmq.Socket[bytes], endpoint: str) -> str:
    socket.bind(endpoint)
    return _MAPPED.sub(r"\1", socket.getsockopt_string(zmq.LAST_ENDPOINT))


def _peer_of(frame: zmq.Frame) -> Peer:
    try:
        return parse_peer_address(str(frame.get("Peer-Address")))
    except zmq.ZMQError:
        return NOBODY


def _never_hang(socket: zmq.Socket[bytes]) -> None:
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.BACKLOG, BACKLOG)
    socket.setsockopt(zmq.IPV6, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, _KEEPALIVE_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, _KEEPALIVE_PROBES)
    socket.setsockopt(zmq.TCP_MAXRT, _UNACKNOWLEDGED_MS)
    socket.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)
