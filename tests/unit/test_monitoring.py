"""What deploy/ has for a monitor: it names only metrics that exist, and each alert fires when it is to."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from tenure.broker.measurements import SHARES_PERMILLE

yaml: Any = importlib.import_module("yaml")  # without stubs

ROOT: Final = Path(__file__).parents[2]
RULES: Final = ROOT / "deploy" / "prometheus-alerts.yaml"
DASHBOARD: Final = ROOT / "deploy" / "grafana-dashboard.json"
CASES: Final = Path(__file__).with_name("alert_cases.yaml")

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed; Debian has it in the package prometheus"
)


def metrics() -> dict[str, tuple[str, str]]:
    """Every metric of docs/admin.md, which another test holds against what is served: its label and type."""
    found = re.findall(
        r"^\| `(tenure_\w+?)(?:\{(\w+)\})?` \| (\w+) \|", (ROOT / "docs" / "admin.md").read_text(), re.MULTILINE
    )
    return {name: (label, kind) for name, label, kind in found}


def alerts() -> list[dict[str, Any]]:
    """The rules."""
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def panels() -> list[dict[str, Any]]:
    """What the dashboard shows."""
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def expressions() -> list[str]:
    """Everything that rules and dashboard ask Prometheus for."""
    return [rule["expr"] for rule in alerts()] + [target["expr"] for panel in panels() for target in panel["targets"]]


def samples() -> set[str]:
    """What a metric's samples are called."""
    found: set[str] = {"process_cpu_seconds_total", "process_resident_memory_bytes"}
    for name, (_, kind) in metrics().items():
        found |= {f"{name}_{part}" for part in ("bucket", "count", "sum")} if kind == "histogram" else {name}
    return found


def test_rules_and_dashboard_name_only_metrics_that_exist() -> None:
    """By the names of their samples."""
    named = {name for one in expressions() for name in re.findall(r"\b(?:tenure|process)_\w+", one)}
    assert len(named) > 20, "they are found"
    assert named <= samples()


def test_rules_and_dashboard_select_only_labels_that_exist() -> None:
    """Those of the metric, the bounds of a histogram, and what Prometheus adds by itself."""
    for one in expressions():
        for name, selector in re.findall(r"\b(tenure_\w+)\{([^}]*)\}", one):
            label, kind = metrics()[re.sub(r"_(bucket|count|sum)$", "", name)]
            allowed = {label, "instance", "le"} if kind == "histogram" else {label, "instance"}
            assert set(re.findall(r"(\w+)=", selector)) <= allowed, one


def test_the_bounds_that_are_selected_exist() -> None:
    """A rule on a bucket that is not there never fires."""
    selected = {
        float(bound)
        for one in expressions()
        for bound in re.findall(r'tenure_lease_margin_ratio_bucket\{[^}]*le="([0-9.]+)"', one)
    }
    assert selected
    assert selected <= {share / 1_000 for share in SHARES_PERMILLE}


def test_every_alert_has_its_row_in_the_document() -> None:
    """What it means and what to do, and no other has one; each leads there."""
    page = (ROOT / "docs" / "operations.md").read_text()
    names = [rule["alert"] for rule in alerts()]
    assert re.findall(r"^\| `(Tenure\w+)` \|", page, re.MULTILINE) == names
    assert [rule["annotations"]["runbook"] for rule in alerts()] == [f"docs/operations.md, {name}" for name in names]
    assert {rule["labels"]["severity"] for rule in alerts()} == {"critical", "warning"}


def test_every_panel_says_what_it_shows() -> None:
    """In a sentence; its place is its own, and it lies within the width of a dashboard."""
    places = [tuple(panel["gridPos"][side] for side in "xywh") for panel in panels()]
    assert all(panel["title"] and panel["description"].endswith(".") for panel in panels())
    assert len({panel["id"] for panel in panels()}) == len(set(places)) == len(panels())
    assert all(x + width <= 24 for x, _, width, _ in places)


@needs_promtool
def test_promtool_finds_the_rules_good() -> None:
    """As Prometheus reads them."""
    found = subprocess.run(["promtool", "check", "rules", str(RULES)], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


@needs_promtool
def test_every_alert_fires_when_it_is_to() -> None:
    """On made up series; and each has a case in which it fires, and is quiet when all is well."""
    found = subprocess.run(["promtool", "test", "rules", str(CASES)], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    well, *troubled = yaml.safe_load(CASES.read_text())["tests"]
    names = {rule["alert"] for rule in alerts()}
    assert {case["alertname"] for case in well["alert_rule_test"]} == names
    fired = {case["alertname"] for one in troubled for case in one["alert_rule_test"] if "exp_alerts" in case}
    assert fired == names
