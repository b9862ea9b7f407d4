"""The network between the broker and its peers: it loses, delays, repeats, reorders and partitions.

A connection over which requests go keeps their order, as TCP does: a repetition comes right behind its original, and
only what went over two connections, or two channels, overtakes. On the control channel, where nothing relies on it,
order is not kept either. What is on its way may come at any later time, also after its connection was given up. A
connection that broke comes back by itself, under another routing id, as libzmq has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from random import Random

from tenure.broker.connections import Route
from tenure.broker.outgoing import Outgoing
from tenure.contract.messages import BrokerMessage
from tests.simulation.timeline import Timeline


class Weather:
    """How one direction between a peer and the broker is doing."""

    def __init__(self, latency_ms: float) -> None:
        self.latency_ms = latency_ms
        self.clear()

    def clear(self) -> None:
        """Everything arrives, soon, once and in order."""
        self.slow_ms = 0.0
        """Up to how much later than usual a message arrives."""
        self.loss = 0.0
        self.copies = 0.0
        self.is_unordered = False
        self.is_blocked = False
        self.keeps = True
        """Whether what is sent while it is blocked arrives afterwards, as TCP has it if that is not too late."""

    @property
    def is_fair(self) -> bool:
        """Whether nothing is wrong with it."""
        return not (self.slow_ms or self.loss or self.copies or self.is_unordered or self.is_blocked)


class Pipe[T]:
    """One direction of one connection."""

    def __init__(self, network: Network, weather: Weather, deliver: Callable[[T], None], *, in_order: bool) -> None:
        self.weather = weather
        self._network = network
        self._deliver = deliver
        self._in_order = in_order
        self._held: list[T] = []
        self._last_ms = 0.0
        self._emptied = 0

    def push(self, item: T) -> None:
        """Send something through it."""
        weather, chance, counts = self.weather, self._network.chance, self._network.counts
        if weather.loss and chance.random() < weather.loss:
            counts["messages lost"] += 1
        elif weather.is_blocked:
            counts["messages held up" if weather.keeps else "messages lost"] += 1
            if weather.keeps:
                self._held.append(item)
        else:
            self._carry(item)
            if weather.copies and chance.random() < weather.copies:
                counts["messages repeated"] += 1
                self._carry(item)

    def release(self) -> None:
        """What was held up goes on, if the way is free again."""
        if not self.weather.is_blocked:
            held, self._held = self._held, []
            for item in held:
                self._carry(item)

    @property
    def is_holding(self) -> bool:
        """Whether something is held up."""
        return bool(self._held)

    def empty(self) -> None:
        """What is on its way is lost."""
        self._emptied += 1
        self._held.clear()

    def _carry(self, item: T) -> None:
        weather, chance, timeline = self.weather, self._network.chance, self._network.timeline
        delay_ms = weather.latency_ms * (0.5 + chance.random())
        if weather.slow_ms:
            delay_ms += weather.slow_ms * chance.random()
            self._network.counts["messages delayed"] += 1
        at_ms = timeline.now_ms + delay_ms
        if at_ms < self._last_ms:
            if self._in_order or not weather.is_unordered:
                at_ms = self._last_ms
            else:
                self._network.counts["messages reordered"] += 1
        self._last_ms = max(at_ms, self._last_ms)
        timeline.at(at_ms, partial(self._arrive, item, self._emptied))

    def _arrive(self, item: T, emptied: int) -> None:
        if emptied == self._emptied:
            self._deliver(item)


type Sent = tuple[Route, bytes, bytes]
"""To the broker: the route it comes from, the request id, the message."""
type Answer = tuple[bytes, BrokerMessage]


class Link:
    """One socket of a peer: a connection to the broker while there is one."""

    def __init__(
        self,
        network: Network,
        weathers: tuple[Weather, Weather],
        receive: Callable[[Link, bytes, BrokerMessage], None],
        *,
        in_order: bool,
    ) -> None:
        """`weathers`: to the broker and back."""
        self._network = network
        self._receive = receive
        self.route: Route | None = None
        """Where the broker knows it; None while it is not connected."""
        self.is_closed = False
        self.upward: Pipe[Sent] = Pipe(network, weathers[0], network.deliver, in_order=in_order)
        self.downward: Pipe[Answer] = Pipe(network, weathers[1], self._arrive, in_order=in_order)

    def send(self, request_id: bytes, body: bytes) -> None:
        """The peer sends; what cannot leave is lost."""
        if self.route is not None:
            self.upward.push((self.route, request_id, body))

    def close(self) -> None:
        """The peer gives it up: nothing that still comes is read, but what is on its way to the broker may arrive."""
        self.is_closed = True

    def _arrive(self, answer: Answer) -> None:
        self._receive(self, *answer)


class Network:
    """All connections."""

    def __init__(self, timeline: Timeline, chance: Random, counts: Counter[str]) -> None:
        self.timeline = timeline
        self.chance = chance
        self.counts = counts
        self.deliver: Callable[[Sent], None] = lambda _: None
        """Where what arrives at the broker goes."""
        self.is_served = False
        """Whether a broker takes connections."""
        self.links: list[Link] = []
        self._by_route: dict[Route, Link] = {}
        self._numbers = 0

    def connect(
        self,
        weathers: tuple[Weather, Weather],
        receive: Callable[[Link, bytes, BrokerMessage], None],
        *,
        in_order: bool,
    ) -> Link:
        """A peer makes a connection, which comes about once there is a broker."""
        link = Link(self, weathers, receive, in_order=in_order)
        self.links = [one for one in self.links if not one.is_closed or one.upward.is_holding]
        self.links.append(link)
        self._try(link)
        return link

    def answer(self, outgoing: Outgoing, message: BrokerMessage) -> bool:
        """The broker sends to a peer; False if there is none any more."""
        link = self._by_route.get(outgoing.route)
        if link is None:
            return False
        link.downward.push((outgoing.request_id, message))
        return True

    def cut(self, link: Link, *, loses_sent: bool, loses_answers: bool) -> None:
        """A connection breaks; what was on its way is lost, or is not."""
        if loses_sent:
            link.upward.empty()
        if loses_answers:
            link.downward.empty()
        if link.route is not None:
            self._by_route.pop(link.route, None)
            link.route = None
            self._plan(link)

    def release(self) -> None:
        """Whatever was held up in fairer weather by now goes on."""
        for link in self.links:
            link.upward.release()
            link.downward.release()

    def _plan(self, link: Link) -> None:
        self.timeline.after(self.chance.uniform(5, 100), partial(self._try, link))

    def _try(self, link: Link) -> None:
        if link.is_closed or link.route is not None:
            return
        if not self.is_served:
            self._plan(link)
            return
        self._numbers += 1
        link.route = Route(0, self._numbers.to_bytes(4))
        self._by_route[link.route] = link
