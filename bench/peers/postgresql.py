"""PostgreSQL through `asyncpg`: one statement inserts the registration and the event, and notifies.

A partial unique index keeps one active for each resource. `fsync` and `synchronous_commit` are on, as they are by
default. One statement is in flight on a connection at a time, so each worker takes one out of the pool for as long as
it works, over the unix socket. The server refuses to run as root: then it runs as the user `postgres`, whom its Debian
package creates.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import subprocess
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from importlib import import_module
from pathlib import Path
from signal import SIGINT
from socket import AF_UNIX, socket
from typing import Any, Final
from uuid import uuid4

from bench.peers.peer import Claimant, not_installed
from bench.peers.servers import first_line, running
from bench.place import Place
from bench.processes import ProcessFailedError

_VERSIONS: Final = Path("/usr/lib/postgresql")  # where Debian keeps the server's programs, beside the path
_USER: Final = "postgres"
_CONNECTIONS_MAX: Final = 300  # 256 in flight, a holder, a listener, and the server's own three
_FAST_SHUTDOWN: Final = SIGINT
_CHANNEL: Final = "told"

_SCHEMA: Final = """
CREATE TABLE registration (
    registration_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    resource_id text NOT NULL,
    instance_id text NOT NULL,
    role text NOT NULL
);
CREATE UNIQUE INDEX one_active_per_resource ON registration (resource_id) WHERE role = 'active';
CREATE TABLE event (
    revision bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    resource_id text NOT NULL,
    instance_id text NOT NULL
);
"""
_CLAIM: Final = """
INSERT INTO registration (resource_id, instance_id, role) VALUES ($1, $2, 'active')
ON CONFLICT (resource_id) WHERE role = 'active' DO NOTHING
RETURNING resource_id, instance_id
"""
_CLAIM_AND_TELL: Final = f"""
WITH granted AS ({_CLAIM}), written AS (
    INSERT INTO event (resource_id, instance_id) SELECT resource_id, instance_id FROM granted RETURNING resource_id
)
SELECT pg_notify('{_CHANNEL}', resource_id) FROM written
"""  # noqa: S608  (put together of constants)
_GIVE_UP: Final = "DELETE FROM registration WHERE instance_id = $1"


class PostgreSql:
    """A server of its own, with or without the event and the notification."""

    client = "asyncpg"
    is_durable = True

    def __init__(self, *, is_told: bool) -> None:
        self.name = "postgresql" if is_told else "postgresql-bare"
        self.is_told = is_told
        how = "one statement of registration, event and NOTIFY; LISTEN" if is_told else "the registration alone"
        self.settings = f"fsync and synchronous_commit on, defaults; {how}"

    def missing(self) -> str | None:
        """Server, client or the user to run as, whichever is not there."""
        reason = not_installed(files=(_program("initdb"), _program("postgres")), modules=("asyncpg",))
        if reason is None and os.geteuid() == 0 and not _is_user(_USER):
            return f"PostgreSQL refuses to run as root, and there is no user {_USER}"
        return reason

    def version(self) -> str:
        """As it says itself."""
        return first_line(str(_program("postgres")), "--version")

    @contextmanager
    def serve(self, place: Place) -> Generator[str]:
        """A cluster that listens on a unix socket only."""
        user = _USER if os.geteuid() == 0 else None
        directory, sockets = place.data / self.name, Path(place.socket_path())
        for made in (directory, sockets):
            made.mkdir(mode=0o700)
            if user is not None:
                made.parent.chmod(0o711)  # so that the user gets to what is its own, and sees nothing else
                shutil.chown(made, user, user)
        data = directory / "data"
        _initialize(data, user)
        command = [str(_program("postgres")), "-D", str(data), "-k", str(sockets), "-c", "listen_addresses="]
        command += ["-c", f"max_connections={_CONNECTIONS_MAX}"]

        def answers() -> bool:
            with socket(AF_UNIX) as probe:
                probe.connect(str(sockets / ".s.PGSQL.5432"))
                return True

        with running(command, directory, answers, user=user, end=_FAST_SHUTDOWN):
            asyncio.run(self._make_schema(str(sockets)))
            yield str(sockets)

    async def _make_schema(self, address: str) -> None:
        connection: Any = await import_module("asyncpg").connect(host=address, user=_USER, database="postgres")
        try:
            await connection.execute(_SCHEMA)
        finally:
            await connection.close()

    @asynccontextmanager
    async def claimant(self, address: str, in_flight: int, *, may_block: bool) -> AsyncGenerator[Claimant]:  # noqa: ARG002
        """A pool with a connection for each worker."""
        pool = import_module("asyncpg").create_pool(
            host=address, user=_USER, database="postgres", min_size=in_flight, max_size=in_flight
        )
        async with pool:
            connections = [await pool.acquire() for _ in range(in_flight)]
            claimant = _Claimant(connections, _CLAIM_AND_TELL if self.is_told else _CLAIM)
            yield claimant
            await claimant.give_up()
            for connection in connections:
                await pool.release(connection)

    async def listen(self, address: str, ready: Callable[[], None], heard: Callable[[str], None]) -> None:
        """LISTEN; the events are for whoever comes later."""

        def notified(_connection: object, _pid: int, _channel: str, resource_id: str) -> None:
            heard(resource_id)

        connection: Any = await import_module("asyncpg").connect(host=address, user=_USER, database="postgres")
        try:
            await connection.add_listener(_CHANNEL, notified)
            ready()
            await asyncio.Event().wait()
        finally:
            connection.terminate()


def _program(name: str) -> Path:
    """Of the newest version that is installed."""
    versions = sorted((path.name for path in _VERSIONS.glob("[0-9]*")), key=int)
    return _VERSIONS / (versions[-1] if versions else "") / "bin" / name


def _initialize(data: Path, user: str | None) -> None:
    command = [str(_program("initdb")), "--pgdata", str(data), "--username", _USER, "--auth", "trust"]
    ended = subprocess.run(
        command,
        capture_output=True,
        text=True,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        cwd=data.parent,
        check=False,
    )
    if ended.returncode:
        raise ProcessFailedError(f"initdb ended with exit code {ended.returncode}; it said: {ended.stderr.strip()}")


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


class _Claimant:
    def __init__(self, connections: list[Any], statement: str) -> None:
        self._connections = connections
        self._statement = statement
        self._instance_id = f"instance-{uuid4().hex}"

    async def claim(self, worker: int, resource_id: str) -> bool:
        # asyncpg prepares the statement once for each connection.
        row = await self._connections[worker].fetchrow(self._statement, resource_id, self._instance_id)
        return row is not None

    async def give_up(self) -> None:
        """Free what is held, as the end of a session does elsewhere."""
        await self._connections[0].execute(_GIVE_UP, self._instance_id)
