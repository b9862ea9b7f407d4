"""The composition root of `tenure admin`: follow a broker, serve HTTP, end cleanly and with whoever started it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from ipaddress import ip_address
from typing import Final

import uvicorn

from tenure.admin.app import create_app
from tenure.admin.follower import Follower
from tenure.contract.endpoints import TcpEndpoint, parse_endpoint
from tenure.contract.errors import InvalidEndpointError, TenureError

_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
_SHUTDOWN_S: Final = 1
_PARENT_LOOK_S: Final = 0.5


class AdminBindError(TenureError):
    """The admin cannot listen where it was told to."""


def run(*, bind: str, endpoints: tuple[str, ...], insecure_bind: bool = False, parent_pid: int | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C, or until `parent_pid` is no longer this process's parent; the exit code.

    Raises:
        AdminBindError: The address cannot be used; the message says why and what to do.
        InvalidEndpointError: An endpoint is not of a form that can be connected to.
    """
    is_local, listener = _listen(bind, insecure_bind=insecure_bind)
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again once it has shut down
        asyncio.run(_serve(listener, endpoints, is_local=is_local, parent_pid=parent_pid))
    return 0


async def _serve(
    listener: socket.socket, endpoints: tuple[str, ...], *, is_local: bool, parent_pid: int | None
) -> None:
    follower = Follower(*endpoints)
    app = create_app(follower, hosts=_LOOPBACK if is_local else None)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=_SHUTDOWN_S, server_header=False
    )
    server = uvicorn.Server(config)
    host, port = listener.getsockname()[:2]
    print(f"       admin API at        http://{f'[{host}]' if ':' in host else host}:{port}/services", flush=True)
    watching = asyncio.create_task(_end_with_parent(server, parent_pid))
    try:
        await server.serve(sockets=[listener])
    finally:
        watching.cancel()


async def _end_with_parent(server: uvicorn.Server, parent_pid: int | None) -> None:
    """End when whoever started this process is gone."""
    while parent_pid is not None and os.getppid() == parent_pid:  # noqa: ASYNC110  (no event tells)
        await asyncio.sleep(_PARENT_LOOK_S)
    if parent_pid is not None:
        server.should_exit = True


def _listen(bind: str, *, insecure_bind: bool) -> tuple[bool, socket.socket]:
    """A listening socket at `bind`, and whether only this machine can reach it."""
    try:
        place = parse_endpoint(f"tcp://{bind}")
    except InvalidEndpointError as error:
        raise AdminBindError(f"{bind!r} is not HOST:PORT, such as 127.0.0.1:7480") from error
    assert isinstance(place, TcpEndpoint)
    is_local = place.host == "localhost" or _is_loopback(place.host)
    if not is_local and not insecure_bind:
        raise AdminBindError(
            f"{bind} can be reached from other machines, and nothing is authenticated; bind to 127.0.0.1, or say "
            "--insecure-bind if that is meant"
        )
    try:
        return is_local, socket.create_server(
            (place.host, place.port or 0), family=socket.AF_INET6 if ":" in place.host else socket.AF_INET
        )
    except OSError as error:
        raise AdminBindError(
            f"cannot listen at {bind}: {error.strerror or error}; choose another with --bind"
        ) from error


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
