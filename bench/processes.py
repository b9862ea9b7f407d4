"""The other processes of a bench: a broker, and an echo. Each says on its first line where it listens.

Each is ended by the one that started it, by its handle, and waited for; one that does not end in time is killed.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import IO, Final

from bench.place import Place

_SERVE: Final = (sys.executable, "-m", "tenure.cli", "serve")
_START_S: Final = 15.0
_END_S: Final = 10.0


class ProcessFailedError(Exception):
    """A process of the bench did not do what it was started for."""


@contextmanager
def broker(place: Place) -> Generator[str]:
    """`tenure serve` on an empty store; where it takes requests.

    Raises:
        ProcessFailedError: It did not start, or did not end in good order.
    """
    command = [*_SERVE, "--data", str(place.data / "broker"), "--bind", place.endpoint()]
    command += ["--events-bind", place.endpoint(), "--no-admin", "--log-level", "warning"]
    with _listening(command) as (process, endpoint):
        yield endpoint
        process.terminate()
        if process.wait(_END_S) != 0:
            raise ProcessFailedError(f"the broker ended with exit code {process.returncode}; its messages say why")


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
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("TENURE_")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=surroundings) as process:
        try:
            assert process.stdout is not None, "its output was asked for"
            yield process, _endpoint(process.stdout, command)
        finally:
            process.terminate()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _endpoint(output: IO[str], command: Sequence[str]) -> str:
    readable, _, _ = select.select([output], [], [], _START_S)
    endpoint = first_endpoint(output.readline()) if readable else None
    if endpoint is None:
        raise ProcessFailedError(f"{' '.join(command)} did not say where it listens; its messages say why")
    return endpoint


def first_endpoint(line: str) -> str | None:
    """The first endpoint in a line of a process's output; None if there is none."""
    return next((word for word in line.split() if "://" in word), None)
