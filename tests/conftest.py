"""What holds for every test: the surroundings say nothing to Tenure, and nothing depends on how fast the machine is."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

# Configuration comes from TENURE_* too, and whoever develops Tenure may well have a broker of their own configured.
for name in [name for name in os.environ if name.startswith("TENURE_")]:
    del os.environ[name]

# Hypothesis measures each example against a deadline by default, which on a busy machine fails for no reason.
# The same examples each time: a failure is the change's own. `pytest --hypothesis-profile=explore` looks at others.
settings.register_profile("tenure", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, print_blob=True)
settings.load_profile("tenure")


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """What a test sets up for logging ends with it: the stream it writes to may be closed by then."""
    yield
    structlog.reset_defaults()
