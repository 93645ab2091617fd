"""Everything that leaves the process: the embedded Postgres, if a destination lives there, and delivery.

Ingest does not wait for it: the server takes events while the embedded Postgres starts, is down, or cannot
start at all. `run` is one task: it starts both, keeps the embedded server alive, and starts delivery again if
that server had to move to another port. Thread: the event loop; the embedded server's blocking calls go to
threads.
"""

import asyncio
import logging
from collections.abc import Callable

from server.clock import SystemClock
from server.delivery import (
    Delivery,
    DestinationCounters,
    Fate,
    LinkConfig,
    LinkOutcome,
    LinkState,
    LinkStatus,
)
from server.embedded import EmbeddedPostgres, PostgresAddress
from server.settings import Config
from server.translation import link_configs, patience, postgres_config, warehouse_limits
from storage import Store

_log = logging.getLogger("penstock.outbound")

_LOOK_S = 1.0  # how often the embedded server is looked at
_RETRY_CAP_S = 30.0


class Outbound:
    """`start`, then `stop` once."""

    def __init__(
        self, config: Config, store: Store, clock: SystemClock, pressure: Callable[[], float]
    ) -> None:
        self._config = config
        self._store = store
        self._clock = clock
        self._pressure = pressure
        self._embedded = EmbeddedPostgres(config.data_dir) if config.needs_embedded else None
        self._delivery: Delivery | None = None
        self._task: asyncio.Task[None] | None = None
        self.embedded_error: str | None = None
        """Why the embedded Postgres does not run, None while it does (or is not needed)."""

    def start(self) -> None:
        """Returns at once; delivery to an embedded destination starts when that server takes connections."""
        if self._embedded is None:
            self._deliver(None)
        else:
            self.embedded_error = "the embedded Postgres is starting"
            self._task = asyncio.create_task(self._supervise(self._embedded), name="embedded postgres")

    async def stop(self) -> None:
        """Bounded: flush what can be flushed, then stop the embedded server."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._delivery is not None:
            await self._delivery.stop(self._config.delivery.stop_timeout_s)
        if self._embedded is not None:
            await asyncio.to_thread(self._embedded.stop, self._config.embedded.stop_timeout_s)

    def status(self) -> list[LinkStatus]:
        """Every link, also while delivery waits for the embedded Postgres."""
        if self._delivery is not None:
            return self._delivery.status()
        return [self._waiting(link) for link in link_configs(self._config)]

    def counters(self) -> dict[str, DestinationCounters]:
        """As `Delivery.counters`; none while delivery has not started."""
        return self._delivery.counters() if self._delivery is not None else {}

    async def pause(self, link_id: str) -> bool:
        """As `Delivery.pause`; False also while delivery has not started."""
        return self._delivery is not None and await self._delivery.pause(link_id)

    async def resume(self, link_id: str) -> bool:
        """As `Delivery.resume`; False also while delivery has not started."""
        return self._delivery is not None and await self._delivery.resume(link_id)

    def keep_after(self) -> dict[str, int] | None:
        """Stream → offset up to which every link is done; None while that is not known."""
        return self._delivery.keep_after() if self._delivery is not None else None

    def backlog_exceeded(self, stream: str) -> bool:
        """Whether a link of the stream is further behind than its quota."""
        return self._delivery is not None and self._delivery.backlog_exceeded(stream)

    def link_outcome(self, stream: str, offset: int) -> list[LinkOutcome]:
        """What became of an event on each link of its stream. Reads the catalog; any thread."""
        if self._delivery is not None:
            return self._delivery.link_outcome(stream, offset)
        links = [link for link in link_configs(self._config) if link.stream_id == stream]
        return [LinkOutcome(link.id, Fate.WAITING, self.embedded_error) for link in links]

    def _waiting(self, link: LinkConfig) -> LinkStatus:
        """A link whose delivery has not started: its checkpoint is not read yet, so all that is retained
        waits.
        """
        backlog = self._store.wal.backlog(link.stream_id, 0)
        return LinkStatus(
            link_id=link.id,
            stream_id=link.stream_id,
            destination_id=link.destination_id,
            state=LinkState.BACKING_OFF,
            alarm=None,
            last_error=self.embedded_error,
            next_attempt_ms=None,
            checkpoint=0,
            lag_events=backlog.events,
            lag_bytes=backlog.size_bytes,
            lag_s=0.0,
            delivered=0,
            dead_letters=0,
            dropped=0,
            rate_per_s=0.0,
            paused_by=None,
            parked=(),
            warnings=(),
        )

    def _deliver(self, address: PostgresAddress | None) -> None:
        destinations = {
            id_: postgres_config(destination, address)
            for id_, destination in self._config.destinations.items()
        }
        delivery = Delivery(
            self._store,
            link_configs(self._config),
            destinations,
            self._clock,
            pressure=self._pressure,
            patience=patience(self._config),
            connections_max=self._config.delivery.connections_max,
            limits=warehouse_limits(self._config),
        )
        delivery.start()
        self._delivery = delivery

    async def _supervise(self, embedded: EmbeddedPostgres) -> None:
        address: PostgresAddress | None = None
        wait_s = _LOOK_S
        while True:
            try:
                found = await asyncio.to_thread(embedded.start if address is None else embedded.ensure)
                if found is not None and found != address:
                    await self._move(found)
                    address = found
            except Exception as error:  # whatever it is, the next look may find it mended
                if self.embedded_error != str(error):
                    _log.error("nothing is delivered yet; events are kept and delivered later: %s", error)
                self.embedded_error = str(error)
                wait_s = min(wait_s * 2, _RETRY_CAP_S)
            else:
                self.embedded_error = None
                wait_s = _LOOK_S
            await asyncio.sleep(wait_s)

    async def _move(self, address: PostgresAddress) -> None:
        if self._delivery is not None:
            before, self._delivery = self._delivery, None
            await before.stop(0.0)
        self._deliver(address)
