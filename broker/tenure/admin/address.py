"""Where the management interface listens, and under which names it may be asked for.

What travels is not encrypted, so it listens where only this machine can reach it unless the operator insists. A browser
on this machine can be made to ask by any web page it shows; so on the loopback only requests that name this machine
are answered, which a page of somebody else's domain cannot make even if that name is made to point here.
"""

from __future__ import annotations

import re
import socket
from ipaddress import ip_address
from typing import Final

from tenure.contract.endpoints import DEFAULT_HOST, TcpEndpoint, parse_endpoint
from tenure.contract.errors import InvalidEndpointError, TenureError

DEFAULT_PORT: Final = 7480
DEFAULT_BIND: Final = f"{DEFAULT_HOST}:{DEFAULT_PORT}"
_BACKLOG: Final = 128
_HOST: Final = re.compile(r"(?:(?P<name>[\w.-]+)|\[(?P<address>[0-9A-Fa-f:.]+)\])(?::[0-9]*)?", re.ASCII)


class AddressUnusableError(TenureError):
    """It is an address, but nothing can listen there."""

    def __init__(self, bind: str, why: str) -> None:
        self.bind = bind
        self.why = why
        super().__init__(f"cannot listen at {bind}: {why}; choose another address with --bind")


def parse_bind(bind: str, *, insecure_bind: bool) -> TcpEndpoint:
    """What an address says, if it may be listened on.

    Raises:
        InvalidEndpointError: It is not host:port, or other machines could reach it and `insecure_bind` is not set.
    """
    try:
        endpoint = parse_endpoint(f"tcp://{bind}")
    except InvalidEndpointError as error:
        raise InvalidEndpointError(bind, "write host:port, as in 127.0.0.1:7480") from error
    assert isinstance(endpoint, TcpEndpoint), "it was written as one"
    if endpoint.host == "*":
        raise InvalidEndpointError(bind, "write 0.0.0.0 for all addresses, and only on a network you trust")
    if not (insecure_bind or is_loopback(endpoint.host)):
        raise InvalidEndpointError(
            bind,
            "other machines can reach it, and nothing is encrypted, nor is the token: listen on 127.0.0.1 and let a "
            "tunnel (ssh) or a proxy with TLS in between, or set --insecure-bind if you trust all of that network; "
            "reading needs the token too there (`tenure admin token` shows it)",
        )
    return endpoint


def listen(endpoint: TcpEndpoint, bind: str) -> socket.socket:
    """A socket that listens there.

    Raises:
        AddressUnusableError: It cannot.
    """
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    try:
        return socket.create_server((endpoint.host, endpoint.port or 0), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise AddressUnusableError(bind, error.strerror or str(error)) from error


def url_of(listening: socket.socket) -> str:
    """Where to point a browser to."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def is_loopback(host: str) -> bool:
    """Whether only this machine can be meant. A name other than `localhost` may be anything, so it is not."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def name_of(host_header: str) -> str:
    """The name or address in a request's Host, with a port or without; empty if it is none, or has more than these."""
    found = _HOST.fullmatch(host_header)
    return "" if found is None else (found["name"] or found["address"]).lower()
