"""The Jitsu family: POST /api/s/{type} and /api/s/s2s/{type}, one event a request."""

from collections.abc import Sequence

from server.ingest import PATH_TYPES, Decoded, ItemError
from server.problems import Problem
from server.routes.family import Family, IngestRoute, item_errors, json_bytes

_OK = b'{"ok":true}'


def _error(problem: Problem, message: str, errors: Sequence[ItemError]) -> bytes:
    body: dict[str, object] = {"ok": False, "error": message, "code": problem.slug, "message": message}
    if errors:
        body["errors"] = item_errors(errors)
    return json_bytes(body)


def _success(decoded: Decoded) -> bytes:
    if not decoded.errors:
        return _OK
    return json_bytes({"ok": True, "errors": item_errors(decoded.errors)})  # of an array of events


FAMILY = Family("jitsu", _error)
PREFIXES = ("/api/s/s2s/", "/api/s/")


def routes() -> dict[str, IngestRoute]:
    """Every known path of the family."""
    return {
        prefix + segment: IngestRoute(FAMILY, _success, path_type=path_type, host_fallback=True)
        for prefix in PREFIXES
        for segment, path_type in PATH_TYPES.items()
    }
