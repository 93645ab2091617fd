"""`jitsu-legacy`: the columns that Jitsu Classic had, one row of one table, for who goes on with its tables.

The fixed columns come from fields of the event (userId → user_id, context.page.url → url), traits are below
`user_`, the campaign below `utm_`, click ids below `click_id_`, and properties are at the root, where they
win over what is made of the page or the screen, but not over ids and times. What is in none of these has no
place in this layout. `api_key` is always empty: a credential is not stored. Pure; an instance belongs to one
thread (layouts.py).
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from server.warehouse import Value

from .columns import Columns, Names, Place, case_of, flatten, put
from .parts import EMPTY, TABLE_KEY, OneTable, object_in
from .shapes import Event

# The parts of an event, the later the stronger.
_LOST, _FIXED, _OWN_TRAITS, _TRAITS, _PROPERTIES = range(5)

_OF_PAGE: Final = ("url", "title", "referrer", "search", "host", "path", "width", "height")
"""Properties that a page event repeats of its page, which has columns."""

_OWN: Final = (
    ("eventn_ctx_event_id", "messageId"),
    ("_timestamp", "receivedAt"),
    ("utc_time", "timestamp"),
    ("user_id", "userId"),
    ("user_anonymous_id", "anonymousId"),
)
"""Column and field of the event; no property and no trait takes such a column."""

_OF_CONTEXT: Final = (("source_ip", "ip"), ("user_agent", "userAgent"), ("user_language", "locale"))
_OF_CLIENT: Final = (("ids_ga", ("ga4", "clientId")), ("ids_fbp", ("fbp",)), ("ids_fbc", ("fbc",)))
_OF_GEO: Final = (
    ("location_city", ("city", "name")),
    ("location_continent", ("continent",)),
    ("location_country", ("country", "code")),
    ("location_country_name", ("country", "name")),
    ("location_latitude", ("location", "latitude")),
    ("location_longitude", ("location", "longitude")),
    ("location_region", ("region", "code")),
    ("location_zip", ("postalCode", "code")),
    ("location_timezone", ("location", "timezone")),
    ("location_autonomous_system_number", ("provider", "as", "num")),
    ("location_autonomous_system_organization", ("provider", "as", "name")),
    ("location_isp", ("provider", "isp")),
    ("location_domain", ("provider", "domain")),
)
_MADE: Final = (
    ("event_type", "/event_type", _FIXED),
    ("api_key", "/api_key", _FIXED),
    ("anon_ip", "/anon_ip", _FIXED),
    ("src", "/src", _FIXED),
    ("url", "/context/page/url", _FIXED),
    ("page_title", "/context/page/title", _FIXED),
    ("referer", "/context/page/referrer", _FIXED),
    ("doc_encoding", "/context/page/encoding", _FIXED),
    ("local_tz_offset", "/context/page/timezoneOffset", _FIXED),
    ("doc_host", "/context/page/host", _FIXED),
    ("doc_path", "/context/page/path", _FIXED),
    ("doc_search", "/context/page/search", _FIXED),
    ("screen_resolution", "/screen_resolution", _FIXED),
    ("vp_size", "/vp_size", _FIXED),
    ("user_email", "/context/traits/email", _FIXED),
    ("user_name", "/context/traits/name", _FIXED),
    ("user_email", "/traits/email", _LOST),
    ("user_name", "/traits/name", _LOST),
)
"""Column and origin of what is made of values, in the order of `Legacy.made`."""

_PAGE: Final = ("url", "title", "referrer", "host", "path", "search")
_PORTS: Final = {"http": 80, "https": 443}
_NO_LETTER: Final = re.compile(r"\W")
_KNOWN_CHARS_MAX: Final = 500


def classic_case(key: str) -> str:
    """As Classic spelt names: lower case, what is neither letter nor digit as `_`; userId → userid."""
    return _NO_LETTER.sub("_", key.lower())


CLASSIC: Final = case_of(classic_case)


class _Plans:
    """The names of the fixed columns, and the trees of what is flattened."""

    def __init__(self, names: Names) -> None:
        def named(column: str, path: str, own: bool = False, source: int = _FIXED) -> str:
            return names.name(Place(path, column, source, own, not own and column in names.guarded))

        self.case = names.case
        self.own = [(field, named(column, f"/{field}", own=True)) for column, field in _OWN]
        self.of_context = [(key, named(column, f"/context/{key}", own=True)) for column, key in _OF_CONTEXT]
        self.of_client = _at_paths(names, "/context/clientIds/", _OF_CLIENT)
        self.of_geo = _at_paths(names, "/context/geo/", _OF_GEO)
        self.made = [
            named(column, path, own=column in names.guarded, source=source) for column, path, source in _MADE
        ]
        contact = ("email", "name")
        self.own_traits = Columns(names, _OWN_TRAITS, "/context/traits", "user_", contact)
        self.traits = Columns(names, _TRAITS, "/traits", "user_", contact)
        self.properties = Columns(names, _PROPERTIES, "/properties", omit=(TABLE_KEY,))
        self.of_page = Columns(names, _PROPERTIES, "/properties", omit=(TABLE_KEY, *_OF_PAGE))
        self.click_id = Columns(names, _FIXED, "/context/clientIds", "click_id_", ("ga4", "fbp", "fbc"))
        self.parsed_ua = Columns(names, _FIXED, "/parsed_ua", "parsed_ua_")
        self.utm = Columns(names, _FIXED, "/context/campaign", "utm_")
        self.no_properties = named("properties", "/properties")
        self.no_context = named("context", "/context")
        self.no_traits = named("traits", "/traits")
        self.no_own_traits = named("context_traits", "/context/traits")
        self.no_clients = named("click_id", "/context/clientIds")
        self.no_geo = named("location", "/context/geo")
        self.no_parsed_ua = named("parsed_ua", "/parsed_ua")
        self.no_utm = named("utm", "/context/campaign")


def _at_paths(
    names: Names, above: str, columns: tuple[tuple[str, tuple[str, ...]], ...]
) -> list[tuple[tuple[str, ...], str]]:
    return [
        (path, names.name(Place(above + "/".join(path), column, _FIXED, own=False)))
        for column, path in columns
    ]


class Legacy(OneTable):
    """The rules."""

    def __init__(self, table: str) -> None:
        super().__init__(table)
        self.made = _made

    def plans(self, names: Names) -> _Plans:
        """Names and trees."""
        return _Plans(names)

    def rows(self, form: Any, event: Event, plans: _Plans, made: Sequence[Any]) -> list[dict[str, Value]]:
        """The one row."""
        row: dict[str, Value] = {}
        for value, name in zip(made, plans.made, strict=True):
            if value is not None:
                put(value, name, row, plans.case)
        _put_each(event, plans.own, plans, row)
        context = object_in(event, "context", plans.no_context, plans.utm, row)
        _put_each(context, plans.of_context, plans, row)
        own = object_in(context, "traits", plans.no_own_traits, plans.utm, row)
        flatten(own, plans.own_traits, row)
        flatten(object_in(event, "traits", plans.no_traits, plans.utm, row), plans.traits, row)
        _lay_out_client(event, context, plans, row)
        properties = object_in(event, "properties", plans.no_properties, plans.utm, row)
        flatten(properties, plans.properties if form == "track" else plans.of_page, row)
        return [row]


def _lay_out_client(event: Event, context: Event, plans: _Plans, row: dict[str, Value]) -> None:
    """What the client is known by: ids, place, program, campaign."""
    clients = object_in(context, "clientIds", plans.no_clients, plans.utm, row)
    _put_at(clients, plans.of_client, plans, row)
    flatten(clients, plans.click_id, row)
    _put_at(object_in(context, "geo", plans.no_geo, plans.utm, row), plans.of_geo, plans, row)
    flatten(object_in(event, "parsed_ua", plans.no_parsed_ua, plans.utm, row), plans.parsed_ua, row)
    flatten(object_in(context, "campaign", plans.no_utm, plans.utm, row), plans.utm, row)


def _put_each(source: Event, names: list[tuple[str, str]], plans: _Plans, row: dict[str, Value]) -> None:
    for key, name in names:
        if key in source:
            put(source[key], name, row, plans.case)


def _put_at(
    source: Event, names: list[tuple[tuple[str, ...], str]], plans: _Plans, row: dict[str, Value]
) -> None:
    if not source:
        return
    for path, name in names:
        value: Any = source
        for key in path:
            value = value.get(key) if type(value) is dict else None
        if value is not None:
            put(value, name, row, plans.case)


def _made(event: Event) -> Sequence[Any]:
    """What has no key of its own, or not always the same one; None where there is nothing."""
    context, properties = _object(event, "context"), _object(event, "properties")
    ip, kind = context.get("ip"), event.get("type")
    return (
        event.get("event") or kind,
        "",
        _anonymous(ip) if ip else None,
        None if "src" in properties else "jitsu",
        *_of_page(_object(context, "page"), properties, kind == "track"),
        *_of_screen(context.get("screen")),
        *_of_person(context.get("traits"), event.get("traits")),
    )


def _of_page(page: Event, properties: Event, track: bool) -> Sequence[Any]:
    """From url to doc_search. Properties named as the page's are used for what it does not say."""
    url, title, referrer, host, path, search = map(page.get, _PAGE)
    address = url or properties.get("url")
    if not track:  # these properties have no column
        url = address
        title = properties.get("title") if title is None else title
        referrer = properties.get("referrer") if referrer is None else referrer
    host = properties.get("host") if host is None else host
    path = properties.get("path") if path is None else path
    search = properties.get("search") if search is None else search
    if not (host and path and search) and type(address) is str:
        known = _parts_of if len(address) <= _KNOWN_CHARS_MAX else _parts_of.__wrapped__
        parts = known(address)
        host, path, search = host or parts[0], path or parts[1], search or parts[2]
    encoding, offset = page.get("encoding"), page.get("timezoneOffset")
    encoding = properties.get("encoding") if encoding is None else encoding
    offset = properties.get("timezoneOffset") if offset is None else offset
    return url, title, referrer, encoding, offset, host, path, search


