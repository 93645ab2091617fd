"""The wire: cut, stalled, away, slow; and how links share a destination. A proxy stands before Postgres."""

import asyncio
from dataclasses import replace

import pytest

from server.warehouse import Destination, Limits, LinkKey, PostgresConfig, Unavailable
from tests.contract.warehouse.conftest import OPTIONS, Link
from tests.faults.proxy import Direction, FaultProxy

STALL_S = 1.5


@pytest.fixture
async def proxy(config):
    async with FaultProxy(config.host, config.port) as proxy:
        yield proxy


@pytest.fixture
async def link(config, proxy):
    through = replace(config, host="127.0.0.1", port=proxy.port, sslmode="disable")
    destination = Destination(through, 2, Limits(stall_timeout_s=STALL_S, connect_timeout_s=STALL_S))
    link = await Link(destination, LinkKey("store", "link", 1), OPTIONS).take_over()
    await link.flush({"message_id": "first", "pad": "x"})
    yield link
    proxy.resume()
    await destination.close()


def big(link):
    return link.batch([{"message_id": f"m{at}", "pad": "x" * 2000} for at in range(2000)])


async def lands_after_all(link, batch, sql):
    flushed = await link.land(batch)
    assert await sql.fetchval("SELECT count(*) FROM events") == 1 + len(batch.rows)
    return flushed


async def test_a_cut_in_the_middle_of_copy_leaves_nothing_and_the_next_try_lands(link, proxy, sql):
    batch = big(link)
    proxy.cut_after(1_000_000, Direction.TO_SERVER)
    with pytest.raises(Unavailable):
        await link.land(batch)
    assert proxy.fired.is_set()
    assert await sql.fetchval("SELECT count(*) FROM events") == 1
    await lands_after_all(link, batch, sql)


async def test_a_stall_in_the_middle_of_copy_ends_within_the_bound(link, proxy, sql):
    batch = big(link)
    proxy.stall_after(1_000_000, Direction.TO_SERVER)
    async with asyncio.timeout(STALL_S * 6):
        with pytest.raises(Unavailable, match="timed out"):
            await link.land(batch)
    proxy.resume()
    await lands_after_all(link, batch, sql)


async def test_a_cut_while_the_socket_is_full_is_noticed_at_once(config, proxy):
    through = replace(config, host="127.0.0.1", port=proxy.port, sslmode="disable")
    destination = Destination(through, 1, Limits(stall_timeout_s=60.0))
    link = await Link(destination, LinkKey("store", "link", 1), OPTIONS).take_over()
    await link.flush({"message_id": "first", "pad": "x"})
    proxy.stall_after(200_000, Direction.TO_SERVER)
    flush = asyncio.create_task(
        link.land(link.batch([{"message_id": f"m{at}", "pad": "x" * 20_000} for at in range(2_000)]))
    )
    await proxy.fired.wait()
    await asyncio.wait([flush], timeout=0.5)  # 40 MB do not fit in the buffers of a socket
    assert not flush.done()
    proxy.cut()
    async with asyncio.timeout(5):
        with pytest.raises(Unavailable):
            await flush
    proxy.resume()
    await destination.close()


@pytest.mark.parametrize("fault", ["cut_at", "stall_at"])
async def test_an_unanswered_commit_is_in_doubt_and_never_doubled(link, proxy, sql, fault):
    batch = link.batch([{"message_id": None, "pad": "only once"}])
    getattr(proxy, fault)(b"C\0\0\0\x0bCOMMIT\0", Direction.TO_CLIENT)
    with pytest.raises(Unavailable, match="commit") as raised:
        await link.land(batch)
    assert raised.value.in_doubt
    proxy.resume()
    assert (await lands_after_all(link, batch, sql)).already_landed


async def test_a_commit_that_was_never_sent_is_redone(link, proxy, sql):
    batch = link.batch([{"message_id": None, "pad": "only once"}])
    proxy.cut_at(b"COMMIT", Direction.TO_SERVER)
    with pytest.raises(Unavailable) as raised:
        await link.land(batch)
    assert raised.value.in_doubt
    assert not (await lands_after_all(link, batch, sql)).already_landed


async def test_who_gives_up_while_an_old_connection_is_asked_leaves_none_behind(config, proxy):
    through = replace(config, host="127.0.0.1", port=proxy.port, sslmode="disable")
    destination = Destination(through, 1, Limits(connection_idle_s=0.0))
    await destination.probe()
    proxy.stall_at(b"SELECT 1", Direction.TO_SERVER)
    await given_up(asyncio.create_task(destination.probe()), proxy)


async def test_who_gives_up_while_a_transaction_is_ended_leaves_no_connection(link, proxy):
    await link.land(batch := link.batch([{"message_id": "a"}]))
    proxy.stall_at(b"ROLLBACK", Direction.TO_SERVER)
    await given_up(asyncio.create_task(link.land(batch)), proxy)


async def given_up(task, proxy):
    """Cancelled once the proxy has stalled, it ends every connection that it had."""
    await proxy.fired.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    proxy.resume()
    async with asyncio.timeout(10):
        await proxy.ended()


async def test_connections_killed_by_the_server_are_replaced(link, sql):
    await sql.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'penstock'"
    )
    try:
        await link.flush({"message_id": "a"})
    except Unavailable:
        await link.flush({"message_id": "a"})
    assert await sql.fetchval("SELECT count(*) FROM events") == 2


async def test_a_server_that_is_away_is_unavailable_then_back(link, proxy):
    proxy.refuse()
    proxy.cut()
    with pytest.raises(Unavailable):
        await link.flush({"message_id": "a"})
    with pytest.raises(Unavailable, match="connect to"):
        await link.flush({"message_id": "a"})
    proxy.refuse(on=False)
    await link.flush({"message_id": "a"})


