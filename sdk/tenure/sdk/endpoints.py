"""Which endpoints a client uses when it is told none, and where the broker it reached publishes its stream."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tenure.contract.endpoints import IpcEndpoint, check_endpoint, default_request_endpoints, parse_endpoint


def resolve_endpoints(given: tuple[str, ...], environ: Mapping[str, str], uid: int) -> tuple[str, ...]:
    """The endpoints to try in turn: those given, else `TENURE_ENDPOINT` (comma separated), else the defaults here.

    Raises:
        InvalidEndpointError: One is not of a form that can be connected to.
    """
    if not given:
        given = tuple(text.strip() for text in environ.get("TENURE_ENDPOINT", "").split(",") if text.strip())
    if given:
        return tuple(map(check_endpoint, given))
    return tuple(
        endpoint for endpoint in default_request_endpoints(environ, uid) if not _is_somebody_elses(endpoint, uid)
    )


def _is_somebody_elses(endpoint: str, uid: int) -> bool:
    """Whether another user has made the directory of a default socket: what listens there is not our broker."""
    place = parse_endpoint(endpoint)
    try:
        return isinstance(place, IpcEndpoint) and Path(place.path).parent.lstat().st_uid != uid
    except OSError:  # it is not there (yet)
        return False


def events_endpoint(reached: str, published: tuple[str, ...]) -> str | None:
    """Where to listen, for a client that reached its broker at `reached`; None if the broker publishes nowhere it can.

    Over tcp the broker knows its port but not under which name its host is seen from here.
    """
    here = parse_endpoint(reached)
    for text in published:
        there = parse_endpoint(text)
        if isinstance(here, IpcEndpoint) and isinstance(there, IpcEndpoint):
            return text
        if not isinstance(here, IpcEndpoint) and not isinstance(there, IpcEndpoint):
            host = reached.removeprefix("tcp://").rpartition(":")[0]
            return f"tcp://{host}:{there.port}"
    return published[0] if published and isinstance(here, IpcEndpoint) else None
