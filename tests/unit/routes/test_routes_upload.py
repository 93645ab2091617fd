"""The file of a bulk upload, whatever surrounds it."""

import gzip
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.ingest import Refusal
from server.routes.upload import uploaded_file

_LINES = b'{"event_type":"a"}\n{"event_type":"b"}\n'
_TYPE = "multipart/form-data; boundary=XX"
_MAX = 100_000


def _form(*parts: tuple[str, bytes], boundary: str = "XX") -> bytes:
    head = 'Content-Disposition: form-data; name="{}"; filename="a b.log"\r\nContent-Type: text/plain'
    body = b"".join(
        b"--%s\r\n%s\r\n\r\n%s\r\n" % (boundary.encode(), head.format(name).encode(), content)
        for name, content in parts
    )
    return body + b"--%s--\r\n" % boundary.encode()


def _slug(result: bytes | Refusal) -> str:
    assert isinstance(result, Refusal)
    return result.slug


@pytest.mark.parametrize(
    ("body", "content_type", "encoding"),
    [
        (_form(("file", _LINES)), _TYPE, ""),
        (_form(("x", b"1"), ("file", _LINES), ("y", b"2")), _TYPE, ""),
        (_form(("file", gzip.compress(_LINES))), _TYPE, "gzip"),
        (_form(("file", gzip.compress(_LINES))), _TYPE, ""),
        (gzip.compress(_form(("file", _LINES))), _TYPE, "gzip"),
        (_form(("file", _LINES), boundary="a b?c"), 'Multipart/Form-Data; charset=x; boundary="a b?c"', ""),
        (b"preamble\r\n" + _form(("file", _LINES)) + b"epilogue", _TYPE, ""),
        (_form(("file", _LINES)).replace(b"--XX\r\n", b"--XX \t\r\n"), _TYPE, ""),
        (_form(("x", b"a\r\n--XXY\r\nb"), ("file", _LINES)), _TYPE, ""),
        (_LINES, "application/x-ndjson", ""),
        (gzip.compress(_LINES), "", "gzip"),
    ],
)
def test_the_file_is_found(body: bytes, content_type: str, encoding: str) -> None:
    assert uploaded_file(body, content_type, encoding, _MAX) == _LINES


@pytest.mark.parametrize(
    ("body", "content_type", "encoding", "slug"),
    [
        (_form(("files", _LINES)), _TYPE, "", "bad_request"),
        (_form(("file", _LINES))[:-6], _TYPE, "", "bad_request"),
        (_form(("file", _LINES), ("x", b"1"))[:-6], _TYPE, "", "bad_request"),
        (_form(("file", _LINES), ("file", _LINES)), _TYPE, "", "bad_request"),
        (_form(("file", _LINES)), "multipart/form-data", "", "bad_request"),
        (_form(("file", _LINES)), "multipart/form-data; boundary=" + "X" * 71, "", "bad_request"),
        (b"", _TYPE, "", "bad_request"),
        (_form(*[("x", b"")] * 70, ("file", _LINES)), _TYPE, "", "bad_request"),
        (_form(("file", _LINES)), _TYPE, "gzip", "bad_gzip"),
        (gzip.compress(_LINES)[:-9], "", "gzip", "bad_gzip"),
        (_form(("file", gzip.compress(bytes(_MAX + 1)))), _TYPE, "gzip", "too_large"),
        (gzip.compress(_form(("file", bytes(_MAX)))), _TYPE, "gzip", "too_large"),
    ],
)
def test_what_is_no_upload(body: bytes, content_type: str, encoding: str, slug: str) -> None:
    assert _slug(uploaded_file(body, content_type, encoding, _MAX)) == slug


def test_an_empty_file() -> None:
    assert uploaded_file(_form(("file", b"")), _TYPE, "", _MAX) == b""


@pytest.mark.parametrize("unit", [b"\r\n--XX", b"\r\n--XX\r\n", b"\r\n--XX\r\n\r\n", b"--XX", b"\r\n"])
def test_a_form_bomb_is_refused_quickly(unit: bytes) -> None:
    body = b"--XX\r\n" + unit * (10_000_000 // len(unit))
    began_s = time.monotonic()
    assert _slug(uploaded_file(body, _TYPE, "", 10_000_000)) == "bad_request"
    assert time.monotonic() - began_s < 1


_pieces = st.sampled_from(
    [b"--XX", b"\r\n", b"--", b"\r\n--XX\r\n", b"Content-Disposition: form-data; name=", b'"file"', b":",
     b";", b"name*0*=a''%ff", b"name*=utf-9''x", gzip.compress(b"x")]
) | st.binary(max_size=8)  # fmt: skip


@given(st.lists(_pieces, max_size=20).map(b"".join), st.text(max_size=30), st.sampled_from(["", "gzip", "x"]))
def test_any_bytes(body: bytes, parameters: str, encoding: str) -> None:
    for content_type in (_TYPE, "multipart/form-data; boundary" + parameters, parameters):
        result = uploaded_file(body, content_type, encoding, _MAX)
        assert isinstance(result, Refusal | bytes)
