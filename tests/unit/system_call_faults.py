"""Failures of the disk, made by the kernel: a thread's system calls on one file end in an error instead of being done.

A seccomp filter answers for the kernel, so all above it is the real thing: SQLite, its error paths, this program.
It holds for the thread that asked for it, for good, and needs no privilege. Where there is no seccomp, tests skip.
"""

from __future__ import annotations

import ctypes
import os
import platform
from pathlib import Path
from typing import Final

import pytest

_NUMBERS: Final = {
    "x86_64": {"pread64": 17, "pwrite64": 18, "fsync": 74, "fdatasync": 75},
    "aarch64": {"pread64": 67, "pwrite64": 68, "fsync": 82, "fdatasync": 83},
}
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2
_ALLOW: Final = 0x7FFF_0000
_ERROR: Final = 0x0005_0000

# Classic BPF: load a word of seccomp_data, compare, return.
_LOAD: Final = 0x20
_JUMP_IF_EQUAL: Final = 0x15
_JUMP_IF_GREATER_OR_EQUAL: Final = 0x35
_RETURN: Final = 0x06
_NUMBER_AT: Final = 0
_FIRST_ARGUMENT_AT: Final = 16
_FOURTH_ARGUMENT_AT: Final = 40  # the offset of a pwrite64; the low half, as on these machines the low half comes first


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("operand", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("filter", ctypes.POINTER(_Instruction)))


def fail(call: str, descriptor: int, error: int, *, from_offset: int = 0) -> None:
    """From here on this thread's calls on this descriptor fail; a pwrite64 only at this offset and beyond."""
    conditions = [(_FIRST_ARGUMENT_AT, _JUMP_IF_EQUAL, descriptor)]
    if from_offset:
        conditions.append((_FOURTH_ARGUMENT_AT, _JUMP_IF_GREATER_OR_EQUAL, from_offset))
    _install(call, conditions, error)


def fail_everywhere(call: str, error: int) -> None:
    """From here on all such calls of this thread, and of the threads it starts, fail."""
    _install(call, [], error)


def _install(call: str, conditions: list[tuple[int, int, int]], error: int) -> None:
    number = _NUMBERS.get(platform.machine(), {}).get(call)
    if number is None:
        pytest.skip(f"the number of {call} on {platform.machine()} is not known here")
    checks = [(_NUMBER_AT, _JUMP_IF_EQUAL, number), *conditions]
    steps: list[tuple[int, int, int, int]] = []
    for index, (at, jump, operand) in enumerate(checks):
        steps += [(_LOAD, 0, 0, at), (jump, 0, 2 * (len(checks) - index) - 1, operand)]
    steps += [(_RETURN, 0, 0, _ERROR | error), (_RETURN, 0, 0, _ALLOW)]
    instructions = (_Instruction * len(steps))(*(_Instruction(*step) for step in steps))
    program = _Program(len(steps), instructions)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0
    ):
        pytest.skip(f"no seccomp here: {os.strerror(ctypes.get_errno())}")


def descriptors_of(path: Path) -> list[int]:
    """This process's descriptors of a file, in the order in which they were opened."""
    found: list[int] = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if os.path.samefile(entry, path):
                found.append(int(entry.name))
        except FileNotFoundError:  # the descriptor of this very listing
            continue
    return sorted(found)
