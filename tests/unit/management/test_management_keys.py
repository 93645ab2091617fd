"""API keys: who is let in, until when, and what is left of them in the store."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.management import ApiKeys, Audit, AuthRefusal, Caller, SecretBox, SecretError
from server.management.errors import NotFound
from server.management.stored import KEY_RECORD, KEY_TABLE
from storage import Put, Store, StoreOptions

ROOT = Caller("root", "admin")
TOKEN = "the-admin-token"


class Clock:
    """Both clocks, moved by hand."""

    def __init__(self) -> None:
        self.now_s = 1_700_000_000.0

    def wall_ms(self) -> int:
        return int(self.now_s * 1000)

    def monotonic_s(self) -> float:
        return self.now_s


class Bench:
    """Keys on a real store, which can be opened again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.open()

    def open(self) -> None:
        self.store = Store.open(self.folder, StoreOptions(free_bytes_min=0), self.clock)
        self.audit = Audit(self.store.catalog, self.clock)
        box = SecretBox.open(self.folder)
        self.keys = ApiKeys(self.store.catalog, box, self.audit, self.clock, TOKEN)

    def reopen(self) -> None:
        self.store.close()
        self.open()

    def ask(self, text: str, address: str = "192.0.2.1") -> Caller | AuthRefusal:
        return self.keys.authenticate(f"Bearer {text}", address)

    def refused(self, text: str, address: str = "192.0.2.1") -> str:
        answer = self.ask(text, address)
        assert isinstance(answer, AuthRefusal)
        return answer.slug


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    await asyncio.to_thread(bench.store.close)


async def test_a_key_lets_in_and_outlives_a_restart(bench: Bench) -> None:
    key, text = await bench.keys.create("editor", ROOT, "ci")
    assert text.startswith(f"{key.id}:")
    bench.reopen()
    assert bench.ask(text) == Caller(key.id, "editor")
    assert bench.keys.authenticate(f"bearer  {text} ", None) == Caller(key.id, "editor")


async def test_no_secret_is_in_the_store(bench: Bench) -> None:
    _, text = await bench.keys.create("admin", ROOT)
    secret = text.partition(":")[2].encode()
    stored = b"".join(
        value for table in ("api_keys", "audit") for _, value in bench.store.catalog.scan(table)
    )
    assert secret[:12] not in stored
    assert secret not in (bench.folder / "catalog" / "data.mdb").read_bytes()


async def test_the_store_under_another_key_file_lets_nobody_in(bench: Bench) -> None:
    _, text = await bench.keys.create("admin", ROOT)
    (bench.folder / "secret.key").unlink()
    bench.reopen()
    assert bench.refused(text) == "key_unauthorized"


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer x", "Basic YTpi", "Bearer key-1:", "Bearer :"]
)
async def test_what_is_no_key_is_refused(bench: Bench, authorization: str) -> None:
    answer = bench.keys.authenticate(authorization, None)
    assert isinstance(answer, AuthRefusal)
    assert answer.slug == "key_unauthorized"


async def test_one_key_does_not_let_in_with_the_secret_of_another(bench: Bench) -> None:
    one, _ = await bench.keys.create("admin", ROOT)
    _, other = await bench.keys.create("viewer", ROOT)
    assert bench.refused(f"{one.id}:{other.partition(':')[2]}") == "key_unauthorized"


async def test_a_revoked_key_is_out_at_once_and_stays_out(bench: Bench) -> None:
    key, text = await bench.keys.create("admin", ROOT)
    assert isinstance(bench.ask(text), Caller)  # a note of its use is on its way now
    await bench.keys.delete(key.id, ROOT)
    assert bench.refused(text) == "key_unauthorized"
    bench.reopen()
    assert bench.refused(text) == "key_unauthorized"
    with pytest.raises(NotFound):
        await bench.keys.delete(key.id, ROOT)


