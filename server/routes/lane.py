"""The ingest lane: from a request on an ingest path to its answer. The only copy of the ingest rules' order.

It stands at the RSGI entry, before the framework, because that is where the time goes (ARCHITECTURE.md,
Decisions). Order: key → origin → body (bounds first; a pixel's is its query) → decode → limiter → append →
fsync → 200. It is there twice: as calls for plain requests, which are nearly all, and with awaits for bodies
that are large, encoded, uploaded or of unknown length. A task and three turns of the loop for each request
took as long as all else here (ARCHITECTURE.md, Decisions). Refusals are values: nothing on this path raises
for a bad request. Runs on the event loop; a plain request's 200 comes from the WAL's writer, when it is true.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from server.access import (
    Grant,
    TrustedProxies,
    WriteKeys,
    apply_policy,
    client_address,
    find_classic_key,
    find_key,
    locale_of,
    strictest,
)
from server.clock import SystemClock
from server.counters import IngestCounters
from server.ingest import (
    Decoded,
    Limits,
    Refusal,
    RequestFacts,
    body_api_key,
    body_write_key,
    file_api_key,
)
from server.routes.answers import Answers
from server.routes.appends import CountedAppend, PlainAppend
from server.routes.body import Bodies, declared_length, reserved_bytes
from server.routes.family import IngestRoute
from server.routes.pixel import Gifs
from server.routes.refusal import Refused, all_refused, defect, rate_limited, refused_as, store_refused
from server.routes.rsgi import Reading, RequestHeaders, Scope, Transport, peer_address
from storage import StorageError, Wal

T = TypeVar("T")

_GRANTS_MAX: Final = 4_096
# A megabyte that needs repairs takes 70 ms to parse, a hostile one 350 (a regular one 3): not on the loop.
PLAIN_BYTES_MAX: Final = 250_000
"""The longest body that is looked at on the loop."""
_CLASSIC_HEADERS: Final = ("x-auth-token", "api_key")


class IngestLane:
    """Answers requests that bring events. `closed` maps a stream to a problem slug while it must not take
    events.
    """

    def __init__(
        self,
        wal: Wal,
        keys: WriteKeys,
        proxies: TrustedProxies,
        closed: Mapping[str, str],
        bodies: Bodies,
        event_limits: Limits,
        answers: Answers,
        gifs: Gifs,
        counters: IngestCounters,
        clock: SystemClock,
    ) -> None:
        self._wal = wal
        self._keys = keys
        self._proxies = proxies
        self._closed = closed
        self._bodies = bodies
        self._event_limits = event_limits
        self._counters = counters
        self._clock = clock
        self._answers = answers
        self._gifs = gifs
        self._grants: dict[tuple[str | None, str | None], Grant] = {}

    def use(self, keys: WriteKeys) -> None:
        """Other keys from the next request on."""
        self._keys = keys
        self._grants.clear()
        self._gifs.cors.use(keys.origins)
        self._answers.cors.use(keys.origins)

    async def handle(self, route: IngestRoute, scope: Scope, transport: Transport) -> None:
        """Answer one request with the method of `route`. Raises for nothing that a client can do."""
        headers = scope.headers
        origin = headers.get("origin")
        try:
            taken = await self._take(route, scope, headers, origin, transport)
        except Exception as error:
            taken = defect(scope.method, scope.path, headers.get("x-request-id"), error)
        self._answer(route, origin, transport, taken)

    def arrived(
        self,
        route: IngestRoute,
        scope: Scope,
        headers: RequestHeaders,
        transport: Transport,
        declared: int,
        reading: Reading,
    ) -> None:
        """Answer a plain request, whose body was begun before the loop heard of it and has ended now: at once
        if it is refused, else when its commit is settled.
        """
        origin = headers.get("origin")
        try:
            payload = self._bodies.came(reading)
            refused = self._take_plain(route, scope, headers, origin, transport, declared, payload)
        except Exception as error:
            refused = defect(scope.method, scope.path, headers.get("x-request-id"), error)
        if refused is not None:
            self._bodies.release(declared)
            self._answer(route, origin, transport, refused)

    def _take_plain(
        self,
        route: IngestRoute,
        scope: Scope,
        headers: RequestHeaders,
        origin: str | None,
        transport: Transport,
        declared: int,
        payload: bytes | Refusal,
    ) -> Refused | None:
        """`_take` for a body that is there, and small enough for the loop; up to the commit."""
        grant, keyless = self._named(route, scope, headers)
        if not keyless and (refused := self._barred(grant, origin)) is not None:
            return refused
        if isinstance(payload, Refusal):
            return refused_as(payload)
        if keyless:
            grant = self._keyless_grant(route, scope, _key_in_body(route)(payload))
            if (refused := self._barred(grant, origin)) is not None:
                return refused
        assert grant is not None
        decoded = route.decode(payload, self._facts(route, grant, scope, headers), self._event_limits)
        if isinstance(decoded, Refusal):
            return refused_as(decoded)
        if (refused := self._counted(grant, decoded)) is not None:
            return refused
        append = PlainAppend(
            grant.stream_id,
            decoded.head,
            decoded.items,
            decoded.ids,
            counters=self._counters,
            lane=self,
            route=route,
            origin=origin,
            transport=transport,
            declared=declared,
            headers=self._answers.cors.headers(origin),
            success=route.success(decoded),
        )
        try:
            self._wal.append(append)
        except StorageError as error:
            return store_refused(error)
        return None

    def failed(self, append: PlainAppend, error: StorageError) -> None:
        """Answer a plain request whose events are not stored. Any thread."""
        refused = store_refused(error)
        self._wal.on_loop(self._answer, append.route, append.origin, append.transport, refused)

    async def _take(
        self,
        route: IngestRoute,
        scope: Scope,
        headers: RequestHeaders,
        origin: str | None,
        transport: Transport,
    ) -> Decoded | Refused:
        """Everything between the request line and durable events."""
        grant, keyless = self._named(route, scope, headers)
        bodies = self._bodies
        declared = declared_length(headers) if route.event_of_query is None else 0
        refused = None if keyless else self._barred(grant, origin)
        if (refused := refused or bodies.reserve(declared)) is not None:
            await bodies.discard(transport, declared)
            return refused
        try:
            if route.event_of_query is not None:
                payload = route.event_of_query(scope.query_string)
            else:
                now_s = self._clock.monotonic_s()
                payload = await bodies.read(headers, transport, declared, now_s, route.upload)
            if isinstance(payload, Refusal):
                return refused_as(payload)
            if (reserved := reserved_bytes(declared)) < len(payload):  # it was inflated, or of unknown length
                if (refused := bodies.reserve(len(payload) - reserved)) is not None:
                    return refused
                declared = len(payload)
            if keyless:
                key = await _off_the_loop(payload, _key_in_body(route))
                grant = self._keyless_grant(route, scope, key)
                if (refused := self._barred(grant, origin)) is not None:
                    return refused
            assert grant is not None
            facts = self._facts(route, grant, scope, headers)
            return await self._keep(
                grant, await _off_the_loop(payload, route.decode, facts, self._event_limits)
            )
        finally:
            bodies.release(declared)

    async def _keep(self, grant: Grant, decoded: Decoded | Refusal) -> Decoded | Refused:
        """Append and wait until it is durable."""
        if isinstance(decoded, Refusal):
            return refused_as(decoded)
        if (refused := self._counted(grant, decoded)) is not None:
            return refused
        append = CountedAppend(
            grant.stream_id, decoded.head, decoded.items, decoded.ids, counters=self._counters
        )
        try:
            await self._wal.append(append).durable()
        except StorageError as error:
            return store_refused(error)
        return decoded

    def _answer(
        self, route: IngestRoute, origin: str | None, transport: Transport, taken: Decoded | Refused
    ) -> None:
        refused = taken if isinstance(taken, Refused) else None
        if route.event_of_query is not None:
            return self._gifs.answer(refused, origin, transport)
        if isinstance(taken, Refused):
            return self._answers.refuse(route.family, taken, origin, transport)
        return transport.response_bytes(200, self._answers.cors.headers(origin), route.success(taken))

    def _named(self, route: IngestRoute, scope: Scope, headers: RequestHeaders) -> tuple[Grant | None, bool]:
        """What the key in headers or query grants; and whether there is none, so the body may have it."""
        credentials = (headers.get("authorization"), headers.get("x-write-key"))
        grant = self._grants.get(credentials)
        if grant is not None:
            return grant, False
        named = _credential_headers(credentials)
        query = scope.query_string.encode()
        key = find_key(named, query)
        if key is None and route.classic:
            key = find_classic_key(_classic_headers(headers), query)
        if key is None:
            return None, True
        grant = self._keys.grant(key)
        if grant is not None and key == find_key(named, b""):
            self._remember(credentials, grant)
        return grant, False

    def _counted(self, grant: Grant, decoded: Decoded) -> Refused | None:
        """Count what ingest saw; a refusal if nothing of it is left or the key's limit is reached."""
        counters = self._counters
        if decoded.errors:
            for error in decoded.errors:
                counters.refused[error.slug] += 1
            if not decoded.items:
                return all_refused(decoded.errors)
        if (bucket := grant.bucket) is not None:
            now_s = self._clock.monotonic_s()
            wait_s = bucket.take(len(decoded.items), now_s)
            if wait_s > 0:
                return rate_limited(bucket, wait_s, now_s)
        counters.repairs += decoded.repairs
        counters.type_mismatches += decoded.type_mismatches
        return None

    def _barred(self, grant: Grant | None, origin: str | None) -> Refused | None:
        """Why nothing can be taken for this key now, whatever the body says."""
        if grant is None:
            return Refused("unauthorized")
        if origin is not None and not grant.allows_origin(origin.encode()):
            return Refused("origin_not_allowed")
        slug = self._closed.get(grant.stream_id)
        return Refused(slug) if slug is not None else None

    def _remember(self, credentials: tuple[str | None, str | None], grant: Grant) -> None:
        """Headers that hold a known key skip decoding and digest the next time."""
        if len(self._grants) >= _GRANTS_MAX:
            self._grants.clear()
        self._grants[credentials] = grant

    def _keyless_grant(self, route: IngestRoute, scope: Scope, key: str | None) -> Grant | None:
        """For the key in the body, else (where the route allows it) the stream that lists the request's
        host.
        """
        if key is not None:
            return self._keys.grant(key)
        if not route.host_fallback:
            return None
        return self._keys.grant_for_host((scope.headers.get("host") or scope.authority or "").encode())

    def _facts(self, route: IngestRoute, grant: Grant, scope: Scope, headers: RequestHeaders) -> RequestFacts:
        """Positional, in the order of RequestFacts: this is the hot path."""
        policy = grant.ip_policy
        asked = headers.get("x-ip-policy")
        if asked is not None:
            policy = strictest(policy, asked.encode())
        ip = self._address(scope, headers)
        if policy != "keep":
            ip = apply_policy(ip, policy)
        now_ms = self._clock.wall_ms()
        if grant.kind == "server":
            return RequestFacts(
                now_ms, "server", route.path_type, ip, None, None, grant.id_seed, route.needs_identity
            )
        agent = headers.get("user-agent") or None
        locale = locale_of((headers.get("accept-language") or "").encode())
        return RequestFacts(now_ms, "browser", route.path_type, ip, agent, locale, grant.id_seed, False)

    def _address(self, scope: Scope, headers: RequestHeaders) -> str | None:
        peer = peer_address(scope)
        if headers.get("x-forwarded-for") is None:
            return peer
        chain = [value.encode() for value in headers.get_all("x-forwarded-for")]
        return client_address(peer, chain, self._proxies)


async def _off_the_loop(payload: bytes, look: Callable[..., T], *others: object) -> T:
    """`look` at the payload: at once if it is small, else in a thread."""
    if len(payload) <= PLAIN_BYTES_MAX:
        return look(payload, *others)
    return await asyncio.to_thread(look, payload, *others)


def _key_in_body(route: IngestRoute) -> Callable[[bytes], str | None]:
    if route.upload:
        return file_api_key
    return body_api_key if route.classic else body_write_key


def _credential_headers(credentials: tuple[str | None, str | None]) -> dict[bytes, bytes]:
    named = zip((b"authorization", b"x-write-key"), credentials, strict=True)
    return {name: value.encode() for name, value in named if value is not None}


def _classic_headers(headers: RequestHeaders) -> dict[bytes, bytes]:
    named = ((name, headers.get(name)) for name in _CLASSIC_HEADERS)
    return {name.encode(): value.encode() for name, value in named if value is not None}
