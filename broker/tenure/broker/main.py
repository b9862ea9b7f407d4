"""The composition root of `tenure serve`: store, broker, signals, and the admin in a process of its own.

Everything a running broker needs is made here and let go in the opposite order; a service manager hears how it stands.
SIGTERM and SIGINT end it cleanly within a second; a store whose last commit is in doubt ends it with an error, and the
next start recovers.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import Final

import structlog
import uvloop
import zmq

from tenure.broker.admin import open_admin, run_admin, url_of
from tenure.broker.clock import LeaseClock
from tenure.broker.config import Config, ConfigError
from tenure.broker.exposure import warn_insecure
from tenure.broker.notify import ServiceManager
from tenure.broker.quiet import outwait
from tenure.broker.runtime_directory import prepare_runtime_directories
from tenure.broker.server import Broker
from tenure.storage.options import StoreOptions
from tenure.storage.sqlite import SqliteStore

EXIT_OK: Final = 0
EXIT_FAILED: Final = 70  # EX_SOFTWARE: the outcome of a commit is unknown; the next start decides it

_YOUNG_OBJECTS: Final = 2_000  # new objects between two looks of the collector at these alone, as Python has it
_YOUNG_LOOKS: Final = 5  # such looks before one at all of them: two milliseconds
_NEVER: Final = 1_000_000_000


def run(config: Config, warnings: Iterable[str], on_ready: Callable[[Broker, str], None]) -> int:
    """Serve until told to end; the exit code. `on_ready` is called once the broker takes requests.

    It gets the broker and where the page is to be found, which is empty if it is nowhere.

    `warnings` are what whoever made the configuration wants told at the start.

    Raises:
        ConfigError: The configuration cannot be served here.
        StoreError: The data cannot be used.
    """
    return uvloop.run(_serve(config, warnings, on_ready))


async def _serve(config: Config, warnings: Iterable[str], on_ready: Callable[[Broker, str], None]) -> int:
    log: structlog.stdlib.BoundLogger = structlog.get_logger("tenure.broker")
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    for warning in warn_insecure(config):
        log.warning("bind.insecure", warning=warning)
    for warning in warnings:
        log.warning("limits.low", warning=warning)
    prepare_runtime_directories(config, os.environ)
    gc.collect()
    gc.disable()  # until the registry is loaded, which leaves nothing for it
    manager = ServiceManager(os.environ)
    store = await SqliteStore.open(config.data, options=StoreOptions(events_kept=config.limits.events_kept))
    try:
        await outwait(store, told, manager, LeaseClock())
        if told.is_set():
            return EXIT_OK
        try:
            broker = await Broker.start(config, store, version=version("tenure"))
        except zmq.ZMQError as error:
            places = ", ".join((*config.bind, *config.events_bind))
            raise ConfigError(places, f"cannot listen here ({error.strerror}); is another broker there?") from error
        log.info("broker.started", endpoints=broker.endpoints, events=broker.events_endpoints, data=str(config.data))
        at = open_admin(config, log)
        admin = None if at is None else asyncio.create_task(run_admin(config, at, broker.endpoints[0], log))
        _spare_the_registry()
        try:
            on_ready(broker, "" if at is None else url_of(config, at))
            manager.tell(READY=1, STATUS=f"Takes requests at {' '.join(broker.endpoints)}")
            return await _until_told(broker, told, manager, log)
        finally:
            manager.tell(STOPPING=1, STATUS="Stops")
            stopping = [asyncio.ensure_future(broker.stop())]
            if admin is not None:
                admin.cancel()
                stopping.append(admin)
            await asyncio.gather(*stopping, return_exceptions=True)
            log.info("broker.stopped")
    finally:
        await store.close()
        manager.close()


def _spare_the_registry() -> None:
    """Have the collector look at young objects alone.

    A look at all of them takes 60 ms for each 100,000 registrations, in which nothing is decided, and finds nothing:
    what a registry leaves behind goes by reference counts (a test shows that it has no cycles).
    """
    gc.freeze()
    gc.enable()
    gc.set_threshold(_YOUNG_OBJECTS, _YOUNG_LOOKS, _NEVER)


async def _until_told(
    broker: Broker, told: asyncio.Event, manager: ServiceManager, log: structlog.stdlib.BoundLogger
) -> int:
    pinging = asyncio.create_task(manager.ping_forever())
    telling, failing = asyncio.create_task(told.wait()), asyncio.create_task(broker.wait())
    try:
        await asyncio.wait([telling, failing], return_when=asyncio.FIRST_COMPLETED)
        if told.is_set():
            log.info("broker.stopping")
            return EXIT_OK
        log.critical("broker.ends", hint="start it again: recovery decides what was committed")
        return EXIT_FAILED
    finally:
        for task in (pinging, telling, failing):
            task.cancel()
        await asyncio.gather(pinging, telling, failing, return_exceptions=True)
