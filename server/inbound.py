"""Everything that takes events in: write keys and origins, the lane, and what browser SDKs load first.

Event-loop thread. A change of the streams is in force with the next request; one that has shown its key goes
on with what the key might do then.
"""

from collections.abc import Mapping

from server.access import TrustedProxies, WriteKeys
from server.clock import SystemClock
from server.counters import IngestCounters
from server.routes.answers import Answers
from server.routes.body import Bodies
from server.routes.bootstrap import Documents
from server.routes.cors import Cors
from server.routes.lane import IngestLane
from server.routes.pixel import Gifs
from server.routes.sdk_metrics import SdkMetrics
from server.settings import Config
from server.translation.ingest import event_limits, stream_keys
from storage import Wal


class Inbound:
    """`closed` maps a stream to a problem slug while it must not take events; `digest_key` is that of write
    keys of which only the digest is stored.
    """

    def __init__(
        self,
        config: Config,
        wal: Wal,
        closed: Mapping[str, str],
        bodies: Bodies,
        counters: IngestCounters,
        clock: SystemClock,
        digest_key: bytes,
    ) -> None:
        self._digest_key = digest_key
        self._keys = keys = self._write_keys(config, None)
        proxies = TrustedProxies(config.server.trusted_proxies)
        self.posts = Answers(Cors(keys.origins), "POST", counters)
        self.gets = Answers(Cors(keys.origins, "GET, OPTIONS"), "GET", counters)
        gifs = Gifs(keys.origins, counters)
        limits = event_limits(config)
        self.lane = IngestLane(wal, keys, proxies, closed, bodies, limits, self.posts, gifs, counters, clock)
        self.documents = Documents(keys, proxies, config.server.public_url, self.gets)
        self.sdk_metrics = SdkMetrics(self.posts, counters)

    def apply(self, config: Config) -> None:
        """Other streams from now on. A key whose limit is as it was keeps what it has used of it."""
        self._keys = self._write_keys(config, self._keys)
        self.lane.use(self._keys)
        self.documents.use(self._keys)

    def _write_keys(self, config: Config, before: WriteKeys | None) -> WriteKeys:
        streams = map(stream_keys, config.streams.values())
        development = config.server.development
        return WriteKeys(streams, digest_key=self._digest_key, development=development, before=before)
