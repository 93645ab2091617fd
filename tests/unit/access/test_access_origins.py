"""Which origins may use a browser key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.access import Origins


@pytest.mark.parametrize(
    ("allowed", "origin", "allows"),
    [
        ([], b"https://a.com", False),
        (["https://a.com"], b"https://a.com", True),
        (["https://a.com/"], b"https://a.com", True),
        (["HTTPS://A.com:443"], b"https://a.com", True),
        (["https://a.com"], b"https://a.com:443", True),
        (["https://a.com"], b"https://A.com", True),
        (["https://a.com"], b"http://a.com", False),
        (["https://a.com"], b"https://a.com:8443", False),
        (["https://a.com:8443"], b"https://a.com:8443", True),
        (["https://a.com"], b"https://b.a.com", False),
        (["https://a.com"], b"https://a.com.evil.com", False),
        (["a.com"], b"https://a.com", True),
        (["a.com"], b"http://a.com", True),
        (["a.com:81"], b"http://a.com:81", True),
        (["https://[::1]:81"], b"https://[::1]:81", True),
        (["*"], b"https://any.com", True),
        (["*"], b"null", False),
        (["null"], b"null", False),
        (["*"], b"", False),
        (["https://a.com"], b"https://a.com:x", False),
        (["https://a.com"], b"https://[", False),
        ([""], b"", False),
    ],
)
def test_an_origin(allowed: list[str], origin: bytes, allows: bool) -> None:
    assert Origins(allowed).allows(origin) is allows
    assert Origins.union([Origins(), Origins(allowed)]).allows(origin) is allows


@pytest.mark.parametrize(
    "origin", [b"http://localhost:3000", b"https://app.localhost", b"http://127.0.0.1", b"http://[::1]:5"]
)
def test_development_mode_allows_this_machine(origin: bytes) -> None:
    assert Origins(development=True).allows(origin)
    assert not Origins().allows(origin)
    assert not Origins(development=True).allows(b"http://localhost.evil.com")


@given(st.binary(max_size=30))
def test_any_header_gets_an_answer(origin: bytes) -> None:
    assert Origins(["https://a.com"]).allows(b"https://" + origin) in (True, False)
    assert not Origins([]).allows(origin)
