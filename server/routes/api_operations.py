"""What the OpenAPI document says of each route that takes no events. A test holds it to the routes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

Schema = dict[str, Any]

ANY: Final[Schema] = {"type": "object"}
_TEXT: Final[Schema] = {"type": "string"}
_TRUTH: Final[Schema] = {"type": "boolean"}
_KEY: Final = ("apiKey", "adminToken")
_TOKEN: Final = ("adminToken",)
_READ: Final = (401, 403, 404, 429)
_ADMIN: Final = (401, 429)
_MAKE: Final = (400, 401, 403, 404, 408, 409, 413, 415, 429, 503)
_CHANGE: Final = (*_MAKE, 412)


@dataclass(frozen=True, slots=True)
class Operation:
    """A method of a path. `body` and `answer` are schemas (None: there is no JSON); `query` is (name, what it
    is); `security`: one of these is needed, of none nothing is.
    """

    tag: str
    method: str
    path: str
    summary: str
    answer: Schema | None = field(default_factory=lambda: ANY)
    body: Schema | None = None
    query: Sequence[tuple[str, str]] = ()
    security: Sequence[str] = ()
    refusals: Sequence[int] = ()
    status: int = 200
    description: str = ""
    body_type: str = "application/json"
    answer_type: str = "application/json"

    @property
    def if_match(self) -> bool:
        """Whether it can be made to depend on what is there."""
        return 412 in self.refusals


def ref(name: str) -> Schema:
    """A reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def operations() -> list[Operation]:
    """All of them, as they stand in the document."""
    return [*_objects(), *_links(), *_workspaces(), *_keys(), *_schemas(), *_admin(), *_process()]


def _said(**fields: Schema) -> Schema:
    return {"type": "object", "required": list(fields), "properties": fields}


def _list(item: Schema) -> Schema:
    return {"type": "array", "items": item}


_SHAPES: Final = {
    "stream": "Stream",
    "destination": "Destination",
    "function": "Function",
    "service": "Service",
}
_STRICT: Final = ("strict", "true: options that are not known are faults")
_IN_USE: Final = (
    ("strict", "true: 409 if links use it"),
    ("cascade", "true: the links that use it are deleted too; wins over strict"),
)
_PATCH: Final = (
    "A JSON Merge Patch (RFC 7396): what is not there stays, null removes. Key lists, and the data of a "
    "link, are replaced; a key that is known keeps its secret, and a mask for a secret keeps that."
)


def _objects() -> list[Operation]:
    op = partial(Operation, "Objects", security=_KEY)
    result: list[Operation] = []
    for type_, shape in _SHAPES.items():
        folder = f"/api/{{workspaceId}}/config/{type_}"
        one = f"{folder}/{{id}}"
        every, what = _said(objects=_list(ref(shape))), ref(shape)
        made = _MADE + _REACHED if type_ == "destination" else _MADE
        result += [
            op("GET", folder, f"Every {type_}, oldest first", every, refusals=_READ),
            op("POST", folder, f"Make a {type_}", _said(id=_TEXT), what, refusals=_MAKE, description=made),
            op("GET", one, f"One {type_}", what, refusals=_READ),
            op("PUT", one, f"Change a {type_}", _OK, ANY, refusals=_CHANGE, description=_PATCH),
            op("DELETE", one, f"Delete a {type_}", what, None, _IN_USE, refusals=_CHANGE, description=_GONE),
        ]
    whole, test = "/api/{workspaceId}/config", "/api/{workspaceId}/config/destination/test"
    tested: Schema = {"type": "object", "required": ["ok"], "properties": {"ok": _TRUTH, "error": _TEXT}}
    return [
        *result,
        op("POST", test, "Would this destination work?", tested, ANY, refusals=_MAKE),
        op("GET", whole, "Every object, as the configuration file has them", refusals=_READ),
        op("PUT", whole, "Make the objects what a document says", ANY, ANY, _APPLY, refusals=_CHANGE),
    ]


_APPLY: Final = (
    ("dryRun", "true: only say what would change"),
    ("prune", "true: objects that the document does not name are deleted"),
)
_OK: Final = _said(success=_TRUTH)
_MADE: Final = "In force at once. The server makes an id if none is sent."
_REACHED: Final = " One that cannot be reached is made all the same: testConnectionError says what is wrong."
_GONE: Final = "The answer is what it was. Links that lose an end stay, and are inert."


