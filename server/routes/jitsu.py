"""The Jitsu family: POST /api/s/{type} and /api/s/s2s/{type}, one event a request."""

from collections.abc import Sequence

from server.ingest import PATH_TYPES, Decoded, ItemError
from server.problems import Problem
from server.routes.family import Family, IngestRoute, json_bytes

_OK = b'{"ok":true}'


def _error(problem: Problem, message: str, _errors: Sequence[ItemError]) -> bytes:
    return json_bytes({"ok": False, "error": message, "code": problem.slug, "message": message})


def _success(_decoded: Decoded) -> bytes:
    return _OK


FAMILY = Family("jitsu", _error)
PREFIXES = ("/api/s/s2s/", "/api/s/")


def routes() -> dict[str, IngestRoute]:
    """Every known path of the family."""
    return {
        prefix + segment: IngestRoute(FAMILY, _success, path_type, host_fallback=True)
        for prefix in PREFIXES
        for segment, path_type in PATH_TYPES.items()
    }
