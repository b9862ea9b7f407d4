"""Where the admin may listen, and what says so when it may not."""

from __future__ import annotations

import socket

import pytest

from tenure.admin.address import AddressUnusableError, listen, name_of, parse_bind, url_of
from tenure.contract.endpoints import TcpEndpoint
from tenure.contract.errors import InvalidEndpointError


@pytest.mark.parametrize(
    ("bind", "address"),
    [
        ("127.0.0.1:7480", TcpEndpoint("127.0.0.1", 7480)),
        ("localhost:0", TcpEndpoint("localhost", None)),
        ("[::1]:7480", TcpEndpoint("::1", 7480)),
        ("127.1.2.3:*", TcpEndpoint("127.1.2.3", None)),
    ],
)
def test_the_loopback_may_be_listened_on(bind: str, address: TcpEndpoint) -> None:
    """Only this machine reaches it."""
    assert parse_bind(bind, insecure_bind=False) == address


@pytest.mark.parametrize("bind", ["0.0.0.0:7480", "10.0.0.1:7480", "[::]:7480", "somewhere:7480"])
def test_what_others_reach_is_refused_unless_somebody_insists(bind: str) -> None:
    """The refusal names the flag, and what is needed then; the flag is enough."""
    with pytest.raises(InvalidEndpointError, match=r"--insecure-bind.*tenure admin token"):
        parse_bind(bind, insecure_bind=False)
    assert parse_bind(bind, insecure_bind=True).port == 7480


@pytest.mark.parametrize("bind", ["", "7480", "127.0.0.1", "127.0.0.1:port", "http://127.0.0.1:7480", "*:7480"])
@pytest.mark.parametrize("insecure_bind", [True, False])
def test_what_is_no_address_is_refused(bind: str, insecure_bind: bool) -> None:
    """The refusal says what to write."""
    with pytest.raises(InvalidEndpointError, match="write"):
        parse_bind(bind, insecure_bind=insecure_bind)


def test_an_address_that_is_taken_is_named() -> None:
    """A second one at the same place says where and what to do."""
    with listen(TcpEndpoint("127.0.0.1", None), "127.0.0.1:0") as first:
        port = first.getsockname()[1]
        bind = f"127.0.0.1:{port}"
        assert url_of(first) == f"http://{bind}/"
        with pytest.raises(AddressUnusableError, match=f"{bind}.*--bind"):
            listen(TcpEndpoint("127.0.0.1", port), bind)


@pytest.mark.skipif(not socket.has_ipv6, reason="there is no IPv6 here")
def test_a_url_has_brackets_around_ipv6() -> None:
    """What is printed can be pasted."""
    try:
        listening = listen(TcpEndpoint("::1", None), "[::1]:0")
    except AddressUnusableError:
        pytest.skip("IPv6 is switched off here")
    with listening:
        assert url_of(listening) == f"http://[::1]:{listening.getsockname()[1]}/"


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("LocalHost", "localhost"),
        ("127.0.0.1:7480", "127.0.0.1"),
        ("[::1]", "::1"),
        ("[::FFFF:1]:80", "::ffff:1"),
        ("ops.example:", "ops.example"),
    ],
)
def test_a_host_names_something(host: str, name: str) -> None:
    """With a port or without, however it is written."""
    assert name_of(host) == name


GARBAGE = (
    "", "[::1", "[nonsense]", "::1", "local host", "@", "localhost@evil.example", "evil.example@localhost",
    "a:b@localhost", "localhost/", "localhost?", "localhost#x", "localhost:80:80", "localhost:x", "localhost\\",
    "[::1]evil", "localhost,evil", "löcalhost", "localhost\n",
)  # fmt: skip


@pytest.mark.parametrize("host", GARBAGE)
def test_what_is_no_host_names_nothing(host: str) -> None:
    """A Host that has more than a name and a port is as good as another one: who else reads it may see another name."""
    assert name_of(host) == ""
