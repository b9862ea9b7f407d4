"""One message of each kind with every field set, and one with as little as it takes; golden/messages.txt has the bytes.

The examples of each direction are in a file of their own, `examples_of_*.py`; here they are put together.
`python -m tests.contract.examples >tests/contract/golden/messages.txt` writes that file anew. Whoever does so changes
the protocol: bytes that other people's clients send and expect. New lines are fine, changed ones need a new version.
"""

from __future__ import annotations

import sys
from typing import Final, get_args

from msgspec import Struct

from tenure.contract import codec
from tenure.contract.events import AnyEvent
from tenure.contract.messages import BrokerMessage, ClientMessage, StreamMessage
from tests.contract.examples_of_answers import BROKER
from tests.contract.examples_of_events import EVENT, STREAM
from tests.contract.examples_of_requests import CLIENT


def kinds(direction: str) -> tuple[type[Struct], ...]:
    """Every kind of message in one direction, from the union that the codec decodes."""
    unions = {"client": ClientMessage, "broker": BrokerMessage, "stream": StreamMessage, "event": AnyEvent}
    return get_args(unions[direction].__value__)


EXAMPLES: Final = (*CLIENT, *BROKER, *STREAM, *EVENT)


def golden_text() -> str:
    """What golden/messages.txt has to say: for each example its name, its JSON form and its bytes in hexadecimal."""
    header = (
        "# Every message and event of the protocol: direction, type, how much is set; the same as JSON; the bytes.\n"
        "# docs/protocol.md says what they mean. A client in another language decodes and encodes exactly these.\n"
    )
    blocks = [header]
    for example in EXAMPLES:
        encoded = codec.encode(example.value)
        blocks.append(f"{example.name}\n{codec.to_json(example.value)}\n{encoded.hex()}\n")
    return "\n".join(blocks)


if __name__ == "__main__":
    sys.stdout.write(golden_text())
