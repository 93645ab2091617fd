"""Who may use the admin endpoints: who has the token, compared in constant time; no token means nobody."""

import hmac
from ipaddress import ip_address

from blacksheep import Request, Response

from server.problems import PROBLEMS
from server.routes.family import json_response


def problem_response(slug: str, detail: str | None = None) -> Response:
    """A problem in the admin family's shape: `{"message", "error"}`."""
    problem = PROBLEMS[slug]
    return json_response(problem.status, {"message": detail or problem.text, "error": problem.slug})


class AdminAccess:
    """Checks `X-Admin-Token`, else the query parameter `token`."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def refusal(self, request: Request) -> Response | None:
        """The 401 to answer with, None if the request may pass."""
        given = request.get_first_header(b"x-admin-token")
        if given is None:
            values = request.query.get("token")
            given = values[0].encode() if values else b""
        if self._token and hmac.compare_digest(given, self._token):
            return None
        return problem_response("admin_unauthorized")

    @staticmethod
    def is_loopback(request: Request) -> bool:
        """The connection itself comes from this machine and says that no proxy stands before it."""
        client = request.scope.get("client")
        peer = client[0] if client else ""
        if request.get_first_header(b"x-forwarded-for") is not None:
            return False
        try:
            return ip_address(peer).is_loopback
        except ValueError:
            return False
