"""Whatever is sent as a change of a destination: the stored password reaches its former server, or nobody."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.catalog import SSL_MODES, Destination
from server.clock import SystemClock
from server.management import MASK, Audit, Caller, ManagementError, Objects, SecretBox
from server.settings import Config
from storage import Store, StoreOptions

SECRET = "the-stored-one"
PLACE = {"host": "db", "port": 5432, "username": "u", "database": "d"}
GUARDS = [{}, {"sslmode": "require", "sslrootcert": "ca"}, {"sslmode": "verify-full", "sslrootcert": "ca"}]
PARAMETERS = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "sslmode": st.none() | st.sampled_from(SSL_MODES),
        "sslrootcert": st.sampled_from([None, "", "ca", "mine"]),
    },
)
FLAT: dict[str, st.SearchStrategy[Any]] = {
    "host": st.sampled_from(["db", "mine", None]),
    "port": st.sampled_from([5432, 5432.0, 5433, None]),
    "db": st.sampled_from(["d", "e"]),
    "username": st.sampled_from(["u", "v"]),
    "password": st.sampled_from([MASK, None, "", "another"]),
    "parameters": PARAMETERS,
    "sslMode": st.sampled_from([*SSL_MODES, None]),
    "sslServerCA": st.sampled_from(["ca", "mine", "", None]),
}
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        **FLAT,
        "datasource": st.none() | st.fixed_dictionaries({}, optional=FLAT),
        "embedded": st.booleans(),
    },
)


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Objects]:
    folder, clock = tmp_path_factory.mktemp("recipients"), SystemClock()
    store = Store.open(folder, StoreOptions(free_bytes_min=0), clock)

    async def in_force(_before: Config, _after: Config) -> None: ...

    async def make(objects: Objects) -> None:
        for number, guard in enumerate(GUARDS):
            body = {"id": f"d{number}", "type": "postgres", **PLACE, "password": SECRET, "parameters": guard}
            await objects.create("destination", body, Caller("k", "editor"))

    audit = Audit(store.catalog, clock)
    objects = Objects(store.catalog, Config(), SecretBox.open(folder), audit, clock, in_force)
    objects.load()
    asyncio.run(make(objects))
    yield objects
    store.close()


@given(number=st.integers(0, len(GUARDS) - 1), change=CHANGES)
@settings(max_examples=600, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_stored_password_goes_nowhere_else(objects: Objects, number: int, change: dict[str, Any]) -> None:
    try:
        value = objects.candidate("destination", {"id": f"d{number}", **change}, "default")
    except ManagementError:
        return
    assert isinstance(value, Destination)
    source, guard = value.datasource, GUARDS[number]
    if source is None or source.password != SECRET:
        return
    assert (source.host, source.port) == ("db", 5432)
    modes = [SSL_MODES.index(given.get("sslmode", "prefer")) for given in (guard, source.parameters)]
    assert modes[0] <= modes[1]
    assert source.parameters.get("sslrootcert") == "ca" or not guard
