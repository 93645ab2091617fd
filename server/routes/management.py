"""/api/{workspaceId}/config/{type}[/{id}] and /api/workspace: the objects, by API key.

Answers are those of Jitsu's management API: a list is `{"objects"}` (of links `{"links"}`), an object is flat
under Jitsu's names, and an error is `{"message", …}` with the path of every fault. Secrets are masked.
Event-loop thread.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from blacksheep import Application, Content, Request, Response

from server.catalog import Destination
from server.lookup import iso_time
from server.management import (
    KINDS,
    LINK_TYPES,
    Caller,
    Change,
    Conflict,
    Invalid,
    ManagementError,
    NotFound,
    Objects,
    PreconditionFailed,
    Role,
    Stored,
    apply_document,
    differences,
    export_document,
    masked,
)
from server.problems import PROBLEMS
from server.routes.connection_tests import ConnectionTests, Test
from server.routes.key_access import KeyAccess
from server.routes.responses import json_response, problem_response
from storage import StorageError, StoreFull

TYPES: Final = ("stream", "destination", "function", "service", "link")
DEPTH_MAX: Final = 64
_CREATED: Final = 200


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request that may be answered: who asks, in which workspace, for which type and object."""

    caller: Caller
    workspace: str
    kind: str
    id: str
    query: Mapping[str, str]
    if_match: str | None


class _Refused(Exception):  # noqa: N818 - an answer on its way out
    def __init__(self, response: Response) -> None:
        self.response = response


Handler = Callable[[Request], Awaitable[Response]]


