"""`python -m bench`: one command per bench. Exit code 1 if `--check` finds a limit passed, 2 for a wrong argument."""

from __future__ import annotations

import logging
import sys

import structlog
import typer

from bench.latency import latency

app = typer.Typer(
    name="bench",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def measure() -> None:
    """Measure Tenure through the real SDK, a real broker process and a durable file."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


app.command()(latency)

if __name__ == "__main__":
    app(prog_name="python -m bench")