def _of_screen(screen: Any) -> Sequence[Any]:
    if type(screen) is not dict or not screen:
        return None, None
    return _size(screen, "width", "height"), _size(screen, "innerWidth", "innerHeight")


def _of_person(own: Any, traits: Any) -> Sequence[Any]:
    """Email and name: of the context, else of the event; then what the event says instead."""
    own = own if type(own) is dict else EMPTY
    traits = traits if type(traits) is dict else EMPTY
    if not own:
        return traits.get("email"), traits.get("name"), None, None
    email, name = own.get("email"), own.get("name")
    email_too, name_too = traits.get("email"), traits.get("name")
    return (
        email or email_too,
        name or name_too,
        email_too if email and email_too != email else None,
        name_too if name and name_too != name else None,
    )


def _object(source: Event, key: str) -> Event:
    value = source.get(key)
    return value if type(value) is dict else EMPTY


def _anonymous(ip: Any) -> str | None:
    """An IPv4 address without its last part."""
    parts = ip.split(".") if type(ip) is str else ()
    return f"{parts[0]}.{parts[1]}.{parts[2]}.0" if len(parts) == 4 else None


@lru_cache(1_024)  # pages repeat
def _parts_of(address: str) -> tuple[str | None, str | None, str | None]:
    """Host, path and query of a URL as a browser tells them; nothing of what is none."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return None, None, None
    if not parts.scheme or not parts.hostname:
        return None, None, None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if port is not None and port != _PORTS.get(parts.scheme):
        host = f"{host}:{port}"
    return host, parts.path or "/", f"?{parts.query}" if parts.query else ""


def _size(screen: Event, width: str, height: str) -> str:
    return f"{_pixels(screen.get(width))}x{_pixels(screen.get(height))}"


def _pixels(value: Any) -> str:
    """A number as JavaScript writes it; 0 for what is none."""
    if type(value) is float and value.is_integer():
        return str(int(value))
    if type(value) in (int, float) or (type(value) is str and value.isdecimal()):
        return str(value)
    return "0"
