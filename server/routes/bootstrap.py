"""What browser SDKs load before they send anything: Segment's `settings` and RudderStack's `sourceConfig`.

Both documents turn every integration off and point the SDK here; neither holds a secret (a browser key is
public by nature). Without them analytics.js and both RudderStack SDKs send nothing at all. The scripts of the
SDKs themselves are their makers' files: they are not shipped, and asking for one says where to take it from.

Event-loop thread only. What the SDKs need was seen with @segment/analytics-next 1.70 and 1.84,
rudder-sdk-js 2.52 and @rudderstack/analytics-js 3.34.
"""

import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from server.access import Grant, TrustedProxies, WriteKeys, find_key, server_url
from server.routes import gateway
from server.routes.answers import Answers
from server.routes.family import json_bytes
from server.routes.refusal import Refused
from server.routes.rsgi import Scope, Transport, peer_address

Handler = Callable[[Scope, Transport], Awaitable[None]]
Document = Callable[[str, Grant, str], dict[str, object]]

# SDKs build these paths from whatever host they were configured with, hence the doubled and unprefixed forms.
_SETTINGS: Final = re.compile(r"(?:/v1)?/projects(?:/projects)?/(.+)/settings/?")
_SOURCE_CONFIG: Final = re.compile(r"(?:/[^/]+)?/sourceConfig/?")
_SCRIPTS: Final = {
    "/p.js": "@jitsu/js",
    "/s/lib.js": "@jitsu/sdk-js",
    "/datafly.js": "Datafly",
    "/d.js": "Datafly",
}
_ANALYTICS_JS: Final = re.compile(r"/analytics\.js/v1/[^/]+/analytics(\.min)?\.js")
_CREDENTIALS: Final = ("authorization", "x-write-key")
# Pages load them each time they open: short enough that a change of the configuration reaches them soon.
_CACHE: Final = ("cache-control", "public, max-age=300")


class Documents:
    """Answers GET on the paths above. `public_url` is the server's address as clients know it, "" to take it
    from each request.
    """

    def __init__(self, keys: WriteKeys, proxies: TrustedProxies, public_url: str, answers: Answers) -> None:
        self._keys = keys
        self._proxies = proxies
        self._public_url = public_url.rstrip("/")
        self._answers = answers

    def use(self, keys: WriteKeys) -> None:
        """Other keys from the next request on."""
        self._keys = keys
        self._answers.cors.use(keys.origins)

    def handler(self, path: str) -> Handler | None:
        """Who answers on `path`, None if it is none of these."""
        if path in _SCRIPTS:
            return partial(self._script, _SCRIPTS[path])
        if settings := _SETTINGS.fullmatch(path):
            return partial(self._document, segment_settings, settings[1])
        if _SOURCE_CONFIG.fullmatch(path):
            return partial(self._document, rudder_source_config, None)
        if _ANALYTICS_JS.fullmatch(path):
            return partial(self._script, "@segment/analytics-next")
        return None

    async def _document(
        self, document: Document, path_key: str | None, scope: Scope, transport: Transport
    ) -> None:
        """The document for the key in the path, else in the header or the query."""
        origin = scope.headers.get("origin")
        if scope.method != "GET":
            return self._answers.other_method(gateway.FAMILY, scope.method, origin, transport)
        named = {name.encode(): (scope.headers.get(name) or "").encode() for name in _CREDENTIALS}
        key = path_key or find_key(named, scope.query_string.encode()) or ""
        grant = self._keys.grant(key)
        url = self._public_url or self._url(scope)
        refused = _refusal(grant, origin, url)
        if refused is not None or grant is None or url is None:
            return self._answers.refuse(gateway.FAMILY, refused or Refused("unauthorized"), origin, transport)
        headers = [*self._answers.cors.headers(origin), _CACHE]
        return transport.response_bytes(200, headers, json_bytes(document(key, grant, url)))

    async def _script(self, package: str, scope: Scope, transport: Transport) -> None:
        origin = scope.headers.get("origin")
        if scope.method not in ("GET", "HEAD"):
            return self._answers.other_method(gateway.FAMILY, scope.method, origin, transport)
        text = (
            f"{scope.path[:100]} is a script of the SDK {package}, which Penstock does not ship: "
            "serve it from your own pages or a CDN, and give the SDK this server's address"
        )
        return self._answers.refuse(gateway.FAMILY, Refused("not_found", text), origin, transport)

    def _url(self, scope: Scope) -> str | None:
        headers = scope.headers
        host = headers.get("host") or scope.authority or ""
        if (peer_address(scope) or "") not in self._proxies:
            return server_url(scope.scheme, host, None, None)
        proto, forwarded_host = headers.get_all("x-forwarded-proto"), headers.get_all("x-forwarded-host")
        return server_url(scope.scheme, host, ",".join(proto), ",".join(forwarded_host))


def _refusal(grant: Grant | None, origin: str | None, url: str | None) -> Refused | None:
    if grant is None:
        return Refused("unauthorized")
    if origin is not None and not grant.allows_origin(origin.encode()):
        return Refused("origin_not_allowed")
    if url is None:
        return Refused("bad_request", "the header Host names no host; set server.public_url")
    return None


def segment_settings(key: str, _grant: Grant, url: str) -> dict[str, object]:
    """The settings of a Segment source with no integration but this server at `url`."""
    scheme, _, host = url.partition("://")
    everything: dict[str, object] = {"__default": {"enabled": True, "integrations": {}}}
    return {
        "integrations": {
            "Segment.io": {
                "apiKey": key,
                "apiHost": f"{host}/v1",
                "protocol": scheme,
                "unbundledIntegrations": [],
                "addBundledMetadata": True,
                "maybeBundledConfigIds": {},
                "versionSettings": {"version": "4.4.7", "componentTypes": ["browser"]},
            }
        },
        "plan": {"track": everything, "identify": everything, "group": everything},
        "edgeFunction": {},
        "analyticsNextEnabled": True,
        "middlewareSettings": {},
        "enabledMiddleware": {},
        # The SDK's measurements of itself: none, and never to its maker.
        "metrics": {"sampleRate": 0, "host": f"{host}/v1"},
        "legacyVideoPluginsEnabled": False,
        "remotePlugins": [],
    }


def rudder_source_config(key: str, grant: Grant, _url: str) -> dict[str, object]:
    """The configuration of a RudderStack source without destinations. `dataplanes` is empty, so that the data
    plane is the one that the page gave to `load()`.
    """
    return {
        "source": {
            "id": grant.stream_id,
            "name": grant.stream_id,
            "writeKey": key,
            "enabled": True,
            "workspaceId": "penstock",
            "config": {
                "statsCollection": {"errors": {"enabled": False}, "metrics": {"enabled": False}},
            },
            "connections": [],
            "destinations": [],
            "dataplanes": {},
            "sourceDefinition": {"name": "Javascript"},
        },
        "updatedAt": "2026-01-01T00:00:00.000Z",
        "isHosted": False,
    }
