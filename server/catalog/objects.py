"""The shapes of the catalog. Unknown fields are errors; a default is what an absent field means."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

CODE_CHARACTERS_MAX = 500_000
LINE = r"^[^\x00-\x1f\x7f]*$"
"""What is said on wires, in headers and in SQL has no control characters."""

Id = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="letters, digits, dot, dash, underscore; at most 64",
    ),
]

Line = Annotated[str, Meta(pattern=LINE)]


class WriteKey(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A credential that may write to a stream. `token` is what a client sends, whole, and is secret; a key
    that came by the management API is known by its keyed digest (hexadecimal) alone.
    """

    id: Annotated[str, Meta(pattern=LINE, min_length=1, max_length=128)]
    token: Annotated[str, Meta(pattern=LINE, min_length=1, max_length=256)] | None = None
    hash: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}$")] | None = None
    hint: Annotated[str, Meta(max_length=16)] = ""
    """A few characters of the secret, by which a person knows it again."""

    def __repr__(self) -> str:
        return f"WriteKey({self.id})"


class RateLimit(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A token bucket: `burst` events at once, refilled at `events_per_second`."""

    events_per_second: Annotated[float, Meta(ge=0.001)] = 1000
    burst: Annotated[int, Meta(ge=1)] = 2000


class Stream(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where events enter. Browser keys are for pages and apps (origins apply), server keys for back ends."""

    id: Id
    name: str = ""
    browser_keys: tuple[WriteKey, ...] = ()
    server_keys: tuple[WriteKey, ...] = ()
    origins: tuple[Line, ...] = ()
    """Pages that may use a browser key: `https://host[:port]`, a bare host, or `*`; empty: none may."""
    domains: tuple[Line, ...] = ()
    """Hosts for which a keyless request on /api/s/* belongs to this stream, if `domain_fallback` is on."""
    domain_fallback: bool = False
    rate_limit: RateLimit = RateLimit()
    """Of each browser key."""
    server_rate_limit: RateLimit | None = None
    """Of each server key; none: unlimited."""
    ip_policy: Literal["keep", "stripLastOctet", "remove"] = "keep"
    """What is stored of the client address: all of it, its network (/24 or /48), nothing."""


class Datasource(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A Postgres to connect to."""

    host: Annotated[str, Meta(pattern=LINE, min_length=1, max_length=255)]
    port: Annotated[int, Meta(ge=1, le=65535)] = 5432
    db: Annotated[str, Meta(pattern=LINE, min_length=1)]
    schema: Annotated[str, Meta(pattern=LINE, min_length=1, max_length=63)] = "public"
    username: Annotated[str, Meta(pattern=LINE, min_length=1)]
    password: Line = ""
    parameters: dict[str, str] = {}
    """Connection parameters, `sslmode` above all; its default is `prefer`."""

    def __repr__(self) -> str:
        return f"Datasource({self.username}@{self.host}:{self.port}/{self.db})"


class Destination(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where events go: a `datasource`, or `embedded: true` for the Postgres that Penstock runs itself."""

    id: Id
    name: str = ""
    type: Literal["postgres"]
    embedded: bool = False
    schema: Annotated[str, Meta(pattern=LINE, min_length=1, max_length=63)] = "public"
    """The schema of the tables in the embedded Postgres; a datasource names its own."""
    datasource: Datasource | None = None


class FunctionUse(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """A function on a link: `udf.` and the id of a function, or the name of a built-in one."""

    function_id: Annotated[str, Meta(pattern=LINE, min_length=1, max_length=200)]
    function_options: dict[str, Any] = {}


class LinkData(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """How events travel over a link; the field names are those of the management API."""

    mode: Literal["stream", "batch"] = "batch"
    """stream: as soon as possible; batch: every `frequency` minutes."""
    data_layout: Literal["segment-single-table", "segment", "jitsu-legacy", "passthrough"] = (
        "segment-single-table"
    )
    keep_original_names: bool = False
    """Columns keep the names that keys have (messageId); false: snake case (message_id)."""
    table_name: Annotated[str, Meta(pattern=LINE, min_length=1, max_length=63)] = "events"
    """Of all events; with layout `segment`, which has tables of its own, of what has no type."""
    table_name_template: Annotated[str, Meta(pattern=LINE, min_length=1, max_length=200)] | None = None
    """The table of each event, with `{{.path}}` for a value in it; `table_name` if there is no such value."""
    primary_key: tuple[Line, ...] = ("message_id",)
    """`message_id` stands for the column of the message id, whatever the layout calls it."""
    deduplicate: bool = True
    """Merge rows by `primary_key`; false: insert only."""
    timestamp_column: Line | None = "timestamp"
    """`timestamp` stands for the column of the event's time, whatever the layout calls it."""
    partition: Literal["none", "day"] = "none"
    """day: tables that Penstock makes are partitioned by the day of receipt."""
    schema_freeze: bool = False
    """Add no columns; what does not fit goes to `_unmapped_data`."""
    batch_size: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    """Events per transaction at most; none: `delivery.batch_events_max`."""
    frequency: Annotated[int, Meta(ge=1, le=1440)] = 5
    """Minutes between the flushes of batch mode."""
    start_from: Annotated[str, Meta(min_length=1, max_length=40)] | None = None
    """Where the link begins when it is made: `oldest` retained event, `now`, or a time (ISO 8601); none:
    where it was, if it was deleted within 7 days, else `oldest`.
    """
    functions: tuple[FunctionUse, ...] = ()
    """What is to change the events on their way, in this order. Kept, and not run yet."""
    disabled: bool = False


class SyncStream(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How one stream of a service is copied."""

    sync_mode: Literal["full_refresh", "incremental"] = "full_refresh"
    table_name: Annotated[str, Meta(pattern=LINE, min_length=1, max_length=63)] | None = None
    cursor_field: tuple[Line, ...] = ()


class SyncData(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """How a service is copied to a destination. Kept, and not run yet."""

    streams: dict[str, SyncStream] = {}
    namespace: Line | None = None
    table_name_prefix: Annotated[str, Meta(pattern=LINE, max_length=63)] = ""
    schedule: Annotated[str, Meta(pattern=LINE, max_length=100)] | None = None
    """When it is copied: five fields of cron."""
    timezone: Annotated[str, Meta(pattern=LINE, max_length=64)] = "Etc/UTC"
    deduplicate: bool = True
    disabled: bool = False


class Link(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A stream's events go to a destination."""

    id: Id
    from_id: Line = field(name="from")
    to_id: Line = field(name="to")
    data: LinkData = LinkData()


class Sync(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A service is copied to a destination."""

    id: Id
    from_id: Line = field(name="from")
    to_id: Line = field(name="to")
    data: SyncData = SyncData()


class Function(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Code that is to change events. Kept, and not run yet."""

    id: Id
    name: str = ""
    kind: Literal["event", "profile"] = "event"
    code: Annotated[str, Meta(max_length=CODE_CHARACTERS_MAX)]
    draft: Annotated[str, Meta(max_length=CODE_CHARACTERS_MAX)] | None = None
    """Code that is being worked on."""
    description: str = ""
    slug: str = ""
    version: str = ""
    origin: str = ""


class Service(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A source to copy from: a connector and what it needs to get in. Kept, and not run yet."""

    id: Id
    name: str = ""
    protocol: Literal["airbyte"] = "airbyte"
    package: Annotated[str, Meta(pattern=LINE, min_length=1, max_length=200)]
    version: Annotated[str, Meta(pattern=LINE, min_length=1, max_length=100)]
    credentials: dict[str, Any] = {}
    """Secret, all of it."""
    authorized: bool = False


class Workspace(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of the objects, under a name in the paths of the management API."""

    id: Id
    name: str = ""
    slug: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{0,64}$")] = ""
    """Another word for the id in a path."""
