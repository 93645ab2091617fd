"""Layers, references, and faults: all of them, each with its path."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from server.settings import Config, ConfigErrors, load

Loader = Callable[..., Config]

WHOLE = """
server: {host: 127.0.0.1, port: 3049, name: box-1, admin_token: "${env.PENSTOCK_ADMIN_TOKEN}", public_url: ""}
store: {path: ./data}
streams:
  site:
    name: My site
    browser_keys: ["site-b:bsecret", "dk_live_abc123"]
    server_keys: ["site-s:ssecret"]
    origins: ["https://shop.example.com"]
    domains: []
    rate_limit: {events_per_second: 1000, burst: 2000}
destinations:
  warehouse:
    type: postgres
    datasource: {host: 127.0.0.1, db: events, username: penstock, password: "${env.PGPASSWORD}",
                 parameters: {sslmode: disable}}
links:
  site-warehouse: {from: site, to: warehouse, data: {mode: stream, primaryKey: message_id}}
"""


@pytest.fixture
def loaded(tmp_path: Path) -> Loader:
    def run(text: str, environ: dict[str, str] | None = None, flags: dict[str, str] | None = None) -> Config:
        path = tmp_path / "conf.yaml"
        path.write_text(text)
        return load(path, environ or {}, flags or {})

    return run


def faults(loaded: Loader, text: str, **environ: str) -> dict[str, str]:
    with pytest.raises(ConfigErrors) as caught:
        loaded(text, environ)
    return {fault.path: f"{fault.message} {fault.hint}" for fault in caught.value.faults}


def test_a_whole_configuration(loaded: Loader) -> None:
    config = loaded(WHOLE, {"PENSTOCK_ADMIN_TOKEN": "1234", "PGPASSWORD": "0"})
    assert config.server.admin_token == "1234"  # text stays text, also when it looks like a number
    assert [key.token for key in config.streams["site"].browser_keys] == ["site-b:bsecret", "dk_live_abc123"]
    assert config.destinations["warehouse"].datasource.password == "0"
    assert config.links["site-warehouse"].data.primary_key == ("message_id",)


def test_a_whole_number_may_be_written_with_a_point(loaded: Loader) -> None:
    config = loaded("streams: {site: {rate_limit: {events_per_second: 5.0, burst: 5.0}}}")
    assert config.streams["site"].rate_limit.burst == 5


def test_a_rate_that_is_next_to_none_is_a_fault(loaded: Loader) -> None:
    with pytest.raises(ConfigErrors, match="must be at least"):
        loaded("streams: {site: {rate_limit: {events_per_second: 5.0e-324}}}")


def test_flag_beats_environment_beats_file(loaded: Loader) -> None:
    text = "server: {host: a, port: 1, name: file}"
    environ = {
        "PENSTOCK__SERVER__PORT": "2",
        "PENSTOCK__SERVER__HOST": "b",
        "PENSTOCK__SERVER__DEVELOPMENT": "true",
    }
    server = loaded(text, environ, {"server.host": "c"}).server
    assert (server.host, server.port, server.name, server.development) == ("c", 2, "file", True)


def test_the_environment_reaches_into_the_catalog(loaded: Loader) -> None:
    environ = {"PENSTOCK_ADMIN_TOKEN": "x", "PGPASSWORD": "y", "PENSTOCK__STREAMS__SITE__NAME": "5"}
    assert loaded(WHOLE, environ).streams["site"].name == "5"


def test_a_list_from_the_environment(loaded: Loader) -> None:
    config = loaded("", {"PENSTOCK__SERVER__TRUSTED_PROXIES": "[10.0.0.0/8, '::1']"})
    assert config.server.trusted_proxies == ("10.0.0.0/8", "::1")


def test_references_with_defaults(loaded: Loader) -> None:
    text = 'server: {port: "${env.PORT|8080}", name: "a-${env.NAME|b}-c"}'
    assert loaded(text).server.port == 8080
    assert loaded(text, {"PORT": "1", "NAME": "x"}).server.name == "a-x-c"


def test_an_unset_variable_is_one_fault(loaded: Loader) -> None:
    found = faults(loaded, 'store: {retention_s: "${env.NOPE}"}')
    assert list(found) == ["store.retention_s"]
    assert "NOPE is not set" in found["store.retention_s"]


def test_a_path_in_the_file_is_relative_to_the_file(loaded: Loader, tmp_path: Path) -> None:
    assert loaded("store: {path: ./data}").data_dir == tmp_path / "data"
    assert loaded("", {}, {"store.path": "x"}).data_dir == Path.cwd() / "x"


def test_all_faults_at_once(loaded: Loader) -> None:
    found = faults(
        loaded,
        """
server: {prt: 80, port: 99999, trusted_proxies: [zzz], admin_token: 5, port2: 1}
servr: 4
streams:
  site: {browser_keys: ["a:b", 3], origins: ["https://x/path"], server_rate_limit: {burst: 0, x: 1}}
destinations:
  d: {type: mysql}
  e: {type: postgres}
links:
  l: {from: siet, to: d, data: {mode: stroom, primaryKey: []}}
""",
    )
    assert set(found) == {
        "server.prt",
        "server.port",
        "server.port2",
        "server.trusted_proxies[0]",
        "server.admin_token",
        "servr",
        "streams.site.browser_keys[1]",
        "streams.site.origins[0]",
        "streams.site.server_rate_limit.burst",
        "streams.site.server_rate_limit.x",
        "destinations.d.type",
        "destinations.e",
        "links.l.from",
        "links.l.data.mode",
        "links.l.data.primaryKey",
    }
    assert "did you mean port?" in found["server.prt"]


def test_no_secret_in_a_fault(loaded: Loader) -> None:
    text = """
