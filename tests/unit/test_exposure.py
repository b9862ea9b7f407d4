"""Nothing listens where other machines can reach it unless the operator insists, and then every start warns."""

from __future__ import annotations

import pytest

from tenure.broker.config import Config, ConfigError, load_config
from tenure.broker.exposure import parse_admin_bind, warn_insecure
from tenure.contract.endpoints import TcpEndpoint
from tenure.contract.errors import InvalidEndpointError

ENVIRON = {"HOME": "/home/you", "XDG_RUNTIME_DIR": "/run/user/1000"}


def load(**flags: object) -> Config:
    """The configuration with these flags."""
    return load_config(None, ENVIRON, flags)


@pytest.mark.parametrize(
    "endpoint",
    [
        "ipc:///run/tenure/broker.ipc",
        "tcp://127.0.0.1:7400",
        "tcp://127.255.255.254:*",
        "tcp://localhost:7400",
        "tcp://[::1]:7400",
        "tcp://[::ffff:127.0.0.1]:0",
    ],
)
def test_this_machine_is_safe(endpoint: str) -> None:
    """Endpoints of this machine are taken, and no start warns of them."""
    config = load(bind=[endpoint], events_bind=["tcp://127.0.0.1:0"])
    assert config.bind == (endpoint,)
    assert warn_insecure(config) == ()


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp://0.0.0.0:7400",
        "tcp://*:7400",
        "tcp://*:*",
        "tcp://[::]:7400",
        "tcp://192.0.2.1:7400",
        "tcp://128.0.0.1:7400",
        "tcp://[2001:db8::1]:7400",
        "tcp://[::ffff:192.0.2.1]:7400",
        "tcp://eth0:7400",
        "tcp://broker.example:7400",
        "tcp://localhost.example:7400",
        "tcp://127.0.0.1.example:7400",
        "tcp://127.1:7400",
    ],
)
@pytest.mark.parametrize("setting", ["bind", "events_bind"])
def test_other_machines_are_kept_out(setting: str, endpoint: str) -> None:
    """An endpoint that others could reach, or may be able to, is refused with the reason and what to do."""
    with pytest.raises(ConfigError) as caught:
        load(**{setting: ["tcp://127.0.0.1:1", endpoint]})
    message = str(caught.value)
    assert message.startswith(f"--{setting.replace('_', '-')}: {endpoint} can be reached from other machines")
    assert "no authentication" in message
    assert "127.0.0.1" in message
    assert "--insecure-bind" in message


def test_whoever_insists_is_warned_each_time() -> None:
    """With insecure_bind each open address is taken, and there is a warning for each of them."""
    config = load(
        insecure_bind=True,
        bind=["tcp://127.0.0.1:1", "tcp://0.0.0.0:1"],
        events_bind=["tcp://*:2"],
        admin_bind="192.0.2.1:80",
    )
    warnings = warn_insecure(config)
    assert [warning.partition(" ")[0] for warning in warnings] == ["tcp://0.0.0.0:1", "tcp://*:2", "192.0.2.1:80"]
    assert ["no authentication" in warning for warning in warnings] == [True, True, False]
    assert "`tenure admin token`" in warnings[2]


def test_management_interface_is_kept_in_too() -> None:
    """The management interface encrypts nothing: the same rule holds, unless it does not run; it says what it needs."""
    with pytest.raises(
        ConfigError, match=r"--admin-bind: 0\.0\.0\.0:7480 can be reached from other machines"
    ) as caught:
        load(admin_bind="0.0.0.0:7480")
    message = str(caught.value)
    assert all(part in message for part in ("`tenure admin token`", "Bind to 127.0.0.1 and", "--insecure-bind"))
    assert "ipc://" not in message
    assert warn_insecure(load(admin_bind="0.0.0.0:7480", admin=False)) == ()
    assert load(admin_bind="[::1]:0").admin_bind == "[::1]:0"


@pytest.mark.parametrize("address", ["7480", "localhost", "http://127.0.0.1:80", "127.0.0.1:99999", "*:7480", ":80"])
def test_management_interface_needs_host_and_port(address: str) -> None:
    """What is not host:port is refused, even where anything may be bound and even if the interface does not run."""
    with pytest.raises(ConfigError, match=r"--admin-bind: .*write "):
        load(admin_bind=address, insecure_bind=True, admin=False)
    with pytest.raises(InvalidEndpointError):
        parse_admin_bind(address)


def test_management_interface_is_host_and_port() -> None:
    """The address in the form a server takes; port 0 is one that the system chooses."""
    assert parse_admin_bind("127.0.0.1:7480") == TcpEndpoint("127.0.0.1", 7480)
    assert parse_admin_bind("[::1]:0") == TcpEndpoint("::1", None)
