"""The wire between brokers and clients: messages, events, error codes, limits and the codec.

Depends on nothing but the standard library and msgspec, and does no I/O. docs/protocol.md is its text.
"""

from __future__ import annotations
