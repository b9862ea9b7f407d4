"""`python -m bench.fleet ENDPOINT SESSIONS LEASE_MS`: many sessions with a registration each, that send heartbeats.

It says `ready` when all are open and registered. From then on each sends a heartbeat as often as a client has to,
evenly spread; SIGUSR1 makes it say `window SENT ANSWERED UNCONFIRMED P50_MS P99_MS MAX_MS` of the time since the last
one, and SIGTERM ends it. A session that the broker hears too late is lost: its answers do not confirm its role.

A session needs a connection of its own, but many connections fit on one socket: each connects from another loopback
address, and ZeroMQ deals the messages of a DEALER out to its connections in turn. That each reached the session it was
meant for is seen by the answer, which names the session.
"""

from __future__ import annotations

import secrets
import signal
import sys
from array import array
from collections.abc import Callable
from time import monotonic_ns
from typing import Final

import zmq

from bench.wire import accept, active_registration, hello
from tenure.broker.descriptors import raise_file_limit
from tenure.contract import codec
from tenure.contract.limits import heartbeat_interval_ms
from tenure.contract.messages import BrokerMessage, Heartbeat, HeartbeatAck, Message, Registered, Welcome

_PER_SOCKET: Final = 250  # hellos that a broker accepts at once, without its queue of connections being full
_TIMEOUT_MS: Final = 60_000
_TICK_MS: Final = 2
_BURST_MAX: Final = 500  # heartbeats sent before answers are read, when it has fallen behind

type _Socket = zmq.Socket[bytes]


class _Member:
    """One session."""

    __slots__ = ("applied_revision", "epoch", "sent_ns", "sequence", "session")

    def __init__(self) -> None:
        self.session = 0
        self.epoch = 0
        self.applied_revision = 0
        self.sequence = 0
        self.sent_ns = 0


