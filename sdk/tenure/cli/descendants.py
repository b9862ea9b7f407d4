"""Everything that descends from this process: who that is, how to signal it without meeting a stranger, how to end it.

Both the keeper and, when the keeper is lost, `tenure run` adopt their orphans (child subreapers) and end what is left.
It never waits and never reaps: whoever owns the children does. Nothing slow is imported, for the keeper has to start
fast; system calls go through ctypes, as some builds of Python (those `uv` installed until 2026) lack `os.pidfd_open`.
"""

from __future__ import annotations

import ctypes
import os
import signal

FREEZE_ROUNDS_MAX = 100  # a chain of processes that fork and exit may never hold still; SIGKILL ends it in the end

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong]
_libc.syscall.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_long]
_libc.syscall.restype = ctypes.c_long
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 1, 36, 37
_SYS_PIDFD_SEND_SIGNAL, _SYS_PIDFD_OPEN = 424, 434  # the same on every architecture but MIPS and Alpha


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def set_child_subreaper(*, is_subreaper: bool) -> None:
    """Adopt, or no longer adopt, the orphans among this process's descendants.

    Raises:
        OSError: The kernel refused.
    """
    _checked(_libc.prctl(_PR_SET_CHILD_SUBREAPER, int(is_subreaper), 0, 0, 0))


def is_child_subreaper() -> bool:
    """Whether orphans among this process's descendants become its children.

    Raises:
        OSError: The kernel refused.
    """
    value = ctypes.c_int(0)
    _checked(_libc.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.addressof(value), 0, 0, 0))
    return bool(value.value)


def die_with_parent() -> None:
    """Have the kernel send SIGKILL to this process when its parent dies; execve keeps that, fork does not.

    Raises:
        OSError: The kernel refused.
    """
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))


def pidfd_open(pid: int) -> int:
    """A descriptor of the process that has this pid now.

    Raises:
        OSError: There is no such process, or no descriptor left.
    """
    return _checked(_libc.syscall(_SYS_PIDFD_OPEN, pid, 0, None, 0))


def parent_and_group(pid: int) -> tuple[int, int]:
    """A process's parent and its process group.

    Raises:
        OSError: There is no such process (any longer).
    """
    with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
        # The name, in parentheses, may hold anything, also spaces and parentheses.
        fields = file.readall().rpartition(b")")[2].split()
    return int(fields[1]), int(fields[2])


def listed_children(pid: int) -> list[int]:
    """The children of a process, zombies included, as the kernel lists them; none if there is no such process."""
    children: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except (FileNotFoundError, ProcessLookupError):
        return children
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children", "rb", buffering=0) as file:
                children += map(int, file.readall().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return children


def scanned_children() -> dict[int, list[int]]:
    """The children of every process, from one walk through all of /proc: for kernels without CONFIG_PROC_CHILDREN."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                children.setdefault(parent_and_group(int(name))[0], []).append(int(name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return children


KERNEL_LISTS_CHILDREN = os.path.exists("/proc/thread-self/children")


def descendants(
    spared: frozenset[int] = frozenset(), *, kernel_lists_children: bool = KERNEL_LISTS_CHILDREN
) -> dict[int, int]:
    """All that descends from this process, each with its parent, parents first; without the spared and theirs."""
    scanned = {} if kernel_lists_children else scanned_children()
    parents: dict[int, int] = {}
    waiting = [os.getpid()]
    for parent in waiting:
        for child in listed_children(parent) if kernel_lists_children else scanned.get(parent, ()):
            if child not in parents and child not in spared:
                parents[child] = parent
                waiting.append(child)
    return parents


def signal_descendant(pid: int, parent: int, number: int, *, but_not_group: int = 0) -> bool:
    """Send a signal to a process that was seen as a descendant; False if it has to be looked for again.

    The pid may belong to somebody else by now. The descriptor fixes who is meant, and a parent that is still the one
    seen (or this process, if that one died) shows that it is a descendant. Nothing is owed to one that is gone, or that
    may not be signalled.

    Raises:
        OSError: No descriptor or no memory is left.
    """
    try:
        pidfd = pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        parent_now, group = parent_and_group(pid)
        if parent_now not in {parent, os.getpid()}:
            return False
        if group != but_not_group:
            _checked(_libc.syscall(_SYS_PIDFD_SEND_SIGNAL, pidfd, number, None, 0))
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        pass
    finally:
        os.close(pidfd)
    return True


class Sweep:
    """Ends all descendants of this process, but those spared, in rounds: somebody else reaps, and says when to stop.

    First all are frozen, top down, until a look finds nobody new: SIGKILL alone would free the room in which a fork
    bomb goes on. Then all are killed, whoever is found, as often as asked: a process with SIGKILL pending cannot fork.
    """

    def __init__(self, spared: frozenset[int] = frozenset()) -> None:
        self._spared = spared
        self._killed: set[int] = set()

    def freeze(self) -> None:
        """Stop every descendant with SIGSTOP."""
        frozen: set[int] = set()
        for _ in range(FREEZE_ROUNDS_MAX):
            found = {pid: parent for pid, parent in descendants(self._spared).items() if pid not in frozen}
            if not found:
                return
            frozen.update(pid for pid, parent in found.items() if signal_descendant(pid, parent, signal.SIGSTOP))

    def kill(self) -> bool:
        """Send SIGKILL to every descendant; whether there was one not seen in the round before."""
        found = descendants(self._spared)
        for pid, parent in found.items():
            signal_descendant(pid, parent, signal.SIGKILL)
        is_new = not self._killed.issuperset(found)
        self._killed = set(found)
        return is_new
