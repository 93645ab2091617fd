"""GET /api/v1/links[/{id}], POST /api/v1/links/{id}/pause and /resume: how the links are, for admins."""

from collections.abc import Awaitable, Callable, Iterable

from blacksheep import Application, Request, Response

from server.delivery import LinkStatus
from server.lookup import iso_time
from server.routes.admin import AdminAccess
from server.routes.responses import json_response, problem_response
from storage import StorageError

_OK = 200

Status = Callable[[], Iterable[LinkStatus]]
Change = Callable[[str], Awaitable[bool]]
"""By the id of a link; False if it cannot be done now."""


def register_links(
    app: Application, status: Status, pausing: Change, resuming: Change, access: AdminAccess
) -> None:
    """Add the routes."""

    async def every(request: Request) -> Response:
        """Every link, in the order of the configuration."""
        if refused := access.refusal(request):
            return refused
        return json_response(_OK, {"links": [described(link) for link in status()]})

    async def one(request: Request) -> Response:
        """One link."""
        return access.refusal(request) or _answer(status, _link_id(request))

    async def pause(request: Request) -> Response:
        """Deliver nothing more of the link until it is resumed, also after a restart."""
        return access.refusal(request) or await _changed(status, _link_id(request), pausing)

    async def resume(request: Request) -> Response:
        """Go on, and at once: ends a pause, a wait for the next attempt, and the breaker's pause."""
        return access.refusal(request) or await _changed(status, _link_id(request), resuming)

    app.router.add_get("/api/v1/links", every)
    app.router.add_get("/api/v1/links/{link_id}", one)
    app.router.add_post("/api/v1/links/{link_id}/pause", pause)
    app.router.add_post("/api/v1/links/{link_id}/resume", resume)


def described(link: LinkStatus) -> dict[str, object]:
    """A link as the admin endpoints show it. Times are ISO 8601 in UTC; lags of what is not delivered yet."""
    return {
        "id": link.link_id,
        "stream": link.stream_id,
        "destination": link.destination_id,
        "state": link.state.value,
        "pausedBy": link.paused_by,
        "alarm": link.alarm,
        "lastError": link.last_error,
        "nextAttemptAt": None if link.next_attempt_ms is None else iso_time(link.next_attempt_ms),
        "lagEvents": link.lag_events,
        "lagBytes": link.lag_bytes,
        "lagSeconds": round(link.lag_s, 3),
        "ratePerSecond": round(link.rate_per_s, 3),
        "delivered": link.delivered,
        "deadLetters": link.dead_letters,
        "dropped": link.dropped,
        "parked": [{"table": p.table, "events": p.events, "reason": p.reason} for p in link.parked],
        "warnings": list(link.warnings),
    }


async def _changed(status: Status, link_id: str, change: Change) -> Response:
    try:
        changed = await change(link_id)
    except StorageError as error:
        return problem_response("store_failed", str(error))
    answer = _answer(status, link_id)
    if changed or answer.status != _OK:
        return answer
    return problem_response("store_failed", "delivery has not started yet: ask again in a moment")


def _answer(status: Status, link_id: str) -> Response:
    link = next((link for link in status() if link.link_id == link_id), None)
    if link is None:
        return problem_response("not_found", f"no enabled link {link_id}")
    return json_response(_OK, described(link))


def _link_id(request: Request) -> str:
    return (request.route_values or {}).get("link_id") or ""
