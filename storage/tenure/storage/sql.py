"""The .sql files beside this module, read once: the schema, its migrations, the write path, and the named queries."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import Final

_FILES: Final = resources.files(__name__.rpartition(".")[0])
_NAMED: Final = re.compile(r"^-- name: (\w+)\n(.+?;)$", re.MULTILINE | re.DOTALL)
_MIGRATION: Final = re.compile(r"(\d{4})_\w+\.sql")


def script(name: str) -> str:
    """The text of a file, as `schema.sql`."""
    return _FILES.joinpath(name).read_text(encoding="utf-8")


@cache
def queries() -> dict[str, str]:
    """The statements of queries.sql by their names."""
    return dict(_NAMED.findall(script("queries.sql")))


@cache
def migrations() -> tuple[str, ...]:
    """The migrations in order: the first makes version 1 out of nothing, each other the next version.

    Raises:
        ValueError: A number is missing or there twice.
    """
    numbered = sorted(
        (int(match[1]), file.read_text(encoding="utf-8"))
        for file in _FILES.joinpath("migrations").iterdir()
        if (match := _MIGRATION.fullmatch(file.name))
    )
    if [number for number, _ in numbered] != list(range(1, len(numbered) + 1)):
        raise ValueError(f"migrations are numbered {[number for number, _ in numbered]}, not from 1 without a gap")
    return tuple(text for _, text in numbered)
