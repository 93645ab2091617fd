"""Times as clients write them."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.ingest.moments import format_moment, format_ms, is_canonical, moment_of_ms, parse_moment

AT = datetime(2026, 2, 25, 14, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-25T14:30:00Z",
        "2026-02-25T14:30:00.000Z",
        "2026-02-25T14:30:00.000000000Z",
        "2026-02-25t14:30:00z",
        " 2026-02-25T14:30:00Z ",
        "2026-02-25T14:30:00+00:00",
        "2026-02-25T09:00:00.000-05:30",
        "2026-02-25 14:30:00",
        "2026-02-25T14:30",
        1_772_029_800_000,
        1_772_029_800_000.0,
        1_772_029_800,
        "20260225T143000Z",
        "20260225 1430",
        "2026-W09-3T14:30",
    ],
)
def test_a_moment_is_read(text: Any) -> None:
    assert parse_moment(text) == AT


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-02-30T00:00:00Z",
        "0001-01-01T00:00:00+23:00",
        None,
        True,
        [],
        1e300,
        -(10**400),
        10**400,
        "1795011212345",  # epoch milliseconds as text, not 1795-01-12 at 23:45
        " 1795011212345 ",
        "1795011212345.6",
        "1795011212345Z",
        "17950112123",
    ],
)
def test_nothing_is_read_from_nonsense(text: Any) -> None:
    assert parse_moment(text) is None


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("2026-02-25T14:30:00Z", True),
        ("2026-02-25T14:30:00.123Z", True),
        ("2026-02-25 14:30:00.123Z", False),
        ("2026-W09-3T14:30:00.123Z", False),
        ("20260225T143000.123456Z", False),
        ("2026-02-25T14:30:00,123Z", False),
        ("2026-02-25T14:30:00+00:00", False),
        ("2026-02-25", False),
    ],
)
def test_only_a_canonical_text_stays_as_it_came(text: str, canonical: bool) -> None:
    assert parse_moment(text) is not None
    assert is_canonical(text) is canonical


@given(st.datetimes(timezones=st.just(UTC)))
def test_what_is_written_can_be_read(moment: datetime) -> None:
    text = format_moment(moment)
    assert parse_moment(text) == moment
    assert is_canonical(text)


@given(st.integers(0, 253_402_300_799_999))
def test_our_own_times_are_written_alike(epoch_ms: int) -> None:
    text = format_ms(epoch_ms)
    moment = parse_moment(text)
    assert moment is not None
    assert format_moment(moment) == text
    assert abs((moment - moment_of_ms(epoch_ms)).total_seconds()) < 0.001


@given(st.one_of(st.text(), st.integers(), st.floats(), st.from_regex(r"\d{4}-\d\d-\d\d.\d\d:\d\d:\d\d.*")))
def test_nothing_raises(value: object) -> None:
    moment = parse_moment(value)
    assert moment is None or moment.tzinfo is UTC
