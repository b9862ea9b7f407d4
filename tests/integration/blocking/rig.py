"""What tests of the blocking SDK share: a client of a broker elsewhere, threads that end, and what is logged."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, Final

import structlog

from tenure.contract.interventions import Switchover
from tenure.sdk.blocking import EventListener, ServiceClient
from tests.integration.raw_client import RawClient
from tests.integration.served import Served

PATIENCE_S: Final = 30.0
PATIENCE_MS: Final = PATIENCE_S * 1_000
LONG_LEASE_MS: Final = 600_000

type Logs = SimpleQueue[dict[str, Any]]


@contextlib.contextmanager
def no_thread_left() -> Generator[None]:
    """A block that fails if threads it began go on after it."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) == before


@contextlib.contextmanager
def logged() -> Generator[Logs]:
    """What is logged in a block, from any thread."""
    entries: Logs = SimpleQueue()

    def keep(_logger: object, level: str, entry: MutableMapping[str, Any]) -> str:
        entries.put({"level": level, **entry})
        raise structlog.DropEvent

    structlog.configure(processors=[keep])
    yield entries
    structlog.reset_defaults()


def client_of(broker: Served, lease_ms: int = LONG_LEASE_MS) -> ServiceClient:
    """A client that no stall of the machine costs its session."""
    return ServiceClient(broker.ipc, lease_ms=lease_ms)


def until(condition: Callable[[], bool], what: str) -> None:
    """Let other threads go on until a condition holds that they bring about."""
    never = threading.Event()
    for _ in range(int(PATIENCE_MS)):
        if condition():
            return
        never.wait(0.001)
    raise AssertionError(f"waited {PATIENCE_S} s in vain: {what}")


def critical(logs: Logs) -> dict[str, Any]:
    """The next entry at CRITICAL."""
    while (entry := logs.get(timeout=PATIENCE_S))["level"] != "critical":
        pass
    return entry


def ask_to_end(broker: Served, resource_id: str, epoch: int) -> None:
    """Ask for the end of a tenure, as `tenure resign` does."""
    with RawClient(broker.ipc) as other:
        other.hello()
        other.ask(Switchover(resource_id=resource_id, epoch=epoch, even_if_vacant=True))


@contextlib.contextmanager
def in_thread[T](work: Callable[[], T]) -> Generator[Future[T]]:
    """Have another thread do something meanwhile; it has ended when the block has."""
    with ThreadPoolExecutor(1) as threads:
        yield threads.submit(work)


def calls(of: ServiceClient | EventListener) -> int:
    """How many calls of threads its event loop is at."""
    portal, _ = of.here()
    return portal.calls
