"""What is in deploy/ can be used: it parses, and every command, option and setting in it exists."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import typer.main

from tenure.broker.config import SETTINGS, resolve_config
from tenure.cli.app import app

yaml: Any = importlib.import_module("yaml")  # without stubs

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = ("tenure.service", "tenure-admin.service")
UID = 7400
CLIENTS = {"TENURE_ENDPOINT"}
"""Variables that are not the broker's."""


def unit(name: str) -> dict[str, list[tuple[str, str]]]:
    """A unit's settings by section; one that stands there several times is there several times."""
    found: dict[str, list[tuple[str, str]]] = {}
    section: list[tuple[str, str]] = []
    for line in (DEPLOY / name).read_text().splitlines():
        if line.startswith("["):
            section = found[line.strip("[]")] = []
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            section.append((key, value))
    return found


def values(name: str, section: str, key: str) -> list[str]:
    """The values of one setting."""
    return [value for known, value in unit(name)[section] if known == key]


def compose() -> dict[str, Any]:
    """The services of the compose file."""
    services: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    return services


def kubernetes(name: str = "tenure") -> dict[str, Any]:
    """The manifest's objects of a name, by kind."""
    objects = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    return {one["kind"]: one for one in objects if one["metadata"]["name"] == name}


def container(name: str = "tenure", kind: str = "StatefulSet") -> dict[str, Any]:
    """The one container of a workload, by default of the broker's."""
    containers: list[dict[str, Any]] = kubernetes(name)[kind]["spec"]["template"]["spec"]["containers"]
    (one,) = containers
    return one


def instructions(name: str) -> list[str]:
    """What one kind of instruction of the Dockerfile says, each time."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", "")
    return re.findall(rf"^{name}\s+(.*)$", text, re.MULTILINE)


def image_environment() -> dict[str, str]:
    """The variables that the image sets."""
    return dict(pair.split("=", 1) for line in instructions("ENV") for pair in shlex.split(line))


def commands() -> Iterator[list[str]]:
    """Every command line of `tenure` in deploy/, without the name."""
    for name in UNITS:
        for line in values(name, "Service", "ExecStart"):
            program, *arguments = shlex.split(line)
            assert program == "/opt/tenure/bin/tenure"
            yield arguments
    assert instructions("ENTRYPOINT") == ['["tenure"]']
    yield from map(json.loads, instructions("CMD"))
    for line in instructions("HEALTHCHECK"):
        program, *arguments = json.loads(line.split(" CMD ")[1])
        assert program == "tenure"
        yield arguments
    for service in compose().values():
        yield service["command"]
    yield container()["args"]
    yield container("tenure-admin", "Deployment")["args"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        program, *arguments = container()[probe]["exec"]["command"]
        assert program == "tenure"
        yield arguments


@pytest.mark.parametrize("arguments", list(commands()), ids=" ".join)
def test_every_command_can_be_parsed(arguments: list[str]) -> None:
    """The subcommand exists, and takes these options."""
    name, *options = arguments
    group: Any = typer.main.get_command(app)
    command = group.commands[name]
    with command.make_context(name, options) as context:
        assert context.command is command


def test_the_commands_are_found() -> None:
    """So that the test above does not pass by looking at nothing."""
    assert {arguments[0] for arguments in commands()} == {"serve", "admin", "ping"}
    assert len(list(commands())) == 11


def environments() -> Iterator[dict[str, str]]:
    """What is set in each place for a broker."""
    in_unit = dict(value.split("=", 1) for value in values("tenure.service", "Service", "Environment"))
    yield {name: value.replace("%S", "/var/lib").replace("%t", "/run") for name, value in in_unit.items()}
    yield image_environment()
    yield image_environment() | compose()["broker"].get("environment", {})
    yield image_environment() | {variable["name"]: variable["value"] for variable in container()["env"]}


@pytest.mark.parametrize("environ", list(environments()), ids=["unit", "image", "compose", "kubernetes"])
def test_every_setting_is_one_of_the_brokers(environ: dict[str, str]) -> None:
    """The variables exist, and the configuration that they come to is one that would be served."""
    known = {setting.variable for setting in SETTINGS.values()} | CLIENTS
    assert {name for name in environ if name.startswith("TENURE_")} <= known
    exposed = any("0.0.0.0" in value for value in environ.values())  # noqa: S104 - it is looked for
    config, sources = resolve_config(None, environ, {"insecure_bind": exposed or None})
    assert len(config.bind) == len(config.events_bind) == 2
    assert sources["data"] == "TENURE_DATA"


@pytest.mark.parametrize("name", UNITS)
def test_the_units_are_found_good_by_systemd(name: str, tmp_path: Path) -> None:
    """As far as systemd itself can tell without running them."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    for other in UNITS:
        text = (DEPLOY / other).read_text().replace("/opt/tenure/bin/tenure", sys.executable)
        (tmp_path / other).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / name)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, [line for line in done.stderr.splitlines() if name in line]) == (0, [])


