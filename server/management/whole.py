"""The configuration that the file and the stored objects are together, and what is wrong with it. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from server.catalog import Fault, Link, check_objects
from server.management.ends import LINK_KINDS, end_faults
from server.management.hashed_keys import comparable
from server.management.kinds import KINDS
from server.management.secrets import SecretBox
from server.management.stored import Stored
from server.settings import Config


def effective(provisioned: Config, objects: Mapping[str, Mapping[str, Stored]]) -> Config:
    """What is in force: everything but links that lack an end in their own workspace."""
    sections: dict[str, Any] = {
        kind.section: {id_: item.value for id_, item in objects[kind.name].items()}
        for kind in KINDS.values()
        if kind.section is not None
    }
    sections["links"] = {
        id_: link.value for id_, link in objects["link"].items() if not any(end_faults(link, objects))
    }
    return msgspec.structs.replace(provisioned, **sections)


def config_faults(
    config: Config, objects: Mapping[str, Mapping[str, Stored]], box: SecretBox, item: Stored | None = None
) -> Iterator[Fault]:
    """Every fault of the configuration that the objects are; an `item` that lacks an end has one."""
    links = dict(config.links)
    if item is not None and isinstance(item.value, Link):
        links[item.id] = item.value
    if item is not None and item.kind in LINK_KINDS:
        yield from end_faults(item, objects)
    streams = {id_: comparable(stream, box) for id_, stream in config.streams.items()}
    # Which ends are there was looked at already, in the workspace of each link.
    sources, targets = {link.from_id for link in links.values()}, {link.to_id for link in links.values()}
    yield from check_objects(streams, config.destinations, links, sources, targets)
    spaces = objects["workspace"].values()
    words = Counter(word for space in spaces for word in {space.id, space.body["slug"]})
    yield from (Fault("slug", f"{word!r} is taken") for word, uses in words.items() if word and uses > 1)
