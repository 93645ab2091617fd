"""Who may use the admin endpoints: who has the token, compared in constant time; no token means nobody. Wrong
ones count with wrong API keys of the same address.
"""

import math
from ipaddress import ip_address

from blacksheep import Request, Response

from server.access import TrustedProxies, client_address
from server.management import ApiKeys, AuthRefusal
from server.routes.responses import problem_response


def address_of(request: Request, proxies: TrustedProxies) -> str | None:
    """The client's."""
    client = request.scope.get("client")
    return client_address(client[0] if client else None, request.get_headers(b"x-forwarded-for"), proxies)


def wait_response(refusal: AuthRefusal) -> Response:
    """The 429 of an address that has sent too many wrong keys or tokens."""
    response = problem_response(refusal.slug, refusal.detail)
    response.headers.add(b"Retry-After", str(math.ceil(refusal.retry_after_s)).encode())
    return response


class AdminAccess:
    """Checks `X-Admin-Token`, else the query parameter `token`."""

    def __init__(self, keys: ApiKeys, proxies: TrustedProxies) -> None:
        self._keys = keys
        self._proxies = proxies

    def refusal(self, request: Request) -> Response | None:
        """The 401 or 429 to answer with, None if the request may pass."""
        header = request.get_first_header(b"x-admin-token")
        values = request.query.get("token")
        given = header.decode("latin-1") if header is not None else values[0] if values else None
        found = self._keys.authenticate(None, address_of(request, self._proxies), given)
        if not isinstance(found, AuthRefusal):
            return None
        return wait_response(found) if found.retry_after_s else problem_response("admin_unauthorized")

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