def test_the_brokers_unit_waits_for_readiness_and_watches() -> None:
    """It does what `tenure serve` tells it, and sees the clients' processes: else no death would be proven."""
    service = dict(unit("tenure.service")["Service"])
    assert (service["Type"], service["NotifyAccess"]) == ("notify", "main")
    assert int(service["WatchdogSec"].removesuffix("s")) > 1
    assert service["RestartPreventExitStatus"] == "78"
    assert {"PrivateUsers", "ProtectProc", "ProcSubset", "PrivatePIDs"}.isdisjoint(service)
    parser = ConfigParser(strict=False, interpolation=None)
    for name in UNITS:
        parser.read_string((DEPLOY / name).read_text())
        assert parser["Service"]["User"] == "tenure"


def test_the_image_is_pinned_small_and_not_roots() -> None:
    """The base by its version, another user than root, a health check."""
    assert {base.split()[0] for base in instructions("FROM")} == {"python:3.13.9-slim-bookworm"}
    assert instructions("USER") == ["tenure"]
    assert f"--uid {UID}" in (DEPLOY / "Dockerfile").read_text()
    assert len(instructions("HEALTHCHECK")) == 1


def test_what_the_image_is_built_from_is_enough(tmp_path: Path) -> None:
    """A wheel can be built from the files that are copied, which the ignore file lets through."""
    copied = [line.split()[:-1] for line in instructions("COPY") if not line.startswith("--from")]
    let_through = {
        line.removeprefix("!") for line in (DEPLOY / "Dockerfile.dockerignore").read_text().split() if line[0] == "!"
    }
    names = [name for sources in copied for name in sources]
    assert set(names) == let_through
    for name in names:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tmp_path / name)
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    assert len(list((tmp_path / "dist").glob("tenure-*.whl"))) == 1


def test_compose_publishes_on_the_loopback_alone() -> None:
    """Nothing on tcp is authenticated, so the host's other addresses are nobody's business."""
    for service in compose().values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    build = compose()["broker"]["build"]
    assert (DEPLOY / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).is_file()


def test_kubernetes_runs_one_broker_as_nobody_special() -> None:
    """One replica with one claim that one pod may use; the ports of the service are those of the container."""
    spec = kubernetes()["StatefulSet"]["spec"]
    pod = spec["template"]["spec"]
    assert spec["replicas"] == 1
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container()["volumeMounts"]}
    assert mounts["store"] == image_environment()["TENURE_DATA"]
    assert {volume["name"] for volume in pod["volumes"]} | {claim["metadata"]["name"]} == set(mounts)
    assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (True, UID)
    named = {port["name"]: port["containerPort"] for port in container()["ports"]}
    service = kubernetes()["Service"]["spec"]
    assert (
        {port["targetPort"]: port["port"] for port in service["ports"]} == named == {"requests": 7400, "events": 7401}
    )
    assert service["selector"] == spec["selector"]["matchLabels"]
    assert spec["serviceName"] == kubernetes()["Service"]["metadata"]["name"]


def test_the_admins_pod_may_reach_the_broker_and_is_reached() -> None:
    """The policy lets it in, its service selects it, and its port is the one that it binds."""
    objects = kubernetes("tenure-admin")
    pod = objects["Deployment"]["spec"]["template"]
    (rule,) = kubernetes()["NetworkPolicy"]["spec"]["ingress"]
    allowed = rule["from"][0]["podSelector"]["matchLabels"]
    selector = objects["Service"]["spec"]["selector"]
    assert allowed.items() <= pod["metadata"]["labels"].items() >= selector.items()
    (port,) = container("tenure-admin", "Deployment")["ports"]
    assert (port["name"], port["containerPort"]) == ("http", 7480)
    assert objects["Service"]["spec"]["ports"] == [{"name": "http", "port": 7480, "targetPort": "http"}]


def test_no_registry_is_named() -> None:
    """Images have plain names: where they come from is the business of whoever runs them."""
    images = [base.split()[0] for base in instructions("FROM")]
    images += [service["image"] for service in compose().values()] + [container()["image"]]
    assert [image for image in images if "/" in image] == []
    text = "".join(path.read_text() for path in DEPLOY.iterdir())
    assert re.findall(r"https?://|\b(?:ghcr|quay|docker|gcr)\.(?:io|com)\b", text) == []
