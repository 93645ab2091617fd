"""The BlackSheep application of the routes that are not hot, and what it answers where no route does."""

from typing import Final

from blacksheep import Application, Request, Response, Router
from blacksheep.exceptions import HTTPException

from server.routes.refusal import defect
from server.routes.responses import problem_response

_REFUSALS: Final = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}


class _Routes(Application):
    """BlackSheep's application, but for what becomes of an exception: its own answers are plain text, and its
    log has the query, where tokens may be.
    """

    async def handle_request_handler_exception(self, request: Request, exc: Exception) -> Response:
        """A refusal of the framework as one of ours; anything else is a defect of the server."""
        if isinstance(exc, HTTPException) and exc.status < 500:
            return problem_response(_REFUSALS.get(exc.status, "bad_request"))
        id_ = (request.get_first_header(b"x-request-id") or b"").decode("ascii", "replace")
        path = request.url.path.decode("utf-8", "replace")
        return problem_response(defect(request.method, path, id_, exc).slug)


def make_application() -> Application:
    """Without routes yet. Not on the library's shared default router."""
    app = _Routes(router=Router(), show_error_details=False)

    async def unmatched(request: Request) -> Response:
        """The prefix is known, so it is the method or the rest of the path that does not fit."""
        path = request.url.path
        taken = sorted(
            method.decode() for method in app.router.routes if app.router.get_matching_route(method, path)
        )
        if not taken:
            return problem_response("not_found", f"no route {path.decode()[:200]}")
        said = f"this route takes {', '.join(taken)}, not {request.method}"
        response = problem_response("method_not_allowed", said)
        response.headers.add(b"Allow", ", ".join(taken).encode())
        return response

    app.router.fallback = unmatched
    return app
