"""Requests as few client libraries send them: cut short, in HTTP/1.0, several at once, or asked for."""

import re
import socket
import struct

import pytest

from tests.running import SERVER_KEY, Penstock

_EVENT = b'{"event":"E","userId":"u"}'
_LINE = b'{"event_type":"x"}\n'
_CLOSE = "Connection: close\r\n"


def _request(path: str, body: bytes, *, length: int = 0, headers: str = "", version: str = "1.1") -> bytes:
    head = f"POST {path} HTTP/{version}\r\nHost: x\r\nX-Write-Key: {SERVER_KEY}\r\n{headers}"
    return f"{head}Content-Length: {length or len(body)}\r\n\r\n".encode() + body


def _converse(server: Penstock, request: bytes, *, hang_up: bool = False) -> bytes:
    """All the server says until it closes the connection. `hang_up`: the client closes its half first."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(request)
        if hang_up:
            connection.shutdown(socket.SHUT_WR)
        parts = []
        while part := connection.recv(65_536):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize(("path", "body"), [("/v1/track", _EVENT), ("/api/v1/events/bulk", _LINE)])
def test_a_body_that_is_cut_short_is_not_taken(server: Penstock, path: str, body: bytes) -> None:
    accepted = server.metric("penstock_events_accepted_total")
    answer = _converse(server, _request(path, body, length=len(body) + 100), hang_up=True)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"body_timeout"' in answer
    assert server.metric("penstock_events_accepted_total") == accepted


def test_requests_on_one_connection_are_answered_in_order(server: Penstock) -> None:
    event, last = _request("/v1/track", _EVENT), _request("/v1/track", _EVENT, headers=_CLOSE)
    answer = _converse(server, event + _request("/nope", b"x") + last)
    assert re.findall(rb"HTTP/1.1 ([0-9]+)", answer) == [b"200", b"404", b"200"]


def test_http_1_0(server: Penstock) -> None:
    answer = _converse(server, _request("/v1/track", _EVENT, version="1.0"))
    assert answer.startswith(b"HTTP/1.0 200 ")
    assert answer.endswith(b'{"success":true}')


def test_a_client_that_waits_to_be_asked_for_its_body(server: Penstock) -> None:
    head = _request("/v1/track", b"", length=len(_EVENT), headers="Expect: 100-continue\r\n")
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(head)
        assert connection.recv(1_000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(_EVENT)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_many_bodies_of_unknown_length_at_once(server: Penstock) -> None:
    """Proxies pass requests on so. Each is small, and none is refused because it might have been large."""
    head = _request("/v1/track", b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    connections = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(40)]
    for connection in connections:
        connection.sendall(head + b"%x\r\n%s\r\n" % (len(_EVENT), _EVENT))
    for connection in connections:
        connection.sendall(b"0\r\n\r\n")
    assert {connection.recv(65_536)[9:12] for connection in connections} == {b"200"}
    for connection in connections:
        connection.close()


@pytest.mark.parametrize("path", ["/nope", "/v1/batch/", "/p.js", "/v1/pixel/track"])
def test_a_body_that_nobody_wants_is_taken_in_before_the_refusal(server: Penstock, path: str) -> None:
    """Else its client, still sending, sees the connection break, and sends it all again."""
    answer = _converse(server, _request(path, b"x" * 9_000_000, headers=_CLOSE))
    assert answer.startswith(b"HTTP/1.1 40")


def test_a_body_of_unknown_length_that_grows_too_large_is_taken_in_before_the_refusal(
    server: Penstock,
) -> None:
    chunk = b"%x\r\n%s\r\n" % (1_000_000, b" " * 1_000_000)
    head = _request("/v1/batch", b"", headers=_CLOSE)
    chunked = head.replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    answer = _converse(server, chunked + 40 * chunk + b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">xHBBI", len(payload), kind, flags, stream) + payload


@pytest.mark.parametrize("path", ["/nope", "/p.js", "/v1/track", "/api/v1/links"])
def test_head_has_no_body_in_http_2_either(server: Penstock, path: str) -> None:
    """Frames of data in the answer to HEAD are a protocol error there."""
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    literal = b"".join(
        b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value
        for name, value in ((b":method", b"HEAD"), (b":scheme", b"http"), (b":path", path.encode()))
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(preface + _frame(4, 0, 0, b"") + _frame(1, 5, 1, literal))
        kind = flags = 9
        while kind > 1 or not flags & 1:  # until the answer's last frame: 1 is headers, 0 data
            length, kind, flags, _stream = struct.unpack(">xHBBI", connection.recv(9, socket.MSG_WAITALL))
            connection.recv(length, socket.MSG_WAITALL)
    assert kind == 1
