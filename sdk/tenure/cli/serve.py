"""`tenure serve`: run the broker. The only part of the command line that needs the broker, and it imports it late."""

from __future__ import annotations

import os
import sys
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tenure.cli.exits import CONFIG, complain, need_extra
from tenure.sdk.endpoints import resolve_endpoints

if TYPE_CHECKING:
    from tenure.broker.config import Config
    from tenure.broker.server import Broker


def serve(
    data: Annotated[Path | None, typer.Option(help="Where the registry is kept.", show_default=False)] = None,
    bind: Annotated[
        list[str] | None,
        typer.Option(metavar="ENDPOINT", help="Take requests here; may be given several times.", show_default=False),
    ] = None,
    events_bind: Annotated[
        list[str] | None,
        typer.Option(metavar="ENDPOINT", help="Publish events here; may be given several times.", show_default=False),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file; see --sample-config.", show_default=False)] = None,
    admin: Annotated[
        bool | None,
        typer.Option("--admin/--no-admin", help="Run the page and the API beside the broker.", show_default="on"),
    ] = None,
    admin_bind: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Where the admin listens.", show_default="127.0.0.1:7480"),
    ] = None,
    insecure_bind: Annotated[
        bool | None,
        typer.Option("--insecure-bind", help="Allow endpoints that other machines reach: nothing is authenticated."),
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.", show_default="info")] = None,
    log_format: Annotated[str | None, typer.Option(help="auto, json or console.", show_default="auto")] = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="Show what would be served, and exit.")] = False,
    sample_config: Annotated[bool, typer.Option("--sample-config", help="Show a commented TOML file.")] = False,
) -> None:
    """Run the broker until Ctrl-C or SIGTERM. Settings come from defaults, a TOML file, TENURE_* variables and flags.

    Exit code 78 if the data or an endpoint cannot be used, 70 if the store failed while serving (start it again).
    """
    need_extra("broker", "aiosqlite", "uvloop")
    from tenure.broker.config import ConfigError, resolve_config
    from tenure.broker.config_text import render_config
    from tenure.broker.descriptors import fit_to_descriptors, raise_file_limit
    from tenure.broker.logs import configure_logging
    from tenure.broker.main import run
    from tenure.domain.store import StoreError

    if sample_config:
        sys.stdout.write(files("tenure.broker").joinpath("tenure.toml").read_text())
        return
    flags = {
        "data": data,
        "bind": bind,
        "events_bind": events_bind,
        "admin": admin,
        "admin_bind": admin_bind,
        "insecure_bind": insecure_bind,
        "log.level": log_level,
        "log.format": log_format,
    }
    try:
        loaded, sources, warnings = fit_to_descriptors(resolve_config(config, os.environ, flags), raise_file_limit())
        if print_config:
            sys.stdout.write(render_config(loaded, sources))
            return
        configure_logging(loaded.log.level, loaded.log.format)
        sys.exit(run(loaded, warnings, lambda broker, url: _say_ready(loaded, broker, url)))
    except (ConfigError, StoreError) as error:
        complain(str(error))
        sys.exit(CONFIG)


def _say_ready(config: Config, broker: Broker, admin_url: str) -> None:
    """Where it listens, where the data is, and what to paste to try it."""
    is_found = resolve_endpoints((), os.environ, os.getuid())[0] in broker.endpoints
    where = "" if is_found else f"--endpoint {broker.endpoints[0]} "
    lines = [
        f"Tenure takes requests at   {'  '.join(broker.endpoints)}",
        f"       publishes events at {'  '.join(broker.events_endpoints)}",
        f"       keeps its data in   {config.data}",
    ]
    if admin_url:
        lines.append(f"       admin page soon at  {admin_url}")
    lines.append(f"Try it:  tenure run {where}--service hello -- sleep 1000")
    print("\n".join(lines), flush=True)
