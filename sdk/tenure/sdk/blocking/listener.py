"""The listener of a program without asyncio: what `tenure.sdk.EventListener` does, waited for in the calling thread."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from tenure.contract.events import AnyEvent
from tenure.sdk.blocking.facade import OpenedFacade, takes_arguments_of
from tenure.sdk.listener import EventListener as AsyncListener
from tenure.sdk.replica import Replica
from tenure.sdk.stream import StreamRestarted


class EventListener(OpenedFacade[AsyncListener]):
    """The changes of a registry, or of one resource, one service or both, for programs without asyncio.

    ```python
    with EventListener(resource_id="account-42") as events:
        for event in events:
            if isinstance(event, StreamRestarted):
                ...  # events are missing before this point; events.replica is a new snapshot
    ```

    It takes what `tenure.sdk.EventListener` takes, and means the same. For one thread at a time, but for `close`, which
    any thread may call to end a wait for the next event: that raises `ClientClosedError` then.
    """

    @takes_arguments_of(AsyncListener)
    def __init__(self, make: Callable[[], AsyncListener]) -> None:
        super().__init__(make())

    def __enter__(self) -> Self:
        """Subscribe, see that the subscription is in force, and take the snapshot.

        Raises:
            BrokerUnavailableError: No broker answered in time, or none was heard where it publishes.
            InvalidEndpointError: The broker publishes nowhere that can be reached from here.
            TenureError: The broker refused to be read.
        """
        with self._opening() as portal:
            portal.call(self._of.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the connection, as `close`."""
        self.close()

    def close(self) -> None:
        """Let go of the connection; what was handed out last stays known. Safe to repeat."""
        portal = self._portal
        if portal is not None:
            portal.close(lambda: self._of.__aexit__(None, None, None))
            self._portal = None

    @property
    def replica(self) -> Replica:
        """The registry as of the event that was handed out last, but never older than the snapshot.

        With `since` the snapshot is newer than the first events, so that until these have caught up with it the replica
        is ahead of them. A restart replaces the object: do not keep it.
        """
        return self._of.replica

    @property
    def revision(self) -> int:
        """The revision up to which every event was handed out or left out by the filter: what `since` wants later."""
        return self._of.revision

    @property
    def history_id(self) -> str:
        """The history that `revision` belongs to; empty before the listener is open."""
        return self._of.history_id

    @property
    def silent_ms(self) -> float | None:
        """How long ago the broker was heard last; None if it never was.

        Events have to be waited for, or this grows while nobody listens.
        """
        return self._of.silent_ms

    @property
    def is_connected(self) -> bool:
        """Whether the broker was heard within the last 1,500 ms; it says how far it is every 500 ms."""
        return self._of.is_connected

    def __iter__(self) -> Self:
        """The events, from where the listener is on."""
        return self

    def __next__(self) -> AnyEvent | StreamRestarted:
        """Wait for the next event, or for word that events are missing.

        Raises:
            ClientClosedError: The listener is not open, or another thread closed it.
            UnsupportedVersionError: The broker was replaced by one that speaks another version.
        """
        return self._wait_for(AsyncListener.__anext__)
