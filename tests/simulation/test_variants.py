"""The simulation can fail: a broker or a client that breaks one rule is caught within a bounded number of seeds."""

from __future__ import annotations

import pytest

from tests.simulation.run import run, run_many
from tests.simulation.variants import BROKEN

# Within how many seeds each is caught, from 0 on, and as what.
CAUGHT: dict[str, tuple[int, str]] = {}
