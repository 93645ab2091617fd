"""Answers that say no, and answers to methods that carry no event: JSON, CORS headers, refusals counted."""

from server.counters import IngestCounters
from server.problems import PROBLEMS
from server.routes.cors import Cors
from server.routes.family import Family
from server.routes.refusal import Refused
from server.routes.rsgi import Transport


class Answers:
    """For routes that take `method` beside OPTIONS and HEAD, as `cors` says too. Event-loop thread only."""

    def __init__(self, cors: Cors, method: str, counters: IngestCounters) -> None:
        self.cors = cors
        self._method = method
        self._counters = counters

    def other_method(self, family: Family, method: str, origin: str | None, transport: Transport) -> None:
        """OPTIONS is a preflight, HEAD answers without a body, the rest is 405."""
        if method == "OPTIONS":
            if not self.cors.allows(origin):
                return self.refuse(family, Refused("origin_not_allowed"), origin, transport)
            return transport.response_empty(204, self.cors.preflight(origin))
        if method == "HEAD":
            return transport.response_empty(200, self.cors.headers(origin))
        text = f"this route takes {self._method}, not {method}"
        allow = (("allow", f"{self._method}, OPTIONS, HEAD"),)
        return self.refuse(family, Refused("method_not_allowed", text, headers=allow), origin, transport)

    def refuse(self, family: Family, refused: Refused, origin: str | None, transport: Transport) -> None:
        """Answer with a problem in the family's words."""
        problem = PROBLEMS[refused.slug]
        self._counters.refused[refused.slug] += 1
        body = family.error(problem, refused.detail or problem.text, refused.errors)
        headers = [*self.cors.headers(origin), *refused.all_headers()]
        transport.response_bytes(problem.status, headers, body)
