"""/api/user/keys and /api/v1/audit: who may use the management API, and who changed what. For admins."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from blacksheep import Application, Request, Response
from msgspec import Meta, Struct

from server.catalog import moment_ms, schema_faults
from server.clock import SystemClock
from server.lookup import iso_time
from server.management import ApiKey, ApiKeys, Audit, AuditEntry, Caller, NotFound, Role
from server.problems import PROBLEMS
from server.routes.key_access import KeyAccess
from server.routes.responses import json_response, problem_response
from storage import StorageError

_LIMIT_DEFAULT = 100
_LIMIT_MAX = 1000
_NUMBER = re.compile("[0-9]{1,18}")


class NewKey(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What may be said of a key that is to be made."""

    role: Role = "admin"
    name: Annotated[str, Meta(max_length=200)] = ""
    expires_at: Annotated[str, Meta(max_length=40)] | None = None
    """When it stops to let in (ISO 8601); none: never."""


_SCHEMA = msgspec.json.schema(NewKey)


def register_user_keys(
    app: Application, keys: ApiKeys, audit: Audit, access: KeyAccess, clock: SystemClock
) -> None:
    """Add the routes."""

    async def every(request: Request) -> Response:
        """Every key, without its secret, the oldest first."""
        caller = access.caller(request, "admin")
        if isinstance(caller, Response):
            return caller
        return json_response(200, {"keys": [described(key) for key in keys.all()]})

    async def create(request: Request) -> Response:
        """Make a key. The answer alone has it whole, as `key`, and its secret, as `plaintext`."""
        caller = access.caller(request, "admin")
        return caller if isinstance(caller, Response) else await _created(keys, caller, request, clock)

    async def delete(request: Request) -> Response:
        """Revoke a key; the answer is what it was."""
        caller = access.caller(request, "admin")
        key_id = (request.route_values or {}).get("key_id") or ""
        return caller if isinstance(caller, Response) else await _deleted(keys, caller, key_id)

    async def changes(request: Request) -> Response:
        """The audit log, the newest first; large entries make a short page. Parameters: `limit` (1–1000,
        default 100), `before` (a number).
        """
        caller = access.caller(request, "admin")
        return caller if isinstance(caller, Response) else _page(audit, request)

    app.router.add_get("/api/user/keys", every)
    app.router.add_post("/api/user/keys", create)
    app.router.add_delete("/api/user/keys/{key_id}", delete)
    app.router.add_get("/api/v1/audit", changes)


def described(key: ApiKey) -> dict[str, object]:
    """A key as it is shown. Times are ISO 8601 in UTC."""
    return {
        "id": key.id,
        "hint": key.hint,
        "role": key.role,
        "name": key.name,
        "createdAt": iso_time(key.created_ms),
        "lastUsed": None if key.last_used_ms is None else iso_time(key.last_used_ms),
        "expiresAt": None if key.expires_ms is None else iso_time(key.expires_ms),
    }


async def _created(keys: ApiKeys, caller: Caller, request: Request, clock: SystemClock) -> Response:
    asked = _asked(await request.read() or b"{}")
    if isinstance(asked, Response):
        return asked
    expires_ms = None if asked.expires_at is None else moment_ms(asked.expires_at)
    if asked.expires_at is not None and (expires_ms is None or expires_ms <= clock.wall_ms()):
        return _invalid([{"path": "expiresAt", "message": "is not a time to come (ISO 8601)"}])
    try:
        key, text = await keys.create(asked.role, caller, asked.name, expires_ms)
    except StorageError as error:
        return problem_response("store_failed", str(error))
    return json_response(200, {**described(key), "plaintext": text.partition(":")[2], "key": text})


def _asked(body: bytes) -> NewKey | Response:
    try:
        value: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return problem_response("bad_json", f"the body is not JSON: {error}")
    if faults := [{"path": fault.path, "message": fault.message} for fault in schema_faults(value, _SCHEMA)]:
        return _invalid(faults)
    return msgspec.convert(value, NewKey)


def _invalid(faults: Sequence[Mapping[str, str]]) -> Response:
    first = faults[0]
    said = f"{first['path'] or 'the body'} {first['message']}"
    problem = PROBLEMS["bad_request"]
    return json_response(problem.status, {"message": said, "error": problem.slug, "errors": faults})


async def _deleted(keys: ApiKeys, caller: Caller, key_id: str) -> Response:
    try:
        return json_response(200, described(await keys.delete(key_id, caller)))
    except NotFound as error:
        return problem_response("not_found", str(error))
    except StorageError as error:
        return problem_response("store_failed", str(error))


def _page(audit: Audit, request: Request) -> Response:
    limit, before = request.query.get("limit"), request.query.get("before")
    given = [values[0] for values in (limit, before) if values]
    count = int(limit[0]) if limit and limit[0].isascii() and limit[0].isdigit() else _LIMIT_DEFAULT
    if not all(map(_NUMBER.fullmatch, given)) or not 1 <= count <= _LIMIT_MAX:
        said = f"limit must be a number from 1 to {_LIMIT_MAX}, before the number of an entry"
        return problem_response("bad_request", said)
    entries = audit.read(int(before[0]) if before else None, count)
    return json_response(200, {"entries": [_entry(entry) for entry in entries]})


def _entry(entry: AuditEntry) -> dict[str, object]:
    return {
        "number": entry.number,
        "at": iso_time(entry.at_ms),
        "who": entry.who,
        "action": entry.action,
        "type": entry.kind,
        "id": entry.id,
        "before": entry.before,
        "after": entry.after,
    }
