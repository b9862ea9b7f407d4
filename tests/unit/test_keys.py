"""What a terminal sends, as keys: however it is cut into pieces."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenure.cli.keys import KeyReader

TYPED = b"j\x1b[A\x1bOB\x1b[5~\x1b[1;5C\r\x7f/\xc3\xa4\x1b[H\x00G"
PRESSED = ["j", "up", "down", "page up", "enter", "backspace", "/", "ä", "home", "G"]
"""Without ctrl-right and NUL, which have no name here."""


@given(st.lists(st.integers(0, len(TYPED)), max_size=6))
def test_keys_are_the_same_however_they_are_cut(cuts: list[int]) -> None:
    """A key's bytes may come in pieces, also those of a letter."""
    reader = KeyReader()
    edges = [0, *sorted(cuts), len(TYPED)]
    keys = [key for start, end in pairwise(edges) for key in reader.feed(TYPED[start:end])]
    assert (keys, reader.is_amid) == (PRESSED, False)


def test_an_escape_that_nothing_follows_is_the_escape_key() -> None:
    """It is known only after a while; what follows later is a key of its own."""
    reader = KeyReader()
    assert reader.feed(b"\x1b") == []
    assert reader.is_amid
    assert reader.flush() == ["escape"]
    assert not reader.is_amid
    assert reader.feed(b"[A") == ["[", "A"]


@pytest.mark.parametrize("begun", [b"\x1b[", b"\x1b[1;", b"\x1bO"])
def test_a_key_that_never_ends_is_none(begun: bytes) -> None:
    """Half a key is forgotten after a while."""
    reader = KeyReader()
    assert reader.feed(begun) == []
    assert reader.is_amid
    assert reader.flush() == []
    assert reader.feed(b"q") == ["q"]


def test_escape_before_another_key_is_a_key_by_itself() -> None:
    """Both at once, as after a pause of the machine: neither is lost."""
    assert KeyReader().feed(b"\x1bq") == ["escape", "q"]
    assert KeyReader().feed(b"\x1b\x1b[A") == ["escape", "up"]
