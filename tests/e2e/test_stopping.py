"""How the server stops, is renewed, and outlives its workers."""

import asyncio
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.e2e.installations import figure, serving
from tests.e2e.rig import (
    KIB,
    MIB,
    assert_finished,
    content,
    created,
    hooked,
    until,
    until_stored,
    upload_id,
)
from tests.support import tus
from tests.support.receiver import receiving
from tests.support.server import Server
from tests.support.wire import Hangup, Wire, connected
from tests.support.workers import workers_of

# ------------------------------------------------------------------ stopping


async def test_a_stop_commits_running_bodies_and_answers_them_at_once(tmp_path: Path) -> None:
    """503 to each, all that arrived is kept, exit 0 soon; the same port serves again and the
    clients go on where they were."""
    data = content(2 * MIB)
    async with receiving() as receiver, serving(tmp_path, hooked(tmp_path, receiver)) as server:
        port = server.port
        urls = [await created(server, len(data), video_id=str(n)) for n in range(3)]
        wires = [await Wire.to(url) for url in urls]
        for wire, url, sent in zip(wires, urls, (MIB, 5, 0), strict=True):
            await tus.begin_patch(wire, url, 0, len(data))
            await wire.send(data[:sent])
            await until_stored(server, url, sent)
        await _until_running(server, 3)
        began = time.monotonic()
        server.terminate()
        answers = [await wire.read_response() for wire in wires]
        assert time.monotonic() - began < 5, "bodies were waited for"
        assert [answer.status for answer in answers] == [503, 503, 503]
        assert all(answer.closes and answer.headers["Retry-After"] for answer in answers)
        assert await server.ended(seconds=20) == 0
        assert time.monotonic() - began < 5, "clients that do not go held it up"
        for wire in wires:
            await wire.close()
        with pytest.raises(ConnectionRefusedError):
            await Wire.to(server.endpoint)
        await server.start()
        assert server.port == port
        for url, sent in zip(urls, (MIB, 5, 0), strict=True):
            found = await tus.head(url)
            assert (found.status, found.offset) == (200, sent)
            done = await tus.patch(url, sent, data[sent:])
            assert (done.status, done.offset) == (204, len(data))
            await assert_finished(server, receiver, url, data)


WAITS = """
import asyncio
from pathlib import Path

from tusd_py.hooks.base import Allow

async def decide(question, *, asked, release):
    Path(asked).touch()
    while not Path(release).exists():
        await asyncio.sleep(0.01)
    return Allow()
"""


async def test_kept_connections_hear_try_again_while_the_server_stops(tmp_path: Path) -> None:
    """Requests that were under way, or behind others, while a gate is still being asked: HEAD
    is 423, never anything that makes a client start anew; POST is 503; the asking one ends well."""
    (tmp_path / "gates.py").write_text(WAITS)
    asked, release = tmp_path / "asked", tmp_path / "release"
    gate = {
        "name": "slow",
        "kind": "python",
        "target": "gates:decide",
        "gates": ["finish"],
        "import_from": str(tmp_path),
        "options": {"asked": str(asked), "release": str(release)},
    }
    async with serving(tmp_path, {"hooks": [gate]}) as server:
        url, other = await created(server, 5), await created(server, 5)
        async with connected(url) as wire:
            await tus.begin_patch(wire, url, 0, 5)
            await wire.send(b"12345")
            await until(lambda: asked.exists())
            await wire.send_head("HEAD", other, tus.TUS)
            await wire.send_head("POST", server.endpoint, tus.TUS | {"Upload-Length": "5"})
            server.terminate()
            await server.logged("stopping")
            # What is new is not accepted any more.
            await until(lambda: not _listens(server))
            release.touch()
            assert (await wire.read_response()).status == 204
            found = await wire.read_response()
            assert found.status == 423 and found.headers["Retry-After"]
            assert found.headers["Access-Control-Allow-Origin"] == "*"
            assert (await wire.read_response()).status == 503
            assert await wire.is_closed()
        assert await server.ended(seconds=20) == 0


