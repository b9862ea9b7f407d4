"""Why the broker has doors: floods of connections, in processes of their own, against one without and one with them."""

from __future__ import annotations

import resource
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tenure.broker.admission import burst_max

PATIENCE_S = 30


# A broker's socket with so many descriptors and no more; it looks after its doors only once it is told to.
SERVE = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[2]),) * 2)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
import zmq
from tenure.broker.admission import BACKLOG, Admission
from tenure.broker.logs import make_logger
context = zmq.Context()
router = context.socket(zmq.ROUTER)
router.setsockopt(zmq.LINGER, 0)
router.setsockopt(zmq.BACKLOG, BACKLOG)
router.bind("ipc://" + sys.argv[1])
admission = Admission(context, int(sys.argv[3]), make_logger("error", "json"))
if int(sys.argv[3]):
    admission.watch(router, ["ipc://" + sys.argv[1]])
print("ready", flush=True)
sys.stdin.readline()
admission.drain()
print("shut" if admission.is_full else "open", flush=True)
sys.stdin.readline()
admission.close()
context.destroy()
"""

# Connects as often as it can, waiting a second for each place, and holds what it gets until it is told to go.
FLOOD = """
import resource, socket, struct, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[2]) + 50,) * 2)
held = []
try:
    while len(held) < int(sys.argv[2]):
        visitor = socket.socket(socket.AF_UNIX)
        visitor.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 1, 0))
        visitor.connect(sys.argv[1])
        held.append(visitor)
except OSError:
    pass
print(len(held), flush=True)
sys.stdin.readline()
"""

CONNECTIONS_MAX = 50
DESCRIPTORS = CONNECTIONS_MAX + burst_max(1, 1) + 50
VISITORS = DESCRIPTORS + 100
needs_descriptors = pytest.mark.skipif(
    0 <= resource.getrlimit(resource.RLIMIT_NOFILE)[1] < VISITORS + 100, reason="too few descriptors for a flood"
)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a short name: that of a socket has little room."""
    return tmp_path_factory.mktemp("a")


def start(stack: ExitStack, program: str, *arguments: object) -> subprocess.Popen[str]:
    """A program of its own to talk to, killed at the end if it is still there."""
    process = stack.enter_context(
        subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    )
    stack.callback(process.kill)
    return process


def answer(process: subprocess.Popen[str]) -> str:
    """The next line it says."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go_on(process: subprocess.Popen[str]) -> None:
    """Tell it to go on."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@needs_descriptors
def test_flood_ends_a_broker_without_doors(folder: Path) -> None:
    """★ Why there are doors: over ipc, a flood of connections makes libzmq end the process that has none."""
    with ExitStack() as stack:
        broker = start(stack, SERVE, f"{folder}/b", DESCRIPTORS, 0)
        assert answer(broker) == "ready"
        flood = start(stack, FLOOD, f"{folder}/b", VISITORS)
        assert int(answer(flood)) > CONNECTIONS_MAX
        assert broker.wait(PATIENCE_S) == -signal.SIGABRT
        assert broker.stderr is not None
        assert "Too many open files" in broker.stderr.read()


@needs_descriptors
def test_flood_finds_the_door_shut(folder: Path) -> None:
    """★ With doors the same flood ends nothing, even if nobody looks after them while it lasts.

    What libzmq accepts beyond the limit is bounded, because it waits for its monitor to be read.
    """
    with ExitStack() as stack:
        broker = start(stack, SERVE, f"{folder}/b", DESCRIPTORS, CONNECTIONS_MAX)
        assert answer(broker) == "ready"
        flood = start(stack, FLOOD, f"{folder}/b", VISITORS)
        assert CONNECTIONS_MAX < int(answer(flood)) <= burst_max(1, 1)
        go_on(broker)
        assert answer(broker) == "shut"
        late = stack.enter_context(socket.socket(socket.AF_UNIX))
        with pytest.raises(FileNotFoundError):
            late.connect(f"{folder}/b")
        go_on(flood)
        assert flood.wait(PATIENCE_S) == 0
        go_on(broker)
        assert broker.wait(PATIENCE_S) == 0
