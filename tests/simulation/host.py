"""The broker's process: the real core and the real lease clock, in a shell like `tenure.broker.server`.

It can be paused and killed at any moment, also between storing, replying and publishing. What it hands to the network
is what the checks look at: by then it has to be durable.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import partial
from random import Random
from typing import Final, Protocol

from tenure.broker.clock import LeaseClock
from tenure.broker.core import BrokerCore
from tenure.broker.outgoing import Outgoing, Release
from tenure.broker.pages import EventsRead, StoreRead
from tenure.broker.peers import NOBODY
from tenure.contract import codec
from tenure.contract.errors import ErrorCode, RevisionCompactedError
from tenure.contract.limits import PROGRESS_INTERVAL_MS
from tenure.contract.messages import BrokerMessage, Hello
from tenure.contract.vocabulary import ChangeReason, Channel
from tenure.domain.records import Batch, Instant, StoredState
from tenure.domain.store import EventsCompactedError
from tests.simulation.disk import Disk
from tests.simulation.machine import Machine
from tests.simulation.network import Network, Sent
from tests.simulation.timeline import Process
from tests.simulation.violation import Violation

STORE_MS: Final = 0.2
"""How long a commit takes while all is well."""
_REFUSED_PAUSE_MS: Final = 250.0
_TICK_MS: Final = 100.0
_LATE_MS: Final = 20.0
_UNIX_MS: Final = 1_700_000_000_000


class CrashPoint(StrEnum):
    """Where the broker's process ends, while a batch is on its way through it."""

    BEFORE_STORE = "crash before store"
    TORN = "crash in store"
    AFTER_STORE = "crash after store"
    BETWEEN_REPLIES = "crash between replies"
    BEFORE_PUBLISH = "crash before publish"
    AFTER_PUBLISH = "crash after publish"


class World(Protocol):
    """What the broker's process needs of the world around it."""

    network: Network
    chance: Random
    core_type: Callable[[StoredState, Instant], BrokerCore]

    def broker_sends(self, message: BrokerMessage) -> None:
        """Something leaves for a peer."""

    def broker_publishes(self, body: bytes) -> None:
        """Something leaves for all listeners."""

    def broker_crashed(self) -> None:
        """The process has ended."""

    def count(self, what: str) -> None:
        """Something worth counting happened."""


