"""The client's address, what of it may be kept, and its locale."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.access import (
    IpPolicy,
    TrustedProxies,
    apply_policy,
    client_address,
    locale_of,
    server_url,
    strictest,
)

TRUSTED = TrustedProxies(["10.0.0.0/8", "fd00::/8", "127.0.0.1"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("198.51.100.1", [b"203.0.113.9"], "198.51.100.1"),  # nobody vouches for it
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [b"203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", [b"6.6.6.6, 203.0.113.9"], "203.0.113.9"),  # the left part is the client's own invention
        ("10.0.0.1", [b"203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", [b"203.0.113.9", b"10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", [b"10.0.0.3,10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", [b"203.0.113.9:5123"], "203.0.113.9"),
        ("10.0.0.1", [b"[2001:db8::1]:5123"], "2001:db8::1"),
        ("10.0.0.1", [b"2001:db8::1"], "2001:db8::1"),
        ("::ffff:10.0.0.1", [b"203.0.113.9"], "203.0.113.9"),
        ("fd00::1", [b"::ffff:203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", [b"203.0.113.9, unknown"], "10.0.0.1"),
        ("10.0.0.1", [b"203.0.113.9, junk, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [b"", b",,"], "10.0.0.1"),
        (None, [b"203.0.113.9"], None),
    ],
)
def test_the_client_address(peer: str | None, forwarded: list[bytes], client: str | None) -> None:
    assert client_address(peer, forwarded, TRUSTED) == client


def test_without_trusted_proxies_the_peer_is_the_client() -> None:
    assert client_address("127.0.0.1", [b"203.0.113.9"], TrustedProxies()) == "127.0.0.1"


def test_what_is_no_network_is_an_error() -> None:
    with pytest.raises(ValueError, match="proxy"):
        TrustedProxies(["proxy"])


@given(st.lists(st.binary(max_size=30), max_size=3))
def test_any_header_gives_an_address(forwarded: list[bytes]) -> None:
    assert client_address("10.0.0.1", forwarded, TRUSTED)


@pytest.mark.parametrize(
    ("address", "policy", "kept"),
    [
        ("203.0.113.9", "keep", "203.0.113.9"),
        ("203.0.113.9", "stripLastOctet", "203.0.113.0"),
        ("2001:db8:1:2:3::4", "stripLastOctet", "2001:db8:1::"),
        ("::ffff:203.0.113.9", "stripLastOctet", "203.0.113.0"),
        ("203.0.113.9", "remove", None),
        ("not an address", "stripLastOctet", None),
        (None, "keep", None),
    ],
)
def test_the_ip_policy(address: str | None, policy: IpPolicy, kept: str | None) -> None:
    assert apply_policy(address, policy) == kept


@pytest.mark.parametrize(
    ("stream", "header", "policy"),
    [
        ("keep", None, "keep"),
        ("keep", b"stripLastOctet", "stripLastOctet"),
        ("keep", b"remove", "remove"),
        ("remove", b"keep", "remove"),
        ("stripLastOctet", b"keep", "stripLastOctet"),
        ("stripLastOctet", b"junk", "stripLastOctet"),
    ],
)
def test_a_request_can_only_ask_for_more_privacy(
    stream: IpPolicy, header: bytes | None, policy: IpPolicy
) -> None:
    assert strictest(stream, header) == policy


@pytest.mark.parametrize(
    ("header", "locale"),
    [
        (b"en-US,en;q=0.9", "en-US"),
        (b"de;q=0.5", "de"),
        (b" fr ", "fr"),
        (b"*", None),
        (b"", None),
        (None, None),
    ],
)
def test_the_locale(header: bytes | None, locale: str | None) -> None:
    assert locale_of(header) == locale


@pytest.mark.parametrize(
    ("host", "proto", "forwarded_host", "url"),
    [
        ("127.0.0.1:3049", None, None, "http://127.0.0.1:3049"),
        ("a.com", "https", None, "https://a.com"),
        ("a.com", "HTTPS ", "b.com:8443", "https://b.com:8443"),
        ("a.com", "http, https", "evil.com, b.com", "https://b.com"),
        ("a.com", "gopher", "", "http://a.com"),
        ("[::1]:80", "", None, "http://[::1]:80"),
        ("", None, None, None),
        ("a.com/path", None, None, None),
        ('a"b', None, None, None),
        ("a.com", None, "b c", None),
    ],
)
def test_the_servers_own_address(
    host: str, proto: str | None, forwarded_host: str | None, url: str | None
) -> None:
    assert server_url("http", host, proto, forwarded_host) == url
