"""Pixels: always a GIF; the event of the query arrives as a row."""

import base64
import json
from urllib.parse import quote

import pytest

from tests.running import BROWSER_KEY, ORIGIN, SERVER_KEY, Answer, Penstock, row_of

_KEY = SERVER_KEY.replace(":", "%3A")
_TYPES = ["track", "page", "identify", "group", "alias", "screen"]
_PATHS = [
    *(f"/v1/pixel/{kind}" for kind in _TYPES),
    *(f"/api/px/{kind}" for kind in (*_TYPES, "t", "e")),
    "/pixel/v1/track",
    "/pixel/v1/page",
    "/api/v1/p.gif",
]


def _data(event: object) -> str:
    return quote(base64.b64encode(json.dumps(event).encode()).decode(), safe="")


def _everything(message_id: str) -> str:
    """A query that is a good event of every type, in every dialect."""
    event = {
        "type": "track", "event": "Seen", "userId": "u", "anonymousId": "a", "groupId": "g",
        "messageId": message_id, "event_type": "Seen",
    }  # fmt: skip
    return f"data={_data(event)}"


def _is_gif(answer: Answer) -> bool:
    return (
        answer.headers["content-type"] == "image/gif"
        and answer.body.startswith(b"GIF89a\x01\x00\x01\x00")
        and "no-store" in answer.headers["cache-control"]
    )


@pytest.mark.parametrize("path", _PATHS)
def test_a_good_pixel(server: Penstock, warehouse: str, path: str) -> None:
    answer = server.request("GET", f"{path}?wk={_KEY}&{_everything('px' + path)}", headers={"Origin": ORIGIN})
    assert answer.status == 200
    assert _is_gif(answer)
    assert "x-penstock-error" not in answer.headers
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert row_of(warehouse, "px" + path)["user_id"] in ("u", None)


@pytest.mark.parametrize("path", _PATHS)
@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("", "unauthorized"),
        ("wk=nobody", "unauthorized"),
        (f"wk={_KEY}&data=%7B", "bad_json"),
        (f"wk={_KEY}&data=$$$", "bad_request"),
    ],
)
def test_any_other_fault_is_a_gif_and_counted(server: Penstock, path: str, query: str, reason: str) -> None:
    before = server.metric("penstock_refused_total")
    answer = server.request("GET", f"{path}?{query}")
    assert answer.status == 200
    assert _is_gif(answer)
    assert server.metric("penstock_refused_total") == before + 1
    assert answer.headers["x-penstock-error"] in (reason, "bad_request", "bad_json")


@pytest.mark.parametrize("path", ["/v1/pixel/nonsense", "/api/px/", "/pixel/v1/group"])
def test_an_unknown_type_is_a_gif_and_counted(server: Penstock, path: str) -> None:
    answer = server.request("GET", f"{path}?wk={_KEY}&event=E&userId=u")
    assert (answer.status, answer.headers["x-penstock-error"]) == (200, "unknown_type")
    assert _is_gif(answer)


@pytest.mark.parametrize("path", _PATHS)
def test_other_methods(server: Penstock, path: str) -> None:
    refused = server.request("POST", f"{path}?wk={_KEY}", b"{}")
    assert (refused.status, refused.json["code"], refused.headers["allow"]) == (
        405,
        "method_not_allowed",
        "GET, OPTIONS, HEAD",
    )
    preflight = server.request("OPTIONS", path, headers={"Origin": ORIGIN})
    assert (preflight.status, preflight.headers["access-control-allow-methods"]) == (204, "GET, OPTIONS")
    assert server.request("HEAD", path).status == 200


def test_the_true_429(server: Penstock) -> None:
    query = "wk=lim:it&event=E&userId=u"
    answers = [server.request("GET", f"/v1/pixel/track?{query}") for _ in range(5)]
    last = answers[-1]
    assert last.status == 429
    assert _is_gif(last)
    assert int(last.headers["retry-after"]) >= 1


def test_no_redirect(server: Penstock) -> None:
    query = f"wk={_KEY}&event=E&userId=u&destination_url=https%3A%2F%2Fexample.com"
    answer = server.request("GET", f"/api/px/track?{query}")
    assert (answer.status, answer.headers.get("location")) == (200, None)


def test_datafly_names(server: Penstock, warehouse: str) -> None:
    query = "e=Order%20Completed&uid=u7&aid=a7&p.total=12.5&p.cart.size=3&ts=1771999800000&mid=df1&cb=99"
    assert server.request("GET", f"/v1/pixel/track?wk={_KEY}&{query}").status == 200
    row = row_of(warehouse, "df1")
    assert (row["type"], row["event"], row["user_id"], row["anonymous_id"]) == (
        "track", "Order Completed", "u7", "a7",
    )  # fmt: skip
    assert row["timestamp"].isoformat() == "2026-02-25T06:10:00+00:00"
    assert (str(row["total"]), str(row["cart_size"])) == ("12.5", "3")


def test_dotted_names(server: Penstock, warehouse: str) -> None:
    query = "userId=u8&event=Opened&properties.subject=Hi+there&messageId=dot1&context.app.name=mail"
    assert server.request("GET", f"/v1/pixel/track?writeKey={_KEY}&{query}").status == 200
    row = row_of(warehouse, "dot1")
    assert (row["user_id"], row["subject"], row["context_app_name"]) == ("u8", "Hi there", "mail")


def test_rudders_pixel(server: Penstock, warehouse: str) -> None:
    query = f"writeKey={_KEY}&anonymousId=a9&event=Mail%20opened&messageId=rud1"
    assert server.request("GET", f"/pixel/v1/track?{query}").status == 200
    assert (row_of(warehouse, "rud1")["event"], row_of(warehouse, "rud1")["anonymous_id"]) == (
        "Mail opened",
        "a9",
    )


@pytest.mark.parametrize("place", ["query", "data"])
def test_the_classic_pixel(server: Penstock, warehouse: str, place: str) -> None:
    event = {"event_type": "open", "event_id": f"gif-{place}", "user": {"id": "u10"}}
    key = f"&token={_KEY}" if place == "query" else ""
    keyed = event if key else {**event, "api_key": SERVER_KEY}
    assert server.request("GET", f"/api/v1/p.gif?data={_data(keyed)}{key}").status == 200
    row = row_of(warehouse, f"gif-{place}")
    assert (row["type"], row["event"], row["user_id"]) == ("track", "open", "u10")


def test_a_browsers_pixel_is_stamped(server: Penstock, warehouse: str) -> None:
    headers = {"User-Agent": "Mail/1", "X-Forwarded-For": "203.0.113.7", "Accept-Language": "de"}
    query = f"wk={BROWSER_KEY}&e=Seen&aid=a&mid=stamped1"
    assert server.request("GET", f"/v1/pixel/track?{query}", headers=headers).status == 200
    row = row_of(warehouse, "stamped1")
    assert (row["context_ip"], row["context_user_agent"], row["context_locale"]) == (
        "203.0.113.7",
        "Mail/1",
        "de",
    )
