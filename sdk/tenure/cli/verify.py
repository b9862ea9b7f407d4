"""`tenure verify`: whether the guarantees hold on a store's own history, or a backup's, and on what clients believed.

Reads alone, also beside a broker that is running. It needs no broker, only its files; the parts of Tenure that know
them come with every installation.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tenure.cli.exits import CONFIG, FAILED, clear_errors, complain
from tenure.cli.options import AsJson
from tenure.contract.codec import to_json
from tenure.sdk.intervals import IntervalLogError, interval_logs, read_interval_log

if TYPE_CHECKING:
    from tenure.domain.beliefs import Beliefs
    from tenure.domain.verdicts import Report

_STYLES: Final = {"proven": "green", "broken": "bold red", "not_checked": "yellow"}
_SHOWN_AFTER_S: Final = 1.0  # a short history needs no progress
_SHOWN_EVERY: Final = 20_000  # events: a few times a second
_WIDE: Final = 1_000  # columns, where nothing says how many there are


def verify(
    file: Annotated[
        Path | None, typer.Argument(help="A backup to verify, in place of a store.", show_default=False)
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Where the registry is kept.", show_default=False)] = None,
    interval_log: Annotated[
        list[Path] | None,
        typer.Option(
            "--interval-log",
            metavar="PATH",
            help="An interval log of a client, or a directory of them; may be given several times.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Prove the guarantees G1 to G5 on a store's history and its clients' interval logs, or name what breaks them.

    Of a store in which nothing has happened, as after a restore, there is nothing to check.

    Exit code 1 if a guarantee is broken, 78 if the store or a log cannot be read.
    """
    from tenure.broker.config import ConfigError, load_config
    from tenure.domain.beliefs import Beliefs, ImpossibleLogError
    from tenure.domain.store import StoreUnusableError

    began_s = time.monotonic()
    if file is not None and data is not None:
        raise typer.BadParameter("either a backup or --data can be verified", param_hint="FILE")
    with clear_errors():
        try:
            place = file or load_config(None, os.environ, {"data": data}).data
            beliefs = _read_logs(Beliefs(), interval_log or [])  # before the store, which then knows all they do
            report = _verify(place, beliefs)
        except (ConfigError, StoreUnusableError, IntervalLogError, ImpossibleLogError) as error:
            complain(str(error))
            sys.exit(CONFIG)
        if as_json:
            sys.stdout.write(to_json(report) + "\n")
        else:
            _show(report, time.monotonic() - began_s)
    sys.exit(FAILED if report.is_broken else 0)


def _read_logs(beliefs: Beliefs, places: Iterable[Path]) -> Beliefs:
    paths = {path.resolve(): path for place in places for path in interval_logs(place)}
    for path in paths.values():
        beliefs.read(str(path), read_interval_log(path))
    return beliefs


def _verify(place: Path, beliefs: Beliefs) -> Report:
    from tenure.domain.verification import verify
    from tenure.storage.history import read_history

    with read_history(place) as history:
        told = _told(history.events, history.next_revision - 1) if sys.stderr.isatty() else history.events
        return verify(history._replace(events=told), beliefs)


def _told(events: Iterable[tuple[int, bytes]], newest: int) -> Iterator[tuple[int, bytes]]:
    """The events; says on a terminal how far they are, once it takes long."""
    began_s = time.monotonic()
    was_shown = False
    for number, event in enumerate(events):
        if number % _SHOWN_EVERY == 0 and time.monotonic() - began_s > _SHOWN_AFTER_S:
            print(f"\rverifying revision {event[0]:,} of {newest:,}", end="", file=sys.stderr, flush=True)
            was_shown = True
        yield event
    if was_shown:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _show(report: Report, took_s: float) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("", "VERDICT", "WHAT WAS FOUND"):
        table.add_column(heading, overflow="fold")
    for verdict in report.verdicts:
        state = Text(verdict.state.value.replace("_", " "), style=_STYLES[verdict.state.value])
        more = [f"revision {finding.revision}: {finding.what}" for finding in verdict.findings[1:]]
        if verdict.findings_count > len(verdict.findings):
            more.append(f"… and {verdict.findings_count - len(verdict.findings)} more")
        table.add_row(verdict.guarantee.value, state, Text("\n".join([verdict.says, *more])))
    console = Console(width=None if sys.stdout.isatty() else _WIDE)
    with console.capture() as capture:
        console.print(table)
    sys.stdout.write("".join(line.rstrip() + "\n" for line in capture.get().splitlines()))
    print(
        f"\nhistory {report.history_id}: {report.events:,} events, {report.tenures:,} tenures, "
        f"{report.intervals:,} intervals in {took_s:.1f} s"
    )
