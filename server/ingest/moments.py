"""Times as clients write them, read without raising; and times as the server writes them.

Clients send RFC 3339 with Z or an offset and 0 to 9 decimals, sometimes no zone, a date only, or epoch
milliseconds.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Below this a number can only be seconds (as milliseconds it would lie before April 1973).
_SECONDS_MAX = 100_000_000_000
_BASIC_DATE_CHARS = 8  # YYYYMMDD


def parse_moment(value: object) -> datetime | None:
    """The UTC moment that `value` names, None if it names none. Never raises.

    A text without a zone is UTC; a number is epoch milliseconds, or seconds where milliseconds make no sense.
    """
    try:
        if type(value) is str:
            return _parse_text(value)
        if type(value) is int or type(value) is float:
            scale_s = 1 if abs(value) < _SECONDS_MAX else 1000
            return _EPOCH + timedelta(seconds=value / scale_s)
    except (ValueError, OverflowError):
        return None
    return None


def _parse_text(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        text = text.strip().upper()  # RFC 3339 allows a small t and z
        moment = datetime.fromisoformat(text)
    # Any character may stand between a date and a time, so epoch milliseconds as text would be the year 1795.
    if text[4] != "-" and len(text) > _BASIC_DATE_CHARS and text[: _BASIC_DATE_CHARS + 1].isdigit():
        raise ValueError(text)
    zone = moment.tzinfo
    if zone is UTC:
        return moment
    return moment.replace(tzinfo=UTC) if zone is None else moment.astimezone(UTC)


def is_canonical(text: str) -> bool:
    """Whether a text that `parse_moment` reads is `YYYY-MM-DDTHH:MM:SS[.fff…]Z` and can stay as it came."""
    return (
        len(text) >= 20
        and text[-1] == "Z"
        and text[10] == "T"
        and text[7] == "-"
        and text[16] == ":"
        and text[19] in ".Z"
    )


def format_moment(moment: datetime) -> str:
    """ISO 8601 in UTC with Z; milliseconds, or microseconds where there are any."""
    timespec = "microseconds" if moment.microsecond % 1000 else "milliseconds"
    return moment.replace(tzinfo=None).isoformat(timespec=timespec) + "Z"


def format_ms(epoch_ms: int) -> str:
    """ISO 8601 in UTC with milliseconds and Z of a time of ours. Three times as fast as `format_moment`."""
    return f"{_format_second(epoch_ms // 1000)}.{epoch_ms % 1000:03}Z"


# Requests come many to a second, and in order.
@lru_cache(maxsize=64)
def _format_second(epoch_s: int) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).replace(tzinfo=None).isoformat()


def moment_of_ms(epoch_ms: int) -> datetime:
    """The UTC moment of a time of ours."""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC)
