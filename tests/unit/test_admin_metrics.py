"""GET /metrics: what it counts, that a figure is live or not there, and that it stays small whatever is registered."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from msgspec import structs
from prometheus_client.parser import text_string_to_metric_families

from tenure.admin import figures
from tenure.admin.figures import count
from tenure.contract.errors import RequestTimeoutError
from tenure.contract.interventions import PauseResource
from tenure.contract.messages import Register
from tenure.contract.vocabulary import ServiceRole, ServiceStatus
from tests.contract.example_views import MEASUREMENTS_FULL
from tests.unit.admin_stage import HEARD_MS, TOKEN, SceneSource, asking, assert_problem

PAGE = Path(__file__).parents[2] / "docs" / "admin.md"
type Labels = tuple[tuple[str, str], ...]


@pytest.fixture
def source() -> SceneSource:
    """A source without registrations."""
    return SceneSource()


async def scrape(source: SceneSource) -> dict[tuple[str, Labels], float]:
    """Every sample that is served, by its name and labels."""
    async with asking(source) as browser:
        answer = await browser.get("/metrics")
    return samples(answer)


def samples(answer: httpx.Response) -> dict[tuple[str, Labels], float]:
    """The samples of an answer in Prometheus's text format."""
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def tenures_own(found: dict[tuple[str, Labels], float]) -> set[str]:
    """The names that are Tenure's."""
    return {name for name, _ in found if name.startswith("tenure_")}


# --- what is counted --------------------------------------------------------------------------------------------------


async def test_resources_are_counted_by_whether_somebody_is_active(source: SceneSource) -> None:
    """Active ones, vacant ones, and those that are vacant because they are paused; registrations by role."""
    scene = source.scene
    a = scene.client("a")
    a.claim("held")
    a.stand_by("vacant")
    a.stand_by("paused")
    scene.ask(PauseResource(resource_id="paused", why="new cable"))

    found = await scrape(source)

    assert found["tenure_resources_active", ()] == 1
    assert found["tenure_resources_vacant", (("paused", "false"),)] == 1
    assert found["tenure_resources_vacant", (("paused", "true"),)] == 1
    assert found["tenure_resources_paused", ()] == 1
    assert found["tenure_registrations", (("role", "active"),)] == 1
    assert found["tenure_registrations", (("role", "standby"),)] == 2
    assert found["tenure_service_resources_vacant", (("service_name", "svc"),)] == 1


async def test_a_standby_that_could_not_take_over_is_none(source: SceneSource) -> None:
    """What it reported of itself decides; without any standby one is missing too."""
    a, b = source.scene.client("a"), source.scene.client("b")
    a.claim("acct")
    assert (await scrape(source))["tenure_resources_without_standby", ()] == 1
    b.stand_by("acct")
    assert (await scrape(source))["tenure_resources_without_standby", ()] == 0
    b.beat(ServiceStatus.UNHEALTHY)
    found = await scrape(source)
    assert found["tenure_resources_without_standby", ()] == 1
    assert found["tenure_service_resources_without_standby", (("service_name", "svc"),)] == 1


async def test_what_the_broker_measures_is_told_in_prometheus_units(source: SceneSource) -> None:
    """Seconds and shares; a bucket has all that is not greater; conflicts and fenced refusals are counted once."""
    found = await scrape(source)

    assert found["tenure_broker_start_time_seconds", ()] == MEASUREMENTS_FULL.started_ms / 1_000
    assert found["tenure_commit_duration_seconds_bucket", (("le", "0.0001"),)] == 3
    assert found["tenure_commit_duration_seconds_bucket", (("le", "0.001"),)] == 5
    assert found["tenure_commit_duration_seconds_bucket", (("le", "+Inf"),)] == 6
    assert found["tenure_commit_duration_seconds_count", ()] == 6
    assert found["tenure_commit_duration_seconds_sum", ()] == pytest.approx(0.004711)
    assert found["tenure_lease_margin_ratio_bucket", (("le", "0.5"),)] == 1
    assert found["tenure_failovers_total", (("reason", "died"),)] == 1
    assert found["tenure_failover_duration_seconds_count", (("reason", "died"),)] == 1
    assert found["tenure_switchovers_total", (("reason", "switchover"),)] == 1
    assert found["tenure_sessions_ended_total", (("reason", "goodbye"),)] == 2
    assert found["tenure_request_duration_seconds_count", (("request", "register"),)] == 4
    assert found["tenure_role_conflicts_total", ()] == 12
    assert found["tenure_fenced_refusals_total", (("code", "not_active"),)] == 2
    assert found["tenure_fenced_refusals_total", (("code", "session_expired"),)] == 0
    assert not {labels for name, labels in found if name == "tenure_refusals_total"}, "each is counted in one place"


async def test_the_lag_is_what_the_broker_had_more(source: SceneSource) -> None:
    """Events that were committed and not applied here; a replica that is ahead of an answer does not lag."""
    replica = source.replica
    ahead = structs.replace(MEASUREMENTS_FULL, revision=replica.revision + 3)
    behind = structs.replace(MEASUREMENTS_FULL, revision=0)
    assert (await count(replica, {}, ahead)).event_lag == 3
    assert (await count(replica, {}, behind)).event_lag == 0


