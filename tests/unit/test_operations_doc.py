"""docs/operations.md and what the programs do: every event that is logged has its row, and commands exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import typer.main

from tenure.cli.app import app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text()
PROGRAMS = ("broker", "admin")
EVENT = re.compile(r"[a-z_]+\.[a-z_]+")
WRITES = {"debug", "info", "warning", "error", "critical", "exception", "tell", "write"}
"""How what writes a line is called, as a method or as a local name for one."""


def logged(path: Path) -> set[str]:
    """The events that a module logs."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name), args=[ast.Constant(value=str(text)), *_]):
                if name in WRITES and EVENT.fullmatch(text):
                    found.add(text)
            case _:
                pass
    return found


def test_every_event_that_is_logged_has_its_row() -> None:
    """Every one of broker and admin, and no other; in the order of the alphabet, so that it is found."""
    events: set[str] = set()
    for program in PROGRAMS:
        for path in (ROOT / "broker" / "tenure" / program).glob("*.py"):
            events |= logged(path)
    rows = re.findall(r"^\| `([a-z_.]+)` \|", PAGE, re.MULTILINE)
    assert {"role.changed", "commit.refused", "endpoint.shut", "loop.late"} <= events, "the events are found"
    assert rows == sorted(events)


def test_every_command_that_is_named_exists() -> None:
    """With the options that are shown with it."""
    group: Any = typer.main.get_command(app)
    in_code = re.findall(r"`(?:[A-Z_]+=\S+ )?tenure ([a-z]+)([^`]*)`", PAGE)
    in_code += re.findall(r"^(?:[A-Z_]+=\S+ |/opt/tenure/bin/)?tenure ([a-z]+)(.*?)(?:\s{2,}#.*)?$", PAGE, re.MULTILINE)
    named = {name for name, _ in in_code}
    assert {"serve", "ping", "status", "backup", "restore", "verify", "explain", "expire"} <= named, "they are found"
    for name, arguments in in_code:
        assert name in group.commands, name
        options = {option for one in group.commands[name].params for option in (*one.opts, *one.secondary_opts)}
        assert set(re.findall(r"--[a-z-]+", arguments)) <= options, (name, arguments)


def test_every_command_has_its_section() -> None:
    """In docs/cli.md, by its name."""
    group: Any = typer.main.get_command(app)
    sections = re.findall(r"^## tenure (\w+)$", (ROOT / "docs" / "cli.md").read_text(), re.MULTILINE)
    assert set(sections) == set(group.commands)
