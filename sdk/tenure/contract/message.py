"""What every message of the wire has in common."""

from __future__ import annotations

from msgspec import Struct


class Message(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """What all messages share: a tag named `type`."""
