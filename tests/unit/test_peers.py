"""Who a peer is, as the kernel says it over ipc; any other text is nobody's word."""

from __future__ import annotations

import pytest

from tenure.broker.peers import NOBODY, Peer, parse_peer_address


def test_the_kernels_word_is_understood() -> None:
    """Libzmq hands on uid, gid and pid of an ipc peer in this form."""
    peer = parse_peer_address("localhost:1000:1001:4321")
    assert peer == Peer(uid=1000, pid=4321)
    assert peer.identity == "uid:1000"
    assert parse_peer_address("localhost:0:0:1") == Peer(uid=0, pid=1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1",
        "localhost",
        "localhost:1000:1000",
        "localhost:1000:1000:0",
        "localhost:1000:1000:4321:5",
        "localhost:1000:1000:4321\n",
        " localhost:1000:1000:4321",
        "localhost:-1:1000:4321",
        "localhost:1000:1000:+4321",
        "localhost:1000:1000:٤٣٢١",
        "LOCALHOST:1000:1000:4321",
        "example.org:1000:1000:4321",
        "localhost:1000:1000:12345678901",
    ],
)
def test_anything_else_is_nobody(text: str) -> None:
    """★ Strictly parsed: what is not exactly the kernel's form vouches for nobody."""
    assert parse_peer_address(text) == NOBODY
    assert NOBODY.identity == ""
