"""The shell around the core: it moves frames, reads clocks and commits batches, and decides nothing about roles.

One event loop. At most one round of waiting messages is taken in before leases are looked at, so that a flood cannot
block failover; a loop that woke late holds the lease clock back by its lateness, so that its own stall costs nobody a
role. One batch is committed while the next gathers; `_commit_one` is where store, then reply, then publish is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Coroutine, Iterable
from time import monotonic, time_ns
from typing import Final

import structlog
import zmq
from structlog.typing import FilteringBoundLogger

from tenure.broker.admission import Admission
from tenure.broker.clock import LeaseClock
from tenure.broker.config import Config
from tenure.broker.connections import Connection
from tenure.broker.core import BrokerCore
from tenure.broker.lateness import Lateness
from tenure.broker.logs import ConflictLog, RoleLog, log_intervention
from tenure.broker.outgoing import Outgoing, Release
from tenure.broker.proof import ExitWatch
from tenure.broker.sockets import Context, Publisher, Received, Requests, bind_requests
from tenure.broker.store_reads import StoreReads
from tenure.broker.tracing import Traces
from tenure.contract.errors import ErrorCode
from tenure.contract.events import SessionClosedEvent
from tenure.contract.limits import PROGRESS_INTERVAL_MS
from tenure.contract.messages import Hello
from tenure.contract.tracing import IS_AVAILABLE
from tenure.contract.vocabulary import ChangeReason, Channel
from tenure.domain.records import StoredState
from tenure.domain.store import Store, StoreInvariantError, StoreRefusedError

_TICK_MS: Final = 100  # the longest time between two looks at the leases
_TICK_MS_MIN: Final = 5  # thousands of leases end at thousands of times, and one look costs as much as a heartbeat
_QUIET_MS: Final = 100  # without a commit, before the store does a piece of what it put off: the next would wait for it
_READ_MAX: Final = 16  # messages between two looks at the clocks
_REFUSED_PAUSE_MS: Final = 250  # after the second refusal in a row: what ended is decided again at once, and refused
_REFUSED_PAUSE_LOADS: Final = 4  # and at least so many times what loading took, which no heartbeat is heard in
_CLOSE_MS: Final = 700  # what a shutdown gives the commits under way, so that it ends within a second
_LINGER_MS: Final = 100


class Broker:
    """A running broker. `start` it, `wait` for it to fail, `stop` it."""

    def __init__(self, config: Config, store: Store, clock: LeaseClock, version: str) -> None:
        self.endpoints: tuple[str, ...] = ()
        """Where requests are taken, wildcards resolved."""
        self.events_endpoints: tuple[str, ...] = ()
        """Where the stream is published, wildcards resolved."""
        self._config = config
        self._limits = config.limits
        self._store = store
        self._clock = clock
        self._version = version
        self._log: FilteringBoundLogger = structlog.get_logger("tenure.broker").bind()
        self._conflict_log = ConflictLog(self._log)
        self._loop = asyncio.get_running_loop()
        self._role_log = RoleLog(self._log, self._loop)
        self._context: Context = zmq.Context()
        self._routers: list[Requests] = []
        self._publisher = Publisher(self._context)
        self._admission: Admission | None = None
        self._exits = ExitWatch(self._loop, self._process_exited)
        self._work = asyncio.Event()
        self._quiet = asyncio.Event()
        self._failed: asyncio.Future[None] = self._loop.create_future()
        self._tasks: list[asyncio.Task[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._has_fault = False
        self._was_refused = False
        self._is_idle = False
        self._committed_ms = self._idled_ms = monotonic() * 1_000
        self._traces = Traces() if IS_AVAILABLE else None
        self._core: BrokerCore
        self._lateness: Lateness
        self._reads: StoreReads

    @classmethod
    async def start(cls, config: Config, store: Store, *, clock: LeaseClock | None = None, version: str = "") -> Broker:
        """Load the registry, bind the sockets and serve.

        Raises:
            StoreError: The store cannot be loaded.
            zmq.ZMQError: An endpoint cannot be bound.
        """
        stored = await store.load()
        broker = cls(config, store, clock or LeaseClock(), version)
        try:
            broker._open(stored)
        except BaseException:
            await broker.stop()
            raise
        return broker

    async def wait(self) -> None:
        """Wait until the broker fails; a broker that is stopped never returns from here.

        Raises:
            StoreError: The store failed so that the outcome of a commit is unknown: end this process, start anew.
        """
        await asyncio.shield(self._failed)

    async def stop(self) -> None:
        """Take no more requests, commit what was taken, tell the clients, and let go. Safe to repeat."""
        if self._tasks:
            self._send(self._core.close())
            if not self._failed.done():  # else nothing more is stored
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._settled(), _CLOSE_MS / 1_000)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self._role_log.tell_all()
        if self._timer is not None:
            self._timer.cancel()
        self._exits.forget_all()
        if self._admission is not None:
            self._admission.close()
            self._admission = None
        for router in self._routers:
            self._loop.remove_reader(router.fd)
            router.close(_LINGER_MS)
        self._routers.clear()
        self._publisher.close(_LINGER_MS)
        await self._loop.run_in_executor(None, self._context.term)

    def statistics(self) -> dict[str, int]:
        """Counts for tests and for people: sessions, registrations, connections, revisions, what was dropped."""
        registry = self._core.registry
        return {
            "sessions": len(registry.state.sessions),
            "registrations": len(registry.state.registrations),
            "connections": len(self._core.connections),
            "watched_processes": len(self._exits),
            "revision": registry.revision,
            "committed_revision": registry.committed_revision,
            "dropped_messages": sum(router.dropped for router in self._routers),
        }

    # --- start --------------------------------------------------------------------------------------------------------

    def _open(self, stored: StoredState) -> None:
        for endpoint in self._config.events_bind:
            self._publisher.bind(endpoint)
        self.events_endpoints = tuple(self._publisher.endpoints)
        limits = self._limits
        self._core = BrokerCore(
            stored,
            self._clock.instant(),
            registry_limits=limits.registry(),
            limits=limits.core(),
            events_endpoints=self.events_endpoints,
            broker=f"tenure {self._version}".strip(),
        )
        self._reads = StoreReads(self._core, self._store, self._send, self._log)
        self._routers = bind_requests(
            self._context, self._config.bind, limits.frame_bytes_max, 2 * limits.requests_in_flight_max
        )
        self.endpoints = tuple(endpoint for router in self._routers for endpoint in router.endpoints)
        self._guard_the_doors()
        self._tasks = [
            self._loop.create_task(self._guard(self._commit_forever())),
            self._loop.create_task(self._guard(self._reads.answer_forever())),
            self._loop.create_task(self._guard(self._tell_progress_forever())),
        ]
        for router in self._routers:
            self._loop.add_reader(router.fd, self._drain, router)
            self._loop.call_soon(self._drain, router)
        self._lateness = Lateness(self._clock, limits.late_ms, self._core.measurements.loop_lags, self._log)
        self._tick()

    def _guard_the_doors(self) -> None:
        """Count connections and refuse those beyond the limit: libzmq aborts when it runs out of descriptors."""
        if not self._limits.connections_max:  # a configuration that was not fitted to this process's limits
            return
        admission = self._admission = Admission(self._context, self._limits.connections_max, self._log)
        bound_sockets: tuple[Requests | Publisher, ...] = (*self._routers, self._publisher)
        for bound in bound_sockets:
            bound.admit_by(admission)
        admission.drain_on(self._loop)

    async def _guard(self, work: Coroutine[None, None, None]) -> None:
        """Run one of the broker's loops; if it ends by an error, the broker has failed."""
        try:
            await work
        except Exception as error:
            self._log.critical("broker.failed", exc_info=True)
            if not self._failed.done():
                self._failed.set_exception(error)

    # --- messages in and out ------------------------------------------------------------------------------------------

    def _drain(self, router: Requests) -> None:
        """Take in one bounded round of messages, then look at the leases."""
        if self._has_fault or not self._routers:
            return
        self._lateness.note()
        taken, most = 0, self._limits.drain_max
        ends_at = monotonic() + self._limits.drain_ms / 1_000
        while True:
            room = min(_READ_MAX, most - taken)
            messages = router.receive(self._core.connections, room)
            if not self._take_in(messages):
                return
            taken += len(messages)
            if len(messages) < room:
                break
            if taken == most or monotonic() > ends_at:
                self._loop.call_soon(self._drain, router)
                break
        if taken:
            self._settle()

    def _take_in(self, messages: Iterable[Received]) -> bool:
        """Decide on messages that have come; False if that showed a defect.

        The clock is read after all of them came: a heartbeat renews a lease from after it was sent, never from before.
        """
        core, now, received_s = self._core, self._clock.instant(self._lateness.waited_ms), monotonic()
        for received in messages:
            try:
                request = core.receive(received.route, received.frames, received.peer, now, received_s)
            except Exception:
                self._stop_deciding()
                return False
            if self._traces is not None and request is not None and len(received.frames) > 2:
                self._traces.began(received.route, received.frames, request)
            if type(request) is Hello:
                self._watch_process(request, core.connections.get(received.route))
        return True

    def _settle(self) -> None:
        """Do what the core has asked for since the last time."""
        core = self._core
        try:
            core.tick(self._clock.instant())
        except Exception:
            self._stop_deciding()
            return
        if core.outgoing:
            outgoing, core.outgoing = core.outgoing, []
            self._send(outgoing)
        if core.conflicts:
            conflicts, core.conflicts = core.conflicts, []
            self._conflict_log.tell(conflicts, monotonic() * 1_000)
        if core.interventions:
            interventions, core.interventions = core.interventions, []
            for intervention in interventions:
                log_intervention(self._log, *intervention)
        if core.has_batch:
            self._work.set()
        if core.store_reads:
            self._reads.wake()

    def _send(self, messages: Collection[Outgoing]) -> None:
        for message in messages:
            if not self._routers[message.route.socket].send(message):
                self._core.connections.forget(message.route)
        if self._traces is not None:
            self._traces.answered(messages)
        self._core.measurements.answered([message.asked for message in messages], monotonic())
        for socket in {message.route.socket for message in messages}:
            if self._routers[socket].is_readable:  # sending consumes the descriptor's edge
                self._loop.call_soon(self._drain, self._routers[socket])

    # --- time ---------------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Look at the leases, and come back whatever happens: a broker that stopped looking would never fail over."""
        try:
            self._look_at_leases()
        finally:
            next_expiry_ms = self._core.registry.next_expiry_ms
            wait_ms: float = _TICK_MS
            if next_expiry_ms is not None:
                wait_ms = max(_TICK_MS_MIN, min(_TICK_MS, next_expiry_ms - self._clock.now_ms()))
            self._lateness.plan(wait_ms)
            self._timer = self._loop.call_later(wait_ms / 1_000, self._tick)

    def _look_at_leases(self) -> None:
        self._lateness.note(is_planned=True)
        if not self._has_fault:
            for router in self._routers:
                if router.is_readable:
                    self._drain(router)
        if not self._has_fault:
            self._settle()
        self._conflict_log.tell((), monotonic() * 1_000)
        now_ms = monotonic() * 1_000
        self._is_idle = not self._core.has_work and now_ms - max(self._committed_ms, self._idled_ms) > _QUIET_MS
        if self._is_idle:
            self._idled_ms = now_ms
            self._work.set()

    # --- proof of death -----------------------------------------------------------------------------------------------

    def _watch_process(self, hello: Hello, connection: Connection | None) -> None:
        """A session's control channel says whose exit would be proof; without proof the lease decides."""
        if connection is not None and connection.session and connection.channel is Channel.CONTROL:
            self._exits.watch(connection.session, connection.peer, hello.process)

    def _process_exited(self, session: int) -> None:
        """The kernel reports the exit of a session's process: what it sent before is taken in first."""
        for router in self._routers:
            self._drain(router)
        if self._has_fault:
            return
        try:
            self._core.end_session(session, ChangeReason.DIED, self._clock.instant(self._lateness.waited_ms))
        except Exception:
            self._stop_deciding()
            return
        self._settle()

    # --- the store ----------------------------------------------------------------------------------------------------

    async def _commit_forever(self) -> None:
        while True:
            if self._has_fault:
                await self._start_again(ErrorCode.INTERNAL_ERROR, "the broker met a defect of its own")
            if not await self._commit_one():
                self._work.clear()
                self._quiet.set()
                if self._is_idle:
                    self._is_idle = False
                    await self._store.idle()
                if not (self._core.has_batch or self._has_fault):
                    await self._work.wait()

    async def _commit_one(self) -> bool:
        """Store one batch, then send its replies, then publish its events. False if there was none."""
        batch = self._core.take_batch()
        if batch is None:
            return False
        began_ns = time_ns()
        began_s = monotonic()
        try:
            await self._store.commit(batch)
        except StoreRefusedError as refused:
            self._core.measurements.commits_refused += 1
            # The registry should have seen what breaks an index of the store: that is a defect, and worth an alarm.
            tell = self._log.critical if isinstance(refused, StoreInvariantError) else self._log.error
            tell("commit.refused", reason=str(refused), events=len(batch.events))
            refused_s = monotonic()
            await self._start_again(ErrorCode.STORAGE_UNAVAILABLE, f"the store refused the change ({refused})")
            loading_ms = (monotonic() - refused_s) * 1_000
            if self._was_refused:
                await asyncio.sleep(max(_REFUSED_PAUSE_MS, _REFUSED_PAUSE_LOADS * loading_ms) / 1_000)
            self._was_refused = True
            return True
        self._was_refused = False
        committed_s = monotonic()
        self._core.measurements.stored(len(batch.events), committed_s - began_s)
        self._committed_ms = committed_s * 1_000
        release = self._core.committed(self._clock.instant().unix_ms)
        if self._traces is not None:
            self._traces.committed(release, began_ns)
        self._send(release.outgoing)
        for body in release.published:
            self._publisher.publish(body)
        self._take_note(release)
        return True

    def _take_note(self, release: Release) -> None:
        for event in release.events:
            if isinstance(event, SessionClosedEvent):
                self._exits.forget(event.session)
        self._role_log.tell(release.events)

    async def _start_again(self, code: ErrorCode, why: str) -> None:
        """Drop what was decided and not stored, and go on from what the store has."""
        stored = await self._store.load()
        self._core.start_again(stored, self._clock.instant(), code, why)
        self._exits.forget_others(self._core.registry.state.sessions)
        self._has_fault = False
        self._settle()
        for router in self._routers:
            self._loop.call_soon(self._drain, router)

    def _stop_deciding(self) -> None:
        """A defect showed while deciding: the memory may be half changed, so nothing more is decided from it."""
        self._log.critical("decision.failed", exc_info=True)
        self._has_fault = True
        self._work.set()

    async def _tell_progress_forever(self) -> None:
        while True:
            self._publisher.publish(self._core.progress())
            await asyncio.sleep(PROGRESS_INTERVAL_MS / 1_000)

    async def _settled(self) -> None:
        """Wait until every decision is stored and answered."""
        while self._core.has_work:
            self._quiet.clear()
            self._work.set()
            await self._quiet.wait()
