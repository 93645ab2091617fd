"""What must hold between the objects of a catalog, and inside one beyond its shape."""

import re
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta

from server.catalog.faults import Fault, fault_path
from server.catalog.objects import Destination, Link, Stream

# What a page's Origin header can say: a web address, or the scheme of an app's or an extension's own pages.
_ORIGIN = re.compile(
    r"((https?|capacitor|ionic|tauri|app|(chrome|moz|safari-web)-extension)://)?"
    r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?",
    re.IGNORECASE,
)
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SCHEMA_BYTES_MAX = 63  # what Postgres keeps of a name
_KEY_COLUMNS_MAX = 31  # an index of Postgres has 32: one is the stream, and of a partition the day another
_PIPELINE_KEY = "dk_"  # contract.md, Credentials: a browser key
START_WORDS = ("oldest", "now")
_TEMPLATE = re.compile(r"(?:[^{}]|\{\{\s*(?:\.[^{}.\s]+)+\s*\}\})+")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOST = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.?(:[0-9]{1,5})?")


def check_objects(
    streams: Mapping[str, Stream],
    destinations: Mapping[str, Destination],
    links: Mapping[str, Link],
    stream_ids: Collection[str],
    destination_ids: Collection[str],
) -> Iterator[Fault]:
    """Every fault between objects of the right shape. The ids are of all objects, faulty ones too: they do
    exist.
    """
    yield from _keys(streams)
    yield from _fallbacks(streams)
    for stream in streams.values():
        yield from _stream(stream)
    for destination in destinations.values():
        yield from _destination(destination)
    for link in links.values():
        yield from _ends(link, stream_ids, destination_ids)
        yield from _data(link)
    yield from _pairs(links)


def _keys(streams: Mapping[str, Stream]) -> Iterator[Fault]:
    """A key leads to one stream as one kind. One that is known by its hash is compared by that."""
    seen: dict[str, str] = {}
    for stream in streams.values():
        for field, keys in (("browser_keys", stream.browser_keys), ("server_keys", stream.server_keys)):
            for index, key in enumerate(keys):
                path = fault_path(["streams", stream.id, field, index])
                known = key.hash or key.token
                if known is None:
                    yield Fault(path, "has no secret", "give its plaintext; it is kept as a hash")
                    continue
                if field == "server_keys" and (key.token or "").startswith(_PIPELINE_KEY):
                    yield Fault(path, f"is a browser key, as all {_PIPELINE_KEY}…", "list it in browser_keys")
                if known in seen:
                    yield Fault(path, f"is the same key as {seen[known]}", "give every key its own text")
                seen.setdefault(known, path)


def _fallbacks(streams: Mapping[str, Stream]) -> Iterator[Fault]:
    """A host's keyless requests belong to one stream. Host names have no case, and ports do not count."""
    seen: dict[str, str] = {}
    for stream in streams.values():
        for index, domain in enumerate(stream.domains if stream.domain_fallback else ()):
            host = domain.lower().partition(":")[0].rstrip(".")
            path = fault_path(["streams", stream.id, "domains", index])
            if seen.setdefault(host, stream.id) != stream.id:
                yield Fault(path, f"is claimed by stream {seen[host]} too", "give the host to one of them")


def _stream(stream: Stream) -> Iterator[Fault]:
    for index, origin in enumerate(stream.origins):
        if origin != "*" and (origin.lower() == "null" or not _ORIGIN.fullmatch(origin)):
            path = fault_path(["streams", stream.id, "origins", index])
            yield Fault(
                path,
                f"{origin!r} is not an origin",
                "write https://shop.example.com, without a path or wildcard, or * alone",
            )
    for index, domain in enumerate(stream.domains):
        if not _HOST.fullmatch(domain):
            path = fault_path(["streams", stream.id, "domains", index])
            yield Fault(path, f"{domain!r} is not a host name", "write shop.example.com, without a scheme")
    if stream.domain_fallback and not stream.domains:
        path = fault_path(["streams", stream.id, "domain_fallback"])
        yield Fault(path, "needs domains", "list the hosts whose keyless requests belong to this stream")


def _destination(destination: Destination) -> Iterator[Fault]:
    path = fault_path(["destinations", destination.id])
    if destination.embedded and destination.datasource is not None:
        yield Fault(path, "has both embedded: true and a datasource", "keep one of them")
    if not destination.embedded and destination.datasource is None:
        yield Fault(path, "has neither a datasource nor embedded: true", "give it one of them")
    if destination.datasource is not None and destination.schema != "public":
        yield Fault(f"{path}.schema", "belongs inside the datasource")
    schema = destination.schema if destination.datasource is None else destination.datasource.schema
    if len(schema.encode()) > _SCHEMA_BYTES_MAX:
        place = f"{path}.schema" if destination.datasource is None else f"{path}.datasource.schema"
        yield Fault(place, f"is longer than {_SCHEMA_BYTES_MAX} bytes")
    if destination.datasource is not None:
        mode = destination.datasource.parameters.get("sslmode", "prefer")
        if mode not in SSL_MODES:
            place = f"{path}.datasource.parameters.sslmode"
            yield Fault(place, f"must be one of {', '.join(SSL_MODES)}, not {mode!r}")


def _ends(link: Link, streams: Collection[str], destinations: Collection[str]) -> Iterator[Fault]:
    ends = (("from", link.from_id, "stream", streams), ("to", link.to_id, "destination", destinations))
    for field, end, kind, known in ends:
        if end not in known:
            hint = f"known: {', '.join(sorted(known))}" if known else f"there is no {kind} yet"
            yield Fault(fault_path(["links", link.id, field]), f"there is no {kind} {end!r}", hint)


def _data(link: Link) -> Iterator[Fault]:
    path = fault_path(["links", link.id, "data", "primaryKey"])
    if link.data.deduplicate and not link.data.primary_key:
        yield Fault(
            path, "is empty, but deduplicate is on", "name the key columns, or set deduplicate: false"
        )
    columns_max = _KEY_COLUMNS_MAX - (link.data.partition == "day")
    if link.data.deduplicate and len(set(link.data.primary_key)) > columns_max:
        yield Fault(
            path, f"has more than {columns_max} columns", "an index of Postgres has 32, with ours in it"
        )
    for column in link.data.primary_key:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", column):
            yield Fault(path, f"{column!r} is not a column name")

    yield from _table_name_template(link)
    start = link.data.start_from
    if start is not None and start not in START_WORDS and moment_ms(start) is None:
        place = fault_path(["links", link.id, "data", "startFrom"])
        yield Fault(place, "is neither oldest, now nor a time", 'write "2026-11-21T00:00:00Z"')


def _table_name_template(link: Link) -> Iterator[Fault]:
    template = link.data.table_name_template
    if template is not None and not _TEMPLATE.fullmatch(template):
        path = fault_path(["links", link.id, "data", "tableNameTemplate"])
        hint = "text with {{.type}}, {{.event}} or {{.properties.plan}} in it; no functions or conditions yet"
        yield Fault(path, f"{template!r} is not a template", hint)


def moment_ms(text: str) -> int | None:
    """Wall milliseconds of an ISO 8601 time, UTC if it says no offset; None if it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _pairs(links: Mapping[str, Link]) -> Iterator[Fault]:
    seen: dict[tuple[str, str], str] = {}
    for link in links.values():
        pair = (link.from_id, link.to_id)
        if pair in seen:
            path = fault_path(["links", link.id])
            yield Fault(
                path, f"joins the same two as link {seen[pair]!r}", "one link per stream and destination"
            )
        seen.setdefault(pair, link.id)
