"""What a value becomes, by example."""

import math
from datetime import UTC, datetime, timedelta

import pytest

from server.warehouse.types import (
    ColumnType,
    infer,
    json_object,
    promote,
    timestamp_us,
    to_bigint,
    to_boolean,
    to_double,
    to_json,
    to_text,
    to_timestamp_us,
)

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, ColumnType.BOOLEAN),
        (2**63 - 1, ColumnType.BIGINT),
        (-(2**63) - 1, ColumnType.TEXT),
        (1.0, ColumnType.DOUBLE),
        (math.nan, ColumnType.DOUBLE),
        ("2026-03-01T12:00:00Z", ColumnType.TIMESTAMPTZ),
        ("2026-03-01 12:00:00.5", ColumnType.TIMESTAMPTZ),
        ("2026-03-01T12:00:00.123456789+05:30", ColumnType.TIMESTAMPTZ),
        ("2026-03-01", ColumnType.TEXT),
        ("3026-03-01T12:00:00Z", ColumnType.TEXT),
        ("2026-13-01T12:00:00Z", ColumnType.TEXT),
        ("2026-W09-1T12:00:00", ColumnType.TEXT),
        ("20260301T120000.000", ColumnType.TEXT),
        ('["2026-03-01T12:00"]', ColumnType.TEXT),
    ],
)
def test_inference(value, kind):
    assert infer(value) is kind


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [
        (None, ColumnType.BOOLEAN, ColumnType.BOOLEAN),
        (ColumnType.BOOLEAN, ColumnType.BIGINT, ColumnType.BIGINT),
        (ColumnType.DOUBLE, ColumnType.BIGINT, ColumnType.DOUBLE),
        (ColumnType.TIMESTAMPTZ, ColumnType.TIMESTAMPTZ, ColumnType.TIMESTAMPTZ),
        (ColumnType.TIMESTAMPTZ, ColumnType.BIGINT, ColumnType.TEXT),
        (ColumnType.TEXT, ColumnType.BOOLEAN, ColumnType.TEXT),
    ],
)
def test_promotion(one, other, common):
    assert promote(one, other) is common


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-01T12:00:00.250Z", datetime(2026, 3, 1, 12, 0, 0, 250_000, UTC)),
        ("2026-03-01T12:00:00.25Z", datetime(2026, 3, 1, 12, 0, 0, 250_000, UTC)),
        ("2026-03-01T12:00:00", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("2026-03-01T12:00:00+02:00", datetime(2026, 3, 1, 10, tzinfo=UTC)),
        ("1969-12-31T23:59:59.999Z", datetime(1969, 12, 31, 23, 59, 59, 999_000, UTC)),
    ],
)
def test_times(text, moment):
    for _ in range(2):  # the second answer comes from the kept second
        assert timestamp_us(text) == (moment - EPOCH) // timedelta(microseconds=1)


def test_a_kept_second_does_not_leak_into_other_zones():
    utc = timestamp_us("2026-03-02T12:00:00Z")
    assert timestamp_us("2026-03-02T12:00:00+01:00") == utc - 3_600_000_000


@pytest.mark.parametrize(
    ("convert", "value", "result"),
    [
        (to_text, True, "true"),
        (to_text, 2**80, str(2**80)),
        (to_text, 10**4_299, "1" + "0" * 4_299),
        (to_text, -math.inf, "-Infinity"),
        (to_text, "a\0b", "ab"),
        (to_bigint, "-12", -12),
        (to_bigint, "12.0", None),
        (to_bigint, "１２", None),
        (to_bigint, 2**63, None),
        (to_bigint, math.inf, None),
        (to_double, "1e3", 1000.0),
        (to_double, "1e999", None),
        (to_double, "nan", None),
        (to_double, 10**400, None),
        (to_double, 2**53, 2.0**53),
        (to_double, 2**53 + 1, None),
        (to_double, "12345678901234567890123", None),
        (to_double, 10**22, 1e22),
        (to_double, "1_000", None),
        (to_boolean, "T", True),
        (to_boolean, "yes", None),
        (to_boolean, 2, None),
        (to_timestamp_us, 1_700_000_000, None),
        (to_json, "[1,2]", b"[1,2]"),
        (to_json, "[1,2", b'"[1,2"'),
        (to_json, r'["a\u0000b", "c\\u0000d"]', rb'["ab", "c\\u0000d"]'),
        (to_json, 2**70, str(2**70).encode()),
        (to_json, math.nan, b'"NaN"'),
    ],
)
def test_conversion_to_an_existing_column(convert, value, result):
    assert convert(value) == result


def test_a_pure_date_fits_a_timestamp_column():
    assert to_timestamp_us("2026-03-01") == timestamp_us("2026-03-01T00:00:00Z")


def test_an_integer_beyond_what_python_prints_does_not_raise():
    assert to_text(10**5000).startswith("0x")
    assert json_object({"n": 10**5000}).startswith(b'{"n":"0x')
