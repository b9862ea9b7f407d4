"""docs/protocol.md says what the code does: every message, field, type, default, event, word, code and limit."""

from __future__ import annotations

import re
import types
import typing
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from msgspec import NODEFAULT, Struct, structs

from tenure.contract import limits
from tenure.contract.errors import ErrorCode, ErrorInfo
from tenure.contract.events import AnyEvent, Event, PreviousHolder, RoleChangedEvent
from tenure.contract.interventions import RoleChange, RoleChangeResult
from tenure.contract.limits import PROTOCOL_VERSION
from tenure.contract.measurements import Count, Histogram
from tenure.contract.message import Message
from tenure.contract.messages import Entered, GivenUp, ProcessIdentity, RegisterResult, RoleStatement
from tenure.contract.views import Holder, Move, Pause, Presence, ResourceView, ServiceInstance, Switchover, TenureView
from tenure.contract.vocabulary import ChangeReason, Channel, OnConflict, ResumeReason, ServiceRole, ServiceStatus
from tests.contract.examples import kinds

DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
WORDS: dict[type[StrEnum], str] = {
    ServiceRole: "role",
    OnConflict: "on_conflict",
    Channel: "channel",
    ServiceStatus: "status",
    ChangeReason: "reason",
    ResumeReason: "resume_reason",
    ErrorCode: "error code",
}
TYPES: tuple[type[Struct], ...] = (
    ProcessIdentity,
    GivenUp,
    Entered,
    RoleStatement,
    RegisterResult,
    ErrorInfo,
    Holder,
    PreviousHolder,
    ServiceInstance,
    ResourceView,
    Switchover,
    Move,
    Presence,
    Pause,
    TenureView,
    RoleChange,
    RoleChangeResult,
    Count,
    Histogram,
)
MESSAGES = tuple(kind for direction in ("client", "broker", "stream") for kind in kinds(direction))
EVENTS = kinds("event")
LIMITS = sorted(name for name in vars(limits) if name.isupper() and name != "PROTOCOL_VERSION")

type Row = tuple[str, str, str]
"""Of a field: name, type, default."""


def tag_of(kind: type[Struct]) -> str:
    """The `type` of a message or an event."""
    return str(kind.__struct_config__.tag)


def section(heading: str) -> str:
    """What stands under a heading, up to the next one."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, f"{DOCUMENT.name} has no section {heading!r}"
    return found[1]


def rows(heading: str) -> list[list[str]]:
    """The rows of the table under a heading, without its head."""
    lines = [line for line in section(heading).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def documented(heading: str) -> list[Row]:
    """The fields that a section's table has."""
    return [(name.strip("`"), kind, default) for name, kind, default, *_ in rows(heading)]


def type_text(annotation: Any) -> str:
    """A field's type as the document writes it."""
    if annotation is AnyEvent:
        return "event"
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is types.UnionType:
        inner = next(argument for argument in arguments if argument is not types.NoneType)
        return f"{type_text(inner)} or nil"
    if origin is tuple:
        return f"array of {type_text(arguments[0])}"
    if origin is dict:
        return "map of text to text"
    if issubclass(annotation, StrEnum):
        return WORDS[annotation]
    if issubclass(annotation, Message):
        return f"`{tag_of(annotation)}`"
    if issubclass(annotation, Struct):
        return str(annotation.__name__)
    return {int: "integer", str: "text", bool: "boolean"}[annotation]


def default_text(field: structs.FieldInfo) -> str:
    """A field's default as the document writes it."""
    default = field.default if field.default_factory is NODEFAULT else field.default_factory()
    if field.required:
        return "required"
    if default is None:
        return "nil"
    if isinstance(default, StrEnum | str):
        return f'`"{default}"`'
    if isinstance(default, tuple | dict):
        return "`[]`" if isinstance(default, tuple) else "`{}`"
    return str(default).lower()


def fields_of(kind: type[Struct], without: type[Struct] | None = None) -> list[Row]:
    """The fields that a message, an event or a type has, but for those of `without`, in the order of the code."""
    annotations = typing.get_type_hints(kind)
    inherited = () if without is None else without.__struct_fields__
    return [
        (field.encode_name, type_text(annotations[field.name]), default_text(field))
        for field in structs.fields(kind)
        if field.name not in inherited
    ]


@pytest.mark.parametrize("kind", MESSAGES, ids=tag_of)
def test_each_message_is_in_the_document(kind: type[Struct]) -> None:
    """Every message has a section with all its fields, their types and their defaults, and no others."""
    heading = f"`{tag_of(kind)}`"

    assert documented(heading) == fields_of(kind)
    assert ("No fields." in section(heading)) is (not kind.__struct_fields__)


