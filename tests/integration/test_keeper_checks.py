"""`tenure run --check CMD`: a health check is run like CMD itself, under a keeper, and says yes or no in time."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from tenure.cli.health import run_check
from tenure.cli.startable import CommandStartError
from tests.integration.keeper_rig import LONG_MS, Ear, listening


@pytest.fixture
def ear(tmp_path: Path) -> Generator[Ear]:
    """What hears the programs; at the end, none of them may be left."""
    with listening(tmp_path) as ear:
        yield ear


@pytest.mark.parametrize(("script", "is_healthy"), [("exit 0", True), ("exit 1", False), ("kill -9 $$", False)])
async def test_a_check_is_healthy_when_it_ends_with_0(script: str, *, is_healthy: bool) -> None:
    """Its exit code is all that counts."""
    assert await run_check(["sh", "-c", script], timeout_ms=LONG_MS) is is_healthy


async def test_a_check_that_takes_too_long_is_killed_with_all_it_started(ear: Ear) -> None:
    """In time, or not healthy: whatever it has started is gone when the answer is there."""
    assert not await run_check(ear.program("defiant"), timeout_ms=1_000)
    assert ear.survivors() == []


async def test_a_check_has_the_environment_given_and_only_errors_to_show(capfd: pytest.CaptureFixture[str]) -> None:
    """It knows the role's variables, takes no input away from CMD, and adds nothing to CMD's output."""
    script = 'echo noise; echo why >&2; [ "$TENURE_EPOCH" = 7 ] && [ -z "$(cat)" ]'
    env = {"TENURE_EPOCH": "7", "PATH": "/usr/bin:/bin"}
    read, write = os.pipe()
    os.write(write, b"input of CMD")
    os.close(write)
    saved = os.dup(0)
    os.dup2(read, 0)
    try:
        assert await run_check(["/bin/sh", "-c", script], env, timeout_ms=LONG_MS)
    finally:
        os.dup2(saved, 0)
        os.close(saved)
        os.close(read)
    assert capfd.readouterr() == ("", "why\n")


async def test_a_check_that_cannot_be_run_is_an_error_not_an_illness() -> None:
    """A misspelt check would otherwise keep an instance from ever being active, without a word."""
    with pytest.raises(CommandStartError, match="no-such-check"):
        await run_check(["no-such-check"], timeout_ms=LONG_MS)
