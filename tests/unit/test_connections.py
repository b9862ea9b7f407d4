"""Book-keeping of connections: the current one of each session and channel, and what may be forgotten."""

from __future__ import annotations

from tenure.broker.connections import Connection, Connections, Route
from tenure.broker.peers import NOBODY
from tenure.contract.limits import PROTOCOL_VERSION
from tenure.contract.messages import Hello
from tenure.contract.vocabulary import Channel

CONTROL, REQUESTS = Channel.CONTROL, Channel.REQUESTS


def hello(channel: Channel = REQUESTS, connection: int = 1) -> Hello:
    """A hello of any session."""
    return Hello(version=PROTOCOL_VERSION, channel=channel, connection=connection)


def admit(
    connections: Connections, name: str, session: int, channel: Channel = REQUESTS, number: int = 1
) -> Connection:
    """A connection says hello and is admitted."""
    return connections.admit(Route(0, name.encode()), session, hello(channel, number), NOBODY)


def test_the_newest_connection_of_a_channel_is_the_current_one() -> None:
    """An older one is superseded and stays known as such, so that it is not heard."""
    connections = Connections(10)
    old = admit(connections, "old", 7, CONTROL, 1)
    new = admit(connections, "new", 7, CONTROL, 2)
    requests = admit(connections, "requests", 7, REQUESTS, 1)

    assert (old.is_superseded, new.is_superseded, requests.is_superseded) == (True, False, False)
    assert connections.current(7, CONTROL) is new
    assert connections.current(7, REQUESTS) is requests
    assert connections.current(8, CONTROL) is None
    assert connections.get(old.route) is old
    assert connections.controls() == [new]
    assert len(connections) == 3


def test_a_hello_is_outdated_unless_its_number_is_higher_or_the_route_the_same() -> None:
    """The same connection may say hello again under any number."""
    connections = Connections(10)
    current = admit(connections, "current", 7, CONTROL, 5)
    other = Route(0, b"other")
    assert connections.is_outdated(other, 7, hello(CONTROL, 4))
    assert connections.is_outdated(other, 7, hello(CONTROL, 5))
    assert not connections.is_outdated(other, 7, hello(CONTROL, 6))
    assert not connections.is_outdated(current.route, 7, hello(CONTROL, 5))
    assert not connections.is_outdated(other, 7, hello(REQUESTS, 1))
    assert not connections.is_outdated(other, 8, hello(CONTROL, 1))


def test_a_connection_that_says_hello_again_keeps_what_it_has_in_flight() -> None:
    """It may speak for another session from then on; it speaks for the first one no more."""
    connections = Connections(10)
    first = admit(connections, "a", 7, CONTROL)
    first.in_flight = 3

    again = admit(connections, "a", 8, REQUESTS, 4)

    assert again is first
    assert (again.session, again.channel, again.number, again.in_flight) == (8, REQUESTS, 4, 3)
    assert connections.current(7, CONTROL) is None
    assert connections.current(8, REQUESTS) is again
    assert len(connections) == 1


def test_too_many_that_no_session_needs_and_the_oldest_is_forgotten() -> None:
    """Readers and superseded connections are bounded together; current ones of sessions are never forgotten for it."""
    connections = Connections(2)
    current = admit(connections, "current", 7, CONTROL, 2)
    reader = admit(connections, "reader", 0)
    superseded = admit(connections, "superseded", 8, CONTROL, 1)
    admit(connections, "newer", 8, CONTROL, 2)
    assert len(connections) == 4

    admit(connections, "another", 0)

    assert connections.get(reader.route) is None
    assert connections.get(superseded.route) is superseded
    assert connections.get(current.route) is current
    assert len(connections) == 4


def test_forgetting_a_superseded_connection_leaves_the_current_one() -> None:
    """A send finds an old peer gone: the session's present connection is not touched; forgetting twice is harmless."""
    connections = Connections(10)
    old = admit(connections, "old", 7, CONTROL, 1)
    new = admit(connections, "new", 7, CONTROL, 2)

    connections.forget(old.route)
    connections.forget(old.route)

    assert connections.current(7, CONTROL) is new
    connections.forget(new.route)
    assert connections.current(7, CONTROL) is None


def test_a_session_that_ended_loses_its_current_connections() -> None:
    """Both channels are forgotten, and nobody else's."""
    connections = Connections(10)
    admit(connections, "c", 7, CONTROL)
    other = admit(connections, "other", 8, CONTROL)

    connections.forget_session(7)

    assert len(connections) == 1
    assert connections.controls() == [other]


def test_all_can_be_forgotten() -> None:
    """Everybody has to say hello again; no number is outdated any more."""
    connections = Connections(10)
    admit(connections, "a", 7, CONTROL, 9)
    admit(connections, "reader", 0)

    connections.forget_all()

    assert len(connections) == 0
    assert not connections.is_outdated(Route(0, b"b"), 7, hello(CONTROL, 1))
