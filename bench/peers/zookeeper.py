"""ZooKeeper through `kazoo`: a transaction creates an ephemeral node and an event node, and sets the newest event.

A transaction is answered once ZooKeeper's log is synced (`forceSync`, its default). kazoo runs on threads: with one
claim at a time it is called as its documentation shows, and waits; with many, its asynchronous calls are used. It knows
no persistent watches, and a watch on the events' parent lists all of them each time; so the listener watches the node
that has the newest event, and one that has fallen behind reads the event nodes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from bench.peers.peer import LEASE_S, Claimant, not_installed
from bench.peers.servers import LOOPBACK, accepts, free_port, running
from bench.place import Place

_JAR: Final = Path("/usr/share/java/zookeeper.jar")  # names what it needs itself
_LOGGING: Final = Path("/usr/share/java/slf4j-nop.jar")
_MAIN: Final = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
_ACTIVE: Final = "/active"
_EVENTS: Final = "/events"
_NEWEST: Final = "/newest"
_TICK_MS: Final = 2_000  # that of the example configuration
_START_S: Final = 30.0


class ZooKeeper:
    """One server, over the loopback."""

    name = "zookeeper"
    client = "kazoo"
    settings = (
        "one server, defaults (forceSync yes); a transaction of ephemeral node, event in sequence and newest; DataWatch"
    )
    is_durable = True
    is_told = True

    def missing(self) -> str | None:
        """Server or client, whichever is not there."""
        return not_installed(commands=("java",), files=(_JAR,), modules=("kazoo",))

    def version(self) -> str:
        """As its file is named."""
        return max(path.stem for path in _JAR.parent.glob("zookeeper-[0-9]*.jar"))

    @contextmanager
    def serve(self, place: Place) -> Generator[str]:
        """A server with a configuration of its own."""
        directory, port = place.data / self.name, free_port()
        directory.mkdir()
        configuration = directory / "zoo.cfg"
        configuration.write_text(
            f"tickTime={_TICK_MS}\ndataDir={directory / 'data'}\nclientPort={port}\nclientPortAddress={LOOPBACK}\n"
            f"maxSessionTimeout={2 * LEASE_S * 1_000}\nmaxClientCnxns=0\nadmin.enableServer=false\n",
            encoding="utf-8",
        )
        command = ["java", "-cp", f"{_JAR}:{_LOGGING}", _MAIN, str(configuration)]
        with running(command, directory, lambda: accepts(port)):
            with _connected(str(port)) as client:
                for path in (_ACTIVE, _EVENTS, _NEWEST):
                    client.create(path)
            yield str(port)

    @asynccontextmanager
    async def claimant(self, address: str, in_flight: int, *, may_block: bool) -> AsyncGenerator[Claimant]:  # noqa: ARG002
        """One session, whose end removes its nodes."""
        with _connected(address) as client:
            yield _Claimant(client, may_block=may_block)

    async def listen(self, address: str, ready: Callable[[], None], heard: Callable[[str], None]) -> None:
        """A watch on the newest event, made anew by kazoo each time."""
        is_following = False
        with _connected(address) as client:

            def changed(data: bytes, _status: object) -> None:
                if is_following:
                    heard(data.decode())

            client.DataWatch(_NEWEST, changed)  # calls at once, with what is there already
            is_following = True
            ready()
            await asyncio.Event().wait()


@contextmanager
def _connected(address: str) -> Generator[Any]:
    # It warns of a connection that the server closes at the end of a session; another one that is lost fails a claim.
    logging.getLogger("kazoo").setLevel(logging.ERROR)
    client = import_module("kazoo.client").KazooClient(hosts=f"{LOOPBACK}:{address}", timeout=LEASE_S)
    client.start(timeout=_START_S)
    try:
        yield client
    finally:
        client.stop()
        client.close()


class _Claimant:
    def __init__(self, client: Any, *, may_block: bool) -> None:  # noqa: ANN401  (kazoo may not be installed)
        self._client = client
        self._may_block = may_block
        self._instance_id = f"instance-{uuid4().hex}".encode()
        self._held_by_another: Any = import_module("kazoo.exceptions").NodeExistsError

    async def claim(self, worker: int, resource_id: str) -> bool:  # noqa: ARG002
        resource = resource_id.encode()
        transaction = self._client.transaction()
        transaction.create(f"{_ACTIVE}/{resource_id}", self._instance_id, ephemeral=True)
        transaction.create(f"{_EVENTS}/event-", resource, sequence=True)
        transaction.set_data(_NEWEST, resource)
        results: list[Any] = transaction.commit() if self._may_block else await self._commit(transaction)
        if isinstance(results[0], self._held_by_another):
            return False
        for result in results:
            if isinstance(result, Exception):
                raise result
        return True

    async def _commit(self, transaction: Any) -> list[Any]:  # noqa: ANN401
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[list[Any]] = loop.create_future()

        def hand_over(result: Any) -> None:  # noqa: ANN401
            """On a thread of kazoo's."""
            if result.exception is None:
                loop.call_soon_threadsafe(answered.set_result, result.value)
            else:
                loop.call_soon_threadsafe(answered.set_exception, result.exception)

        transaction.commit_async().rawlink(hand_over)
        return await answered
