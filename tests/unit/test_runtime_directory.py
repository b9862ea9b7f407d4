"""The directory of the sockets is the broker's own, or the broker does not start."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from tenure.broker.config import Config, ConfigError, load_config
from tenure.broker.runtime_directory import prepare_runtime_directories


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a short name: that of a socket has little room."""
    return tmp_path_factory.mktemp("h")


@pytest.fixture
def environ(home: Path) -> dict[str, str]:
    """The environment of a user whose runtime directory is empty."""
    runtime = home / "run"
    runtime.mkdir()
    return {"HOME": str(home), "XDG_RUNTIME_DIR": str(runtime)}


def load(environ: dict[str, str], **flags: object) -> Config:
    """A configuration whose default endpoints are in the runtime directory."""
    config = load_config(None, environ, flags)
    if not flags:
        assert config.bind[0].startswith(f"ipc://{environ['XDG_RUNTIME_DIR']}/tenure/"), (
            "the temporary name is too long"
        )
    return config


def mode(path: Path) -> int:
    """A path's permissions."""
    return stat.S_IMODE(path.stat().st_mode)


def test_is_made_for_its_owner_alone(environ: dict[str, str], home: Path) -> None:
    """The directory is made with mode 0700 whatever the umask is, and a second start finds it in order."""
    before = os.umask(0)
    try:
        prepare_runtime_directories(load(environ), environ)
    finally:
        os.umask(before)
    assert mode(home / "run/tenure") == 0o700
    prepare_runtime_directories(load(environ), environ)


def test_is_closed_to_others(environ: dict[str, str], home: Path) -> None:
    """A directory of ours that others could enter is closed."""
    directory = home / "run/tenure"
    directory.mkdir()
    directory.chmod(0o777)
    prepare_runtime_directories(load(environ), environ)
    assert mode(directory) == 0o700


def test_symbolic_link_is_refused(environ: dict[str, str], home: Path) -> None:
    """Where somebody put a link in our place, the broker does not serve behind it."""
    (home / "elsewhere").mkdir()
    (home / "run/tenure").symlink_to(home / "elsewhere")
    with pytest.raises(ConfigError, match="run/tenure: is a symbolic link"):
        prepare_runtime_directories(load(environ), environ)


def test_directory_of_somebody_else_is_refused(
    environ: dict[str, str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where somebody else made our directory first, the broker does not serve in it and leaves it as it is."""
    directory = home / "run/tenure"
    directory.mkdir(0o755)
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    with pytest.raises(ConfigError, match=f"belongs to the user with id {owner}, not to {owner + 1}; remove it, or"):
        prepare_runtime_directories(load(environ), environ)
    assert mode(directory) == 0o755


def test_file_in_its_place_is_refused(environ: dict[str, str], home: Path) -> None:
    """Where a file has the directory's name, the message says what is wrong and what to do."""
    (home / "run/tenure").touch()
    with pytest.raises(ConfigError, match=r"run/tenure: cannot be made for the ipc sockets: File exists; .* --bind"):
        prepare_runtime_directories(load(environ), environ)


def test_runtime_directory_of_nobody_is_not_made(environ: dict[str, str], home: Path) -> None:
    """What is missing above is the system's to make: /run/user/<uid> made by us would be in a login's way."""
    (home / "run").rmdir()
    with pytest.raises(ConfigError, match=r"No such file or directory; .* XDG_RUNTIME_DIR"):
        prepare_runtime_directories(load(environ), environ)
    assert not (home / "run").exists()


def test_directory_of_the_operator_is_left_as_it_is(environ: dict[str, str], home: Path) -> None:
    """For endpoints of the operator's choice, a directory that is there keeps its permissions, and links are fine."""
    (home / "shared").mkdir()
    (home / "shared").chmod(0o755)
    (home / "link").symlink_to(home / "shared")
    config = load(
        environ,
        bind=[f"ipc://{home}/link/b", f"ipc://{home}/new/b", "tcp://127.0.0.1:0"],
        events_bind=["tcp://127.0.0.1:0"],
    )
    prepare_runtime_directories(config, environ)
    assert mode(home / "shared") == 0o755
    assert mode(home / "new") == 0o700
    assert not (home / "run/tenure").exists()


def test_directory_that_cannot_be_opened(environ: dict[str, str], home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory of ours that cannot be looked at (descriptors used up, for one) is not taken on trust."""
    (home / "run/tenure").mkdir()

    def refuse(*_: object) -> int:
        raise OSError(24, "Too many open files")

    config = load(environ)
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ConfigError, match="cannot be opened: Too many open files"):
        prepare_runtime_directories(config, environ)


def test_running_broker_keeps_its_sockets(environ: dict[str, str], home: Path) -> None:
    """★ A second broker is refused before libzmq would remove the first one's socket; one left behind is in no way."""
    config = load(environ)
    prepare_runtime_directories(config, environ)
    path = home / "run/tenure/events.ipc"
    with socket.socket(socket.AF_UNIX) as first:
        first.bind(str(path))
        first.listen(0)
        for _ in range(2):  # the second time its queue is full
            with pytest.raises(
                ConfigError, match=r"run/tenure/events\.ipc: another broker listens here; stop it first"
            ):
                prepare_runtime_directories(config, environ)
    assert path.is_socket()
    prepare_runtime_directories(config, environ)


def test_file_that_is_no_socket_is_kept(environ: dict[str, str], home: Path) -> None:
    """A path that names a file of another kind is refused: libzmq would remove it without asking."""
    (home / "thesis.tex").write_text("years of work")
    config = load(environ, bind=[f"ipc://{home}/thesis.tex"], events_bind=["tcp://127.0.0.1:0"])
    with pytest.raises(ConfigError, match=r"thesis\.tex: is there and is no socket"):
        prepare_runtime_directories(config, environ)
    assert (home / "thesis.tex").read_text() == "years of work"
