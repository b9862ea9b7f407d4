"""Which connection speaks for which session, and which of a session's connections is the current one.

libzmq gives each connection a routing id of its own and tells nobody when one ends, so entries leave when their session
does, when a send finds the peer gone, or as the oldest that no session needs once there are too many. A connection that
is forgotten while it lives has to say hello again; one that was superseded is not heard any more, so that a delayed
duplicate cannot act.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container

from msgspec import Struct, structs

from tenure.broker.peers import Peer
from tenure.contract.messages import Hello
from tenure.contract.vocabulary import Channel
from tenure.domain.records import Instant
from tenure.domain.registry import Origin


class Route(Struct, frozen=True, gc=False):
    """Where an answer goes: which of the broker's ROUTER sockets, and the peer's routing id there."""

    socket: int
    routing_id: bytes


class Connection:
    """One connection that has said hello."""

    __slots__ = ("channel", "in_flight", "is_superseded", "number", "origin", "peer", "route", "session", "since_s")

    def __init__(self, route: Route, session: int, channel: Channel, number: int, peer: Peer) -> None:
        self.route = route
        self.peer = peer
        self.speak_for(session, channel, number)
        self.in_flight = 0
        """Requests taken from it and not answered yet."""
        self.is_superseded = False
        self.since_s = 0.0
        """When its newest hello was read, by the clock that says when answers leave."""

    def speak_for(self, session: int, channel: Channel, number: int) -> None:
        """It has said hello, for this session."""
        self.session = session
        """The session's public number; 0 for a connection that only reads."""
        self.channel = channel
        self.number = number
        self.origin = Origin(session=session, identity=self.peer.identity)
        """The same as the registry is told it with each request."""

    def as_of(self, now: Instant, received_s: float) -> Instant:
        """The time of a decision on what has come over it: nothing waited since before its hello was read."""
        if not now.waited_ms:
            return now
        return structs.replace(now, waited_ms=min(now.waited_ms, int(1_000 * (received_s - self.since_s))))


class Connections:
    """All connections that have said hello; of those that no session depends on, at most `readers_max`."""

    def __init__(self, readers_max: int) -> None:
        self._readers_max = readers_max
        self._by_socket: defaultdict[int, dict[bytes, Connection]] = defaultdict(dict)
        """By the socket's number and the routing id there: each message asks twice, and a route is slow to hash."""
        self._current: dict[tuple[int, Channel], Connection] = {}
        self._readers: dict[Route, None] = {}
        """Connections that only read and superseded ones, the oldest first: what may be forgotten."""

    def __len__(self) -> int:
        return sum(map(len, self._by_socket.values()))

    def get(self, route: Route) -> Connection | None:
        """The connection at a route, if it has said hello and is not forgotten."""
        return self._by_socket[route.socket].get(route.routing_id)

    def at(self, socket: int, routing_id: bytes) -> Connection | None:
        """The same, for what is not made a route yet."""
        return self._by_socket[socket].get(routing_id)

    def current(self, session: int, channel: Channel) -> Connection | None:
        """The newest connection of a session on a channel."""
        return self._current.get((session, channel))

    def controls(self) -> list[Connection]:
        """The current control connection of every session that has one."""
        return [connection for (_, channel), connection in self._current.items() if channel is Channel.CONTROL]

    def is_outdated(self, route: Route, session: int, hello: Hello) -> bool:
        """Whether a newer connection of the same session and channel has said hello already."""
        current = self._current.get((session, hello.channel))
        return current is not None and current.route != route and hello.connection <= current.number

    def admit(self, route: Route, session: int, hello: Hello, peer: Peer) -> Connection:
        """Let a connection speak for a session (0: for none). Older ones on its channel are not heard any more."""
        connection = self.get(route)
        self.forget(route)
        if connection is None:
            connection = Connection(route, session, hello.channel, hello.connection, peer)
        else:  # it says hello again; what it has in flight stays its own
            connection.speak_for(session, hello.channel, hello.connection)
        self._by_socket[route.socket][route.routing_id] = connection
        if not session:
            self._readers[route] = None
        else:
            older = self._current.get((session, hello.channel))
            if older is not None:
                older.is_superseded = True
                self._readers[older.route] = None
            self._current[session, hello.channel] = connection
        if len(self._readers) > self._readers_max:
            self.forget(next(iter(self._readers)))
        return connection

    def forget(self, route: Route) -> None:
        """Drop what is known of a route. Does nothing if nothing is."""
        connection = self._by_socket[route.socket].pop(route.routing_id, None)
        if connection is None:
            return
        self._readers.pop(route, None)
        if self._current.get((connection.session, connection.channel)) is connection:
            del self._current[connection.session, connection.channel]

    def forget_session(self, session: int) -> None:
        """Drop the current connections of a session that has ended."""
        for channel in Channel:
            connection = self._current.get((session, channel))
            if connection is not None:
                self.forget(connection.route)

    def forget_others(self, sessions: Container[int]) -> None:
        """Have every connection say hello again that speaks for a session which is not among these."""
        known = [connection for by_id in self._by_socket.values() for connection in by_id.values()]
        for connection in known:
            if connection.session and connection.session not in sessions:
                self.forget(connection.route)

    def forget_all(self) -> None:
        """Have every connection say hello again."""
        self._by_socket.clear()
        self._current.clear()
        self._readers.clear()
