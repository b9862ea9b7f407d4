"""What an operator may choose, and where it comes from: defaults, a file, the environment, flags, in that order.

`tenure.toml` beside this file is the commented sample; a test keeps the two alike. A configuration that is wrong, or
whose misspelt key would do nothing, is refused before anything is opened. Nothing is created here.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

from msgspec import Meta, Struct, field

from tenure.broker.config_values import (
    VARIABLE_PREFIX,
    ConfigError,
    Place,
    Setting,
    flatten,
    read_value,
    settings_of,
    suggestion,
)
from tenure.broker.core_limits import CoreLimits
from tenure.broker.exposure import check_exposure
from tenure.broker.logs import LogFormat, LogLevel
from tenure.contract.endpoints import default_event_endpoints, default_request_endpoints
from tenure.contract.limits import FRAME_BYTES_MAX, GIVEN_UP_MAX
from tenure.domain.limits import RegistryLimits

__all__ = ["Config", "ConfigError", "Limits", "Log", "Resolved", "load_config", "resolve_config"]

DEFAULT_SOURCE: Final = "default"


class Limits(Struct, frozen=True, kw_only=True):
    """Bounds on everything that clients could make grow."""

    frame_bytes_max: Annotated[int, Meta(ge=1_024, le=FRAME_BYTES_MAX)] = FRAME_BYTES_MAX
    """The longest message taken; whoever sends a longer one is disconnected before it is read."""
    sessions_max: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    """Clients at a time; 0 is as many as the file limit allows. Beyond it a hello is refused."""
    connections_max: Annotated[int, Meta(ge=0, le=4_000_000)] = 0
    """Connections at a time, with a session or without; 0 is as many as the file limit allows. Beyond it the broker
    accepts none until some have ended."""
    registrations_max: Annotated[int, Meta(ge=1, le=100_000_000)] = 2_000_000
    """All registrations are in memory, about 1 KB each with their metadata."""
    registrations_per_session_max: Annotated[int, Meta(ge=1, le=GIVEN_UP_MAX)] = GIVEN_UP_MAX
    """How much one client may cost everybody else when it ends."""
    registrations_per_resource_max: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    """Who stands by for one resource: choosing a successor looks at each of them."""
    switchovers_max: Annotated[int, Meta(ge=1, le=100_000)] = 1_000
    """Switchovers under way at once, each in memory for an hour at most."""
    switchovers_per_session_max: Annotated[int, Meta(ge=1, le=GIVEN_UP_MAX)] = 100
    """Those of one client's tenures: the answer to each of its heartbeats repeats them all."""
    pauses_max: Annotated[int, Meta(ge=1, le=1_000)] = 1_000
    """Resources that are paused at once: the first page of every snapshot has them all."""
    abandoned_resources_max: Annotated[int, Meta(ge=0, le=100_000_000)] = 100_000
    """Resources without registrations that are remembered, so that a standby fills a vacancy that came before it."""
    requests_in_flight_max: Annotated[int, Meta(ge=1, le=100_000)] = 1_000
    """Unanswered requests of one connection; a flood is refused with `overloaded` before it costs the others."""
    queue_max: Annotated[int, Meta(ge=1, le=1_000_000)] = 20_000
    """Decisions that wait for a commit, of all connections together; beyond it requests are refused."""
    batch_max: Annotated[int, Meta(ge=1, le=100_000)] = 2_000
    """Decisions in one commit: it bounds how long the disk keeps everybody waiting."""
    drain_max: Annotated[int, Meta(ge=1, le=100_000)] = 256
    """Messages read before leases are looked at, so that a flood cannot block failover."""
    drain_ms: Annotated[int, Meta(ge=1, le=1_000)] = 20
    """The same bound as time, whichever comes first."""
    expiries_max: Annotated[int, Meta(ge=1, le=1_000_000)] = 2_000
    """Registrations ended in one go when leases run out, so that heartbeats are heard in between."""
    events_kept: Annotated[int, Meta(ge=1, le=1_000_000_000)] = 1_000_000
    """The newest events in the store; a listener that was away for longer starts again from a snapshot."""
    late_ms: Annotated[int, Meta(ge=1, le=60_000)] = 20
    """A loop that woke later than this extends all leases by its lateness: its stall was nobody's silence."""

    def core(self) -> CoreLimits:
        """The part that the core keeps to."""
        return CoreLimits(
            readers_max=self.connections_max or CoreLimits().readers_max,
            requests_in_flight_max=self.requests_in_flight_max,
            queue_max=self.queue_max,
            batch_max=self.batch_max,
            expiries_max=self.expiries_max,
        )

    def registry(self) -> RegistryLimits:
        """The part that the registry keeps to."""
        return RegistryLimits(
            sessions_max=self.sessions_max or RegistryLimits().sessions_max,
            registrations_max=self.registrations_max,
            registrations_per_session_max=self.registrations_per_session_max,
            registrations_per_resource_max=self.registrations_per_resource_max,
            switchovers_max=self.switchovers_max,
            switchovers_per_session_max=self.switchovers_per_session_max,
            pauses_max=self.pauses_max,
            abandoned_resources_max=self.abandoned_resources_max,
        )


