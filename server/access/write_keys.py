"""Write keys: from the key of a request to what it may do.

A key is looked up by a keyed digest in a dict, so no secret is ever compared byte by byte, and a key of which
only the digest is known is a key like any other. A change of the catalog makes a new `WriteKeys`, which takes
the buckets of what did not change along. Event-loop thread only.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

from server.access.address import IpPolicy
from server.access.limiter import RateLimit, TokenBucket
from server.access.origins import Origins

KeyKind = Literal["browser", "server"]
_BucketKey = tuple[str, KeyKind, bytes, RateLimit]


class DuplicateKeyError(ValueError):
    """One key stands in two places, so it is not clear which stream or kind it means."""


@dataclass(frozen=True, slots=True)
class HashedKey:
    """A key that is known by its digest alone, made with the `digest_key` of `WriteKeys`."""

    key_id: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class StreamKeys:
    """What access needs to know of a stream. `id_seed` seeds its message-id hashes and is only carried along.

    A key is its text, or a HashedKey. A limit of None is no limit; a limit holds for each key on its own.
    """

    stream_id: str
    id_seed: int
    browser_keys: tuple[str | HashedKey, ...] = ()
    server_keys: tuple[str | HashedKey, ...] = ()
    origins: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    domain_fallback: bool = False
    browser_limit: RateLimit | None = None
    server_limit: RateLimit | None = None
    ip_policy: IpPolicy = "keep"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a write key may do. `key_id` is a name for logs, no secret. A bucket of None lets everything
    through.
    """

    stream_id: str
    id_seed: int
    kind: KeyKind
    key_id: str
    bucket: TokenBucket | None
    origins: Origins
    ip_policy: IpPolicy

    def allows_origin(self, origin: bytes | None) -> bool:
        """Whether a request with this Origin header may pass; without one (servers, curl) it may."""
        return origin is None or self.kind == "server" or self.origins.allows(origin)


class WriteKeys:
    """All write keys. `digest_key` is that of the hashed ones, else one is made up; `development` allows this
    machine's own origins. Raises `DuplicateKeyError`.

    What is told after `before` goes on with its buckets: a change of one stream refills those of no other.
    """

    __slots__ = ("_buckets", "_buckets_before", "_digest_key", "_grants", "_hosts", "origins")

    def __init__(
        self,
        streams: Iterable[StreamKeys],
        *,
        digest_key: bytes = b"",
        development: bool = False,
        before: "WriteKeys | None" = None,
    ) -> None:
        self._digest_key: bytes = digest_key or (before._digest_key if before else os.urandom(32))
        self._grants: dict[bytes, Grant] = {}
        self._hosts: dict[str, Grant] = {}
        self._buckets: dict[_BucketKey, TokenBucket] = {}
        self._buckets_before = before._buckets if before is not None else {}
        all_origins: list[Origins] = []
        for stream in streams:
            origins = Origins(stream.origins, development=development)
            all_origins.append(origins)
            self._add_keys(stream, "browser", stream.browser_keys, origins)
            self._add_keys(stream, "server", stream.server_keys, origins)
            self._add_hosts(stream, origins)
        self._buckets_before = {}
        self.origins = Origins.union(all_origins, development=development)

    def grant(self, key: str) -> Grant | None:
        """What `key` may do, None for an unknown one."""
        return self._grants.get(self._digest(key)) if key else None

    def grant_for_host(self, host: bytes) -> Grant | None:
        """What a request without any key may do on this Host: a browser's rights, if a stream takes its
        `domains` so.
        """
        return self._hosts.get(_host_name(host.decode("latin-1"))) if self._hosts else None

    def _add_keys(
        self, stream: StreamKeys, kind: KeyKind, keys: Iterable[str | HashedKey], origins: Origins
    ) -> None:
        for key in keys:
            known = key if isinstance(key, HashedKey) else HashedKey(key_id(key), self._digest(key))
            grant = self._made(stream, kind, known, origins)
            self._check(self._grants.setdefault(known.digest, grant), grant)

    def _check(self, known: Grant, grant: Grant) -> None:
        if (known.stream_id, known.kind) != (grant.stream_id, grant.kind):
            raise DuplicateKeyError(
                f"the write key {grant.key_id} is a {known.kind} key of stream {known.stream_id} "
                f"and a {grant.kind} key of stream {grant.stream_id}"
            )

    def _add_hosts(self, stream: StreamKeys, origins: Origins) -> None:
        if not stream.domain_fallback or not stream.domains:
            return
        grant = self._made(stream, "browser", HashedKey("domain", b""), origins)
        for domain in stream.domains:
            known = self._hosts.setdefault(_host_name(domain), grant)
            if known is not grant:
                raise DuplicateKeyError(
                    f"the domain {domain} is claimed by the streams {known.stream_id} and {stream.stream_id}"
                )

    def _made(self, stream: StreamKeys, kind: KeyKind, key: HashedKey, origins: Origins) -> Grant:
        limit = stream.browser_limit if kind == "browser" else stream.server_limit
        bucket = None
        if limit is not None:
            place = (stream.stream_id, kind, key.digest, limit)
            bucket = self._buckets.get(place) or self._buckets_before.get(place) or TokenBucket(limit)
            self._buckets[place] = bucket
        return Grant(stream.stream_id, stream.id_seed, kind, key.key_id, bucket, origins, stream.ip_policy)

    def _digest(self, key: str) -> bytes:
        return blake2b(key.encode("utf-8", "replace"), digest_size=16, key=self._digest_key).digest()


def key_id(key: str) -> str:
    """A name for a key that may be logged: the id of `keyId:secret`, else its first and last character."""
    identifier, colon, _ = key.partition(":")
    return identifier if colon else f"{key[:1]}***{key[-1:]}"


def _host_name(host: str) -> str:
    """A Host header or a configured domain without its port, in lower case."""
    name = host.strip().lower()
    if name.startswith("["):
        return name.partition("]")[0] + "]"
    return name.partition(":")[0].rstrip(".")
