"""Downloads, status and events of the real server: stopped, crowded, in several processes."""

import asyncio
import time
from pathlib import Path

import psutil

from tests.e2e.installations import figure, serving, several_processes
from tests.e2e.rig import MIB, content, created, finished, stored_file, until_stored
from tests.support import tus
from tests.support.events import Listener
from tests.support.wire import Hangup, Wire, connected, request

BIG_BYTES = 48 * MIB


async def listen(wire: Wire, target: str) -> Listener:
    await wire.send_head("GET", target)
    assert (await wire.read_stream_head()).status == 200
    listener = Listener(wire)
    await listener.events("retry", "status")
    return listener


async def stuck(url: str) -> Wire:
    """A download whose client does not read it."""
    wire = await Wire.to(url)
    await wire.send_head("GET", url)
    return wire


async def test_a_stop_ends_readers_soon(tmp_path: Path) -> None:
    """Streams in order, downloads by the connection's end; exit 0 within seconds."""
    async with serving(tmp_path) as server:
        url = await finished(server, content(BIG_BYTES))
        other = await created(server, 10)
        readers = [await stuck(url) for _ in range(5)]
        async with connected(other) as wire:
            listener = await listen(wire, other + "/events")
            began = time.monotonic()
            assert await server.stop() == 0
            assert time.monotonic() - began < 6
            try:
                while True:
                    await listener.event()
            except EOFError:
                pass
        for reader in readers:
            try:
                answer = await reader.read_response()
                raise AssertionError(answer.status)
            except Hangup:
                await reader.close()
        assert not [one for one in server.logs if one.get("level") == "error"]


async def test_many_readers_and_a_writer_share_one_server(tmp_path: Path) -> None:
    """Forty who do not read and twenty who do; an upload goes on meanwhile; memory stays."""
    data = content(BIG_BYTES)
    async with serving(tmp_path, {"download": {"threads": 2}}) as server:
        url = await finished(server, data)
        process = psutil.Process(server.pid)
        before = process.memory_info().rss
        idle = [await stuck(url) for _ in range(40)]
        part = {"Range": f"bytes={MIB}-{2 * MIB - 1}"}
        answers = await asyncio.gather(*(request("GET", url, part) for _ in range(20)))
        assert all(answer.body == data[MIB : 2 * MIB] for answer in answers)
        upload = await finished(server, data[:MIB])
        assert (await request("GET", upload)).body == data[:MIB]
        assert process.memory_info().rss - before < 40 * MIB
        threads = process.num_threads()
        assert threads < 30, threads
        for wire in idle:
            await wire.close()


async def test_memory_stays_where_the_kernel_does_not_send(tmp_path: Path) -> None:
    """Also for readers that do not read, each of a file that is larger than all the growth."""
    data = content(BIG_BYTES)
    async with serving(tmp_path, {"download": {"sendfile": False}}) as server:
        url = await finished(server, data)
        assert (await request("GET", url)).body == data
        process = psutil.Process(server.pid)
        before = process.memory_info().rss
        idle = [await stuck(url) for _ in range(10)]
        assert (await request("GET", url)).body == data
        assert process.memory_info().rss - before < 20 * MIB
        for wire in idle:
            await wire.close()


async def test_placed_files_are_handed_out_and_lost_ones_are_gone(tmp_path: Path) -> None:
    """From its destination as from the store; who takes the file away leaves a 410, and a HEAD
    that knows of nothing."""
    data = content(MIB)
    async with serving(tmp_path, {"store": {"destination": "{video_id}/{filename}"}}) as server:
        url = await finished(server, data)
        assert not stored_file(server, url).exists()
        assert (await request("GET", url)).body == data
        (placed,) = [path for path in (server.files_root).rglob("*") if path.is_file()]
        await asyncio.to_thread(placed.unlink)
        gone = await request("GET", url)
        assert gone.status == 410 and b"ERR_BYTES_GONE" in gone.body
        assert (await tus.head(url)).offset == len(data)
        secret = tmp_path / "secret"
        secret.write_bytes(data)
        placed.symlink_to(secret)
        assert (await request("GET", url)).status in (410, 503)


async def test_a_viewer_sees_what_another_process_writes(tmp_path: Path) -> None:
    """Two workers, or more machines; whichever has the stream tells what either received."""
    async with serving(tmp_path, several_processes()) as server:
        url = await created(server, 2 * MIB)
        wires = [await Wire.to(url) for _ in range(4)]
        listeners = [await listen(wire, url + "/events") for wire in wires]
        data = content(2 * MIB)
        async with connected(url) as body:
            await tus.begin_patch(body, url, 0, len(data))
            await body.send(data[:MIB])
            await until_stored(server, url, MIB)
            for listener in listeners:
                async with asyncio.timeout(20):
                    while (event := await listener.event()).data["offset"] < MIB:
                        pass
                assert event.data["state"] == "receiving"
            await body.send(data[MIB:])
            assert (await body.read_response()).status == 204
        for listener in listeners:
            async with asyncio.timeout(20):
                while (event := await listener.event()).kind != "end":
                    pass
            assert event.data["state"] == "complete"
        for wire in wires:
            await wire.close()


async def test_readers_are_counted(tmp_path: Path) -> None:
    """Bytes and ends, for an operator's page."""
    data = content(MIB)
    async with serving(tmp_path) as server:
        url = await finished(server, data)
        await request("GET", url)
        reader = await stuck(await finished(server, content(BIG_BYTES)))
        await reader.reset()
        whole = 'tusd_py_streams_total{end="whole",kind="download"}'
        cut = 'tusd_py_streams_total{end="cut",kind="download"}'
        async with asyncio.timeout(20):
            while await figure(server, cut) < 1:
                pass
        assert await figure(server, whole) == 1
        assert await figure(server, 'tusd_py_sent_bytes_total{kind="download"}') >= len(data)
