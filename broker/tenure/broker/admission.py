"""How many connections the broker accepts: at the limit its doors are shut, and opened again when some have ended.

libzmq accepts without asking, in a thread of its own, and ends the whole process (an assertion) when an accept over ipc
finds no free descriptor; over tcp it then spins. No socket option limits how many it accepts, and unbinding an endpoint
would drop everybody connected through it. So the doors are shut in front of libzmq: a socket's file is renamed, and a
tcp listener drops what comes in. Whoever is connected notices nothing; whoever is not tries again. Who is connected is
known from libzmq's monitor, whose pipe is the safety margin: once it is full of what we have not read yet, libzmq
accepts nothing, which bounds how far `connections_max` can be passed (`burst_max`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import threading
from array import array
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Protocol

import zmq

from tenure.broker.logs import LineLog
from tenure.contract.endpoints import IpcEndpoint, parse_endpoint

BACKLOG: Final = 256
"""What the broker's sockets are to set as ZMQ_BACKLOG: a shut door does not keep out who already waits behind it."""
_UNREAD_MAX: Final = 1_000 + 1 + 1  # what libzmq's end of a monitor's pipe holds, and ours, and what waits to go in

_ACCEPTED: Final = int(zmq.EVENT_ACCEPTED)
_DISCONNECTED: Final = int(zmq.EVENT_DISCONNECTED)
_EVENT: Final = struct.Struct("=HI")  # zmq_socket_monitor(3): event, and as its value the descriptor

_SO_ATTACH_FILTER: Final = 26
_SO_DETACH_FILTER: Final = 27
_DROP_ALL: Final = struct.pack("=HBBI", 0x06, 0, 0, 0)  # one instruction of a classic BPF filter: keep 0 bytes

_TCP_SHARE: Final = 0.75  # a flood over tcp, which every user can reach, leaves places for ipc, which only ours can
_SLACK_SHARE: Final = 0.05  # so much room has to be there before a door is opened, or it would swing with every client

type _Socket = zmq.Socket[bytes]
type _Key = tuple[int, int]


class Door(Protocol):
    """What new connections through one endpoint have to pass."""

    endpoint: str

    def shut(self) -> None:
        """Let nobody in any more; whoever is in stays. Raises `OSError` if that cannot be done."""
        ...

    def open(self) -> None:
        """Let them in again. Raises `OSError` if that cannot be done."""
        ...


class IpcDoor:
    """The file of an ipc endpoint: without its name nobody finds the socket, which stays what it is."""

    def __init__(self, endpoint: str, path: str) -> None:
        self.endpoint = endpoint
        self._path = Path(path)
        self._aside = Path(f"{path}.full")
        self._file = self._path.stat().st_ino

    def shut(self) -> None:
        """Rename the file, if it is still ours."""
        if self._path.stat().st_ino != self._file:
            raise FileNotFoundError(0, "another broker's socket is in its place")
        self._path.rename(self._aside)

    def open(self) -> None:
        """Give the file its name back, unless somebody has taken it."""
        self._path.hardlink_to(self._aside)
        self._aside.unlink()


class TcpDoor:
    """A listening tcp socket: a filter in front of it drops everything, as if nobody were there yet."""

    def __init__(self, endpoint: str, descriptor: int) -> None:
        self.endpoint = endpoint
        self._descriptor = descriptor

    def shut(self) -> None:
        """Put the filter in front. Connections accepted before have none."""
        program = array("B", _DROP_ALL)
        self._set(_SO_ATTACH_FILTER, struct.pack("HP", 1, program.buffer_info()[0]))

    def open(self) -> None:
        """Take the filter away. Who knocked meanwhile knocks again by itself."""
        self._set(_SO_DETACH_FILTER, struct.pack("i", 0))

    def _set(self, option: int, value: bytes) -> None:
        listener = socket.socket(fileno=self._descriptor)
        try:
            if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                raise OSError(0, "it does not listen any more")
            listener.setsockopt(socket.SOL_SOCKET, option, value)
        finally:
            listener.detach()  # it is libzmq's


