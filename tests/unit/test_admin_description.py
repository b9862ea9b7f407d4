"""What the admin says of itself is OpenAPI, complete and true; and so is what its page in the docs says."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from tenure.admin.views import (
    EventPage,
    InstancePage,
    ResourceAnswer,
    ResourcePage,
    RolePage,
    ServiceSummary,
    TenurePage,
)
from tests.unit.admin_stage import TOKEN, SceneSource, asking

PAGE = Path(__file__).parents[2] / "docs" / "admin.md"
READS = {"401", "421", "422", "503"}
CHANGES = {"401", "403", "404", "409", "413", "415", "421", "422", "429", "503"}
ROUTES = {
    ("get", "/services"): {"200", *READS},
    ("get", "/services/{service_name}"): {"200", "404", *READS},
    ("get", "/services/{service_name}/roles"): {"200", "404", *READS},
    ("get", "/resources"): {"200", *READS},
    ("get", "/resources/{resource_id}"): {"200", "404", *READS},
    ("get", "/resources/{resource_id}/history"): {"200", "404", *READS},
    ("post", "/resources/{resource_id}/pause"): {"200", *CHANGES},
    ("post", "/resources/{resource_id}/resume"): {"200", *CHANGES},
    ("post", "/roles"): {"202", *CHANGES},
    ("get", "/events"): {"200", "410", *READS},
    ("get", "/metrics"): {"200", "401", "421", "422"},
    ("get", "/health/live"): {"200", "421", "422"},
    ("get", "/health/ready"): {"200", *READS},
    ("post", "/resources/{resource_id}/switchover"): {"202", *CHANGES},
    ("delete", "/resources/{resource_id}/switchover"): {"200", *CHANGES},
    ("delete", "/services/{service_name}/instances/{instance_id}"): {"200", *CHANGES},
}
"""What there is, and how it may be answered."""
STREAMS = {"/resources", "/events"}


@pytest.fixture
def source() -> SceneSource:
    """Somebody is active, and somebody stands by."""
    source = SceneSource()
    source.scene.client("a").claim("r")
    source.scene.client("b").stand_by("r")
    return source


@pytest.fixture
async def browser(source: SceneSource) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody on this machine who may do anything."""
    async with asking(source, token=TOKEN) as client:
        yield client


async def test_the_description_is_openapi_and_complete(browser: httpx.AsyncClient) -> None:
    """Every route with every answer it gives, and no reference that leads nowhere."""
    answer = await browser.get("/schema/openapi.json")
    described: dict[str, Any] = answer.json()

    assert answer.headers["content-type"] == "application/vnd.oai.openapi+json"
    assert described["openapi"].startswith("3.1")
    assert (await browser.get("/schema")).json() == described
    routes = {
        (method, path): set(operation["responses"])
        for path, item in described["paths"].items()
        for method, operation in item.items()
    }
    assert routes == ROUTES
    for path in STREAMS:
        assert set(described["paths"][path]["get"]["responses"]["200"]["content"]) == {
            "application/json",
            "text/event-stream",
        }
    for reference in references(described):
        assert resolve(described, reference)


async def test_the_description_says_what_needs_the_token(browser: httpx.AsyncClient) -> None:
    """Changes do wherever they are asked for from, reading does elsewhere than here; it is a bearer token."""
    described: dict[str, Any] = (await browser.get("/schema")).json()

    assert described["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}
    for (method, path), answers in ROUTES.items():
        needed = described["paths"][path][method].get("security", [])
        here: list[dict[str, list[str]]] = [{}] if method == "get" else []
        assert needed == ([*here, {"token": []}] if "401" in answers else []), path


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("/services", "/services"),
        ("/services", "/services?limit=0"),
        ("/services/{service_name}", "/services/svc"),
        ("/services/{service_name}", "/services/nobody"),
        ("/services/{service_name}/roles", "/services/svc/roles"),
        ("/services/{service_name}/roles", "/services/nobody/roles"),
        ("/resources", "/resources"),
        ("/resources/{resource_id}", "/resources/r"),
        ("/resources/{resource_id}", "/resources/nothing"),
        ("/health/live", "/health/live"),
        ("/health/ready", "/health/ready"),
    ],
)
async def test_answers_are_as_described(browser: httpx.AsyncClient, template: str, path: str) -> None:
    """Every member of an answer is in the description, with its type, and none that has to be there is missing."""
    described: dict[str, Any] = (await browser.get("/schema")).json()

    answer = await browser.get(path)

    content = described["paths"][template]["get"]["responses"][str(answer.status_code)]["content"]
    check(described, content[answer.headers["content-type"]]["schema"], answer.json())


