"""The two clocks of the process: wall time for stamps, monotonic time for intervals."""

import time


class SystemClock:
    """Satisfies `storage.Clock`. Wall time may jump; intervals and the limiter use the other clock."""

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Seconds since an arbitrary point; never goes backwards."""
        return time.monotonic()
