"""The bounds of one destination, with their reasons."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Every wait and every growth of a destination ends at one of these.

    connect_timeout_s        whole connect, TLS and login included
    lock_timeout_s           a lock held by someone else (ALTER TABLE by hand, a long maintenance)
    statement_timeout_s      one statement on the server; also set as the server's own limit
    stall_timeout_s          the client hears nothing while a step is under way: a cut wire, a stopped server.
                             Longer than statement_timeout_s: a slow but living server answers first
    ddl_timeout_s            one schema change (an index on a large table takes its time)
    idle_in_transaction_s    the server drops a transaction of ours that nobody works on
    connection_idle_s        an idle connection older than this is checked before use
    columns_max              of one table; Postgres stops at 1,600, and rows near that no longer fit a page
    columns_ever_max         the 1,600 of Postgres, which counts dropped columns too
    new_columns_per_minute   of one table; a client that puts ids into names would use up columns_max at once
    tables_max               made for one link; an event name (or JITSU_TABLE_NAME) of its own in every event
                             would fill the catalog of the database. More goes to the link's generic table
    days_max                 partitions made at once; a backlog of more days begins in the default partition
    upkeep_retry_s           what a table still lacks (an index, a partition) is tried again after this, and
                             the tables of a link that has tables_max are counted again
    upkeep_lock_timeout_s    a lock that upkeep waits for; whoever comes later waits behind it
    index_timeout_s          an index on a table that has rows; nobody waits for it
    slice_s                  encoding gives the loop back this often
    locate_statements_max    statements spent on naming the refused rows of one batch
    """

    connect_timeout_s: float = 10.0
    lock_timeout_s: float = 10.0
    statement_timeout_s: float = 30.0
    stall_timeout_s: float = 40.0
    ddl_timeout_s: float = 120.0
    idle_in_transaction_s: float = 60.0
    connection_idle_s: float = 60.0
    columns_max: int = 1000
    columns_ever_max: int = 1600
    new_columns_per_minute: int = 600
    tables_max: int = 500
    days_max: int = 32
    upkeep_retry_s: float = 60.0
    upkeep_lock_timeout_s: float = 1.0
    index_timeout_s: float = 3600.0
    slice_s: float = 0.002
    locate_statements_max: int = 400