class Management:
    """The handlers of the routes. `test` tries to reach a destination, in bounded time."""

    def __init__(self, objects: Objects, access: KeyAccess, test: Test) -> None:
        self._objects = objects
        self._access = access
        self._tests = ConnectionTests(test)

    def register(self, app: Application) -> None:
        """Add the routes."""
        links = "/api/{workspace}/config/link"
        folder, one = "/api/{workspace}/config/{kind}", "/api/{workspace}/config/{kind}/{id}"
        for method, path, handler in (
            ("GET", "/api/workspace", self._workspaces),
            ("POST", "/api/workspace", self._create_workspace),
            ("GET", "/api/workspace/{id}", self._workspace),
            ("PUT", "/api/workspace/{id}", self._patch_workspace),
            ("DELETE", "/api/workspace/{id}", self._delete_workspace),
            ("GET", "/api/{workspace}/config", self._export),
            ("PUT", "/api/{workspace}/config", self._apply),
            ("GET", folder, self._list),
            ("POST", folder, self._create),
            ("PUT", links, self._put_link),
            ("DELETE", links, self._delete_link),
            ("POST", "/api/{workspace}/config/destination/test", self._test_destination),
            ("GET", one, self._get),
            ("PUT", one, self._put),
            ("DELETE", one, self._delete),
        ):
            app.router.add(method, path, _answering(handler))

    async def _workspaces(self, request: Request) -> Response:
        self._caller(request, "viewer")
        return _json(200, [_workspace(item) for item in self._objects.all("workspace")])

    async def _workspace(self, request: Request) -> Response:
        self._caller(request, "viewer")
        item = self._found_workspace(_value(request, "id"))
        return _with_etag(json_response(200, _workspace(item)), item)

    async def _create_workspace(self, request: Request) -> Response:
        caller = self._caller(request, "admin")
        item = await self._objects.create("workspace", await _body(request), caller)
        return _with_etag(json_response(_CREATED, {"id": item.id}), item)

    async def _patch_workspace(self, request: Request) -> Response:
        caller = self._caller(request, "admin")
        id_ = self._found_workspace(_value(request, "id")).id
        if_match = _header(request, b"if-match")
        item = await self._objects.patch("workspace", id_, await _body(request), caller, if_match)
        return _with_etag(json_response(200, {"success": True}), item)

    async def _delete_workspace(self, request: Request) -> Response:
        caller = self._caller(request, "admin")
        id_ = self._found_workspace(_value(request, "id")).id
        item = await self._objects.delete("workspace", id_, caller, if_match=_header(request, b"if-match"))
        return json_response(200, _workspace(item))

    async def _export(self, request: Request) -> Response:
        """Every object of a workspace, in the sections of the configuration file."""
        self._caller(request, "viewer")
        workspace = self._found_workspace(_value(request, "workspace")).id
        response = _json(200, export_document(self._objects, workspace))
        response.headers.add(b"ETag", self._objects.etag(workspace).encode())
        return response

    async def _apply(self, request: Request) -> Response:
        """Make the objects of a workspace what the body says, all or none: what that changes, or would, and
        the ETag of what it was compared with.
        """
        caller = self._caller(request, "editor")
        workspace = self._found_workspace(_value(request, "workspace")).id
        prune, dry_run = (request.query.get(flag) == ["true"] for flag in ("prune", "dryRun"))
        document = await _body(request)
        if_match = _header(request, b"if-match")
        changes, etag = await apply_document(
            self._objects, document, caller, workspace, prune=prune, keep=not dry_run, if_match=if_match
        )
        return json_response(200, {"changes": [_change(change) for change in changes], "etag": etag})

    async def _list(self, request: Request) -> Response:
        asked = self._asked(request, "viewer")
        if asked.kind == "link":
            links = sorted(
                (link for kind in LINK_TYPES for link in self._objects.all(kind, asked.workspace)),
                key=lambda link: (not link.provisioned, link.created_ms),
            )
            return json_response(200, {"links": [described(link) for link in links]})
        found = self._objects.all(asked.kind, asked.workspace)
        return json_response(200, {"objects": [described(item) for item in found]})

    async def _get(self, request: Request) -> Response:
        item = self._existing(self._asked(request, "viewer"))
        return _with_etag(json_response(200, described(item)), item)

    async def _create(self, request: Request) -> Response:
        asked = self._asked(request, "editor")
        body = await _body(request)
        strict = asked.query.get("strict") == "true"
        kind = _link_kind(body) if asked.kind == "link" else asked.kind
        item = await self._objects.create(kind, body, asked.caller, workspace=asked.workspace, strict=strict)
        said: dict[str, object] = {"id": item.id, **await self._tested(item, asked.caller)}
        if asked.kind == "link":
            said["created"] = True
        return _with_etag(json_response(_CREATED, said), item)

    async def _put(self, request: Request) -> Response:
        asked = self._asked(request, "editor")
        before = self._existing(asked)
        item = await self._patched(asked, before, await _body(request))
        said: dict[str, object] = {"success": True}
        if _place(item.value) != _place(before.value):
            said |= await self._tested(item, asked.caller)
        if asked.kind == "link":
            said = {"id": item.id, "created": False}
        return _with_etag(json_response(200, said), item)

    async def _put_link(self, request: Request) -> Response:
        """A link is also changed where it is made, by the id in the body."""
        asked = self._asked(request, "editor", "link")
        body = await _body(request)
        if not isinstance(body.get("id"), str):
            wrong = "is missing" if body.get("id") is None else "must be a text"
            raise _Refused(_faulty("the link needs its id", [("id", wrong)]))
        item = await self._patched(asked, self._existing(asked, body["id"]), body)
        return _with_etag(json_response(200, {"id": item.id, "created": False}), item)

    async def _test_destination(self, request: Request) -> Response:
        """Whether a destination as in the body would work; with the id of one that is there, as a change."""
        asked = self._asked(request, "editor", "destination")
        value = self._objects.candidate("destination", await _body(request), asked.workspace)
        said = await self._error_of(value, asked.caller)
        return json_response(200, {"ok": True} if said is None else {"ok": False, "error": said})

    async def _tested(self, item: Stored, caller: Caller) -> dict[str, object]:
        """What is to be said of a destination that was changed: it is in force already, working or not."""
        said = await self._error_of(item.value, caller)
        return {} if said is None else {"testConnectionError": said}

    async def _error_of(self, value: object, caller: Caller) -> str | None:
        if not isinstance(value, Destination):
            return None
        return await self._tests.error_of(value, caller.key_id)

    async def _patched(self, asked: _Asked, before: Stored, body: Mapping[str, Any]) -> Stored:
        strict = asked.query.get("strict") == "true"
        return await self._objects.patch(
            before.kind,
            before.id,
            body,
            asked.caller,
            asked.if_match,
            workspace=asked.workspace,
            strict=strict,
        )

    async def _delete(self, request: Request) -> Response:
        asked = self._asked(request, "editor")
        if asked.kind == "link":
            return await self._deleted_link(asked, self._link(asked.id, asked.workspace))
        strict, cascade = (asked.query.get(flag) == "true" for flag in ("strict", "cascade"))
        item = await self._objects.delete(
            asked.kind,
            asked.id,
            asked.caller,
            strict=strict,
            cascade=cascade,
            if_match=asked.if_match,
            workspace=asked.workspace,
        )
        return json_response(200, described(item))

    async def _delete_link(self, request: Request) -> Response:
        """By `id`, or by `fromId` and `toId`, in the query."""
        asked = self._asked(request, "editor", "link")
        id_, ends = asked.query.get("id"), (asked.query.get("fromId"), asked.query.get("toId"))
        if (id_ is None) is (ends == (None, None)) or (id_ is None and None in ends):
            raise _Refused(problem_response("bad_request", "give either id, or fromId and toId"))
        if id_ is not None:
            return await self._deleted_link(asked, self._link(id_, asked.workspace))
        link = self._objects.link_between(str(ends[0]), str(ends[1]), asked.workspace)
        return await self._deleted_link(asked, link)

    async def _deleted_link(self, asked: _Asked, link: Stored | None) -> Response:
        if link is None:
            return json_response(200, {"deleted": False})
        await self._objects.delete(
            link.kind, link.id, asked.caller, if_match=asked.if_match, workspace=asked.workspace
        )
        return json_response(200, {"deleted": True})

    def _caller(self, request: Request, role: Role) -> Caller:
        caller = self._access.caller(request, role)
        if isinstance(caller, Response):
            raise _Refused(caller)
        return caller

    def _asked(self, request: Request, role: Role, kind: str | None = None) -> _Asked:
        """Who asks is looked at first: strangers do not learn what is there."""
        caller = self._caller(request, role)
        workspace = self._found_workspace(_value(request, "workspace")).id
        kind = kind or _value(request, "kind")
        if kind not in TYPES:
            said = f"Unknown resource type {kind[:64]!r}. Known types: {', '.join(TYPES)}"
            raise _Refused(problem_response("not_found", said))
        query = {name: values[0] for name, values in request.query.items() if values}
        if_match = _header(request, b"if-match")
        return _Asked(caller, workspace, kind, _value(request, "id"), query, if_match)

    def _found_workspace(self, word: str) -> Stored:
        item = self._objects.workspace(word)
        if item is None:
            raise NotFound("workspace", word)
        return item

    def _existing(self, asked: _Asked, id_: str | None = None) -> Stored:
        id_ = asked.id if id_ is None else id_
        if asked.kind == "link":
            item = self._link(id_, asked.workspace)
        else:
            item = self._objects.get(asked.kind, id_, asked.workspace)
        if item is None:
            raise NotFound(asked.kind, id_)
        return item

    def _link(self, id_: str, workspace: str) -> Stored | None:
        return self._objects.get("link", id_, workspace) or self._objects.get("sync", id_, workspace)


