"""`tenure demo`: a real broker, three real processes, real failures and planned moves, and a check of what they wrote.

Everything runs in a temporary directory over local sockets and ends with the command, also if that is interrupted: its
processes have process groups of their own, so that Ctrl-C reaches the command alone, which ends them. The three
instances write to one ledger while they are active; the demo kills the active one, moves the role as planned, and kills
the broker itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from time import monotonic_ns
from typing import Final

from rich.console import Console
from rich.table import Table

from tenure.cli.exits import FAILED, need_extra, run_async
from tenure.cli.ledger import Entry, Stint, faults, read_ledger, stints
from tenure.contract.errors import NotFoundError, TenureError
from tenure.contract.events import AnyEvent, RoleChangedEvent
from tenure.contract.views import ServiceInstance
from tenure.contract.vocabulary import ServiceRole
from tenure.sdk import EventListener, queries
from tenure.sdk.reader import Reader
from tenure.sdk.switchover import switchover

_RESOURCE: Final = "ledger"
_INSTANCES: Final = ("ann", "ben", "cat")
_PATIENCE_MS: Final = 10_000
_LOOK_AGAIN_MS: Final = 5
_WORK_MS: Final = 700  # how long an active may write before the next thing happens to it
_DRAIN_MS: Final = 1_000  # what an active may take to finish its work, and does not need
_END_MS: Final = 5_000  # what a process may take to end before it is killed: more than a broker with clients needs


def demo() -> None:
    """Kill an active process, move its role as planned, kill the broker, and check that only one was ever active: 10 s.

    Exit code 0 only if the check holds.
    """
    need_extra("broker", "aiosqlite", "uvloop")
    with tempfile.TemporaryDirectory(prefix="tenure-demo-") as directory:
        code = run_async(_Demo(Path(directory)).run())
    sys.exit(code)


class _Demo:
    """One run of it: processes, timeline and verdict."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._endpoint = f"ipc://{directory}/broker.ipc"
        self._ledger = directory / "ledger"
        self._console = Console(highlight=False, soft_wrap=True)
        self._started_ns = monotonic_ns()
        self._broker: asyncio.subprocess.Process | None = None
        self._workers: dict[str, asyncio.subprocess.Process] = {}
        self._measured: list[tuple[str, str, float]] = []
        self._ended_by: signal.Signals | None = None

    async def run(self) -> int:
        """Everything in order, or up to a signal that ends it; the exit code."""
        work = asyncio.create_task(self._perform())
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._end, number, work)
        try:
            return 0 if await work else FAILED
        except asyncio.CancelledError:
            if self._ended_by is None:
                raise
            return 128 + self._ended_by

    def _end(self, number: signal.Signals, work: asyncio.Task[bool]) -> None:
        if self._ended_by is None:  # a second one must not interrupt the ending
            self._ended_by = number
            work.cancel()

    async def _perform(self) -> bool:
        """Everything in order; whether the ledger is sound."""
        self._ledger.touch()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._end_all)
            self._say("start", f"a broker and the instances {', '.join(_INSTANCES)}, in {self._directory}")
            await self._start_broker()
            reader = await stack.enter_async_context(Reader(self._endpoint, timeout_ms=_PATIENCE_MS))
            listener = await stack.enter_async_context(EventListener(self._endpoint, resource_id=_RESOURCE, since=0))
            telling = asyncio.create_task(self._tell(listener))
            stack.callback(telling.cancel)
            for instance_id in _INSTANCES:
                await self._start_worker(instance_id)
            await self._standing_by(reader, len(_INSTANCES) - 1)
            await self._kill_active(reader)
            await self._resign(reader)
            await self._switch_over(reader)
            await self._kill_broker(reader)
            await self._kill_active(reader)
            await asyncio.sleep(_WORK_MS / 1_000)
            entries = read_ledger(self._ledger)  # before the events, which then have all that is in it
            events = await _all_events(reader)
        self._show_times()
        return self._check(entries, events)

    # --- what happens -------------------------------------------------------------------------------------------------

    async def _kill_active(self, reader: Reader) -> None:
        await asyncio.sleep(_WORK_MS / 1_000)
        active = await self._active(reader)
        worker = self._workers.pop(active.instance_id)
        self._say("kill -9", f"{active.instance_id}, which is active with epoch {active.epoch}")
        killed_ns = monotonic_ns()
        worker.send_signal(signal.SIGKILL)
        await worker.wait()
        stint = await self._taken_over(active.epoch)
        self._measured.append(("kill -9 of the active", stint.instance_id, (stint.first_ns - killed_ns) / 1e6))
        await self._start_worker(active.instance_id)
        await self._standing_by(reader, len(_INSTANCES) - 1)

    async def _resign(self, reader: Reader) -> None:
        await asyncio.sleep(_WORK_MS / 1_000)
        active = await self._active(reader)
        self._say("resign", f"{active.instance_id} is asked to step down from epoch {active.epoch}")
        asked_ns = monotonic_ns()
        await switchover(reader, _RESOURCE, epoch=active.epoch, even_if_vacant=True)
        stint = await self._taken_over(active.epoch)
        self._measured.append(("a clean resignation", stint.instance_id, (stint.first_ns - asked_ns) / 1e6))
        await self._standing_by(reader, len(_INSTANCES) - 1)

    async def _switch_over(self, reader: Reader) -> None:
        """Move the role to whoever is not next, and let the active finish what it has in hand."""
        await asyncio.sleep(_WORK_MS / 1_000)
        view = await queries.resource(reader, _RESOURCE)
        assert view.active is not None
        old, chosen = view.active, view.standbys[-1].instance_id
        self._say("switch", f"{old.instance_id} may finish its work within {_DRAIN_MS} ms; then to {chosen}")
        result = await switchover(reader, _RESOURCE, to=chosen, drain_ms=_DRAIN_MS, epoch=old.epoch)
        after = await self._taken_over(old.epoch)
        before = next(stint for stint in stints(read_ledger(self._ledger)) if stint.epoch == old.epoch)
        self._say("", f"nobody was active for {result.gap_ms} ms, as far as the broker can tell")
        gap_ms = (after.first_ns - before.last_ns) / 1e6
        self._measured.append(("a switchover, from the last line to the next", after.instance_id, gap_ms))
        await self._standing_by(reader, len(_INSTANCES) - 1)

    async def _kill_broker(self, reader: Reader) -> None:
        await asyncio.sleep(_WORK_MS / 1_000)
        active = await self._active(reader)
        assert self._broker is not None
        self._say("kill -9", f"the broker, while {active.instance_id} is active with epoch {active.epoch}")
        killed_ns = monotonic_ns()
        self._broker.send_signal(signal.SIGKILL)
        await self._broker.wait()
        await self._start_broker()
        again = await self._active(reader)
        away_ms = (monotonic_ns() - killed_ns) / 1e6
        kept = "kept its role" if again.epoch == active.epoch else f"lost it to {again.instance_id}"
        self._say("restart", f"the broker was away for {away_ms:.0f} ms; {active.instance_id} {kept}")
        self._measured.append(("the broker's restart", f"{active.instance_id} {kept}", away_ms))
        await self._standing_by(reader, len(_INSTANCES) - 1)

    # --- processes ----------------------------------------------------------------------------------------------------

    async def _start_broker(self) -> None:
        arguments = ["serve", "--data", str(self._directory / "data"), "--no-admin", "--log-format", "json"]
        arguments += ["--bind", self._endpoint, "--events-bind", f"ipc://{self._directory}/events.ipc"]
        with (self._directory / "broker.log").open("ab") as log:
            self._broker = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tenure.cli", *arguments),
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                process_group=0,
            )
        assert self._broker.stdout is not None
        if not await self._broker.stdout.readline():  # its first line says that it takes requests
            tail = (self._directory / "broker.log").read_text()[-2_000:]
            raise TenureError(f"the demo's broker did not start; its log ends with:\n{tail}")

    async def _start_worker(self, instance_id: str) -> None:
        self._workers[instance_id] = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tenure.cli.demo_worker", self._endpoint, instance_id, str(self._ledger)),
            process_group=0,
        )

    async def _end_all(self) -> None:
        await _ended(self._workers.values())  # while there is a broker to say goodbye to
        await _ended([] if self._broker is None else [self._broker])

    # --- conditions ---------------------------------------------------------------------------------------------------

    async def _active(self, reader: Reader) -> ServiceInstance:
        view = await queries.resource(reader, _RESOURCE)
        if view.active is None:
            raise TenureError("nobody is active although an instance stood by: this is a defect in Tenure")
        return view.active

    async def _standing_by(self, reader: Reader, standbys: int) -> None:
        """Wait until somebody is active and so many stand by, ready to be promoted."""

        async def is_so() -> bool:
            with contextlib.suppress(NotFoundError):
                view = await queries.resource(reader, _RESOURCE)
                fit = [standby for standby in view.standbys if standby.status.may_be_promoted]
                return view.active is not None and len(fit) == standbys
            return False

        await _until(is_so, f"{standbys} instances did not stand by in time")

    async def _taken_over(self, epoch: int) -> Stint:
        """Wait until somebody has written under a later epoch."""
        found: list[Stint] = []

        async def is_so() -> bool:
            found[:] = [stint for stint in stints(read_ledger(self._ledger)) if stint.epoch > epoch]
            return bool(found)

        await _until(is_so, f"nobody took over from epoch {epoch} in time")
        return found[0]

    # --- what is shown ------------------------------------------------------------------------------------------------

    async def _tell(self, listener: EventListener) -> None:
        async for event in listener:
            if isinstance(event, RoleChangedEvent):
                old, new = event.old_role or "new", event.new_role or "gone"
                epoch = f", epoch {event.epoch}" if event.epoch else ""
                style = "bold green" if event.new_role is ServiceRole.ACTIVE else "dim"
                self._say("", f"[{style}]{event.instance_id}: {old} → {new} ({event.reason}{epoch})[/]")

    def _say(self, what: str, detail: str) -> None:
        seconds = (monotonic_ns() - self._started_ns) / 1e9
        self._console.print(f"[dim]{seconds:7.3f} s[/]  [bold]{what:8}[/] {detail}")

    def _show_times(self) -> None:
        table = Table(title="How long until the next one was at work", title_justify="left", box=None, pad_edge=False)
        table.add_column("what happened")
        table.add_column("who was at work then")
        table.add_column("ms", justify="right")
        for what, who, took_ms in self._measured:
            table.add_row(what, who, f"{took_ms:.1f}")
        self._console.print()
        self._console.print(table)

    def _check(self, entries: list[Entry], events: tuple[AnyEvent, ...]) -> bool:
        found = faults(entries, events)
        self._console.print()
        for stint in stints(entries):
            length_ms = (stint.last_ns - stint.first_ns) / 1e6
            self._console.print(
                f"  epoch {stint.epoch:>4}  {stint.instance_id}  {stint.entries:>5} lines in {length_ms:.0f} ms"
            )
        if found:
            self._console.print("[bold red]The ledger is NOT sound:[/]")
            for fault in found:
                self._console.print(f"  {fault}")
            return False
        self._console.print(
            f"[bold green]The ledger is sound:[/] {len(entries)} lines, never two at once, every epoch greater than "
            f"the one before, and nothing that the broker had answered was lost ({len(events)} events without a gap)."
        )
        self._console.print("\nNext:  tenure serve        and in other terminals, twice:")
        self._console.print(
            "       tenure run --service hello -- sh -c 'echo active with epoch $TENURE_EPOCH; sleep 1000'"
        )
        self._console.print("       and see them at http://127.0.0.1:7480/")
        return True


async def _ended(processes: Iterable[asyncio.subprocess.Process]) -> None:
    running = [process for process in processes if process.returncode is None]
    for process in running:
        process.terminate()
    for process in running:
        try:
            async with asyncio.timeout(_END_MS / 1_000):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _until(is_so: Callable[[], Awaitable[bool]], otherwise: str) -> None:
    """Look until something is so, for a bounded time."""
    try:
        async with asyncio.timeout(_PATIENCE_MS / 1_000):
            while not await is_so():  # noqa: ASYNC110  (files and other processes send no events)
                await asyncio.sleep(_LOOK_AGAIN_MS / 1_000)
    except TimeoutError:
        raise TenureError(f"{otherwise} ({_PATIENCE_MS} ms)") from None


async def _all_events(reader: Reader) -> tuple[AnyEvent, ...]:
    events: list[AnyEvent] = []
    newest = 1
    while len(events) < newest:
        page, newest = await queries.events(reader, len(events))
        events.extend(page)
        if not page:
            break
    return tuple(events)