class Log(Struct, frozen=True, kw_only=True):
    """What is logged, and for whom."""

    level: LogLevel = "info"
    """`info` has one line for each role change, `warning` only refused claims and trouble."""
    format: LogFormat = "auto"
    """`auto` writes for people on a terminal and JSON lines everywhere else."""


class Config(Struct, frozen=True, kw_only=True):
    """All of it. Built by `load_config`, which checks it; built by hand, nothing is checked."""

    data: Path
    """The directory of the store, for the broker alone; it is made if it is not there."""
    bind: tuple[str, ...]
    """Where requests are taken."""
    events_bind: tuple[str, ...]
    """Where events are published."""
    insecure_bind: bool = False
    """Whether endpoints that other machines can reach are taken, although tcp has no authentication."""
    admin: bool = True
    """Whether the management interface runs beside the broker, in a process of its own."""
    admin_bind: str = "127.0.0.1:7480"
    """Where the management interface listens, host:port."""
    limits: Limits = field(default_factory=Limits)
    log: Log = field(default_factory=Log)


class Resolved(NamedTuple):
    """A configuration, and for each setting's name where its value came from."""

    config: Config
    sources: Mapping[str, str]


SETTINGS: Final[Mapping[str, Setting]] = {setting.name: setting for setting in settings_of(Config)}
_TABLES: Final = frozenset(name.rpartition(".")[0] for name in SETTINGS) - {""}


def load_config(file: Path | None, environ: Mapping[str, str], flags: Mapping[str, object]) -> Config:
    """The configuration that `resolve_config` finds.

    Raises:
        ConfigError: It cannot be used.
    """
    return resolve_config(file, environ, flags).config


def resolve_config(file: Path | None, environ: Mapping[str, str], flags: Mapping[str, object]) -> Resolved:
    """The configuration and where each value came from; later sources win: defaults, file, environment, flags.

    Flags are named like settings (`log.level`, `admin_bind`); one that is None was not given.

    Raises:
        ConfigError: A value or a name is wrong, the file cannot be read, or an endpoint is open to other machines.
    """
    values: dict[str, Any] = {}
    sources = dict.fromkeys(SETTINGS, DEFAULT_SOURCE)
    for setting, value, source in (
        *_from_file(file, environ),
        *_from_environment(environ),
        *_from_flags(flags, environ),
    ):
        values[setting.name] = value
        sources[setting.name] = source
    _add_defaults(values, environ)
    config = _build(values)
    _check_apart(config, sources)
    check_exposure(config, sources)
    return Resolved(config, sources)


type _Found = Iterator[tuple[Setting, Any, str]]


