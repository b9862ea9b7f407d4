"""What the broker writes about itself: structlog, as JSON (one object a line) or for a console.

Events are named `noun.verb`. One INFO line per role change, one WARNING per refused claim (20 a second at most), always
with service_name, instance_id, resource_id, role and epoch. Nothing is configured on import, so an application that
imports Tenure keeps its own logging; `configure_logging` is for the process that serves. These functions run on the
broker's event loop: one pass over the fields, one write, and no value, however odd, makes them raise.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from io import TextIOWrapper
from typing import Any, BinaryIO, Final, Literal, Protocol, TextIO, assert_never, cast, override

import msgspec
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from tenure.contract.errors import ErrorInfo
from tenure.contract.events import AnyEvent, ResourcePausedEvent, ResourceResumedEvent, RoleChangedEvent
from tenure.contract.interventions import (
    AnyIntervention,
    CancelSwitchover,
    ChangeRoles,
    ExpireSession,
    PauseResource,
    ResumeResource,
    Switchover,
)
from tenure.contract.messages import Register

type LogLevel = Literal["debug", "info", "warning", "error"]
type _Told = RoleChangedEvent | ResourcePausedEvent | ResourceResumedEvent
type LogFormat = Literal["auto", "json", "console"]

_TOLD: Final = (RoleChangedEvent, ResourcePausedEvent, ResourceResumedEvent)
_CHANGES_TOLD_AT_ONCE: Final = 200  # some three milliseconds

CONFLICTS_TOLD_MAX: Final = 20
"""Refused claims written in a second: enough to see who contends for what."""

_encoder: Final = msgspec.json.Encoder(enc_hook=repr)


class LineLog(Protocol):
    """As much of a logger as the broker's own lines need: any of structlog's will do."""

    def info(self, event: str, *args: Any, **kw: Any) -> Any:  # noqa: ANN401  (loggers take anything)
        """Write a line of level INFO."""
        ...

    def warning(self, event: str, *args: Any, **kw: Any) -> Any:  # noqa: ANN401
        """Write a line of level WARNING."""
        ...


def configure_logging(level: LogLevel, log_format: LogFormat, stream: TextIO | None = None) -> FilteringBoundLogger:
    """Set up this process's logging, to standard error if no stream is given, and return the logger to use.

    What libraries report through the standard library's logging (asyncio's warnings among it) goes the same way, from
    WARNING on. May be called again; the newest call counts.
    """
    logger = make_logger(level, log_format, stream)
    structlog.configure(**structlog.get_config() | _settings(level, log_format, stream or sys.stderr))
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _LibraryHandler)]:
        root.removeHandler(handler)
    root.addHandler(_LibraryHandler(logger))
    return logger


def make_logger(level: LogLevel, log_format: LogFormat, stream: TextIO | None = None) -> FilteringBoundLogger:
    """A logger of its own, which leaves the process's logging as it is."""
    settings = _settings(level, log_format, stream or sys.stderr)
    factory = settings.pop("logger_factory")
    logger: FilteringBoundLogger = structlog.wrap_logger(factory(), **settings).bind()
    return logger


def role_fields(event: RoleChangedEvent) -> dict[str, object]:
    """What every line about a registration's role carries; `role` is None for a registration that is gone."""
    return {
        "service_name": event.service_name,
        "instance_id": event.instance_id,
        "resource_id": event.resource_id,
        "role": event.new_role,
        "epoch": event.epoch,
    }


def log_role_change(log: LineLog, event: RoleChangedEvent) -> None:
    """Write the one line about a committed change of a role, also of one that began or ended with its registration."""
    fields = role_fields(event)
    fields["old_role"] = event.old_role
    fields["new_role"] = event.new_role
    fields["reason"] = event.reason
    fields["revision"] = event.revision
    previous = event.previous_holder
    if previous is not None:
        fields["previous_holder"] = f"{previous.service_name}/{previous.instance_id}"
        fields["previous_epoch"] = previous.epoch
    if event.silent_ms is not None:
        fields["silent_ms"] = event.silent_ms
    if event.by:
        fields["by"] = event.by
    log.info("role.changed", **fields)


