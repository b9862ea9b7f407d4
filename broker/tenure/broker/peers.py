"""Who is at the other end of a connection, as the kernel says it, never as the peer does.

Over ipc libzmq hands on the kernel's word as `localhost:uid:gid:pid`; over tcp there is none. The text is parsed
strictly: anything else than that form counts as no word at all.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

_PEER_ADDRESS: Final = re.compile(r"localhost:(\d{1,10}):(\d{1,10}):(\d{1,10})", re.ASCII)


class Peer(Struct, frozen=True, gc=False):
    """A peer as the transport vouches for it."""

    uid: int | None = None
    pid: int | None = None

    @property
    def identity(self) -> str:
        """To whom a session of this peer belongs: `uid:N`, or empty where nobody vouches."""
        return "" if self.uid is None else f"uid:{self.uid}"


NOBODY: Final = Peer()


def parse_peer_address(text: str) -> Peer:
    """The peer that libzmq's `Peer-Address` names on an ipc connection; `NOBODY` for any other text."""
    match = _PEER_ADDRESS.fullmatch(text)
    if match is None or match[3] == "0":
        return NOBODY
    return Peer(uid=int(match[1]), pid=int(match[3]))
