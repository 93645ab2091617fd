"""The browser gateway and Segment family: POST /v1/{t,p,i,g,a,s} and /v1/{track,…}, one event a request."""

from collections.abc import Sequence

from server.ingest import Decoded, ItemError
from server.problems import Problem
from server.routes.family import Family, IngestRoute, listing

_OK = b'{"success":true}'
_TYPES = ("track", "page", "identify", "group", "alias", "screen")


def error_body(problem: Problem, message: str, errors: Sequence[ItemError]) -> bytes:
    """The gateway's error shape, which the batch family shares."""
    body: dict[str, object] = {
        "success": False,
        "code": problem.slug,
        "message": message,
        "error": {"code": problem.slug, "message": message},
    }
    return listing(body, errors)


def _success(decoded: Decoded) -> bytes:
    return listing({"success": True}, decoded.errors) if decoded.errors else _OK


FAMILY = Family("gateway", error_body)


def routes() -> dict[str, IngestRoute]:
    """Every path of the family: the long name and its first letter."""
    table: dict[str, IngestRoute] = {}
    for path_type in _TYPES:
        route = IngestRoute(FAMILY, _success, path_type=path_type, needs_identity=True)
        table[f"/v1/{path_type}"] = table[f"/v1/{path_type[0]}"] = route
    return table