def _links() -> list[Operation]:
    op = partial(Operation, "Links", security=_KEY)
    folder, one = "/api/{workspaceId}/config/link", "/api/{workspaceId}/config/link/{id}"
    link: Schema = {"anyOf": [ref("Link"), ref("Sync")]}
    made, gone = _said(id=_TEXT, created=_TRUTH), _said(deleted=_TRUTH)
    ends = (
        ("id", "the link"),
        ("fromId", "instead of id, with toId: its stream or service"),
        ("toId", "its destination"),
    )
    strict = (_STRICT,)
    return [
        op("GET", folder, "Every link, oldest first", _said(links=_list(link)), refusals=_READ),
        op("POST", folder, "Make a link", made, link, strict, refusals=_MAKE, description=_LINK),
        op("PUT", folder, "Change the link of the id in the body", made, ANY, strict, refusals=_CHANGE),
        op("DELETE", folder, "Delete a link, if it is there", gone, None, ends, refusals=_CHANGE),
        op("GET", one, "One link", link, refusals=_READ),
        op("PUT", one, "Change a link", made, ANY, strict, refusals=_CHANGE, description=_PATCH),
        op("DELETE", one, "Delete a link, if it is there", gone, refusals=_CHANGE),
    ]


_LINK: Final = (
    "From a stream (type push) or a service (type sync) to a destination. A stream and a destination have "
    "one link: 409 for another. Options that are not known are kept and mean nothing."
)


def _workspaces() -> list[Operation]:
    op = partial(Operation, "Workspaces", security=_KEY)
    folder, one = "/api/workspace", "/api/workspace/{idOrSlug}"
    space = ref("Workspace")
    return [
        op("GET", folder, "Every workspace", _list(space), refusals=(401, 403, 429)),
        op("POST", folder, "Make a workspace", _said(id=_TEXT), space, refusals=_MAKE),
        op("GET", one, "One workspace", space, refusals=_READ),
        op("PUT", one, "Rename a workspace", _OK, ANY, refusals=_CHANGE),
        op("DELETE", one, "Delete a workspace that is empty", space, refusals=_CHANGE),
    ]


def _keys() -> list[Operation]:
    op = partial(Operation, "API keys and audit", security=_KEY)
    new: Schema = {"type": "object", "properties": {"name": _TEXT, "role": _ROLE, "expiresAt": _TEXT}}
    page = (("limit", "entries, 1 to 1000; default 100"), ("before", "the number of an entry: older ones"))
    refusals = (401, 403, 429)
    return [
        op("GET", "/api/user/keys", "Every API key, without its secret", refusals=refusals),
        op("POST", "/api/user/keys", "Make an API key", ANY, new, refusals=_MAKE, description=_ONCE),
        op("DELETE", "/api/user/keys/{id}", "Revoke an API key", refusals=(*_READ, 503)),
        op(
            "GET",
            "/api/v1/audit",
            "Who changed what, newest first",
            ANY,
            None,
            page,
            refusals=(400, *refusals),
        ),
    ]


_ROLE: Final[Schema] = {"enum": ["admin", "editor", "viewer"]}
_ONCE: Final = "The answer alone has the key whole; it is kept as a digest."


def _schemas() -> list[Operation]:
    op = partial(Operation, "Schemas and documentation")
    return [
        op("GET", "/api/schema", "Which JSON Schemas there are"),
        op("GET", "/api/schema/{type}", "The JSON Schema of a type of objects", refusals=(404,)),
        op("GET", "/api/schema/{type}/{subType}", "The same for one kind of them", refusals=(404,)),
        op("GET", "/api/openapi.json", "This document"),
        op("GET", "/api/docs", "This document, to read", None, answer_type="text/html"),
    ]


def _admin() -> list[Operation]:
    op = partial(Operation, "Admin", security=_TOKEN)
    tail = (("limit", "events, 1 to 1000; default 20"), ("stream", "of this stream alone"))
    where = (("directory", "absolute, on the server's machine, new or empty"),)
    link = "/api/v1/links/{linkId}"
    return [
        op("GET", "/api/v1/events", "The newest events", ANY, None, tail, refusals=(*_ADMIN, 400, 503)),
        op("GET", "/api/v1/events/{messageId}", "Where is my event?", refusals=(*_ADMIN, 404, 503)),
        op("GET", "/api/v1/links", "How every link is", refusals=_ADMIN),
        op("GET", link, "How a link is", refusals=(*_ADMIN, 404)),
        op("POST", f"{link}/pause", "Deliver nothing more until it is resumed", refusals=(*_ADMIN, 404, 503)),
        op("POST", f"{link}/resume", "Go on, and at once", refusals=(*_ADMIN, 404, 503)),
        op("GET", "/api/v1/backup", "The backup that runs, or the last one", refusals=_ADMIN),
        op(
            "POST",
            "/api/v1/backup",
            "Begin a backup",
            ANY,
            None,
            where,
            refusals=(*_ADMIN, 400, 409),
            status=202,
        ),
        op("DELETE", "/api/v1/backup", "End the backup that runs", refusals=_ADMIN, status=202),
    ]


def _process() -> list[Operation]:
    op = partial(Operation, "Operations")
    return [
        op("GET", "/health", "200 while every loop of the process turns", refusals=(503,)),
        op("GET", "/ready", "200 while events can be taken", refusals=(503,)),
        op(
            "GET",
            "/metrics",
            "Prometheus",
            None,
            security=_TOKEN,
            refusals=_ADMIN,
            answer_type="text/plain",
        ),
    ]
