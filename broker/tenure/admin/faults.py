"""What is wrong with a value, in words that do not change with the library that found it.

msgspec says what it expected in one line of its own; here this line is read, never shown. One that is not known says
less, and not something else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Final

import msgspec
from msgspec import Struct

_WHERE: Final = re.compile(r" - at `(?:key in )?\$\.?(?P<path>[^`]*)`$")
_KINDS: Final = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "object": "an object",
    "array": "a list",
    "null": "null",
}
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(?P<name>[^`]*)`")
_MISSING: Final = re.compile(r"Object missing required field `(?P<name>[^`]*)`")
_SAID: Final[tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...]] = (
    (re.compile(r"Expected `int` >= (-?\d+)"), lambda found: f"has to be at least {int(found[1]):,}"),
    (re.compile(r"Expected `int` <= (-?\d+)"), lambda found: f"has to be at most {int(found[1]):,}"),
    (re.compile(r"Expected `(?:str|array)` of length >= 1$"), lambda _: "must not be empty"),
    (
        re.compile(r"Expected `str` of length <= (\d+)"),
        lambda found: f"has to have at most {int(found[1]):,} characters",
    ),
    (re.compile(r"Expected `array` of length <= (\d+)"), lambda found: f"has to have at most {int(found[1]):,} items"),
    (re.compile(r"Expected `str` matching regex '(.*)'"), lambda found: f"has to have {found[1]!r} in it"),
    (re.compile(r"Expected `([a-z |]+)`, got `([a-z]+)`"), lambda found: f"has to be {_kinds(found[1])}"),
    (re.compile(r"Invalid enum value (.*)"), lambda found: f"{found[1]} is none of the values that it may have"),
    (re.compile(r"Integer value out of range"), lambda _: "is too large a number"),
)


def fault(said: str, name: str, described: Mapping[str, str] | None = None) -> str:
    """What msgspec said of something that is called `name`, with what the members of it are described as."""
    where = _WHERE.search(said)
    path, said = ("", said) if where is None else (where["path"], said[: where.start()])
    found = _MISSING.match(said) or _UNKNOWN.match(said)
    if found is not None:
        path = f"{path}.{found['name']}" if path else found["name"]
    meaning = (described or {}).get(path.rpartition(".")[2])
    return f"{path or name} {_what(said)}{f': {meaning}' if meaning else ''}"


def body_fault(body: bytes, kind: type[Struct]) -> str | None:
    """What is wrong with a body that is to be of a kind; None if nothing is.

    It is stricter than Litestar, which takes "1" for 1.
    """
    try:
        msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        return fault(str(error), "the body", _described(kind))
    except msgspec.DecodeError:
        return "the body is no whole JSON"
    except UnicodeDecodeError:
        return "the body is no JSON: it is not UTF-8"
    return None


def _what(said: str) -> str:
    if _MISSING.match(said):
        return "is missing"
    if _UNKNOWN.match(said):
        return "is no member that there is"
    for pattern, tell in _SAID:
        found = pattern.match(said)
        if found is not None:
            return tell(found)
    return "is not as /schema describes it"


def _kinds(names: str) -> str:
    return " or ".join(_KINDS.get(one, one) for one in names.split(" | "))


@cache
def _described(kind: type[Struct]) -> Mapping[str, str]:
    """What the description says of each member, also of the items of a list."""
    _, parts = msgspec.json.schema_components([kind])
    return {
        name: str(member["description"])
        for part in parts.values()
        for name, member in part.get("properties", {}).items()
        if "description" in member
    }