async def test_a_silent_server_does_not_hang_a_connect(config, proxy):
    proxy.stall()
    through = replace(config, host="127.0.0.1", port=proxy.port, sslmode="disable")
    destination = Destination(through, 1, Limits(connect_timeout_s=0.3))
    with pytest.raises(Unavailable, match="timed out"):
        await destination.probe()
    proxy.resume()
    await destination.close()


async def test_a_cancelled_flush_leaves_nothing_behind(link, proxy, sql):
    batch = big(link)
    proxy.stall_after(1_000_000, Direction.TO_SERVER)
    flush = asyncio.create_task(link.land(batch))
    await proxy.fired.wait()
    flush.cancel()
    with pytest.raises(asyncio.CancelledError):
        await flush
    proxy.resume()
    await lands_after_all(link, batch, sql)


async def test_closing_ends_a_flush_under_way(link, proxy):
    batch = big(link)
    proxy.stall_after(1_000_000, Direction.TO_SERVER)
    flush = asyncio.create_task(link.land(batch))
    await proxy.fired.wait()
    await link.destination.close()
    with pytest.raises(Unavailable):
        await flush
    with pytest.raises(Unavailable, match="closed"):
        await link.flush({"message_id": "a"})


async def test_a_table_we_wait_for_does_not_stop_other_links(make_destination, make_link, sql):
    destination = make_destination(Limits(lock_timeout_s=20.0))
    slow, quick = await make_link("slow", on=destination), await make_link("quick", on=destination)
    await slow.flush({"message_id": "m"}, table="events")
    async with sql.transaction():
        await sql.execute("LOCK TABLE events")
        waiting = asyncio.create_task(slow.flush({"message_id": "n"}))
        await quick.flush({"message_id": "m"}, table="others")
        assert not waiting.done()
    await waiting


async def test_links_of_one_destination_take_turns(make_destination, make_link, config):
    destination = Destination(config, 1)
    links = [await make_link(f"l{at}", on=destination, stream=f"s{at}") for at in range(3)]
    order = []

    async def run(link):
        for at in range(4):
            await link.flush({"message_id": f"m{at}"})
            order.append(link.key.link_id)

    await links[0].flush({"message_id": "warm"})
    for link in links[1:]:
        await link.flush({"message_id": "warm"})
    await asyncio.gather(*map(run, links))
    rounds = [set(order[at : at + 3]) for at in range(0, 12, 3)]
    assert rounds == [{"l0", "l1", "l2"}] * 4
    await destination.close()


async def test_session_settings_are_ours(destination, config):
    async with destination._connections.turn() as session:
        shown = [await session.connection.fetchval(f"SHOW {name}") for name in ("lock_timeout", "timezone")]
        assert shown == ["1s", "UTC"]
        assert await session.connection.fetchval("SHOW idle_in_transaction_session_timeout") == "1min"


async def test_a_database_that_isolates_more_holds_no_link_up(make_destination, make_link, sql):
    name = await sql.fetchval("SELECT current_database()")
    await sql.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = serializable")
    link = await make_link("link", make_destination())
    async with link.destination._connections.turn() as session:
        assert await session.connection.fetchval("SHOW transaction_isolation") == "read committed"


async def test_a_lock_is_given_up_before_the_statement_is(config):
    destination = Destination(config, limits=Limits(statement_timeout_s=4.0))
    async with destination._connections.turn() as session:
        assert await session.connection.fetchval("SHOW lock_timeout") == "2s"
    await destination.close()


async def test_the_flush_is_synchronous_whatever_the_database_says(link, sql):
    name = await sql.fetchval("SELECT current_database()")
    await sql.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    await sql.execute(
        "CREATE FUNCTION seen() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN NEW.pad := current_setting('synchronous_commit'); RETURN NEW; END$$;"
        "CREATE TRIGGER seen BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION seen()"
    )
    for session in link.destination._connections._idle:
        session.connection.terminate()
    await link.flush({"message_id": "n", "pad": "?"})
    assert await sql.fetchval("SELECT pad FROM events WHERE message_id = 'n'") == "on"


@pytest.mark.parametrize("mode", ["verify-full", "require"])
async def test_tls_that_the_server_does_not_speak_is_unavailable(config, proxy, mode):
    destination = Destination(replace(config, sslmode=mode), 1)
    with pytest.raises(Unavailable) as raised:
        await destination.probe()
    assert raised.value.hint
    await destination.close()


async def test_a_database_that_cannot_hold_every_script_is_told(config, sql):
    name = f"{config.database}_latin1"
    await sql.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    destination = Destination(replace(config, database=name))
    try:
        with pytest.raises(Unavailable, match="LATIN1") as raised:
            await destination.probe()
        assert "UTF8" in raised.value.hint
    finally:
        await destination.close()
        await sql.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def test_a_parameter_that_the_server_does_not_know_is_told(config):
    destination = Destination(replace(config, parameters={"channel_binding": "require"}), 1)
    with pytest.raises(Unavailable, match="channel_binding") as raised:
        await destination.probe()
    assert "no other words of libpq" in raised.value.hint
    await destination.close()


def test_a_config_shows_no_secret():
    key = "-----BEGIN PRIVATE KEY-----"
    shown = repr(
        PostgresConfig(password="hunter2", sslkey=key, parameters={"sslkey": key, "sslpassword": "x1"})
    )
    assert "hunter2" not in shown
    assert "PRIVATE" not in shown
    assert "x1" not in shown


def test_an_unknown_sslmode_is_an_error():
    with pytest.raises(ValueError, match="sslmode"):
        PostgresConfig(parameters={"sslmode": "sometimes"})
