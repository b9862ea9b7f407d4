"""The management interface: who is active and who stands by, over HTTP, for people and their tools.

A client of the broker like any other, in a process of its own with its own replica of the registry, so that no reader
can delay a heartbeat. It decides nothing, and never shows what may be out of date as if it were live.
"""

from __future__ import annotations
