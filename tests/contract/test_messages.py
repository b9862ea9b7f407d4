"""The wire: the bytes of every message and event, and what happens to bytes that are none of them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from tenure.contract import codec
from tenure.contract.errors import ProtocolError
from tenure.contract.limits import (
    FRAME_BYTES_MAX,
)
from tenure.contract.messages import (
    RegisterMany,
)
from tests.contract.example import Example
from tests.contract.examples import EXAMPLES, golden_text, kinds

GOLDEN = Path(__file__).parent / "golden" / "messages.txt"
DECODERS: dict[str, Callable[[bytes], object]] = {
    "client": codec.decode_client,
    "broker": codec.decode_broker,
    "stream": codec.decode_stream,
    "event": codec.decode_event,
}


class Golden(NamedTuple):
    """One entry of golden/messages.txt."""

    name: str
    json: str
    encoded: bytes

    @property
    def direction(self) -> str:
        """Which union it belongs to."""
        return self.name.split()[0]


def goldens() -> list[Golden]:
    """All entries, in order."""
    blocks = GOLDEN.read_text(encoding="utf-8").split("\n\n")[1:]
    return [Golden(name, json, bytes.fromhex(encoded)) for name, json, encoded in (b.split("\n", 2) for b in blocks)]


each_golden = pytest.mark.parametrize("golden", goldens(), ids=lambda golden: golden.name)
each_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)


def test_the_goldens_are_those_of_the_examples() -> None:
    """The file has what the examples make, to the byte: a change of it is a change of the protocol."""
    assert GOLDEN.read_text(encoding="utf-8") == golden_text()


@pytest.mark.parametrize("direction", DECODERS)
def test_the_goldens_are_complete(direction: str) -> None:
    """Every kind of message and event is there with all fields, and in its shortest form where it has a shorter one."""
    expected = {f"{direction} {kind.__struct_config__.tag} full" for kind in kinds(direction)}
    expected |= {
        f"{direction} {kind.__struct_config__.tag} short"
        for kind in kinds(direction)
        if any(not field.required for field in structs.fields(kind))
    }

    assert {golden.name for golden in goldens() if golden.direction == direction} == expected


@each_example
def test_an_example_has_all_or_as_little_as_it_takes(example: Example) -> None:
    """In a full example each field differs from its default; a short one has what is required and nothing else."""
    present = set(msgspec.msgpack.decode(codec.encode(example.value))) - {"type"}
    fields = structs.fields(example.value)

    expected = [field for field in fields if example.extent == "full" or field.required]

    assert present == {field.encode_name for field in expected}


@each_golden
def test_decoding_and_encoding(golden: Golden) -> None:
    """The bytes decode to the message, and the message encodes to the bytes."""
    message = DECODERS[golden.direction](golden.encoded)

    example = next(example for example in EXAMPLES if example.name == golden.name)
    assert message == example.value
    assert codec.encode(example.value) == golden.encoded


@each_golden
def test_the_json_form_is_that_of_the_bytes(golden: Golden) -> None:
    """Any MessagePack library finds in the bytes what the JSON beside them says."""
    assert msgspec.msgpack.decode(golden.encoded) == msgspec.json.decode(golden.json)


@each_golden
def test_the_order_of_keys_does_not_matter(golden: Golden) -> None:
    """A map may have its keys in any order, the type's too."""
    data = msgspec.msgpack.decode(golden.encoded)
    turned = msgspec.msgpack.encode(dict(reversed(data.items())))

    assert DECODERS[golden.direction](turned) == DECODERS[golden.direction](golden.encoded)


@each_golden
def test_unknown_fields_are_ignored(golden: Golden) -> None:
    """A newer peer may say more: whatever an unknown field has, the rest is understood."""
    data = msgspec.msgpack.decode(golden.encoded)
    newer = {"added": {"nested": [1, None, b"x"]}, **data, "more": 2.5}

    assert DECODERS[golden.direction](msgspec.msgpack.encode(newer)) == DECODERS[golden.direction](golden.encoded)


@each_golden
def test_each_truncation_is_refused(golden: Golden) -> None:
    """No beginning of a message is a message."""
    for length in range(len(golden.encoded)):
        with pytest.raises(ProtocolError):
            DECODERS[golden.direction](golden.encoded[:length])


@each_golden
def test_what_comes_after_a_message_is_refused(golden: Golden) -> None:
    """A frame has one message and nothing behind it."""
    with pytest.raises(ProtocolError):
        DECODERS[golden.direction](golden.encoded + b"\xc0")


@each_golden
def test_a_missing_field_is_refused(golden: Golden) -> None:
    """Whatever of the shortest form is missing, the type included, the message is refused."""
    data = msgspec.msgpack.decode(golden.encoded)
    example = next(example for example in EXAMPLES if example.name == golden.name)
    required = [field.encode_name for field in structs.fields(example.value) if field.required]

    for name in ("type", *required):
        shorter = {key: value for key, value in data.items() if key != name}
        with pytest.raises(ProtocolError):
            DECODERS[golden.direction](msgspec.msgpack.encode(shorter))


@each_golden
def test_a_wrong_type_is_refused(golden: Golden) -> None:
    """No field takes a value of a kind that it never has."""
    data = msgspec.msgpack.decode(golden.encoded)

    for name in data:
        with pytest.raises(ProtocolError):
            DECODERS[golden.direction](msgspec.msgpack.encode({**data, name: 2.5}))


