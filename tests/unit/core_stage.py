"""A broker's core on a stage: peers that speak in frames, a time that is told, and a store that commits when told to.

Tests written with it read as transcripts of who said what and what left when. It decides nothing itself.
"""

from __future__ import annotations

from typing import NamedTuple

from tenure.broker.connections import Route
from tenure.broker.core import BrokerCore
from tenure.broker.core_limits import CoreLimits
from tenure.broker.outgoing import Outgoing, Release
from tenure.broker.peers import NOBODY, Peer
from tenure.contract import codec
from tenure.contract.errors import ErrorCode
from tenure.contract.events import AnyEvent
from tenure.contract.history import Events
from tenure.contract.limits import PROTOCOL_VERSION
from tenure.contract.messages import (
    BrokerMessage,
    ClientMessage,
    ErrorReply,
    Goodbye,
    Heartbeat,
    HeartbeatAck,
    Hello,
    Register,
    Registered,
    Welcome,
)
from tenure.contract.vocabulary import Channel, OnConflict, ServiceRole
from tenure.domain.limits import RegistryLimits
from tenure.domain.records import Batch, Instant
from tests.unit.scene import Ledger

LEASE_MS = 2_000


class Said(NamedTuple):
    """One message that left: to whom, as the answer to which request, and what."""

    to: str
    request_id: bytes
    message: BrokerMessage


class CoreStage:
    """A broker's core, its store and the time."""

    def __init__(
        self,
        limits: CoreLimits | None = None,
        *,
        registry_limits: RegistryLimits | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self.limits = limits
        self.registry_limits = registry_limits
        self.now_ms = 1_000.0
        self.ledger = ledger or Ledger()
        self.published: list[AnyEvent] = []
        """Every event published so far."""
        self.core = self._start()
        self._request = 0

    def _start(self) -> BrokerCore:
        return BrokerCore(
            self.ledger.stored(),
            self.now,
            registry_limits=self.registry_limits,
            limits=self.limits,
            events_endpoints=("ipc:///e",),
            broker="tenure test",
        )

    @property
    def now(self) -> Instant:
        """The time of the next decision."""
        return Instant(self.now_ms, 1_700_000_000_000 + int(self.now_ms))

    # --- what comes in ------------------------------------------------------------------------------------------------

    def frames(self, who: str, *frames: bytes, peer: Peer = NOBODY) -> ClientMessage | None:
        """A peer sends frames."""
        return self.core.receive(Route(0, who.encode()), list(frames), peer, self.now)

    def says(self, who: str, message: ClientMessage, *, peer: Peer = NOBODY) -> bytes:
        """A peer sends a message; the request id it has."""
        self._request += 1
        request_id = self._request.to_bytes(4)
        self.frames(who, request_id, codec.encode(message), peer=peer)
        return request_id

    # --- what goes out ------------------------------------------------------------------------------------------------

    def sent(self) -> list[Said]:
        """What may leave now, without a commit."""
        outgoing, self.core.outgoing = self.core.outgoing, []
        return said(outgoing)

    def store(self) -> Batch | None:
        """The store takes what is to be stored next; nothing is told to the core."""
        batch = self.core.take_batch()
        if batch is not None:
            self.ledger.take(batch.changes, batch.events[-1].revision)
        return batch

    def committed(self) -> list[Said]:
        """The store has committed what it took; what leaves with that."""
        release: Release = self.core.committed()
        for body in release.published:
            message = codec.decode_stream(body)
            assert isinstance(message, Events)
            self.published.extend(message.events)
        return said(release.outgoing)

    def commit(self) -> list[Said]:
        """Everything that is decided is stored; all that leaves by that."""
        left = self.sent()
        while self.store() is not None:
            left += self.committed()
        return left

    def crash(self) -> None:
        """The broker's process ends, and another one starts on what the store has."""
        self.core = self._start()

    # --- scenes that many tests begin with ----------------------------------------------------------------------------

    def open(self, name: str, *, peer: Peer = NOBODY, lease_ms: int = LEASE_MS) -> int:
        """A client opens a session over a connection each for control and requests, and sends a heartbeat."""
        session = self.hello(name, Channel.CONTROL, peer=peer, lease_ms=lease_ms)
        self.hello(name, Channel.REQUESTS, peer=peer, lease_ms=lease_ms)
        self.beat(name)
        self.commit()
        return session

    def hello(
        self, name: str, channel: Channel, *, connection: int = 1, peer: Peer = NOBODY, lease_ms: int = LEASE_MS
    ) -> int:
        """A client says hello on a channel, and is welcomed; its session's number."""
        hello = hello_of(name, channel, connection=connection, lease_ms=lease_ms)
        route = f"{name}/{channel.value}/{connection}" if connection > 1 else f"{name}/{channel.value}"
        self.says(route, hello, peer=peer)
        welcome = self.commit()[-1].message
        assert isinstance(welcome, Welcome)
        return welcome.session

    def beat(self, name: str, sequence: int = 1) -> HeartbeatAck:
        """A client sends a heartbeat, which is answered at once."""
        self.says(f"{name}/control", Heartbeat(sequence=sequence))
        ack = self.sent()[-1].message
        assert isinstance(ack, HeartbeatAck)
        return ack

    def claim(self, name: str, resource_id: str = "r") -> Registered:
        """A client claims a resource; it is granted and committed."""
        self.says(f"{name}/requests", claim_of(name, resource_id))
        registered = self.commit()[-1].message
        assert isinstance(registered, Registered)
        return registered


def said(outgoing: list[Outgoing]) -> list[Said]:
    """Messages as they are read at the other end."""
    return [
        Said(one.route.routing_id.decode(errors="replace"), one.request_id, codec.decode_broker(one.body))
        for one in outgoing
    ]


def codes(messages: list[Said]) -> list[ErrorCode | None]:
    """The error code of each message; None for what is no refusal."""
    return [one.message.error.code if isinstance(one.message, ErrorReply) else None for one in messages]


def hello_of(name: str, channel: Channel, *, connection: int = 1, lease_ms: int = LEASE_MS) -> Hello:
    """What a client of this name says first."""
    return Hello(
        version=PROTOCOL_VERSION,
        session_id=f"secret-of-{name}".ljust(32, "-"),
        channel=channel,
        connection=connection,
        lease_ms=lease_ms,
    )


def claim_of(name: str, resource_id: str = "r", on_conflict: OnConflict = OnConflict.REJECT) -> Register:
    """A claim of an instance called like its client."""
    return Register(
        service_name="svc",
        instance_id=name,
        resource_id=resource_id,
        role=ServiceRole.ACTIVE,
        on_conflict=on_conflict,
    )


def standby_of(name: str, resource_id: str = "r") -> Register:
    """A registration that stands by."""
    return Register(service_name="svc", instance_id=name, resource_id=resource_id)


GOODBYE = Goodbye()
