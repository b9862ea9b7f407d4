"""`python -m tenure.admin`: run the management interface without the rest of the command line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tenure.admin.address import DEFAULT_BIND, AddressUnusableError
from tenure.admin.main import Options, run
from tenure.admin.token import TokenUnusableError
from tenure.contract.errors import InvalidEndpointError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tenure.admin", description="Serve the page and the API over HTTP.")
    parser.add_argument("--bind", default=DEFAULT_BIND, metavar="HOST:PORT", help=f"where to listen ({DEFAULT_BIND})")
    parser.add_argument(
        "--endpoint", action="append", default=[], help="where the broker is; several are tried in turn"
    )
    parser.add_argument("--state", type=Path, metavar="DIR", help="the directory of the token")
    parser.add_argument("--allow-host", action="append", default=[], help="a name it may be asked for by")
    parser.add_argument("--insecure-bind", action="store_true", help="allow other machines to reach it")
    parser.add_argument("--parent-pid", type=int, help="end when this parent is gone")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run until told to end; the exit code."""
    given = _parser().parse_args(arguments)
    options = Options(
        bind=given.bind,
        endpoints=tuple(given.endpoint),
        state=given.state,
        insecure_bind=given.insecure_bind,
        allowed_hosts=tuple(given.allow_host),
    )
    try:
        return run(options, given.parent_pid)
    except InvalidEndpointError as error:
        sys.stderr.write(f"tenure.admin: {error}\n")
        return 64
    except (AddressUnusableError, TokenUnusableError) as error:
        sys.stderr.write(f"tenure.admin: {error}\n")
        return 78


if __name__ == "__main__":
    sys.exit(main())
