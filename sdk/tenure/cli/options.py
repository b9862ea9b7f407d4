"""Arguments that several commands share, declared once."""

from __future__ import annotations

from typing import Annotated, Final

import typer

Endpoints = Annotated[
    list[str] | None,
    typer.Option(
        "--endpoint",
        "-e",
        metavar="ENDPOINT",
        help="Where the broker takes requests, such as tcp://host:7400; may be given several times. "
        "Default: TENURE_ENDPOINT, else this machine's broker.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]

READ_TIMEOUT_MS: Final = 3_000
"""How long a command that only reads looks for a broker."""
