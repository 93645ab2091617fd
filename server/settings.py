"""Settings of the process, with every default, and how a whole configuration is loaded and checked.

Precedence: file < environment (`PENSTOCK__SECTION__KEY`) < flag. All faults are reported at once. Sizes are
bytes, times are seconds, and the unit is the last part of a name. conf/penstock.yaml shows every setting; a
test holds it to this file.
"""

import copy
import ipaddress
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from server.catalog import (
    Destination,
    Fault,
    Link,
    Stream,
    check_objects,
    fault_path,
    normalize_destination,
    normalize_link,
    normalize_stream,
    schema_faults,
)
from server.configfile import coerce, read_layers

ADDRESS_FILE = "address"
"""In the data directory: where the server that runs on it listens. For the command line."""
MIB = 1024 * 1024
GIB = 1024 * MIB
Bytes = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
PositiveSeconds = Annotated[float, Meta(gt=0)]


class ServerSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The HTTP side. No `admin_token` means that admin endpoints always answer 401."""

    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 3049
    name: str = ""
    admin_token: str = ""
    trusted_proxies: tuple[str, ...] = ()
    public_url: str = ""
    in_flight_bytes_max: Annotated[int, Meta(ge=MIB)] = 64 * MIB
    development: bool = False


class StoreSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The data directory and the log in it. A `path` in a file is relative to that file's folder."""

    path: Annotated[str, Meta(min_length=1)] = "./data"
    segment_bytes: Annotated[int, Meta(ge=4 * MIB)] = 64 * MIB
    retention_s: Seconds = 86_400
    retention_bytes_max: Bytes = 8 * GIB
    trim_lag_s: Seconds = 900
    free_bytes_min: Bytes = 512 * MIB
    dedupe_window_s: Seconds = 86_400
    dedupe_bytes_max: Bytes = 64 * MIB
    pending_bytes_max: Annotated[int, Meta(ge=MIB)] = 64 * MIB
    wal_bytes_max: Bytes = 64 * GIB


class LimitSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one request may carry."""

    event_bytes_max: Positive = 1_000_000
    body_bytes_max: Positive = 10_000_000
    batch_events_max: Positive = 2_500
    body_timeout_s: PositiveSeconds = 30.0


class DeliverySettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How events are moved to destinations."""

    connections_max: Annotated[int, Meta(ge=1, le=64)] = 4
    batch_events_max: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    batch_bytes_max: Annotated[int, Meta(ge=64 * 1024)] = 4 * MIB
    flush_interval_s: PositiveSeconds = 1.0
    stop_timeout_s: Seconds = 10.0
    backoff_max_s: PositiveSeconds = 60.0
    statement_timeout_s: PositiveSeconds = 60.0
    backlog_bytes_max: Bytes = 0


class LoggingSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is logged, and how a line looks."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class EmbeddedSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The embedded Postgres, which runs if a destination says `embedded: true`."""

    stop_timeout_s: PositiveSeconds = 30.0


