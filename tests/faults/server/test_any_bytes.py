"""Any bytes on any ingest route give 2xx or 4xx, and a GIF on a pixel's: never 5xx, never a hang."""

import base64
import gzip
import http.client
import json
import string
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.app import ingest_routes
from server.routes import pixel
from tests.running import BROWSER_KEY, SERVER_KEY, Penstock, configuration, free_port

_PATHS = [*sorted(ingest_routes()), "/api.jf6g4", "/v1/m"]
_PIXELS = [*sorted(pixel.routes()), "/v1/pixel/nonsense"]
_DOCUMENTS = ["/v1/projects/", "/v1/projects/projects/", "/sourceConfig", "/sourceConfig/", "/p.js"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Penstock]:
    folder = tmp_path_factory.mktemp("any")
    running = Penstock(folder, configuration(free_port(), folder / "data", None)).start()
    yield running
    assert running.stop() == 0


@pytest.fixture
def keep_alive(server: Penstock) -> Iterator[http.client.HTTPConnection]:
    """One connection for many requests: an answer that leaves bytes of a body behind would spoil the next."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    yield connection
    connection.close()


_json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
_NAMES = (
    "type event messageId userId anonymousId groupId properties traits context timestamp sentAt batch "
    "writeKey integrations JITSU_TABLE_NAME __sql_type_x originalTimestamp template events event_type "
    "event_id eventn_ctx user api_key utc_time series"
)
_names = st.sampled_from(_NAMES.split())
_events = st.dictionaries(_names, _json_values, max_size=8)
_several = st.lists(_events | _json_values, max_size=5)
_documents = (
    _events
    | _several
    | st.fixed_dictionaries({"batch": _several})
    | st.fixed_dictionaries({"template": _events | _json_values, "events": _several})
    | _json_values
).map(lambda value: json.dumps(value).encode())
_lines = st.lists(_documents | st.binary(max_size=20), max_size=4).map(b"\n".join)
_form_pieces = st.sampled_from(
    [b"--XX", b"--XX--", b"\r\n", b"\r\n\r\n", b'Content-Disposition: form-data; name="file"', b"\0"]
)
_forms = st.lists(_form_pieces | _lines | _lines.map(gzip.compress), max_size=8).map(b"".join) | _lines.map(
    lambda lines: b'--XX\r\nContent-Disposition: form-data; name="file"\r\n\r\n%b\r\n--XX--' % lines
)
_bodies = st.binary(max_size=300) | _documents | _documents.map(lambda body: body[: len(body) // 2]) | _forms
_keys = st.sampled_from([SERVER_KEY, BROWSER_KEY, "unknown", ""])
_latin = st.characters(max_codepoint=255, exclude_categories=["Cc"])
_header_values = st.text(_latin, max_size=40).map(str.strip)
_HEADERS = (
    "Authorization Origin X-IP-Policy Accept-Language X-Forwarded-For User-Agent Host Expect Content-Type "
    "X-Auth-Token api_key X-Forwarded-Proto X-Forwarded-Host"
)
_headers = st.dictionaries(st.sampled_from(_HEADERS.split()), _header_values, max_size=3)
_form_type = st.sampled_from([{}, {"Content-Type": "multipart/form-data; boundary=XX"}])
# Only what may stand in a query: the HTTP layer itself refuses the rest, with a 400 that has no body.
_QUERY_CHARACTERS = string.ascii_letters + string.digits + "-._~!$&'()*+,;=:@/?%"
_queries = st.sampled_from(["", "?wk=" + SERVER_KEY, "?writeKey=%ff%00", "?&=&&writekey"]) | (
    st.text(_QUERY_CHARACTERS, max_size=20).map("?".__add__)
)


@settings(max_examples=1_000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(_PATHS),
    body=_bodies,
    key=_keys,
    headers=st.builds(lambda some, form: some | form, _headers, _form_type),
    encoding=st.sampled_from([None, None, "gzip", "deflate"]),
    query=_queries,
)
def test_any_bytes_get_a_2xx_or_a_4xx_with_json(
    keep_alive: http.client.HTTPConnection,
    path: str,
    body: bytes,
    key: str,
    headers: dict[str, str],
    encoding: str | None,
    query: str,
) -> None:
    if encoding == "gzip":
        body = gzip.compress(body) if len(body) % 3 else body
    headers = {**headers, "X-Write-Key": key, **({"Content-Encoding": encoding} if encoding else {})}
    keep_alive.request("POST", path + query, body, headers)
    answer = keep_alive.getresponse()
    document = json.loads(answer.read())
    assert answer.status in (200, 400, 401, 403, 413, 415)
    assert isinstance(document, dict)
    assert document
    assert answer.status == 200 or {"code", "message"} <= document.keys()


_base64 = st.binary(max_size=60).map(lambda data: base64.b64encode(data).decode()) | _documents.map(
    lambda data: base64.urlsafe_b64encode(data).decode().rstrip("=")
)
_PARAMETERS = (
    "data e uid aid ts mid p.x p.x.y t.x p. . .. properties properties.x userId event context.ip token p_x "
    "api_key writeKey wk messageId timestamp type user.id event_id"
)
_parameter_names = st.sampled_from(_PARAMETERS.split())
_parameters = st.lists(
    st.tuples(_parameter_names | st.text(_QUERY_CHARACTERS, max_size=8), _base64 | st.text(max_size=12)),
    max_size=6,
).map(lambda pairs: "&".join(f"{name}={quote(value, safe='')}" for name, value in pairs))


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(_PIXELS),
    key=_keys,
    query=_parameters | st.text(_QUERY_CHARACTERS, max_size=60),
    headers=_headers,
)
def test_any_query_of_a_pixel_gets_a_gif(
    keep_alive: http.client.HTTPConnection, path: str, key: str, query: str, headers: dict[str, str]
) -> None:
    keep_alive.request("GET", f"{path}?{query}", None, {**headers, "X-Write-Key": key})
    answer = keep_alive.getresponse()
    assert answer.read().startswith(b"GIF89a")
    assert (answer.status, answer.headers["content-type"]) == (200, "image/gif")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "GET", "HEAD", "OPTIONS", "POST", "PUT"]),
    path=st.sampled_from(_DOCUMENTS),
    segment=st.text(max_size=12).map(lambda text: quote(text, safe="") + "/settings"),
    query=_queries,
    headers=_headers,
)
def test_any_request_for_a_document(
    keep_alive: http.client.HTTPConnection,
    method: str,
    path: str,
    segment: str,
    query: str,
    headers: dict[str, str],
) -> None:
    path += segment if path.endswith("projects/") else ""
    keep_alive.request(method, path + query, None, headers)
    answer = keep_alive.getresponse()
    body = answer.read()
    assert answer.status in (200, 204, 400, 401, 403, 404, 405)
    assert (
        method in ("HEAD", "OPTIONS")
        or {"code", "message"} <= json.loads(body).keys()
        or answer.status == 200
    )


@pytest.mark.parametrize("name", ["data", "p.x", "e"])
def test_a_query_as_long_as_http_takes(server: Penstock, name: str) -> None:
    for length in (10_000, 30_000, 60_000, 200_000):
        answer = server.request("GET", f"/v1/pixel/track?wk={SERVER_KEY}&{name}={'A' * length}")
        assert answer.status == 200 or 400 <= answer.status < 500


def test_a_form_bomb_is_400_and_a_gzip_bomb_inside_is_413(server: Penstock) -> None:
    headers = {"X-Write-Key": SERVER_KEY, "Content-Type": "multipart/form-data; boundary=XX"}
    form = b'--XX\r\nContent-Disposition: form-data; name="file"\r\n\r\n%b\r\n--XX--'
    parts = b"--XX\r\n" * 1_000_000
    assert server.request("POST", "/api/v1/events/bulk", parts, headers).status == 400
    for bomb in (form % gzip.compress(bytes(100_000_000)), gzip.compress(form % bytes(100_000_000))):
        for encoding in ({}, {"Content-Encoding": "gzip"}):
            answer = server.request("POST", "/api/v1/events/bulk", bomb, headers | encoding)
            assert (answer.status, answer.json["code"]) == (413, "too_large")


def test_a_gzip_bomb_is_413(server: Penstock) -> None:
    bomb = gzip.compress(bytes(200_000_000), 9)
    answer = server.request(
        "POST", "/v1/batch", bomb, {"X-Write-Key": SERVER_KEY, "Content-Encoding": "gzip"}
    )
    assert answer.status == 413


def test_a_body_that_never_ends_is_refused_by_its_length(server: Penstock) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.putrequest("POST", "/v1/batch")
    connection.putheader("X-Write-Key", SERVER_KEY)
    connection.putheader("Content-Length", "99999999999")
    connection.endheaders(b"{")
    assert connection.getresponse().status == 413
    connection.close()
