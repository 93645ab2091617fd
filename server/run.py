"""The parts of one run that events go through, and the configuration in force. What the first event does not
need comes after them (`server/second_stage.py`). Thread: the event loop.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from server.app import Entry
from server.clock import SystemClock
from server.counters import IngestCounters
from server.health import Heartbeats
from server.housekeeping import Housekeeping
from server.inbound import Inbound
from server.management import Audit, Objects, SecretBox
from server.routes.body import Bodies
from server.routes.framework import BODY_BYTES_MAX, Asgi, Framework
from server.settings import Config
from server.translation.ingest import body_limits
from storage import Store, StorePoisoned

if TYPE_CHECKING:
    from server.outbound import Outbound

_log = logging.getLogger("penstock")

EXIT_OK = 0
EXIT_FAILED = 1
_STOPPING_BODY_S = 1.0  # what a body that is under way may still take when the server stops


class Run:
    """Made after the store is open, on the running loop."""

    def __init__(self, config: Config, store: Store, clock: SystemClock) -> None:
        self.store = store
        self.clock = clock
        self.audit = Audit(store.catalog, clock)
        self.box = SecretBox.open(config.data_dir)
        self.objects = Objects(store.catalog, config, self.box, self.audit, clock, self.apply)
        self.config = config = self.objects.load()
        """In force: the configuration file with what the management API stored."""
        self.counters = IngestCounters()
        self.bodies = Bodies(body_limits(config), self.counters)
        bounds = replace(body_limits(config), body_bytes_max=BODY_BYTES_MAX)
        self.framework_bodies = Bodies(bounds, self.counters)
        self.heartbeats = Heartbeats()
        self.housekeeping = Housekeeping(store.wal, self.heartbeats, clock)
        self.outbound: Outbound | None = None
        """Set by the second stage."""
        self.closed: dict[str, str] = {}
        """Stream → problem slug, while it must not take events."""
        parts = (self.closed, self.bodies, self.counters, clock, self.box.digest_key)
        self.inbound = Inbound(config, store.wal, *parts)
        self.stopping = False
        self.stop_requested = asyncio.Event()
        self.exit_code = EXIT_OK

    def tick(self) -> None:
        """What requests would otherwise do each for itself: end slow bodies, say which streams are closed."""
        for bodies in (self.bodies, self.framework_bodies):
            bodies.expire(self.clock.monotonic_s(), _STOPPING_BODY_S if self.stopping else None)
        self.store.wal.look()
        for stream in self.config.streams:
            if self.stopping:
                self.closed[stream] = "stopping"
            # Until delivery is loaded nobody knows how far a link is behind, and no stream is closed for it:
            # the quota is exceeded by what comes in a fraction of a second.
            elif self.outbound is not None and self.outbound.backlog_exceeded(stream):
                self.closed[stream] = "backlog_full"
            else:
                self.closed.pop(stream, None)

    def keep_after(self) -> dict[str, int] | None:
        """Stream → offset up to which every link is done; None until delivery has read its checkpoints."""
        return self.outbound.keep_after() if self.outbound is not None else None

    @property
    def has_dated_links(self) -> bool:
        """Whether some link says when it begins, which may be now: then that has to be durable before the
        first event is answered.
        """
        return any(link.data.start_from is not None for link in self.config.links.values())

    def unready(self) -> str | None:
        """Why events cannot be taken, None if they can."""
        if self.stopping:
            return "the server is stopping"
        refusal = self.store.wal.refusal
        return str(refusal) if refusal is not None else None

    def entry(self, application: Callable[[], Awaitable[Asgi | None]]) -> Entry:
        """Who answers every request; `application()` waits for what answers those that are not hot."""
        bridge = Framework(application, self.framework_bodies, self.clock)
        taking = self.inbound
        parts = taking.lane, taking.documents, taking.sdk_metrics, taking.posts, taking.gets
        return Entry(*parts, bridge, self.bodies, self.clock)

    async def apply(self, before: Config, after: Config) -> None:
        """Put a changed configuration in force: for requests at once, for links as `Delivery.apply` says."""
        self.config = after
        if after.streams != before.streams:
            for stream in before.streams.keys() - after.streams.keys():
                self.closed.pop(stream, None)
            self.inbound.apply(after)
        if (after.links, after.destinations) != (before.links, before.destinations):
            assert self.outbound is not None, "who changes objects is of the second stage, as is delivery"
            await self.outbound.apply(after)

    def ended_early(self, tasks: Iterable[asyncio.Task[None]]) -> None:
        """A task that the server cannot be without has ended: say so, and end with a status that tells it."""
        for task in tasks:
            if task.done():
                error = None if task.cancelled() else task.exception()
                _log.critical("the %s has ended: %r", task.get_name(), error)
                self.exit_code = EXIT_FAILED

    def store_poisoned(self, error: StorePoisoned) -> None:
        """Ends the run: the store must be opened afresh to be trusted."""
        _log.critical("the store failed; the process ends and must be started again: %s", error)
        self._fail()

    def not_loaded(self, error: BaseException) -> None:
        """Ends the run: it would take events and deliver none."""
        _log.critical("delivery could not be started; the process ends: %s", error, exc_info=error)
        self._fail()

    def _fail(self) -> None:
        self.exit_code = EXIT_FAILED
        self.stop_requested.set()