type Json = dict[str, Json] | list[Json] | str | float | bool | None


def references(node: Json) -> list[str]:
    """All references below a node."""
    if isinstance(node, dict):
        here = node.get("$ref")
        return [here] if isinstance(here, str) else [one for value in node.values() for one in references(value)]
    return [one for value in node for one in references(value)] if isinstance(node, list) else []


def resolve(described: dict[str, Any], reference: str) -> dict[str, Any]:
    """What a reference leads to."""
    node: Any = described
    for name in reference.removeprefix("#/").split("/"):
        node = node[name]
    found: dict[str, Any] = node
    return found


TYPES: dict[str, type] = {
    "array": list,
    "boolean": bool,
    "integer": int,
    "null": type(None),
    "object": dict,
    "string": str,
}


def check(described: dict[str, Any], schema: dict[str, Any], value: Json) -> None:
    """The value is what the schema says; only what this description uses is known."""
    if "$ref" in schema:
        check(described, resolve(described, schema["$ref"]), value)
        return
    if "oneOf" in schema:
        fitting = [one for one in schema["oneOf"] if (value is None) == (one.get("type") == "null")]
        assert len(fitting) == 1, schema
        check(described, fitting[0], value)
        return
    assert isinstance(value, TYPES[schema["type"]]), (schema, value)
    assert value in schema.get("enum", [value])
    if isinstance(value, list):
        for item in value:
            check(described, schema["items"], item)
    if isinstance(value, dict) and "properties" in schema:
        assert set(schema.get("required", ())) <= set(value) <= set(schema["properties"])
        for name, member in value.items():
            check(described, schema["properties"][name], member)


# --- the page in the docs ---------------------------------------------------------------------------------------------


async def test_the_docs_have_every_route_with_its_parameters(browser: httpx.AsyncClient) -> None:
    """A heading for each, and what it takes is named below it; no heading is of a route that is not there."""
    described: dict[str, Any] = (await browser.get("/schema")).json()
    parts = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
    headings = {part.split("\n")[0]: part for part in parts}
    routes = {f"{method.upper()} {path}": (method, path) for method, path in ROUTES}

    assert {one for one in headings if re.match(r"(GET|POST|DELETE) /", one)} == {*routes, "GET /schema"}
    for heading, (method, path) in routes.items():
        operation = described["paths"][path][method]
        names = {one["name"] for one in operation.get("parameters", []) if one["in"] == "query"}
        missing = {name for name in names - {"limit", "after", "stale"} if f"`{name}" not in headings[heading]}
        assert not missing, heading


async def test_the_docs_have_every_code(browser: httpx.AsyncClient) -> None:
    """With what a problem may say."""
    described: dict[str, Any] = (await browser.get("/schema")).json()
    codes = described["components"]["schemas"]["ProblemCode"]["enum"]
    assert [code for code in codes if f"`{code}`" not in PAGE.read_text()] == []


def test_the_examples_of_the_docs_have_every_field_of_an_answer() -> None:
    """In the order of the answers, and none besides: whoever writes a client against the page misses nothing."""
    examples = [block.split("```")[0] for block in PAGE.read_text().split("```json\n")[1:]]
    kinds = (InstancePage, ServiceSummary, RolePage, ResourceAnswer, TenurePage, EventPage)
    for example, kind in zip(examples, kinds, strict=False):
        answer = msgspec.json.encode(msgspec.json.decode(example, type=kind))
        assert json.dumps(json.loads(example)) == json.dumps(json.loads(answer))
    assert ResourcePage.__struct_fields__[-2:] == RolePage.__struct_fields__[-2:], "shown once for both"
