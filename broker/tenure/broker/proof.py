"""Proof of death: the kernel's word that the process which does a session's work has exited.

It is proof only if the peer that the kernel names is the process that the client declared, with the same start time and
in the broker's own pid namespace; anything else (a proxy in between, a reused pid, another namespace, no pidfd) is not,
and then the lease decides. Silence is never proof.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Container
from pathlib import Path

from tenure.broker.peers import Peer
from tenure.contract.messages import ProcessIdentity

_START_TICKS_FIELD = 22  # of /proc/<pid>/stat, counted from 1
_FIELDS_BEFORE_STATE = 2  # pid and the command's name, which may itself contain spaces and brackets


def process_identity(pid: int) -> ProcessIdentity:
    """What identifies a running process beyond its pid.

    Raises:
        OSError: It is gone, or /proc does not show it.
    """
    stat = Path(f"/proc/{pid}/stat").read_text()
    fields = stat[stat.rindex(")") + 1 :].split()
    return ProcessIdentity(
        pid=pid,
        start_ticks=int(fields[_START_TICKS_FIELD - _FIELDS_BEFORE_STATE - 1]),
        pid_namespace=Path(f"/proc/{pid}/ns/pid").stat().st_ino,
    )


def open_proof(peer: Peer, declared: ProcessIdentity) -> int | None:
    """A pidfd that becomes readable when the declared process exits; None if its exit would prove nothing."""
    if peer.pid != declared.pid:
        return None
    try:
        pidfd = os.pidfd_open(declared.pid)
    except (OSError, AttributeError):
        return None
    try:
        # Looked up after the pidfd was opened: what is still the declared process now is what the pidfd refers to.
        same_process = process_identity(declared.pid) == declared
        same_namespace = Path("/proc/self/ns/pid").stat().st_ino == declared.pid_namespace
    except (OSError, ValueError):
        same_process = same_namespace = False
    if same_process and same_namespace:
        return pidfd
    os.close(pidfd)
    return None


class ExitWatch:
    """Watches the processes of sessions that gave proof, and reports each exit once."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_exit: Callable[[int], None]) -> None:
        self._loop = loop
        self._on_exit = on_exit
        self._pidfds: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._pidfds)

    def watch(self, session: int, peer: Peer, declared: ProcessIdentity | None) -> bool:
        """Watch a session's process from now on, instead of whatever was watched for it; False without proof."""
        self.forget(session)
        pidfd = None if declared is None else open_proof(peer, declared)
        if pidfd is None:
            return False
        self._pidfds[session] = pidfd
        self._loop.add_reader(pidfd, self._exited, session)
        return True

    def forget(self, session: int) -> None:
        """Stop watching for a session. Does nothing if nothing is watched."""
        pidfd = self._pidfds.pop(session, None)
        if pidfd is not None:
            self._loop.remove_reader(pidfd)
            os.close(pidfd)

    def forget_others(self, sessions: Container[int]) -> None:
        """Stop watching for sessions that are not among these."""
        for session in list(self._pidfds):
            if session not in sessions:
                self.forget(session)

    def forget_all(self) -> None:
        """Stop watching."""
        for session in list(self._pidfds):
            self.forget(session)

    def _exited(self, session: int) -> None:
        self.forget(session)
        self._on_exit(session)
