"""The other processes of a bench: a broker, and an echo. Each says on its first line where it listens.

Each is ended by the one that started it, by its handle, and waited for; one that does not end in time is killed.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import IO, Final

from bench.place import Place

_SERVE: Final = (sys.executable, "-m", "tenure.cli", "serve")
_START_S: Final = 60.0
_LOAD_S: Final = 300.0  # of a broker that is started on what it has stored, which may be a million registrations
_END_S: Final = 10.0
_STORE_END_S: Final = 60.0


class ProcessFailedError(Exception):
    """A process of the bench did not do what it was started for."""


class Serving:
    """`tenure serve` on a store of its own, which may be ended and started again in the same place."""

    def __init__(
        self,
        place: Place,
        *,
        limits: Mapping[str, int] | None = None,
        log_level: str = "warning",
        serve: Sequence[str] = _SERVE,
    ) -> None:
        """Nothing is started yet; `limits` are the broker's, by their names in its configuration."""
        self._bind = place.endpoint()
        config = place.data / "tenure.toml"
        config.write_text("[limits]\n" + "".join(f"{name} = {value}\n" for name, value in (limits or {}).items()))
        self.data = place.data / "broker"
        self._command = [*serve, "--config", str(config), "--data", str(self.data), "--events-bind", place.endpoint()]
        self._command += ["--no-admin", "--log-level", log_level]
        self._process: subprocess.Popen[str] | None = None

    @property
    def endpoint(self) -> str:
        """Where it takes requests."""
        return self._bind

    @property
    def pid(self) -> int:
        """Its process id; another one after each start."""
        return self._running.pid

    @property
    def _running(self) -> subprocess.Popen[str]:
        assert self._process is not None, "it is running"
        return self._process

    def start(self) -> float:
        """Start it; how long it took from there until it took requests, in seconds.

        Raises:
            ProcessFailedError: It did not start.
        """
        command = [*self._command, "--bind", self._bind]
        began_s = monotonic()
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_surroundings())
        assert self._process.stdout is not None, "its output was asked for"
        patience_s = _LOAD_S if self.data.exists() else _START_S
        self._bind = _endpoint(
            self._process.stdout, command, patience_s
        )  # over tcp the system has chosen a port, which it keeps
        return monotonic() - began_s

    def stop(self) -> None:
        """End it in good order.

        Raises:
            ProcessFailedError: It did not end so.
        """
        self._running.terminate()
        try:
            code = self._running.wait(_STORE_END_S)
        except subprocess.TimeoutExpired:
            code = None
        self.kill()
        if code != 0:
            why = "did not end in time" if code is None else f"ended with exit code {code}"
            raise ProcessFailedError(f"the broker {why}; its messages say why")

    def kill(self) -> None:
        """End it as a loss of power would. Safe to repeat."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None, "its output was asked for"
            self._process.stdout.close()
            self._process = None


@contextmanager
def serving(
    place: Place,
    *,
    limits: Mapping[str, int] | None = None,
    log_level: str = "warning",
    serve: Sequence[str] = _SERVE,
) -> Generator[Serving]:
    """A broker on an empty store, to be looked at, ended and started again; it has to be running at the end.

    Raises:
        ProcessFailedError: It did not start, or did not end in good order.
    """
    one = Serving(place, limits=limits, log_level=log_level, serve=serve)
    try:
        one.start()
        yield one
        one.stop()
    finally:
        one.kill()


@contextmanager
def broker(place: Place) -> Generator[str]:
    """A broker on an empty store; where it takes requests.

    Raises:
        ProcessFailedError: It did not start, or did not end in good order.
    """
    with serving(place) as one:
        yield one.endpoint


@contextmanager
def echo(place: Place) -> Generator[str]:
    """A process that answers each message with itself; where it does so.

    Raises:
        ProcessFailedError: It did not start.
    """
    with _listening([sys.executable, "-m", "bench.echo", place.endpoint()]) as (_, endpoint):
        yield endpoint


@contextmanager
def _listening(command: Sequence[str]) -> Generator[tuple[subprocess.Popen[str], str]]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_surroundings()) as process:
        try:
            assert process.stdout is not None, "its output was asked for"
            yield process, _endpoint(process.stdout, command)
        finally:
            process.terminate()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _surroundings() -> dict[str, str]:
    """What a process of the bench is told: nothing that was meant for other clients and brokers."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TENURE_")}


def _endpoint(output: IO[str], command: Sequence[str], patience_s: float = _START_S) -> str:
    readable, _, _ = select.select([output], [], [], patience_s)
    endpoint = first_endpoint(output.readline()) if readable else None
    if endpoint is None:
        raise ProcessFailedError(f"{' '.join(command)} did not say where it listens; its messages say why")
    return endpoint


def first_endpoint(line: str) -> str | None:
    """The first endpoint in a line of a process's output; None if there is none."""
    return next((word for word in line.split() if "://" in word), None)
