"""Clients that break off, stall, pipeline or talk nonsense: the server goes on and holds nothing for them."""

import contextlib
import gzip
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.app import ingest_routes
from server.routes.lane import PLAIN_BYTES_MAX
from tests.running import SERVER_KEY, Penstock, configuration, eventually, free_port, track

_HEAD = f"Host: x\r\nX-Write-Key: {SERVER_KEY}\r\n"
_EVENT = b'{"event":"E","userId":"u"}'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Penstock]:
    folder = tmp_path_factory.mktemp("clients")
    running = Penstock(folder, configuration(free_port(), folder / "data", None)).start()
    yield running
    assert running.stop() == 0


def _exchange(server: Penstock, sent: bytes, *, until: bytes = b"") -> bytes:
    """Send, and read until `until` or the end of the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        received = b""
        with contextlib.suppress(ConnectionError):  # the server may have closed it by now
            client.sendall(sent)
            if not until:
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_WR)
            while not (until and until in received) and (part := client.recv(65536)):
                received += part
    return received


def _nothing_is_held(server: Penstock) -> None:
    eventually(lambda: server.metric("penstock_in_flight_bytes") == 0, "no bytes are held")
    assert server.post("/v1/track", track("alive")).status == 200


@pytest.mark.parametrize("path", sorted(ingest_routes()))
def test_a_body_that_breaks_off(server: Penstock, path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\n{_HEAD}Content-Length: 5000\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(head + _EVENT)
        held = lambda: server.metric("penstock_in_flight_bytes") == 5_000  # noqa: E731
        eventually(held, "the body's bytes are reserved")
    _nothing_is_held(server)


@pytest.mark.parametrize(
    "sent",
    [b"\x16\x03\x01\x02\x00\x01", b"GET", b"POST /v1/track HTTP/9.9\r\n\r\n", b"\r\n" * 500, bytes(2_000)],
    ids=["tls", "half-a-line", "version", "line-ends", "zeros"],
)
def test_what_is_not_http_is_never_5xx(server: Penstock, sent: bytes) -> None:
    received = _exchange(server, sent)
    assert received == b"" or received.startswith(b"HTTP/1.1 4")
    _nothing_is_held(server)


@pytest.mark.parametrize(
    "length", [b"Content-Length: -1", b"Content-Length: 99999999999999999999999", b"Content-Length: 1e3"]
)
def test_a_length_that_is_none(server: Penstock, length: bytes) -> None:
    sent = b"POST /v1/track HTTP/1.1\r\n" + _HEAD.encode() + length + b"\r\n\r\n" + _EVENT
    received = _exchange(server, sent)
    assert received == b"" or received.startswith(b"HTTP/1.1 4")
    _nothing_is_held(server)


def test_a_chunked_body(server: Penstock) -> None:
    head = b"POST /v1/track HTTP/1.1\r\n" + _HEAD.encode() + b"Transfer-Encoding: chunked\r\n\r\n"
    parts = b"".join(b"%x\r\n%s\r\n" % (1, bytes([byte])) for byte in _EVENT)
    assert b" 200 " in _exchange(server, head + parts + b"0\r\n\r\n", until=b"}")
    broken = _exchange(server, head + b"zz\r\n")
    assert b" 200 " not in broken
    assert b"HTTP/1.1 5" not in broken
    _nothing_is_held(server)


def test_pipelined_requests_are_all_answered(server: Penstock) -> None:
    one = b"POST /v1/track HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s" % (
        _HEAD.encode(),
        len(_EVENT),
        _EVENT,
    )
    last = b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"
    received = _exchange(server, one * 20 + last, until=b"no route")
    assert received.count(b"HTTP/1.1 200") == 20
    assert received.rfind(b"HTTP/1.1 200") < received.find(b"HTTP/1.1 404")


def test_header_values_that_are_not_ascii(server: Penstock) -> None:
    for path in ("/health", "/ready", "/metrics", "/api/v1/events", "/nowhere"):
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".encode()
        received = _exchange(server, request + b"X-Admin-Token: \xff\xfe\r\nOrigin: \xc3\xa9\r\n\r\n")
        assert received[9:10] in b"24", received


def test_bodies_that_do_not_go_on_are_given_up(tmp_path: Path) -> None:
    conf = configuration(free_port(), tmp_path / "data", None)
    conf["limits"] = {"body_timeout_s": 0.5}
    server = Penstock(tmp_path, conf).start()
    lengths = [f"Content-Length: {length}" for length in (5_000, PLAIN_BYTES_MAX + 1)]
    for framing in (*lengths, "Transfer-Encoding: chunked"):
        sent = f"POST /v1/track HTTP/1.1\r\n{_HEAD}{framing}\r\n\r\n".encode()
        received = _exchange(server, sent, until=b"\r\n\r\n")
        assert received.startswith(b"HTTP/1.1 408"), framing
        assert b"retry-after: " in received
        _nothing_is_held(server)
    assert server.stop() == 0


def test_small_bodies_that_are_many_are_refused_too(tmp_path: Path) -> None:
    conf = configuration(free_port(), tmp_path / "data", None)
    conf["server"]["in_flight_bytes_max"] = room = 10_000_000
    server = Penstock(tmp_path, conf).start()
    sent = f"POST /v1/track HTTP/1.1\r\n{_HEAD}Content-Length: {PLAIN_BYTES_MAX}\r\n\r\n".encode()
    with contextlib.ExitStack() as clients:
        for _ in range(room // PLAIN_BYTES_MAX):
            client = socket.create_connection(("127.0.0.1", server.port))
            clients.enter_context(client).sendall(sent)
        eventually(lambda: server.metric("penstock_in_flight_bytes") == room, "the bytes are reserved")
        answer = server.post("/v1/track", track("one too many"))
        assert (answer.status, answer.json["code"]) == (503, "overloaded")
    _nothing_is_held(server)
    assert server.stop() == 0


def test_an_inflated_body_counts_as_what_it_takes(tmp_path: Path) -> None:
    conf = configuration(free_port(), tmp_path / "data", None)
    conf["server"]["in_flight_bytes_max"] = 10_000_000
    server = Penstock(tmp_path, conf).start()
    body = gzip.compress(b'{"batch":[{"type":"page","userId":"u"}]%b}' % (b" " * 6_000_000))
    headers = {"X-Write-Key": SERVER_KEY, "Content-Encoding": "gzip"}
    assert server.request("POST", "/v1/batch", body, headers).status == 200
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(f"POST /v1/track HTTP/1.1\r\n{_HEAD}Content-Length: 5000000\r\n\r\n".encode())
        eventually(lambda: server.metric("penstock_in_flight_bytes") == 5_000_000, "the bytes are reserved")
        answer = server.request("POST", "/v1/batch", body, headers)
    assert (answer.status, answer.json["code"]) == (503, "overloaded")
    assert int(answer.headers["retry-after"]) >= 1
    _nothing_is_held(server)
    assert server.stop() == 0
