"""The broker: sockets, loop, clock, configuration, and the core that keeps the order store, reply, publish."""

from __future__ import annotations
