"""`kill -9` of the broker under the load of 64 clients, again and again: nothing acknowledged is lost.

`python -m tests.integration.kill_broker --rounds 20`; the exit code is 0 only if everything held. After each restart
every acknowledged registration is there under its epoch and what was acknowledged to be gone is gone; no revision and
no epoch is less than one that was acknowledged; no client lost a role, since the broker is never away for what is left
of a lease. In the end a listener has had every event once and in order, and the file is whole.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from tenure.contract.codec import decode_event
from tenure.contract.events import RegisteredEvent, RoleChangedEvent
from tenure.contract.limits import heartbeat_interval_ms
from tenure.contract.views import ServiceInstance
from tenure.contract.vocabulary import ServiceRole
from tenure.sdk import EventListener, ServiceClient, Tenure, queries
from tenure.sdk.reader import Reader
from tenure.sdk.stream import StreamRestarted

CLIENTS = 64
LOAD_PROCESSES = 2
LEASE_MS = 10_000
PATIENCE_S = 60.0
FAULTS_SHOWN = 50
HOLDER_SHARE = 0.5
"""How much of its lease the holder has left at each kill: enough for a broker to start on a busy machine."""
LINES_PER_ROUND = 200
"""What has to be acknowledged between two kills, so that each meets a broker at work."""


class Acknowledged(NamedTuple):
    """A registration as its client was told it."""

    registration_id: int
    epoch: int


class LoadProcess:
    """One process full of clients, and what they were told so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.kept: dict[str, Acknowledged] = {}
        self.ended: set[int] = set()
        self.lost: list[str] = []
        self.told = 0
        self._process = process
        self._reading = asyncio.create_task(self._read())
        self._news = asyncio.Condition()
        self._done = 0
        self._has_ended = False

    async def _read(self) -> None:
        """Take note of all it says."""
        assert self._process.stdout is not None
        async for raw in self._process.stdout:
            kind, *words = raw.decode().split()
            if kind == "kept":
                self.kept[words[0]] = Acknowledged(int(words[1]), int(words[2]))
            elif kind == "ended":
                self.ended.add(int(words[1]))
            elif kind == "lost":
                self.lost.append(" ".join(words))
            async with self._news:
                self.told += 1
                self._done += kind == "done"
                self._news.notify_all()
        async with self._news:
            self._has_ended = True
            self._news.notify_all()

    async def more(self, lines: int) -> None:
        """Wait until it has said so much more."""
        goal = self.told + lines
        await self._until(lambda: self.told >= goal)

    async def ask(self, command: str) -> None:
        """Give it a command and wait until it is done."""
        assert self._process.stdin is not None
        goal = self._done + 1
        self._process.stdin.write(f"{command}\n".encode())
        await self._until(lambda: self._done >= goal)

    async def end(self) -> int:
        """Let it come to its end; its exit code. Safe to repeat."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        async with asyncio.timeout(PATIENCE_S):
            await self._reading
            return await self._process.wait()

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S), self._news:
            await self._news.wait_for(lambda: condition() or self._has_ended)
            assert condition(), "a load process ended by itself; its error is above"


class Faults(list[str]):
    """What did not hold."""

    def check(self, holds: bool, fault: str) -> None:
        """Note a fault unless it holds."""
        if not holds:
            self.append(fault)


class KillBroker:
    """One run: a broker, its load, a holder who watches its own role, and a listener."""

    def __init__(self, directory: Path) -> None:
        self.faults = Faults()
        self.endpoint = f"ipc://{directory}/b"
        self._directory = directory
        self._broker: asyncio.subprocess.Process
        self._loads: list[LoadProcess] = []
        self._revisions: list[int] = []
        self._revision = 0
        """The greatest revision that anybody was told."""
        self._heard = asyncio.Condition()
        self._stack = AsyncExitStack()

    async def run(self, rounds: int) -> None:
        """Kill it so many times; `faults` says what did not hold."""
        async with self._stack as stack:
            await self._start_broker()
            stack.push_async_callback(self._end_broker)
            reader = await stack.enter_async_context(Reader(self.endpoint, timeout_ms=PATIENCE_S * 1_000))
            listener = await stack.enter_async_context(EventListener(self.endpoint, since=0))
            client = ServiceClient(self.endpoint, lease_ms=LEASE_MS, timeout_ms=PATIENCE_S * 1_000)
            await stack.enter_async_context(client)
            holder = await client.register("holder", instance_id="h", resource_id="held", role=ServiceRole.ACTIVE)
            tenure = await holder.wait_active()
            # It ends if the role is lost, if only for a moment.
            losing = asyncio.create_task(tenure.wait_ending(0))
            listening = asyncio.create_task(self._listen(listener))
            stack.push_async_callback(_cancel, losing, listening)
            self._loads = [await self._start_load(number) for number in range(LOAD_PROCESSES)]
            for number in range(1, rounds + 1):
                await self._one_round(number, reader, tenure)
                self.faults.check(not losing.done() and tenure.is_active, f"round {number}: the holder lost its role")
            for load in self._loads:
                self.faults.check(await load.end() == 0, "a load process failed; its error is above")
            await self._let_the_listener_come_to_the_end(reader, listening)
        self._check_file()

    # --- a round ------------------------------------------------------------------------------------------------------

    async def _one_round(self, number: int, reader: Reader, tenure: Tenure) -> None:
        faults_before = len(self.faults)
        await asyncio.gather(*(load.ask("steady") for load in self._loads))
        await asyncio.gather(*(load.more(LINES_PER_ROUND) for load in self._loads))
        async with asyncio.timeout(PATIENCE_S):
            while tenure.is_active and tenure.remaining_ms < LEASE_MS * HOLDER_SHARE:
                # A renewal tells nobody: look again a few times for each heartbeat.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(heartbeat_interval_ms(LEASE_MS) / 1_000 / 8):
                        await tenure.registration.wait_changed()
        left_ms, killed_at = tenure.remaining_ms, monotonic()
        self._broker.kill()
        await self._broker.wait()
        kept = {name: told for load in self._loads for name, told in load.kept.items()}
        ended = {registration_id for load in self._loads for registration_id in load.ended}
        self._revision = max(self._revision, *ended, *(told.epoch for told in kept.values()))
        await self._start_broker()
        away_ms = (monotonic() - killed_at) * 1_000
        self.faults.check(away_ms < left_ms, f"round {number}: inconclusive, the broker was away for {away_ms:.0f} ms")
        found = {instance.instance_id: instance for instance in await queries.services(reader)}
        # A broker whose history is shorter than what was acknowledged would refuse to read on from there.
        _, newest = await queries.events(reader, self._revision)
        self.faults.check(newest >= self._revision, f"round {number}: revision {newest} after {self._revision}")
        self._check_registry(number, kept, ended, found)
        held = found.get("h")
        self.faults.check(held is not None and held.epoch == tenure.epoch, f"round {number}: the holder is {held}")
        await asyncio.gather(*(load.ask("check") for load in self._loads))
        for load in self._loads:
            self.faults.extend(f"round {number}: a client lost the role {what}" for what in load.lost)
            load.lost.clear()
        verdict = "held" if len(self.faults) == faults_before else "BROKEN"
        print(
            f"round {number:2}: away {away_ms:5.0f} ms of {left_ms:5.0f} ms left; {len(kept):5} kept, "
            f"{len(ended):6} ended, revision {self._revision:7}: {verdict}",
            flush=True,
        )

    def _check_registry(
        self, number: int, kept: dict[str, Acknowledged], ended: set[int], found: dict[str, ServiceInstance]
    ) -> None:
        for name, told in kept.items():
            instance = found.get(name)
            is_same = (
                instance is not None
                and Acknowledged(instance.registration_id, instance.epoch) == told
                and instance.role is ServiceRole.ACTIVE
            )
            self.faults.check(is_same, f"round {number}: {name} was told {told}, and there is {instance}")
        back = ended & {instance.registration_id for instance in found.values()}
        self.faults.check(not back, f"round {number}: registrations that had ended are back: {sorted(back)[:5]}")

    async def _listen(self, listener: EventListener) -> None:
        async for event in listener:
            if isinstance(event, StreamRestarted):
                self.faults.append(f"the listener was told that events are missing: {event}")
                return
            async with self._heard:
                self._revisions.append(event.revision)
                self._heard.notify_all()

    # --- the end ------------------------------------------------------------------------------------------------------

    async def _let_the_listener_come_to_the_end(self, reader: Reader, listening: asyncio.Task[None]) -> None:
        """Wait until the listener has had as much as there is, and check that it had each event once and in order."""
        _, newest = await queries.events(reader, self._revision)
        try:
            async with asyncio.timeout(PATIENCE_S), self._heard:
                await self._heard.wait_for(lambda: listening.done() or self._revisions[-1:] >= [newest])
        except TimeoutError:
            self.faults.append(f"the listener stopped at {self._revisions[-1:]} of {newest}")
        is_gapless = self._revisions == [*range(1, len(self._revisions) + 1)]
        self.faults.check(is_gapless, "the listener had events twice, not at all or out of order")

    def _check_file(self) -> None:
        """The file is whole, its events have no gap, and each acknowledged epoch is the revision that began it."""
        path = self._directory / "data" / "tenure.db"
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            integrity = database.execute("PRAGMA integrity_check").fetchall()
            self.faults.check(integrity == [("ok",)], f"integrity_check says {integrity}")
            rows = database.execute("SELECT revision, body FROM events ORDER BY revision").fetchall()
        events = {revision: decode_event(body) for revision, body in rows}
        self.faults.check([*events] == [*range(1, len(events) + 1)], "the stored events have gaps")
        for load in self._loads:
            for name, told in load.kept.items():
                event = events.get(told.epoch)
                is_its_own = isinstance(event, (RegisteredEvent, RoleChangedEvent)) and event.instance_id == name
                self.faults.check(is_its_own, f"{name} was told epoch {told.epoch}, which is {event}")
        print(f"the file: integrity_check {integrity[0][0]}, {len(events)} events without a gap", flush=True)

    # --- processes ----------------------------------------------------------------------------------------------------

    async def _start_broker(self) -> None:
        arguments = ["serve", "--data", str(self._directory / "data"), "--no-admin", "--log-format", "json"]
        arguments += ["--bind", self.endpoint, "--events-bind", f"ipc://{self._directory}/e"]
        with (self._directory / "log").open("ab") as log:
            self._broker = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tenure.cli", *arguments), stdout=asyncio.subprocess.PIPE, stderr=log
            )
        assert self._broker.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            if not await self._broker.stdout.readline():  # its first line says that it takes requests
                tail = (self._directory / "log").read_text()[-2_000:]
                raise AssertionError(f"the broker did not start; its log ends with:\n{tail}")

    async def _end_broker(self) -> None:
        if self._broker.returncode is None:
            self._broker.terminate()
            await self._broker.wait()

    async def _start_load(self, number: int) -> LoadProcess:
        arguments = [self.endpoint, f"load-{number}", str(CLIENTS // LOAD_PROCESSES), str(LEASE_MS)]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.integration.kill_broker_load", *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        load = LoadProcess(process)
        self._stack.push_async_callback(load.end)
        return load


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def kill_broker(rounds: int) -> Faults:
    """Kill a broker so many times in a directory of its own; what did not hold."""
    with tempfile.TemporaryDirectory(prefix="tenure-") as directory:
        run = KillBroker(Path(directory))
        await run.run(rounds)
        return run.faults


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.integration.kill_broker", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="how often the broker is killed (default: 20)")
    rounds: int = parser.parse_args().rounds
    faults = asyncio.run(kill_broker(rounds))
    for fault in faults[:FAULTS_SHOWN]:
        print(fault)
    print(f"{len(faults)} faults in {rounds} rounds" if faults else f"{rounds} rounds, and everything held")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