async def test_a_key_expires(bench: Bench) -> None:
    _, text = await bench.keys.create("admin", ROOT, expires_ms=bench.clock.wall_ms() + 1000)
    assert isinstance(bench.ask(text), Caller)
    bench.clock.now_s += 1
    assert bench.refused(text) == "key_unauthorized"


async def test_the_last_use_is_kept(bench: Bench) -> None:
    _, text = await bench.keys.create("viewer", ROOT)
    bench.clock.now_s += 3600
    bench.ask(text)
    await bench.keys.settled()
    bench.reopen()
    assert [key.last_used_ms for key in bench.keys.all()] == [bench.clock.wall_ms()]


async def test_failures_are_limited_for_each_address(bench: Bench) -> None:
    _, text = await bench.keys.create("admin", ROOT)
    assert [bench.refused("key-1:guess") for _ in range(10)] == ["key_unauthorized"] * 10
    assert bench.refused("key-1:guess") == "too_many_failures"
    assert bench.refused("key-1:guess", "192.0.2.2") == "key_unauthorized"
    assert isinstance(bench.ask(text), Caller)
    bench.clock.now_s += 5
    assert bench.refused("key-1:guess") == "key_unauthorized"


@pytest.mark.parametrize(("token", "let_in"), [("sixteen-letters-", True), ("fifteen-letters", False)])
async def test_who_guesses_locks_out_no_secret_that_cannot_be_guessed(
    bench: Bench, token: str, let_in: bool
) -> None:
    keys = ApiKeys(bench.store.catalog, SecretBox.open(bench.folder), bench.audit, bench.clock, token)
    for _ in range(10):
        assert isinstance(keys.authenticate(None, "192.0.2.1", "wrong"), AuthRefusal)
    assert isinstance(keys.authenticate(None, "192.0.2.1", token), Caller) is let_in
    assert isinstance(keys.authenticate(None, "192.0.2.2", token), Caller)


async def test_a_network_of_ipv6_is_one_address(bench: Bench) -> None:
    for number in range(10):
        bench.refused("key-1:guess", f"2001:db8::{number:x}")
    assert bench.refused("key-1:guess", "2001:db8::ffff:0:1") == "too_many_failures"
    assert bench.refused("key-1:guess", "2001:db8:0:1::1") == "key_unauthorized"
    assert bench.refused("key-1:guess", "::ffff:192.0.2.7") == "key_unauthorized"


async def test_the_admin_token_has_every_right(bench: Bench) -> None:
    caller = bench.keys.authenticate(None, None, TOKEN)
    assert isinstance(caller, Caller)
    assert caller.may("admin")
    assert isinstance(bench.keys.authenticate(None, None, "wrong"), AuthRefusal)


async def test_without_an_admin_token_an_empty_one_is_wrong(bench: Bench) -> None:
    keys = ApiKeys(bench.store.catalog, SecretBox.open(bench.folder), bench.audit, bench.clock)
    assert isinstance(keys.authenticate(None, None, ""), AuthRefusal)


def test_roles_include_each_other() -> None:
    assert Caller("k", "editor").may("viewer")
    assert not Caller("k", "editor").may("admin")
    assert not Caller("k", "viewer").may("editor")


async def test_making_and_revoking_a_key_is_in_the_audit_log(bench: Bench) -> None:
    key, text = await bench.keys.create("editor", ROOT, "ci")
    await bench.keys.delete(key.id, ROOT)
    deleted, created = bench.audit.read(None, 10)
    assert (created.who, created.action, created.id) == ("root", "create", key.id)
    assert created.before is None
    assert created.after == deleted.before == key.said()
    assert text.partition(":")[2] not in str(bench.audit.read(None, 10))


async def test_no_key_is_made_under_another_key_file_than_that_of_the_objects(bench: Bench) -> None:
    fingerprint = SecretBox.open(bench.folder).fingerprint
    await bench.store.catalog.write([Put(KEY_TABLE, KEY_RECORD, fingerprint)])
    with pytest.raises(SecretError, match=r"secret\.key"):
        ApiKeys(bench.store.catalog, SecretBox(bytes(32)), bench.audit, bench.clock)
