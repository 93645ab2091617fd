"""GET /api/v1/events and /api/v1/events/{messageId}: where is my event? For admins."""

from blacksheep import Application, Content, Request, Response

from server.lookup import EventLookup
from server.routes.admin import AdminAccess, problem_response
from server.routes.family import json_bytes

_LIMIT_DEFAULT = 20
_LIMIT_MAX = 1000


class EventRoutes:
    """Thin: parameters in, JSON out."""

    def __init__(self, lookup: EventLookup, access: AdminAccess) -> None:
        self._lookup = lookup
        self._access = access

    async def tail(self, request: Request) -> Response:
        """The newest events, newest last. Parameters: `limit` (1–1000, default 20), `stream`."""
        if refused := self._access.refusal(request):
            return refused
        limit = _parameter(request, "limit") or str(_LIMIT_DEFAULT)
        if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:9]) <= _LIMIT_MAX:
            return problem_response("bad_request", f"limit must be a number from 1 to {_LIMIT_MAX}")
        return _json(await self._lookup.tail(_parameter(request, "stream"), int(limit)))

    async def find(self, request: Request) -> Response:
        """One messageId: every event that carries it, when accepted, and what each link did with it."""
        if refused := self._access.refusal(request):
            return refused
        found = await self._lookup.find((request.route_values or {}).get("message_id") or "")
        if not found["events"]:
            problem = problem_response("event_not_found")
            return Response(problem.status, None, Content(b"application/json", json_bytes(_missing(found))))
        return _json(found)

    def register(self, app: Application) -> None:
        """Add the routes."""
        app.router.add_get("/api/v1/events", self.tail)
        app.router.add_get("/api/v1/events/{message_id}", self.find)


def _missing(found: dict[str, object]) -> dict[str, object]:
    message = f"no event with messageId {found['messageId']} since the horizon"
    return {"message": message, "error": "event_not_found", **found}


def _parameter(request: Request, name: str) -> str | None:
    values = request.query.get(name)
    return values[0] if values else None


def _json(body: dict[str, object]) -> Response:
    return Response(200, None, Content(b"application/json", json_bytes(body)))
