"""`tenure admin`: run the admin API alone, against a broker anywhere."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tenure.cli.exits import clear_errors, need_extra
from tenure.cli.options import Endpoints


def admin(
    bind: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where to listen.")] = "127.0.0.1:7480",
    insecure_bind: Annotated[
        bool, typer.Option("--insecure-bind", help="Allow other machines to reach it: nothing is authenticated.")
    ] = False,
    endpoint: Endpoints = None,
    parent_pid: Annotated[int | None, typer.Option(hidden=True, help="End when this parent is gone.")] = None,
) -> None:
    """Serve the admin API over HTTP: who is active, who stands by. `tenure serve` starts one beside the broker."""
    need_extra("admin", "litestar", "uvicorn")
    from tenure.admin.main import run

    with clear_errors():
        sys.exit(run(bind=bind, endpoints=tuple(endpoint or ()), insecure_bind=insecure_bind, parent_pid=parent_pid))