class Fleet:
    """All sessions, and the heartbeats of the time that is looked at."""

    def __init__(self, endpoint: str, sessions: int, lease_ms: int) -> None:
        """Open them all.

        Raises:
            TenureError: The broker refused one.
            zmq.Again: It did not answer.
        """
        self._lease_ms = lease_ms
        self._context: zmq.Context[_Socket] = zmq.Context()
        self._members = [_Member() for _ in range(sessions)]
        self._sockets: list[tuple[_Socket, range]] = []
        self._poller = zmq.Poller()
        self._next = 0
        self._bodies: dict[tuple[int, int], bytes] = {}
        self.begin_window()
        for first in range(0, sessions, _PER_SOCKET):
            self._open(endpoint, range(first, min(first + _PER_SOCKET, sessions)))
        self._socket_of = [socket for socket, members in self._sockets for _ in members]

    def _open(self, endpoint: str, indexes: range) -> None:
        socket = self._context.socket(zmq.DEALER)
        for option, value in ((zmq.LINGER, 0), (zmq.SNDHWM, 0), (zmq.RCVHWM, 0), (zmq.RCVTIMEO, _TIMEOUT_MS)):
            socket.setsockopt(option, value)
        self._sockets.append((socket, indexes))
        self._poller.register(socket, zmq.POLLIN)
        for index in indexes:
            socket.connect(connect_from(endpoint, index))
        welcomes = self._ask_each(socket, indexes, lambda _: hello(secrets.token_hex(16), self._lease_ms), Welcome)
        for index, welcome in welcomes.items():
            self._members[index].session = welcome.session
        for index, registered in self._ask_each(socket, indexes, active_registration, Registered).items():
            self._members[index].epoch = registered.epoch

    def _ask_each[T: BrokerMessage](
        self, socket: _Socket, indexes: range, message: Callable[[int], Message], wanted: type[T]
    ) -> dict[int, T]:
        """Each session's answer; the messages go to the connections in turn."""
        for index in indexes:
            socket.send_multipart((index.to_bytes(4), codec.encode(message(index))))
        answers: dict[int, T] = {}
        while len(answers) < len(indexes):
            request_id, body = socket.recv_multipart()
            if request_id:
                answers[int.from_bytes(request_id)] = accept(codec.decode_broker(body), wanted)
        return answers

    # --- heartbeats ---------------------------------------------------------------------------------------------------

    def beat(self, is_over: Callable[[], bool]) -> None:
        """Send each session's heartbeats in time, until it is over."""
        interval_ns = heartbeat_interval_ms(self._lease_ms) * 1_000_000
        began_ns, sent = monotonic_ns(), 0
        while not is_over():
            due = (monotonic_ns() - began_ns) * len(self._members) // interval_ns - sent
            for _ in range(min(due, _BURST_MAX)):
                self._send_next()
                sent += 1
            for socket, _ in self._poller.poll(0 if due > _BURST_MAX else _TICK_MS):
                self._drain(socket)

    def _send_next(self) -> None:
        index = self._next
        self._next = (index + 1) % len(self._members)
        member = self._members[index]
        member.sequence += 1
        body = self._body(member.sequence, member.applied_revision)
        member.sent_ns = monotonic_ns()
        self._socket_of[index].send_multipart((index.to_bytes(4), body))
        self._sent += 1

    def _body(self, sequence: int, revision: int) -> bytes:
        """Most sessions say the same at a time."""
        body = self._bodies.get((sequence, revision))
        if body is None:
            if len(self._bodies) > 1_000:
                self._bodies.clear()
            heartbeat = Heartbeat(
                sequence=sequence,
                applied_revision=revision,
                last_revision=revision,
                loop_lag_ms=0,
                margin_ms=self._lease_ms - heartbeat_interval_ms(self._lease_ms),
            )
            body = self._bodies[sequence, revision] = codec.encode(heartbeat)
        return body

    def _drain(self, socket: _Socket) -> None:
        while True:
            try:
                request_id, body = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            if request_id:  # else a push
                self._hear(int.from_bytes(request_id), codec.decode_broker(body))

    def _hear(self, index: int, answer: BrokerMessage) -> None:
        member = self._members[index]
        if not isinstance(answer, HeartbeatAck):
            self._unconfirmed += 1
            return
        if answer.session != member.session:
            raise RuntimeError(f"the heartbeat of session {member.session} went to session {answer.session}")
        if answer.sequence == member.sequence:
            self._taken_ns.append(monotonic_ns() - member.sent_ns)
        member.applied_revision = answer.revision
        self._answered += 1
        if member.epoch not in answer.confirmed:
            self._unconfirmed += 1

    def begin_window(self) -> None:
        """Count anew."""
        self._sent = self._answered = self._unconfirmed = 0
        self._taken_ns = array("q")

    def tell_window(self) -> None:
        """Say what was counted, and count anew."""
        taken_ns = sorted(self._taken_ns)  # quicker than a histogram: the heartbeats wait for it
        figures_ms = [taken_ns[int(share * (len(taken_ns) - 1))] / 1e6 if taken_ns else 0.0 for share in (0.5, 0.99, 1)]
        print("window", self._sent, self._answered, self._unconfirmed, *figures_ms, flush=True)
        self.begin_window()


def connect_from(endpoint: str, index: int) -> str:
    """A tcp endpoint, connected to from a loopback address of its own: ZeroMQ connects once to each name."""
    address = f"127.{1 + index // 62_500}.{index // 250 % 250}.{1 + index % 250}"
    return f"tcp://{address}:0;{endpoint.removeprefix('tcp://')}"


def main() -> None:
    """Beat until SIGTERM."""
    raise_file_limit()
    signals: list[int] = []
    for number in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, lambda received, _: signals.append(received))
    endpoint, sessions, lease_ms = sys.argv[1:]
    fleet = Fleet(endpoint, int(sessions), int(lease_ms))
    print("ready", flush=True)
    while signal.SIGTERM not in signals:
        fleet.beat(lambda: bool(signals))
        if signal.SIGUSR1 in signals:
            signals.remove(signal.SIGUSR1)
            fleet.tell_window()


if __name__ == "__main__":
    main()
