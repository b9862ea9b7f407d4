"""How the sessions of a client are held, as its connections need to know."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from tenure.contract.messages import ProcessIdentity


class Options(Struct, frozen=True, kw_only=True):
    """How a client's sessions are held."""

    lease_ms: int
    timeout_ms: float
    process: ProcessIdentity | None
    is_fenced: bool
    stall_limit_ms: int | None
    interval_log: Path | None
