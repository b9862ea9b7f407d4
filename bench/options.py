"""What all benches take on the command line, and what each does with its report at the end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from bench.pictures import draw
from bench.report import Report, to_json, to_text

Directory = Annotated[
    Path, typer.Option(help="Where the data is kept for the time of the run.", exists=True, file_okay=False)
]
Pin = Annotated[bool, typer.Option(help="Give broker and load a core each, if there are two.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]
Out = Annotated[
    Path | None, typer.Option(help="A directory for NAME.json and NAME.svg; it is made if it is not there.")
]
Check = Annotated[bool, typer.Option("--check", help="Exit with code 1 if a target is not met.")]

A_DISK: Final = Path("/var/tmp")  # noqa: S108  (a directory of unguessable name is made in it; /tmp is often not on a disk)


def finish(report: Report, *, as_json: bool, out: Path | None, check: bool) -> None:
    """Print a report and keep it; with `check`, end the process if it has faults.

    Raises:
        SystemExit: There are some.
        OSError: It cannot be written.
    """
    print(to_json(report) if as_json else to_text(report))
    if out is not None:
        keep(report, out)
    if check and report.faults:
        for fault in report.faults:
            print(f"bench: {fault}", file=sys.stderr)
        sys.exit(1)


def keep(report: Report, out: Path) -> None:
    """Write it as JSON and as a picture.

    Raises:
        OSError: It cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{report.bench}.json").write_text(to_json(report) + "\n")
    draw(report, out / f"{report.bench}.svg")
