"""Names that fit, and how long ago something was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tenure.cli.looks import ago, shortened


@pytest.mark.parametrize(
    ("columns", "short"),
    [(12, "account-0042"), (11, "accou…-0042"), (5, "ac…42"), (2, "a…"), (1, "…"), (0, ""), (-3, "")],
)
def test_what_is_too_much_is_left_out_in_the_middle(columns: int, short: str) -> None:
    """Both ends stay, as names differ there."""
    assert shortened("account-0042", columns) == short


@given(st.text(max_size=40), st.integers(0, 30))
def test_a_shortened_name_never_takes_more_columns_than_it_may(name: str, columns: int) -> None:
    """Letters may be two columns wide, or none."""
    short = shortened(name, columns)
    assert cell_len(short) <= columns or (short == name and cell_len(name) <= columns)
    if cell_len(name) <= columns:
        assert short == name


@pytest.mark.parametrize(
    ("ms", "said"),
    [(0, "0 s"), (59_000, "59 s"), (60_000, "1 min"), (3_599_000, "59 min"), (7_200_000, "2 h"), (86_400_000, "1 d")],
)
def test_how_long_ago_is_said_in_the_largest_unit(ms: int, said: str) -> None:
    """A clock that was set back is no reason for a negative age."""
    assert ago(1_700_000_000_000, 1_700_000_000_000 + ms) == said
    assert ago(1_700_000_000_000 + ms, 1_700_000_000_000) == "0 s"