async def test_a_resource_that_is_left_while_it_is_counted_is_none(
    source: SceneSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others have their turn in between, and the replica goes on: what is gone then is not counted."""
    monkeypatch.setattr(figures, "_COUNTED_AT_ONCE", 1)
    a = source.scene.client("a")
    a.claim("acct")
    source.follow()
    counting = count(source.replica, {}, MEASUREMENTS_FULL)
    counting.send(None)  # it lets others have their turn before the first
    a.goodbye()
    source.follow()
    with pytest.raises(StopIteration) as ended:
        counting.send(None)
    found = ended.value.value
    assert (found.active, found.vacant, found.standbys) == (0, 0, 0)


# --- live or not there ------------------------------------------------------------------------------------------------


async def test_without_the_broker_nothing_is_told_but_that(source: SceneSource) -> None:
    """No figure of before is passed off as one of now; the process's own are there."""
    source.is_away = True
    found = await scrape(source)
    assert tenures_own(found) == {"tenure_broker_up", "tenure_broker_heard_timestamp_seconds"}
    assert found["tenure_broker_up", ()] == 0
    assert found["tenure_broker_heard_timestamp_seconds", ()] == HEARD_MS / 1_000
    assert ("process_resident_memory_bytes", ()) in found


async def test_a_broker_that_was_never_heard(source: SceneSource) -> None:
    """There is no time at which it was."""
    source.is_away, source.heard_ms = True, None
    assert tenures_own(await scrape(source)) == {"tenure_broker_up"}


async def test_a_broker_that_does_not_answer_is_away(source: SceneSource) -> None:
    """Its stream may still be heard."""
    source.defect = RequestTimeoutError("get_measurements", 1_000)
    assert (await scrape(source))["tenure_broker_up", ()] == 0


# --- how it is served -------------------------------------------------------------------------------------------------


async def test_openmetrics_is_served_to_whoever_asks_for_it(source: SceneSource) -> None:
    """As Prometheus asks, with others that it would take too."""
    accepted = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
    async with asking(source) as browser:
        answer = await browser.get("/metrics", headers={"accept": accepted})
    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert "\n# TYPE tenure_failovers counter\n" in answer.text
    assert answer.text.endswith("\n# EOF\n")


async def test_reading_from_elsewhere_needs_the_token(source: SceneSource) -> None:
    """As every other route."""
    async with asking(source, is_local_only=False) as browser:
        assert_problem(await browser.get("/metrics"), 401, "forbidden")
        answer = await browser.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == 200


async def test_it_is_described(source: SceneSource) -> None:
    """With its media type."""
    async with asking(source) as browser:
        described = (await browser.get("/schema")).json()
    assert set(described["paths"]["/metrics"]["get"]["responses"]["200"]["content"]) == {"text/plain"}


async def test_it_stays_small_whatever_is_registered(source: SceneSource) -> None:
    """Resources and instances are counted, never named; of the services a hundred, those with most to look at."""
    few = len(await scrape(source))
    client = source.scene.client("a")
    for number in range(150):
        for resource in range(2 if number == 149 else 1):
            client.register(Register(service_name=f"v{number}", instance_id="a", resource_id=f"v{number}.{resource}"))
        client.register(Register(service_name=f"h{number}", instance_id="a", role=ServiceRole.ACTIVE))

    found = await scrape(source)

    assert len(found) == few + 200
    assert found["tenure_service_resources_vacant", (("service_name", "v149"),)] == 2
    assert found["tenure_resources_vacant", (("paused", "false"),)] == 151


# --- documented and right ---------------------------------------------------------------------------------------------


async def test_every_metric_is_in_the_document(source: SceneSource) -> None:
    """With its type, and no other is."""
    async with asking(source) as browser:
        text = (await browser.get("/metrics")).text
    served = set(re.findall(r"^# TYPE (tenure_\w+) (\w+)$", text, re.MULTILINE))
    assert len(served) > 20
    documented = re.findall(r"^\| `(tenure_\w+)(?:\{\w+\})?` \| (\w+) \|", PAGE.read_text(), re.MULTILINE)
    assert len(documented) == len(set(documented))
    assert set(documented) == served


async def test_the_labels_in_the_document_are_those_served(source: SceneSource) -> None:
    """A metric has one label or none."""
    client = source.scene.client("a")
    client.stand_by("vacant")
    client.claim("held")
    found = await scrape(source)
    documented = dict(re.findall(r"^\| `(tenure_\w+?)(?:\{(\w+)\})?` \|", PAGE.read_text(), re.MULTILINE))
    served: dict[str, set[str]] = {}
    for name, labels in found:
        family = re.sub(r"_(bucket|count|sum)$", "", name)
        if family.startswith("tenure_"):
            served.setdefault(family, set()).update(label for label, _ in labels if label != "le")
    assert {family: "".join(labels) for family, labels in served.items()} == {
        family: label for family, label in documented.items() if family in served
    }
