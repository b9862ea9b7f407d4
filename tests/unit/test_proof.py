"""Proof of death: the kernel's word on the declared process and no other, observed on real processes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import structs

from tenure.broker.peers import NOBODY, Peer
from tenure.broker.proof import ExitWatch, open_proof, process_identity
from tenure.contract.messages import ProcessIdentity
from tenure.sdk.process import own_process

PATIENCE_S = 30.0


class Child:
    """A process that waits for its end."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, close_fds=True
        )
        self.identity = process_identity(self._process.pid)
        self.peer = Peer(uid=os.getuid(), pid=self._process.pid)

    def kill(self) -> None:
        """End it; it stays unreaped until `close`."""
        self._process.kill()

    def close(self) -> None:
        """End it and reap it. Safe to repeat."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()


@pytest.fixture
def child() -> Iterator[Child]:
    """A running process."""
    running = Child()
    yield running
    running.close()


class Exits:
    """A watch on the running loop, and what it reported."""

    def __init__(self) -> None:
        self.reported: list[int] = []
        self.came = asyncio.Event()
        self.watch = ExitWatch(asyncio.get_running_loop(), self._exited)

    def _exited(self, session: int) -> None:
        self.reported.append(session)
        self.came.set()

    async def wait(self) -> None:
        """Wait for a report."""
        await asyncio.wait_for(self.came.wait(), PATIENCE_S)


async def test_the_exit_of_the_declared_process_is_reported_once(child: Child) -> None:
    """The kernel tells of SIGKILL, also before anybody has reaped the process, and the watch ends with that."""
    exits = Exits()
    assert exits.watch.watch(7, child.peer, child.identity)
    assert len(exits.watch) == 1

    child.kill()
    await exits.wait()

    assert exits.reported == [7]
    assert len(exits.watch) == 0


async def test_a_process_that_goes_on_is_not_reported(child: Child) -> None:
    """Another process's exit says nothing about this one."""
    exits, other = Exits(), Child()
    assert exits.watch.watch(7, child.peer, child.identity)
    assert exits.watch.watch(8, other.peer, other.identity)

    other.close()
    await exits.wait()

    assert exits.reported == [8]
    exits.watch.forget_all()
    assert len(exits.watch) == 0


async def test_a_newer_connection_replaces_what_is_watched(child: Child) -> None:
    """Without proof of its own it leaves nothing watched: the session may be another process's work by now."""
    exits = Exits()
    assert exits.watch.watch(7, child.peer, child.identity)
    assert exits.watch.watch(7, child.peer, child.identity)
    assert len(exits.watch) == 1

    assert not exits.watch.watch(7, NOBODY, child.identity)

    assert len(exits.watch) == 0
    exits.watch.forget(7)


async def test_a_session_that_opted_out_is_not_watched(child: Child) -> None:
    """★ Its work is done by processes of its own: the exit of this one proves nothing."""
    exits = Exits()
    assert not exits.watch.watch(7, child.peer, None)
    assert len(exits.watch) == 0


def test_another_pid_than_the_kernels_is_no_proof(child: Child) -> None:
    """★ The peer declares a process that it is not, such as one behind a proxy."""
    assert open_proof(Peer(uid=0, pid=os.getpid()), child.identity) is None
    assert open_proof(NOBODY, child.identity) is None


def test_another_start_time_is_no_proof(child: Child) -> None:
    """★ The pid was used again: the process that has it now is not the one declared."""
    earlier = structs.replace(child.identity, start_ticks=child.identity.start_ticks - 1)
    assert open_proof(child.peer, earlier) is None


def test_another_pid_namespace_is_no_proof(child: Child) -> None:
    """★ In another namespace the same number is another process."""
    elsewhere = structs.replace(child.identity, pid_namespace=child.identity.pid_namespace + 1)
    assert open_proof(child.peer, elsewhere) is None


def test_a_process_that_is_gone_is_no_proof() -> None:
    """Nothing can be watched any more: the lease decides."""
    gone = Child()
    gone.close()
    assert open_proof(gone.peer, gone.identity) is None
    with pytest.raises(OSError, match=str(gone.identity.pid)):
        process_identity(gone.identity.pid)


def test_a_kernel_without_pidfds_gives_no_proof(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the call is missing, or refused, the lease decides."""

    def refused(pid: int) -> int:
        raise OSError(38, "not here", str(pid))

    monkeypatch.setattr(os, "pidfd_open", refused)
    assert open_proof(child.peer, child.identity) is None
    monkeypatch.delattr(os, "pidfd_open")
    assert open_proof(child.peer, child.identity) is None


def test_a_hidden_proc_gives_no_proof_and_leaves_nothing_open(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    """/proc does not show the process: what was opened for it is closed again."""
    before = len(os.listdir("/proc/self/fd"))

    def hidden(pid: int) -> ProcessIdentity:
        raise FileNotFoundError(2, "hidden", str(pid))

    monkeypatch.setattr("tenure.broker.proof.process_identity", hidden)
    assert open_proof(child.peer, child.identity) is None
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_client_declares_what_the_broker_sees() -> None:
    """The identity that the SDK sends of its own process is the one that the broker looks up."""
    assert own_process() == process_identity(os.getpid())


def test_names_with_brackets_and_spaces_do_not_confuse(child: Child) -> None:
    """/proc/<pid>/stat has the command's name in the middle, which may be anything."""
    name = subprocess.Popen(
        [sys.executable, "-c", "open('/proc/self/comm','w').write(') 1 2 (x'); print(); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with name:
        assert name.stdout is not None
        name.stdout.readline()
        identity = process_identity(name.pid)
        assert identity.start_ticks >= child.identity.start_ticks
        assert identity.pid_namespace == child.identity.pid_namespace
        name.kill()


def test_a_client_without_proc_declares_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the process cannot be told apart from others, only the lease decides."""

    def hidden(path: Path) -> str:
        raise FileNotFoundError(2, "hidden", str(path))

    monkeypatch.setattr(Path, "read_text", hidden)
    assert own_process() is None
