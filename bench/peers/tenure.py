"""Tenure itself, as users meet it: `tenure serve` on an empty store, and the SDK."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import version
from typing import Final
from uuid import uuid4

from bench.peers.peer import Claimant
from bench.place import Place
from bench.processes import serving
from tenure.contract.errors import RoleConflictError
from tenure.contract.events import RoleChangedEvent
from tenure.contract.vocabulary import ServiceRole
from tenure.sdk import EventListener, ServiceClient

_SERVICE: Final = "bench"


class Tenure:
    """A registration with the role `active`: row, event and answer in one commit, then the publication."""

    name = "tenure"
    client = "tenure"
    settings = "defaults (synchronous=FULL), over ipc, log level error; register(role='active'), EventListener"
    is_durable = True
    is_told = True

    def missing(self) -> str | None:
        """Never: it is what runs here."""
        return None

    def version(self) -> str:
        """Of the broker, which is that of the SDK."""
        return f"tenure {version('tenure')}"

    @contextmanager
    def serve(self, place: Place) -> Generator[str]:
        """A broker, which writes no line for each refusal: none of the others does."""
        with serving(place, log_level="error") as broker:
            yield broker.endpoint

    @asynccontextmanager
    async def claimant(self, address: str, in_flight: int, *, may_block: bool) -> AsyncGenerator[Claimant]:  # noqa: ARG002
        """One session, whose goodbye ends what it has registered."""
        async with ServiceClient(address) as client:
            yield _Claimant(client)

    async def listen(self, address: str, ready: Callable[[], None], heard: Callable[[str], None]) -> None:
        """The whole stream: a filter by service would be applied here too, not at the broker."""
        async with EventListener(address) as events:
            ready()
            async for event in events:
                if isinstance(event, RoleChangedEvent) and event.new_role is ServiceRole.ACTIVE:
                    heard(event.resource_id)


class _Claimant:
    def __init__(self, client: ServiceClient) -> None:
        self._client = client
        self._instance_id = f"instance-{uuid4().hex}"

    async def claim(self, worker: int, resource_id: str) -> bool:  # noqa: ARG002
        try:
            await self._client.register(_SERVICE, instance_id=self._instance_id, resource_id=resource_id, role="active")
        except RoleConflictError:
            return False
        return True
