"""The two ends of a link, and what else it needs: are they there, may they go, do they stay? Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from server.catalog import Fault
from server.management.errors import Conflict
from server.management.kinds import LINK_TYPES
from server.management.stored import Stored

LINK_KINDS: Final = tuple(LINK_TYPES)


def end_faults(item: Stored, objects: Mapping[str, Mapping[str, Stored]]) -> Iterator[Fault]:
    """Both ends of a link are there, in its own workspace."""
    source = "stream" if item.kind == "link" else "service"
    for field, kind, end in (("fromId", source, item.ends[0]), ("toId", "destination", item.ends[1])):
        found = objects[kind].get(end)
        if found is None or found.workspace != item.workspace:
            yield Fault(field, f"{kind} object with id {end!r} not found in the workspace {item.workspace!r}")


def functions_of(link: Stored) -> list[str]:
    """What it runs events through."""
    return [use["functionId"] for use in link.body["data"].get("functions", ())]


def in_use(item: Stored, users: Sequence[Stored]) -> Conflict:
    """Why an object is not deleted; in Jitsu's words."""
    links = [
        {"id": link.id, "type": LINK_TYPES[link.kind], "fromId": link.ends[0], "toId": link.ends[1]}
        for link in users
    ]
    if item.kind == "function":
        message = f"Cannot delete function because it is being used by {len(links)} connection(s)"
        return Conflict("FUNCTION_IN_USE", message, {"connectionsCount": len(links), "connections": links})
    message = f"Cannot delete {item.kind} because it has {len(links)} linked connections"
    details = {"linkedConnectionsCount": len(links), "linkedConnections": links}
    return Conflict("LINKED_CONNECTIONS_EXIST", message, details)


def moved_ends(before: Stored | None, body: Mapping[str, Any]) -> list[Fault]:
    """A link that is there keeps its ends."""
    if before is None or before.kind not in LINK_KINDS:
        return []
    hint = "delete the link and make a new one: what was delivered belongs to its two ends"
    moved = [end for end in ("from", "to") if body.get(end) != before.body[end]]
    return [Fault(f"{end}Id", "cannot be changed", hint) for end in moved]
