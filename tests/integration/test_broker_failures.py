"""A broker whose store refuses, fails or is slow, who meets a defect, or who is told to stop: who is told what.

The peers are sockets in threads of their own, so that each message is seen as it comes.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import override

import pytest

from tenure.contract import codec
from tenure.contract.errors import ErrorCode
from tenure.contract.limits import PROTOCOL_VERSION
from tenure.contract.messages import (
    BrokerMessage,
    Closing,
    ErrorReply,
    Heartbeat,
    HeartbeatAck,
    Hello,
    ListServices,
    Register,
    Registered,
    ServicePage,
    Welcome,
)
from tenure.contract.vocabulary import Channel, ServiceRole, ServiceStatus
from tenure.domain.records import Batch
from tenure.domain.store import StoreFailedError
from tenure.storage.memory import MemoryStore
from tests.integration.brokers import PATIENCE_S, BrokerHere, broker_here, until
from tests.integration.raw_client import LONG_LEASE_MS, RawClient


def claim(resource_id: str) -> Register:
    """A claim of a resource's role."""
    return Register(service_name="svc", instance_id="i", resource_id=resource_id, role=ServiceRole.ACTIVE)


class Peer:
    """A session on one connection."""

    def __init__(self, client: RawClient) -> None:
        self.client = client
        self.session_id = secrets.token_hex(16)
        self._connection = 0

    async def hello(self, *, resume: bool) -> Welcome:
        """Say hello, once more if need be."""
        self._connection += 1
        hello = Hello(
            version=PROTOCOL_VERSION,
            session_id=self.session_id,
            resume=resume,
            channel=Channel.CONTROL,
            connection=self._connection,
            lease_ms=LONG_LEASE_MS,
        )
        answer = await asyncio.to_thread(self.client.ask, hello)
        assert isinstance(answer, Welcome), answer
        return answer

    def say(self, request_id: bytes, message: Register | ListServices | Heartbeat) -> None:
        """Ask and do not wait."""
        self.client.say(request_id, codec.encode(message))

    async def hear(self) -> tuple[bytes, BrokerMessage]:
        """What comes next."""
        return await asyncio.to_thread(self.client.hear)


@pytest.fixture
async def peer(broker: BrokerHere) -> AsyncIterator[Peer]:
    """A peer with a session."""
    client = RawClient(broker.ipc)
    try:
        peer = Peer(client)
        await peer.hello(resume=False)
        yield peer
    finally:
        await asyncio.to_thread(client.close)


def code_of(answer: BrokerMessage) -> ErrorCode:
    """The code of an error."""
    assert isinstance(answer, ErrorReply), answer
    return answer.error.code


async def taken(broker: BrokerHere, decisions: int) -> None:
    """Wait until so many claims were decided on and are not committed."""
    await until(
        lambda: broker.count("revision") - broker.count("committed_revision") == decisions, f"{decisions} are decided"
    )


async def test_a_refused_commit_is_told_and_the_broker_goes_on(broker: BrokerHere, peer: Peer) -> None:
    """★ Disk full: `storage_unavailable`, nothing of it is there, and the session goes on, on the same connection."""
    revision = broker.count("committed_revision")
    broker.memory.refuse_next_commit()
    peer.say(b"1", claim("a"))
    request_id, answer = await peer.hear()
    assert (request_id, code_of(answer)) == (b"1", ErrorCode.STORAGE_UNAVAILABLE)
    assert broker.count("committed_revision") == broker.count("revision") == revision

    peer.say(b"2", Heartbeat(sequence=1, status=ServiceStatus.STARTING))
    assert isinstance((await peer.hear())[1], HeartbeatAck)
    peer.say(b"3", claim("a"))
    _, registered = await peer.hear()
    assert isinstance(registered, Registered)
    assert registered.registration_id == revision + 1


@pytest.mark.parametrize("applied", [True, False])
async def test_an_unknown_outcome_ends_the_broker_and_the_next_start_decides(
    broker: BrokerHere, peer: Peer, applied: bool
) -> None:
    """★ An I/O error at COMMIT: nobody is answered, the broker fails, and the same request after its start succeeds."""
    broker.memory.fail_next_commit(applied=applied)
    peer.say(b"1", claim("a"))
    with pytest.raises(StoreFailedError):
        await asyncio.wait_for(broker.running.wait(), PATIENCE_S)
    await broker.restart(broker.memory.crash())
    assert broker.count("registrations") == applied
    welcome = await peer.hello(resume=True)
    peer.say(b"2", claim("a"))
    request_id, registered = await peer.hear()
    assert isinstance(registered, Registered)  # the first answer there is: none came before it
    assert request_id == b"2"
    assert (registered.registration_id <= welcome.revision) == applied