class Config(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole configuration, checked. The ids of objects are their keys in the file."""

    server: ServerSettings = ServerSettings()
    store: StoreSettings = StoreSettings()
    limits: LimitSettings = LimitSettings()
    delivery: DeliverySettings = DeliverySettings()
    logging: LoggingSettings = LoggingSettings()
    embedded: EmbeddedSettings = EmbeddedSettings()
    streams: dict[str, Stream] = {}
    destinations: dict[str, Destination] = {}
    links: dict[str, Link] = {}

    @property
    def url(self) -> str:
        """Where the server listens."""
        host = f"[{self.server.host}]" if ":" in self.server.host else self.server.host
        return f"http://{host}:{self.server.port}"

    @property
    def data_dir(self) -> Path:
        """The data directory, absolute."""
        return Path(self.store.path)

    @property
    def needs_embedded(self) -> bool:
        """Whether a destination lives in the embedded Postgres."""
        return any(destination.embedded for destination in self.destinations.values())


class ConfigErrors(Exception):  # noqa: N818 - it is a list of them
    """A configuration with faults; `faults` holds every one, sorted by path."""

    def __init__(self, faults: list[Fault], sources: Mapping[str, str] = MappingProxyType({})) -> None:
        """`sources` say which settings are not the file's: path → variable or flag."""
        given = [(fault, _source(fault.path, sources)) for fault in faults]
        self.elsewhere = frozenset(source for _, source in given if source)
        """The variables and flags that have faults."""
        self.in_file = not all(source for _, source in given)
        named = [_named(fault, source) for fault, source in given]
        self.faults = sorted(named, key=lambda fault: fault.path)
        super().__init__("\n".join(str(fault) for fault in self.faults))


def _source(path: str, sources: Mapping[str, str]) -> str:
    """The variable or flag that a fault comes from; empty: none."""
    within = (source for place, source in sources.items() if path.startswith((f"{place}.", f"{place}[")))
    return sources.get(path) or next(within, "")


def _named(fault: Fault, source: str) -> Fault:
    if source in ("", fault.path):
        return fault
    hint = f"given by {source}" if not fault.hint else f"{fault.hint}; given by {source}"
    return Fault(fault.path, fault.message, hint, fault.parts)


class _Kind(NamedTuple):
    shape: type[Struct]
    normalize: Callable[[object], object]


_OBJECTS = {
    "streams": _Kind(Stream, normalize_stream),
    "destinations": _Kind(Destination, normalize_destination),
    "links": _Kind(Link, normalize_link),
}


def load(path: Path | None, environ: Mapping[str, str], flags: Mapping[str, str]) -> Config:
    """Load and check a configuration; raises `ConfigErrors`. `path` None: environment and flags alone."""
    layers = read_layers(path, environ, flags)
    tree = _normalize(layers.tree)
    schema = msgspec.json.schema(Config)
    tree = coerce(tree, schema, schema["$defs"])
    layers.faults += _endless(tree, [])
    # A variable that is not set leaves a hole; what else is wrong with the hole is not news.
    holes = {fault.path for fault in layers.faults}
    faults = layers.faults + [fault for fault in schema_faults(tree, schema) if fault.path not in holes]
    faults += _check_config(_sound_parts(tree, faults), tree)
    if faults:
        raise ConfigErrors(faults, layers.sources)
    config = msgspec.convert(tree, Config)
    from_outside = "PENSTOCK__STORE__PATH" in environ or "store.path" in flags
    folder = Path.cwd() if path is None or from_outside else path.absolute().parent
    return _with_path(config, folder)


def _endless(value: Any, path: list[str | int]) -> Iterator[Fault]:
    """Numbers without an end, which a JSON Schema takes for nothing."""
    if isinstance(value, float) and not math.isfinite(value):
        yield Fault(fault_path(path), f"{value} is not a number that can be used", "write a finite one")
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _endless(item, [*path, key])


def _sound_parts(tree: Mapping[str, Any], faults: list[Fault]) -> Config:
    """What has the right shape, without what has not, so that one misspelt word hides no other fault."""
    tree = copy.deepcopy(dict(tree))
    for fault in sorted(faults, key=lambda fault: [str(part).zfill(9) for part in fault.parts], reverse=True):
        _prune(tree, fault.parts)
    parts: dict[str, Any] = {}
    for field in msgspec.structs.fields(Config):
        value = tree.get(field.name, {})
        kind = _OBJECTS.get(field.name)
        if kind is None:
            parts[field.name] = _convert(value, field.type) or field.default
        elif isinstance(value, dict):
            converted = {id_: _convert(item, kind.shape) for id_, item in value.items()}
            parts[field.name] = {id_: item for id_, item in converted.items() if item is not None}
    return Config(**parts)


def _prune(node: Any, parts: Sequence[str | int]) -> None:
    """Take a faulty leaf out; later items of a list go first, so that indexes stay true."""
    for part in parts[:-1]:
        node = node.get(part, {}) if isinstance(node, dict) else node[part]
    if parts and (not isinstance(node, dict) or parts[-1] in node):
        del node[parts[-1]]


def _convert(value: Any, shape: Any) -> Any:
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError:
        return None


def _check_config(config: Config, tree: Mapping[str, Any]) -> Iterator[Fault]:
    """What must hold beyond the shape: relations of settings, addresses, and the catalog's own checks."""
    for index, network in enumerate(config.server.trusted_proxies):
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError:
            path = f"server.trusted_proxies[{index}]"
            yield Fault(path, f"{network!r} is not a network", "write an address or a CIDR: 10.0.0.0/8, ::1")
    yield from _public_url(config.server.public_url)
    for lesser, least, path, bound in _relations(config):
        if lesser < least:
            yield Fault(path, f"{lesser} is less than {bound} ({least})", f"make it at least {least}")
    stream_ids, destination_ids = (_ids(tree.get(section)) for section in ("streams", "destinations"))
    yield from check_objects(config.streams, config.destinations, config.links, stream_ids, destination_ids)


def _ids(objects: object) -> list[str]:
    return list(objects) if isinstance(objects, dict) else []


def _relations(config: Config) -> Iterator[tuple[int, int, str, str]]:
    """Bounds that would starve each other: a legal body must fit wherever it passes."""
    body = config.limits.body_bytes_max
    yield body, config.limits.event_bytes_max, "limits.body_bytes_max", "limits.event_bytes_max"
    yield config.server.in_flight_bytes_max, body, "server.in_flight_bytes_max", "limits.body_bytes_max"
    yield config.store.pending_bytes_max, body, "store.pending_bytes_max", "limits.body_bytes_max"
    yield config.store.segment_bytes, 2 * body, "store.segment_bytes", "twice limits.body_bytes_max"
    if config.store.wal_bytes_max:
        least = 2 * config.store.segment_bytes
        yield config.store.wal_bytes_max, least, "store.wal_bytes_max", "twice store.segment_bytes"


def _public_url(url: str) -> Iterator[Fault]:
    parts = urlsplit(url)
    if url and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment):
        yield Fault("server.public_url", f"{url!r} is not a web address", "write https://events.example.com")


def _normalize(tree: dict[str, Any]) -> dict[str, Any]:
    """Objects under our own names, each with its key as `id`."""
    result = dict(tree)
    for section, kind in _OBJECTS.items():
        objects = tree.get(section)
        if objects is None and section in tree:
            result[section] = {}  # "streams:" with nothing below it
        elif isinstance(objects, dict):
            result[section] = {id_: _with_id(id_, kind.normalize(value)) for id_, value in objects.items()}
    return {key: ({} if value is None else value) for key, value in result.items()}


def _with_id(id_: str, value: object) -> object:
    return {"id": id_, **value} if isinstance(value, dict) else value


def _with_path(config: Config, folder: Path) -> Config:
    path = os.path.normpath(folder / Path(config.store.path).expanduser())
    return msgspec.structs.replace(config, store=msgspec.structs.replace(config.store, path=path))
