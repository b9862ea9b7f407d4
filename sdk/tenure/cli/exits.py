"""Exit codes, and how an error becomes one clear line on standard error.

The codes are those of sysexits.h where it has one, so that a supervisor can tell "try again" from "mend this".
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Coroutine, Generator
from importlib.util import find_spec
from typing import Final

from tenure.cli.output import say
from tenure.contract.errors import (
    BrokerUnavailableError,
    DuplicateInstanceError,
    InvalidEndpointError,
    RequestTimeoutError,
    RoleConflictError,
    SwitchoverFailedError,
    TenureError,
)
from tenure.sdk.intervals import IntervalLogUnwritableError

FAILED: Final = 1
USAGE: Final = 64
"""EX_USAGE: an argument is wrong."""
UNAVAILABLE: Final = 69
"""EX_UNAVAILABLE: no broker answered."""
REFUSED: Final = 75
"""EX_TEMPFAIL: somebody else holds the role, or it has not moved in time; trying later may succeed."""
CONFIG: Final = 78
"""EX_CONFIG: the configuration, the data or the installation is wrong."""
INTERRUPTED: Final = 130
"""Ended by Ctrl-C."""


def complain(message: str) -> None:
    """Say what went wrong, on standard error."""
    say(f"tenure: {message}")


def need_extra(extra: str, *modules: str) -> None:
    """End with what to install if an extra's modules are not there.

    Raises:
        SystemExit: One is not.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        complain(f"this needs {', '.join(missing)}, not installed: pip install '.[{extra}]' in a checkout of Tenure")
        sys.exit(CONFIG)


def run_async[T](work: Coroutine[None, None, T]) -> T:
    """Run a command's coroutine to its end; errors become a line and an exit code.

    Raises:
        SystemExit: It failed.
    """
    with clear_errors():
        return asyncio.run(work)


@contextlib.contextmanager
def clear_errors() -> Generator[None]:
    """Turn what users may meet into one line and an exit code.

    Raises:
        SystemExit: An error came up inside.
    """
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except TenureError as error:
        complain(str(error))
        sys.exit(_code_of(error))


def _code_of(error: TenureError) -> int:
    if isinstance(error, (BrokerUnavailableError, RequestTimeoutError)):
        return UNAVAILABLE
    if isinstance(error, (RoleConflictError, DuplicateInstanceError, SwitchoverFailedError)):
        return REFUSED
    if isinstance(error, IntervalLogUnwritableError):
        return CONFIG
    return USAGE if isinstance(error, InvalidEndpointError) else FAILED
