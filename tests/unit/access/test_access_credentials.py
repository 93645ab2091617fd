"""Where a write key may stand in a request, and which place wins."""

from base64 import b64encode

import pytest

from server.access import UNREADABLE, find_classic_key, find_key


def basic(text: str) -> bytes:
    return b"Basic " + b64encode(text.encode())


@pytest.mark.parametrize(
    ("header", "key"),
    [
        (b"Basic d3JpdGVLZXkxMjM6Cg==", "writeKey123"),  # the Jitsu documentation's own example
        (basic("key:"), "key"),
        (basic("key"), "key"),
        (basic("id:secret:"), "id:secret"),
        (basic("id:secret"), "id:secret"),
        (basic("id:secret::"), "id:secret:"),
        (basic(" id:secret:\r\n"), "id:secret"),
        (basic("kéy:"), "kéy"),
        (b"basic  " + b64encode(b"key:"), "key"),
        (b"Basic a2V5Og", "key"),  # without padding
        (b"Bearer dk_live_abc123", "dk_live_abc123"),
        (b"bearer  id:secret ", "id:secret"),
        (b"Basic !!!", UNREADABLE),
        (b"Basic a", UNREADABLE),
        (b"Basic " + b64encode(b"\xff\xfe"), UNREADABLE),
        (b"Basic " + b64encode(b":"), None),
        (b"Basic", None),
        (b"Bearer ", None),
        (b"Digest abc", None),
        (b"", None),
    ],
)
def test_the_authorization_header(header: bytes, key: str | None) -> None:
    assert find_key({b"authorization": header}, b"") == key


@pytest.mark.parametrize(
    ("query", "key"),
    [
        ("writeKey=ключ:секрет".encode(), "ключ:секрет"),
        (b"writeKey=%D0%BA", "к"),
        (b"writeKey=\xff", "\ufffd"),
        (b"writeKey=a%3Ab", "a:b"),
        (b"writekey=k", "k"),
        (b"x=1&wk=k&writekey=l", "k"),
        (b"writeKey=&wk=k", "k"),
        (b"wk=a+b%2Bc", "a+b+c"),
        (b"wk=%", "%"),
        (b"wk=%ff", "\ufffd"),
        (b"WK=k", None),
        (b"wk", None),
        (b"", None),
    ],
)
def test_the_query(query: bytes, key: str | None) -> None:
    assert find_key({}, query) == key


def test_the_first_place_wins() -> None:
    headers = {b"authorization": basic("a:"), b"x-write-key": b"b"}
    assert find_key(headers, b"wk=c") == "a"
    assert find_key({b"x-write-key": b"b"}, b"wk=c") == "b"
    assert find_key({b"authorization": b"Digest x", b"x-write-key": b" "}, b"wk=c") == "c"


def test_a_credential_that_cannot_be_read_hides_the_others() -> None:
    assert find_key({b"authorization": b"Basic !", b"x-write-key": b"b"}, b"wk=c") == UNREADABLE


def test_a_long_header_is_read_too() -> None:
    assert find_key({b"authorization": basic("k" * 1000 + ":")}, b"") == "k" * 1000


@pytest.mark.parametrize(
    ("headers", "query", "key"),
    [
        ({}, b"token=a%3Ab", "a:b"),
        ({}, b"p_jf6g4=k&token=t", "t"),
        ({b"x-auth-token": b"x"}, b"cookie_policy=comply&p_jf6g4=k", "k"),
        ({b"x-auth-token": b" x ", b"api_key": b"y"}, b"token=&p_=", "x"),
        ({b"api_key": b"y"}, b"", "y"),
        ({b"x-auth-token": b" "}, b"P_x=1&tokens=2", None),
    ],
)
def test_the_places_of_jitsu_classic(headers: dict[bytes, bytes], query: bytes, key: str | None) -> None:
    assert find_classic_key(headers, query) == key
    assert find_key(headers, query) is None
