"""POST /v1/m and /m: what analytics.js measured of itself. No key needed; dropped, and counted as such."""

from typing import Final

from server.counters import IngestCounters
from server.routes import gateway
from server.routes.answers import Answers
from server.routes.rsgi import Scope, Transport

PATHS: Final = ("/v1/m", "/m")
_OK: Final = b'{"success":true}'
_NO_STREAM: Final = ""


class SdkMetrics:
    """Answers on these paths. Event-loop thread only."""

    def __init__(self, answers: Answers, counters: IngestCounters) -> None:
        self._answers = answers
        self._counters = counters

    async def handle(self, scope: Scope, transport: Transport) -> None:
        """Forget the body, which the entry has taken in."""
        origin = scope.headers.get("origin")
        if scope.method != "POST":
            return self._answers.other_method(gateway.FAMILY, scope.method, origin, transport)
        self._counters.dropped[_NO_STREAM, "sdk_metrics"] += 1
        return transport.response_bytes(200, self._answers.cors.headers(origin), _OK)
