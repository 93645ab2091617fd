"""The clocks the store is given: wall time stamps commits and judges age, monotonic time measures."""

from typing import Protocol


class Clock(Protocol):
    """Both methods are called from several threads."""

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch; may jump either way."""
        ...

    def monotonic_s(self) -> float:
        """Seconds since some fixed point; never decreases."""
        ...