def described(item: Stored) -> dict[str, object]:
    """An object as it is answered: Jitsu's names, flat, secrets masked. Times are ISO 8601 in UTC."""
    shown: dict[str, object] = {
        "id": item.id,
        "type": LINK_TYPES.get(item.kind, item.kind),
        "workspaceId": item.workspace,
        **KINDS[item.kind].publish(masked(item.body)),
    }
    if item.provisioned:
        return {**shown, "provisioned": True}
    return {**shown, "createdAt": iso_time(item.created_ms), "updatedAt": iso_time(item.updated_ms)}


def _workspace(item: Stored) -> dict[str, object]:
    return {"id": item.id, "name": item.body["name"], "slug": item.body["slug"] or item.id}


def _change(change: Change) -> dict[str, object]:
    before, after = change
    item = after or before
    assert item is not None
    return {
        "action": "create" if before is None else "delete" if after is None else "update",
        "type": item.kind,
        "id": item.id,
        "fields": [
            {"path": one.path, "before": one.before, "after": one.after} for one in differences(change)
        ],
    }


def _place(value: object) -> object:
    """Where a destination is; a name does not count."""
    return (value.embedded, value.schema, value.datasource) if isinstance(value, Destination) else None


def _answering(handler: Handler) -> Handler:
    """The handler with every refusal as an answer."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except _Refused as refused:
            return refused.response
        except ManagementError as error:
            return _error_response(error)
        except StorageError as error:
            slug = "store_full" if isinstance(error, StoreFull) else "store_failed"
            return problem_response(slug, str(error))

    return answer


def _error_response(error: ManagementError) -> Response:
    if isinstance(error, NotFound):
        return problem_response("not_found", str(error))
    if isinstance(error, Invalid):
        return _faulty(str(error), [(fault.path, _said(fault.message, fault.hint)) for fault in error.faults])
    if isinstance(error, PreconditionFailed):
        problem = PROBLEMS["precondition_failed"]
        said: dict[str, object] = {"message": str(error), "error": problem.slug, "etag": error.etag}
        response = json_response(problem.status, said)
        response.headers.add(b"ETag", error.etag.encode())
        return response
    assert isinstance(error, Conflict)
    problem = PROBLEMS["conflict"]
    said = {"message": str(error), "error": problem.slug, "code": error.code, **error.details}
    return json_response(problem.status, said)


def _said(message: str, hint: str) -> str:
    return f"{message} ({hint})" if hint else message


def _faulty(message: str, faults: list[tuple[str, str]]) -> Response:
    problem = PROBLEMS["bad_request"]
    errors = [{"path": path, "message": text} for path, text in faults]
    return json_response(problem.status, {"message": message, "error": problem.slug, "errors": errors})


async def _body(request: Request) -> dict[str, Any]:
    """The body, a JSON object that is not nested without end."""
    try:
        body = orjson.loads(await request.read() or b"")
    except orjson.JSONDecodeError as error:
        raise _Refused(problem_response("bad_json", f"the body is not JSON: {error}")) from error
    if not isinstance(body, dict):
        raise _Refused(problem_response("bad_request", "the body is not a JSON object"))
    if not _is_shallow(body, DEPTH_MAX):
        said = f"the body is nested deeper than {DEPTH_MAX} levels"
        raise _Refused(problem_response("bad_request", said))
    return body


def _is_shallow(value: object, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_is_shallow(item, levels - 1) for item in inner)


def _link_kind(body: Mapping[str, Any]) -> str:
    """Which kind a link is; `push` is what it is without a type."""
    type_ = body.get("type", "push")
    for kind, name in LINK_TYPES.items():
        if type_ == name:
            return kind
    raise _Refused(_faulty("the link is not valid", [("type", "must be one of push, sync")]))


def _json(status: int, value: object) -> Response:
    return Response(status, None, Content(b"application/json", orjson.dumps(value)))


def _with_etag(response: Response, item: Stored) -> Response:
    response.headers.add(b"ETag", item.etag.encode())
    return response


def _value(request: Request, name: str) -> str:
    return (request.route_values or {}).get(name) or ""


def _header(request: Request, name: bytes) -> str | None:
    value = request.get_first_header(name)
    return None if value is None else value.decode("latin-1")
