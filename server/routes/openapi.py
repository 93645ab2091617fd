"""The OpenAPI document of the whole HTTP surface: GET /api/openapi.json, and the page and schemas beside it.

BlackSheep's own generator knows the framework's routes alone (ingest is not among them), and its page loads
scripts from elsewhere. Objects are described by the schemas that check them. Public: nothing in it is secret.
"""

import re
from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Final

import orjson
from blacksheep import Application, Content, Request, Response

from server.management import catalogue, components, schema_of
from server.routes import pixel, sdk_metrics
from server.routes.api_operations import ANY, Operation, Schema, operations, ref
from server.routes.api_page import page
from server.routes.family import IngestRoute
from server.routes.responses import problem_response

_WRITE_KEYS: Final = ("writeKeyBasic", "writeKeyBearer", "writeKeyHeader", "writeKeyQuery")
_INGEST: Final = (400, 401, 403, 408, 413, 415, 429, 503)
_TITLES: Final = {
    "gateway": "Events: Segment and RudderStack",
    "batch": "Events: batches",
    "jitsu": "Events: Jitsu",
    "classic": "Events: Jitsu Classic",
}
_SECURITY: Final[Schema] = {
    "apiKey": {"type": "http", "scheme": "bearer", "description": "keyId:keySecret, of an API key"},
    "adminToken": {"type": "apiKey", "in": "header", "name": "X-Admin-Token"},
    "writeKeyBasic": {"type": "http", "scheme": "basic", "description": "The write key as user name"},
    "writeKeyBearer": {"type": "http", "scheme": "bearer", "description": "The write key"},
    "writeKeyHeader": {"type": "apiKey", "in": "header", "name": "X-Write-Key"},
    "writeKeyQuery": {"type": "apiKey", "in": "query", "name": "writeKey"},
}
_ERROR: Final[Schema] = {
    "type": "object",
    "description": "Why not. Faults of an object are all listed, each with its path.",
    "required": ["message"],
    "properties": {
        "message": {"type": "string"},
        "error": {"description": "A word for programs; with some families of SDKs an object."},
        "code": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object"}},
    },
}
_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_CSP: Final = b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def register_openapi(app: Application, ingest: Mapping[str, IngestRoute]) -> None:
    """Add the routes. `ingest` is every path that takes events by POST."""

    @cache
    def described() -> Schema:
        return document(ingest)

    @cache
    def shown() -> bytes:
        return page(described()).encode()

    async def openapi(_request: Request) -> Response:
        """The document."""
        return _json(described())

    async def docs(_request: Request) -> Response:
        """The document, to read."""
        response = Response(200, None, Content(b"text/html; charset=utf-8", shown()))
        response.headers.add(b"Content-Security-Policy", _CSP)
        return response

    async def schemas(_request: Request) -> Response:
        """Which schemas there are."""
        return _json(catalogue())

    async def schema(request: Request) -> Response:
        """The schema of a type of objects."""
        values = request.route_values or {}
        type_, sub = values.get("type") or "", values.get("sub")
        found = schema_of(type_, sub)
        if found is None:
            said = " ".join(repr(word[:64]) for word in (type_, sub) if word)
            return problem_response("not_found", f"no schema of {said}")
        return _json(found)

    app.router.add_get("/api/openapi.json", openapi)
    app.router.add_get("/api/docs", docs)
    app.router.add_get("/api/schema", schemas)
    app.router.add_get("/api/schema/{type}", schema)
    app.router.add_get("/api/schema/{type}/{sub}", schema)


def document(ingest: Mapping[str, IngestRoute]) -> Schema:
    """OpenAPI 3.1."""
    paths: dict[str, Schema] = {}
    every = [*operations(), *_ingest(ingest), *_pixels(), *_browser_documents()]
    for operation in every:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Penstock",
            "version": version("penstock"),
            "description": "Events over HTTP: on disk before they are answered, exactly once in Postgres.",
        },
        "tags": [{"name": name} for name in dict.fromkeys(operation.tag for operation in every)],
        "paths": paths,
        "components": {
            "securitySchemes": _SECURITY,
            "schemas": {**components("#/components/schemas/{name}"), "Error": _ERROR},
        },
    }


def _ingest(table: Mapping[str, IngestRoute]) -> list[Operation]:
    result = []
    for path, route in table.items():
        said = f"A {route.path_type} event" if route.path_type else "Events"
        body_type = "multipart/form-data" if route.upload else "application/json"
        result.append(
            Operation(
                _TITLES[route.family.name],
                "POST",
                path,
                "A file of events" if route.upload else said,
                body=ANY if route.upload or route.path_type else {"type": ["object", "array"]},
                security=_WRITE_KEYS,
                refusals=_INGEST,
                description="200 means on disk.",
                body_type=body_type,
            )
        )
    return result


def _pixels() -> list[Operation]:
    query = (("data", "the event, JSON in base64"),)
    return [
        Operation(
            "Events: pixels",
            "GET",
            path,
            f"A {route.path_type or 'classic'} event in a query; always a GIF",
            None,
            query=query,
            security=("writeKeyQuery",),
            refusals=(429, 503),
            answer_type="image/gif",
        )
        for path, route in pixel.routes().items()
    ]


def _browser_documents() -> list[Operation]:
    tag, key = "For browser SDKs", ("writeKeyBasic", "writeKeyQuery")
    settings, config = "/v1/projects/{writeKey}/settings", "/sourceConfig"
    found = [
        Operation(tag, "GET", settings, "Segment's settings", refusals=(401, 403)),
        Operation(tag, "GET", config, "RudderStack's source", security=key, refusals=(400, 401, 403)),
    ]
    said = "What an SDK measured of itself: taken in and dropped"
    return found + [Operation(tag, "POST", path, said) for path in sdk_metrics.PATHS]


def _described(operation: Operation) -> Schema:
    """One operation in OpenAPI's words."""
    answers: dict[str, Schema] = {str(operation.status): {"description": HTTPStatus(operation.status).phrase}}
    if operation.answer is not None:
        answers[str(operation.status)]["content"] = {operation.answer_type: {"schema": operation.answer}}
    else:
        answers[str(operation.status)]["content"] = {operation.answer_type: {"schema": {"type": "string"}}}
    for status in sorted(operation.refusals):
        content: Schema = {"application/json": {"schema": ref("Error")}}
        if operation.answer_type == "image/gif":
            content = {operation.answer_type: {"schema": {"type": "string"}}}
        answers[str(status)] = {"description": HTTPStatus(status).phrase, "content": content}
    result: Schema = {
        "operationId": _operation_id(operation),
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": _parameters(operation),
        "responses": answers,
        "security": [{name: []} for name in operation.security],
    }
    if operation.description:
        result["description"] = operation.description
    if operation.body is not None:
        content = {operation.body_type: {"schema": operation.body}}
        result["requestBody"] = {"required": True, "content": content}
    return result


def _parameters(operation: Operation) -> list[Schema]:
    text: Schema = {"type": "string"}
    found = [
        {"name": name, "in": "path", "required": True, "schema": text}
        for name in _PARAMETER.findall(operation.path)
    ]
    found += [
        {"name": name, "in": "query", "description": said, "schema": text} for name, said in operation.query
    ]
    if operation.if_match:
        said = "The ETag of what is to be changed; 412 if it was changed since."
        found.append({"name": "If-Match", "in": "header", "description": said, "schema": text})
    return found


def _operation_id(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"


def _json(value: Any) -> Response:
    return Response(200, None, Content(b"application/json", orjson.dumps(value)))
