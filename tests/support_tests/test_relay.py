"""The relay: exactly N bytes, then what was asked for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.relay import Cut, Fault, Relay

BIG = bytes(range(256)) * 4096 * 4  # 4 MiB: more than the kernel's buffers between the two


class Sink:
    """A server that keeps what comes, echoes a word at the start, and notes how it ended."""

    def __init__(self) -> None:
        self.port = 0
        self.received: list[bytearray] = []
        self.endings: asyncio.Queue[str] = asyncio.Queue()
        self.greeting = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kept = bytearray()
        self.received.append(kept)
        writer.write(self.greeting)
        try:
            while data := await reader.read(65536):
                kept += data
            writer.write(b"bye")
            await writer.drain()
            self.endings.put_nowait("fin")
        except ConnectionError:
            self.endings.put_nowait("rst")
        finally:
            writer.close()


@asynccontextmanager
async def sinking() -> AsyncIterator[Sink]:
    sink = Sink()
    server = await asyncio.start_server(sink.serve, "127.0.0.1", 0)
    sink.port = server.sockets[0].getsockname()[1]
    async with server:
        yield sink


async def send_all(port: int, data: bytes) -> bytes | type[ConnectionError]:
    """Send, half-close, and say what came back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        await writer.drain()
        writer.write_eof()
        return await reader.read()
    except ConnectionError:
        return ConnectionError
    finally:
        writer.close()


@pytest.mark.parametrize("how", Cut)
@pytest.mark.parametrize("count", [0, 1, 65535, 65537, 3_000_001])
async def test_a_cut_lets_exactly_so_many_bytes_pass(how: Cut, count: int) -> None:
    async with sinking() as sink, Relay(sink.port) as relay:
        relay.add(Fault(cut_after=count, how=how))
        await send_all(relay.port, BIG)
        assert await sink.endings.get() == how.value
        assert bytes(sink.received[0]) == BIG[:count]
        assert relay.connections[0].bytes_up == count
        assert await send_all(relay.port, BIG) == b"bye", "only one connection is cut"
        assert bytes(sink.received[1]) == BIG


async def test_all_connections_share_one_limit() -> None:
    async with sinking() as sink, Relay(sink.port) as relay:
        relay.cut_all_after(1_000_000)
        await asyncio.gather(*(send_all(relay.port, BIG) for _ in range(3)))
        assert {await sink.endings.get() for _ in range(3)} == {"rst"}
        assert sum(map(len, sink.received)) == 1_000_000


async def test_a_lost_answer_is_one_that_comes_after_the_request() -> None:
    async with sinking() as sink, Relay(sink.port) as relay:
        sink.greeting = b"hello"
        relay.add(Fault(lose_answer_after=1000))
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        assert await reader.readexactly(5) == b"hello"
        writer.write(bytes(1000))
        writer.write_eof()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        assert len(sink.received[0]) == 1000


async def test_an_answer_is_cut_in_its_middle() -> None:
    async with sinking() as sink, Relay(sink.port) as relay:
        relay.add(Fault(cut_answer_after=2, how=Cut.FIN))
        assert await send_all(relay.port, b"x") == b"by"


async def test_a_stall_passes_so_many_bytes_and_ends_with_resume() -> None:
    async with sinking() as sink, Relay(sink.port, buffer_bytes=8192) as relay:
        relay.add(Fault(stall_after=10_000))
        sending = asyncio.create_task(send_all(relay.port, BIG))
        connection = await relay.connection(0)
        await connection.stalled.wait()
        assert connection.bytes_up == 10_000
        assert not sending.done()
        connection.resume()
        assert await sending == b"bye"
        assert bytes(sink.received[0]) == BIG


async def test_a_half_close_lets_the_answer_through() -> None:
    async with sinking() as sink, Relay(sink.port) as relay:
        relay.add(Fault(half_close_after=3))
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(b"abcdef")
        assert await reader.read() == b"bye"
        assert sink.received == [b"abc"]
        assert sink.endings.get_nowait() == "fin"
        writer.close()


async def test_down_refuses_and_back_serves_on_the_same_port() -> None:
    async with sinking() as sink, sinking() as other, Relay(sink.port) as relay:
        port = relay.port
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        await relay.connection(0)
        await relay.go_down()
        assert await sink.endings.get() == "rst"
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        relay.target_port = other.port
        await relay.come_back()
        assert relay.port == port
        assert await send_all(port, b"there") == b"bye"
        assert other.received == [b"there"]
        writer.close()


async def test_a_throttle_slows_down() -> None:
    async with sinking() as sink, Relay(sink.port) as relay:
        relay.add(Fault(bytes_per_second=1_000_000))
        started = asyncio.get_running_loop().time()
        assert await send_all(relay.port, bytes(300_000)) == b"bye"
        assert asyncio.get_running_loop().time() - started > 0.25


async def test_a_server_that_is_gone_looks_like_a_reset() -> None:
    async with Relay(1) as relay:
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
