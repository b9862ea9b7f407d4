"""Follow what changes: a snapshot, then every change once and in order, or word that this is impossible.

The shell of `tenure.sdk.stream`: a subscription, and a reader for the snapshot and for what the subscription missed. It
reads no further ahead than the application takes, so a slow one costs no memory: what its queue cannot hold is lost
there and read from the store. A broker that is away is waited for, without an end; nothing is ever skipped in silence.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from functools import partial
from time import monotonic
from types import TracebackType
from typing import Final, Self

from tenure.contract.errors import (
    BrokerUnavailableError,
    ClientClosedError,
    InvalidEndpointError,
    RequestRefusedError,
    RequestTimeoutError,
    UnsupportedVersionError,
)
from tenure.contract.events import (
    AnyEvent,
    RegistrationUpdatedEvent,
    ResourcePausedEvent,
    ResourceResumedEvent,
    RoleChangedEvent,
)
from tenure.contract.history import EventPage, ReadEvents
from tenure.contract.limits import PROGRESS_INTERVAL_MS
from tenure.contract.messages import ListPresence, PresencePage
from tenure.sdk.endpoints import resolve_endpoints
from tenure.sdk.reader import Reader
from tenure.sdk.replica import Replica
from tenure.sdk.snapshot import take_snapshot
from tenure.sdk.stream import StreamCore, StreamRestarted
from tenure.sdk.subscription import Subscription

SILENCE_MS: Final = 3 * PROGRESS_INTERVAL_MS
"""How long nothing may be heard, not even progress, before the connection is made anew."""
TIMEOUT_MS_DEFAULT: Final = 5_000
"""How long to look for a broker when the listener is opened."""
_RETRY_MS: Final = 500
_ROUND_MAX: Final = 256  # messages looked through before the event loop has its turn
_REVISION_MAX: Final = 2**63 - 1


class EventListener:
    """The changes of a registry, or of one resource, one service or both.

    ```python
    async with EventListener(resource_id="account-42") as events:
        async for event in events:
            if isinstance(event, StreamRestarted):
                ...  # events are missing before this point; events.replica is a new snapshot
    ```

    Without `since`, the block begins with a snapshot in `replica`, and the events are those after it. With `since`,
    they are those after that revision, from the store first. A filter leaves out events of other registrations and
    resources, and those that are about sessions (`replica` has their statuses all the same).

    When going on is impossible (the store no longer keeps the next event, or it was replaced, restored or rolled back),
    a `StreamRestarted` comes in place of an event: `replica` is a new snapshot then, and events go on after it.

    For one task at a time. A cancelled wait for an event loses none.
    """

    def __init__(
        self,
        *endpoints: str,
        resource_id: str | None = None,
        service_name: str | None = None,
        since: int | None = None,
        history_id: str | None = None,
        timeout_ms: float = TIMEOUT_MS_DEFAULT,
    ) -> None:
        """Prepare a listener; nothing is connected yet.

        Args:
            endpoints: Where the broker takes requests, as for `ServiceClient`.
            resource_id: Only registrations for this resource.
            service_name: Only registrations of this service.
            since: Go on after this revision; None begins with what is the case now.
            history_id: The history that `since` belongs to, if known: in another one, revisions mean other events.
            timeout_ms: How long to look for a broker when the listener is opened.

        Raises:
            InvalidEndpointError: An endpoint is not of a form that can be connected to.
            ValueError: `since` is not a revision.
        """
        if since is not None and not 0 <= since <= _REVISION_MAX:
            raise ValueError(f"since is {since}; a revision is 0 to {_REVISION_MAX}")
        self._timeout_ms = timeout_ms
        self._endpoints = resolve_endpoints(endpoints, os.environ, os.getuid())
        self._resource_id = resource_id
        self._service_name = service_name
        self._since = since
        self._since_history_id = history_id
        self._replica = Replica(service_name=service_name, resource_id=resource_id)
        self._core = StreamCore("", 0)
        self._connection: _Connection | None = None
        self._is_open = False
        self._heard_ms: float | None = None

    # --- opening and closing ------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Subscribe, see that the subscription is in force, and take the snapshot.

        Raises:
            BrokerUnavailableError: No broker answered in time, or none was heard where it publishes.
            InvalidEndpointError: The broker publishes nowhere that can be reached from here.
            TenureError: The broker refused to be read.
        """
        try:
            connection = await self._connect()
            await self._hear_first(connection)
            self._replica = await self._take_snapshot(connection)
        except BaseException:
            self._disconnect()
            raise
        self._is_open = True
        since = self._replica.revision if self._since is None else self._since
        self._core = StreamCore(self._since_history_id or self._replica.history_id, since)
        self._core.check(self._replica.history_id, self._replica.revision)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the connection."""
        self._is_open = False
        self._disconnect()

    # --- what is known ------------------------------------------------------------------------------------------------

    @property
    def replica(self) -> Replica:
        """The registry as of the event that was handed out last, but never older than the snapshot.

        With `since` the snapshot is newer than the first events, so that until these have caught up with it the replica
        is ahead of them. A restart replaces the object: do not keep it.
        """
        return self._replica

    @property
    def revision(self) -> int:
        """The revision up to which every event was handed out or left out by the filter: what `since` wants later."""
        return self._core.revision

    @property
    def history_id(self) -> str:
        """The history that `revision` belongs to; empty before the listener is open."""
        return self._core.history_id

    @property
    def silent_ms(self) -> float | None:
        """How long ago the broker was heard last; None if it never was.

        Events have to be waited for, or this grows while nobody listens.
        """
        return None if self._heard_ms is None else _now_ms() - self._heard_ms

    @property
    def is_connected(self) -> bool:
        """Whether the broker was heard within the last 1,500 ms; it says how far it is every 500 ms."""
        silent_ms = self.silent_ms
        return self._is_open and silent_ms is not None and silent_ms <= SILENCE_MS

    # --- events -------------------------------------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        """The events, from where the listener is on."""
        return self

    async def __anext__(self) -> AnyEvent | StreamRestarted:
        """Wait for the next event, or for word that events are missing.

        Raises:
            ClientClosedError: The listener is not open.
            UnsupportedVersionError: The broker was replaced by one that speaks another version.
        """
        while True:
            if not self._is_open:
                raise ClientClosedError("the listener is not open: use it as `async with EventListener(...) as events`")
            connection = self._connection
            event = self._core.take()
            if event is not None:
                self._replica.apply(event)
                if self._is_wanted(event):
                    return event
            elif connection is None:
                await self._persist(self._connect)
            elif self._core.restart is not None:
                return await self._start_again(connection)
            elif self._core.missing_since is not None:
                await self._persist(partial(self._fill, connection))
            else:
                await self._listen(connection)

    def _is_wanted(self, event: AnyEvent) -> bool:
        if self._resource_id is None and self._service_name is None:
            return True
        if isinstance(event, (ResourcePausedEvent, ResourceResumedEvent)):
            known = self._replica.resource_ids if self._resource_id is None else {self._resource_id}
            return event.resource_id in known
        if not isinstance(event, (RoleChangedEvent, RegistrationUpdatedEvent)):
            return False
        return self._resource_id in {None, event.resource_id} and self._service_name in {None, event.service_name}

    async def _listen(self, connection: _Connection) -> None:
        """Wait for the stream; silence means that the connection is made anew, at the next endpoint."""
        message = await connection.subscription.receive(SILENCE_MS)
        if message is None:
            self._disconnect()
            self._endpoints = (*self._endpoints[1:], self._endpoints[0])
            return
        self._heard_ms = _now_ms()
        for _ in range(_ROUND_MAX):
            self._core.receive(message)
            message = connection.subscription.next_waiting() if self._core.is_waiting else None
            if message is None:
                return

    async def _fill(self, connection: _Connection) -> None:
        """Read what comes next from the store."""
        since = self._core.missing_since
        if since is None:
            return
        try:
            page = await connection.reader.request(ReadEvents(since=since), EventPage)
        except RequestRefusedError as refusal:
            if not self._core.refused(refusal):
                raise
            return
        self._heard_ms = _now_ms()
        self._core.fill(page)
        if connection.follow():
            self._core.subscribed()

    async def _start_again(self, connection: _Connection) -> StreamRestarted:
        """Take a new snapshot and go on after it."""
        replica = await self._persist(partial(self._take_snapshot, connection))
        broken = self._core.break_at(replica.history_id, replica.revision)
        self._replica = replica
        self._core = StreamCore(replica.history_id, replica.revision)
        return broken

    # --- the connection -----------------------------------------------------------------------------------------------

    async def _connect(self) -> _Connection:
        """Reach a broker and subscribe to its stream."""
        connection = await _Connection.make(self._endpoints, self._timeout_ms)
        self._connection = connection
        self._heard_ms = _now_ms()
        self._core.subscribed()
        return connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _hear_first(self, connection: _Connection) -> None:
        """Wait for the first message, so that whatever changes from here on is published to this listener too."""
        if await connection.subscription.receive(self._timeout_ms) is None:
            raise BrokerUnavailableError((connection.subscription.endpoint,), round(self._timeout_ms))
        self._heard_ms = _now_ms()

    async def _take_snapshot(self, connection: _Connection) -> Replica:
        replica = await take_snapshot(connection.reader, service_name=self._service_name, resource_id=self._resource_id)
        self._heard_ms = _now_ms()
        return replica

    async def _persist[T](self, work: Callable[[], Coroutine[None, None, T]]) -> T:
        """Do what needs a broker, as often as it takes until there is one.

        Raises:
            UnsupportedVersionError: No broker that comes back will answer this client.
        """
        while True:
            try:
                return await work()
            except UnsupportedVersionError:
                raise
            except (BrokerUnavailableError, RequestTimeoutError, RequestRefusedError, InvalidEndpointError):
                await asyncio.sleep(_RETRY_MS / 1_000)


class _Connection:
    """A reader, and a subscription to the stream of the broker it reached."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.subscription = Subscription(reader.context, _published_at(reader))

    @classmethod
    async def make(cls, endpoints: tuple[str, ...], timeout_ms: float) -> _Connection:
        """Reach a broker at one of the endpoints and subscribe.

        Raises:
            TenureError: None answered, or it publishes nowhere that can be reached.
        """
        reader = Reader(*endpoints, timeout_ms=timeout_ms)
        try:
            await reader.request(ListPresence(limit=1), PresencePage)  # any answer comes with where it publishes
            return cls(reader)
        except BaseException:
            reader.close()
            raise

    def follow(self) -> bool:
        """Subscribe anew if the reader has reached a broker that publishes elsewhere; whether that was so."""
        endpoint = _published_at(self.reader)
        if endpoint == self.subscription.endpoint:
            return False
        self.subscription.close()
        self.subscription = Subscription(self.reader.context, endpoint)
        return True

    def close(self) -> None:
        """Let go of both."""
        self.subscription.close()
        self.reader.close()


def _published_at(reader: Reader) -> str:
    endpoint = reader.events_endpoint
    if endpoint is None:
        reached = ", ".join(reader.endpoints)
        why = "its broker publishes events over no transport that can be reached from here; add one to its events_bind"
        raise InvalidEndpointError(reached, why)
    return endpoint


def _now_ms() -> float:
    return monotonic() * 1_000
