"""What a stream may list as origins: what an Origin header can say, else the list would never match."""

import msgspec
import pytest

from server.catalog import Stream, check_objects


def _faults(origin: str) -> list[str]:
    stream = msgspec.convert({"id": "s", "origins": [origin]}, Stream)
    return [fault.path for fault in check_objects({"s": stream}, {}, {}, {"s"}, set())]


@pytest.mark.parametrize(
    "origin",
    ["https://a.com", "http://a.com:8080", "a.com", "HTTPS://A.com", "http://[::1]:81", "*",
     "capacitor://localhost", "chrome-extension://abcdef", "localhost:3000"],
)  # fmt: skip
def test_an_origin_that_browsers_send(origin: str) -> None:
    assert _faults(origin) == []


@pytest.mark.parametrize(
    "origin",
    ["null", "NULL", "", "ftp://a.com", "file:///x", "https://", "https://a.com/path", "https://*.a.com",
     "https://a.com:port", "https://a.com:123456", "https://u@a.com", "https://bücher.example", "a b"],
)  # fmt: skip
def test_what_no_browser_sends_is_a_fault(origin: str) -> None:
    assert _faults(origin) == ["streams.s.origins[0]"]
