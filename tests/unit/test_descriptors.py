"""Limits follow from how many descriptors there are, and what cannot be served is refused before it is tried."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenure.broker.admission import burst_max
from tenure.broker.config import ConfigError, resolve_config
from tenure.broker.descriptors import OWN, Fitted, fit_to_descriptors, raise_file_limit

ENVIRON = {"HOME": "/home/you", "XDG_RUNTIME_DIR": "/run/user/1000"}
MARGIN = burst_max(3, 4)  # two ROUTERs and a PUB, on two endpoints each for requests and events


def fit(file_limit: int, **limits: int) -> Fitted:
    """The default configuration with these limits, on a system with this many descriptors."""
    flags: dict[str, object] = {f"limits.{name}": value for name, value in limits.items()}
    return fit_to_descriptors(resolve_config(None, ENVIRON, flags), file_limit)


def test_limits_follow_from_the_file_limit() -> None:
    """With nothing configured, a quarter of what is left are sessions, and the rest connections; the source says so."""
    config = fit(524_288).config
    assert (config.limits.sessions_max, config.limits.connections_max) == (100_000, 300_000)
    config, sources, warnings = fit(65_536)
    spare = 65_536 - OWN - MARGIN
    assert config.limits.sessions_max == spare // 4
    assert config.limits.connections_max == spare - spare // 4
    assert sources["limits.sessions_max"] == "default, from the file limit of 65536"
    assert sources["limits.connections_max"] == "default, from the file limit of 65536"
    assert sources["limits.queue_max"] == "default"
    assert warnings == ()


def test_small_file_limit_is_served_with_a_warning() -> None:
    """Without room for a whole burst, a quarter is kept free, and the warning names the limit that would be safe."""
    config, _, (warning,) = fit(1_024)
    sessions_max, connections_max = config.limits.sessions_max, config.limits.connections_max
    assert sessions_max == (1_024 - OWN - 256) // 4
    assert OWN + sessions_max + connections_max + 256 == 1_024
    safe = OWN + sessions_max + connections_max + MARGIN
    assert f"With a limit of {safe}" in warning
    assert fit(safe, sessions_max=sessions_max, connections_max=connections_max).warnings == ()
    assert fit(safe - 1, sessions_max=sessions_max, connections_max=connections_max).warnings != ()


def test_what_is_configured_is_kept() -> None:
    """Numbers of the operator stand as they are; one of them alone leaves the other to be derived."""
    config, sources, _ = fit(65_536, sessions_max=100, connections_max=250)
    assert (config.limits.sessions_max, config.limits.connections_max) == (100, 250)
    assert sources["limits.sessions_max"] == "--limits-sessions-max"
    spare = 65_536 - OWN - MARGIN
    assert fit(65_536, sessions_max=100).config.limits.connections_max == spare - 100
    assert fit(65_536, connections_max=250).config.limits.sessions_max == 250 // 3
    assert fit(65_536, connections_max=spare - 5).config.limits.sessions_max == 5
    assert fit(65_536, connections_max=1).config.limits.sessions_max == 1


def test_sessions_that_cannot_be_served_are_refused() -> None:
    """More sessions than there are descriptors for are refused, with how many there may be."""
    most = (20_000 - OWN) // 3
    config, _, warnings = fit(20_000, sessions_max=most)
    assert config.limits.connections_max == 2 * most
    assert len(warnings) == 1
    with pytest.raises(ConfigError) as caught:
        fit(20_000, sessions_max=most + 1)
    assert str(caught.value).startswith(f"--limits-sessions-max: {most + 1} sessions need ")
    assert "the file limit is 20000; raise it (LimitNOFILE= of systemd" in str(caught.value)
    assert str(caught.value).endswith(f"or allow at most {most}")


def test_connections_that_cannot_be_served_are_refused() -> None:
    """The same for connections, beside the sessions there may be."""
    most = 20_000 - OWN - 100
    assert fit(20_000, sessions_max=100, connections_max=most).config.limits.connections_max == most
    with pytest.raises(ConfigError, match=rf"--limits-connections-max: .* or allow at most {most}$"):
        fit(20_000, sessions_max=100, connections_max=most + 1)


def test_connections_that_do_not_suffice_are_warned_of() -> None:
    """Sessions that could never all be connected are a slip worth a line."""
    _, _, warnings = fit(65_536, sessions_max=1_000, connections_max=1_999)
    assert [warning.partition(" is too low")[0] for warning in warnings] == ["connections_max = 1999"]
    assert fit(65_536, sessions_max=1_000, connections_max=2_000).warnings == ()


@pytest.mark.parametrize("file_limit", [0, 64, OWN, OWN + 3])
def test_file_limit_that_is_too_low(file_limit: int) -> None:
    """A system that allows next to nothing gets a clear line instead of a broker that ends at the first client."""
    with pytest.raises(ConfigError, match=f"the file limit: of {file_limit} is too low"):
        fit(file_limit)


@given(
    file_limit=st.integers(0, 2_000_000),
    sessions_max=st.integers(0, 1_000_000),
    connections_max=st.integers(0, 4_000_000),
)
def test_what_is_accepted_can_be_served(file_limit: int, sessions_max: int, connections_max: int) -> None:
    """Whatever is configured, what comes out fits into the file limit with all places taken, or it is refused."""
    try:
        config, _, warnings = fit(file_limit, sessions_max=sessions_max, connections_max=connections_max)
    except ConfigError:
        return
    limits = config.limits
    assert limits.sessions_max >= 1
    assert limits.connections_max >= 1
    taken = OWN + limits.sessions_max + limits.connections_max
    assert taken <= file_limit
    if not warnings:
        assert taken + MARGIN <= file_limit
        assert limits.connections_max >= 2 * limits.sessions_max


def test_file_limit_is_raised_to_what_is_allowed() -> None:
    """A process with a low limit of its own gets what the system allows, and keeps it."""
    program = (
        "import resource\n"
        "from tenure.broker.descriptors import raise_file_limit\n"
        "_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 512))\n"
        "assert raise_file_limit() == raise_file_limit() == 512\n"
        "assert resource.getrlimit(resource.RLIMIT_NOFILE) == (512, 512)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


INFINITE = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("limits", "result", "set_to"),
    [
        ((1_024, 4_096), 4_096, (4_096, 4_096)),
        ((4_096, 4_096), 4_096, None),
        ((1_024, 10**9), 1_048_576, (1_048_576, 10**9)),
        ((2_000_000, 10**9), 2_000_000, None),
        ((1_024, INFINITE), 1_048_576, (1_048_576, INFINITE)),
        ((INFINITE, INFINITE), 1_048_576, None),
    ],
)
def test_file_limit_is_raised_within_reason(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], result: int, set_to: tuple[int, int] | None
) -> None:
    """A limit is raised, never lowered, and not to the thousand million that some systems allow."""
    done: list[tuple[int, int]] = []

    def remember(_: int, new: tuple[int, int]) -> None:
        done.append(new)

    _pretend(monkeypatch, limits, remember)
    assert raise_file_limit() == result
    assert done == ([] if set_to is None else [set_to])


def test_file_limit_that_cannot_be_raised_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system refuses, what there is has to do."""

    def refuse(_: int, new: tuple[int, int]) -> None:
        raise ValueError(new)

    _pretend(monkeypatch, (1_024, 4_096), refuse)
    assert raise_file_limit() == 1_024


def _pretend(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], setrlimit: Callable[[int, tuple[int, int]], None]
) -> None:
    """Have the system say that these are the limits."""

    def getrlimit(_: int) -> tuple[int, int]:
        return limits

    monkeypatch.setattr(resource, "getrlimit", getrlimit)
    monkeypatch.setattr(resource, "setrlimit", setrlimit)
