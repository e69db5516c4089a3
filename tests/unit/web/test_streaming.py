"""Long answers on the wire: in the kernel and out of it, on both event loops, to every client."""

import asyncio
import logging
import os
import threading
from pathlib import Path

import pytest

from tests.fakes.shelf import FileBytes, MemoryBytes, finished
from tests.support.wire import Hangup, Wire
from tests.unit.web.files import FILE, LOOPS, FileRig, read_slowly, run_on, shelve, shelved
from tests.unit.web.rig import until
from tusd_py.core.ids import UploadId
from tusd_py.stores.base import StoreError
from tusd_py.web.sendfile import SendThreads
from tusd_py.web.streaming import End

MIB = 1024 * 1024
BIG = bytes(range(256)) * (20 * 4096)
"""20 MiB: more than all buffers between the server and a client that does not read."""

ways = pytest.mark.parametrize("in_kernel", [True, False], ids=["kernel", "user"])
loops = pytest.mark.parametrize("loop", LOOPS)


async def begun(rig: FileRig, **headers: str) -> Wire:
    """A download that was begun and is not read."""
    wire, before = await rig.wire(), len(rig.shelf.opened)
    await wire.send(wire.head("GET", FILE, headers))
    await until(lambda: len(rig.shelf.opened) > before)
    return wire


@ways
@loops
def test_a_file_comes_as_it_is_and_the_connection_goes_on(
    loop: str, in_kernel: bool, tmp_path: Path
) -> None:
    """HTTP-GET, HTTP-KEEPALIVE."""

    async def scenario() -> None:
        async with shelved() as rig:
            shelve(rig, BIG, tmp_path, in_kernel=in_kernel)
            wire = await rig.wire()
            for _ in range(2):
                answer = await wire.request("GET", FILE)
                assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(BIG)))
                assert answer.body == BIG
            assert await wire.is_usable()
            assert rig.ended == [("download", End.WHOLE, len(BIG))] * 2
            assert all(one.is_closed for one in rig.shelf.opened)
            if in_kernel:
                assert [one.reads for one in rig.shelf.opened] == [0, 0]

    run_on(loop, scenario())


@ways
@loops
def test_what_is_asked_behind_a_download_is_answered_behind_it(
    loop: str, in_kernel: bool, tmp_path: Path
) -> None:
    """HTTP-PIPELINE: four requests in one segment, and the bytes of each answer in their order,
    also where the socket is full when the next one begins."""

    async def scenario() -> None:
        async with shelved() as rig:
            shelve(rig, BIG, tmp_path, in_kernel=in_kernel)
            wire = await rig.wire()
            whole, part = wire.head("GET", FILE), wire.head("GET", FILE, {"Range": "bytes=5-9"})
            await wire.send(whole + whole + part + wire.head("GET", FILE + "/status"))
            for _ in range(4):
                wire.expect_answer("GET")
            assert (await wire.read_response()).body == BIG
            assert (await wire.read_response()).body == BIG
            third, fourth = await wire.read_response(), await wire.read_response()
            assert (third.status, third.body) == (206, BIG[5:10])
            assert fourth.headers["Content-Type"] == "application/json"
            if in_kernel:
                assert [one.reads for one in rig.shelf.opened] == [0, 0, 0]

    run_on(loop, scenario())


@ways
@pytest.mark.parametrize("keep", [True, False])
async def test_an_old_client_gets_it_too(in_kernel: bool, keep: bool, tmp_path: Path) -> None:
    """HTTP-10."""
    async with shelved() as rig:
        shelve(rig, BIG, tmp_path, in_kernel=in_kernel)
        wire = await rig.wire()
        headers = {"Connection": "keep-alive"} if keep else {}
        await wire.send_head("GET", FILE, headers, version="HTTP/1.0")
        answer = await wire.read_response()
        assert (answer.version, answer.body) == ((1, 0), BIG)
        assert answer.closes is not keep
        if not keep:
            assert await wire.is_closed()
        else:
            assert await wire.is_usable()


@ways
async def test_a_get_by_override_has_no_content_on_the_wire_of_a_head(
    in_kernel: bool, tmp_path: Path
) -> None:
    """HTTP-HEADBODY: and what was opened for it is closed."""
    async with shelved() as rig:
        shelve(rig, BIG, tmp_path, in_kernel=in_kernel)
        wire = await rig.wire()
        answer = await wire.request("HEAD", FILE, {"X-HTTP-Method-Override": "GET"})
        assert (answer.status, answer.body) == (200, b"")
        assert await wire.is_usable()
        assert [one.is_closed for one in rig.shelf.opened] == [True]
        events = await wire.request("HEAD", FILE + "/events", {"X-HTTP-Method-Override": "GET"})
        assert (events.status, events.body) == (200, b"")
        assert await wire.is_usable()


