"""What an event's 200 does not wait for: delivery, and every route that is not hot.

Importing this takes about as long as all else of a start, so `server.first_stage` does it in a thread once
the listener is up, and nothing that listens imports it (tests/tidy/test_stages.py). Thread: the event loop.
"""

from server.access import TrustedProxies
from server.app import ingest_routes
from server.lookup import EventLookup
from server.management import ApiKeys
from server.metrics import destination_samples, info_samples, ingest_samples, link_samples
from server.outbound import Outbound
from server.routes.admin import AdminAccess
from server.routes.application import make_application
from server.routes.backup import Backups, register_backup
from server.routes.events import register_events
from server.routes.key_access import KeyAccess
from server.routes.links import register_links
from server.routes.management import Management
from server.routes.openapi import register_openapi
from server.routes.operations import register_operations
from server.routes.user_keys import register_user_keys
from server.run import Run


class SecondStage:
    """`start`, then `stop` once. `application` has the routes that are not hot."""

    def __init__(self, run: Run) -> None:
        self._run = run
        config = run.config
        self._outbound = Outbound(config, run.store, run.clock, run.housekeeping.pressure)
        self._backups = Backups(run.store)
        self._api_keys = ApiKeys(run.store.catalog, run.box, run.audit, run.clock, config.server.admin_token)
        self.application = make_application()
        self._register()

    async def start(self) -> None:
        """Answers requests and delivers from now on."""
        await self.application.start()
        await self._outbound.start()
        self._run.outbound = self._outbound

    async def stop(self) -> None:
        """Bounded: a backup under way, then delivery, which flushes what it can."""
        await self._backups.close()
        await self._outbound.stop()
        await self._api_keys.settled()
        await self.application.stop()

    def _register(self) -> None:
        run, app, outbound, keys = self._run, self.application, self._outbound, self._api_keys
        proxies = TrustedProxies(run.config.server.trusted_proxies)
        access, callers = AdminAccess(keys, proxies), KeyAccess(keys, proxies)
        name = run.config.server.name
        sources = (
            lambda: info_samples(name),
            lambda: ingest_samples(run.counters),
            lambda: link_samples(outbound.status()),
            lambda: destination_samples(outbound.counters()),
        )
        register_operations(app, run.heartbeats, run.unready, sources, run.store.wal.stats, access, run.clock)
        register_links(app, outbound.status, outbound.pause, outbound.resume, access)
        register_backup(app, self._backups, access)
        register_user_keys(app, keys, run.audit, callers, run.clock)
        register_events(app, EventLookup(run.store.wal, outbound, lambda: run.config.streams), access)
        Management(run.objects, callers, outbound.test).register(app)
        register_openapi(app, ingest_routes())
