"""From a key to what it may do."""

from dataclasses import replace

import pytest

from server.access import UNREADABLE, DuplicateKeyError, Grant, HashedKey, RateLimit, StreamKeys, WriteKeys
from server.management import SecretBox

SITE = StreamKeys(
    "site",
    1,
    browser_keys=("site-b:bsecret", "dk_live_abc123"),
    server_keys=("site-s:ssecret",),
    origins=("https://shop.example.com",),
    domains=("Data.Example.com",),
    domain_fallback=True,
    browser_limit=RateLimit(1000, 2000),
)
OTHER = StreamKeys("other", 2, server_keys=("other-s:x",), domains=("other.example.com",))
KEYS = WriteKeys([SITE, OTHER])


def granted(key: str) -> Grant:
    grant = KEYS.grant(key)
    assert grant is not None
    return grant


@pytest.mark.parametrize(
    ("key", "stream", "kind", "name"),
    [
        ("site-b:bsecret", "site", "browser", "site-b"),
        ("dk_live_abc123", "site", "browser", "d***3"),
        ("site-s:ssecret", "site", "server", "site-s"),
        ("other-s:x", "other", "server", "other-s"),
    ],
)
def test_a_known_key(key: str, stream: str, kind: str, name: str) -> None:
    grant = granted(key)
    assert (grant.stream_id, grant.kind, grant.key_id) == (stream, kind, name)


@pytest.mark.parametrize(
    "key", ["", UNREADABLE, "site-b", "site-b:", "site-b:wrong", "site-b:bsecret ", "\ud800"]
)
def test_an_unknown_key(key: str) -> None:
    assert KEYS.grant(key) is None


def test_an_empty_key_in_a_stream_opens_nothing() -> None:
    assert WriteKeys([StreamKeys("s", 1, browser_keys=("",))]).grant("") is None


def test_each_key_has_its_own_bucket() -> None:
    first, second = granted("site-b:bsecret").bucket, granted("dk_live_abc123").bucket
    assert first is not None
    assert second is not None
    assert first is not second
    assert granted("site-s:ssecret").bucket is None


@pytest.mark.parametrize(
    "streams",
    [
        [StreamKeys("a", 1, browser_keys=("k",), server_keys=("k",))],
        [StreamKeys("a", 1, browser_keys=("k",)), StreamKeys("b", 2, browser_keys=("k",))],
        [
            StreamKeys("a", 1, domains=("x.com",), domain_fallback=True),
            StreamKeys("b", 2, domains=("X.com",), domain_fallback=True),
        ],
    ],
)
def test_a_key_in_two_places_is_an_error_that_does_not_tell_the_key(streams: list[StreamKeys]) -> None:
    with pytest.raises(DuplicateKeyError) as error:
        WriteKeys(streams)
    assert " k " not in str(error.value)


def test_a_key_listed_twice_in_one_list_is_one_key() -> None:
    assert WriteKeys([StreamKeys("a", 1, server_keys=("k", "k"))]).grant("k") is not None


@pytest.mark.parametrize("host", [b"data.example.com", b"DATA.example.com:8443", b"data.example.com."])
def test_a_host_can_stand_for_a_key(host: bytes) -> None:
    grant = KEYS.grant_for_host(host)
    assert grant is not None
    assert (grant.stream_id, grant.kind) == ("site", "browser")


@pytest.mark.parametrize("host", [b"", b"other.example.com", b"evil.example.com", b"[::1]:80", b"\xff"])
def test_only_where_the_stream_says_so(host: bytes) -> None:
    assert KEYS.grant_for_host(host) is None


def test_origins_bind_browser_keys_only() -> None:
    browser, server = granted("site-b:bsecret"), granted("site-s:ssecret")
    assert browser.allows_origin(b"https://shop.example.com")
    assert not browser.allows_origin(b"https://evil.example.com")
    assert browser.allows_origin(None)
    assert server.allows_origin(b"https://evil.example.com")


def test_a_preflight_is_answered_from_all_streams() -> None:
    third = StreamKeys("third", 3, origins=("https://b.example.com",))
    keys = WriteKeys([SITE, third])
    assert keys.origins.allows(b"https://shop.example.com")
    assert keys.origins.allows(b"https://b.example.com")
    assert not keys.origins.allows(b"https://c.example.com")
    assert not KEYS.origins.allows(b"http://localhost:3000")
    assert WriteKeys([SITE], development=True).origins.allows(b"http://localhost:3000")


def test_a_key_of_which_only_the_digest_is_known() -> None:
    box = SecretBox(b"k" * 32)
    hashed = HashedKey("site-s", bytes.fromhex(box.digest("site-s:ssecret")))
    keys = WriteKeys([StreamKeys("site", 1, server_keys=(hashed,))], digest_key=box.digest_key)
    grant = keys.grant("site-s:ssecret")
    assert grant is not None
    assert (grant.stream_id, grant.key_id) == ("site", "site-s")
    assert keys.grant("site-s:other") is None


def test_a_change_refills_no_bucket_of_others() -> None:
    first, second = granted("site-b:bsecret").bucket, granted("dk_live_abc123").bucket
    narrower = replace(SITE, browser_keys=("site-b:bsecret",), origins=("https://b.example.com",))
    after = WriteKeys([narrower, replace(OTHER, server_limit=RateLimit(1, 1))], before=KEYS)
    grant = after.grant("site-b:bsecret")
    assert grant is not None
    assert grant.bucket is first
    assert grant.allows_origin(b"https://b.example.com")
    assert after.grant("dk_live_abc123") is None
    limited = WriteKeys([replace(SITE, browser_limit=RateLimit(1, 1))], before=KEYS).grant("dk_live_abc123")
    assert limited is not None
    assert limited.bucket is not second
