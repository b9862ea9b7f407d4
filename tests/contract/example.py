"""What an example of the protocol is, and what all of them speak of."""

from __future__ import annotations

from typing import Final, NamedTuple

from tenure.contract.events import AnyEvent
from tenure.contract.message import Message

HISTORY: Final = "01989d1a7c3e4f0b8a52c6d7e8f90a1b"
AT_MS: Final = 1_767_225_600_000


class Example(NamedTuple):
    """A message or an event, and how much of it is set."""

    direction: str
    """`client`, `broker`, `stream` or `event`: which union it belongs to."""
    extent: str
    """`full`: every field differs from its default. `short`: only what has no default is there."""
    value: Message | AnyEvent

    @property
    def name(self) -> str:
        """What the example is called in golden/messages.txt."""
        return f"{self.direction} {type(self.value).__struct_config__.tag} {self.extent}"
