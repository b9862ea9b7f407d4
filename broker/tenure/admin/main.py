"""The composition root of the management interface: address, follower, HTTP server, signals.

SIGTERM, SIGINT or the end of the parent it was started by end it cleanly. It logs one line when it is ready, and then
only what somebody should look at.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final, override

import structlog
import uvicorn
from litestar.types import ASGIApp
from msgspec import Struct

from tenure.admin.address import is_loopback, listen, parse_bind, url_of
from tenure.admin.app import create_app
from tenure.admin.connections import Connection
from tenure.admin.follower import Follower
from tenure.admin.security import Security
from tenure.admin.token import default_state, make_token

EXIT_OK: Final = 0
NICENESS: Final = 10
"""How much it gives way to others on a machine that is short of processors: to the broker first of all."""

_CONNECTIONS_MAX: Final = 256  # beyond these the server answers 503 by itself, if all of them are being answered
_HEAD_BYTES_MAX: Final = 16_384
_GRACE_S: Final = 1


class Options(Struct, frozen=True, kw_only=True):
    """Where it listens, whom it follows, and who may ask."""

    bind: str
    """host:port"""
    listen_fd: int | None = None
    """A socket that listens there already; None: there is none yet."""
    endpoints: tuple[str, ...] = ()
    """Where the broker takes requests; empty: this machine's."""
    state: Path | None = None
    """The directory of the token; None: this user's own."""
    insecure_bind: bool = False
    """Whether other machines may reach it."""
    allowed_hosts: tuple[str, ...] = ()
    """Names that requests may ask for it by, besides this machine's own."""


def run(options: Options, parent_pid: int | None = None) -> int:
    """Serve until SIGTERM or SIGINT, or until the parent with `parent_pid` is gone; the exit code.

    Raises:
        InvalidEndpointError: `bind` is not host:port, or is open to other machines without `insecure_bind`; or an
            endpoint cannot be connected to.
        AddressUnusableError: `bind` cannot be listened on.
        TokenUnusableError: The token can be neither made nor used.
    """
    configure_logging()
    os.nice(NICENESS)
    return asyncio.run(_run_until_told(options, parent_pid))


async def run_admin(
    options: Options, *, told: asyncio.Event | None = None, on_ready: Callable[[str], None] | None = None
) -> None:
    """Follow the broker and answer until `told`; `on_ready` gets the URL once it answers.

    Raises:
        InvalidEndpointError: As for `run`.
        AddressUnusableError: As for `run`.
        TokenUnusableError: As for `run`.
        asyncio.CancelledError: The server has let go of its connections.
    """
    bind = options.bind
    address = parse_bind(bind, insecure_bind=options.insecure_bind)
    token = make_token(options.state or default_state(os.environ))
    follower = Follower(options.endpoints)
    given = options.listen_fd
    with listen(address, bind) if given is None else socket.socket(fileno=given) as listening:
        log: structlog.stdlib.BoundLogger = structlog.get_logger("tenure.admin")
        is_local_only = is_loopback(address.host)
        if not is_local_only:
            warning = (
                "nothing is encrypted, so that who listens in can take the token; all but /health/live needs it there, "
                "as `Authorization: Bearer TOKEN`, and `tenure admin token` shows it"
            )
            log.warning("bind.insecure", bind=bind, warning=warning)
        allowed = frozenset(host.lower() for host in options.allowed_hosts)
        security = Security(token=token, is_local_only=is_local_only, allowed_hosts=allowed)
        app = create_app(follower, security)
        url = url_of(listening)

        def say_ready() -> None:
            log.info("admin.ready", url=url)
            if on_ready is not None:
                on_ready(url)

        await _serve(_Server(app, say_ready), listening, follower, told or asyncio.Event())


async def _serve(server: _Server, listening: socket.socket, follower: Follower, told: asyncio.Event) -> None:
    """Serve and follow until told, or until either fails."""
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    others = [asyncio.create_task(follower.run()), asyncio.create_task(told.wait())]
    try:
        done, _ = await asyncio.wait([serving, *others], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        follower.streams.close()
        server.should_exit = True
        for task in others:
            task.cancel()
        await asyncio.gather(serving, *others, return_exceptions=True)


async def _run_until_told(options: Options, parent_pid: int | None) -> int:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    with _ends_with(parent_pid, told):
        await run_admin(options, told=told)
    return EXIT_OK


@contextlib.contextmanager
def _ends_with(parent_pid: int | None, told: asyncio.Event) -> Generator[None]:
    """Tell when the parent is gone, if one is named. The kernel reports it, also after SIGKILL."""
    if parent_pid is None:
        yield
        return
    try:
        parent = os.pidfd_open(parent_pid)
    except ProcessLookupError:
        told.set()
        yield
        return
    loop = asyncio.get_running_loop()
    try:
        if os.getppid() == parent_pid:  # or it was gone before, and the id may be somebody else's by now
            loop.add_reader(parent, told.set)
        else:
            told.set()
        yield
    finally:
        loop.remove_reader(parent)
        os.close(parent)


class _Server(uvicorn.Server):
    """uvicorn, quiet, and with signals left to the composition root."""

    def __init__(self, app: ASGIApp, on_ready: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="critical",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=_CONNECTIONS_MAX,
                h11_max_incomplete_event_size=_HEAD_BYTES_MAX,
                timeout_graceful_shutdown=_GRACE_S,
            )
        )
        self._on_ready = on_ready

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def configure_logging() -> None:
    """One JSON object a line on standard error, or lines for people on a terminal: as the broker does it."""
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    is_terminal = sys.stderr.isatty()
    last: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(colors=True, exception_formatter=structlog.dev.plain_traceback)]  # no locals
        if is_terminal
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
