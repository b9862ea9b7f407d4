"""Who is active and what happens next: pure, without I/O, clock, randomness or logging.

`Registry` is the state machine; `records` is what it keeps and hands to a store; `store` is the port a store fills.
"""

from __future__ import annotations
