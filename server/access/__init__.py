"""Who may send what: write keys, credentials, origins, the limiter, the client's address and ours. No HTTP
framework, no clock.
"""

from server.access.address import (
    IpPolicy,
    TrustedProxies,
    apply_policy,
    client_address,
    locale_of,
    server_url,
    strictest,
)
from server.access.credentials import UNREADABLE, find_classic_key, find_key
from server.access.limiter import RateLimit, TokenBucket
from server.access.origins import Origins
from server.access.write_keys import DuplicateKeyError, Grant, HashedKey, KeyKind, StreamKeys, WriteKeys

__all__ = [
    "UNREADABLE",
    "DuplicateKeyError",
    "Grant",
    "HashedKey",
    "IpPolicy",
    "KeyKind",
    "Origins",
    "RateLimit",
    "StreamKeys",
    "TokenBucket",
    "TrustedProxies",
    "WriteKeys",
    "apply_policy",
    "client_address",
    "find_classic_key",
    "find_key",
    "locale_of",
    "server_url",
    "strictest",
]
