"""The Postgres destination: rows in, exactly once in tables. `Destination` is the only door.

One `Destination` per configured warehouse; all of it runs on the event-loop thread. What the tables look
like is decided by the layouts of server/delivery; what a value becomes in a column, how a table grows, and
how a batch and its progress row land in one transaction is decided here.
"""

from server.warehouse.batch import (
    Batch,
    Flushed,
    InDoubt,
    Inherited,
    LinkKey,
    LocalProgress,
    Takeover,
    TakeoverCase,
)
from server.warehouse.connection import PostgresConfig
from server.warehouse.destination import Counters, Destination, Probe
from server.warehouse.encode import Breathe, Encoded
from server.warehouse.errors import (
    Foreign,
    OutOfStep,
    Refused,
    RowsRefused,
    Unavailable,
    WarehouseError,
    shortened,
)
from server.warehouse.limits import Limits
from server.warehouse.locks import TableLocked
from server.warehouse.names import KEY_CHARS_MAX, aside_name, column_name, snake_case, table_name
from server.warehouse.rows import AnyRow, Row, Shape, ShapedRow, TableOptions, Value

__all__ = [
    "KEY_CHARS_MAX",
    "AnyRow",
    "Batch",
    "Breathe",
    "Counters",
    "Destination",
    "Encoded",
    "Flushed",
    "Foreign",
    "InDoubt",
    "Inherited",
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
    "TableLocked",
    "TableOptions",
    "Takeover",
    "TakeoverCase",
    "Unavailable",
    "Value",
    "WarehouseError",
    "aside_name",
    "column_name",
    "shortened",
    "snake_case",
    "table_name",
]