async def test_heartbeats_do_not_wait_for_a_commit_and_reads_do(broker: BrokerHere, peer: Peer) -> None:
    """★ While the store is busy heartbeats are answered; what was computed from the change waits, in order."""
    broker.memory.hold_commits()
    peer.say(b"1", claim("a"))
    await taken(broker, 1)
    peer.say(b"2", ListServices())
    peer.say(b"3", Heartbeat(sequence=1))
    request_id, ack = await peer.hear()
    assert request_id == b"3"
    assert isinstance(ack, HeartbeatAck)
    assert ack.confirmed == ()
    broker.memory.release_commits()
    (first, registered), (second, page) = await peer.hear(), await peer.hear()
    assert (first, second) == (b"1", b"2")
    assert isinstance(registered, Registered)
    assert isinstance(page, ServicePage)
    assert [instance.epoch for instance in page.instances] == [registered.epoch]


async def test_a_defect_while_deciding_drops_what_is_not_stored(
    broker: BrokerHere, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """★ A defect of the broker's own: nothing more is decided from that memory; who waits is told, and it goes on."""
    broker.memory.hold_commits()
    peer.say(b"1", claim("a"))
    await taken(broker, 1)
    peer.say(b"2", claim("b"))
    await taken(broker, 2)

    def fail(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(broker.running._core.registry, "apply", fail)  # pyright: ignore[reportPrivateUsage]
    peer.say(b"3", claim("c"))
    await until(lambda: broker.running._has_fault, "the defect shows")  # pyright: ignore[reportPrivateUsage]
    broker.memory.release_commits()
    (first, registered), (second, refused) = await peer.hear(), await peer.hear()
    assert (first, second) == (b"1", b"2")
    assert isinstance(registered, Registered)
    assert code_of(refused) is ErrorCode.INTERNAL_ERROR

    await peer.hello(resume=True)
    peer.say(b"4", claim("b"))
    _, again = await peer.hear()
    assert isinstance(again, Registered)
    assert broker.count("registrations") == 2


async def test_a_broker_that_stops_commits_what_it_took_and_says_that_it_leaves(broker: BrokerHere, peer: Peer) -> None:
    """Stopping: sessions hear `closing`, later requests are refused, what was taken before is stored and answered."""
    broker.memory.hold_commits()
    peer.say(b"1", claim("a"))
    await taken(broker, 1)
    stopping = asyncio.create_task(broker.running.stop())
    assert await peer.hear() == (b"", Closing())
    peer.say(b"2", claim("b"))
    request_id, refused = await peer.hear()
    assert (request_id, code_of(refused)) == (b"2", ErrorCode.SHUTTING_DOWN)
    broker.memory.release_commits()
    request_id, registered = await peer.hear()
    assert request_id == b"1"
    assert isinstance(registered, Registered)
    await stopping
    assert [found.resource_id for found in (await broker.store.load()).registrations] == ["a"]


class FullDisk(MemoryStore):
    """A store without room, until there is some."""

    REFUSED_MAX = 100

    def __init__(self) -> None:
        super().__init__()
        self.is_full = False
        self.refused = 0

    @override
    async def commit(self, batch: Batch) -> None:
        """Refuse, while it is full; who tries all the time is not let go on."""
        if self.is_full:
            self.refused += 1
            if self.refused > self.REFUSED_MAX:
                raise StoreFailedError("a broker that does nothing but try")
            self.refuse_next_commit()
        await super().commit(batch)


async def test_a_proven_death_outlasts_a_full_disk_and_others_are_heard_meanwhile(socket_directory: Path) -> None:
    """★ The end is refused again and again, with a pause in between; when there is room it is stored."""
    disk = FullDisk()
    async with broker_here(socket_directory, store=disk) as broker:
        dead, living = RawClient(broker.ipc), Peer(RawClient(broker.ipc))
        try:
            session = (await asyncio.to_thread(dead.hello)).session
            stays = (await living.hello(resume=False)).session
            disk.is_full = True
            broker.running._process_exited(session)  # pyright: ignore[reportPrivateUsage]
            await until(lambda: disk.refused > 2, "the end was refused three times")
            living.say(b"1", Heartbeat(sequence=1))
            assert isinstance((await living.hear())[1], HeartbeatAck)
            assert disk.refused < disk.REFUSED_MAX
            assert len((await disk.load()).sessions) == 2

            disk.is_full = False
            await until(lambda: broker.count("committed_revision") == broker.count("revision"), "there is room")
            assert [kept.number for kept in (await disk.load()).sessions] == [stays]
        finally:
            for client in (dead, living.client):
                await asyncio.to_thread(client.close)
