"""The Jitsu Classic family: events, arrays, `{"template", "events"}` bodies, uploaded files, and its pixel.

Its browser SDK can be told to use a random path that begins with `/api.`, with the key in a parameter of a
random name.
"""

from collections.abc import Sequence
from typing import Final

from server.ingest import Decoded, ItemError, decode_classic, decode_lines
from server.problems import Problem
from server.routes.family import Family, IngestRoute, item_errors, json_bytes, listing

_OK: Final = b'{"status":"ok"}'
_PATHS: Final = (
    "/api/v1/event",
    "/api/v1/events",
    "/api/v1/s2s/event",
    "/api/v1/s2s/event/",
    "/api/v1/s2s/events",
)
_BULK_PATH: Final = "/api/v1/events/bulk"
_RANDOM_PREFIX: Final = "/api."


def _error(problem: Problem, message: str, errors: Sequence[ItemError]) -> bytes:
    """As the seeds show it: `message` says what failed, `error` why."""
    return listing({"message": problem.text, "error": message, "code": problem.slug}, errors)


def _success(decoded: Decoded) -> bytes:
    return listing({"status": "ok"}, decoded.errors) if decoded.errors else _OK


def _bulk_success(decoded: Decoded) -> bytes:
    """What became of the lines. In `errors`, `index` is the number of the line, from 1."""
    body: dict[str, object] = {
        "status": "ok",
        "receivedEvents": decoded.received,
        "okEvents": decoded.received - len(decoded.errors),
        "errors": item_errors(decoded.errors),
    }
    return json_bytes(body)


FAMILY: Final = Family("classic", _error)
PREFIXES: Final = ("/api/v1/", _RANDOM_PREFIX)
_ROUTE: Final = IngestRoute(FAMILY, _success, decode_classic, classic=True)


def routes() -> dict[str, IngestRoute]:
    """Every path of the family whose name is known."""
    table = dict.fromkeys(_PATHS, _ROUTE)
    table[_BULK_PATH] = IngestRoute(FAMILY, _bulk_success, decode_lines, classic=True, upload=True)
    return table


def random_route(path: str) -> IngestRoute | None:
    """The route of a random path: one segment that begins with `api.`"""
    named = path.startswith(_RANDOM_PREFIX) and len(path) > len(_RANDOM_PREFIX) and path.count("/") == 1
    return _ROUTE if named else None
