"""The batch family: `{"batch": […]}` bodies. A bad item does not sink the good ones; the answer lists it."""

from server.ingest import Decoded
from server.routes.family import Family, IngestRoute, item_errors, json_bytes
from server.routes.gateway import error_body

# SDKs append /b or /batch to whatever host they were configured with, hence the doubled and unprefixed forms.
_V1_PATHS = ("/v1/batch", "/v1/b", "/v1/import", "/v1/batch/b")
_OTHER_PATHS = ("/batch", "/b", "/batch/b", "/api/s/s2s/batch")


def _success(decoded: Decoded) -> bytes:
    good = decoded.received - len(decoded.errors)
    body: dict[str, object] = {
        "success": True,
        "ok": not decoded.errors,
        "receivedEvents": decoded.received,
        "okEvents": good,
    }
    if decoded.errors:
        body["errors"] = item_errors(decoded.errors)
    return json_bytes(body)


FAMILY = Family("batch", error_body)


def routes() -> dict[str, IngestRoute]:
    """Every path of the family."""
    table = {path: IngestRoute(FAMILY, _success, batch=True, needs_identity=True) for path in _V1_PATHS}
    table |= {path: IngestRoute(FAMILY, _success, batch=True) for path in _OTHER_PATHS}
    return table
