"""The servers of the peers: started with their output in a file, waited for until they answer, ended by their handle.

None outlives the block that started it; one that does not end when it is asked to is killed.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from bench.processes import ProcessFailedError

LOOPBACK: Final = "127.0.0.1"
_START_S: Final = 60.0  # a Java machine on a core that others use as well
_END_S: Final = 20.0
_PROBE_S: Final = 0.05
_TAIL_CHARACTERS: Final = 2_000


@contextmanager
def running(
    command: Sequence[str],
    directory: Path,
    answers: Callable[[], bool],
    *,
    user: str | None = None,
    end: signal.Signals = signal.SIGTERM,
    environment: Mapping[str, str] | None = None,
) -> Generator[None]:
    """A server, from its first answer until the block is left.

    Args:
        command: What to run.
        directory: Where it runs; its output goes into `directory.log` beside it.
        answers: Whether it answers by now. An OSError says that it does not.
        user: Whom to run it as, if that is not the one who measures.
        end: How it is asked to end.
        environment: What to add to its environment.

    Raises:
        ProcessFailedError: It ended, or did not answer in time.
    """
    log = directory.with_name(f"{directory.name}.log")
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=directory,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            env={**os.environ, **(environment or {})},
        ) as process,
    ):
        try:
            _wait(process, answers, command[0], log)
            yield
        finally:
            process.send_signal(end)
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(process: subprocess.Popen[bytes], answers: Callable[[], bool], name: str, log: Path) -> None:
    give_up_s = monotonic() + _START_S
    while not _is_true(answers):
        if process.poll() is not None or monotonic() > give_up_s:
            what = "does not answer" if process.returncode is None else f"ended with exit code {process.returncode}"
            tail = log.read_text(encoding="utf-8", errors="replace")[-_TAIL_CHARACTERS:]
            raise ProcessFailedError(f"{name} {what}; it said: {tail}")
        sleep(_PROBE_S)


def _is_true(answers: Callable[[], bool]) -> bool:
    try:
        return answers()
    except OSError:
        return False


def free_port() -> int:
    """A port of the loopback that nobody listens on, for servers that cannot choose and tell one themselves."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def accepts(port: int) -> bool:
    """Whether somebody listens on a port of the loopback.

    Raises:
        OSError: Nobody does.
    """
    with socket.create_connection((LOOPBACK, port), timeout=1.0):
        return True


def first_line(*command: str) -> str:
    """The first line that a command prints.

    Raises:
        OSError: It cannot be run.
    """
    ended = subprocess.run(command, capture_output=True, text=True, timeout=_START_S, check=False)
    return (ended.stdout or ended.stderr).partition("\n")[0].strip()
