"""GET /api/v1/events and /api/v1/events/{messageId}: where is my event? For admins."""

import re

from blacksheep import Application, Request, Response

from server.lookup import EventLookup
from server.problems import PROBLEMS
from server.routes.admin import AdminAccess
from server.routes.responses import json_response, problem_response
from storage import StorageError

_LIMIT_DEFAULT = "20"
_LIMIT_MAX = 1000
_LIMIT = re.compile("[0-9]{1,4}")


def register_events(app: Application, lookup: EventLookup, access: AdminAccess) -> None:
    """Add the routes."""

    async def tail(request: Request) -> Response:
        """The newest events, newest last. Parameters: `limit` (1–1000, default 20), `stream`."""
        if refused := access.refusal(request):
            return refused
        limit = _parameter(request, "limit") or _LIMIT_DEFAULT
        if not _LIMIT.fullmatch(limit) or not 1 <= int(limit) <= _LIMIT_MAX:
            return problem_response("bad_request", f"limit must be a number from 1 to {_LIMIT_MAX}")
        try:
            return json_response(200, await lookup.tail(_parameter(request, "stream"), int(limit)))
        except StorageError as error:
            return problem_response("store_failed", str(error))

    async def find(request: Request) -> Response:
        """One messageId: every event that carries it, when accepted, and what each link did with it."""
        if refused := access.refusal(request):
            return refused
        try:
            found = await lookup.find((request.route_values or {}).get("message_id") or "")
        except StorageError as error:
            return problem_response("store_failed", str(error))
        if found["events"]:
            return json_response(200, found)
        problem = PROBLEMS["event_not_found"]
        return json_response(problem.status, {"message": problem.text, "error": problem.slug, **found})

    app.router.add_get("/api/v1/events", tail)
    app.router.add_get("/api/v1/events/{path:message_id}", find)


def _parameter(request: Request, name: str) -> str | None:
    values = request.query.get(name)
    return values[0] if values else None
