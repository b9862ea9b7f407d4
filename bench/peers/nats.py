"""NATS JetStream's key-value store through `nats-py`: `create` on a bucket, whose stream is the record of changes too.

JetStream syncs its file every two minutes by default, and this version has no setting to sync each write
(`sync_interval: always` came later): what it answered can be lost with the power. So its figures stand beside the
others', not among them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from importlib import import_module
from typing import Any, Final
from uuid import uuid4

from bench.peers.peer import Claimant, not_installed
from bench.peers.servers import LOOPBACK, accepts, first_line, free_port, running
from bench.place import Place

_BUCKET: Final = "active"  # whoever comes first makes it, the others find it
_ANSWER_S: Final = 30.0  # its default of 5 is too little on a machine that is busy with other things


class Nats:
    """One server, over the loopback."""

    name = "nats"
    client = "nats-py"
    settings = "NOT durable: synced every 2 minutes (default; 2.9 has no setting for each write); kv.create, watch"
    is_durable = False
    is_told = True

    def missing(self) -> str | None:
        """Server or client, whichever is not there."""
        return not_installed(commands=("nats-server",), modules=("nats",))

    def version(self) -> str:
        """As it says itself."""
        return first_line("nats-server", "--version")

    @contextmanager
    def serve(self, place: Place) -> Generator[str]:
        """A server with JetStream, its files in the place."""
        directory, port = place.data / self.name, free_port()
        directory.mkdir()
        command = [
            "nats-server",
            "--addr",
            LOOPBACK,
            "--port",
            str(port),
            "-js",
            "--store_dir",
            str(directory / "data"),
        ]
        with running(command, directory, lambda: accepts(port)):
            yield f"nats://{LOOPBACK}:{port}"

    @asynccontextmanager
    async def claimant(self, address: str, in_flight: int, *, may_block: bool) -> AsyncGenerator[Claimant]:  # noqa: ARG002
        """One connection for all. At the end the bucket is emptied, or the next watch would begin with all that was."""
        async with _jetstream(address) as jetstream:
            claimant = _Claimant(await jetstream.create_key_value(bucket=_BUCKET))
            yield claimant
            if claimant.holds_any:
                await jetstream.purge_stream(f"KV_{_BUCKET}")

    async def listen(self, address: str, ready: Callable[[], None], heard: Callable[[str], None]) -> None:
        """A watch on all keys; it begins with those that are there, and a mark says that these are over."""
        is_following = False
        async with _jetstream(address) as jetstream:
            bucket = await jetstream.create_key_value(bucket=_BUCKET)
            async for entry in await bucket.watchall():
                if entry is None:
                    is_following = True
                    ready()
                elif is_following:
                    heard(entry.key)


@asynccontextmanager
async def _jetstream(address: str) -> AsyncGenerator[Any]:
    connection: Any = await import_module("nats").connect(address)
    try:
        yield connection.jetstream(timeout=_ANSWER_S)
    finally:
        await connection.close()


class _Claimant:
    def __init__(self, bucket: Any) -> None:  # noqa: ANN401  (nats-py may not be installed)
        self._bucket = bucket
        self._held_by_another: Any = import_module("nats.js.errors").KeyWrongLastSequenceError
        self._instance_id = f"instance-{uuid4().hex}".encode()
        self.holds_any = False

    async def claim(self, worker: int, resource_id: str) -> bool:  # noqa: ARG002
        try:
            await self._bucket.create(resource_id, self._instance_id)
        except self._held_by_another:
            return False
        self.holds_any = True
        return True
