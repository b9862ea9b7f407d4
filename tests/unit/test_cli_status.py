"""How `tenure status` looks: as a table that fits 80 columns, and as lines that grep finds."""

from __future__ import annotations

from msgspec import structs

from tenure.cli.status_table import rendered
from tenure.contract.interventions import Switchover
from tenure.contract.views import ResourceView
from tenure.contract.vocabulary import ServiceStatus
from tests.unit.scene import Scene


def eventful() -> list[ResourceView]:
    """Two resources: of the first the active is at risk and to hand over, the second is quiet."""
    scene = Scene()
    held = scene.client("gw-1").claim("account-42")
    scene.client("gw-2").stand_by("account-42")
    scene.client("gw-3").claim("account-43")
    scene.ask(
        Switchover(
            resource_id="account-42",
            epoch=held.epoch,
            drain_ms=30_000,
            even_if_vacant=True,
            by="ada@machine.example.org",
        )
    )
    first, second = scene.resource("account-42"), scene.resource("account-43")
    assert first.active is not None
    at_risk = structs.replace(first.active, margin_ms=100, loop_lag_ms=5_000, status=ServiceStatus.HEALTHY)
    return [structs.replace(first, active=at_risk), second]


def test_nothing_that_is_under_way_widens_a_column_at_80() -> None:
    """What needs a sentence stands below the table; in it at most a status moves below its name."""
    lines = rendered(eventful(), 80).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["RESOURCE", "ACTIVE", "EPOCH", "SINCE", "LEASE", "LEFT", "NEXT", "IN", "LINE"]
    notes = next(number for number, line in enumerate(lines) if line.startswith("account-42:"))
    rows = [line.split() for line in lines[1:notes] if line.startswith("account")]
    assert [(row[0], row[1], row[-1]) for row in rows] == [
        ("account-42", "svc/gw-1", "svc/gw-2"),
        ("account-43", "svc/gw-3", "ms"),
    ]
    assert notes - 1 <= 2 * len(rows)
    said = " ".join(lines[notes:])
    assert "account-42: svc/gw-1 is AT RISK: renewed with 100 of" in said
    assert "account-42: switchover under way, asked for by ada@machine.example.org: its holder may go on" in said


def test_where_nothing_says_how_wide_it_is_each_note_is_one_line_with_its_resource() -> None:
    """A pipe gets whole sentences, so that grep finds all that concerns a resource."""
    lines = rendered(eventful(), 1_000).splitlines()
    assert [line.split(" ")[0] for line in lines] == [
        "RESOURCE",
        "account-42",
        "account-43",
        "account-42:",
        "account-42:",
    ]
