"""The layouts once more, written from their documentation as plainly as possible, and merging by key.

Every value of an event, and every object in it, is a claim on a column. Of several claims on one column the
protocol's own field wins, then the later in the order of the layout, then the path that sorts last; a loser
that says something else is kept under its path, an object with all that is below it; objects of one part of
the event share their name. Knows no short cuts, no caches, no batches.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

Event = dict[str, Any]
Row = dict[str, Any]
OBJECT = object()
SERVER = {"_stream", "_unmapped_data"}


class Claim(NamedTuple):
    column: str
    value: Any
    path: str
    own: bool
    order: int


def snake(key: str) -> str:
    return re.sub(r"(?<=[A-Za-z])(?=[A-Z])", "_", key).lower().replace(" ", "_")


def as_is(key: str) -> str:
    return key


def leaves(source: Any, path: str, prefix: str, order: int, spell: Any, omit: str = "") -> Iterator[Claim]:
    """A claim for each value; below `prefix`, keys joined by `_`."""
    for key, value in (source or {}).items():
        if key in omit.split() and path.count("/") < 3:
            continue
        here = f"{path}/{key}"
        own = path in ("", "/context") and prefix in ("", "context_")
        if isinstance(value, dict):
            yield Claim(prefix + spell(key), OBJECT, here, own, order)
            yield from leaves(value, here, f"{prefix}{spell(key)}_", order, spell)
        else:
            yield Claim(prefix + spell(key), value, here, own, order)


def settled(claims: list[Claim], guarded: set[str]) -> Row:
    """The row: winners under their column, losers that say something else under their path."""
    row: Row = {}
    winners: dict[str, Claim] = {}
    for claim in claims:
        best = winners.get(claim.column)
        if claim.column in guarded and not claim.own:
            continue
        if best is None or (claim.own, claim.order, claim.path) > (best.own, best.order, best.path):
            winners[claim.column] = claim
    lost: list[str] = []
    for claim in claims:
        winner = winners.get(claim.column)
        below = any(claim.path.startswith(path) for path in lost)
        if claim is winner and not below:
            row[claim.column] = claim.value
        elif claim.value is OBJECT:
            if not (winner and winner.value is OBJECT and winner.order == claim.order) and not below:
                lost.append(claim.path + "/")
        else:
            row[claim.path] = claim.value
    for claim in claims:  # what the column says is not said again
        if claim.path in row and claim.column in row and said(row[claim.column]) == said(row[claim.path]):
            del row[claim.path]
    return {
        name: json.dumps(respelt(value, guarded), separators=(",", ":"), ensure_ascii=False)
        if isinstance(value, list)
        else value
        for name, value in row.items()
        if value is not None and value is not OBJECT
    }


def said(value: Any) -> Any:
    return type(value), value


def respelt(value: Any, guarded: set[str]) -> Any:
    """Keys inside arrays are spelt as columns are."""
    spell = snake if "messageId" not in guarded else as_is
    if isinstance(value, dict):
        return {spell(key): respelt(item, guarded) for key, item in value.items()}
    return [respelt(item, guarded) for item in value] if isinstance(value, list) else value


def single_table(event: Event, spell: Any = snake) -> list[tuple[str, Row]]:
    kind, context, traits = event["type"], event.get("context") or {}, event.get("traits") or {}
    properties = event.get("properties") or {}
    overlay = {"identify": traits, "track": properties.get("traits") or {}}.get(kind, {})
    overlay_path = "/traits" if kind == "identify" else "/properties/traits"
    root_omit = "context properties" + {"identify": " traits", "group": " traits groupId"}.get(kind, "")
    claims = [*leaves(properties, "/properties", "", 0, spell, "traits" if kind == "track" else "")]
    claims += leaves(event, "", "", 1, spell, root_omit)
    if kind == "group":
        claims += leaves(context, "/context", "context_", 2, spell, "groupId")
        claims += leaves(traits, "/traits", "context_group_", 4, spell)
        group = event.get("groupId")
    else:
        own = context.get("traits") or {}
        claims += leaves(context, "/context", "context_", 2, spell, "groupId traits")
        claims += leaves(own, "/context/traits", "context_traits_", 3, spell, "groupId")
        claims += leaves(overlay, overlay_path, "context_traits_", 4, spell, "groupId")
        group = context.get("groupId") or overlay.get("groupId") or own.get("groupId")
    if group:
        claims.append(Claim("context_group_id", group, "/context/groupId", True, 2))
    names = {spell(key) for key in ("messageId", "receivedAt", "requestIp", "type")}
    return [("events", settled(claims, SERVER | names | {"context_ip"}))]


def segment(event: Event, spell: Any = snake) -> list[tuple[str, Row]]:
    kind, context = event["type"], event.get("context") or {}
    untyped = "type " if kind in ("identify", "group", "track") else ""
    names = {spell(key) for key in ("messageId", "receivedAt", "requestIp")} | SERVER | {"context_ip"}
    drops = kind in ("identify", "group")
    root = [*leaves(event, "", "", 3, spell, untyped + "context properties" + (" traits" if drops else ""))]
    root += leaves(context, "/context", "context_", 4, spell, "traits" if drops else "")
    full = [*root, *leaves(event.get("properties"), "/properties", "", 0, spell)]
    if kind == "identify":
        full += leaves(context.get("traits"), "/context/traits", "", 1, spell)
    if drops:
        full += leaves(event.get("traits"), "/traits", "", 2, spell)
    tables = {"identify": "identifies", "group": "groups", "page": "pages", "track": "tracks"}
    rows = [(tables.get(kind, kind), settled(full, names))]
    if kind == "track" and event["event"] != "tracks":
        rows = [("tracks", settled(root, names)), (event["event"], settled(full, names))]
    return rows


def passthrough(event: Event) -> list[tuple[str, Row]]:
    claims = [*leaves(event, "", "", 0, as_is, "context")]
    claims += leaves(event.get("context"), "/context", "context_", 1, as_is)
    guarded = SERVER | {"messageId", "receivedAt", "requestIp", "type", "context_ip"}
    return [("events", settled(claims, guarded))]


def jitsu_legacy(event: Event) -> list[tuple[str, Row]]:
    context, properties = event.get("context") or {}, event.get("properties") or {}
    page, screen = context.get("page") or {}, context.get("screen") or {}
    own, traits = context.get("traits") or {}, event.get("traits") or {}
    track = event["type"] == "track"
    ip = context.get("ip")
    fields = {
        "eventn_ctx_event_id": "messageId",
        "_timestamp": "receivedAt",
        "utc_time": "timestamp",
        "user_id": "userId",
        "user_anonymous_id": "anonymousId",
    }
    fixed = {column: event[field] for column, field in fields.items() if field in event} | {
        "event_type": event.get("event") or event["type"],
        "api_key": "",
        "source_ip": ip,
        "anon_ip": ip and ip.rpartition(".")[0] + ".0",
    }
    made = {
        "user_agent": context.get("userAgent"),
        "user_language": context.get("locale"),
        "src": "jitsu",
        "url": page.get("url") or (None if track else properties.get("url")),
        "page_title": page.get("title") or (None if track else properties.get("title")),
        "doc_host": page.get("url") and "shop.example",
        "doc_path": page.get("path") or (page.get("url") and "/"),
        "doc_search": page.get("url") and "",
        "screen_resolution": screen and f"{screen['width']}x0",
        "vp_size": screen and "0x0",
        "user_email": own.get("email") or traits.get("email"),
        "user_name": own.get("name") or traits.get("name"),
    }
    claims = [Claim(column, value, "/" + column, True, 1) for column, value in fixed.items()]
    claims += [
        Claim(column, value or None, origin(column), False, 1) for column, value in made.items() if value
    ]
    claims += [Claim("doc_search", "", "/doc_search", False, 1)] if page.get("url") else []
    for key in ("email", "name"):
        if own.get(key) and traits.get(key):
            claims.append(Claim(f"user_{key}", traits[key], f"/traits/{key}", False, 0))
    claims += leaves(own, "/context/traits", "user_", 2, snake, "email name")
    claims += leaves(traits, "/traits", "user_", 3, snake, "email name")
    claims += leaves(context.get("campaign"), "/context/campaign", "utm_", 1, snake)
    repeated = "" if track else "url title referrer search host path width height"
    claims += leaves(properties, "/properties", "", 4, snake, repeated)
    return [
        ("events", settled(claims, SERVER | {"eventn_ctx_event_id", "_timestamp", "event_type", "source_ip"}))
    ]


PLACES = {"url": "/context/page/url", "page_title": "/context/page/title"}


def origin(column: str) -> str:
    """Where what is in a fixed column of the legacy layout came from."""
    return PLACES.get(column, "/" + column)


LAYOUTS = {
    "segment-single-table": single_table,
    "segment": segment,
    "passthrough": passthrough,
    "jitsu-legacy": jitsu_legacy,
}


def merged(rows: list[tuple[str, str, Row]], id_column: str) -> dict[str, list[Row]]:
    """The rows of each table after all of them, (stream, table, row) in order: by message id within a stream,
    what comes later wins.
    """
    tables: dict[str, dict[tuple[str, str], Row]] = {}
    for stream, table, row in rows:
        into = tables.setdefault(table, {}).setdefault((stream, row[id_column]), {"_stream": stream})
        into.update(row)
    return {table: list(found.values()) for table, found in tables.items()}
