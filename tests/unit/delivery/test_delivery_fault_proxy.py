"""The proxy of tests/faults/proxy does what it says: a fault test that never cuts anything proves nothing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.faults.proxy import Direction, FaultProxy

LIMIT_S = 10
Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@pytest.fixture
async def proxy() -> AsyncIterator[FaultProxy]:
    """A proxy before a server that sends back what it gets."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1024):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with FaultProxy(*server.sockets[0].getsockname()) as proxy:
        yield proxy
    server.close()


@pytest.fixture
async def connect(proxy: FaultProxy) -> AsyncIterator[Connect]:
    """Opens connections through the proxy and closes them at the end."""
    writers = []

    async def open_one() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writers.append(writer)
        return reader, writer

    yield open_one
    for writer in writers:
        writer.transport.abort()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def read_all(reader: asyncio.StreamReader) -> bytes:
    """What comes until the connection ends, by whatever end."""
    got = b""
    try:
        async with asyncio.timeout(LIMIT_S):
            while data := await reader.read(1024):
                got += data
    except ConnectionError:
        pass
    return got


async def ended_or_arrived(reader: asyncio.StreamReader) -> bool:
    """Whether a round trip's worth of loop turns brings anything past a stall."""
    waiting = asyncio.ensure_future(reader.readexactly(10))
    for _ in range(50):
        await asyncio.sleep(0)
    arrived = waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    return arrived


async def test_it_forwards(proxy: FaultProxy, connect: Connect) -> None:
    reader, writer = await connect()
    writer.write(b"hello")
    writer.write_eof()
    assert await read_all(reader) == b"hello"


async def test_it_cuts_after_some_bytes(proxy: FaultProxy, connect: Connect) -> None:
    proxy.cut_after(3, Direction.TO_SERVER)
    reader, writer = await connect()
    writer.write(b"hello")
    await read_all(reader)
    assert proxy.fired.is_set()


async def test_it_cuts_at_a_pattern_that_comes_in_two_parts(proxy: FaultProxy, connect: Connect) -> None:
    proxy.cut_at(b"COMMIT", Direction.TO_CLIENT)
    reader, writer = await connect()
    writer.write(b"one COM")
    assert await reader.read(3) == b"one"
    writer.write(b"MIT two")
    assert b"two" not in await read_all(reader)
    assert proxy.fired.is_set()


async def test_a_stall_holds_bytes_back_until_resumed(proxy: FaultProxy, connect: Connect) -> None:
    proxy.stall_at(b"secret", Direction.TO_SERVER)
    reader, writer = await connect()
    writer.write(b"the secret")
    async with asyncio.timeout(LIMIT_S):
        await proxy.fired.wait()
        assert not await ended_or_arrived(reader)
        proxy.resume()
        assert await reader.readexactly(10) == b"the secret"


async def test_it_refuses_and_takes_again(proxy: FaultProxy, connect: Connect) -> None:
    proxy.refuse()
    reader, _ = await connect()
    assert await read_all(reader) == b""
    assert proxy.refused.is_set()
    proxy.refuse(on=False)
    reader, writer = await connect()
    writer.write(b"x")
    assert await reader.read(1) == b"x"


async def test_cut_ends_open_connections(proxy: FaultProxy, connect: Connect) -> None:
    reader, writer = await connect()
    writer.write(b"x")
    await reader.read(1)
    proxy.cut()
    assert await read_all(reader) == b""
