"""The `tenure` command: one function per command, each in a module of its own."""

from __future__ import annotations

import logging
import sys
from importlib.metadata import version as installed_version

import structlog
import typer

from tenure.cli.admin import app as admin
from tenure.cli.backup import backup, restore
from tenure.cli.demo import demo
from tenure.cli.events import events
from tenure.cli.expire import expire
from tenure.cli.explain import explain
from tenure.cli.pause import pause, resume
from tenure.cli.ping import ping
from tenure.cli.resign import resign
from tenure.cli.run import run
from tenure.cli.serve import serve
from tenure.cli.status import status
from tenure.cli.switchover import switchover
from tenure.cli.tenures import history
from tenure.cli.top import top
from tenure.cli.verify import verify

app = typer.Typer(
    name="tenure",
    help="Keep exactly one process active for each resource, the others standing by, and move the role when it dies.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(serve)
app.command()(status)
app.command()(top)
app.command()(ping)
app.command()(events)
app.command()(explain)
app.command()(history)
app.command(context_settings={"allow_interspersed_args": False})(run)
app.command()(switchover)
app.command()(resign)
app.command()(pause)
app.command()(resume)
app.command()(expire)
app.add_typer(admin, name="admin")
app.command()(verify)
app.command()(backup)
app.command()(restore)
app.command()(demo)


@app.callback()
def quietly() -> None:
    """Have the SDK report trouble on standard error, and nothing else; `serve` sets up the broker's own logging."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )


@app.command()
def version() -> None:
    """Show the version of Tenure."""
    print(f"tenure {installed_version('tenure')}")
