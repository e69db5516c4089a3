"""Several machines behind nginx with conf/nginx/machines.conf: asked in turn, passed over when they
are away, no client bound to one of them."""

import contextlib
import re
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.rig import content
from tests.support import tus
from tests.support.fleet import Fleet, fleet
from tests.support.proxies import Proxy, proxying
from tests.support.redis_servers import redis_server
from tests.support.wire import request

BLOCK = "nginx/machines.conf"
LENGTH = 60
SLOW_SECONDS = 1.0
LEASE = {"lease_seconds": 2.0, "checkpoint_seconds": 0.5}


@pytest.fixture
async def machines(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with redis_server(tmp_path / "redis") as redis:
        state = {"kind": "redis", "url": redis.url}
        async with fleet(tmp_path / "site", {"upload": LEASE}, state=state) as several:
            yield several


@contextlib.asynccontextmanager
async def before(
    machines: Fleet, directory: Path, *more: str
) -> AsyncIterator[tuple[Proxy, aiohttp.ClientSession]]:
    """nginx in front of them, and of whatever else is named."""
    upstreams = [machine.base.removeprefix("http://") for machine in machines.machines]
    async with proxying("nginx", directory, *more, *upstreams, is_open=True, block=BLOCK) as proxy:
        # A connection of its own for each request, as from so many clients.
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(connector=connector) as session:
            yield proxy, session


async def test_the_parts_of_a_file_go_to_whoever_has_the_turn(
    machines: Fleet, tmp_path: Path
) -> None:
    """A file in pieces: every machine writes some of it, and each says of HEAD what the others
    did."""
    data = content(LENGTH)
    async with before(machines, tmp_path / "nginx") as (proxy, session):
        url = await created(session, proxy, machines)
        for offset in range(0, LENGTH, 10):
            assert await offset_of(session, url) == offset
            assert await appended(session, url, offset, data[offset : offset + 10]) == 204
        assert await downloaded(session, url) == data
    for machine in machines.machines:
        page = await request("GET", f"{machine.base}/metrics")
        assert re.search(r"(?m)^tusd_py_appends_total\{.*\} [1-9]", page.text), machine.name


@pytest.mark.parametrize("verb", ["POST", "PATCH", "HEAD", "DELETE"])
async def test_nobody_notices_a_machine_that_is_away(
    verb: str, machines: Fleet, tmp_path: Path
) -> None:
    """One of three is killed: each request is served by another one, whatever it wants."""
    async with before(machines, tmp_path / "nginx") as (proxy, session):
        urls = [await created(session, proxy, machines) for _ in range(6)]
        await machines.machines[1].kill9()
        for url in urls:
            if verb == "POST":
                await created(session, proxy, machines)
            elif verb == "PATCH":
                assert await appended(session, url, 0, b"0123456789") == 204
            elif verb == "HEAD":
                assert await offset_of(session, url) == 0
            else:
                assert await removed(session, url) == 204


async def test_a_machine_that_is_gone_without_a_word_holds_up_few(
    machines: Fleet, tmp_path: Path
) -> None:
    """It does not even refuse: one request waits for it, the others are not sent there."""
    with black_hole() as address:
        async with before(machines, tmp_path / "nginx", address) as (proxy, session):
            took = []
            for _ in range(12):
                began = time.monotonic()
                await created(session, proxy, machines)
                took.append(time.monotonic() - began)
    assert sum(one > SLOW_SECONDS for one in took) == 1, took


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """An address at which connections are neither taken nor refused."""
    with contextlib.ExitStack() as stack:
        hole = stack.enter_context(socket.socket())
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        host, port = hole.getsockname()
        for _ in range(3):  # until its queue is full
            caller = stack.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex((host, port))
        yield f"{host}:{port}"


async def created(session: aiohttp.ClientSession, proxy: Proxy, machines: Fleet) -> str:
    pairs = tus.video_metadata(machines.mint(), "1001", "7")
    headers = {
        "Tus-Resumable": "1.0.0",
        "Upload-Length": str(LENGTH),
        "Upload-Metadata": tus.encode_metadata(pairs),
    }
    async with session.post(proxy.endpoint, headers=headers) as answer:
        assert answer.status == 201, await answer.text()
        return answer.headers["Location"]


async def appended(session: aiohttp.ClientSession, url: str, offset: int, data: bytes) -> int:
    headers = {
        "Tus-Resumable": "1.0.0",
        "Upload-Offset": str(offset),
        "Content-Type": tus.OFFSET_STREAM,
    }
    async with session.patch(url, data=data, headers=headers) as answer:
        return answer.status


async def offset_of(session: aiohttp.ClientSession, url: str) -> int:
    async with session.head(url, headers={"Tus-Resumable": "1.0.0"}) as answer:
        assert answer.status == 200
        return int(answer.headers["Upload-Offset"])


async def removed(session: aiohttp.ClientSession, url: str) -> int:
    async with session.delete(url, headers={"Tus-Resumable": "1.0.0"}) as answer:
        return answer.status


async def downloaded(session: aiohttp.ClientSession, url: str) -> bytes:
    async with session.get(url) as answer:
        assert answer.status == 200
        return await answer.read()
