"""etcd through `aetcd`: a transaction that puts the key, under a lease, and an event if the key was never created.

A write is answered once etcd's log is synced, which is its default; nothing about durability is set here.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from importlib import import_module
from typing import Any, Final
from urllib.request import urlopen
from uuid import uuid4

from bench.peers.peer import LEASE_S, Claimant, not_installed
from bench.peers.servers import LOOPBACK, first_line, free_port, running
from bench.place import Place

_ACTIVE: Final = b"active/"
_EVENTS: Final = b"events/"


class Etcd:
    """One member, over the loopback."""

    name = "etcd"
    client = "aetcd"
    settings = (
        "one member, defaults (each write is synced); a transaction of put under a lease and put of the event; watch"
    )
    is_durable = True
    is_told = True

    def missing(self) -> str | None:
        """Server or client, whichever is not there."""
        return not_installed(commands=("etcd",), modules=("aetcd",))

    def version(self) -> str:
        """As it says itself."""
        return first_line("etcd", "--version")

    @contextmanager
    def serve(self, place: Place) -> Generator[str]:
        """A cluster of one."""
        directory = place.data / self.name
        directory.mkdir()
        port = free_port()
        client_url, peer_url = f"http://{LOOPBACK}:{port}", f"http://{LOOPBACK}:{free_port()}"
        command = ["etcd", "--name", "bench", "--data-dir", str(directory / "data"), "--log-level", "error"]
        command += ["--listen-client-urls", client_url, "--advertise-client-urls", client_url]
        command += ["--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url]
        command += ["--initial-cluster", f"bench={peer_url}"]

        def answers() -> bool:
            with urlopen(f"{client_url}/health", timeout=1.0) as reply:  # noqa: S310  (our own process, on the loopback)
                return json.load(reply)["health"] == "true"  # type: ignore[no-any-return]

        with running(command, directory, answers):
            yield str(port)

    @asynccontextmanager
    async def claimant(self, address: str, in_flight: int, *, may_block: bool) -> AsyncGenerator[Claimant]:  # noqa: ARG002
        """One connection for all, as gRPC has it, and one lease, which is revoked at the end."""
        async with import_module("aetcd").Client(host=LOOPBACK, port=int(address)) as client:
            lease = await client.lease(LEASE_S)
            yield _Claimant(client, lease)
            await lease.revoke()

    async def listen(self, address: str, ready: Callable[[], None], heard: Callable[[str], None]) -> None:
        """A watch on the events."""
        async with import_module("aetcd").Client(host=LOOPBACK, port=int(address)) as client:
            events = await client.watch_prefix(_EVENTS)
            ready()
            async for event in events:
                heard(event.kv.key.removeprefix(_EVENTS).decode())


class _Claimant:
    def __init__(self, client: Any, lease: Any) -> None:  # noqa: ANN401  (aetcd may not be installed)
        self._client = client
        self._lease = lease
        self._transactions: Any = import_module("aetcd").transactions
        self._instance_id = f"instance-{uuid4().hex}".encode()

    async def claim(self, worker: int, resource_id: str) -> bool:  # noqa: ARG002
        key, event = _ACTIVE + resource_id.encode(), _EVENTS + resource_id.encode()
        was_granted: bool
        was_granted, _ = await self._client.transaction(
            compare=[self._transactions.Create(key) == 0],
            success=[
                self._transactions.Put(key, self._instance_id, lease=self._lease),
                self._transactions.Put(event, self._instance_id),
            ],
            failure=[],
        )
        return was_granted