@pytest.mark.parametrize("kind", EVENTS, ids=tag_of)
def test_each_event_is_in_the_document(kind: type[Struct]) -> None:
    """Every event has a section with all its fields but for those that it shares."""
    is_derived = kind is not RoleChangedEvent and issubclass(kind, RoleChangedEvent)

    assert documented(f"Event `{tag_of(kind)}`") == fields_of(kind, RoleChangedEvent if is_derived else Event)
    assert ("With the fields of `role_changed`" in section(f"Event `{tag_of(kind)}`")) is is_derived


def test_what_all_events_share_is_in_the_document() -> None:
    """The fields of every event stand in front of them."""
    assert documented("13 Events") == fields_of(Event)


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_each_type_is_in_the_document(kind: type[Struct]) -> None:
    """Every map that stands in a message has a section with all its fields."""
    assert documented(f"Type `{kind.__name__}`") == fields_of(kind)


def test_no_type_is_forgotten() -> None:
    """Whatever a field's type is, it is a message, an event or one of the types of the document."""
    mentioned = {cell for kind in (*MESSAGES, *EVENTS, *TYPES) for _, cell, _ in fields_of(kind)}
    names = {word for cell in mentioned for word in cell.split() if word[0].isupper()}

    assert names == {kind.__name__ for kind in TYPES}


def test_nothing_else_has_a_section() -> None:
    """What was removed from the code is removed from the document."""
    headings = set(re.findall(r"^### (.*`)$", TEXT, re.MULTILINE))

    expected = {f"`{tag_of(kind)}`" for kind in MESSAGES}
    expected |= {f"Event `{tag_of(kind)}`" for kind in EVENTS}
    expected |= {f"Type `{kind.__name__}`" for kind in TYPES}
    assert headings == expected


@pytest.mark.parametrize("kind", kinds("client"), ids=tag_of)
def test_each_request_says_how_it_is_answered(kind: type[Struct]) -> None:
    """A request's section names its answer, which is a message of the broker, and only errors that exist."""
    text = section(f"`{tag_of(kind)}`").replace("\n", " ")
    answer = re.search(r"Answer: `(\w+)`", text)
    assert answer
    assert answer[1] in {tag_of(kind) for kind in kinds("broker")}

    errors = re.search(r"Errors: (.*?)(?=\. [A-Z]|\.\s*\||\.\s*-|\.$)", text)
    named = set(re.findall(r"`(\w+)`(?= \(|,|;|\.|$| or)", errors[1])) if errors else set[str]()
    other_words = {"limit", "resume", "session_id", "revision", "register"} | set(kind.__struct_fields__)
    assert named - other_words <= set(ErrorCode)


def test_each_error_code_is_in_the_document() -> None:
    """Every code has a row that says what happened, whether anything was done, and what to do; no other has."""
    table = {code.strip("`"): (what, done, todo) for code, what, done, todo in rows("16 Errors")}

    assert set(table) == set(ErrorCode)
    unknown = {ErrorCode.STORAGE_UNAVAILABLE, ErrorCode.INTERNAL_ERROR}
    assert {code for code, (_, done, _) in table.items() if done == "unknown"} == unknown
    assert {done for _, done, _ in table.values()} == {"no", "unknown"}
    assert all(what and todo for what, _, todo in table.values())


@pytest.mark.parametrize("word", [word for word in WORDS if word is not ErrorCode], ids=WORDS.get)
def test_each_word_is_in_the_document(word: type[StrEnum]) -> None:
    """Every value that travels as text is listed with its word."""
    table = dict(rows("15 Words"))

    assert set(re.findall(r"`(\w+)`", table[WORDS[word]])) == set(word)


@pytest.mark.parametrize("name", LIMITS)
def test_each_limit_is_in_the_document(name: str) -> None:
    """Every limit of the contract is in the table, with its value."""
    table = {found[1]: value for what, value, _ in rows("17 Limits") if (found := re.search(r"`([A-Z_]+)`", what))}

    assert int(table[name].replace(",", "")) == getattr(limits, name)


def test_the_version_is_in_the_document() -> None:
    """The title names the version that the code speaks."""
    assert TEXT.startswith(f"# The Tenure protocol, version {PROTOCOL_VERSION}\n")


def test_links_lead_somewhere() -> None:
    """Every link of the document has its section, or its file."""
    headings = re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}

    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        if target.startswith("#"):
            assert target[1:] in anchors
        elif not target.startswith("https://"):
            assert (DOCUMENT.parent / target).exists(), target


def test_references_to_paragraphs_lead_somewhere() -> None:
    """Every number in brackets such as (5.4) is a paragraph or section that exists."""
    paragraphs = set(re.findall(r"^(?:\*\*|### )(\d+\.\d+)\b", TEXT, re.MULTILINE))
    sections = set(re.findall(r"^## (\d+) ", TEXT, re.MULTILINE))

    assert set(re.findall(r"\b(\d{1,2}\.\d{1,2})\b(?!\.\d)", re.sub(r"\d+\.\d+\.\d+\.\d+", "", TEXT))) <= paragraphs
    assert set(re.findall(r"[Ss]ection (\d+)", TEXT)) <= sections