class Admission:
    """Counts the connections of all sockets it watches, and shuts and opens their doors. Belongs to one thread."""

    def __init__(self, context: zmq.Context[_Socket], connections_max: int, log: LineLog) -> None:
        # A context of our own on the same sockets: whoever destroys theirs does not close a monitor that is being read.
        self._context: zmq.Context[_Socket] = zmq.Context(shadow=context)
        self._connections_max = connections_max
        self._tcp_max = max(1, int(connections_max * _TCP_SHARE))
        self._log = log
        self._monitors: list[_Socket] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._doors: dict[Door, bool] = {}
        """Every door, and whether it is shut."""
        self._connections: dict[_Key, bool] = {}
        """Every connection by socket and descriptor, and whether it is over tcp."""
        self._tcp = 0

    @property
    def connections(self) -> int:
        """How many are connected, as far as `drain` has read."""
        return len(self._connections)

    @property
    def is_full(self) -> bool:
        """Whether some door is shut."""
        return any(self._doors.values())

    @property
    def fds(self) -> tuple[int, ...]:
        """What to watch for reading; on each call back, `drain`."""
        return tuple(int(monitor.getsockopt(zmq.FD)) for monitor in self._monitors)

    def watch(self, watched: _Socket, endpoints: Iterable[str]) -> None:
        """Count a socket's connections from now on, those it has included. It is to be bound to no more endpoints.

        A monitor that waits to be read would make a later `bind` wait too, and with it whoever is to read it.

        Raises:
            OSError: A socket's file is not where its endpoint says.
        """
        index = len(self._monitors)
        place = f"inproc://tenure-admission-{id(self)}-{index}"
        monitor = self._context.socket(zmq.PAIR)
        monitor.setsockopt(zmq.LINGER, 0)
        monitor.setsockopt(zmq.RCVHWM, 1)
        watched.monitor(place, _ACCEPTED | _DISCONNECTED)
        monitor.connect(place)
        self._monitors.append(monitor)
        # Looked up after the monitor was started: what it tells from then on brings the picture up to date.
        for endpoint in endpoints:
            for descriptor, is_listener in _sockets_of(endpoint):
                if not is_listener:
                    self._add((index, descriptor), endpoint.startswith("tcp"))
                elif endpoint.startswith("tcp"):
                    self._doors[TcpDoor(endpoint, descriptor)] = False
            parsed = parse_endpoint(endpoint)
            if isinstance(parsed, IpcEndpoint):
                self._doors[IpcDoor(endpoint, parsed.path)] = False
        self.drain()

    def drain(self) -> None:
        """Take note of who came and went, and shut or open the doors accordingly. Never waits."""
        self._decide()
        for index, monitor in enumerate(self._monitors):
            while True:
                try:
                    event, endpoint = monitor.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    break
                kind, descriptor = _EVENT.unpack(event)
                if kind == _ACCEPTED:
                    self._add((index, descriptor), endpoint.startswith(b"tcp"))
                else:
                    self._remove((index, descriptor))
                self._decide()

    def drain_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Drain now, and on this loop whenever there is news, until it is closed."""
        self._loop = loop
        for fd in self.fds:
            loop.add_reader(fd, self.drain)
        self.drain()

    def close(self) -> None:
        """Stop counting and leave the doors open; to be called before the sockets are closed. Safe to repeat.

        Many clients may leave at once just now, and libzmq waits for a monitor that is full, in its own thread and even
        if the monitor is being turned off. So the monitors are read, each by a thread, until the context is terminated.
        """
        if self._loop is not None:
            for fd in self.fds:
                self._loop.remove_reader(fd)
        for door, is_shut in [*self._doors.items()]:
            if is_shut:
                self._open(door)
        self._doors.clear()
        for monitor in self._monitors:
            threading.Thread(target=_read_on, args=(monitor,), name="tenure-admission", daemon=True).start()
        self._monitors.clear()

    def _add(self, key: _Key, is_tcp: bool) -> None:
        self._remove(key)  # a descriptor that is used again tells that its last connection ended in silence
        self._connections[key] = is_tcp
        self._tcp += is_tcp

    def _remove(self, key: _Key) -> None:
        self._tcp -= self._connections.pop(key, False)

    def _decide(self) -> None:
        for door, is_shut in [*self._doors.items()]:
            room = self._connections_max - len(self._connections)
            if isinstance(door, TcpDoor):
                room = min(room, self._tcp_max - self._tcp)
            if not is_shut and room <= 0:
                self._shut(door)
            elif is_shut and room >= max(1, int(self._connections_max * _SLACK_SHARE)):
                self._open(door)

    def _shut(self, door: Door) -> None:
        if self._move(door, door.shut, is_shut=True):
            self._log.warning(
                "endpoint.shut",
                endpoint=door.endpoint,
                connections=len(self._connections),
                connections_max=self._connections_max,
                hint="connections_max is reached: new ones have to wait until some have ended",
            )

    def _open(self, door: Door) -> None:
        if self._move(door, door.open, is_shut=False):
            self._log.info("endpoint.opened", endpoint=door.endpoint, connections=len(self._connections))

    def _move(self, door: Door, move: Callable[[], None], *, is_shut: bool) -> bool:
        """Shut or open a door; one that cannot be moved is said to be unguarded, once, and left alone from then on."""
        try:
            move()
        except OSError as error:
            del self._doors[door]
            self._log.warning("endpoint.unguarded", endpoint=door.endpoint, reason=str(error))
            return False
        self._doors[door] = is_shut
        return True


def _read_on(monitor: _Socket) -> None:
    with contextlib.suppress(zmq.ContextTerminated):
        while True:
            monitor.recv()
    monitor.close()


def burst_max(sockets: int, endpoints: int) -> int:
    """How many connections may be accepted beyond the limit before so many sockets' and endpoints' doors are shut."""
    return sockets * _UNREAD_MAX + endpoints * (BACKLOG + 1)


def _sockets_of(endpoint: str) -> Iterator[tuple[int, bool]]:
    """This process's descriptors that belong to an endpoint it serves, and whether each is the listener."""
    parsed = parse_endpoint(endpoint)
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        with contextlib.suppress(OSError):  # it is no socket, or it is gone meanwhile
            family, local, is_listener = _describe(descriptor)
            if isinstance(parsed, IpcEndpoint):
                belongs = family == socket.AF_UNIX and local == parsed.path
            else:
                belongs = family in {socket.AF_INET, socket.AF_INET6} and local[1] == parsed.port
            if belongs:
                yield descriptor, is_listener


def _describe(descriptor: int) -> tuple[int, Any, bool]:
    """A socket's family, its own address, and whether it listens. Raises `OSError` if it is none."""
    described = socket.socket(fileno=descriptor)
    try:
        listens = described.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        return described.family, described.getsockname(), bool(listens)
    finally:
        described.detach()  # it is libzmq's
