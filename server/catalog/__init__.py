"""The typed objects of the configuration and of the management API: stream, destination, link and what
is kept for them.

One field table serves both; `normalize` accepts the other vendor's names for the same fields. Imports no
other package of the server. Pure: no I/O, any thread.
"""

from server.catalog.checks import SSL_MODES, check_objects, moment_ms
from server.catalog.faults import Fault, fault_path, schema_faults
from server.catalog.names import (
    PARAMETERS,
    PUBLISHED_NAMES,
    normalize_destination,
    normalize_link,
    normalize_stream,
    published_destination,
    published_link,
    published_stream,
)
from server.catalog.objects import (
    Datasource,
    Destination,
    Function,
    Link,
    LinkData,
    RateLimit,
    Service,
    Stream,
    Sync,
    SyncData,
    Workspace,
    WriteKey,
)
from server.catalog.secrecy import is_secret

__all__ = [
    "PARAMETERS",
    "PUBLISHED_NAMES",
    "SSL_MODES",
    "Datasource",
    "Destination",
    "Fault",
    "Function",
    "Link",
    "LinkData",
    "RateLimit",
    "Service",
    "Stream",
    "Sync",
    "SyncData",
    "Workspace",
    "WriteKey",
    "check_objects",
    "fault_path",
    "is_secret",
    "moment_ms",
    "normalize_destination",
    "normalize_link",
    "normalize_stream",
    "published_destination",
    "published_link",
    "published_stream",
    "schema_faults",
]
