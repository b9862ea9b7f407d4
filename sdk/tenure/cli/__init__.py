"""The `tenure` command. It needs the `cli` extra; `serve` and `demo` need `broker`, `admin` needs `admin`."""

from __future__ import annotations

import sys

_INTERRUPTED = 130


def main() -> None:
    """Run the command line; names the extra to install if one is missing."""
    try:
        _main()
    except KeyboardInterrupt:  # while it was being imported; a command that runs ends in its own way
        sys.exit(_INTERRUPTED)


def _main() -> None:
    from tenure.cli.output import guarded_output, say  # here, as the keeper imports this package and has to start fast

    try:
        from tenure.cli.app import app
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich"}:
            raise
        say(
            "The `tenure` command needs an extra that is not installed. In a checkout of Tenure, install it with:\n"
            "    pip install '.[cli]'       status, events, run, resign, verify, backup\n"
            "    pip install '.[broker]'    all of these, and serve, admin and demo"
        )
        sys.exit(78)
    with guarded_output():
        app(prog_name="tenure")
