"""The Postgres destination: rows in, exactly once in tables. `Destination` is the only door.

One `Destination` per configured warehouse; all of it runs on the event-loop thread. What the tables look
like is decided by the layouts of server/delivery; what a value becomes in a column, how a table grows, and
how a batch and its progress row land in one transaction is decided here.
"""

from server.warehouse.batch import (
    AnyRow,
    Batch,
    Flushed,
    InDoubt,
    LinkKey,
    LocalProgress,
    Row,
    Shape,
    ShapedRow,
    TableOptions,
    Takeover,
    TakeoverCase,
    Value,
)
from server.warehouse.connection import PostgresConfig
from server.warehouse.destination import Counters, Destination, Probe
from server.warehouse.encode import Breathe, Encoded
from server.warehouse.errors import Foreign, OutOfStep, Refused, RowsRefused, Unavailable, WarehouseError
from server.warehouse.limits import Limits
from server.warehouse.names import column_name, snake_case, table_name

__all__ = [
    "AnyRow",
    "Batch",
    "Breathe",
    "Counters",
    "Destination",
    "Encoded",
    "Flushed",
    "Foreign",
    "InDoubt",
    "Limits",
    "LinkKey",
    "LocalProgress",
    "OutOfStep",
    "PostgresConfig",
    "Probe",
    "Refused",
    "Row",
    "RowsRefused",
    "Shape",
    "ShapedRow",
    "TableOptions",
    "Takeover",
    "TakeoverCase",
    "Unavailable",
    "Value",
    "WarehouseError",
    "column_name",
    "snake_case",
    "table_name",
]
