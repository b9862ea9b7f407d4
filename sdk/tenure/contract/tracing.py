"""What traces of a request say, the same in a client and in the broker; for whoever has `opentelemetry-api` installed.

A request's third frame carries the client's span to the broker, in the form of W3C's `traceparent`. It is read by
nobody who decides anything, and what is wrong in it is as good as nothing.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from tenure.contract.message import Message

IS_AVAILABLE: Final = bool(find_spec("opentelemetry") and find_spec("opentelemetry.trace"))
"""Whether `opentelemetry-api` is installed."""
TRACEPARENT: Final = "traceparent"
"""The name that the Trace Context recommendation gives to what the frame holds (https://www.w3.org/TR/trace-context/)."""
_FIELDS: Final = ("service_name", "instance_id", "resource_id", "role", "epoch")


def span_name(message: Message) -> str:
    """What a request's span is called: its type on the wire."""
    return f"tenure.{message.__struct_config__.tag}"


def span_attributes(message: Message) -> dict[str, str | int]:
    """Whom and what a request is about, as far as it says so."""
    found = ((name, getattr(message, name, None)) for name in _FIELDS)
    return {f"tenure.{name}": value for name, value in found if isinstance(value, str | int) and value}
