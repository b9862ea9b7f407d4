"""Redis through `redis` (asyncio, its parser in C): a script sets the key if it is free, adds the event and publishes.

With `appendfsync always` Redis syncs its log before it sends what it computed, the reply and the publication alike. One
command is in flight on a connection at a time, so each worker has one of its own, over the unix socket.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from importlib import import_module
from socket import AF_UNIX, socket
from typing import Any, Final
from uuid import uuid4

from bench.peers.peer import LEASE_S, Claimant, not_installed
from bench.peers.servers import first_line, running
from bench.place import Place

_CHANNEL: Final = "told"
_CLAIM: Final = f"""
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'EX', {LEASE_S}) then return 0 end
redis.call('XADD', KEYS[2], '*', 'resource', ARGV[2], 'instance', ARGV[1])
redis.call('PUBLISH', '{_CHANNEL}', ARGV[2])
return 1
"""
_GIVEN_UP_MAX: Final = 500  # keys in one command: enough to be quick, not enough to hold the server up


class Redis:
    """A server with an append-only file that is synced with each write."""

    name = "redis"
    client = "redis"
    settings = "appendonly yes, appendfsync always, no snapshots; one script of SET NX EX, XADD, PUBLISH; pub/sub"
    is_durable = True
    is_told = True

    def missing(self) -> str | None:
        """Server or client, whichever is not there."""
        return not_installed(commands=("redis-server",), modules=("redis", "hiredis"))

    def version(self) -> str:
        """As it says itself."""
        return " ".join(first_line("redis-server", "--version").split()[:3])

    @contextmanager
    def serve(self, place: Place) -> Generator[str]:
        """A server that listens on a unix socket only."""
        directory, path = place.data / self.name, place.socket_path()
        directory.mkdir()
        command = ["redis-server", "--port", "0", "--unixsocket", path, "--dir", str(directory)]
        command += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]

        def answers() -> bool:
            with socket(AF_UNIX) as probe:
                probe.connect(path)
                probe.sendall(b"PING\r\n")
                return probe.recv(5) == b"+PONG"

        with running(command, directory, answers):
            yield path

    @asynccontextmanager
    async def claimant(self, address: str, in_flight: int, *, may_block: bool) -> AsyncGenerator[Claimant]:  # noqa: ARG002
        """A connection for each worker."""
        async with AsyncExitStack() as stack:
            connections = [await stack.enter_async_context(_connection(address)) for _ in range(in_flight)]
            script: str = await connections[0].script_load(_CLAIM)
            claimant = _Claimant(connections, script)
            yield claimant
            await claimant.give_up()

    async def listen(self, address: str, ready: Callable[[], None], heard: Callable[[str], None]) -> None:
        """A subscription; the stream is for whoever comes later."""
        async with _connection(address) as connection, connection.pubsub() as subscription:
            await subscription.subscribe(_CHANNEL)
            async for message in subscription.listen():
                if message["type"] == "message":
                    heard(message["data"].decode())
                else:
                    ready()


@asynccontextmanager
async def _connection(path: str) -> AsyncGenerator[Any]:
    async with import_module("redis.asyncio").Redis(unix_socket_path=path, single_connection_client=True) as connection:
        yield connection


class _Claimant:
    def __init__(self, connections: list[Any], script: str) -> None:
        self._connections = connections
        self._script = script
        self._instance_id = f"instance-{uuid4().hex}"
        self._held: list[str] = []

    async def claim(self, worker: int, resource_id: str) -> bool:
        key = f"active:{resource_id}"
        granted: int = await self._connections[worker].evalsha(
            self._script, 2, key, "events", self._instance_id, resource_id
        )
        if granted:
            self._held.append(key)
        return bool(granted)

    async def give_up(self) -> None:
        """Free what is held, as the end of a session does elsewhere."""
        for first in range(0, len(self._held), _GIVEN_UP_MAX):
            await self._connections[0].unlink(*self._held[first : first + _GIVEN_UP_MAX])
