"""Which error means what. Built as asyncpg builds them from the server's fields."""

import asyncpg
import pytest

from server.warehouse.errors import (
    Refused,
    RowsRefused,
    describe,
    is_data_shaped,
    is_stale,
    unavailable,
)


def server_error(state, **fields):
    return asyncpg.PostgresError.new({"C": state, "M": "no", "S": "ERROR", **fields})


def shaped(error, partitioned=False):
    return is_data_shaped(error, "public", "events", partitioned=partitioned)


@pytest.mark.parametrize("state", ["22P02", "22001", "22003", "54000", "23502", "23514"])
def test_the_fault_of_a_row(state):
    assert shaped(server_error(state, t="events", s="public"))


@pytest.mark.parametrize(
    "state",
    [
        "42501",
        "53100",
        "53300",
        "55P03",
        "57014",
        "57P01",
        "40P01",
        "42P01",
        "54001",
        "54011",
        "P0001",
        "XX000",
    ],
)
def test_not_the_fault_of_a_row(state):
    assert not shaped(server_error(state))


def test_a_constraint_of_another_table_is_not_the_rows_fault():
    other = server_error("23514", t="audit", s="public")
    assert not shaped(other)
    assert shaped(server_error("23514", t="events_2026", s="public"), partitioned=True)


@pytest.mark.parametrize(
    "error", [OSError("gone"), TimeoutError(), asyncpg.InterfaceError("closed"), EOFError()]
)
def test_the_wire_is_never_the_rows_fault(error):
    assert not shaped(error)
    assert unavailable("flush", error).reason.startswith("flush: ")


@pytest.mark.parametrize("state", ["42703", "42P01", "42P10", "0A000", "42804"])
def test_a_stale_schema_is_known(state):
    assert is_stale(server_error(state))


@pytest.mark.parametrize(
    ("state", "word"),
    [("28P01", "password"), ("3D000", "create it"), ("42501", "grant"), ("25006", "primary")],
)
def test_hints_say_what_to_do(state, word):
    assert word in unavailable("connect", server_error(state)).hint


def test_a_description_is_one_line_with_the_state():
    assert describe(server_error("22P02")) == "no (22P02)"
    assert describe(TimeoutError()) == "timed out"


def test_refusals_come_in_offset_order():
    error = RowsRefused([Refused(9, "b", "22P02"), Refused(3, "a", "22P02")])
    assert [refusal.offset for refusal in error.refusals] == [3, 9]


def test_a_value_that_the_server_quotes_is_cut():
    said = describe(server_error("22P02", M=f'invalid input syntax for type inet: "{"ab" * 450_000}"'))
    assert said.startswith('invalid input syntax for type inet: "aba')
    assert said.endswith("… (22P02)")
    assert len(said) < 420
    assert len(describe(ValueError("y" * 900_000))) < 420