async def test_a_stop_tells_what_is_to_be_told(tmp_path: Path) -> None:
    """Deliveries that run may end; nothing is told twice because of a stop."""
    async with receiving() as receiver, serving(tmp_path, hooked(tmp_path, receiver)) as server:
        url = await created(server, 5)
        assert (await tus.patch(url, 0, b"12345")).status == 204
        await assert_finished(server, receiver, url, b"12345")
        await server.restart()
        again = await created(server, 5)
        assert (await tus.patch(again, 0, b"54321")).status == 204
        await assert_finished(server, receiver, again, b"54321")
        ids = [one.event_id for one in receiver.taken]
        assert len(ids) == len(set(ids)) == 4


# ------------------------------------------------------------------ several workers


TWO = {"process": {"workers": 2}}


async def test_a_killed_worker_is_succeeded_by_the_other(tmp_path: Path) -> None:
    """The one that writes a body dies by SIGKILL: the client goes on with the other at once,
    and nobody else notices."""
    data = content(2 * MIB)
    async with receiving() as receiver:
        settings = hooked(tmp_path, receiver, upload={"lease_seconds": 60}) | TWO
        async with serving(tmp_path, settings) as server:
            url = await created(server, len(data))
            async with connected(url) as wire:
                await tus.begin_patch(wire, url, 0, len(data))
                await wire.send(data[:MIB])
                await until_stored(server, url, MIB)
                os.kill(_writer_of(server, url), signal.SIGKILL)
                with pytest.raises((Hangup, ConnectionError)):
                    await wire.read_response()
            found = await tus.head(url)
            assert (found.status, found.offset) == (200, MIB)
            done = await tus.patch(url, MIB, data[MIB:])
            assert (done.status, done.offset) == (204, len(data))
            await assert_finished(server, receiver, url, data)
            assert await server.logged("worker_died")


async def test_a_rolling_restart_under_load_refuses_nobody(tmp_path: Path) -> None:
    """SIGHUP: each worker is renewed while uploads come in; every creation is answered, every
    upload ends well, what a running body had sent is kept."""
    data = content(256 * KIB)
    async with receiving() as receiver:
        settings = hooked(tmp_path, receiver) | TWO
        async with serving(tmp_path, settings) as server:
            long_url = await created(server, len(data))
            wire = await Wire.to(long_url)
            await tus.begin_patch(wire, long_url, 0, len(data))
            await wire.send(data[: 128 * KIB])
            await until_stored(server, long_url, 128 * KIB)
            before = workers_of(server)
            urls: list[str] = []
            os.kill(server.pid, signal.SIGHUP)
            async with asyncio.timeout(40):
                while before & workers_of(server):
                    urls.append(await created(server, len(data), video_id=str(len(urls))))
                    assert await _patch_until_done(urls[-1], data)
            assert (await wire.read_response()).status == 503
            await wire.close()
            found = await tus.head(long_url)
            assert (found.status, found.offset) == (200, 128 * KIB)
            assert await _patch_until_done(long_url, data)
            for url in (*urls, long_url):
                await assert_finished(server, receiver, url, data)
            assert len(urls) > 3
            assert await server.stop() == 0


async def _patch_until_done(url: str, data: bytes) -> bool:
    """As a client: a 423 or 503 means to ask and to go on, a refused connection is an error."""
    while True:
        found = await tus.head(url)
        if found.status == 423:
            continue
        assert found.status == 200, (found.status, found.text)
        if found.offset == len(data):
            return True
        answer = await tus.patch(url, found.offset, data[found.offset :])
        assert answer.status in (204, 423, 503), (answer.status, answer.text)


# ------------------------------------------------------------------ looking


async def _until_running(server: Server, count: int) -> None:
    """As many bodies are being written."""
    async with asyncio.timeout(20):
        while await figure(server, "tusd_py_appends_running") != count:
            pass


def _listens(server: Server) -> bool:
    """Whether the server still has its listening socket."""
    connections = psutil.Process(server.pid).net_connections("tcp")
    return any(one.status == psutil.CONN_LISTEN for one in connections)


def _writer_of(server: Server, url: str) -> int:
    """The worker that has the upload's file open."""
    name = upload_id(url)
    for pid in workers_of(server):
        if any(name in one.path for one in psutil.Process(pid).open_files()):
            return pid
    raise AssertionError("nobody writes it")
