"""The layout: three source roots that share one namespace, what is built from them, and who may import whom."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
SOURCE_ROOTS = ("broker", "sdk", "storage")
PACKAGES = ("contract", "sdk", "cli", "domain", "broker", "admin", "storage")

# What the base install does not bring: applications that only use the SDK have none of these.
EXTRAS_ONLY = ("typer", "click", "rich", "aiosqlite", "uvloop", "litestar", "uvicorn", "hdrh")

# What no module may do, each with the line that does it. The contracts of pyproject.toml have to find all of them.
VIOLATIONS = (
    ("broker/tenure/domain/records.py", "import time", "tenure.domain.records -> time"),
    ("broker/tenure/domain/records.py", "import tenure.storage", "tenure.domain.records -> tenure.storage"),
    ("broker/tenure/domain/records.py", "import tenure.sdk", "tenure.domain.records -> tenure.sdk"),
    ("sdk/tenure/contract/limits.py", "import socket", "tenure.contract.limits -> socket"),
    ("sdk/tenure/contract/limits.py", "import tenure.domain", "tenure.contract.limits -> tenure.domain"),
    ("sdk/tenure/contract/limits.py", "import tenure.sdk", "tenure.contract.limits -> tenure.sdk"),
    ("sdk/tenure/sdk/__init__.py", "import tenure.domain", "tenure.sdk -> tenure.domain"),
    ("sdk/tenure/sdk/__init__.py", "import tenure.cli", "tenure.sdk -> tenure.cli"),
    ("sdk/tenure/sdk/__init__.py", "import typer", "tenure.sdk -> typer"),
    ("sdk/tenure/sdk/session.py", "import zmq", "tenure.sdk.session -> zmq"),
    ("sdk/tenure/sdk/session.py", "import asyncio", "tenure.sdk.session -> asyncio"),
    ("sdk/tenure/sdk/requests.py", "import random", "tenure.sdk.requests -> random"),
    ("broker/tenure/broker/core.py", "import asyncio", "tenure.broker.core -> asyncio"),
    ("sdk/tenure/cli/__init__.py", "import tenure.broker", "tenure.cli -> tenure.broker"),
    ("broker/tenure/admin/__init__.py", "import tenure.broker", "tenure.admin -> tenure.broker"),
    ("broker/tenure/admin/__init__.py", "import aiosqlite", "tenure.admin -> aiosqlite"),
    ("broker/tenure/broker/__init__.py", "import tenure.sdk", "tenure.broker -> tenure.sdk"),
    ("storage/tenure/storage/__init__.py", "import tenure.broker", "tenure.storage -> tenure.broker"),
    ("storage/tenure/storage/__init__.py", "import zmq", "tenure.storage -> zmq"),
)


def pyproject() -> dict[str, Any]:
    """The project's own description of itself."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def source_files() -> dict[str, Path]:
    """Every file of the three roots by its path in an installation, as in `tenure/sdk/session.py`."""
    return {
        path.relative_to(ROOT / root).as_posix(): path
        for root in SOURCE_ROOTS
        for path in (ROOT / root / "tenure").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def source_modules(*packages: str) -> list[str]:
    """The names of all modules of `packages`, but for `__main__`, which runs when it is imported."""
    paths = [Path(name) for name in source_files() if name.endswith(".py")]
    return sorted(
        ".".join(path.parent.parts if path.stem == "__init__" else path.with_suffix("").parts)
        for path in paths
        if path.parts[1] in packages and path.stem != "__main__"
    )


def run_python(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run this interpreter in a process of its own."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def build(target: str, source: Path, destination: Path) -> Path:
    """Build `target` from the tree at `source` without a network, and return the one file that came out."""
    result = run_python("-m", "hatchling", "build", "-t", target, "-d", str(destination), cwd=source)
    assert result.returncode == 0, result.stdout + result.stderr
    (built,) = destination.iterdir()
    return built


def test_namespace_has_no_init() -> None:
    """`tenure` itself is a namespace: an `__init__.py` in one root would hide the other two."""
    assert [root for root in SOURCE_ROOTS if (ROOT / root / "tenure" / "__init__.py").exists()] == []


def test_packages_are_where_the_layout_says() -> None:
    """Every package of the layout is there, typed, and no other is."""
    inits = {name.split("/")[1] for name in source_files() if re.fullmatch(r"tenure/\w+/__init__\.py", name)}
    typed = {name.split("/")[1] for name in source_files() if re.fullmatch(r"tenure/\w+/py\.typed", name)}
    assert inits == set(PACKAGES)
    assert typed == set(PACKAGES)


def test_every_module_imports() -> None:
    """Every module of every package imports, and none of them warns while it does."""
    names = source_modules(*PACKAGES)
    assert len(names) > len(PACKAGES)
    result = run_python(
        "-W", "error", "-c", "import importlib, sys; [*map(importlib.import_module, sys.argv[1:])]", *names
    )
    assert result.returncode == 0, result.stderr


def test_annotations_are_deferred_everywhere() -> None:
    """Every Python file starts with the future import, right after its docstring."""
    missing: list[str] = []
    for folder in (*SOURCE_ROOTS, "tests", "bench", "examples"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            body = ast.parse(path.read_text(encoding="utf-8")).body
            if body and isinstance(body[0], ast.Expr):
                body = body[1:]
            if not body or ast.unparse(body[0]) != "from __future__ import annotations":
                missing.append(str(path.relative_to(ROOT)))
    assert missing == []


# Makes this process one that has the base install only; what follows runs in it.
BASE_INSTALL = f"""
import importlib, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {EXTRAS_ONLY!r}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
sys.meta_path.insert(0, Absent())
"""


@pytest.mark.parametrize("package", ["contract", "sdk"])
def test_imports_on_the_base_install(package: str) -> None:
    """What an application imports needs no extra, module by module."""
    names = source_modules(package)
    assert names
    result = run_python("-c", f"{BASE_INSTALL}[*map(importlib.import_module, sys.argv[1:])]", *names)
    assert result.returncode == 0, result.stderr


def test_command_names_the_extra_it_lacks() -> None:
    """On the base install `tenure` is there already, and says what to install instead of failing to import."""
    result = run_python("-c", f"{BASE_INSTALL}from tenure.cli import main; main()")
    assert result.returncode == 78
    assert "pip install '.[cli]'" in result.stderr
    assert "Traceback" not in result.stderr


def test_wheel_holds_the_whole_source(tmp_path: Path) -> None:
    """The wheel holds every file of the three roots, data files too, and puts nothing else into site-packages."""
    with zipfile.ZipFile(build("wheel", ROOT, tmp_path)) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        entry_points = wheel.read(f"tenure-{pyproject()['project']['version']}.dist-info/entry_points.txt").decode()
    assert names == set(source_files())
    assert {Path(name).suffix for name in names} >= {".py", ".typed", ".sql"}
    assert "tenure = tenure.cli:main" in entry_points


def test_wheel_from_sdist_is_the_same(tmp_path: Path) -> None:
    """What is built from the sdist alone is what is built from the repository."""
    with tarfile.open(build("sdist", ROOT, tmp_path / "sdist")) as sdist:
        sdist.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    with zipfile.ZipFile(build("wheel", unpacked, tmp_path / "wheel")) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == set(source_files())


def test_editable_install_links_all_roots(tmp_path: Path) -> None:
    """An editable install puts all three roots on the path, not only the last."""
    with zipfile.ZipFile(build("wheel:editable", ROOT, tmp_path)) as wheel:
        (pth,) = [name for name in wheel.namelist() if name.endswith(".pth")]
        linked = wheel.read(pth).decode().split()
    assert sorted(linked) == sorted(str(ROOT / root) for root in SOURCE_ROOTS)


def test_import_contracts_catch_every_violation(tmp_path: Path) -> None:
    """Each import-linter contract is broken by the imports it is there to find."""
    for root in SOURCE_ROOTS:
        shutil.copytree(ROOT / root, tmp_path / root, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for file, line, _ in VIOLATIONS:
        assert (tmp_path / file).exists()
        with (tmp_path / file).open("a", encoding="utf-8") as module:
            module.write(f"\n{line}\n")
    # The copies have to be found before the installed roots, which stand on the path as well.
    roots = [str(tmp_path / root) for root in SOURCE_ROOTS]
    program = (
        "import sys; sys.path[:0] = sys.argv[1:]; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    )
    result = run_python("-c", program, *roots, cwd=tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    contracts = [contract["name"] for contract in pyproject()["tool"]["importlinter"]["contracts"]]
    assert [name for name in contracts if f"{name} BROKEN" not in result.stdout] == []
    assert [chain for _, _, chain in VIOLATIONS if f"{chain} (l." not in result.stdout] == []


def test_constraints_pin_everything_that_is_installed() -> None:
    """Whatever the project, its extras, its tools and its build need has one version in constraints.txt."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)] == []
    pinned = [canonicalize_name(line.partition("==")[0]) for line in lines]
    assert sorted(set(pinned)) == sorted(pinned)
    assert sorted(needed_distributions() - set(pinned)) == []


def needed_distributions() -> set[str]:
    """The names of all distributions that follow from pyproject.toml on this machine."""
    description = pyproject()
    project = description["project"]
    waiting = [
        Requirement(text)
        for text in (
            *description["build-system"]["requires"],
            *project["dependencies"],
            *(text for extra in project["optional-dependencies"].values() for text in extra),
            *description["dependency-groups"]["dev"],
            "pip",
        )
    ]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if name == project["name"] or (name, extra) in seen:
                continue
            seen.add((name, extra))
            for text in importlib.metadata.requires(name) or ():
                following = Requirement(text)
                if following.marker is None or following.marker.evaluate({"extra": extra}):
                    waiting.append(following)
    return {name for name, _ in seen}