def log_pause_change(log: LineLog, event: ResourcePausedEvent | ResourceResumedEvent) -> None:
    """Write that a committed event has paused a resource, or ended its pause."""
    by = {"by": event.by} if event.by else {}
    if isinstance(event, ResourcePausedEvent):
        until = _iso(datetime.fromtimestamp(event.until_ms / 1_000, UTC))
        log.info("resource.paused", resource_id=event.resource_id, until=until, why=event.why, **by)
    else:
        log.info("resource.resumed", resource_id=event.resource_id, reason=event.reason, **by)


def log_intervention(
    log: LineLog,
    request: AnyIntervention,
    identity: str,
    refusal: ErrorInfo | None,
) -> None:
    """Write what a person asked for and what came of it: who, over ipc also by the user the kernel names."""
    outcome: dict[str, object] = {"identity": identity, "outcome": "accepted"}
    if refusal is not None:
        outcome |= {"outcome": refusal.code, "error": refusal.message}
    match request:
        case Switchover():
            log.info(
                "switchover.requested",
                resource_id=request.resource_id,
                epoch=request.epoch,
                to_registration_id=request.to_registration_id,
                drain_ms=request.drain_ms,
                by=request.by,
                **outcome,
            )
        case CancelSwitchover():
            log.info(
                "switchover.withdrawal_requested",
                resource_id=request.resource_id,
                epoch=request.epoch,
                by=request.by,
                **outcome,
            )
        case ExpireSession():
            log.warning("session.end_requested", session=request.session, by=request.by, **outcome)
        case PauseResource():
            log.warning(
                "pause.requested",
                resource_id=request.resource_id,
                for_ms=request.for_ms,
                why=request.why,
                by=request.by,
                **outcome,
            )
        case ResumeResource():
            log.info("resume.requested", resource_id=request.resource_id, by=request.by, **outcome)
        case ChangeRoles():
            log.info(
                "role_changes.requested",
                changes=len(request.changes),
                drain_ms=request.drain_ms,
                by=request.by,
                **outcome,
            )
        case _:
            assert_never(request)


def log_role_conflict(log: LineLog, request: Register, error: ErrorInfo) -> None:
    """Write that a claim was refused: who asked, and who holds the role under which epoch since when."""
    holder = error.holder
    assert holder is not None, "a role_conflict always names the holder"
    log.warning(
        "role.conflict",
        service_name=request.service_name,
        instance_id=request.instance_id,
        resource_id=request.resource_id or request.service_name,
        role=request.role,
        epoch=holder.epoch,
        holder=f"{holder.service_name}/{holder.instance_id}",
        holder_since=_iso(datetime.fromtimestamp(holder.since_ms / 1_000, UTC)),
    )


