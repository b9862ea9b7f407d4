"""Where a scenario plays: a broker, workers that write to one ledger, links that can go bad, and a listener.

`conclude` heals everything, waits until exactly one instance is active and at work, and then checks what has to hold
whatever happened: the ledger, the stream, and the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Final, Self

from tenure.contract.errors import NotFoundError
from tenure.contract.events import AnyEvent
from tenure.contract.views import ResourceView
from tenure.contract.vocabulary import ChangeReason
from tenure.domain.beliefs import Beliefs
from tenure.domain.verification import verify
from tenure.sdk import EventListener, queries
from tenure.sdk.intervals import interval_logs, read_interval_log
from tenure.sdk.reader import Reader
from tenure.sdk.stream import StreamRestarted
from tenure.storage.history import read_history
from tests.chaos.ledger import Kind, Ledger, Stint, check, ends, now_ns
from tests.chaos.processes import PATIENCE_S, Broker, Child
from tests.chaos.proxy import Proxy, open_proxy
from tests.chaos.worker import INTERVALS, RESOURCE

LEASE_MS: Final = 1_000
"""Short, so that a scenario is; a machine that takes a role away by itself makes one failover more, and no fault."""
LONG_LEASE_MS: Final = 3_000
"""For scenarios in which the role is not to be lost, so that only a machine that stands still this long takes it."""
_LOOK_AGAIN_S: Final = 0.004
_LINES_AT_WORK: Final = 5
_TAIL_LINES: Final = 12


class SkippedError(Exception):
    """This machine cannot play a scenario; the message says why."""


class Stage:
    """One scenario's surroundings, used as a block."""

    def __init__(self, directory: Path, random: Random, storm_ms: int) -> None:
        self.directory = directory
        self.random = random
        self.storm_ms = storm_ms
        """How long chance reigns in a scenario that is left to it."""
        self.counts: Counter[str] = Counter()
        self.notes: list[str] = []
        """What was measured, for people."""
        self.faults: list[str] = []
        self.ledger = Ledger(directory / "ledger")
        self.broker = Broker(directory, self.counts)
        self.children: list[Child] = [self.broker]
        self.proxies: list[Proxy] = []
        self.events: list[AnyEvent] = []
        self._stack = AsyncExitStack()
        self._last = ExitStack()
        self._reader: Reader | None = None
        self._listening: asyncio.Task[None] | None = None
        self._workers: dict[str, Child] = {}
        (directory / INTERVALS).mkdir()

    async def __aenter__(self) -> Self:
        """Nothing runs yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything, whatever state it is in."""
        await self._stack.aclose()
        await asyncio.gather(*(child.end() for child in self.children))
        self._last.close()
        self.ledger.close()

    # --- setting up ---------------------------------------------------------------------------------------------------

    async def open(self, workers: int = 0, lease_ms: int = LEASE_MS, *options: str) -> None:
        """Start the broker, a listener and so many local workers, and wait until one is at work and the others fit."""
        await self.broker.serve()
        self._reader = await self._stack.enter_async_context(
            Reader(self.broker.ipc, self.broker.tcp, timeout_ms=PATIENCE_S * 1_000)
        )
        listener = await self._stack.enter_async_context(EventListener(self.broker.ipc, since=0))
        self._listening = asyncio.create_task(self._listen(listener))
        self._stack.push_async_callback(self._end_listening)
        if workers:
            await asyncio.gather(*(self.add_worker(None, lease_ms, *options) for _ in range(workers)))
            await self.at_work()
            await self.standing_by(workers - 1)

    async def add_worker(self, link: Proxy | None = None, lease_ms: int = LEASE_MS, *options: str) -> Child:
        """Start a worker, on this machine's ipc or over a link."""
        name = f"worker{len(self._workers)}"
        worker = self._workers[name] = self.child(name)
        endpoint = self.broker.ipc if link is None else link.endpoint
        await worker.start("tests.chaos.worker", endpoint, name, str(self.ledger.path), str(lease_ms), *options)
        return worker

    def child(self, name: str) -> Child:
        """A process of another kind, which ends with the stage."""
        child = Child(name, self.directory / f"{name}.log", self.counts)
        self.children.append(child)
        return child

    async def link(self, target: str | None = None) -> Proxy:
        """A link to the broker, over tcp unless another of its endpoints is named."""
        opened = open_proxy(target or self.broker.tcp, self.directory, f"p{len(self.proxies)}")
        proxy = await self._stack.enter_async_context(opened)
        self.proxies.append(proxy)
        return proxy

    def use[T](self, resource: AbstractContextManager[T]) -> T:
        """Enter a context that ends with the stage, after all processes."""
        return self._last.enter_context(resource)

    def worker_of(self, stint: Stint) -> Child:
        """The process that a stint is of."""
        return self._workers[stint.instance_id]

    @property
    def workers(self) -> list[Child]:
        """Those that run, stopped or not."""
        return [worker for worker in self._workers.values() if worker.is_running]

    @property
    def reader(self) -> Reader:
        """A connection that asks; the stage has to be open."""
        assert self._reader is not None, "the stage is not open"
        return self._reader

    # --- conditions ---------------------------------------------------------------------------------------------------

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something to come about; a process that ends by itself fails the scenario at once."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    self.look()
                    if condition():
                        return
                    await asyncio.sleep(_LOOK_AGAIN_S)  # files and processes tell nobody
        except TimeoutError:
            raise AssertionError(f"waited {PATIENCE_S:.0f} s in vain: {what}; {self._tail()}") from None

    async def watch(self, for_ms: float) -> None:
        """Let everything go on for so long, and look at it all the while."""
        until_ns = now_ns() + int(for_ms * 1e6)
        await self.until(lambda: now_ns() >= until_ns, "time passes")

    def look(self) -> None:
        """Take in what the ledger has, and see that nobody ended by himself."""
        self.ledger.read()
        for child in self.children:
            has_ended = not child.is_running and not child.is_expected_to_end
            if has_ended and child._process is not None:  # pyright: ignore[reportPrivateUsage]
                raise AssertionError(f"{child.name} ended by itself ({child.process.returncode}); log:\n{child.tail}")
        if self._listening is not None and self._listening.done():
            raise AssertionError(f"the listener ended: {self.faults}") from self._listening.exception()

    async def at_work(self, *, after_ns: int | None = None) -> Stint:
        """Wait until somebody has been at work for some lines, all of them after a moment (by default: now)."""
        start_ns = now_ns() if after_ns is None else after_ns

        def lines() -> int:
            newest = self.ledger.newest
            recent = self.ledger.lines[-_LINES_AT_WORK:]
            return sum(
                newest is not None and line.epoch == newest.epoch and line.before_ns > start_ns for line in recent
            )

        await self.until(lambda: lines() == _LINES_AT_WORK, "somebody is at work")
        assert self.ledger.newest is not None
        return self.ledger.newest

    async def taken_over(self, epoch: int) -> Stint:
        """Wait until somebody has written under a greater epoch; that stint."""
        await self.until(lambda: self.ledger.after(epoch) is not None, f"somebody takes over from epoch {epoch}")
        stint = self.ledger.after(epoch)
        assert stint is not None
        return stint

    async def standing_by(self, standbys: int) -> ResourceView:
        """Wait until somebody is active and so many others may be promoted."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                self.look()
                with contextlib.suppress(NotFoundError):
                    view = await queries.resource(self.reader, RESOURCE)
                    fit = [standby for standby in view.standbys if standby.status.may_be_promoted]
                    if view.active is not None and len(fit) == standbys:
                        return view
                await asyncio.sleep(_LOOK_AGAIN_S)  # what a broker thinks of a status is no event

    async def why_ended(self, epoch: int) -> ChangeReason:
        """Why the tenure with an epoch ended, once the listener has heard of it."""
        await self.until(lambda: epoch in ends(self.events), f"the end of epoch {epoch} is heard of")
        return ends(self.events)[epoch]

    def is_kept(self, stint: Stint) -> bool:
        """Whether a stint's tenure goes on."""
        self.look()
        return self.ledger.newest is not None and self.ledger.newest.epoch == stint.epoch

    def check(self, holds: bool, fault: str) -> None:
        """Note a fault unless it holds."""
        if not holds:
            self.faults.append(fault)

    def check_silence(self, stint: Stint, since_ns: int) -> None:
        """`ensure_active()` has let nobody pass under an epoch from a moment on."""
        late = [
            line
            for line in self.ledger.lines
            if line.epoch == stint.epoch and line.kind is Kind.PASSED and line.before_ns > since_ns
        ]
        self.check(
            not late, f"{stint.instance_id} passed under epoch {stint.epoch} when it could not be active: {late[:1]}"
        )

    # --- the end ------------------------------------------------------------------------------------------------------

    async def conclude(self) -> None:
        """Heal everything, see that one is at work, and check what has to hold; `faults` says what did not."""
        for proxy in self.proxies:
            proxy.heal()
        for child in self.children:
            if child.is_running and child.is_stopped:
                child.go_on()
        if not self.broker.is_running:
            await self.broker.serve()
        if self._workers:
            await self._check_one_at_work()
        _, newest = await queries.events(self.reader, 0)
        await self.until(lambda: self.events[-1:] != [] and self.events[-1].revision >= newest, "all events are heard")
        for worker in self.workers:
            await worker.end()
        self.ledger.read()  # and then all events, which have every epoch that is in it
        self.events = await self._all_events()
        self.faults += check(self.ledger, self.events)
        await self._end_listening()
        code = await self.broker.terminate()
        self.check(code == 0, f"the broker ended with exit code {code}; its log:\n{self.broker.tail}")
        self._check_file()

    async def _check_one_at_work(self) -> None:
        """The registry's active is the one who writes. The role may move at this very moment: then look again."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                before = await self.at_work()
                with contextlib.suppress(NotFoundError):
                    active = (await queries.resource(self.reader, RESOURCE)).active
                    after = await self.at_work()
                    if active is not None and (active.epoch, active.instance_id) == before[:2] == after[:2]:
                        return

    async def _listen(self, listener: EventListener) -> None:
        async for event in listener:
            if isinstance(event, StreamRestarted):
                self.faults.append(f"the listener was told that events are missing: {event}")
                return
            self.events.append(event)

    async def _end_listening(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
            self._listening = None

    async def _all_events(self) -> list[AnyEvent]:
        """What the listener heard, and what has come since from the store, with the same check for gaps."""
        heard = list(self.events)
        newest = len(heard) + 1
        while len(heard) < newest:
            page, newest = await queries.events(self.reader, len(heard))
            heard.extend(page)
            if not page:
                break
        return heard

    def _check_file(self) -> None:
        path = self.broker.data / "tenure.db"
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            integrity = database.execute("PRAGMA integrity_check").fetchall()
            self.check(integrity == [("ok",)], f"integrity_check says {integrity}")
            first, last, count = database.execute(
                "SELECT min(revision), max(revision), count(*) FROM events"
            ).fetchone()
            self.check((first, last) == (1, count), f"the file has {count} events, from {first} to {last}")
            self.check(count >= len(self.events), f"the file has {count} events, and {len(self.events)} were told")
        beliefs = Beliefs()
        for log in interval_logs(self.directory / INTERVALS) if self._workers else ():
            beliefs.read(str(log), read_interval_log(log))
        with read_history(self.broker.data) as history:
            report = verify(history, beliefs)
        self.check(report.intervals > 0 or not self._workers, "no worker wrote down when it believed to be active")
        for verdict in report.verdicts:
            self.faults += [f"{verdict.guarantee.value}: {finding}" for finding in verdict.findings]
        self.check(not report.is_broken, "the file's own history breaks a guarantee")

    def _tail(self) -> str:
        lines = "\n".join(map(str, self.ledger.lines[-_TAIL_LINES:]))
        logs = "\n".join(f"--- {child.name}:\n{child.tail}" for child in self.children if child.tail)
        return f"the ledger ends with:\n{lines}\n{logs}"