def _from_file(file: Path | None, environ: Mapping[str, str]) -> _Found:
    if file is None:
        return
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(str(file), f"cannot be read: {error.strerror}; name another file with --config") from error
    except ValueError as error:  # not TOML, or not even text
        raise ConfigError(str(file), f"is not TOML: {error}") from error
    place = Place(file.parent, _home(environ))
    spellings = {name.rpartition(".")[2]: name for name in SETTINGS} | {name: name for name in (*SETTINGS, *_TABLES)}
    for name, value in flatten(table, _TABLES):
        source = f"{file}:{name}"
        if name in _TABLES:
            raise ConfigError(source, f"is a table: write [{name}] and its keys below", value=value)
        setting = SETTINGS.get(name)
        if setting is None:
            raise _unknown(source, suggestion(name, spellings) or suggestion(name.rpartition(".")[2], spellings))
        yield setting, read_value(setting, value, source, place, is_text=False), source


def _from_environment(environ: Mapping[str, str]) -> _Found:
    by_variable = {setting.variable: setting for setting in SETTINGS.values()}
    spellings = {variable.removeprefix(VARIABLE_PREFIX): variable for variable in by_variable}
    tables = tuple(f"{VARIABLE_PREFIX}{table.upper()}_" for table in _TABLES)
    place = Place(Path(), _home(environ))
    for variable, value in environ.items():
        setting = by_variable.get(variable)
        if not value:
            continue  # set to nothing is as good as not set
        if setting is not None:
            yield setting, read_value(setting, value, variable, place, is_text=True), variable
        elif variable.startswith(VARIABLE_PREFIX):
            # Others of this prefix are the SDK's and `tenure run`'s; what looks like a slip is not passed over.
            likely = suggestion(variable.removeprefix(VARIABLE_PREFIX), spellings)
            if likely or variable.startswith(tables):
                raise _unknown(variable, likely)


def _from_flags(flags: Mapping[str, object], environ: Mapping[str, str]) -> _Found:
    place = Place(Path(), _home(environ))
    for name, value in flags.items():
        setting = SETTINGS.get(name)
        if setting is None:
            raise _unknown(f"--{name}", suggestion(name, {known: SETTINGS[known].flag for known in SETTINGS}))
        if value is not None:
            yield setting, read_value(setting, value, setting.flag, place, is_text=True), setting.flag


def _unknown(source: str, likely: str) -> ConfigError:
    advice = f"did you mean {likely}?" if likely else "`tenure serve --print-config` shows all there are"
    return ConfigError(source, f"is not a setting; {advice}")


def _add_defaults(values: dict[str, Any], environ: Mapping[str, str]) -> None:
    """Add what follows from whose broker it is. Nothing is looked up that was given."""
    uid = os.getuid()
    if "data" not in values:
        state = environ.get("XDG_STATE_HOME", "")
        folder = Path(state) if Path(state).is_absolute() else _home(environ)() / ".local" / "state"
        values["data"] = folder / "tenure"
    values.setdefault("bind", default_request_endpoints(environ, uid))
    values.setdefault("events_bind", default_event_endpoints(environ, uid))


def _home(environ: Mapping[str, str]) -> Callable[[], Path]:
    def find() -> Path:
        home = Path(environ.get("HOME", ""))
        if home.is_absolute():
            return home
        try:
            return Path.home()
        except RuntimeError as error:
            raise ConfigError(
                "HOME", "is not set, and this user has no home directory; name one with --data"
            ) from error

    return find


def _build(values: Mapping[str, Any]) -> Config:
    tables: dict[str, dict[str, Any]] = {table: {} for table in ("", *_TABLES)}
    for name, value in values.items():
        table, _, key = name.rpartition(".")
        tables[table][key] = value
    return Config(**tables[""], limits=Limits(**tables["limits"]), log=Log(**tables["log"]))


def _check_apart(config: Config, sources: Mapping[str, str]) -> None:
    for endpoint in config.events_bind:
        if endpoint in config.bind and not endpoint.endswith((":0", ":*")):
            raise ConfigError(
                sources["events_bind"], f"{endpoint} takes requests already ({sources['bind']}); choose another one"
            )
