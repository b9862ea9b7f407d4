"""scripts/find-python: which Python it takes, and what it says when there is none.

The candidates are small programs that answer the script's question the way a real interpreter would, since no machine
has all the Pythons that matter here. Nothing of the machine's own PATH takes part.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "find-python"

FIT = 'echo "$0"'
OLD = "exit 1"
UNFIT = 'echo "$0 (3.13.1) lacks the module ensurepip"; exit 2'
SHIM = 'echo "pyenv: $0: command not found" >&2; exit 127'


def place(path: Path, body: str) -> Path:
    """Put a program at `path` that does `body`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine with the tools the script uses, and no Python: a `tools` folder for PATH, and an empty home."""
    (tmp_path / "home").mkdir()
    (tmp_path / "tools").mkdir()
    sort = shutil.which("sort")
    assert sort is not None
    (tmp_path / "tools" / "sort").symlink_to(sort)
    return tmp_path


def find(machine: Path, *path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the script with `path` before the tools on PATH."""
    return subprocess.run(
        ["/bin/sh", str(SCRIPT)],
        env={
            "PATH": ":".join(str(folder) for folder in (*path, machine / "tools")),
            "HOME": str(machine / "home"),
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_this_interpreter_is_fit(machine: Path) -> None:
    """What runs these tests answers the script's question for real, and its own path comes back."""
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    result = find(machine, PYTHON=str(base))
    assert result.returncode == 0, result.stderr
    assert Path(result.stdout.strip()).samefile(base)


def test_first_fit_python_on_path(machine: Path) -> None:
    """python3.13 on PATH is taken before any other name, also when it stands further back."""
    place(machine / "a" / "python3", FIT)
    wanted = place(machine / "b" / "python3.13", FIT)
    assert find(machine, machine / "a", machine / "b").stdout == f"{wanted}\n"


def test_old_python_is_passed_over(machine: Path) -> None:
    """A python3 that is too old is no answer, and a newer one under a plain name is one."""
    place(machine / "a" / "python3", OLD)
    wanted = place(machine / "b" / "python3", FIT)
    assert find(machine, machine / "a", machine / "b").stdout == f"{wanted}\n"


def test_shim_of_a_version_not_activated(machine: Path) -> None:
    """A pyenv shim that only fails leads to the newest of the versions that stand behind it."""
    root = machine / "pyenv"
    place(root / "shims" / "python3.13", SHIM)
    place(root / "versions" / "3.12.4" / "bin" / "python", OLD)
    place(root / "versions" / "3.13.9" / "bin" / "python", FIT)
    wanted = place(root / "versions" / "3.13.10" / "bin" / "python", FIT)
    place(root / "versions" / "3.14.0" / "bin" / "python", FIT)
    assert find(machine, root / "shims").stdout == f"{wanted}\n"


@pytest.mark.parametrize("root", ["home/.pyenv", "elsewhere with a space"])
def test_pyenv_that_is_not_on_path(machine: Path, root: str) -> None:
    """The versions of pyenv are found in ~/.pyenv and under PYENV_ROOT without its shims."""
    wanted = place(machine / root / "versions" / "3.14.1" / "bin" / "python", FIT)
    environment = {} if root.startswith("home") else {"PYENV_ROOT": str(machine / root)}
    assert find(machine, **environment).stdout == f"{wanted}\n"


def test_unfit_python_leads_on(machine: Path) -> None:
    """A Python that is new enough but cannot make a virtual environment is passed over for one that can."""
    place(machine / "a" / "python3.13", UNFIT)
    wanted = place(machine / "b" / "python3.14", FIT)
    assert find(machine, machine / "a", machine / "b").stdout == f"{wanted}\n"


def test_uv_fetches_one_when_there_is_none(machine: Path) -> None:
    """With nothing but uv here, uv is let fetch a Python, and that one is taken."""
    waiting = place(machine / "a" / "waiting", FIT)
    fetched = machine / "fetched"
    place(
        machine / "a" / "uv",
        f'case "$*" in "python install"*) /bin/mv {waiting} {fetched} ;; *--managed-python*) echo {fetched} ;; esac',
    )
    result = find(machine, machine / "a")
    assert result.stdout == f"{fetched}\n"
    assert "uv fetches one" in result.stderr


def test_nothing_here(machine: Path) -> None:
    """With no Python to use, the script fails, says why the near misses are none, and what to install."""
    place(machine / "a" / "python3", OLD)
    unfit = place(machine / "a" / "python3.13", UNFIT)
    result = find(machine, machine / "a")
    assert result.returncode == 1
    assert result.stdout == ""
    assert f"{unfit} (3.13.1) lacks the module ensurepip" in result.stderr
    for help_with in ("uv", "pyenv install 3.13", "python3.13-venv", "PYTHON="):
        assert help_with in result.stderr
