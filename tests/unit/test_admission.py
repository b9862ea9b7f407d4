"""Doors: at the limit nobody new gets in, whoever is in stays, and libzmq never runs out of descriptors."""

from __future__ import annotations

import errno
import io
import json
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import pytest
import zmq

from tenure.broker.admission import Admission, IpcDoor, TcpDoor
from tenure.broker.logs import make_logger
from tenure.contract.endpoints import TcpEndpoint, parse_endpoint

PATIENCE_S = 30


class House:
    """A ROUTER with one ipc and one tcp endpoint, its doors, and visitors."""

    def __init__(self, folder: Path, connections_max: int) -> None:
        self.stack = ExitStack()
        self.context: zmq.Context[zmq.Socket[bytes]] = self.stack.enter_context(zmq.Context())
        self.router = self.stack.enter_context(self.context.socket(zmq.ROUTER))
        self.router.setsockopt(zmq.LINGER, 0)
        self.ipc = f"ipc://{folder}/b"
        self.router.bind(self.ipc)
        self.router.bind("tcp://127.0.0.1:0")
        self.tcp = self.router.getsockopt_string(zmq.LAST_ENDPOINT)
        self.log = io.StringIO()
        self.admission = Admission(self.context, connections_max, make_logger("info", "json", self.log))
        self.stack.callback(self.admission.close)

    def watch(self) -> None:
        """Begin to count."""
        self.admission.watch(self.router, [self.ipc, self.tcp])

    def visit(self, endpoint: str) -> socket.socket:
        """Connect to an endpoint, without a word of ZMTP."""
        visitor, address = self._visitor(endpoint)
        visitor.settimeout(PATIENCE_S)
        visitor.connect(address)
        return visitor

    def is_shut(self, endpoint: str) -> bool:
        """Whether a visitor stays outside: the file of an ipc door is gone, and a tcp door does not even answer."""
        visitor, address = self._visitor(endpoint)
        visitor.setblocking(False)
        outcome = visitor.connect_ex(address)
        if outcome == errno.EINPROGRESS:
            return select.select([], [visitor], [], 0.2)[1] == []
        return outcome == errno.ENOENT

    def until(self, condition: Callable[[], bool]) -> None:
        """Drain until the condition holds."""
        deadline = time.monotonic() + PATIENCE_S
        self.admission.drain()
        while not condition():
            assert time.monotonic() < deadline, self.log.getvalue()
            select.select(self.admission.fds, [], [], 0.05)
            self.admission.drain()

    def events(self) -> list[tuple[str, str]]:
        """What was logged, and of which endpoint."""
        lines: list[dict[str, Any]] = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [(line["event"], line["endpoint"]) for line in lines]

    def _visitor(self, endpoint: str) -> tuple[socket.socket, Any]:
        parsed = parse_endpoint(endpoint)
        if isinstance(parsed, TcpEndpoint):
            return self.stack.enter_context(socket.socket()), (parsed.host, parsed.port)
        return self.stack.enter_context(socket.socket(socket.AF_UNIX)), parsed.path


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a short name: that of a socket has little room."""
    return tmp_path_factory.mktemp("a")


@pytest.fixture
def house(folder: Path) -> Iterator[House]:
    """A house for four."""
    house = House(folder, 4)
    with house.stack:
        yield house


def test_doors_shut_at_the_limit_and_open_when_somebody_leaves(house: House) -> None:
    """With all places taken both doors are shut; when one gets free they are open again; each is logged once."""
    house.watch()
    visitors = [house.visit(house.ipc) for _ in range(4)]
    house.until(lambda: house.admission.is_full)
    assert house.admission.connections == 4
    assert house.is_shut(house.ipc)
    assert house.is_shut(house.tcp)
    visitors[0].close()
    house.until(lambda: not house.admission.is_full)
    assert house.admission.connections == 3
    house.visit(house.ipc)
    house.visit(house.tcp)
    names = [name for name, _ in house.events()]
    assert names == ["endpoint.shut", "endpoint.shut", "endpoint.opened", "endpoint.opened"]


def test_whoever_is_in_stays(house: House) -> None:
    """★ A shut door drops nobody: connections made before go on both ways, over ipc and tcp."""
    house.watch()
    clients = [house.stack.enter_context(house.context.socket(zmq.DEALER)) for _ in range(2)]
    for client, endpoint in zip(clients, (house.ipc, house.tcp), strict=True):
        client.setsockopt(zmq.LINGER, 0)
        client.connect(endpoint)
        client.send(b"before")
    routes = [house.router.recv_multipart()[0] for _ in clients]
    for _ in range(2):
        house.visit(house.ipc)
    house.until(lambda: house.admission.is_full)
    for route in routes:
        house.router.send_multipart([route, b"while shut"])
    for client in clients:
        assert client.poll(PATIENCE_S * 1_000)
        assert client.recv() == b"while shut"
        client.send(b"answer")
    assert {house.router.recv_multipart()[1] for _ in clients} == {b"answer"}


def test_whoever_knocked_in_vain_gets_in_later(house: House) -> None:
    """A client that found the door shut is connected without doing anything, once there is room."""
    house.watch()
    visitors = [house.visit(house.ipc) for _ in range(4)]
    house.until(lambda: house.admission.is_full)
    for endpoint in (house.ipc, house.tcp):
        client = house.stack.enter_context(house.context.socket(zmq.DEALER))
        client.setsockopt(zmq.LINGER, 0)
        client.setsockopt(zmq.RECONNECT_IVL, 10)
        client.connect(endpoint)
        client.send(endpoint.encode())
    for visitor in visitors:
        visitor.close()
    got: set[bytes] = set()

    def both_are_in() -> bool:
        if house.router.poll(0):
            got.add(house.router.recv_multipart()[1])
        return len(got) == 2

    house.until(both_are_in)
    assert got == {house.ipc.encode(), house.tcp.encode()}


def test_tcp_leaves_places_for_ipc(house: House) -> None:
    """A flood over tcp, which every user of the machine can reach, takes three places of four and no more."""
    house.watch()
    for _ in range(3):
        house.visit(house.tcp)
    house.until(lambda: house.admission.is_full)
    assert house.is_shut(house.tcp)
    house.visit(house.ipc)
    assert house.events() == [("endpoint.shut", house.tcp)]


def test_connections_from_before_are_counted(house: House) -> None:
    """Clients that came between `bind` and `watch` are counted, and so is that they leave."""
    visitors = [house.visit(house.ipc), house.visit(house.tcp)]
    for _ in visitors:
        # Only what libzmq has accepted is a connection: it greets whoever it has accepted.
        assert select.select(visitors, [], [], PATIENCE_S)[0]
    for visitor in visitors:
        visitor.recv(1)
    house.watch()
    assert house.admission.connections == 2
    for visitor in visitors:
        visitor.close()
    house.until(lambda: house.admission.connections == 0)


class SilentSocket:
    """A socket whose monitor tells what the test says, and nothing else."""

    def __init__(self, house: House) -> None:
        self._told = house.stack.enter_context(house.context.socket(zmq.PAIR))
        self._told.setsockopt(zmq.LINGER, 0)

    def monitor(self, place: str | None, _events: int) -> None:
        """As libzmq does: the monitor is where it is said to be, until there is none."""
        if place is not None:
            self._told.bind(place)

    def tell(self, event: int, descriptor: int, endpoint: str) -> None:
        """Say that something has happened to a connection."""
        self._told.send_multipart([struct.pack("=HI", event, descriptor), endpoint.encode()])


def test_descriptor_that_is_used_again_is_one_connection(house: House) -> None:
    """An end that libzmq did not tell is made up for when the next connection gets the same descriptor."""
    silent = SilentSocket(house)
    house.admission.watch(cast("zmq.Socket[bytes]", silent), [])
    for descriptor in (7, 8, 9, 7, 8, 9):
        silent.tell(zmq.EVENT_ACCEPTED, descriptor, house.tcp)
    silent.tell(zmq.EVENT_DISCONNECTED, 10, house.tcp)
    silent.tell(zmq.EVENT_DISCONNECTED, 8, house.tcp)
    house.until(lambda: house.admission.connections == 2)
    house.admission.drain()
    assert house.admission.connections == 2


def test_socket_of_another_broker_is_left_alone(house: House, folder: Path) -> None:
    """If somebody put a socket of theirs in our place, its file is not renamed, and the log says so once."""
    house.watch()
    (folder / "b").unlink()
    other = house.stack.enter_context(socket.socket(socket.AF_UNIX))
    other.bind(str(folder / "b"))
    for _ in range(4):
        house.visit(house.tcp)
    house.until(lambda: house.admission.connections == 4)
    assert (folder / "b").exists()
    assert [event for event in house.events() if event[0] == "endpoint.unguarded"] == [
        ("endpoint.unguarded", house.ipc)
    ]


def test_name_that_was_taken_is_not_taken_back(house: House, folder: Path) -> None:
    """If somebody took our name while our door was shut, opening it does not throw them out."""
    door = IpcDoor(house.ipc, f"{folder}/b")
    door.shut()
    (folder / "b").write_text("somebody else's")
    with pytest.raises(FileExistsError):
        door.open()
    assert (folder / "b").read_text() == "somebody else's"


def test_door_whose_name_was_taken_is_told_once(house: House, folder: Path) -> None:
    """Whoever took our name keeps it, the log says that the endpoint is not ours any more, and the rest goes on."""
    house.watch()
    visitors = [house.visit(house.ipc) for _ in range(4)]
    house.until(lambda: house.admission.is_full)
    (folder / "b").touch()
    visitors.pop().close()
    house.until(lambda: not house.admission.is_full)
    house.visit(house.tcp)
    house.until(lambda: house.admission.is_full)
    assert house.events().count(("endpoint.unguarded", house.ipc)) == 1
    assert house.events()[-1] == ("endpoint.shut", house.tcp)


def test_tcp_door_moves_only_a_listener(house: House) -> None:
    """A descriptor that does not listen (any more) is left as it is, and stays open."""
    pair = [house.stack.enter_context(end) for end in socket.socketpair()]
    with pytest.raises(OSError, match="does not listen"):
        TcpDoor(house.tcp, pair[0].fileno()).shut()
    pair[0].send(b"x")
    assert pair[1].recv(1) == b"x"


def test_door_that_cannot_be_shut_is_told_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system refuses a filter, the log says that the endpoint is unguarded, and the rest goes on."""
    house.watch()

    def refuse(_: TcpDoor) -> None:
        raise PermissionError(errno.EPERM, "not in this container")

    monkeypatch.setattr(TcpDoor, "shut", refuse)
    for _ in range(5):
        house.visit(house.tcp)
    house.until(lambda: house.admission.connections == 5)
    assert sorted(house.events()) == [("endpoint.shut", house.ipc), ("endpoint.unguarded", house.tcp)]


def test_close_leaves_the_doors_open(house: House) -> None:
    """After `close` the endpoints are as libzmq made them, nothing is counted, and closing again does nothing."""
    house.watch()
    for _ in range(4):
        house.visit(house.ipc)
    house.until(lambda: house.admission.is_full)
    house.admission.close()
    house.visit(house.ipc)
    house.visit(house.tcp)
    assert house.admission.fds == ()
    house.admission.close()
    assert not house.admission.is_full
