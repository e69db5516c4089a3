"""Several workers behind one socket: shared, renewed, restarted, stopped, orphaned."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import psutil

from tests.support import tus
from tests.support.server import Server, serving
from tests.support.wire import request
from tests.support.workers import workers_of

TWO = {"process": {"workers": 2}}


async def live(server: Server) -> int:
    return (await request("GET", f"{server.base}/health/live")).status


async def until_serving(server: Server, count: int) -> None:
    """As many workers have told that they serve, over all of the server's life."""
    async with asyncio.timeout(20):
        while sum(one.get("event") == "serving" for one in server.logs) < count:
            await live(server)


async def test_workers_share_uploads_and_figures(tmp_path: Path) -> None:
    """Whoever is asked knows of all requests, and every upload."""
    async with serving(tmp_path, TWO) as server:
        assert len(workers_of(server)) == 2
        token = server.mint(video_id="v1", client_id="c1")
        urls = [
            await tus.upload(server.endpoint, b"12345", metadata={}, bearer=token) for _ in range(8)
        ]
        assert {(await tus.head(url)).status for url in urls} == {200}
        page = (await request("GET", f"{server.base}/metrics")).text
        assert 'tusd_py_requests_total{code="",method="PATCH",status="204"} 8.0' in page
        assert 'tusd_py_uploads{status="complete"} 8.0' in page
        assert await server.stop() == 0


async def test_a_rolling_restart_refuses_nobody(tmp_path: Path) -> None:
    """SIGHUP: every worker is another one afterwards, every request was answered."""
    async with serving(tmp_path, TWO) as server:
        before = workers_of(server)
        os.kill(server.pid, signal.SIGHUP)
        async with asyncio.timeout(30):
            while before & workers_of(server):
                assert await live(server) == 200
        assert len(workers_of(server)) == 2
        assert await server.stop() == 0


async def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    """The other one serves meanwhile."""
    async with serving(tmp_path, TWO) as server:
        victim = min(workers_of(server))
        os.kill(victim, signal.SIGKILL)
        await until_serving(server, 3)
        assert victim not in workers_of(server)
        assert len(workers_of(server)) == 2
        assert await server.logged("worker_died")


async def test_workers_stop_when_their_supervisor_dies(tmp_path: Path) -> None:
    """Nobody is left who would restart or stop them."""
    async with serving(tmp_path, TWO) as server:
        orphans = [psutil.Process(pid) for pid in workers_of(server)]
        os.kill(server.pid, signal.SIGKILL)
        await server.logged("stopped")
        await asyncio.gather(*(asyncio.to_thread(_wait, orphan) for orphan in orphans))


def _wait(process: psutil.Process) -> None:
    """Until it is gone; where nobody collects orphans it stays as a zombie, which is as good."""
    with contextlib.suppress(psutil.TimeoutExpired):
        process.wait(timeout=5)
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


HANGS = """
import asyncio
from tusd_py.hooks.base import Allow

async def decide(question):
    await asyncio.Event().wait()
    return Allow()
"""


async def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    """Whoever is waited for: here a gate that never answers."""
    (tmp_path / "gates.py").write_text(HANGS)
    hook = {"name": "g", "kind": "python", "target": "gates:decide", "gates": ["finish"]}
    settings = {
        "hooks": [hook | {"import_from": str(tmp_path)}],
        "upload": {"gate_seconds": 600},
        "process": {"stop_seconds": 600},
    }
    async with serving(tmp_path, settings) as server:
        token = server.mint(video_id="v1", client_id="c1")
        upload = asyncio.create_task(
            tus.upload(server.endpoint, b"12345", metadata={}, bearer=token)
        )
        await _until_received(server)
        server.terminate()
        await server.logged("stopping")
        server.terminate()
        assert await server.ended(seconds=5) == 1
        assert isinstance((await asyncio.gather(upload, return_exceptions=True))[0], Exception)


async def _until_received(server: Server) -> None:
    """All bytes are there and the gate is being asked."""
    text = ""
    async with asyncio.timeout(20):
        while 'status="received"} 1.0' not in text:
            text = (await request("GET", f"{server.base}/metrics")).text


async def test_a_stop_that_hangs_ends_in_time_with_exit_0(tmp_path: Path) -> None:
    """A gate that never answers is cut off; the upload stays received and is asked again."""
    (tmp_path / "gates.py").write_text(HANGS)
    hook = {"name": "g", "kind": "python", "target": "gates:decide", "gates": ["finish"]}
    settings = {
        "hooks": [hook | {"import_from": str(tmp_path)}],
        "upload": {"gate_seconds": 600},
        "process": {"stop_seconds": 3},
    }
    async with serving(tmp_path, settings) as server:
        token = server.mint(video_id="v1", client_id="c1")
        upload = asyncio.create_task(
            tus.upload(server.endpoint, b"12345", metadata={}, bearer=token)
        )
        await _until_received(server)
        assert await server.stop(seconds=3.5) == 0
        await asyncio.gather(upload, return_exceptions=True)
