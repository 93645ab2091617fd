"""A TCP proxy that breaks connections on purpose; see `tests.faults.proxy.proxy`."""

from .proxy import Direction, FaultProxy

__all__ = ["Direction", "FaultProxy"]
