"""Where the ipc sockets are: a directory for their owner alone, not trusted if it is somebody else's, and a free name.

Who may enter the directory may connect, so its permissions are the broker's only lock on ipc. Below a temporary
directory that all users share, somebody else could have made ours before us; we would then serve behind their door.
A directory the operator made for other endpoints is left as it is: who may enter it is the operator's choice.
libzmq removes whatever file has a socket's name, a running broker's as well; so that is looked at first.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tenure.broker.config import Config
from tenure.broker.config_values import ConfigError
from tenure.contract.endpoints import IpcEndpoint, parse_endpoint, runtime_directory

_PRIVATE: Final = 0o700


def prepare_runtime_directories(config: Config, environ: Mapping[str, str]) -> None:
    """Make the directories of all ipc endpoints that are not there, and see that the default one is ours alone.

    Raises:
        ConfigError: One cannot be made, the default one belongs to somebody else or is a symbolic link, or a socket's
            name is taken.
    """
    uid = os.getuid()
    ours = Path(runtime_directory(environ, uid))
    endpoints = map(parse_endpoint, (*config.bind, *config.events_bind))
    paths = [Path(endpoint.path) for endpoint in endpoints if isinstance(endpoint, IpcEndpoint)]
    for directory in sorted({path.parent for path in paths}):
        _make(directory)
        if directory == ours:
            _secure(directory, uid)
    for path in paths:
        _check_free(path)


def _make(directory: Path) -> None:
    """Make a directory for its owner alone. What is missing above it is not ours to make: /run/user/<uid> for one."""
    try:
        directory.mkdir(_PRIVATE, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            str(directory),
            f"cannot be made for the ipc sockets: {error.strerror}; name other endpoints with --bind and "
            "--events-bind, or set XDG_RUNTIME_DIR to a directory of yours",
        ) from error


def _secure(directory: Path, uid: int) -> None:
    """See that the directory is ours, and close it to everybody else if it was open."""
    advice = "remove it, or name other endpoints with --bind and --events-bind"
    try:
        opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        if directory.is_symlink():
            raise ConfigError(
                str(directory), f"is a symbolic link, which anybody may have put there; {advice}"
            ) from error
        raise ConfigError(str(directory), f"cannot be opened: {error.strerror}; {advice}") from error
    try:
        status = os.fstat(opened)
        if status.st_uid != uid:
            raise ConfigError(str(directory), f"belongs to the user with id {status.st_uid}, not to {uid}; {advice}")
        if stat.S_IMODE(status.st_mode) != _PRIVATE:
            os.fchmod(opened, _PRIVATE)
    finally:
        os.close(opened)


def _check_free(path: Path) -> None:
    """See that nobody serves at a path and nothing but what a socket left behind would be lost by binding it."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConfigError(str(path), "is there and is no socket; move it away, or name another endpoint")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        outcome = probe.connect_ex(str(path))
    if outcome not in {errno.ENOENT, errno.ECONNREFUSED}:
        raise ConfigError(
            str(path),
            "another broker listens here; stop it first, or name other endpoints with --bind and --events-bind",
        )
