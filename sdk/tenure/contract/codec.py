"""Bytes to messages and back: MessagePack, decoders built once, every failure a `ProtocolError`."""

from __future__ import annotations

from typing import Final

import msgspec

from tenure.contract.errors import ProtocolError
from tenure.contract.events import AnyEvent
from tenure.contract.message import Message
from tenure.contract.messages import BrokerMessage, ClientMessage, StreamMessage

_encoder: Final = msgspec.msgpack.Encoder()
_client: Final[msgspec.msgpack.Decoder[ClientMessage]] = msgspec.msgpack.Decoder(ClientMessage)
_broker: Final[msgspec.msgpack.Decoder[BrokerMessage]] = msgspec.msgpack.Decoder(BrokerMessage)
_stream: Final[msgspec.msgpack.Decoder[StreamMessage]] = msgspec.msgpack.Decoder(StreamMessage)
_event: Final[msgspec.msgpack.Decoder[AnyEvent]] = msgspec.msgpack.Decoder(AnyEvent)

_REASON_CHARS_MAX: Final = 300  # a decoder may quote a value of any size, and the reason travels back


def encode(message: Message | AnyEvent) -> bytes:
    """The bytes of a message or of an event."""
    return _encoder.encode(message)


def decode_client(frame: bytes) -> ClientMessage:
    """What a client sent. Raises `ProtocolError` for anything the protocol does not allow."""
    return _decode(_client, frame)


def decode_broker(frame: bytes) -> BrokerMessage:
    """What a broker sent to a client. Raises `ProtocolError`."""
    return _decode(_broker, frame)


def decode_stream(frame: bytes) -> StreamMessage:
    """What a broker published. Raises `ProtocolError`."""
    return _decode(_stream, frame)


def decode_event(body: bytes) -> AnyEvent:
    """One event, as the store keeps it. Raises `ProtocolError`."""
    return _decode(_event, body)


def _decode[T](decoder: msgspec.msgpack.Decoder[T], frame: bytes) -> T:
    try:
        return decoder.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"not a message of this protocol: {str(error)[:_REASON_CHARS_MAX]}") from error


def to_json(value: object) -> str:
    """One line of JSON for any message, event or view, or a list of them."""
    return msgspec.json.encode(value).decode()
