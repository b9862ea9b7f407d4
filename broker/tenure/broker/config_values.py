"""One setting at a time: its names in a file, in the environment and as a flag, and how a value of it is read.

Works for any tree of frozen structs; which settings there are, and what they are for, is in `config`. Every fault is a
`ConfigError` that names where the value came from, the value, and what is allowed instead.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import msgspec
from msgspec import Struct, inspect, structs

from tenure.contract.endpoints import check_endpoint
from tenure.contract.errors import InvalidEndpointError, TenureError

VARIABLE_PREFIX: Final = "TENURE_"
_SHOWN_MAX: Final = 80  # characters of a wrong value that a message repeats
_SIMILARITY: Final = 0.75  # from here on another name is taken for a slip


class ConfigError(TenureError, ValueError):
    """The configuration cannot be used; the message says where the fault is and what is allowed."""

    def __init__(self, source: str, problem: str, *, value: object = None) -> None:
        self.source = source
        """Where it came from: a file and its key, a variable, or a flag."""
        self.value = value
        super().__init__(f"{source}: {problem}")


class Setting(NamedTuple):
    """One value of the configuration."""

    name: str
    """As in the file, tables included: `limits.queue_max`."""
    type: Any

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return VARIABLE_PREFIX + self.name.upper().replace(".", "_")

    @property
    def flag(self) -> str:
        """Its name on a command line."""
        return "--" + self.name.replace(".", "-").replace("_", "-")

    @property
    def allowed(self) -> str:
        """What its values may be, in words."""
        if self.type is Path:
            return "a path"
        match inspect.type_info(self.type):
            case inspect.BoolType():
                return "true or false"
            case inspect.IntType(ge=least, le=most):
                return f"a whole number from {least} to {most}"
            case inspect.LiteralType(values=values):
                return ", ".join(repr(value) for value in values)
            case inspect.VarTupleType():
                return "a list of endpoints, each ipc:///absolute/path or tcp://host:port"
            case _:
                return "text"


class Place(NamedTuple):
    """What a path that is not absolute is relative to."""

    folder: Path
    home: Callable[[], Path]
    """Asked only for a path that begins with `~`: not everybody has a home."""


def settings_of(kind: type[Struct], table: str = "") -> Iterator[Setting]:
    """Every setting of a tree of structs, in its order."""
    for field in structs.fields(kind):
        name = f"{table}.{field.name}" if table else field.name
        if isinstance(field.type, type) and issubclass(field.type, Struct):
            yield from settings_of(field.type, name)
        else:
            yield Setting(name, field.type)


def read_value(setting: Setting, value: object, where: str, place: Place, *, is_text: bool) -> Any:  # noqa: ANN401
    """The value in the setting's own type. Text (of a variable or a flag) may stand for numbers, truth and lists.

    Raises:
        ConfigError: It is of another type, or out of its range.
    """
    problem = f"{_shown(value)} is not allowed; allowed is {setting.allowed}"
    if setting.type is Path:
        return _read_path(value, place, where, problem)
    if is_text and isinstance(value, str) and inspect.type_info(setting.type).__class__ is inspect.VarTupleType:
        value = [part.strip() for part in value.split(",") if part.strip()]
    try:
        read = msgspec.convert(value, setting.type, strict=not is_text)
    except msgspec.ValidationError as error:
        raise ConfigError(where, problem, value=value) from error
    if isinstance(read, tuple):
        _check_endpoints(cast("tuple[str, ...]", read), where)
    return cast("Any", read)


def suggestion(name: str, spellings: Mapping[str, str]) -> str:
    """What `name` is probably a slip for, by what settings may be written like; nothing if it is like none."""
    (close,) = difflib.get_close_matches(name, spellings, 1, _SIMILARITY) or ("",)
    return spellings.get(close, "")


def flatten(table: Mapping[str, object], tables: frozenset[str], prefix: str = "") -> Iterator[tuple[str, object]]:
    """The values of a parsed file by their full names; only what is known to be a table is gone into."""
    for key, value in table.items():
        name = f"{prefix}{key}"
        if name in tables and isinstance(value, dict):
            yield from flatten(cast("dict[str, object]", value), tables, f"{name}.")
        else:
            yield name, value


def _read_path(value: object, place: Place, where: str, problem: str) -> Path:
    if not isinstance(value, (str, Path)) or not str(value).strip() or not str(value).isprintable():
        raise ConfigError(where, problem, value=value)
    path = Path(value)
    if path.parts[:1] == ("~",):
        path = place.home().joinpath(*path.parts[1:])
    try:
        return (place.folder / path).absolute()
    except OSError as error:
        raise ConfigError(where, f"{_shown(value)} is relative to a directory that is gone", value=value) from error


def _check_endpoints(endpoints: Sequence[str], where: str) -> None:
    if not endpoints:
        raise ConfigError(where, "is empty; name at least one endpoint", value=endpoints)
    for number, endpoint in enumerate(endpoints):
        try:
            check_endpoint(endpoint)
        except InvalidEndpointError as error:
            raise ConfigError(where, str(error), value=endpoint) from error
        if endpoint in endpoints[:number] and not endpoint.endswith((":0", ":*")):
            raise ConfigError(where, f"{endpoint} is named twice", value=endpoint)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}…"
