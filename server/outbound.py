"""Everything that leaves the process: the embedded Postgres, once a destination lives there, and delivery.

Ingest does not wait for it: the server takes events while the embedded Postgres starts, is down, or cannot
start at all. One task keeps that server alive; its links are held until it takes connections, and move along
if it had to move to another port. Other links do not wait for it. Thread: the event loop; the embedded
server's blocking calls go to threads.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from server.catalog import Destination
from server.clock import SystemClock
from server.delivery import Delivery, DestinationCounters, LinkOutcome, LinkStatus, NotYet, Place
from server.embedded import EmbeddedPostgres, PostgresAddress
from server.settings import Config
from server.translation.delivery import link_configs, patience, postgres_config, warehouse_limits
from server.warehouse import Destination as Warehouse
from server.warehouse import WarehouseError
from storage import Store

_log = logging.getLogger("penstock.outbound")

_LOOK_S = 1.0  # how often the embedded server is looked at
_RETRY_CAP_S = 30.0
_TEST_S = 5.0
_STARTING = "the embedded Postgres is starting"


@dataclass(frozen=True, slots=True)
class ConnectionTest:
    """What came of connecting to a destination and doing what deliveries do. `message`: the server's version,
    or what is wrong and what to do about it.
    """

    ok: bool
    message: str


class Outbound:
    """`start`, then `stop` once; `apply` in between."""

    def __init__(
        self, config: Config, store: Store, clock: SystemClock, pressure: Callable[[], float]
    ) -> None:
        self._config = config
        self._embedded = EmbeddedPostgres(config.data_dir)
        self._address: PostgresAddress | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()
        self.embedded_error: str | None = _STARTING
        """Why the embedded Postgres does not run, None while it does."""
        self._delivery = Delivery(
            store,
            link_configs(config),
            self._places(),
            clock,
            pressure=pressure,
            patience=patience(config),
            connections_max=config.delivery.connections_max,
            limits=warehouse_limits(config),
        )

    async def start(self) -> None:
        """Returns soon; delivery to an embedded destination starts when that server takes connections."""
        await self._delivery.start(self._config.links)
        self._start_embedded()

    async def apply(self, config: Config) -> None:
        """Other links and destinations from now on; as `Delivery.apply`."""
        self._config = config
        self._start_embedded()
        await self._reconcile()

    async def stop(self) -> None:
        """Bounded: flush what can be flushed, then stop the embedded server."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
        await self._delivery.stop(self._config.delivery.stop_timeout_s)
        await asyncio.to_thread(self._embedded.stop, self._config.embedded.stop_timeout_s)

    async def test(self, destination: Destination) -> ConnectionTest:
        """Connect to it and create, insert, drop; within some seconds. Leaves nothing behind."""
        place = self._place(destination)
        if isinstance(place, NotYet):
            return ConnectionTest(False, place.reason)
        warehouse = Warehouse(place, 1, warehouse_limits(self._config))
        try:
            async with asyncio.timeout(_TEST_S):
                return ConnectionTest(True, (await warehouse.probe()).version)
        except WarehouseError as error:
            return ConnectionTest(False, f"{error}: {error.hint}" if error.hint else str(error))
        except TimeoutError:
            return ConnectionTest(False, f"connect to {place.place}: no answer within {_TEST_S:g} s")
        finally:
            await warehouse.close()

    def status(self) -> list[LinkStatus]:
        """Every link, in the order of the configuration."""
        return self._delivery.status()

    def counters(self) -> dict[str, DestinationCounters]:
        """As `Delivery.counters`."""
        return self._delivery.counters()

    async def pause(self, link_id: str) -> bool:
        """As `Delivery.pause`."""
        return await self._delivery.pause(link_id)

    async def resume(self, link_id: str) -> bool:
        """As `Delivery.resume`."""
        return await self._delivery.resume(link_id)

    def keep_after(self) -> dict[str, int]:
        """Stream → offset up to which every link is done."""
        return self._delivery.keep_after()

    def backlog_exceeded(self, stream: str) -> bool:
        """Whether a link of the stream is further behind than its quota."""
        return self._delivery.backlog_exceeded(stream)

    def link_outcome(self, stream: str, offset: int) -> list[LinkOutcome]:
        """What became of an event on each link of its stream. Reads the catalog; any thread."""
        return self._delivery.link_outcome(stream, offset)

    def _start_embedded(self) -> None:
        """Once it is needed it runs until the process stops: its tables may be asked for."""
        if self._config.needs_embedded and self._supervisor is None:
            self._supervisor = asyncio.create_task(self._supervise(), name="embedded postgres")

    def _places(self) -> dict[str, Place]:
        return {id_: self._place(destination) for id_, destination in self._config.destinations.items()}

    def _place(self, destination: Destination) -> Place:
        if destination.embedded and self._address is None:
            return NotYet(self.embedded_error or _STARTING)
        return postgres_config(destination, self._address)

    async def _reconcile(self) -> None:
        async with self._changing:
            config = self._config
            await self._delivery.apply(link_configs(config), self._places(), config.links)

    def _embedded_ids(self) -> str:
        return ", ".join(id_ for id_, one in self._config.destinations.items() if one.embedded)

    async def _supervise(self) -> None:
        wait_s = _LOOK_S
        while True:
            before = (self.embedded_error, self._address)
            try:
                look = self._embedded.start if self._address is None else self._embedded.ensure
                self._address = await asyncio.to_thread(look) or self._address
            except Exception as error:  # whatever it is, the next look may find it mended
                if self.embedded_error != str(error):
                    words = "destination %s: its links deliver nothing yet; events are kept for later: %s"
                    _log.error(words, self._embedded_ids(), error)
                self.embedded_error = str(error)
                wait_s = min(wait_s * 2, _RETRY_CAP_S)
            else:
                self.embedded_error = None
                wait_s = _LOOK_S
            if (self.embedded_error, self._address) != before:
                await self._reconcile()
            await asyncio.sleep(wait_s)
