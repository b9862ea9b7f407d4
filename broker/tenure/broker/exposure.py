"""Who can reach the broker: endpoints that other machines can reach are refused unless the operator insists.

Over ipc the directory's permissions decide who may connect, and the kernel says who did. Over tcp there is no
authentication: whoever reaches a port may claim, end and watch every role. On the loopback that is every user of this
machine; beyond it, everybody. The admin has a token, but does not encrypt it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Final, Protocol

from tenure.broker.config_values import ConfigError
from tenure.contract.endpoints import IpcEndpoint, TcpEndpoint, parse_endpoint
from tenure.contract.errors import InvalidEndpointError

_TCP: Final = "tcp has no authentication: whoever reaches it may claim and end every role"
_ADMIN: Final = (
    "nothing there is encrypted: all but /health/live needs the token that `tenure admin token` shows, and whoever "
    "listens in can take it, and then move and end every role"
)


class Binds(Protocol):
    """As much of a configuration as says where the broker listens."""

    @property
    def bind(self) -> tuple[str, ...]:
        """Where requests are taken."""
        ...

    @property
    def events_bind(self) -> tuple[str, ...]:
        """Where events are published."""
        ...

    @property
    def insecure_bind(self) -> bool:
        """Whether the operator insists."""
        ...

    @property
    def admin(self) -> bool:
        """Whether the management interface runs."""
        ...

    @property
    def admin_bind(self) -> str:
        """Where it listens."""
        ...


def check_exposure(config: Binds, sources: Mapping[str, str]) -> None:
    """See that nothing listens where other machines can reach it, unless `insecure_bind` is set.

    Raises:
        ConfigError: Something would, or the management interface has no address; the message says what to do.
    """
    try:
        parse_admin_bind(config.admin_bind)
    except InvalidEndpointError as error:
        raise ConfigError(sources["admin_bind"], str(error), value=config.admin_bind) from error
    if config.insecure_bind:
        return
    for setting, address in _exposed(config):
        what, instead = (_ADMIN, "127.0.0.1") if setting == "admin_bind" else (_TCP, "ipc:// or tcp://127.0.0.1")
        raise ConfigError(
            sources[setting],
            f"{address} can be reached from other machines, and {what}. Bind to {instead} and let a tunnel (ssh, "
            "WireGuard) in between authenticate, or set insecure_bind (--insecure-bind) if you trust everybody on that "
            "network",
            value=address,
        )


def warn_insecure(config: Binds) -> tuple[str, ...]:
    """What to log as a warning at each start, one for each address that other machines can reach."""
    return tuple(
        f"{address} can be reached from other machines, and {_ADMIN if setting == 'admin_bind' else _TCP}"
        for setting, address in _exposed(config)
    )


def parse_admin_bind(address: str) -> TcpEndpoint:
    """Host and port of the management interface; port None is one that the system chooses.

    Raises:
        InvalidEndpointError: It is not host:port.
    """
    try:
        endpoint = parse_endpoint(f"tcp://{address}")
    except InvalidEndpointError as error:
        raise InvalidEndpointError(address, "write host:port, as in 127.0.0.1:7480") from error
    assert isinstance(endpoint, TcpEndpoint)
    if endpoint.host == "*":
        raise InvalidEndpointError(address, "write 0.0.0.0 for all addresses, and only on a network you trust")
    return endpoint


def is_local(endpoint: IpcEndpoint | TcpEndpoint) -> bool:
    """Whether only this machine can reach it. A name other than `localhost` may be anything, so it is not."""
    if isinstance(endpoint, IpcEndpoint) or endpoint.host == "localhost":
        return True
    try:
        return ip_address(endpoint.host).is_loopback
    except ValueError:
        return False


def _exposed(config: Binds) -> Iterator[tuple[str, str]]:
    """The settings and their addresses that are open to other machines."""
    for setting, endpoints in (("bind", config.bind), ("events_bind", config.events_bind)):
        for endpoint in endpoints:
            if not is_local(parse_endpoint(endpoint)):
                yield setting, endpoint
    if config.admin and not is_local(parse_admin_bind(config.admin_bind)):
        yield "admin_bind", config.admin_bind
