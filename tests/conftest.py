"""What holds for every test: the surroundings say nothing to Tenure, and nothing depends on how fast the machine is."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import pytest
import structlog
from coverage import Coverage
from hypothesis import settings

# Configuration comes from TENURE_* too, and whoever develops Tenure may well have a broker of their own configured.
for name in [name for name in os.environ if name.startswith("TENURE_")]:
    del os.environ[name]

# A shell has what it runs in the background ignore these, as would all that tests start and interrupt.
for number in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

# Tests start hundreds of processes, and each of them would compile all of Tenure first, if told to keep nothing of it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Hypothesis measures each example against a deadline by default, which on a busy machine fails for no reason.
# The same examples each time: a failure is the change's own. `pytest --hypothesis-profile=explore` looks at others.
settings.register_profile("tenure", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, print_blob=True)
settings.load_profile("tenure")


@pytest.fixture(scope="module")
def unmeasured() -> Iterator[None]:
    """Have coverage not look, neither here nor in the processes that are started: it takes three times as long."""
    measuring = Coverage.current()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        if measuring is not None:
            measuring.stop()
        yield
        if measuring is not None:
            measuring.start()


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """What a test sets up for logging ends with it: the stream it writes to may be closed by then."""
    yield
    structlog.reset_defaults()