@each_golden
def test_an_unknown_type_is_refused(golden: Golden) -> None:
    """A message of a type that this direction does not have is refused, also if another one has it."""
    data = msgspec.msgpack.decode(golden.encoded)
    known = {str(kind.__struct_config__.tag) for kind in kinds(golden.direction)}
    foreign = {str(kind.__struct_config__.tag) for direction in DECODERS for kind in kinds(direction)} - known

    for tag in (*foreign, "", "HELLO", 1, None):
        with pytest.raises(ProtocolError):
            DECODERS[golden.direction](msgspec.msgpack.encode({**data, "type": tag}))


@pytest.mark.parametrize("decode", DECODERS.values())
@pytest.mark.parametrize("data", [None, 1, "hello", b"hello", [], ["hello", 1], {}, {1: 2}, {"type": ["hello"]}])
def test_what_is_no_map_with_a_type_is_refused(decode: Callable[[bytes], object], data: object) -> None:
    """A body is one map whose `type` is a string, and nothing else."""
    with pytest.raises(ProtocolError):
        decode(msgspec.msgpack.encode(data))


def understood_or_refused(direction: str, frame: bytes) -> object:
    """The message that a frame is; None if it was refused, in few words."""
    try:
        message = DECODERS[direction](frame)
    except ProtocolError as error:
        message, reason = None, str(error)
    else:
        reason = ""
        assert isinstance(message, kinds(direction))
    assert len(reason) < 400
    return message


@given(frame=st.binary(max_size=64))
def test_random_bytes(frame: bytes) -> None:
    """Whatever comes, it is a message or a `ProtocolError`."""
    for direction in DECODERS:
        understood_or_refused(direction, frame)


mutations = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4)


@given(golden=st.sampled_from(goldens()), changes=mutations)
def test_damaged_messages(golden: Golden, changes: list[tuple[int, int]]) -> None:
    """A message with bytes changed is a message still, or a `ProtocolError`."""
    frame = bytearray(golden.encoded)
    for position, byte in changes:
        frame[position % len(frame)] = byte
    understood_or_refused(golden.direction, bytes(frame))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(golden=st.sampled_from(goldens()), data=st.data(), value=json_values)
def test_strange_values(golden: Golden, data: st.DataObject, value: Any) -> None:
    """A field with any value at all is understood or refused, and what is understood survives being sent on."""
    fields = msgspec.msgpack.decode(golden.encoded)
    name = data.draw(st.sampled_from(sorted(fields)))
    message = understood_or_refused(golden.direction, msgspec.msgpack.encode({**fields, name: value}))
    if message is not None:
        assert DECODERS[golden.direction](msgspec.msgpack.encode(message)) == message


@pytest.mark.parametrize("nest", [b"\x91", b"\x81\xa1a", b"\xdd\x00\x00\x00\x01"])
@pytest.mark.parametrize("field", [b"", b"\x82\xa4type\xa7goodbye\xa1x", b"\x82\xa4type\xa5hello\xa7version"])
def test_bottomless_nesting_is_refused(field: bytes, nest: bytes) -> None:
    """A frame that nests without end, even in a field nobody knows, is refused before it exhausts the stack."""
    frame = (field + nest * FRAME_BYTES_MAX)[:FRAME_BYTES_MAX]

    with pytest.raises(ProtocolError):
        codec.decode_client(frame)


@pytest.mark.parametrize(
    "before", [b"\x83\xa4type\xa9heartbeat\xa8sequence\x01\xa8given_up", b"\x82\xa4type\xadregister_many\xa5items"]
)
@pytest.mark.parametrize("count", [2**24, 2**32 - 1])
def test_an_array_longer_than_its_frame_takes_no_memory(before: bytes, count: int) -> None:
    """A few bytes that announce billions of items are refused before room is made for them."""
    frame = before + b"\xdd" + count.to_bytes(4)
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError):
            codec.decode_client(frame)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 1_000_000


def test_a_long_value_is_not_quoted_in_full() -> None:
    """The reason of a refusal travels back: a value of a megabyte does not."""
    for data in (
        {"type": "x" * 1_000_000},
        {"type": "register", "service_name": "s", "instance_id": "i", "role": "x" * 1_000_000},
    ):
        with pytest.raises(ProtocolError) as refused:
            codec.decode_client(msgspec.msgpack.encode(data))
        assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    "text", [b"\xa2\xff\xfe", b"\xa3\xed\xa0\x80", b"\xc4\x01a", b"\xd4\x01a", b"\xd6\xff\x00\x00\x00\x00"]
)
def test_what_is_no_text_is_no_name(text: bytes) -> None:
    """Broken UTF-8, lone surrogates, binary data and extensions are not strings."""
    with pytest.raises(ProtocolError):
        codec.decode_client(b"\x82\xa4type\xacget_resource\xabresource_id" + text)


def test_items_of_a_batch_may_leave_their_type_out() -> None:
    """What stands in `items` can only be registrations; saying so is allowed and not needed."""
    frame = msgspec.msgpack.encode({"type": "register_many", "items": [{"service_name": "s", "instance_id": "i"}]})

    message = codec.decode_client(frame)

    assert isinstance(message, RegisterMany)
    assert message.items[0].service_name == "s"
