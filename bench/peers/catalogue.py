"""Who takes part, in the order of the tables. A peer's Python client is imported only when it is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bench.peers.etcd import Etcd
from bench.peers.nats import Nats
from bench.peers.peer import Peer
from bench.peers.postgresql import PostgreSql
from bench.peers.redis import Redis
from bench.peers.tenure import Tenure
from bench.peers.zookeeper import ZooKeeper

_ALL: Final[tuple[Peer, ...]] = (
    Tenure(),
    Redis(),
    PostgreSql(is_told=True),
    Etcd(),
    ZooKeeper(),
    PostgreSql(is_told=False),
    Nats(),
)
PEERS: Final[Mapping[str, Peer]] = {peer.name: peer for peer in _ALL}
TENURE: Final = Tenure.name


def peer_named(name: str) -> Peer:
    """The peer of that name.

    Raises:
        ValueError: There is none.
    """
    if name not in PEERS:
        raise ValueError(f"there is no peer {name!r}; there are {', '.join(PEERS)}")
    return PEERS[name]
