"""The token of the admin is shown by `tenure admin token` alone: in no log, no trace and no repr."""

from __future__ import annotations

import io
import sys
import traceback
from collections.abc import Iterator

import pytest
import structlog

from tenure.admin.main import configure_logging
from tenure.admin.security import Security
from tests.unit.admin_stage import TOKEN, SceneSource, asking, assert_problem


class Terminal(io.StringIO):
    """Standard error as people see it, or as a file."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        """Whether somebody looks."""
        return self._is_terminal


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """Leave logging as it was."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize("is_local_only", [True, False])
async def test_the_trace_of_a_failed_request_has_no_token(
    monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool, is_local_only: bool
) -> None:
    """Where there is a trace for people it has no values, however the request was let in."""
    shown = Terminal(is_terminal=is_terminal)
    monkeypatch.setattr(sys, "stderr", shown)
    configure_logging()
    source = SceneSource()
    source.defect = RuntimeError("a defect")
    async with asking(source, is_local_only=is_local_only, token=TOKEN) as browser:
        for answer in (await browser.get("/services"), await browser.delete("/services/svc/instances/a")):
            assert_problem(answer, answer.status_code, answer.json()["code"])

    said = shown.getvalue()
    assert "request.failed" in said
    assert "a defect" in said
    assert TOKEN not in said


def test_what_shows_values_does_not_show_the_token() -> None:
    """A repr, and a trace with all its locals."""
    security = Security(token=TOKEN, is_local_only=True, allowed_hosts=frozenset({"ops.example"}))
    assert repr(security) == "Security(is_local_only=True, allowed_hosts={'ops.example'})"
    try:
        security.knows_host(None, "")  # type: ignore[arg-type]
    except TypeError as error:
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        assert "security = Security(" in shown
        assert TOKEN not in shown
    else:
        raise AssertionError("that was to fail")
