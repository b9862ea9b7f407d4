"""`python -m bench`: one command per bench.

Exit code 1 if `--check` finds a limit passed, 2 for a wrong argument, 70 if nothing could be measured.
"""

from __future__ import annotations

import logging
import sys

import structlog
import typer

from bench.claim import claim
from bench.ensure import ensure
from bench.event import event
from bench.everything import EXIT_FAILED, everything
from bench.failover import failover
from bench.peers.comparison import peers
from bench.processes import ProcessFailedError
from bench.reject import reject
from bench.scale import scale
from bench.soak import soak
from bench.storm import storm
from bench.switchover import switchovers
from bench.watched import watched
from tenure.contract.errors import TenureError

app = typer.Typer(
    name="bench",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def measure() -> None:
    """Measure Tenure: requests through the real SDK, a broker process and a durable file, and what is asked locally."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )


app.command()(claim)
app.command()(reject)
app.command()(event)
app.command()(ensure)
app.command()(failover)
app.command("switchover")(switchovers)
app.command()(storm)
app.command()(scale)
app.command()(soak)
app.command()(watched)
app.command()(peers)
app.command("all")(everything)


def main() -> None:
    """Run the bench that was asked for; what users may meet becomes one line."""
    try:
        app(prog_name="python -m bench")
    except (ProcessFailedError, TenureError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(EXIT_FAILED)


if __name__ == "__main__":
    main()
