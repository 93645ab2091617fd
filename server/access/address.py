"""Who sent a request, and to whom: the client's address and the server's own through trusted proxies, the IP
policy, the locale.

Only what one's own proxies said can be believed, so X-Forwarded-For is walked from the right. Pure.
"""

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, Literal

IpPolicy = Literal["keep", "stripLastOctet", "remove"]

# From the most to the least that is kept.
_STRICTNESS: Final[tuple[IpPolicy, ...]] = ("keep", "stripLastOctet", "remove")
_KEPT_BITS_V4: Final = 24
_KEPT_BITS_V6: Final = 48
_HOST: Final = re.compile(r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")
# Addresses whose trust is remembered; a proxied request asks for one or two.
_CACHE_MAX: Final = 4096


class TrustedProxies:
    """The networks whose X-Forwarded-For entries are believed. Raises ValueError for what is no network."""

    __slots__ = ("_cache", "_networks")

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks = tuple(ip_network(network, strict=False) for network in networks)
        self._cache: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, address: str) -> bool:
        known = self._cache.get(address)
        if known is None:
            parsed = _parse(address)
            known = parsed is not None and any(parsed in network for network in self._networks)
            if len(self._cache) >= _CACHE_MAX:
                self._cache.clear()
            self._cache[address] = known
        return known


def client_address(peer: str | None, forwarded_for: Iterable[bytes], trusted: TrustedProxies) -> str | None:
    """The address of the client: `peer`, or the last entry of `forwarded_for` that no trusted proxy stands
    for.

    `forwarded_for` holds the values of all X-Forwarded-For headers in order. An entry that is no address
    ends the walk at the proxy that reported it. None if there is no peer address (a Unix socket).
    """
    if peer is None or not trusted or peer not in trusted:
        return peer
    client = peer
    for entry in reversed([entry for value in forwarded_for for entry in value.decode("latin-1").split(",")]):
        address = _parse(_without_port(entry.strip()))
        if address is None:
            break
        client = str(address)
        if client not in trusted:
            break
    return client


def server_url(
    scheme: str,
    host: str,
    forwarded_proto: str | None,
    forwarded_host: str | None,
) -> str | None:
    """The address of this server as the client wrote it, `https://events.example.com`, for documents that
    name it. None if it cannot be told.

    `scheme` and `host` are the connection's; what was forwarded (the last entry counts, which the proxy
    before us wrote) is to be passed only if that proxy is trusted.
    """
    proto = (forwarded_proto or "").rpartition(",")[2].strip().lower()
    scheme = proto if proto in ("http", "https") else scheme
    host = (forwarded_host or "").rpartition(",")[2].strip() or host
    return f"{scheme}://{host}" if _HOST.fullmatch(host) else None


def strictest(stream_policy: IpPolicy, header: bytes | None) -> IpPolicy:
    """The policy of a request: the stricter of its stream's and its X-IP-Policy header's. An unknown value
    asks for none.
    """
    for policy in _STRICTNESS:
        if header == policy.encode():
            return max(policy, stream_policy, key=_STRICTNESS.index)
    return stream_policy


def apply_policy(address: str | None, policy: IpPolicy) -> str | None:
    """What may be kept of an address: all, its network (/24, /48), or nothing."""
    if policy == "keep" or address is None:
        return address
    parsed = _parse(address) if policy == "stripLastOctet" else None
    if parsed is None:
        return None
    kept = _KEPT_BITS_V4 if parsed.version == 4 else _KEPT_BITS_V6
    return str(ip_network((parsed, kept), strict=False).network_address)


def locale_of(accept_language: bytes | None) -> str | None:
    """The first language of an Accept-Language header, None if it names none."""
    first = (accept_language or b"").decode("latin-1").split(",", 1)[0].split(";", 1)[0].strip()
    return first if first and first != "*" else None


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _without_port(entry: str) -> str:
    """`1.2.3.4:80` and `[::1]:80` without the port and the brackets."""
    if entry.startswith("["):
        return entry[1:].split("]", 1)[0]
    return entry.split(":", 1)[0] if entry.count(":") == 1 else entry
