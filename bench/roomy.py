"""`python -m bench.roomy …`: a broker that takes as many sessions as it is told, whatever the file limit allows.

`tenure serve` reckons with three descriptors for each session (control, requests, and its process's exit) and refuses
to promise more sessions than that. Those of the bench have one connection each, so that a broker which only they use
can serve three times as many. All its limits hold, the one on connections too. Takes the flags that the bench gives to
`tenure serve`.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from tenure.broker.config import load_config
from tenure.broker.descriptors import raise_file_limit
from tenure.broker.logs import configure_logging
from tenure.broker.main import run
from tenure.broker.server import Broker


def main() -> int:
    """Serve until told to end."""
    parser = argparse.ArgumentParser()
    for flag in ("config", "data", "log-level"):
        parser.add_argument(f"--{flag}", required=True)
    for flag in ("bind", "events-bind"):
        parser.add_argument(f"--{flag}", action="append")
    parser.add_argument("--no-admin", action="store_true")
    given = parser.parse_args()
    config = load_config(
        Path(given.config),
        os.environ,
        {
            "data": given.data,
            "bind": given.bind,
            "events_bind": given.events_bind,
            "admin": not given.no_admin,
            "log.level": given.log_level,
        },
    )
    raise_file_limit()
    configure_logging(config.log.level, config.log.format)
    return run(config, (), _say)


def _say(broker: Broker, _admin_url: str) -> None:
    print(*broker.endpoints, flush=True)


if __name__ == "__main__":
    sys.exit(main())
