"""Other names for the same fields, brought to ours before anything is checked, and back for answers.

Jitsu's objects are flat and camelCase; the configuration file prefers short names. Both are accepted
everywhere. What is not recognised is left as it is, so that the schema check can name it.
"""

import hashlib
from collections.abc import Mapping
from datetime import date
from typing import Any, Final

STREAM: Final = {
    "publicKeys": "browser_keys",
    "privateKeys": "server_keys",
    "authorizedJavaScriptDomains": "origins",
    "domainFallback": "domain_fallback",
    "rateLimit": "rate_limit",
    "serverRateLimit": "server_rate_limit",
    "ipPolicy": "ip_policy",
}
DESTINATION: Final = {"destinationType": "type"}
DATASOURCE: Final = {"database": "db", "defaultSchema": "schema"}
FLAT_DATASOURCE: Final[tuple[str, ...]] = (
    "host",
    "port",
    "database",
    "db",
    "defaultSchema",
    "username",
    "password",
    "parameters",
    "sslMode",
    "sslServerCA",
    "sslClientCert",
    "sslClientKey",
)
PARAMETERS: Final = {
    "sslMode": "sslmode",
    "sslServerCA": "sslrootcert",
    "sslClientCert": "sslcert",
    "sslClientKey": "sslkey",
}
LINK: Final = {"fromId": "from", "toId": "to"}


PUBLISHED_NAMES: Final = {
    "stream": {ours: theirs for theirs, ours in STREAM.items()},
    "destination": {ours: theirs for theirs, ours in DESTINATION.items()},
    "datasource": {ours: theirs for theirs, ours in DATASOURCE.items()},
    "link": {ours: theirs for theirs, ours in LINK.items()},
}
"""What the management API calls our fields, where it is not as we do."""


def normalize_stream(value: object) -> object:
    """A stream under our names: keys become `{id, token}`, bare authorized domains become origins."""
    if not isinstance(value, Mapping):
        return value
    stream = _rename(value, STREAM)
    for field in ("browser_keys", "server_keys"):
        if isinstance(stream.get(field), list):
            stream[field] = [_write_key(key) for key in stream[field]]
    if "authorizedJavaScriptDomains" in value:
        stream["origins"] = _authorized_domains(stream["origins"])
    return stream


def normalize_destination(value: object) -> object:
    """A destination under our names: flat Postgres fields move into `datasource`."""
    if not isinstance(value, Mapping):
        return value
    destination = _rename(value, DESTINATION)
    flat = {field: destination.pop(field) for field in FLAT_DATASOURCE if field in destination}
    if flat and "schema" in destination:
        flat.setdefault("schema", destination.pop("schema"))
    nested = destination.get("datasource")
    if isinstance(nested, Mapping) or (flat and nested is None):
        destination["datasource"] = _datasource({**flat, **(nested or {})})
    else:
        destination |= flat
    return destination


def normalize_link(value: object) -> object:
    """A link under our names; `primaryKey` may be a comma list, as in the management API, and `startFrom` a
    time that YAML reads as one.
    """
    if not isinstance(value, Mapping):
        return value
    link = _rename(value, LINK)
    data = link.get("data")
    if isinstance(data, Mapping):
        link["data"] = data = dict(data)
        if isinstance(data.get("primaryKey"), str):
            data["primaryKey"] = [part.strip() for part in data["primaryKey"].split(",") if part.strip()]
        if isinstance(data.get("startFrom"), date):
            data["startFrom"] = data["startFrom"].isoformat()
    return link


def published_stream(stream: Mapping[str, Any]) -> dict[str, Any]:
    """A stream as the management API shows it: Jitsu's names, keys without what is secret."""
    shown = _rename(stream, PUBLISHED_NAMES["stream"])
    for field in ("publicKeys", "privateKeys"):
        shown[field] = [{"id": key["id"], "hint": key.get("hint", "")} for key in shown.get(field, ())]
    shown["authorizedJavaScriptDomains"] = ",".join(shown.get("authorizedJavaScriptDomains", ()))
    return shown


def published_destination(destination: Mapping[str, Any]) -> dict[str, Any]:
    """A destination as the management API shows it: Jitsu's names, flat."""
    shown = _rename(destination, PUBLISHED_NAMES["destination"])
    datasource = shown.pop("datasource", None)
    if datasource is None:
        return shown
    shown.pop("schema", None)
    parameters = dict(datasource.get("parameters", {}))
    flat = {name: parameters.pop(ours) for name, ours in PARAMETERS.items() if ours in parameters}
    return {**shown, **_rename(datasource, PUBLISHED_NAMES["datasource"]), "parameters": parameters, **flat}


def published_link(link: Mapping[str, Any]) -> dict[str, Any]:
    """A link as the management API shows it."""
    return _rename(link, PUBLISHED_NAMES["link"])


def _rename(value: Mapping[str, Any], table: Mapping[str, str]) -> dict[str, Any]:
    """Rename known fields; if both names are given, ours stays and the other is left to be reported as
    unknown.
    """
    return {
        (table[key] if key in table and table[key] not in value else key): item for key, item in value.items()
    }


def _datasource(value: Mapping[str, object]) -> dict[str, object]:
    datasource = _rename(value, DATASOURCE)
    parameters = datasource.get("parameters") or {}
    if isinstance(parameters, Mapping) and (flat := [name for name in PARAMETERS if name in datasource]):
        given = {PARAMETERS[name]: datasource.pop(name) for name in flat}
        datasource["parameters"] = {**given, **parameters}
    return datasource


def _write_key(key: object) -> object:
    """`"id:secret"`, an opaque text, or `{id, plaintext}` (plaintext: the secret alone) → `{id, token}`."""
    if isinstance(key, str):
        public, colon, _ = key.partition(":")
        # An opaque key is secret as a whole, so logs and limits name it by a digest.
        return {"id": public if colon else hashlib.sha256(key.encode()).hexdigest()[:12], "token": key}
    if isinstance(key, Mapping) and isinstance(key.get("plaintext"), str):
        rest = {name: item for name, item in key.items() if name != "plaintext"}
        return {**rest, "token": f"{key.get('id')}:{key['plaintext']}"}
    return key


def _authorized_domains(value: object) -> object:
    """Jitsu writes them as one text, separated by commas or white space."""
    return value.replace(",", " ").split() if isinstance(value, str) else value
