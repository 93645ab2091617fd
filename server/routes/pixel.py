"""Pixels: GET requests whose query is an event and whose answer is a GIF, whatever happens.

A page or a mail cannot read the answer, so it says with its status only what is worth asking again (429,
503); any other fault is 200, counted by its reason, which a header names for whoever debugs. There are no
redirects.
"""

from base64 import b64decode
from functools import partial
from typing import Final

from server.access import Origins
from server.counters import IngestCounters
from server.ingest import PATH_TYPES, Decoded, Limits, Refusal, RequestFacts, decode_classic, pixel_event
from server.problems import PROBLEMS
from server.routes import classic, gateway
from server.routes.cors import Cors
from server.routes.family import IngestRoute
from server.routes.refusal import Refused
from server.routes.rsgi import AnswerHeaders, Transport

GIF: Final = b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
"""1×1, transparent."""

_NEVER_STORED: Final[AnswerHeaders] = [
    ("cache-control", "no-store, no-cache, must-revalidate"),
    ("pragma", "no-cache"),
    ("expires", "0"),
]


class Gifs:
    """The answers of pixels."""

    def __init__(self, origins: Origins, counters: IngestCounters) -> None:
        self.cors = Cors(origins, "GET, OPTIONS", "image/gif")
        self._counters = counters

    def answer(self, refused: Refused | None, origin: str | None, transport: Transport) -> None:
        """The GIF, for an event that was taken (None) or refused."""
        headers = [*self.cors.headers(origin), *_NEVER_STORED]
        if refused is None:
            return transport.response_bytes(200, headers, GIF)
        self._counters.refused[refused.slug] += 1
        problem = PROBLEMS[refused.slug]
        headers += (("x-penstock-error", refused.slug), *refused.all_headers())
        return transport.response_bytes(problem.status if problem.retryable else 200, headers, GIF)


def _success(_decoded: Decoded) -> bytes:
    return GIF


def _unknown_type(_payload: bytes, _facts: RequestFacts, _limits: Limits) -> Refusal:
    return Refusal("unknown_type", "the pixel's path names no event type")


def routes() -> dict[str, IngestRoute]:
    """Every known path of a pixel."""
    table = {}
    for segment, path_type in PATH_TYPES.items():
        segment_query = partial(pixel_event, "segment", path_type)
        table[f"/v1/pixel/{segment}"] = IngestRoute(
            gateway.FAMILY, _success, path_type=path_type, needs_identity=True, event_of_query=segment_query
        )
        table[f"/api/px/{segment}"] = IngestRoute(
            gateway.FAMILY,
            _success,
            path_type=path_type,
            event_of_query=partial(pixel_event, "jitsu", path_type),
        )
        if segment in ("track", "page"):  # RudderStack's, which has no others
            table[f"/pixel/v1/{segment}"] = IngestRoute(
                gateway.FAMILY, _success, path_type=path_type, event_of_query=segment_query
            )
    table["/api/v1/p.gif"] = IngestRoute(
        classic.FAMILY,
        _success,
        decode_classic,
        classic=True,
        event_of_query=partial(pixel_event, "classic", None),
    )
    return table


_PREFIXES: Final = ("/v1/pixel/", "/api/px/", "/pixel/v1/")
_UNKNOWN: Final = IngestRoute(
    gateway.FAMILY, _success, _unknown_type, event_of_query=partial(pixel_event, "segment", None)
)


def unknown_route(path: str) -> IngestRoute | None:
    """The route of a pixel whose type nobody knows: still a GIF."""
    return _UNKNOWN if path.startswith(_PREFIXES) else None
