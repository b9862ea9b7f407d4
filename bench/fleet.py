"""`python -m bench.fleet ENDPOINT SESSIONS LEASE_MS`: many sessions with a registration each, that send heartbeats.

It says `ready OPEN` when all are open and registered, or when the broker has fallen so far behind that it takes no
more, with how many there are. From then on each sends a heartbeat as often as a client has to,
evenly spread; SIGUSR1 makes it say `window SENT ANSWERED UNCONFIRMED P50_MS P99_MS MAX_MS` of the time since the last
one, and SIGTERM ends it. A session that the broker hears too late is lost: its answers do not confirm its role.

A session needs a connection of its own, but many connections fit on one socket: each connects from another loopback
address, and ZeroMQ deals the messages of a DEALER out to its connections in turn. That each reached the session it was
meant for is seen by the answer, which names the session.
"""

from __future__ import annotations

import contextlib
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
from tenure.contract.errors import SessionExpiredError
from tenure.contract.limits import heartbeat_interval_ms
from tenure.contract.message import Message
from tenure.contract.messages import BrokerMessage, Heartbeat, HeartbeatAck, Registered, Welcome

_PER_SOCKET: Final = 250  # connections that a broker's queue takes at once
_PATIENCE_S: Final = 20.0
_TICK_MS: Final = 2
_BURST_MAX: Final = 100  # heartbeats of a socket that are sent before answers are read, when it has fallen behind

type _Socket = zmq.Socket[bytes]


class _Member:
    """One session."""

    __slots__ = ("applied_revision", "epoch", "sent_ns", "sequence", "session")

    def __init__(self) -> None:
        self.session = 0
        self.epoch = 0
        """0 until it is registered; from then on it sends heartbeats."""
        self.applied_revision = 0
        self.sequence = 0
        self.sent_ns = 0


class _Squad:
    """The sessions of one socket, and whose turn it is: messages go to its connections in this order."""

    def __init__(self, socket: _Socket, first: int, members: int) -> None:
        self.socket = socket
        self.first = first
        self.members = [_Member() for _ in range(members)]
        self.began_ns = 0
        """When they began to send heartbeats; 0 if they have not."""
        self.sent = 0

    def due(self, interval_ns: int) -> int:
        """How many heartbeats are to be sent by now."""
        if not self.began_ns:
            return 0
        return (monotonic_ns() - self.began_ns) * len(self.members) // interval_ns - self.sent

    def send_each(self, message: Callable[[int], Message]) -> None:
        """Send each session's message."""
        for index in range(len(self.members)):
            self.socket.send_multipart((index.to_bytes(2), codec.encode(message(self.first + index))))


class Fleet:
    """All sessions, and the heartbeats of the time that is looked at."""

    def __init__(self, endpoint: str, sessions: int, lease_ms: int) -> None:
        """Open them all, or as many as the broker carries: those that are open send heartbeats while others follow."""
        self._endpoint = endpoint
        self._lease_ms = lease_ms
        self._interval_ns = heartbeat_interval_ms(lease_ms) * 1_000_000
        self._context: zmq.Context[_Socket] = zmq.Context()
        self._squads: dict[_Socket, _Squad] = {}
        self._poller = zmq.Poller()
        self._joining: dict[int, BrokerMessage] = {}
        """What was answered to those that are not registered yet."""
        self._bodies: dict[tuple[int, int], bytes] = {}
        self.begin_window()
        self.opened = 0
        """How many sessions there are."""
        with contextlib.suppress(SessionExpiredError, TimeoutError):
            for first in range(0, sessions, _PER_SOCKET):
                members = min(_PER_SOCKET, sessions - first)
                self._open(first, members)
                self.opened += members

    def _open(self, first: int, members: int) -> None:
        socket = self._context.socket(zmq.DEALER)
        for option, value in ((zmq.LINGER, 0), (zmq.SNDHWM, 0), (zmq.RCVHWM, 0)):
            socket.setsockopt(option, value)
        squad = self._squads[socket] = _Squad(socket, first, members)
        self._poller.register(socket, zmq.POLLIN)
        for number in range(first, first + members):
            socket.connect(connect_from(self._endpoint, number))
        squad.send_each(lambda _: hello(secrets.token_hex(16), self._lease_ms))
        for index, answer in self._answers(members).items():
            squad.members[index].session = accept(answer, Welcome).session
        squad.send_each(active_registration)
        for index, answer in self._answers(members).items():
            squad.members[index].epoch = accept(answer, Registered).epoch
        squad.began_ns = monotonic_ns()

    def _answers(self, count: int) -> dict[int, BrokerMessage]:
        """What each session that is not registered yet is answered."""
        self._joining = {}
        ends_ns = monotonic_ns() + _PATIENCE_S * 1e9
        while len(self._joining) < count:
            if monotonic_ns() > ends_ns:
                raise TimeoutError(f"{count - len(self._joining)} of {count} sessions were not answered")
            self.turn()
        return self._joining

    # --- heartbeats ---------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Send what is due, and hear what has been answered."""
        is_behind = False
        for squad in self._squads.values():
            due = squad.due(self._interval_ns)
            for _ in range(min(due, _BURST_MAX)):
                self._send_next(squad)
            is_behind |= due > _BURST_MAX
        for socket, _ in self._poller.poll(0 if is_behind else _TICK_MS):
            self._drain(self._squads[socket])

    def _send_next(self, squad: _Squad) -> None:
        index = squad.sent % len(squad.members)
        squad.sent += 1
        member = squad.members[index]
        member.sequence += 1
        body = self._body(member.sequence, member.applied_revision)
        member.sent_ns = monotonic_ns()
        squad.socket.send_multipart((index.to_bytes(2), body))
        self._sent += 1

    def _body(self, sequence: int, revision: int) -> bytes:
        """Many sessions say the same at a time."""
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

    def _drain(self, squad: _Squad) -> None:
        while True:
            try:
                request_id, body = squad.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            if not request_id:  # a push
                continue
            index, answer = int.from_bytes(request_id), codec.decode_broker(body)
            if squad.began_ns:
                self._hear(squad.members[index], answer)
            else:
                self._joining[index] = answer

    def _hear(self, member: _Member, answer: BrokerMessage) -> None:
        self._answered += 1
        if not isinstance(answer, HeartbeatAck):
            self._unconfirmed += 1
            return
        if answer.session != member.session:
            raise RuntimeError(f"the heartbeat of session {member.session} went to session {answer.session}")
        if answer.sequence == member.sequence:
            self._taken_ns.append(monotonic_ns() - member.sent_ns)
        member.applied_revision = answer.revision
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
    print("ready", fleet.opened, flush=True)
    while signal.SIGTERM not in signals:
        fleet.turn()
        if signal.SIGUSR1 in signals:
            signals.remove(signal.SIGUSR1)
            fleet.tell_window()


if __name__ == "__main__":
    main()
