"""Identifiers by example; the rules for any text are in tests/property/warehouse."""

import pytest

from server.warehouse import names
from server.warehouse.names import (
    aside_name,
    column_name,
    is_aside,
    quote,
    quote_literal,
    snake_case,
    table_name,
)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("messageId", "message_id"),
        ("userID", "user_i_d"),
        ("page1Url", "page1url"),
        ("User_Name", "user_name"),
        ("HTTP", "h_t_t_p"),
        ("Order Done", "order_done"),
        ("already_snake", "already_snake"),
        ("ÉcoleÉ", "ÉcoleÉ"),
        ("", ""),
    ],
)
def test_snake_case(key, name):
    assert snake_case(key) == name


def test_what_is_kept_aside_has_no_name_that_a_column_can_have():
    assert is_aside(aside_name("/message_id"))
    assert not is_aside(column_name("/message_id"))
    one, other = aside_name("/" + "k" * 300 + "a"), aside_name("/" + "k" * 300 + "b")
    assert one != other
    assert len(one) < 300


def test_long_keys_are_not_remembered():
    before = names._known_snake_case.cache_info().currsize, names._known_column_name.cache_info().currsize
    for n in range(20):
        key = f"K{n}" + "x" * names.KEY_CHARS_MAX
        assert len(column_name(snake_case(key)).encode()) <= names.NAME_BYTES_MAX
    after = names._known_snake_case.cache_info().currsize, names._known_column_name.cache_info().currsize
    assert after == before


def test_allowed_characters_stay_and_other_runs_become_one_underscore():
    assert column_name("Größe $-1") == "Größe $-1"
    assert column_name("a!?;b") == "a_b"


def test_a_name_of_nothing_but_the_forbidden_is_a_hash():
    assert column_name("!!!").startswith("column_")
    assert table_name("???").startswith("table_")
    assert column_name("!!!") != column_name("???")


def test_a_long_name_is_cut_on_a_character_and_stays_apart():
    one, other = column_name("é" * 40 + "a"), column_name("é" * 40 + "b")
    assert one != other
    assert len(one.encode()) <= 63
    assert one.startswith("é" * 20)


def test_system_columns_are_stepped_around():
    assert column_name("ctid") != "ctid"
    assert table_name("ctid") == "ctid"


def test_quoting():
    assert quote('a"b') == '"a""b"'
    assert quote_literal("it's\0") == "'it''s'"
