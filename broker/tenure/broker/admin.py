"""The admin beside the broker: a process of its own, a client like any other, at an address that is taken beforehand.

The broker listens for it, so that whoever is told where the page is finds it there, and so that an address which cannot
be had is said in the words of `tenure serve`. The broker never ends for want of an admin.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from typing import Final

import structlog

from tenure.broker.config import Config
from tenure.broker.exposure import parse_admin_bind

_END_MS: Final = 300
_BACKLOG: Final = 128


def open_admin(config: Config, log: structlog.stdlib.BoundLogger) -> socket.socket | None:
    """A socket that listens where the admin is to be; None if there is none to be, or none can be, which is logged."""
    if not config.admin:
        return None
    address = parse_admin_bind(config.admin_bind)
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port or 0), family=family, backlog=_BACKLOG)
    except OSError as error:
        why = f"cannot listen at {config.admin_bind}: {error.strerror or error}"
        hint = "the broker goes on without: choose another address with --admin-bind, or say --no-admin"
        log.error("admin.ended", reason=why, hint=hint)  # noqa: TRY400 (a trace would say nothing more)
        return None


def url_of(config: Config, listening: socket.socket) -> str:
    """Where to point a browser to: the host as it was written, and the port, which the system may have chosen."""
    host, _, _ = config.admin_bind.rpartition(":")
    return f"http://{host}:{listening.getsockname()[1]}/"


async def run_admin(config: Config, listening: socket.socket, endpoint: str, log: structlog.stdlib.BoundLogger) -> None:
    """Run the admin at a socket, which it gets, until this is cancelled; it asks the broker at `endpoint`."""
    command = [sys.executable, "-m", "tenure.cli", "admin", "--endpoint", endpoint, "--bind", config.admin_bind]
    command += ["--listen-fd", str(listening.fileno()), "--state", str(config.data), "--parent-pid", str(os.getpid())]
    if config.insecure_bind:
        command.append("--insecure-bind")
    with listening:  # from then on it is the admin's alone: nobody is let wait for one that has ended
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, pass_fds=(listening.fileno(),)
        )
    try:
        code = await process.wait()
        log.error("admin.ended", exit_code=code, hint="the broker goes on; `tenure admin` starts the admin alone")
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(_END_MS / 1_000):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
