"""`python -m bench.admin ENDPOINT STATE`: an admin in a process of its own; it says `ready URL` when it answers.

It follows the broker at the endpoint, keeps its token in the directory, and goes on until it is killed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

import structlog

from tenure.admin.main import NICENESS, Options, run_admin


def _say_ready(url: str) -> None:
    print("ready", url, flush=True)


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    os.nice(NICENESS)
    endpoint, state = sys.argv[1:]
    asyncio.run(run_admin(Options(bind="127.0.0.1:0", endpoints=(endpoint,), state=Path(state)), on_ready=_say_ready))