class RoleLog:
    """Writes a line for each committed change of a role or a pause, some in each turn of the loop: there may be 20,000.

    They come in the order of their revisions. The more wait, the more are written at once, so that they never pile up.
    """

    def __init__(self, log: FilteringBoundLogger, loop: asyncio.AbstractEventLoop) -> None:
        self._log = log
        self._loop = loop
        self._untold: deque[_Told] = deque()

    def tell(self, events: Iterable[AnyEvent]) -> None:
        """Take in what was committed, and write the first lines if none wait."""
        if self._log.is_enabled_for(logging.INFO):
            is_waiting = bool(self._untold)
            self._untold.extend(event for event in events if isinstance(event, _TOLD))
            if not is_waiting:
                self._tell_some()

    def tell_all(self) -> None:
        """Write what waits."""
        while self._untold:
            _log_committed(self._log, self._untold.popleft())

    def _tell_some(self) -> None:
        for _ in range(min(len(self._untold), max(_CHANGES_TOLD_AT_ONCE, len(self._untold) // 10))):
            _log_committed(self._log, self._untold.popleft())
        if self._untold:
            self._loop.call_soon(self._tell_some)


def _log_committed(log: LineLog, event: _Told) -> None:
    if isinstance(event, RoleChangedEvent):
        log_role_change(log, event)
    else:
        log_pause_change(log, event)


class ConflictLog:
    """Writes what claims were refused, some each second; of the others it says how many there were.

    Whoever claims a held role in a loop is told so each time, and would otherwise fill the log and the broker's time.
    """

    def __init__(self, log: LineLog) -> None:
        self._log = log
        self._second = 0
        self._told = 0
        self._untold = 0

    def tell(self, conflicts: Sequence[tuple[Register, ErrorInfo]], now_ms: float) -> None:
        """Take in what was refused since the last time, by a clock that never jumps; to be called without any, too."""
        second = int(now_ms // 1_000)
        if second != self._second:
            if self._untold:
                hint = "more claims of held roles were refused than are written"
                self._log.warning("role.conflicts_left_out", count=self._untold, hint=hint)
            self._second, self._told, self._untold = second, 0, 0
        for request, error in conflicts:
            if self._told < CONFLICTS_TOLD_MAX:
                self._told += 1
                log_role_conflict(self._log, request, error)
            else:
                self._untold += 1


class _LibraryHandler(logging.Handler):
    """Passes on what libraries log, so that every line of the broker has one form."""

    def __init__(self, logger: FilteringBoundLogger) -> None:
        super().__init__(logging.WARNING)
        self._logger = logger

    @override
    def emit(self, record: logging.LogRecord) -> None:
        try:
            write = self._logger.error if record.levelno >= logging.ERROR else self._logger.warning
            write("library.logged", library=record.name, message=record.getMessage(), exc_info=record.exc_info)
        except Exception:  # a wrong format in somebody else's code is reported, as logging does it, and goes no further
            self.handleError(record)


def _settings(level: LogLevel, log_format: LogFormat, stream: TextIO) -> dict[str, Any]:
    """What structlog needs to know. The level is built into the logger's class: what it leaves out costs one call."""
    factory: Any = structlog.WriteLoggerFactory(stream)
    processors: list[Processor] = [structlog.processors.format_exc_info]
    if log_format == "console" or (log_format == "auto" and stream.isatty()):
        processors = [structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True)]
        renderer: Processor = structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), sort_keys=False, exception_formatter=structlog.dev.plain_traceback
        )
    elif isinstance(stream, TextIOWrapper):  # the bytes go out as they are encoded, whatever the stream's own encoding
        stream.flush()
        factory = structlog.BytesLoggerFactory(cast("BinaryIO", stream.buffer))
        renderer = _render_bytes
    else:
        renderer = _render_text
    return {
        "processors": [*processors, renderer],
        "wrapper_class": structlog.make_filtering_bound_logger(level),
        "logger_factory": factory,
        "cache_logger_on_first_use": False,
    }


def _render_bytes(_logger: WrappedLogger, method_name: str, event_dict: EventDict) -> bytes:
    """One object: when, how grave and what happened first, then the fields as they were given."""
    line = {
        "timestamp": _iso(datetime.now(UTC)),
        "level": method_name,
        "event": event_dict.pop("event", None),
        **event_dict,
    }
    try:
        return _encoder.encode(line)
    except (TypeError, ValueError, OverflowError, RecursionError):
        # Lone surrogates, numbers beyond 64 bits, cycles: the line matters more than their exact form.
        return json.dumps(
            {str(key): value if isinstance(value, str) else repr(value) for key, value in line.items()}
        ).encode()


def _render_text(logger: WrappedLogger, method_name: str, event_dict: EventDict) -> str:
    return _render_bytes(logger, method_name, event_dict).decode()


def _iso(time: datetime) -> str:
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")
