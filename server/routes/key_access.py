"""Who may use the management API: an API key with the role that it takes, or the admin token."""

from blacksheep import Request, Response

from server.access import TrustedProxies
from server.management import ApiKeys, AuthRefusal, Caller, Role
from server.problems import PROBLEMS
from server.routes.admin import address_of, wait_response
from server.routes.responses import problem_response


class KeyAccess:
    """Checks `Authorization: Bearer keyId:keySecret`, else `X-Admin-Token`."""

    def __init__(self, keys: ApiKeys, proxies: TrustedProxies) -> None:
        self._keys = keys
        self._proxies = proxies

    def caller(self, request: Request, needed: Role) -> Caller | Response:
        """Who calls, if their role is enough; else the 401, 403 or 429 to answer with."""
        authorization, token = _header(request, b"authorization"), _header(request, b"x-admin-token")
        found = self._keys.authenticate(authorization, address_of(request, self._proxies), token)
        if isinstance(found, AuthRefusal):
            return _refusal(found)
        if not found.may(needed):
            said = f"the role of this API key is {found.role}, this takes {needed}"
            return problem_response("key_forbidden", said)
        return found


def _header(request: Request, name: bytes) -> str | None:
    value = request.get_first_header(name)
    return None if value is None else value.decode("latin-1")


def _refusal(refusal: AuthRefusal) -> Response:
    if refusal.retry_after_s:
        return wait_response(refusal)
    response = problem_response(refusal.slug, refusal.detail)
    if PROBLEMS[refusal.slug].status == 401:
        response.headers.add(b"WWW-Authenticate", b'Bearer realm="penstock"')
    return response
