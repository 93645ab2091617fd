"""Objects made from their published schemas: taken, or refused with the path of what a schema cannot say."""

import jsonschema_rs
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import GenerationMode

from server.app import ingest_routes
from server.routes.openapi import document
from tests.contract.management.conftest import Api

BEYOND_A_SCHEMA = {"stream": ("publicKeys", "privateKeys", "authorizedJavaScriptDomains", "domain")}
SCHEMA = schemathesis.openapi.from_dict(document(ingest_routes())).include(
    method="POST",
    path=[f"/api/{{workspaceId}}/config/{kind}" for kind in ("stream", "destination", "function", "service")],
)
SCHEMA.config.generation.update(modes=[GenerationMode.POSITIVE])


@SCHEMA.parametrize()
@settings(max_examples=8, suppress_health_check=list(HealthCheck))
def test_what_a_schema_makes_is_taken(case: schemathesis.Case, api: Api) -> None:
    kind = case.operation.path.rpartition("/")[2]
    answer = api.config("POST", kind, case.body)
    if kind in BEYOND_A_SCHEMA and answer.status == 400:
        assert all(fault["path"].startswith(BEYOND_A_SCHEMA[kind]) for fault in answer.json["errors"])
        return
    assert answer.status == 200, answer.body
    shown = api.get(kind, answer.json["id"])
    schema = api.server.request("GET", f"/api/schema/{kind}").json
    jsonschema_rs.validator_for(schema).validate(shown)
    assert api.config("DELETE", f"{kind}/{answer.json['id']}").json == shown
