"""The configuration as `tenure serve --print-config` shows it: a TOML file that says where each value came from.

What is printed can be served again: loaded as a file, it gives the same configuration.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import attrgetter
from pathlib import Path

import msgspec

from tenure.broker.config import DEFAULT_SOURCE, SETTINGS, Config


def render_config(config: Config, sources: Mapping[str, str]) -> str:
    """The whole configuration as TOML, with a comment behind each value: where it came from."""
    return "\n".join(_lines(config, sources)) + "\n"


def _lines(config: Config, sources: Mapping[str, str]) -> Iterator[str]:
    current = ""
    for name in SETTINGS:
        table, _, key = name.rpartition(".")
        if table != current:
            yield from ("", f"[{table}]")
            current = table
        source = sources.get(name, DEFAULT_SOURCE)
        yield f"{key} = {_toml(attrgetter(name)(config))}  # {source if source.isprintable() else ascii(source)}"


def _toml(value: object) -> str:
    """A value as TOML writes it, which for booleans, whole numbers, lists and printable text is how JSON does."""
    return msgspec.json.encode(str(value) if isinstance(value, Path) else value).decode()
