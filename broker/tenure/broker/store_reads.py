"""Reads of events and tenures: the store answers them beside its commits, in order, and nothing else waits for that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from structlog.typing import FilteringBoundLogger

from tenure.broker.core import BrokerCore
from tenure.broker.outgoing import Outgoing
from tenure.broker.pages import EventsRead, StoreRead
from tenure.contract.errors import InternalError, RevisionCompactedError
from tenure.domain.store import EventsCompactedError, Store, StoreError


class StoreReads:
    """What the core asks the store for, from the broker's start to its end."""

    def __init__(
        self,
        core: BrokerCore,
        store: Store,
        send: Callable[[Collection[Outgoing]], None],
        log: FilteringBoundLogger,
    ) -> None:
        self._core = core
        self._store = store
        self._send = send
        self._log = log
        self._asked = asyncio.Event()

    def wake(self) -> None:
        """The core has something to ask."""
        self._asked.set()

    async def answer_forever(self) -> None:
        """Answer what is asked for, and wait for more."""
        while True:
            self._asked.clear()
            reads, self._core.store_reads = self._core.store_reads, []
            for read in reads:
                self._send([await self._answer(read)])
            if not self._core.store_reads:
                await self._asked.wait()

    async def _answer(self, read: StoreRead) -> Outgoing:
        try:
            if isinstance(read, EventsRead):
                return self._core.events_page(read, await self._store.read_events(read.since, read.limit))
            tenures = await self._store.read_tenures(read.resource_id, read.before, read.limit)
        except EventsCompactedError as gone:
            refusal = RevisionCompactedError(f"{gone}; start again from a snapshot", revision=gone.first_revision)
            return self._core.refuse_read(read, refusal)
        except StoreError as error:
            self._log.error("store.unreadable", exc_info=True)
            return self._core.refuse_read(read, InternalError(f"the store could not be read: {error}"))
        return self._core.tenures_page(read, tenures)
