"""API keys of the management API, `keyId:keySecret`: who is calling, and may they?

A key is looked up by a keyed digest of the whole, so no secret is stored, and none is compared byte by byte.
Addresses that fail again and again are told to wait. A right key is let in all the same: its 192 random bits
are not found by asking, a look costs microseconds, and whoever shares an address with a guesser is not locked
out. An admin token is made by people: a short one is not looked at meanwhile. Event-loop thread.
"""

import asyncio
import hmac
import logging
import secrets
from collections import OrderedDict
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, ip_address
from typing import Any, Final, Literal, get_args

import orjson

from server.access import RateLimit, TokenBucket
from server.management.audit import Act, Audit
from server.management.errors import NotFound
from server.management.secrets import SecretBox, require_same
from server.management.stored import KEY_RECORD, KEY_TABLE
from storage import Clock, Delete, Put, StorageError, TableEnv

_log = logging.getLogger("penstock.api_keys")

Role = Literal["viewer", "editor", "admin"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
"""Each may do what those before it may: viewers read, editors change objects, admins also keys."""
ADMIN_TOKEN: Final = "admin-token"
"""The key id of a caller who has the configuration's admin token."""
_TABLE: Final = "api_keys"
_USED_INTERVAL_MS: Final = 60_000
_EXPIRES_MS_MAX: Final = 253_402_300_799_000  # the last second of the year 9999, the last one to write
_FAILURES: Final = RateLimit(events_per_second=0.2, burst=10)
_ADDRESSES_MAX: Final = 4096
_UNGUESSABLE_BYTES: Final = 16
_TOO_MANY: Final = "too many wrong API keys from your address"
_UNKNOWN: Final = "the API key is unknown, wrong or revoked"
_ABSENT: Final = "send an API key: Authorization: Bearer keyId:keySecret"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of a key: never its secret. Times are wall milliseconds; `last_used_ms` is true to a
    minute.
    """

    id: str
    hash: str
    hint: str
    role: Role
    name: str
    created_ms: int
    expires_ms: int | None = None
    last_used_ms: int | None = None

    def said(self) -> dict[str, Any]:
        """For the audit log: without what changes by itself or is nobody's business."""
        return {"role": self.role, "name": self.name, "hint": self.hint, "expires_ms": self.expires_ms}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. `key_id` goes into the audit log."""

    key_id: str
    role: Role

    def may(self, needed: Role) -> bool:
        """Whether the caller has the rights of that role."""
        return ROLES.index(self.role) >= ROLES.index(needed)


@dataclass(frozen=True, slots=True)
class AuthRefusal:
    """Why nobody is let in; `slug` is a key of problems.PROBLEMS. `retry_after_s`: 0 unless waiting helps."""

    slug: str
    detail: str
    retry_after_s: float = 0.0


class ApiKeys:
    """`admin_token`, if there is one, is a key with every right. Raises SecretError if the objects belong to
    another key file: a server would not start with it, and no key made under it would let in.
    """

    def __init__(
        self, catalog: TableEnv, box: SecretBox, audit: Audit, clock: Clock, admin_token: str = ""
    ) -> None:
        require_same(catalog.get(KEY_TABLE, KEY_RECORD), box)
        self._catalog = catalog
        self._box = box
        self._audit = audit
        self._clock = clock
        self._admin_token = admin_token.encode()
        self._failures = _Failures()
        self._keys: dict[str, ApiKey] = {}
        """By digest."""
        self._writing: set[asyncio.Task[None]] = set()
        for id_, value in catalog.scan(_TABLE):
            key = ApiKey(id_.decode(), **orjson.loads(value))
            self._keys[key.hash] = key

    def authenticate(
        self, authorization: str | None, address: str | None, admin_token: str | None = None
    ) -> Caller | AuthRefusal:
        """Who calls, by the Authorization header, else by X-Admin-Token. `address` is the client's."""
        now_s = self._clock.monotonic_s()
        if authorization is None and admin_token is None:
            return AuthRefusal("key_unauthorized", _ABSENT)
        wait_s = self._failures.wait_s(address, now_s)
        guessable = authorization is None and len(self._admin_token) < _UNGUESSABLE_BYTES
        if wait_s and guessable:
            return AuthRefusal("too_many_failures", _TOO_MANY, wait_s)
        found = self._by_token(admin_token) if authorization is None else self._by_header(authorization)
        if isinstance(found, Caller):
            return found
        if wait_s:
            return AuthRefusal("too_many_failures", _TOO_MANY, wait_s)
        self._failures.count(address, now_s)
        return found

    async def create(
        self, role: Role, actor: Caller, name: str = "", expires_ms: int | None = None
    ) -> tuple[ApiKey, str]:
        """A new key, and what its owner sends, `keyId:keySecret`: shown here and never again. Durable on
        return; raises StorageError.
        """
        id_, secret = f"key-{secrets.token_hex(6)}", secrets.token_urlsafe(24)
        text = f"{id_}:{secret}"
        hint = f"{secret[:3]}*{secret[-3:]}"
        ends_ms = None if expires_ms is None else min(expires_ms, _EXPIRES_MS_MAX)
        key = ApiKey(id_, self._digest(text), hint, role, name, self._clock.wall_ms(), ends_ms)
        await self._audit.write([_put(key)], [Act(actor.key_id, "create", "key", id_, None, key.said())])
        self._keys[key.hash] = key
        return key, text

    async def delete(self, key_id: str, actor: Caller) -> ApiKey:
        """Revoke a key, in force at once and durable on return. Raises NotFound, StorageError."""
        key = next((key for key in self._keys.values() if key.id == key_id), None)
        if key is None:
            raise NotFound("key", key_id)
        del self._keys[key.hash]  # before the write, lest a note of its use brings it back
        try:
            act = Act(actor.key_id, "delete", "key", key_id, key.said(), None)
            await self._audit.write([Delete(_TABLE, key_id.encode())], [act])
        except StorageError:
            self._keys[key.hash] = key
            raise
        return key

    def all(self) -> list[ApiKey]:
        """The oldest first."""
        return sorted(self._keys.values(), key=lambda key: (key.created_ms, key.id))

    async def settled(self) -> None:
        """Wait until every use that was noted is stored, or has failed to be."""
        await asyncio.gather(*self._writing)

    def _by_token(self, token: str | None) -> Caller | AuthRefusal:
        given = (token or "").encode()
        if self._admin_token and hmac.compare_digest(given, self._admin_token):
            return Caller(ADMIN_TOKEN, "admin")
        return AuthRefusal("key_unauthorized", "the admin token does not match")

    def _by_header(self, authorization: str) -> Caller | AuthRefusal:
        scheme, _, text = authorization.strip().partition(" ")
        if scheme.lower() != "bearer" or ":" not in text:
            return AuthRefusal("key_unauthorized", _ABSENT)
        key = self._keys.get(self._digest(text.strip()))
        if key is None:
            return AuthRefusal("key_unauthorized", _UNKNOWN)
        now_ms = self._clock.wall_ms()
        if key.expires_ms is not None and now_ms >= key.expires_ms:
            return AuthRefusal("key_unauthorized", f"the API key {key.id} has expired")
        if key.last_used_ms is None or now_ms - key.last_used_ms >= _USED_INTERVAL_MS:
            self._note_use(replace(key, last_used_ms=now_ms))
        return Caller(key.id, key.role)

    def _note_use(self, key: ApiKey) -> None:
        self._keys[key.hash] = key
        task = asyncio.get_running_loop().create_task(self._write_use(key))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write_use(self, key: ApiKey) -> None:
        if self._keys.get(key.hash) is not key:
            return  # revoked meanwhile
        try:
            await self._catalog.write([_put(key)])
        except StorageError as error:
            _log.warning("the last use of API key %s is not stored: %s", key.id, error)

    def _digest(self, text: str) -> str:
        return self._box.digest(f"api key {text}")


class _Failures:
    """Failed attempts by address; an IPv6 network of 64 bits counts as one."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def wait_s(self, address: str | None, now_s: float) -> float:
        """Seconds until this address is listened to again, 0.0 if it is."""
        bucket = self._buckets.get(_network(address))
        if bucket is None or bucket.remaining(now_s):
            return 0.0
        return 1 / _FAILURES.events_per_second

    def count(self, address: str | None, now_s: float) -> None:
        """Note one."""
        network = _network(address)
        bucket = self._buckets.pop(network, None) or TokenBucket(_FAILURES)
        bucket.take(1, now_s)
        self._buckets[network] = bucket
        if len(self._buckets) > _ADDRESSES_MAX:
            self._buckets.popitem(last=False)


def _network(address: str | None) -> str:
    try:
        parsed = ip_address(address or "")
    except ValueError:
        return ""
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or parsed.exploded[:19])


def _put(key: ApiKey) -> Put:
    fields = {name: getattr(key, name) for name in ApiKey.__slots__ if name != "id"}
    return Put(_TABLE, key.id.encode(), orjson.dumps(fields))
