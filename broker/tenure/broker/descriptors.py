"""How many clients the file limit allows: a broker that runs out of descriptors ends, so it has to know beforehand.

Raises the process's limit as far as it may go, derives `sessions_max` and `connections_max` where they are 0, and
refuses numbers that cannot be served. A session needs up to four descriptors: a connection each for control, requests
and events, and one by which the kernel tells that its process has exited.
"""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Mapping
from typing import Final, NamedTuple

from msgspec import structs

from tenure.broker.admission import burst_max
from tenure.broker.config import Config, Resolved
from tenure.broker.config_values import ConfigError

OWN: Final = 128
"""What the broker opens for itself: the store, its sockets and threads, the log, the management interface."""
_CONNECTIONS_PER_SESSION: Final = 3
_CONNECTIONS_PER_SESSION_MIN: Final = 2  # control and requests; not everybody listens
_FILE_LIMIT_MAX: Final = 1_048_576  # some systems allow a thousand times as many; what is started by us inherits it
_SESSIONS_DERIVED_MAX: Final = 100_000  # beyond this nobody has measured anything; who wants more says so
_ADVICE: Final = "raise it (LimitNOFILE= of systemd, `ulimit -Hn`)"


class Fitted(NamedTuple):
    """A configuration without any number left to be derived, where each value came from, and what to warn of."""

    config: Config
    sources: Mapping[str, str]
    warnings: tuple[str, ...]


def raise_file_limit() -> int:
    """Raise this process's limit of descriptors to what the system allows it, and return the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILE_LIMIT_MAX if hard == resource.RLIM_INFINITY else min(hard, _FILE_LIMIT_MAX)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted if soft == resource.RLIM_INFINITY else soft
    with contextlib.suppress(OSError, ValueError):  # a container may forbid what the limits allow
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft


def fit_to_descriptors(resolved: Resolved, file_limit: int) -> Fitted:
    """The configuration with `sessions_max` and `connections_max` as the file limit allows.

    Raises:
        ConfigError: What is configured needs more descriptors than there are.
    """
    config, sources = resolved
    limits = config.limits
    margin = _margin(config)
    free = file_limit - OWN
    spare = free - min(margin, file_limit // 4)
    if spare < _CONNECTIONS_PER_SESSION + 1:
        raise ConfigError("the file limit", f"of {file_limit} is too low to serve anybody; {_ADVICE}")
    sessions_max = limits.sessions_max or _derive_sessions(spare, limits.connections_max)
    least = sessions_max * (_CONNECTIONS_PER_SESSION_MIN + 1)
    if least > free:
        raise ConfigError(
            sources["limits.sessions_max"],
            f"{sessions_max} sessions need {least + OWN} descriptors, and the file limit is {file_limit}; {_ADVICE}, "
            f"or allow at most {free // (_CONNECTIONS_PER_SESSION_MIN + 1)}",
        )
    connections_max = limits.connections_max or max(
        sessions_max * _CONNECTIONS_PER_SESSION_MIN, min(spare, 4 * _SESSIONS_DERIVED_MAX) - sessions_max
    )
    if connections_max + sessions_max > free:
        raise ConfigError(
            sources["limits.connections_max"],
            f"{connections_max} connections and {sessions_max} sessions need {connections_max + sessions_max + OWN} "
            f"descriptors, and the file limit is {file_limit}; {_ADVICE}, or allow at most {free - sessions_max}",
        )
    derived = f"default, from the file limit of {file_limit}"
    return Fitted(
        structs.replace(
            config, limits=structs.replace(limits, sessions_max=sessions_max, connections_max=connections_max)
        ),
        {
            **sources,
            **({} if limits.sessions_max else {"limits.sessions_max": derived}),
            **({} if limits.connections_max else {"limits.connections_max": derived}),
        },
        tuple(_warnings(sessions_max, connections_max, file_limit, margin)),
    )


def _derive_sessions(spare: int, connections_max: int) -> int:
    """As many as have room: their connections among those configured, and a descriptor more for each."""
    if not connections_max:
        return min(spare // (_CONNECTIONS_PER_SESSION + 1), _SESSIONS_DERIVED_MAX)
    return max(1, min(spare - connections_max, connections_max // _CONNECTIONS_PER_SESSION))


def _margin(config: Config) -> int:
    """How many connections may be accepted before the doors are shut: one ROUTER per transport, and the PUB."""
    routers = len({endpoint.partition(":")[0] for endpoint in config.bind})
    return burst_max(routers + 1, len(config.bind) + len(config.events_bind))


def _warnings(sessions_max: int, connections_max: int, file_limit: int, margin: int) -> list[str]:
    warnings: list[str] = []
    if connections_max < sessions_max * _CONNECTIONS_PER_SESSION_MIN:
        warnings.append(
            f"connections_max = {connections_max} is too low for sessions_max = {sessions_max}: each session has "
            f"{_CONNECTIONS_PER_SESSION_MIN} connections, and one more if it follows events"
        )
    needed = OWN + sessions_max + connections_max + margin
    if needed > file_limit:
        warnings.append(
            f"the file limit of {file_limit} leaves little room: a sudden burst of connections could use up all "
            f"descriptors before it is refused, which ends the broker. With a limit of {needed} it could not; {_ADVICE}"
        )
    return warnings
