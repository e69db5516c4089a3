"""The file system that holds bytes and state is full: nothing breaks, and all of it goes on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.e2e.installations import servers_of, serving
from tests.e2e.rig import (
    KIB,
    MIB,
    assert_finished,
    content,
    created,
    head_until_200,
    hooked,
    stored_bytes,
)
from tests.support import tus
from tests.support.faults import SmallDisk, small_disk
from tests.support.receiver import Receiver, receiving
from tests.support.server import Server
from tests.support.wire import Response, Wire, connected, request

DISK_MIB = 64
FLOOR = 16 * MIB


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", mib=DISK_MIB) as disk:
        yield disk


@asynccontextmanager
async def serving_on(
    disk: SmallDisk, *, min_free_bytes: int
) -> AsyncIterator[tuple[Server, Receiver]]:
    """A server whose bytes and state lie on ``disk``."""
    directory = disk.path / "server"
    async with receiving() as receiver:
        settings = hooked(directory, receiver, store={"min_free_bytes": min_free_bytes})
        async with serving(directory, settings) as server:
            yield server, receiver


async def ready(server: Server) -> set[int]:
    """What each server of the service says."""
    pages = [await request("GET", f"{one.base}/health/ready") for one in servers_of(server)]
    return {page.status for page in pages}


async def refused_creation(server: Server) -> Response:
    token = server.mint(video_id="2", client_id="7")
    return await tus.create(server.endpoint, length=5, metadata=tus.video_metadata(token, "2", "7"))


async def fill_by_uploading(url: str, data: bytes, offset: int) -> Response:
    """Send until the server has had enough; its answer is read while bytes still go out."""
    async with connected(url) as wire:
        await tus.begin_patch(wire, url, offset, len(data) - offset)
        sending = asyncio.create_task(_send_quietly(wire, data[offset:]))
        try:
            return await wire.read_response()
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


async def test_a_disk_that_fills_up_in_mid_body_loses_nothing(disk: SmallDisk) -> None:
    """507, what arrived is kept, others are refused, HEAD answers, DELETE works, and after a
    release the same uploads go on to their end."""
    async with serving_on(disk, min_free_bytes=FLOOR) as (server, receiver):
        data = content(12 * MIB)
        other = content(MIB, seed=2)
        url = await created(server, len(data))
        doomed = await created(server, 4 * MIB)
        assert (await tus.patch(doomed, 0, content(2 * MIB, seed=1))).status == 204
        waiting = await created(server, len(other))
        assert (await tus.patch(url, 0, data[:MIB])).offset == MIB

        disk.fill(leave_bytes=FLOOR + MIB)
        assert (await fill_by_uploading(url, data, MIB)).status == 507
        found = await tus.head(url)
        assert found.status == 200 and MIB <= found.offset < len(data)
        kept = found.offset
        assert stored_bytes(server, url)[:kept] == data[:kept]

        disk.fill(leave_bytes=FLOOR // 4)
        assert (await tus.patch(url, kept, data[kept:])).status == 507
        assert (await tus.patch(waiting, 0, other)).status == 507
        assert (await refused_creation(server)).status == 507
        await _until_ready(server, 503)
        # Another machine finds out for itself, and writes a little before it does.
        found = await tus.head(url)
        assert kept <= found.offset < len(data)
        kept = found.offset
        assert stored_bytes(server, url)[:kept] == data[:kept]
        assert (await tus.head(waiting)).offset == 0
        assert (await tus.delete(doomed)).status == 204
        assert (await tus.head(doomed)).status == 404

        disk.release()
        await _until_ready(server)
        done = await tus.patch(url, kept, data[kept:])
        assert (done.status, done.offset) == (204, len(data)), (done.status, done.text)
        assert (await tus.patch(waiting, 0, other)).status == 204
        await assert_finished(server, receiver, url, data)
        await assert_finished(server, receiver, waiting, other)


async def test_many_uploads_at_once_leave_room_for_the_state(disk: SmallDisk) -> None:
    """Each sees the reserve by itself; together they do not eat it up."""
    async with serving_on(disk, min_free_bytes=FLOOR) as (server, receiver):
        data = {
            await created(server, 4 * MIB, video_id=str(number)): content(4 * MIB, seed=number)
            for number in range(6)
        }
        disk.fill(leave_bytes=FLOOR + 4 * MIB)
        answers = await asyncio.gather(
            *(fill_by_uploading(url, one, 0) for url, one in data.items())
        )
        assert {answer.status for answer in answers} <= {204, 507}
        assert [answer.status for answer in answers].count(507) > 0
        assert disk.free_bytes() > 0
        disk.release()
        await _until_ready(server)
        for url, one in data.items():
            found = await tus.head(url)
            assert found.status == 200
            assert (await tus.patch(url, found.offset, one[found.offset :])).status == 204
            await assert_finished(server, receiver, url, one)


async def test_a_disk_filled_to_the_last_page_loses_nothing(disk: SmallDisk) -> None:
    """Somebody else ate the reserve, so that the state cannot be written either: try again,
    says the server, never anything final; and it goes on by itself once there is space."""
    async with serving_on(disk, min_free_bytes=0) as (server, receiver):
        data = content(4 * MIB)
        url = await created(server, len(data))
        assert (await tus.patch(url, 0, data[:MIB])).offset == MIB
        disk.fill(leave_bytes=MIB)
        assert (await fill_by_uploading(url, data, MIB)).status == 507
        disk.fill()
        assert (await refused_creation(server)).status == 507
        found = await tus.head(url)
        assert found.status in (200, 423)
        assert (await tus.patch(url, MIB, data[MIB:])).status in (409, 423, 503, 507)
        await _until_ready(server, 503)
        disk.release()
        await _until_ready(server)
        found = await head_until_200(url)
        assert found.offset >= MIB
        done = await tus.patch(url, found.offset, data[found.offset :])
        assert (done.status, done.offset) == (204, len(data)), (done.status, done.text)
        await assert_finished(server, receiver, url, data)


async def test_a_kill_on_a_full_disk_loses_nothing(disk: SmallDisk) -> None:
    """The server dies while the disk is full, and starts on a disk with less than the reserve."""
    async with serving_on(disk, min_free_bytes=FLOOR) as (server, receiver):
        data = content(4 * MIB)
        url = await created(server, len(data))
        assert (await tus.patch(url, 0, data[:MIB])).offset == MIB
        disk.fill(leave_bytes=8 * KIB)
        assert (await tus.patch(url, MIB, data[MIB:])).status in (503, 507)
        await server.kill9()
        disk.release()
        disk.fill(leave_bytes=FLOOR // 2)
        await server.start()
        found = await tus.head(url)
        assert found.status == 200 and found.offset >= MIB
        assert (await tus.patch(url, found.offset, data[found.offset :])).status == 507
        disk.release()
        await _until_ready(server)
        done = await tus.patch(url, found.offset, data[found.offset :])
        assert (done.status, done.offset) == (204, len(data)), (done.status, done.text)
        await assert_finished(server, receiver, url, data)


async def _until_ready(server: Server, status: int = 200) -> None:
    """What is known of the free space is a second old at most."""
    async with asyncio.timeout(10):
        while await ready(server) != {status}:
            pass


async def _send_quietly(wire: Wire, data: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        await wire.send(data)
