"""The ingest lane: from an ASGI request on an ingest path to its answer. The only copy of the ingest rules'
order.

It stands at the ASGI entry, before the framework, because that is where the time goes (ARCHITECTURE.md,
Decisions). Order: method → key → origin → store → body (bounds first) → decode → limiter → append → fsync →
200. Refusals are values: nothing on this path raises for a bad request. Runs on the event loop; the only
awaits are the body, the commit and the answer.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from server.access import (
    Grant,
    TrustedProxies,
    WriteKeys,
    apply_policy,
    client_address,
    find_key,
    locale_of,
    strictest,
)
from server.clock import SystemClock
from server.ingest import (
    Decoded,
    Limits,
    Refusal,
    RequestFacts,
    body_write_key,
    decode_batch,
    decode_event,
)
from server.metrics import IngestCounters
from server.problems import PROBLEMS
from server.routes.asgi import Receive, Scope, Send
from server.routes.body import Body, BodyLimits, ClientGoneError
from server.routes.cors import Cors
from server.routes.family import Family, IngestRoute
from server.routes.refusal import Refused, rate_limited, store_refused
from storage import StorageError, Wal

Headers = dict[bytes, bytes]

_STARTS_MAX: Final = 10_000
_GRANTS_MAX: Final = 4_096
# A body of 10 MB that needs repairs takes up to 0.9 s to decode (a regular one 26 ms): not on the loop.
_DECODE_INLINE_BYTES_MAX: Final = 1_000_000


class IngestLane:
    """Answers requests on ingest paths. `closed` maps a stream to a problem slug while it must not take
    events.
    """

    def __init__(
        self,
        wal: Wal,
        keys: WriteKeys,
        proxies: TrustedProxies,
        closed: Mapping[str, str],
        body_limits: BodyLimits,
        event_limits: Limits,
        counters: IngestCounters,
        clock: SystemClock,
    ) -> None:
        self._wal = wal
        self._keys = keys
        self._proxies = proxies
        self._closed = closed
        self._body_limits = body_limits
        self._event_limits = event_limits
        self._counters = counters
        self._clock = clock
        self._cors = Cors(keys.origins)
        self._starts: dict[tuple[bytes | None, int], dict[str, Any]] = {}
        self._grants: dict[tuple[bytes | None, bytes | None], Grant] = {}

    async def handle(self, route: IngestRoute, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request on `route`. Raises for nothing that a client can do."""
        headers: Headers = dict(scope["headers"])
        origin = headers.get(b"origin")
        if scope["method"] != "POST":
            return await self.other_method(route.family, scope["method"], origin, send)
        body = Body(self._body_limits, self._counters)
        try:
            taken = await self._take(route, scope, headers, body, receive)
            if isinstance(taken, Refused):
                await body.discard(receive)
        except ClientGoneError:
            return None
        finally:
            body.release()
        if isinstance(taken, Refused):
            return await self.refuse(route.family, taken, origin, send)
        return await self._succeed(route.success(taken), origin, send)

    async def other_method(self, family: Family, method: str, origin: bytes | None, send: Send) -> None:
        """OPTIONS is a preflight, HEAD answers without a body, the rest is 405."""
        if method == "OPTIONS":
            if not self._cors.allows(origin):
                return await self.refuse(family, Refused("origin_not_allowed"), origin, send)
            return await _send(send, 204, b"", self._cors.preflight(origin))
        if method == "HEAD":
            return await _send(send, 200, b"", self._cors.headers(origin))
        refused = Refused(
            "method_not_allowed",
            f"this route takes POST, not {method}",
            headers=((b"allow", b"POST, OPTIONS, HEAD"),),
        )
        return await self.refuse(family, refused, origin, send)

    async def refuse(self, family: Family, refused: Refused, origin: bytes | None, send: Send) -> None:
        """Answer with a problem in the family's words."""
        problem = PROBLEMS[refused.slug]
        self._counters.refused[refused.slug] += 1
        body = family.error(problem, refused.detail or problem.text, refused.errors)
        await _send(send, problem.status, body, [*self._cors.headers(origin), *refused.all_headers()])

    async def _take(
        self, route: IngestRoute, scope: Scope, headers: Headers, body: Body, receive: Receive
    ) -> Decoded | Refused:
        """Everything between the request line and durable events."""
        credentials = (headers.get(b"authorization"), headers.get(b"x-write-key"))
        grant = self._grants.get(credentials)
        key: str | None = None
        if grant is None:
            key = find_key(headers, scope["query_string"])
            if key is not None:
                grant = self._keys.grant(key)
                self._remember(credentials, grant)
        keyless = grant is None and key is None  # the body may have one
        if not keyless and (barred := self._barred(grant, headers)) is not None:
            return barred
        payload = await body.read(headers, receive)
        if isinstance(payload, Refusal):
            return Refused(payload.slug, payload.detail)
        if keyless:
            grant = self._keyless_grant(route, headers, payload)
            if (barred := self._barred(grant, headers)) is not None:
                return barred
        assert grant is not None
        decode = decode_batch if route.batch else decode_event
        facts = self._facts(route, grant, scope, headers)
        if len(payload) <= _DECODE_INLINE_BYTES_MAX:
            decoded = decode(payload, facts, self._event_limits)
        else:
            decoded = await asyncio.to_thread(decode, payload, facts, self._event_limits)
        if isinstance(decoded, Refusal):
            return Refused(decoded.slug, decoded.detail)
        return await self._append(grant, decoded)

    def _barred(self, grant: Grant | None, headers: Headers) -> Refused | None:
        """Why nothing can be taken for this key now, whatever the body says."""
        if grant is None:
            return Refused("unauthorized")
        if b"origin" in headers and not grant.allows_origin(headers[b"origin"]):
            return Refused("origin_not_allowed")
        slug = self._closed.get(grant.stream_id)
        return Refused(slug) if slug is not None else None

    def _remember(self, credentials: tuple[bytes | None, bytes | None], grant: Grant | None) -> None:
        """Known credentials skip decoding and digest; strangers' are never kept."""
        if grant is not None and credentials != (None, None):
            if len(self._grants) >= _GRANTS_MAX:
                self._grants.clear()
            self._grants[credentials] = grant

    def _keyless_grant(self, route: IngestRoute, headers: Headers, payload: bytes) -> Grant | None:
        """The key in the body, else (where the route allows it) the stream that lists the request's host."""
        key = body_write_key(payload)
        if key is not None:
            return self._keys.grant(key)
        return self._keys.grant_for_host(headers.get(b"host", b"")) if route.host_fallback else None

    def _facts(self, route: IngestRoute, grant: Grant, scope: Scope, headers: Headers) -> RequestFacts:
        """Positional, in the order of RequestFacts: this is the hot path."""
        policy = grant.ip_policy
        if b"x-ip-policy" in headers:
            policy = strictest(policy, headers[b"x-ip-policy"])
        ip = self._address(scope, headers)
        if policy != "keep":
            ip = apply_policy(ip, policy)
        now_ms = self._clock.wall_ms()
        if grant.kind == "server":
            return RequestFacts(
                now_ms, "server", route.path_type, ip, None, None, grant.id_seed, route.needs_identity
            )
        agent = headers.get(b"user-agent")
        agent_text = agent.decode("utf-8", "replace") if agent else None
        locale = locale_of(headers.get(b"accept-language"))
        return RequestFacts(now_ms, "browser", route.path_type, ip, agent_text, locale, grant.id_seed, False)

    def _address(self, scope: Scope, headers: Headers) -> str | None:
        client = scope.get("client")
        peer = client[0] if client else None
        if b"x-forwarded-for" not in headers:
            return peer
        # The header may stand several times, which a dict does not show.
        chain = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        return client_address(peer, chain, self._proxies)

    async def _append(self, grant: Grant, decoded: Decoded) -> Decoded | Refused:
        """Count, limit, make durable."""
        counters = self._counters
        for error in decoded.errors:
            counters.refused[error.slug] += 1
        events = len(decoded.items)
        if events == 0:
            first = decoded.errors[0]
            return Refused(
                first.slug, f"every event is refused; the first: {first.message}", errors=decoded.errors
            )
        if (bucket := grant.bucket) is not None:
            now_s = self._clock.monotonic_s()
            wait_s = bucket.take(events, now_s)
            if wait_s > 0:
                return rate_limited(bucket, wait_s, now_s)
        counters.repairs += decoded.repairs
        counters.type_mismatches += decoded.type_mismatches
        stream = grant.stream_id
        try:
            appended = self._wal.append(stream, decoded.head, decoded.items, decoded.ids)
            await appended.durable()
        except StorageError as error:
            return store_refused(error)
        counters.accepted[stream] += appended.accepted
        if appended.duplicates:
            counters.dropped[stream, "duplicate"] += appended.duplicates
        return decoded

    async def _succeed(self, body: bytes, origin: bytes | None, send: Send) -> None:
        start = self._starts.get((origin, len(body)))
        if start is None:
            start = _start(200, body, self._cors.headers(origin))
            if len(self._starts) < _STARTS_MAX:
                self._starts[origin, len(body)] = start
        await send(start)
        await send({"type": "http.response.body", "body": body})


async def _send(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    await send(_start(status, body, headers))
    await send({"type": "http.response.body", "body": body})


def _start(status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    if status != 204:
        headers = [*headers, (b"content-length", b"%d" % len(body))]
    return {"type": "http.response.start", "status": status, "headers": headers}
