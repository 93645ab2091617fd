"""One run of the server: what starts in which order, what watches over it, and how it stops.

Start: store (lock first) → listener → outbound; so the first 200 waits for the store alone. Stop, each step
bounded: listener and requests in flight → flushers → connections → embedded Postgres → store (its writer
queue drained). Thread: the event loop.
"""

import asyncio
import gc
import logging
import signal
import socket
import sys
from collections.abc import Iterable
from dataclasses import replace

from blacksheep import Application
from granian.constants import Interfaces
from granian.server.embed import Server

from server.access import TrustedProxies
from server.app import Entry, ingest_routes, make_framework
from server.clock import SystemClock
from server.health import Heartbeats
from server.housekeeping import Housekeeping
from server.inbound import Inbound
from server.listener import spawning
from server.logs import GRANIAN_CONFIG
from server.lookup import EventLookup
from server.management import ApiKeys, Audit, Objects, SecretBox
from server.metrics import IngestCounters, destination_samples, info_samples, ingest_samples, link_samples
from server.outbound import Outbound
from server.routes.admin import AdminAccess
from server.routes.backup import Backups, register_backup
from server.routes.body import Bodies
from server.routes.events import register_events
from server.routes.framework import BODY_BYTES_MAX, Framework
from server.routes.key_access import KeyAccess
from server.routes.links import register_links
from server.routes.management import Management
from server.routes.openapi import register_openapi
from server.routes.operations import register_operations
from server.routes.user_keys import register_user_keys
from server.settings import ADDRESS_FILE, Config
from server.translation import body_limits, store_options
from storage import SWITCH_INTERVAL_S, Store, StorePoisoned

_log = logging.getLogger("penstock")

EXIT_OK = 0
EXIT_FAILED = 1
_LISTENER_STOP_S = 10.0
_STOPPING_BODY_S = 1.0  # what a body that is under way may still take when the server stops
_BACKLOG = 1024


class CannotListenError(Exception):
    """The address cannot be bound; the message says what to do."""


class Run:
    """The parts of one run. Made after the store is open, on the running loop."""

    def __init__(self, config: Config, store: Store, clock: SystemClock) -> None:
        self.store = store
        self.clock = clock
        self.audit = Audit(store.catalog, clock)
        self.box = SecretBox.open(config.data_dir)
        self.api_keys = ApiKeys(store.catalog, self.box, self.audit, clock, config.server.admin_token)
        self.objects = Objects(store.catalog, config, self.box, self.audit, clock, self.apply)
        self.config = config = self.objects.load()
        """In force: the configuration file with what the management API stored."""
        self.counters = IngestCounters()
        self.bodies = Bodies(body_limits(config), self.counters)
        bounds = replace(body_limits(config), body_bytes_max=BODY_BYTES_MAX)
        self.framework_bodies = Bodies(bounds, self.counters)
        self.heartbeats = Heartbeats()
        self.housekeeping = Housekeeping(store.wal, self.heartbeats, clock)
        self.outbound = Outbound(config, store, clock, self.housekeeping.pressure)
        self.backups = Backups(store)
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
        for stream in self.config.streams:
            if self.stopping:
                self.closed[stream] = "stopping"
            elif self.outbound.backlog_exceeded(stream):
                self.closed[stream] = "backlog_full"
            else:
                self.closed.pop(stream, None)

    def unready(self) -> str | None:
        """Why events cannot be taken, None if they can."""
        if self.stopping:
            return "the server is stopping"
        refusal = self.store.wal.refusal
        return str(refusal) if refusal is not None else None

    def entry(self, framework: Application) -> Entry:
        """The routes over these parts; those that are not hot are added to `framework`."""
        config = self.config
        proxies = TrustedProxies(config.server.trusted_proxies)
        access, callers = AdminAccess(self.api_keys, proxies), KeyAccess(self.api_keys, proxies)
        sources = (
            lambda: info_samples(config.server.name),
            lambda: ingest_samples(self.counters),
            lambda: link_samples(self.outbound.status()),
            lambda: destination_samples(self.outbound.counters()),
        )
        unready, stats = self.unready, self.store.wal.stats
        register_operations(framework, self.heartbeats, unready, sources, stats, access, self.clock)
        outbound = self.outbound
        register_links(framework, outbound.status, outbound.pause, outbound.resume, access)
        register_backup(framework, self.backups, access)
        register_user_keys(framework, self.api_keys, self.audit, callers, self.clock)
        register_events(framework, EventLookup(self.store.wal, outbound, lambda: self.config.streams), access)
        Management(self.objects, callers, outbound.test).register(framework)
        register_openapi(framework, ingest_routes())
        bridge = Framework(framework, self.framework_bodies, self.clock)
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
        self.exit_code = EXIT_FAILED
        self.stop_requested.set()


async def serve(config: Config) -> int:
    """Run the server until SIGTERM or SIGINT. Returns the exit code: 0 after an orderly stop, 1 if the store
    failed.

    Raises `StorageError` if the store cannot be opened and `CannotListenError` if the address is taken,
    before anything has started.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    _calm_collector()
    loop = asyncio.get_running_loop()
    clock = SystemClock()
    _check_address(config.server.host, config.server.port)
    store = Store.open(config.data_dir, store_options(config), clock)
    address = config.data_dir / ADDRESS_FILE
    try:
        host = f"[{config.server.host}]" if ":" in config.server.host else config.server.host
        address.write_text(f"http://{host}:{config.server.port}\n")
        run = Run(config, store, clock)
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, run.stop_requested.set)
        store.on_poisoned(loop, run.store_poisoned)
        store.wal.start(loop)
        await _run(run)
    finally:
        address.unlink(missing_ok=True)
        await asyncio.to_thread(store.close)
    return run.exit_code


async def _run(run: Run) -> None:
    framework = make_framework()
    entry = run.entry(framework)
    await framework.start()
    server = Server(
        entry,
        address=run.config.server.host,
        port=run.config.server.port,
        interface=Interfaces.RSGI,
        websockets=False,
        backlog=_BACKLOG,
        log_dictconfig=GRANIAN_CONFIG,
    )
    listener = asyncio.create_task(server.serve(spawning(entry.begin)), name="listener")
    run.outbound.start()
    housekeeping = asyncio.create_task(
        run.housekeeping.run(run.outbound.keep_after, run.tick), name="housekeeping"
    )
    _log.info("taking events on http://%s:%d", run.config.server.host, run.config.server.port)
    stop = asyncio.create_task(run.stop_requested.wait(), name="stop")
    await asyncio.wait([stop, listener, housekeeping], return_when=asyncio.FIRST_COMPLETED)
    run.ended_early([listener, housekeeping])
    _log.info("stopping")
    run.stopping = True
    run.tick()
    server.stop()  # type: ignore[no-untyped-call]
    await asyncio.wait([listener], timeout=_LISTENER_STOP_S)
    await run.backups.close()
    await run.outbound.stop()
    await run.api_keys.settled()
    for task in (stop, listener, housekeeping):
        task.cancel()
    await asyncio.gather(stop, listener, housekeeping, return_exceptions=True)
    await framework.stop()


def _calm_collector() -> None:
    """Make the cyclic collector rare: what requests leave behind is freed by reference counts.

    With the defaults it took a tenth of the loop's time under load (the dedupe sets are large and live
    long), see ARCHITECTURE.md, Decisions.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


def _check_address(host: str, port: int) -> None:
    """Fail early and in words: Granian would report a taken port from its own thread."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            message = (
                f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port or server.port"
            )
            raise CannotListenError(message) from error
