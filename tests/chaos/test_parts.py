"""The parts that chaos is made of: the ledger's check finds what is wrong, and the faults are the faults they claim."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic_ns

import pytest

from tenure.contract.events import AnyEvent, RoleChangedEvent
from tenure.contract.vocabulary import ChangeReason, ServiceRole
from tests.chaos.faults import NoSmallDiskError, block, fill, hold_interpreter, small_disk
from tests.chaos.ledger import Kind, Ledger, Line, check
from tests.chaos.processes import ROOT
from tests.chaos.proxy import Proxy, open_proxy
from tests.integration.brokers import until

PATIENCE_S = 30.0
MS = 1_000_000


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """An empty one."""
    kept = Ledger(tmp_path / "ledger")
    yield kept
    kept.close()


def passed(epoch: int, at_ms: int, instance_id: str, deadline_ms: int = 0) -> Line:
    """Somebody was let pass at a time."""
    return Line(Kind.PASSED, epoch, at_ms * MS, at_ms * MS + 1, deadline_ms * MS, instance_id)


def write(ledger: Ledger, *lines: Line) -> None:
    """What workers do."""
    with ledger.path.open("ab") as file:
        file.writelines(line.encode() for line in lines)
    ledger.read()


def tenures(*ended: ChangeReason) -> list[AnyEvent]:
    """Events of one tenure after the other, of `a`, `b` and so on with epochs 1, 3, 5, …; each ended for a reason."""
    events: list[AnyEvent] = []
    for index, reason in enumerate(ended):
        name, epoch = "abc"[index], 2 * index + 1
        events.append(_role_changed(epoch, epoch, name, ServiceRole.STANDBY, ServiceRole.ACTIVE, ChangeReason.FAILOVER))
        events.append(_role_changed(epoch + 1, epoch, name, ServiceRole.ACTIVE, ServiceRole.STANDBY, reason))
    return events


def _role_changed(
    revision: int, epoch: int, name: str, old: ServiceRole, new: ServiceRole, reason: ChangeReason
) -> RoleChangedEvent:
    return RoleChangedEvent(
        revision=revision,
        at_ms=0,
        registration_id=1,
        resource_id="r",
        service_name="s",
        instance_id=name,
        old_role=old,
        new_role=new,
        epoch=epoch,
        reason=reason,
    )


# --- the ledger -------------------------------------------------------------------------------------------------------


def test_one_after_the_other_is_sound(ledger: Ledger) -> None:
    """Epochs that follow one another, each after the deadline of the one before, are no fault."""
    write(ledger, passed(1, 10, "a", 100), passed(1, 20, "a", 110), passed(3, 110, "b", 200), passed(5, 200, "c", 300))
    assert check(ledger, tenures(*[ChangeReason.EXPIRED] * 3)) == []
    assert ledger.gaps_ms() == [pytest.approx(90, abs=1), pytest.approx(90, abs=1)]


def test_a_line_that_was_only_written_late_is_fenced_and_no_fault(ledger: Ledger) -> None:
    """A process that was stopped between `ensure_active()` and its write: the epoch is what that is for."""
    write(ledger, passed(1, 10, "a"), passed(3, 30, "b"), passed(1, 20, "a"))
    assert (check(ledger, tenures(*[ChangeReason.RESIGNED] * 2)), ledger.fenced) == ([], 1)


def test_a_process_stopped_before_it_asked_is_no_fault(ledger: Ledger) -> None:
    """The readings around a call may lie far apart; somewhere between them it was active."""
    write(ledger, Line(Kind.PASSED, 1, 10 * MS, 90 * MS, 0, "a"), passed(3, 50, "b"))
    assert check(ledger, tenures(*[ChangeReason.RESIGNED] * 2)) == []


def test_an_older_epoch_believed_in_after_a_newer_one_is_a_fault(ledger: Ledger) -> None:
    """★ Two at once are found, also when a third came in between."""
    write(ledger, passed(1, 10, "a"), passed(3, 20, "b"), passed(5, 30, "c"), passed(1, 31, "a"))
    faults = check(ledger, tenures(*[ChangeReason.RESIGNED] * 3))
    assert ["epoch 1 (a) was believed in" in fault for fault in faults] == [True, True]


def test_a_successor_before_the_deadline_is_a_fault_only_after_silence(ledger: Ledger) -> None:
    """★ Who waits for a lease has to wait to its end; who has proof, or a word, has not."""
    write(ledger, passed(1, 10, "a", 100), passed(3, 99, "b"))
    assert check(ledger, tenures(ChangeReason.DIED, ChangeReason.DIED)) == []
    (fault,) = check(ledger, tenures(ChangeReason.EXPIRED, ChangeReason.DIED))
    assert "before the end of epoch 1" in fault


def test_epochs_that_nobody_gave_and_events_with_gaps_are_faults(ledger: Ledger) -> None:
    """What was written and what the broker told have to fit together."""
    write(ledger, passed(1, 10, "b"), passed(1, 11, "a"), passed(9, 20, "c"))
    faults = check(ledger, tenures(ChangeReason.DIED)[1:])
    assert len(faults) == 4, faults


# --- faults -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fault", "stops_others"), [(hold_interpreter, True), (block, False)])
def test_a_held_interpreter_stops_other_threads_and_a_blocked_loop_does_not(
    fault: Callable[[int], None], stops_others: bool
) -> None:
    """★ What is called a hog really holds the lock: no other thread runs Python meanwhile."""
    for_ms, ran_at_ns, ending = 300, [0], threading.Event()

    def run() -> None:
        while not ending.wait(0.001):
            ran_at_ns.append(monotonic_ns())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        began_ns = monotonic_ns()
        fault(for_ms)
        ended_ns = monotonic_ns()
    finally:
        ending.set()
        thread.join()
    assert ended_ns - began_ns >= for_ms * MS
    # The lock may change hands right before the call and right after it.
    margin_ns = for_ms * MS // 10
    assert (
        any(began_ns + margin_ns < at_ns < began_ns + (for_ms * MS) - margin_ns for at_ns in ran_at_ns)
        is not stops_others
    )


def test_a_full_disk_takes_not_a_byte_more(tmp_path: Path) -> None:
    """A write fails until the filler is gone, and then succeeds."""
    try:
        with small_disk(tmp_path / "disk", 1 << 20) as disk:
            filler = fill(disk)
            with pytest.raises(OSError, match="No space left"):
                (disk / "more").write_bytes(b"x")
            filler.unlink()
            (disk / "more").write_bytes(b"x")
    except NoSmallDiskError as reason:
        pytest.skip(str(reason))
    assert list((tmp_path / "disk").iterdir()) == []


def test_a_tethered_process_dies_with_its_parent_also_while_it_is_stopped() -> None:
    """Nothing that a failed run leaves behind is still there afterwards."""
    parent = subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    with parent:
        assert parent.stdout is not None
        pidfd = os.pidfd_open(int(parent.stdout.readline()))
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGSTOP)
            parent.kill()
            assert select.select([pidfd], [], [], PATIENCE_S)[0] == [pidfd]
        finally:
            os.close(pidfd)


_PARENT = """
import subprocess, sys
command = [sys.executable, "-m", "tests.chaos.tethered", "tests.chaos.test_parts"]
child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
print(child.stdout.readline().strip(), flush=True)
child.wait()
"""

if __name__ == "__main__":  # what is tethered in the test above
    print(os.getpid(), flush=True)
    sys.stdin.read()


# --- the link ---------------------------------------------------------------------------------------------------------


class Echo:
    """A server behind a proxy that sends everything back, and a connection to it through the proxy."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def connect(self) -> None:
        """Make a connection, in place of the one there may be."""
        if hasattr(self, "writer"):
            self.writer.transport.abort()
        host, _, port = self.proxy.endpoint.removeprefix("tcp://").partition(":")
        self.reader, self.writer = await asyncio.open_connection(host, int(port))

    async def hear(self, expected: bytes) -> None:
        """Wait for these bytes, and no others."""
        async with asyncio.timeout(PATIENCE_S):
            assert await self.reader.readexactly(len(expected)) == expected


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    """A proxy, a server that sends everything back behind it, and a connection."""

    async def send_back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1_000):
            writer.write(data)
        writer.transport.abort()

    server = await asyncio.start_server(send_back, "127.0.0.1", 0)
    target = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with TemporaryDirectory() as directory:
        async with open_proxy(target, Path(directory)) as proxy:
            one = Echo(proxy)
            await one.connect()
            yield one
            one.writer.transport.abort()
    server.close()
    server.close_clients()
    await server.wait_closed()


