"""The batch family: `{"batch": […]}` bodies, and arrays. A bad item sinks no good one; it is listed."""

from server.ingest import Decoded, decode_batch
from server.routes import jitsu
from server.routes.family import Family, IngestRoute, listing
from server.routes.gateway import error_body

# SDKs append /b or /batch to whatever host they were configured with, hence the doubled and unprefixed forms.
_V1_PATHS = ("/v1/batch", "/v1/b", "/v1/import", "/v1/batch/b")
# RudderStack's beacon can send no header, so its key is in the query.
_OTHER_PATHS = ("/batch", "/b", "/batch/b", "/api/s/s2s/batch", "/beacon/v1/batch")


def _success(decoded: Decoded) -> bytes:
    good = decoded.received - len(decoded.errors)
    body: dict[str, object] = {
        "success": True,
        "ok": not decoded.errors,
        "receivedEvents": decoded.received,
        "okEvents": good,
    }
    return listing(body, decoded.errors)


FAMILY = Family("batch", error_body)


def routes() -> dict[str, IngestRoute]:
    """Every path of the family."""
    named = IngestRoute(FAMILY, _success, decode_batch, needs_identity=True)
    return dict.fromkeys(_V1_PATHS, named) | {
        path: IngestRoute(FAMILY, _success, decode_batch, host_fallback=path.startswith(jitsu.PREFIXES))
        for path in _OTHER_PATHS
    }
