"""`tenure admin`: run the admin API alone, against a broker anywhere; `tenure admin token`: what changes need."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from tenure.cli.exits import CONFIG, FAILED, clear_errors, complain, need_extra
from tenure.cli.options import Endpoints

State = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="The directory of the token: of a broker that was started with --data, that one.",
        show_default="the default of `tenure serve --data`",
    ),
]

app = typer.Typer(
    help="Serve the page and the API over HTTP: who is active, who stands by, what happened, and moves by request.",
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def admin(
    context: typer.Context,
    bind: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where to listen.")] = "127.0.0.1:7480",
    insecure_bind: Annotated[
        bool, typer.Option("--insecure-bind", help="Allow other machines to reach it: nothing is encrypted.")
    ] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name that it may be asked for by, besides this machine's own."),
    ] = None,
    state: State = None,
    endpoint: Endpoints = None,
    listen_fd: Annotated[int | None, typer.Option(hidden=True, help="A socket that listens at --bind.")] = None,
    parent_pid: Annotated[int | None, typer.Option(hidden=True, help="End when this parent is gone.")] = None,
) -> None:
    """Serve the page and the API over HTTP: who is active, who stands by, what happened, and moves by request.

    `tenure serve` starts one beside the broker. Changes need the token that `tenure admin token` shows.

    Exit code 78 if nothing can listen there, or the token can be neither made nor used.
    """
    if context.invoked_subcommand is not None:
        return
    need_extra("admin", "litestar", "uvicorn")
    from tenure.admin.address import AddressUnusableError
    from tenure.admin.main import Options, run
    from tenure.admin.token import TokenUnusableError

    options = Options(
        bind=bind,
        listen_fd=listen_fd,
        endpoints=tuple(endpoint or ()),
        state=state,
        insecure_bind=insecure_bind,
        allowed_hosts=tuple(allow_host or ()),
    )
    with clear_errors():
        try:
            code = run(options, parent_pid)
        except (AddressUnusableError, TokenUnusableError) as error:
            complain(str(error))
            sys.exit(CONFIG)
    sys.exit(code)


@app.command()
def token(state: State = None) -> None:
    """Show the token that changes through the admin API need, as in `Authorization: Bearer TOKEN`.

    The first start of an admin makes it, in a file that its owner alone can read.

    Exit code 1 if there is none yet, or it cannot be used.
    """
    from tenure.admin.token import TokenUnusableError, default_state, read_token

    try:
        print(read_token(state or default_state(os.environ)))
    except TokenUnusableError as error:
        complain(str(error))
        sys.exit(FAILED)