server: {admin_token: 123456}
destinations: {d: {type: postgres, host: h, database: d, username: u, password: 98765}}
"""
    said = str(faults(loaded, text))
    assert "123456" not in said
    assert "98765" not in said


@pytest.mark.parametrize(
    "text",
    [
        "destinations: {d: {type: postgres, datasource: 'postgres://u:hunter2@h/d'}}",
        "destinations: {d: {type: postgres, datasource: [hunter2]}}",
        "destinations: [{id: d, password: hunter2}]",
        "destinations: {d: 'postgres://u:hunter2@h/d'}",
        "streams: {site: [{server_keys: ['a:hunter2']}]}",
        "server: ['hunter2']",
        "hunter2",
        "[hunter2]",
    ],
)
def test_no_secret_in_the_fault_of_what_stands_in_for_a_mapping(loaded: Loader, text: str) -> None:
    assert "hunter2" not in str(faults(loaded, text))


def test_a_key_given_twice(loaded: Loader) -> None:
    found = faults(loaded, "store:\n  path: a\n  path: b\n")
    assert "again in line 3" in found["store.path"]


@pytest.mark.parametrize("text", ["a: [", "- 1", "\t", "a: &x *x"])
def test_what_is_no_mapping_is_a_fault(loaded: Loader, text: str) -> None:
    assert len(faults(loaded, text)) == 1


def test_a_missing_file_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match="cannot be read"):
        load(tmp_path / "none.yaml", {}, {})


def test_a_variable_that_names_nothing(loaded: Loader) -> None:
    assert "server.prot" in faults(loaded, "", PENSTOCK__SERVER__PROT="1")
    assert "PENSTOCK__SERVER__PORT__X" in faults(loaded, "server: {port: 1}", PENSTOCK__SERVER__PORT__X="1")


def test_faults_that_are_not_in_the_file_are_not_blamed_on_it(loaded: Loader) -> None:
    environ = {"PENSTOCK__SERVER__PORT": "abc", "PENSTOCK__SERVER__TRUSTED_PROXIES": "[x]"}
    with pytest.raises(ConfigErrors, match=r"server.port: .*given by PENSTOCK__SERVER__PORT") as one:
        loaded("", environ)
    assert (one.value.in_file, one.value.elsewhere) == (False, frozenset(environ))
    with pytest.raises(ConfigErrors, match=r"server.port: .*given by --port") as both:
        loaded("limits: {x: 1}", {}, {"server.port": "70000"})
    assert (both.value.in_file, both.value.elsewhere) == (True, {"--port"})
    with pytest.raises(ConfigErrors) as nothing:
        loaded("server: {port: 1}", {"PENSTOCK__SERVER__PORT__X": "1"})
    assert (nothing.value.in_file, nothing.value.elsewhere) == (False, {"PENSTOCK__SERVER__PORT__X"})


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan"])
def test_a_number_without_an_end_is_a_fault(loaded: Loader, value: str) -> None:
    found = faults(loaded, f"delivery: {{flush_interval_s: {value}}}", PENSTOCK__STORE__RETENTION_S=value)
    assert set(found) == {"delivery.flush_interval_s", "store.retention_s"}
    assert "is not a number that can be used" in found["delivery.flush_interval_s"]


TENFOLD = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [*a]",
        "a: &a {b: *a}",
        "a: " + "[" * 5_000,
        "a: " + "[" * 150 + "]" * 150,
        f"a0: &a0 [x]\n{TENFOLD}",
    ],
)
def test_what_expands_without_measure_is_one_fault(loaded: Loader, text: str) -> None:
    (said,) = faults(loaded, text).values()
    assert "without aliases" in said


def test_an_alias_is_no_fault(loaded: Loader) -> None:
    config = loaded("streams: {a: {origins: &shops ['https://a.example']}, b: {origins: *shops}}")
    assert config.streams["a"].origins == config.streams["b"].origins


@pytest.mark.skipif(os.geteuid() != 0, reason="reading as another user needs root (CI runs as root)")
def test_whose_file_it_is_that_cannot_be_read() -> None:
    with tempfile.TemporaryDirectory() as folder:  # not below pytest's, which is closed to others
        Path(folder).chmod(0o711)
        path = Path(folder) / "conf.yaml"
        path.touch(0o600)
        os.seteuid(54321)
        try:
            with pytest.raises(ConfigErrors, match="it belongs to root: run this as that user"):
                load(path, {}, {})
        finally:
            os.seteuid(0)


def test_bounds_that_would_starve_each_other(loaded: Loader) -> None:
    found = faults(loaded, "limits: {body_bytes_max: 100000000}")
    assert set(found) == {"server.in_flight_bytes_max", "store.pending_bytes_max", "store.segment_bytes"}


def test_sections_may_be_empty(loaded: Loader) -> None:
    assert loaded("server:\nstreams:\nlinks:\n") == loaded("")


def test_text_below_what_may_be_nothing_is_read_as_its_type(tmp_path: Path) -> None:
    source = "{host: h, port: '${env.NONE|6432}', db: d, username: u}"
    text = f"destinations: {{pg: {{type: postgres, datasource: {source}}}}}"
    (tmp_path / "conf.yaml").write_text(text)
    datasource = load(tmp_path / "conf.yaml", {}, {}).destinations["pg"].datasource
    assert datasource is not None
    assert datasource.port == 6432
