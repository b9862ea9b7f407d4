"""What the documents name exists: tests, files and links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.chaos.scenarios import SCENARIOS
from tests.simulation.variants import BROKEN

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    """A link to a file of the repository leads to one that is there."""
    targets = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_is_named_exists(page: Path) -> None:
    """A test that a page names can be run under that name."""
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page.read_text())
    assert [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / path).exists() or (name and f"def {name}(" not in (ROOT / path).read_text())
    ] == []


def test_there_are_pages_to_look_at() -> None:
    """The pages are found, so that the tests above cannot pass by looking at nothing."""
    assert {"README.md", "ARCHITECTURE.md", "guarantees.md", "sdk.md", "cli.md"} <= {page.name for page in PAGES}


def test_as_many_variants_and_scenarios_are_claimed_as_there_are() -> None:
    """docs/guarantees.md counts them, and would go on to do so when others come."""
    page = (ROOT / "docs" / "guarantees.md").read_text()
    assert f"broken on purpose: {len(BROKEN)} variants" in page
    assert f"real processes: {len(SCENARIOS)} scenarios" in page
