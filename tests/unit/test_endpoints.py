"""Default endpoints are the same for whoever computes them, and what cannot be an endpoint is refused in words."""

from __future__ import annotations

import os

import pytest
import zmq

from tenure.contract.endpoints import (
    IPC_PATH_BYTES_MAX,
    IpcEndpoint,
    TcpEndpoint,
    check_endpoint,
    default_event_endpoints,
    default_request_endpoints,
    parse_endpoint,
    runtime_directory,
)
from tenure.contract.errors import InvalidEndpointError, TenureError

NOBODY = 4_000_000_000  # no such user, so no /run/user for it
SHARED = f"/tmp/tenure-{NOBODY}"  # noqa: S108  (a name, nothing is made there)


def test_runtime_directory_of_a_login_session_comes_first() -> None:
    """With XDG_RUNTIME_DIR the sockets are below it, and ipc is tried before tcp."""
    environ = {"XDG_RUNTIME_DIR": "/run/user/1000", "TMPDIR": "/scratch"}
    assert default_request_endpoints(environ, 1000) == (
        "ipc:///run/user/1000/tenure/broker.ipc",
        "tcp://127.0.0.1:7400",
    )
    assert default_event_endpoints(environ, 1000) == (
        "ipc:///run/user/1000/tenure/events.ipc",
        "tcp://127.0.0.1:7401",
    )


def test_runtime_directory_without_the_environment_of_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without XDG_RUNTIME_DIR, /run/user/<uid> is used where it exists: cron and su meet the same broker."""

    def is_directory(path: str) -> bool:
        return path == "/run/user/1000"

    monkeypatch.setattr(os.path, "isdir", is_directory)
    assert runtime_directory({"TMPDIR": "/scratch"}, 1000) == "/run/user/1000/tenure"
    assert runtime_directory({"TMPDIR": "/scratch"}, 1001) == "/scratch/tenure-1001"


@pytest.mark.parametrize(
    ("environ", "directory"),
    [
        ({}, SHARED),
        ({"XDG_RUNTIME_DIR": "", "TMPDIR": ""}, SHARED),
        ({"XDG_RUNTIME_DIR": "relative", "TMPDIR": "relative"}, SHARED),
        ({"TMPDIR": "/scratch"}, f"/scratch/tenure-{NOBODY}"),
    ],
)
def test_runtime_directory_in_the_temporary_directory(environ: dict[str, str], directory: str) -> None:
    """Where a user has no directory of its own, the name holds the user id; relative variables are passed over."""
    assert runtime_directory(environ, NOBODY) == directory


def test_default_endpoints_are_always_usable() -> None:
    """A directory whose socket names would be too long is passed over, by broker and SDK alike."""
    environ = {"XDG_RUNTIME_DIR": "/long" * 20, "TMPDIR": "/long" * 30}
    for endpoint in (*default_request_endpoints(environ, NOBODY), *default_event_endpoints(environ, NOBODY)):
        assert check_endpoint(endpoint) == endpoint
    just_fits = "/" + "x" * (IPC_PATH_BYTES_MAX - len("//tenure/broker.ipc"))
    assert runtime_directory({"XDG_RUNTIME_DIR": just_fits}, NOBODY) == f"{just_fits}/tenure"
    assert runtime_directory({"XDG_RUNTIME_DIR": just_fits + "x"}, NOBODY) == SHARED


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("ipc:///run/tenure/broker.ipc", IpcEndpoint("/run/tenure/broker.ipc")),
        ("ipc:///run/with space/ä.ipc", IpcEndpoint("/run/with space/ä.ipc")),
        ("tcp://127.0.0.1:7400", TcpEndpoint("127.0.0.1", 7400)),
        ("tcp://127.0.0.1:0", TcpEndpoint("127.0.0.1", None)),
        ("tcp://127.0.0.1:*", TcpEndpoint("127.0.0.1", None)),
        ("tcp://*:65535", TcpEndpoint("*", 65_535)),
        ("tcp://[::1]:7400", TcpEndpoint("::1", 7400)),
        ("tcp://[fe80::1%eth0]:7400", TcpEndpoint("fe80::1%eth0", 7400)),
        ("tcp://broker-1.example:7400", TcpEndpoint("broker-1.example", 7400)),
    ],
)
def test_endpoints_that_can_be_used(text: str, endpoint: IpcEndpoint | TcpEndpoint) -> None:
    """Every form of endpoint is taken as it is written."""
    assert check_endpoint(text) == text
    assert parse_endpoint(text) == endpoint


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "write ipc:///absolute/path or tcp://host:port"),
        ("broker", "write ipc:///absolute/path or tcp://host:port"),
        ("ipc:/run/x", "write ipc:///absolute/path or tcp://host:port"),
        ("inproc://x", "write ipc:///absolute/path or tcp://host:port"),
        ("udp://127.0.0.1:7400", "write ipc:///absolute/path or tcp://host:port"),
        ("TCP://127.0.0.1:7400", "write ipc:///absolute/path or tcp://host:port"),
        ("ipc://", "absolute path"),
        ("ipc://relative.ipc", "absolute path"),
        ("ipc://@abstract", "absolute path"),
        ("ipc://*", "absolute path"),
        ("ipc:///run/tenure/", "absolute path"),
        ("ipc:///" + "x" * IPC_PATH_BYTES_MAX, "108 bytes"),
        ("ipc:///" + "ä" * 54, "109 bytes"),
        ("tcp://127.0.0.1", "a host and a port"),
        ("tcp://:7400", "a host and a port"),
        ("tcp://::1:7400", "IPv6 in brackets"),
        ("tcp://127.0.0.1:http", "a host and a port"),
        ("tcp://127.0.0.1:-1", "a host and a port"),
        ("tcp://127.0.0.1:٣", "a host and a port"),
        ("tcp://10.0.0.1;127.0.0.1:7400", "a host and a port"),
        ("tcp://127.0.0.1:65536", "port 65536"),
        ("tcp://127.0.0.1:07400", "port 07400"),
        (" tcp://127.0.0.1:7400", "spaces around it"),
        ("tcp://127.0.0.1:7400\n", "cannot be printed"),
        ("ipc:///run/\x00", "cannot be printed"),
    ],
)
def test_endpoints_that_cannot_be_used(text: str, advice: str) -> None:
    """What cannot be an endpoint is refused, and the message says what to write."""
    with pytest.raises(InvalidEndpointError) as caught:
        check_endpoint(text)
    assert advice in str(caught.value)
    assert caught.value.endpoint == text
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, TenureError)


def test_longest_ipc_path_is_the_one_that_binds(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A path of the greatest length allowed binds; one byte more does not, whatever we think of it."""
    room = IPC_PATH_BYTES_MAX - len(os.fsencode(folder := tmp_path_factory.mktemp("e"))) - 1
    if room < 1:
        pytest.skip("the temporary directory has too long a name")
    longest = f"ipc://{folder}/{'x' * room}"
    assert check_endpoint(longest) == longest
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        socket.bind(longest)
        with pytest.raises(zmq.ZMQError):
            socket.bind(longest + "x")