class BrokerHost(Process):
    """One broker after the other, on one machine and one disk."""

    def __init__(self, world: World, machine: Machine, disk: Disk) -> None:
        super().__init__(machine.timeline)
        self.machine = machine
        self.disk = disk
        self.core: BrokerCore | None = None
        self.crash_at: CrashPoint | None = None
        """Where to end with the next batch."""
        self.refuses_next = False
        """Whether the disk refuses the next batch."""
        self.is_full = False
        """Whether the disk refuses every batch."""
        self.store_ms = STORE_MS
        """How long a commit takes."""
        self.set_back_ms = 0.0
        """How far the time of day is behind."""
        self.world = world
        self._storing: Batch | None = None
        self._is_pausing = self._was_refused = False
        self._proven: set[int] = set()
        """Sessions that were stored when proof of their end came, and are so still."""
        self._watched: dict[int, int] = {}
        """The process whose exit is proof of the end of a session, by the session's number."""

    # --- its life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """A broker starts on what the disk has."""
        assert self.core is None, "one is running"
        self._clock = self.make_clock()
        self.core = self.world.core_type(self.disk.stored(), self._clock.instant())
        self.world.network.is_served = True
        self._planned_ms = self._monotonic_ms
        self._tick()
        self._tell_progress()

    def make_clock(self) -> LeaseClock:
        """The clock by which leases end."""
        return LeaseClock(self.machine.boot_ns, self.machine.raw_ns, self.wall_ns)

    def crash(self) -> None:
        """The process is killed. What it was storing is stored or not, but never in part."""
        if self.core is None:
            return
        if self._storing is not None:
            self.world.count("commits torn")
            if self.world.chance.random() < 0.5:
                self.disk.commit(self._storing)
        self.end()
        self.core = self._storing = self.crash_at = None
        self.refuses_next = self._is_pausing = self._was_refused = False
        self._watched.clear()
        self._proven.clear()
        self.world.broker_crashed()

    def process_exited(self, process: int) -> None:
        """The kernel reports an exit: it is proof for the sessions that were declared to be of this process."""
        if self.core is None:
            return
        self._note_lateness()
        for session in [session for session, watched in self._watched.items() if watched == process]:
            del self._watched[session]
            self.world.count("deaths proven")
            if self.disk.holds_session(session):
                self._proven.add(session)
            self.core.end_session(session, ChangeReason.DIED, self._clock.instant())
        self._settle()

    # --- messages in and out ------------------------------------------------------------------------------------------

    def deliver(self, sent: Sent) -> None:
        """Something arrives."""
        self.run(partial(self._take_in, sent), self.incarnation)

    def _take_in(self, sent: Sent) -> None:
        if self.core is None:
            return
        self._note_lateness()
        route, request_id, body = sent
        request = self.core.receive(route, [request_id, body], NOBODY, self._clock.instant())
        if isinstance(request, Hello) and request.channel is Channel.CONTROL and request.process is not None:
            connection = self.core.connections.get(route)
            if connection is not None and connection.session:
                self._watched[connection.session] = request.process.pid
        self._settle()

    def _settle(self) -> None:
        """Do what the core has asked for."""
        core = self.core
        assert core is not None
        core.tick(self._clock.instant())
        outgoing, core.outgoing = core.outgoing, []
        for one in outgoing:
            self._send(one)
        core.conflicts.clear()
        core.interventions.clear()
        reads, core.store_reads = core.store_reads, []
        for read in reads:
            self.later(self.store_ms, partial(self._read, read))
        self._store()

    def _send(self, outgoing: Outgoing) -> None:
        message = codec.decode_broker(outgoing.body)
        self.world.broker_sends(message)
        if not self.world.network.answer(outgoing, message) and self.core is not None:
            self.core.connections.forget(outgoing.route)

    # --- time ---------------------------------------------------------------------------------------------------------

    @property
    def _monotonic_ms(self) -> float:
        return self.machine.running_ms

    def wall_ns(self) -> int:
        """The time of day."""
        return int((_UNIX_MS + self.timeline.now_ms - self.set_back_ms) * 1_000_000)

    def _note_lateness(self) -> None:
        now_ms = self._monotonic_ms
        late_ms = now_ms - self._planned_ms
        if late_ms > _LATE_MS:
            self._planned_ms = now_ms
            self._clock.hold_back(late_ms)
            self.world.count("lease clock held back")

    def _tick(self) -> None:
        if self.core is None:
            return
        self._note_lateness()
        self._settle()
        next_expiry_ms = self.core.registry.next_expiry_ms
        wait_ms = _TICK_MS
        if next_expiry_ms is not None:
            wait_ms = max(1.0, min(_TICK_MS, next_expiry_ms - self._clock.now_ms()))
        self._planned_ms = self._monotonic_ms + wait_ms
        self.later(wait_ms, self._tick)

    def _tell_progress(self) -> None:
        if self.core is not None:
            self.world.broker_publishes(self.core.progress())
            self.later(PROGRESS_INTERVAL_MS, self._tell_progress)

    # --- the store ----------------------------------------------------------------------------------------------------

    def _store(self) -> None:
        if self.core is None or self._storing is not None or self._is_pausing:
            return
        self._storing = self.core.take_batch()
        if self._storing is not None:
            self.store_begins(self._storing)
            ms = self.store_ms * (0.5 + self.world.chance.random())
            self.timeline.after(ms, partial(self._store_ends, self._storing, self.incarnation))

    def store_begins(self, batch: Batch) -> None:
        """The disk has been given a batch: nothing may leave yet."""

    def _store_ends(self, batch: Batch, incarnation: int) -> None:
        """The disk is done with a batch, also while the process is paused."""
        if incarnation != self.incarnation:
            return
        if self.crash_at is CrashPoint.TORN:
            self._crash_here()  # the outcome of the commit is open, and stays so
            return
        if self.crash_at is CrashPoint.BEFORE_STORE:
            self._storing = None
            self._crash_here()
            return
        self._storing = None
        if self.refuses_next or self.is_full:
            self.refuses_next = False
            self.world.count("commits refused")
            self.run(self._start_again, incarnation)
            return
        self._was_refused = False
        self.disk.commit(batch)
        if self.crash_at is CrashPoint.AFTER_STORE:
            self._crash_here()
            return
        self.run(self._committed, incarnation)

    def _committed(self) -> None:
        """Store, then reply, then publish."""
        assert self.core is not None
        self._note_lateness()
        release = self.core.committed(self.wall_ns() // 1_000_000)
        for session in [session for session in self._watched if not self.disk.holds_session(session)]:
            del self._watched[session]
        self._proven = set(filter(self.disk.holds_session, self._proven))
        if not self._ends_in(release):
            for one in release.outgoing:
                self._send(one)
            for body in release.published:
                self.world.broker_publishes(body)
            self._settle()

    def _ends_in(self, release: Release) -> bool:
        """End between the replies or after the publication, if that is what is to happen."""
        if self.crash_at is None:
            return False
        replies, publications = len(release.outgoing), 0
        if self.crash_at is CrashPoint.BETWEEN_REPLIES:
            replies = self.world.chance.randint(0, replies)
        elif self.crash_at is CrashPoint.AFTER_PUBLISH:
            publications = 1
        for one in release.outgoing[:replies]:
            self._send(one)
        for body in release.published[:publications]:
            self.world.broker_publishes(body)
        self._crash_here()
        return True

    def _crash_here(self) -> None:
        assert self.crash_at is not None
        self.world.count(self.crash_at.value)
        self.crash()

    def _start_again(self) -> None:
        """The store has refused a batch: go on from what it has."""
        assert self.core is not None
        self._note_lateness()
        code = ErrorCode.STORAGE_UNAVAILABLE
        self.core.start_again(self.disk.stored(), self._clock.instant(), code, "the disk is full")
        living = self.core.registry.state.sessions
        for session in [session for session in self._watched if session not in living]:
            del self._watched[session]
        if not self._proven.isdisjoint(living):
            raise Violation("proof", f"sessions {sorted(self._proven & living.keys())} live on, and are dead")
        if self._was_refused:
            self._is_pausing = True
            self.later(_REFUSED_PAUSE_MS, self._go_on_storing)
        self._was_refused = True
        self._settle()

    def _go_on_storing(self) -> None:
        self._is_pausing = False
        self._settle()

    def _read(self, read: StoreRead) -> None:
        if self.core is None or not isinstance(read, EventsRead):  # nobody here asks for tenures
            return
        try:
            outgoing = self.core.events_page(read, self.disk.page(read.since, read.limit))
        except EventsCompactedError as gone:
            refusal = RevisionCompactedError(str(gone), revision=gone.first_revision)
            outgoing = self.core.refuse_read(read, refusal)
        self._send(outgoing)
