"""conf/penstock.yaml shows every setting, with the default that really holds."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from server.catalog import Datasource, Destination, Link, LinkData, RateLimit, Stream
from server.settings import Config, load

EXAMPLE = Path(__file__).parents[3] / "conf" / "penstock.yaml"
SECTIONS = ("server", "store", "limits", "delivery", "logging", "embedded")


def shown() -> dict[str, Any]:
    return yaml.safe_load(EXAMPLE.read_text())


def catalog_text() -> str:
    """The commented half of the file, without its comment marks."""
    _, _, after = EXAMPLE.read_text().partition("# streams:\n")
    return "streams:\n" + "".join(
        line[2:] if line != "#\n" else "\n" for line in after.splitlines(keepends=True)
    )


def as_json(value: object) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


def encoded(shape: type) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(shape)}


def defaults(shape: type) -> dict[str, Any]:
    return {
        field.encode_name: as_json(field.default)
        for field in msgspec.structs.fields(shape)
        if field.default is not msgspec.NODEFAULT
    }


def test_the_file_loads() -> None:
    config = load(EXAMPLE, {}, {})
    assert config.store.path == str(EXAMPLE.parent / "data")


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_is_shown_with_its_default(section: str) -> None:
    default = as_json(getattr(Config(), section))
    assert shown()[section] == default


def test_no_section_is_forgotten() -> None:
    assert set(shown()) == set(SECTIONS)
    assert encoded(Config) == {*SECTIONS, "streams", "destinations", "links"}


def test_every_field_of_the_catalog_is_shown() -> None:
    catalog = yaml.safe_load(catalog_text())
    stream = catalog["streams"]["site"]
    own, embedded = catalog["destinations"]["warehouse"], catalog["destinations"]["embedded-warehouse"]
    link = catalog["links"]["site-warehouse"]
    assert set(stream) == encoded(Stream) - {"id"}
    assert set(own) | set(embedded) == encoded(Destination) - {"id"}
    assert set(own["datasource"]) == encoded(Datasource)
    assert set(link) == encoded(Link) - {"id"}


def test_the_catalogs_shown_defaults_are_true() -> None:
    catalog = yaml.safe_load(catalog_text())
    stream = catalog["streams"]["site"]
    assert catalog["links"]["site-warehouse"]["data"] == defaults(LinkData)
    assert stream["rate_limit"] == defaults(RateLimit)
    for name in ("domain_fallback", "server_rate_limit", "ip_policy"):
        assert stream[name] == defaults(Stream)[name]


def test_the_catalog_shown_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "conf.yaml"
    path.write_text(catalog_text())
    assert set(load(path, {}, {}).links) == {"site-warehouse"}
