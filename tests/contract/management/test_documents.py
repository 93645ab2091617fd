"""Schemas, the OpenAPI document and its page: real, whole, and without a key."""

import re
from pathlib import Path

import jsonschema_rs
import pytest
from blacksheep.server.routing import Route

from server.app import ingest_routes
from server.clock import SystemClock
from server.routes import pixel
from server.routes.openapi import document
from server.run import Run
from server.second_stage import SecondStage
from server.settings import Config, StoreSettings
from storage import Store, StoreOptions
from tests.contract.management.conftest import MINIMAL, Api


def test_the_catalogue_names_every_schema(api: Api) -> None:
    schemas = api.server.request("GET", "/api/schema").json["schemas"]
    assert [entry["type"] for entry in schemas] == ["stream", "destination", "function", "service", "link"]
    inner = [sub for entry in schemas for sub in entry.get("subTypes", {}).values()]
    for entry in (*schemas, *inner):
        schema = api.server.request("GET", entry["schemaURL"]).json
        jsonschema_rs.meta.validate(schema)
        assert schema["properties"]


@pytest.mark.parametrize("kind", MINIMAL)
def test_a_schema_knows_good_from_bad(api: Api, kind: str) -> None:
    validator = jsonschema_rs.validator_for(api.server.request("GET", f"/api/schema/{kind}").json)
    assert validator.is_valid(MINIMAL[kind])
    assert not validator.is_valid({**MINIMAL[kind], "unheardOf": 1})
    assert not validator.is_valid({})


async def routes_of(tmp_path: Path) -> list[tuple[str, Route]]:
    """(method, route) of everything that the framework answers."""
    store = Store.open(tmp_path / "data", StoreOptions(free_bytes_min=0), SystemClock())
    try:
        run = Run(Config(store=StoreSettings(path=str(tmp_path / "data"))), store, SystemClock())
        framework = SecondStage(run).application
        await framework.start()
        return [
            (method.decode(), route) for method, routes in framework.router.routes.items() for route in routes
        ]
    finally:
        store.close()


async def test_every_route_is_described(tmp_path: Path) -> None:
    described: dict[str, list[bytes]] = {}
    for path, methods in document(ingest_routes())["paths"].items():
        for method in methods:
            described.setdefault(method.upper(), []).append(re.sub(r"{\w+}", "x", path).encode())
    routes = await routes_of(tmp_path)
    missing = [
        (method, route.full_pattern)
        for method, route in routes
        if not any(route.match_by_path(path) for path in described[method])
    ]
    assert len(routes) > 25
    assert missing == []


def test_every_ingest_path_is_described() -> None:
    described = document(ingest_routes())["paths"]
    assert all("post" in described[path] for path in ingest_routes())
    assert all("get" in described[path] for path in pixel.routes())


def test_the_page_loads_nothing(api: Api) -> None:
    answer = api.server.request("GET", "/api/docs")
    text = answer.body.decode()
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert not re.search(r"<script|src=|@import|url\(|https?://", text.replace("https://host", ""))
    paths = api.server.request("GET", "/api/openapi.json").json["paths"]
    assert all(path in text for path in paths)
