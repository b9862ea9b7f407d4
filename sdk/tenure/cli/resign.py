"""`tenure resign`: have the active instance of a resource step down, also if nobody can take over."""

from __future__ import annotations

from typing import Annotated

import typer

from tenure.cli.completion import resource_ids
from tenure.cli.exits import run_async
from tenure.cli.options import Endpoints
from tenure.cli.switchover import move, report


def resign(
    resource: Annotated[
        str, typer.Argument(autocompletion=resource_ids, help="The resource whose active instance is to step down.")
    ],
    wait_ms: Annotated[
        int, typer.Option(min=1, help="How long to wait for it to step down, in milliseconds.")
    ] = 30_000,
    endpoint: Endpoints = None,
) -> None:
    """Ask the active instance of a resource to step down; it stops its work first, then the next one takes over.

    It is a switchover to whoever is next that goes on even if there is nobody. An instance that does not step down has
    its tenure renewed no more, and is not active any longer when its lease has ended.

    Exit code 1 if nobody is active, 69 if no broker answers, 75 if the instance has not stepped down in time.
    """
    result = run_async(move(tuple(endpoint or ()), resource, wait_ms=wait_ms, even_if_vacant=True))
    for line in report(result, even_if_vacant=True):
        print(line)
