"""Whatever is asked, the answer is one that the OpenAPI document names; never a 5xx that it does not."""

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from server.app import ingest_routes
from server.routes.openapi import document
from tests.running import ADMIN_TOKEN, SERVER_KEY, Penstock

DOCUMENT = document(ingest_routes())
EVENT_PATHS_MAX = 3  # of each family: they are the same lane


def many_alike() -> set[str]:
    """Paths of events beyond a few of each family."""
    families: dict[str, list[str]] = {}
    for path, methods in DOCUMENT["paths"].items():
        for tag in {tag for operation in methods.values() for tag in operation["tags"]}:
            families.setdefault(tag, []).append(path)
    events = (paths for tag, paths in families.items() if tag.startswith("Events"))
    return {path for paths in events for path in paths[EVENT_PATHS_MAX:]}


ALIKE = many_alike()
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    unsupported_method,
]
# A backup would be written to wherever the generated text points.
SCHEMA = (
    schemathesis.openapi.from_dict(DOCUMENT)
    .exclude(method="POST", path="/api/v1/backup")
    .exclude(lambda context: context.operation.path in ALIKE)
)


@SCHEMA.parametrize()
@settings(max_examples=3, suppress_health_check=list(HealthCheck))
def test_answers_conform(case: schemathesis.Case, server: Penstock) -> None:
    headers = {"X-Admin-Token": ADMIN_TOKEN, "X-Write-Key": SERVER_KEY}
    url = f"http://127.0.0.1:{server.port}"
    case.call_and_validate(base_url=url, headers=headers, checks=CHECKS)
