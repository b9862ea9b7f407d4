"""`python -m tenure.admin`: run the management interface without the rest of the command line."""

from __future__ import annotations

import argparse
import sys

from tenure.admin.address import DEFAULT_BIND
from tenure.admin.main import run
from tenure.contract.errors import InvalidEndpointError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tenure.admin", description="Serve the admin API over HTTP.")
    parser.add_argument("--bind", default=DEFAULT_BIND, metavar="HOST:PORT", help=f"where to listen ({DEFAULT_BIND})")
    parser.add_argument(
        "--endpoint", action="append", default=[], help="where the broker is; several are tried in turn"
    )
    parser.add_argument("--insecure-bind", action="store_true", help="allow other machines to reach it")
    parser.add_argument("--parent-pid", type=int, help="end when this parent is gone")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run until told to end; the exit code."""
    given = _parser().parse_args(arguments)
    try:
        return run(given.bind, tuple(given.endpoint), insecure_bind=given.insecure_bind, parent_pid=given.parent_pid)
    except InvalidEndpointError as error:
        sys.stderr.write(f"tenure.admin: {error}\n")
        return 64


if __name__ == "__main__":
    sys.exit(main())