@ways
@loops
def test_readers_that_do_not_read_hold_no_thread(
    loop: str, in_kernel: bool, tmp_path: Path
) -> None:
    """Twenty of them and one thread: another reader gets its file all the same."""

    async def scenario() -> None:
        async with shelved(download={"threads": 1}) as rig:
            shelve(rig, BIG, tmp_path, in_kernel=in_kernel)
            for _ in range(20):
                await begun(rig)
            wire = await rig.wire()
            assert (await wire.request("GET", FILE)).body == BIG

    run_on(loop, scenario())


@ways
@loops
def test_a_client_that_takes_nothing_is_cut_off(
    loop: str, in_kernel: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """After ``answer_seconds``; its file is closed."""
    caplog.set_level(logging.INFO)

    async def scenario() -> None:
        async with shelved(http={"answer_seconds": 0.2}) as rig:
            shelve(rig, BIG, tmp_path, in_kernel=in_kernel)
            wire = await begun(rig)
            await until(lambda: rig.ended != [])
            assert [(kind, end) for kind, end, _ in rig.ended] == [("download", End.CUT)]
            await rig.site.edge.wait_until_idle()
            assert rig.shelf.opened[0].is_closed
            await until(lambda: rig.connections() == [])
            wire.expect_answer("GET")
            with pytest.raises(Hangup):
                await wire.read_response()

    run_on(loop, scenario())
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_client_that_is_slow_is_waited_for(tmp_path: Path) -> None:
    """For many times ``answer_seconds``: what counts is that something is taken, also while the
    kernel's own buffer, of which a third must be free first, has no room for more."""

    async def download(in_kernel: bool) -> None:
        folder = tmp_path / str(in_kernel)
        folder.mkdir()
        async with shelved(http={"answer_seconds": 0.4}) as rig:
            shelve(rig, BIG[:MIB], folder, in_kernel=in_kernel)
            wire = await rig.wire()
            request = wire.head("GET", FILE, {"Connection": "close"})
            got = await read_slowly(rig, request, bytes_per_second=MIB // 5)
            assert got.endswith(BIG[:MIB])
            assert [end for _, end, _ in rig.ended] == [End.WHOLE]

    await asyncio.gather(download(True), download(False))


@ways
@loops
def test_a_client_that_goes_ends_its_download_at_once(
    loop: str, in_kernel: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether the server was waiting for it or sending to it; nobody calls that an error."""
    caplog.set_level(logging.INFO)

    async def scenario() -> None:
        async with shelved() as rig:
            shelve(rig, BIG, tmp_path, in_kernel=in_kernel)
            for _ in range(5):
                wire = await begun(rig)
                await wire.reset()
            await rig.site.edge.wait_until_idle()
            assert [end for _, end, _ in rig.ended] == [End.CUT] * 5
            assert all(one.is_closed for one in rig.shelf.opened)

    run_on(loop, scenario())
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@ways
@loops
def test_a_stop_cuts_downloads_soon(loop: str, in_kernel: bool, tmp_path: Path) -> None:
    """A restart does not wait for the slowest reader, and a file's end is never made up."""

    async def scenario() -> None:
        async with shelved() as rig:
            shelve(rig, BIG, tmp_path, in_kernel=in_kernel)
            wire = await begun(rig)
            async with asyncio.timeout(5):
                await rig.site.stop(30.0)
            assert [end for _, end, _ in rig.ended] == [End.CUT]
            assert rig.shelf.opened[0].is_closed
            wire.expect_answer("GET")
            with pytest.raises(Hangup):
                await wire.read_response()

    run_on(loop, scenario())


@ways
@loops
def test_a_request_that_is_cancelled_leaves_nothing_open(
    loop: str, in_kernel: bool, tmp_path: Path
) -> None:
    """What a stop does to whoever does not end in time."""

    async def scenario() -> None:
        async with shelved() as rig:
            shelve(rig, BIG, tmp_path, in_kernel=in_kernel)
            await begun(rig)
            await rig.site.edge.cancel_all(5.0)
            assert rig.shelf.opened[0].is_closed
            assert [end for _, end, _ in rig.ended] == [End.CUT]

    run_on(loop, scenario())


@pytest.mark.parametrize("error", [StoreError("the disk"), RuntimeError("a bug")])
async def test_what_fails_on_the_way_cuts_the_connection(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """There is no second answer in the middle of a first one."""
    async with shelved() as rig:
        rig.shelf.records[finished(BIG).id] = finished(BIG)
        rig.shelf.make = lambda: MemoryBytes(BIG, fails=error)
        wire = await rig.wire()
        with pytest.raises(Hangup) as seen:
            await wire.request("GET", FILE)
        assert b"HTTP/1.1" not in seen.value.received
        assert [end for _, end, _ in rig.ended] == [End.FAILED]
        assert rig.shelf.opened[0].is_closed
    assert [record.msg for record in caplog.records if record.levelno >= logging.ERROR] == [
        "stream_failed"
    ]


async def test_a_head_that_cannot_be_written_closes_the_file(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug of ours, and no descriptor stays open for it."""
    async with shelved() as rig:
        rig.shelf.records[finished(BIG).id] = finished(BIG)
        rig.shelf.make = lambda: MemoryBytes(BIG)
        monkeypatch.setattr("tusd_py.web.downloads._KEPT", (("A", "b\r\nC: d"),))
        wire = await rig.wire()
        with pytest.raises(Hangup):
            await wire.request("GET", FILE)
        assert rig.shelf.opened[0].is_closed
    assert [record.msg for record in caplog.records if record.levelno >= logging.ERROR] == [
        "stream_failed"
    ]


@ways
async def test_a_file_that_lost_its_end_cuts_the_connection(
    in_kernel: bool, tmp_path: Path
) -> None:
    """Somebody truncated it while it was being sent."""
    path = tmp_path / "file"
    path.write_bytes(BIG)
    async with shelved(download={"sendfile": in_kernel}) as rig:
        rig.shelf.records[finished(BIG).id] = finished(BIG)
        rig.shelf.make = lambda: FileBytes(path)
        wire = await begun(rig)
        with path.open("r+b") as file:
            file.truncate(MIB)
        wire.expect_answer("GET")
        with pytest.raises(Hangup):
            await wire.read_response()
        assert [end for _, end, _ in rig.ended] == [End.FAILED]


async def test_a_file_that_the_kernel_will_not_send_is_read() -> None:
    """Not every file system can; the first try tells."""

    unreadable = os.open(os.devnull, os.O_WRONLY)
    async with shelved() as rig:
        rig.shelf.records[finished(b"abc").id] = finished(b"abc")
        rig.shelf.make = lambda: MemoryBytes(b"abc", descriptor=unreadable)
        wire = await rig.wire()
        assert (await wire.request("GET", FILE)).body == b"abc"
        assert await wire.is_usable()
    os.close(unreadable)


async def test_little_waits_in_memory_where_the_kernel_does_not_send(tmp_path: Path) -> None:
    """A reader that does not read costs one piece, whatever the size of the file."""
    async with shelved() as rig:
        shelve(rig, BIG, tmp_path, in_kernel=False)
        await begun(rig)
        (connection,) = rig.connections()
        await until(lambda: connection.writing_paused)
        assert connection.transport is not None
        assert connection.transport.get_write_buffer_size() <= MIB // 2


async def test_a_refusal_is_no_stream(tmp_path: Path) -> None:
    """HTTP-RANGE: and closes what was opened."""
    async with shelved() as rig:
        shelve(rig, b"0123456789", tmp_path, in_kernel=True)
        wire = await rig.wire()
        answer = await wire.request("GET", FILE, {"Range": "bytes=10-"})
        assert (answer.status, answer.headers["Content-Range"]) == (416, "bytes */10")
        tag = (await wire.request("GET", FILE)).headers["ETag"]
        assert (await wire.request("GET", FILE, {"If-Match": '"x"'})).status == 412
        answer = await wire.request("GET", FILE, {"If-None-Match": tag})
        assert (answer.status, answer.headers["ETag"]) == (304, tag)
        assert "Content-Length" not in answer.headers
        assert await wire.is_usable()
        assert [one.is_closed for one in rig.shelf.opened] == [True] * 4


async def test_a_thread_is_waited_for_however_often_one_is_cancelled() -> None:
    """Its descriptors may be closed only once it is back."""
    threads, stop = SendThreads(1), threading.Event()
    begun, go_on = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait()

    task = asyncio.create_task(threads.run(work, stop))
    await asyncio.to_thread(begun.wait)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
    assert stop.is_set()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    threads.close()


async def test_another_upload_is_not_opened(tmp_path: Path) -> None:
    """A record that is not there is for the offset's answer to tell."""
    async with shelved() as rig:
        shelve(rig, b"abc", tmp_path, in_kernel=True)
        wire = await rig.wire()
        other = UploadId("f" * 32)
        assert (await wire.request("GET", f"/upload/{other}")).status == 404
        assert rig.shelf.opened == []