async def test_a_link_passes_on_what_it_delays_and_holds(echo: Echo) -> None:
    """Nothing is lost and the order is kept; what is held comes once it is healed."""
    echo.proxy.to_broker.delay_ms = 20
    began_ns = monotonic_ns()
    echo.writer.write(b"one")
    await echo.hear(b"one")
    assert monotonic_ns() - began_ns >= 20 * MS
    echo.proxy.from_broker.hold()
    echo.writer.write(b"two")
    echo.writer.write(b"three")
    passed_bytes = echo.proxy.from_broker.passed_bytes
    await until(lambda: echo.proxy.to_broker.passed_bytes == 11, "everything has reached the server")
    assert echo.proxy.from_broker.passed_bytes == passed_bytes
    echo.proxy.heal()
    await echo.hear(b"twothree")


async def test_a_link_that_lost_bytes_is_cut_when_it_is_healed(echo: Echo) -> None:
    """Half a stream is never passed on for a whole one; a new connection works."""
    echo.proxy.to_broker.drop()
    echo.writer.write(b"lost")
    await until(lambda: echo.proxy.to_broker.lost_bytes == 4, "the bytes are lost")
    echo.proxy.heal()
    echo.writer.write(b"late")
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await echo.reader.readexactly(1)
    await echo.connect()
    echo.writer.write(b"new")
    await echo.hear(b"new")


async def test_a_cut_link_takes_new_connections(echo: Echo) -> None:
    """Every connection ends, and the next one is served."""
    echo.writer.write(b"one")
    await echo.hear(b"one")
    echo.proxy.cut()
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await echo.reader.readexactly(1)
    await echo.connect()
    echo.writer.write(b"two")
    await echo.hear(b"two")
