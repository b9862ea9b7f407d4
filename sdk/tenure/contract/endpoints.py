"""Where a broker is found when nobody says where, and which endpoints may be named at all.

Broker and SDK compute the defaults here, so that they meet without either telling the other: they follow from the
environment, the user id and whether that user has a directory under /run/user, and nothing else. Nothing is created
and no directory is trusted here: the broker makes the directory and checks whose it is.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from tenure.contract.errors import InvalidEndpointError

DEFAULT_PORT: Final = 7400
DEFAULT_EVENTS_PORT: Final = 7401
DEFAULT_HOST: Final = "127.0.0.1"
IPC_PATH_BYTES_MAX: Final = 107  # the kernel's sun_path has 108 bytes, and the last one is a zero
PORT_MAX: Final = 65_535

_REQUESTS_NAME: Final = "broker.ipc"
_EVENTS_NAME: Final = "events.ipc"
_SHARED_TEMPORARY: Final = "/tmp"  # noqa: S108  (only a name below it is used, and the broker checks whose it is)
_TCP: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[\w.-]+|\*):(?P<port>\*|[0-9]+)", re.ASCII)
_FORMS: Final = "ipc:///absolute/path or tcp://host:port"


class IpcEndpoint(NamedTuple):
    """A socket in the file system, guarded by the permissions of its directory."""

    path: str


class TcpEndpoint(NamedTuple):
    """A host, as written but without the brackets of IPv6, and a port; None is a port that the system chooses."""

    host: str
    port: int | None


def runtime_directory(environ: Mapping[str, str], uid: int) -> str:
    """The directory of the default ipc endpoints: the user's first candidate whose socket names are not too long.

    The last candidate is below /tmp, which every user shares: whoever uses it checks that it belongs to `uid`.
    """
    longest = max(len(_REQUESTS_NAME), len(_EVENTS_NAME))
    for candidate in _candidates(environ, uid):
        if len(os.fsencode(candidate)) + 1 + longest <= IPC_PATH_BYTES_MAX:
            return candidate
    return f"{_SHARED_TEMPORARY}/tenure-{uid}"


def default_request_endpoints(environ: Mapping[str, str], uid: int) -> tuple[str, ...]:
    """Where requests are taken by default, ipc first: it is faster, and there the kernel vouches for the peer."""
    directory = runtime_directory(environ, uid)
    return (f"ipc://{directory}/{_REQUESTS_NAME}", f"tcp://{DEFAULT_HOST}:{DEFAULT_PORT}")


def default_event_endpoints(environ: Mapping[str, str], uid: int) -> tuple[str, ...]:
    """Where events are published by default, ipc first."""
    directory = runtime_directory(environ, uid)
    return (f"ipc://{directory}/{_EVENTS_NAME}", f"tcp://{DEFAULT_HOST}:{DEFAULT_EVENTS_PORT}")


def check_endpoint(text: str) -> str:
    """The same text, if it is an endpoint that can be used.

    Raises:
        InvalidEndpointError: It is not; the message says why and what to write.
    """
    parse_endpoint(text)
    return text


def parse_endpoint(text: str) -> IpcEndpoint | TcpEndpoint:
    """What an endpoint names.

    Raises:
        InvalidEndpointError: It has another transport than ipc or tcp, or not that transport's form.
    """
    transport, separator, place = text.partition("://")
    if not text.isprintable() or text != text.strip():
        raise InvalidEndpointError(text, "it has spaces around it or characters that cannot be printed; remove them")
    if separator and transport == "ipc":
        return _parse_ipc(text, place)
    if separator and transport == "tcp":
        return _parse_tcp(text, place)
    raise InvalidEndpointError(text, f"write {_FORMS}")


def _candidates(environ: Mapping[str, str], uid: int) -> Iterator[str]:
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime):
        yield os.path.join(runtime, "tenure")
    # Whoever has no login session's environment (cron, su, a system unit) may still have the directory.
    if os.path.isdir(f"/run/user/{uid}"):
        yield f"/run/user/{uid}/tenure"
    temporary = environ.get("TMPDIR", "")
    if os.path.isabs(temporary):
        yield os.path.join(temporary, f"tenure-{uid}")


def _parse_ipc(text: str, path: str) -> IpcEndpoint:
    if not path.startswith("/") or path.endswith("/"):
        # libzmq would take a relative path, `@name` (guarded by nothing) and `*` (a name nobody can guess) as well.
        raise InvalidEndpointError(text, "ipc needs the absolute path of a file: write ipc:///run/tenure/broker.ipc")
    size = len(os.fsencode(path))
    if size > IPC_PATH_BYTES_MAX:
        raise InvalidEndpointError(
            text, f"its path has {size} bytes, and a socket's name has at most {IPC_PATH_BYTES_MAX}; use a shorter one"
        )
    return IpcEndpoint(path)


def _parse_tcp(text: str, place: str) -> TcpEndpoint:
    match = _TCP.fullmatch(place)
    if match is None:
        raise InvalidEndpointError(
            text, "tcp needs a host and a port, IPv6 in brackets: write tcp://127.0.0.1:7400 or tcp://[::1]:7400"
        )
    port = match["port"]
    if port == "*":
        return TcpEndpoint(match["host"].strip("[]"), None)
    if int(port) > PORT_MAX or (port[0] == "0" and port != "0"):
        raise InvalidEndpointError(text, f"port {port} is not one; write 1 to {PORT_MAX}, or * to have one chosen")
    return TcpEndpoint(match["host"].strip("[]"), int(port) or None)
