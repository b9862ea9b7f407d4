"""What a peer is to this bench: a server in a temporary place, clients that claim resources, and a listener.

The work is the same for all. To claim is to become active for a resource if nobody is, and to write down the change in
the same step, so that also a listener that comes later can read it; the answer comes when both are durable, and a
listener is told then. A claim of a resource that somebody holds is refused and writes nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Protocol

from bench.place import Place

LEASE_S: Final = 60
"""How long a peer keeps a claim without hearing of its holder, where it can: longer than a round, nobody renews it."""


class Claimant(Protocol):
    """A client of a peer, connected for as many claims at a time as it was opened for."""

    async def claim(self, worker: int, resource_id: str) -> bool:
        """Become active for a resource, durably; whether it was granted.

        Args:
            worker: Who of those that claim at a time does, from 0: a client with a connection each goes by it.
            resource_id: Made of letters, digits and hyphens.
        """
        ...


class Claimable(Protocol):
    """What a load asks of a peer whose server runs already: clients that claim."""

    @property
    def is_told(self) -> bool:
        """Whether the change is written down and a listener is told: the whole work, not only the claim."""
        ...

    def claimant(self, address: str, in_flight: int, *, may_block: bool) -> AbstractAsyncContextManager[Claimant]:
        """A client; what it has claimed is given up when the block is left.

        Args:
            address: Of the server.
            in_flight: How many claims are under way at a time.
            may_block: Whether nothing else is done meanwhile, so that one made for threads may be called as it is.
        """
        ...


class Peer(Claimable, Protocol):
    """One way to keep one active for each resource."""

    @property
    def name(self) -> str:
        """Short, as on the command line."""
        ...

    @property
    def client(self) -> str:
        """The distribution of its Python client."""
        ...

    @property
    def settings(self) -> str:
        """What it is set to, and how the work is done with it."""
        ...

    @property
    def is_durable(self) -> bool:
        """Whether what it answered survives a loss of power."""
        ...

    def missing(self) -> str | None:
        """Why it cannot take part here; None if it can."""
        ...

    def version(self) -> str:
        """Of its server.

        Raises:
            OSError: It cannot be asked.
        """
        ...

    def serve(self, place: Place) -> AbstractContextManager[str]:
        """Its server on an empty store, until the block is left; where it takes requests.

        Raises:
            ProcessFailedError: It did not start.
        """
        ...

    async def listen(self, address: str, ready: Callable[[], None], heard: Callable[[str], None]) -> None:
        """Follow the claims until cancelled.

        Args:
            address: Of the server.
            ready: Called once from here on every claim is told.
            heard: Called with each resource that was claimed; also from another thread, if that is the client's way.
        """
        ...


def not_installed(
    *, commands: Sequence[str] = (), files: Sequence[Path] = (), modules: Sequence[str] = ()
) -> str | None:
    """The first of these that is not there, as a reason not to take part; None if all are."""
    for command in commands:
        if shutil.which(command) is None:
            return f"the command {command} is not installed"
    for file in files:
        if not file.exists():
            return f"{file} is not installed"
    for module in modules:
        if find_spec(module) is None:
            return f"the Python package of the module {module} is not installed"
    return None
