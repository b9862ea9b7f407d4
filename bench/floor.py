"""The machine's floor: what a durable answer costs before any program adds to it.

A round trip over the same transport between two processes that do nothing else, and an `fdatasync` of 4 KiB in the same
directory: into a file that is there already, as a recycled write-ahead log is, and into one that grows.
"""

from __future__ import annotations

import os
from array import array
from pathlib import Path
from time import perf_counter_ns
from typing import Final

import zmq

_BLOCK: Final = b"\xa5" * 4096
_MESSAGE: Final = (b"\0" * 8, b"\0" * 120)  # about what a registration is
_TIMEOUT_MS: Final = 5_000


def echo_ns(endpoint: str, operations: int, warm_up: int) -> array[int]:
    """Round trips to an echo, blocking at both ends.

    Raises:
        zmq.Again: No answer came within seconds.
    """
    taken_ns = array("q")
    with zmq.Context[zmq.Socket[bytes]]() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, _TIMEOUT_MS)
        socket.connect(endpoint)
        for number in range(warm_up + operations):
            began_ns = perf_counter_ns()
            socket.send_multipart(_MESSAGE)
            socket.recv_multipart()
            if number >= warm_up:
                taken_ns.append(perf_counter_ns() - began_ns)
    return taken_ns


def sync_ns(directory: Path, operations: int, *, preallocated: bool) -> array[int]:
    """Writes of 4 KiB, each followed by `fdatasync`, one after the other into one file.

    Raises:
        OSError: The file cannot be written.
    """
    path = directory / "floor"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if preallocated:
            os.pwrite(descriptor, bytes(operations * len(_BLOCK)), 0)
            os.fsync(descriptor)
        taken_ns = array("q")
        for number in range(operations):
            began_ns = perf_counter_ns()
            os.pwrite(descriptor, _BLOCK, number * len(_BLOCK))
            os.fdatasync(descriptor)
            taken_ns.append(perf_counter_ns() - began_ns)
        return taken_ns
    finally:
        os.close(descriptor)
        path.unlink()
