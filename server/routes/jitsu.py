"""The Jitsu family: POST /api/s/{type} and /api/s/s2s/{type}, one event a request."""

from collections.abc import Sequence

from server.ingest import PATH_TYPES, Decoded, ItemError
from server.problems import Problem
from server.routes.family import Family, IngestRoute, listing

_OK = b'{"ok":true}'


def _error(problem: Problem, message: str, errors: Sequence[ItemError]) -> bytes:
    return listing({"ok": False, "error": message, "code": problem.slug, "message": message}, errors)


def _success(decoded: Decoded) -> bytes:
    return listing({"ok": True}, decoded.errors) if decoded.errors else _OK


FAMILY = Family("jitsu", _error)
PREFIXES = ("/api/s/s2s/", "/api/s/")


def routes() -> dict[str, IngestRoute]:
    """Every known path of the family."""
    return {
        prefix + segment: IngestRoute(FAMILY, _success, path_type=path_type, host_fallback=True)
        for prefix in PREFIXES
        for segment, path_type in PATH_TYPES.items()
    }
