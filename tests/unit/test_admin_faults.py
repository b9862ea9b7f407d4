"""What is wrong with a request is said in the admin's own words, and names what it is about."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import pytest
from msgspec import Meta, Struct

from tenure.admin.faults import body_fault, fault


class Colour(StrEnum):
    """One of two."""

    RED = "red"
    BLUE = "blue"


class Item(Struct, forbid_unknown_fields=True):
    """A part of a body."""

    number: Annotated[int, Meta(ge=1, le=2_000, description="How many there are.")]


class Body(Struct, forbid_unknown_fields=True):
    """What a body may be like."""

    why: Annotated[str, Meta(min_length=1, max_length=5, description="The reason.")]
    items: Annotated[list[Item], Meta(min_length=1, max_length=2)] = []
    colour: Colour | None = None
    part: Annotated[float, Meta(ge=0)] = 0.0
    is_sure: bool = False


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the body is no whole JSON"),
        (b"{", "the body is no whole JSON"),
        (b"{]", "the body is no whole JSON"),
        (b'{"why": "\xff"}', "the body is no JSON: it is not UTF-8"),
        (b"[]", "the body has to be an object"),
        (b"{}", "why is missing: The reason."),
        (b'{"why": 1}', "why has to be text: The reason."),
        (b'{"why": ""}', "why must not be empty: The reason."),
        (b'{"why": "abcdef"}', "why has to have at most 5 characters: The reason."),
        (b'{"why": "x", "who": 1}', "who is no member that there is"),
        (b'{"why": "x", "items": []}', "items must not be empty"),
        (b'{"why": "x", "items": {}}', "items has to be a list"),
        (b'{"why": "x", "items": [{}]}', "items[0].number is missing: How many there are."),
        (b'{"why": "x", "items": [{"number": 0}]}', "items[0].number has to be at least 1: How many there are."),
        (b'{"why": "x", "items": [{"number": 2001}]}', "items[0].number has to be at most 2,000: How many there are."),
        (b'{"why": "x", "items": [{"number": "1"}]}', "items[0].number has to be a whole number: How many there are."),
        (b'{"why": "x", "items": [{"numb": 1}]}', "items[0].numb is no member that there is"),
        (b'{"why": "x", "items": [{"number":1},{"number":1},{"number":1}]}', "items has to have at most 2 items"),
        (b'{"why": "x", "colour": "green"}', "colour 'green' is none of the values that it may have"),
        (b'{"why": "x", "colour": 1}', "colour has to be text or null"),
        (b'{"why": "x", "is_sure": "yes"}', "is_sure has to be true or false"),
        (b'{"why": "x", "part": -1}', "part is not as /schema describes it"),
    ],
)
def test_what_is_wrong_with_a_body(body: bytes, said: str) -> None:
    """By the name of the member, with what it is for; a rule that has no words here is at least placed."""
    assert body_fault(body, Body) == said


def test_a_body_that_is_right() -> None:
    """There is nothing to say of it."""
    assert body_fault(b'{"why": "x", "items": [{"number": 1}], "colour": "red"}', Body) is None


def test_a_parameter_goes_by_its_own_name() -> None:
    """It has no path, and may break a pattern or be too large."""
    assert fault("Expected `int` <= 1000", "limit") == "limit has to be at most 1,000"
    assert fault("Expected `str` matching regex '='", "metadata") == "metadata has to have '=' in it"
    assert fault("Integer value out of range", "after") == "after is too large a number"
