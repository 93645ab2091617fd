"""Any bytes on any ingest route give 2xx or 4xx: never 5xx, never a hang."""

import gzip
import http.client
import json
import string
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.app import ingest_routes
from tests.running import BROWSER_KEY, SERVER_KEY, Penstock, configuration, free_port

_PATHS = sorted(ingest_routes())


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
    "writeKey integrations JITSU_TABLE_NAME __sql_type_x originalTimestamp"
)
_names = st.sampled_from(_NAMES.split())
_events = st.dictionaries(_names, _json_values, max_size=8)
_documents = (
    _events | st.fixed_dictionaries({"batch": st.lists(_events | _json_values, max_size=5)}) | _json_values
).map(lambda value: json.dumps(value).encode())
_bodies = st.binary(max_size=300) | _documents | _documents.map(lambda body: body[: len(body) // 2])
_keys = st.sampled_from([SERVER_KEY, BROWSER_KEY, "unknown", ""])
_latin = st.characters(max_codepoint=255, exclude_categories=["Cc"])
_header_values = st.text(_latin, max_size=40).map(str.strip)
_HEADERS = "Authorization Origin X-IP-Policy Accept-Language X-Forwarded-For User-Agent Host Expect"
_headers = st.dictionaries(st.sampled_from(_HEADERS.split()), _header_values, max_size=3)
# Only what may stand in a query: the HTTP layer itself refuses the rest, with a 400 that has no body.
_QUERY_CHARACTERS = string.ascii_letters + string.digits + "-._~!$&'()*+,;=:@/?%"
_queries = st.sampled_from(["", "?wk=" + SERVER_KEY, "?writeKey=%ff%00", "?&=&&writekey"]) | (
    st.text(_QUERY_CHARACTERS, max_size=20).map("?".__add__)
)


@settings(max_examples=1_000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(_PATHS),
    body=_bodies,
    key=_keys,
    headers=_headers,
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
