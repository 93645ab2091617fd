"""Who may use the management API: an API key with the role that it takes, or the admin token."""

import math

from blacksheep import Request, Response

from server.access import TrustedProxies, client_address
from server.management import ApiKeys, AuthRefusal, Caller, Role
from server.problems import PROBLEMS
from server.routes.admin import problem_response


class KeyAccess:
    """Checks `Authorization: Bearer keyId:keySecret`, else `X-Admin-Token`."""

    def __init__(self, keys: ApiKeys, proxies: TrustedProxies) -> None:
        self._keys = keys
        self._proxies = proxies

    def caller(self, request: Request, needed: Role) -> Caller | Response:
        """Who calls, if their role is enough; else the 401, 403 or 429 to answer with."""
        authorization, token = _header(request, b"authorization"), _header(request, b"x-admin-token")
        found = self._keys.authenticate(authorization, self._address(request), token)
        if isinstance(found, AuthRefusal):
            return _refusal(found)
        if not found.may(needed):
            said = f"the role of this API key is {found.role}, this takes {needed}"
            return problem_response("key_forbidden", said)
        return found

    def _address(self, request: Request) -> str | None:
        client = request.scope.get("client")
        return client_address(
            client[0] if client else None, request.get_headers(b"x-forwarded-for"), self._proxies
        )


def _header(request: Request, name: bytes) -> str | None:
    value = request.get_first_header(name)
    return None if value is None else value.decode("latin-1")


def _refusal(refusal: AuthRefusal) -> Response:
    response = problem_response(refusal.slug, refusal.detail)
    if refusal.retry_after_s:
        response.headers.add(b"Retry-After", str(math.ceil(refusal.retry_after_s)).encode())
    if PROBLEMS[refusal.slug].status == 401:
        response.headers.add(b"WWW-Authenticate", b'Bearer realm="penstock"')
    return response
