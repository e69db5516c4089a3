"""Event streams on the wire."""

import asyncio
import json
import logging

import pytest

from tests.support.events import Listener
from tests.unit.core.builders import AN_ID
from tests.unit.web.files import FILE, LOOPS, FileRig, run_on, shelved
from tests.unit.web.rig import until
from tusd_py.core.ids import UploadId
from tusd_py.core.metadata import build_pairs
from tusd_py.core.upload import Status
from tusd_py.web.streaming import End

EVENTS = FILE + "/events"
OWNERS = "/upload/events"
MINE = {"Authorization": "Bearer mine"}


async def listen(rig: FileRig, path: str = EVENTS, **headers: str) -> Listener:
    """A stream whose head and first line came."""
    wire = await rig.wire()
    await wire.send_head("GET", path, headers)
    head = await wire.read_stream_head()
    assert head.status == 200, head
    assert head.headers["Content-Type"] == "text/event-stream"
    assert head.headers["Cache-Control"] == "no-store"
    assert head.headers["X-Accel-Buffering"] == "no"
    listener = Listener(wire)
    (first,) = await listener.events("retry")
    assert 1000 <= int(first.retry or "0") <= 3000
    return listener


@pytest.mark.parametrize("loop", LOOPS)
def test_an_upload_is_followed_to_its_end(loop: str) -> None:
    """First how it stands, then each change, then an end after which the connection serves on."""

    async def scenario() -> None:
        async with shelved() as rig:
            rig.shelf.put(offset=1)
            listener = await listen(rig)
            (first,) = await listener.events("status")
            assert (first.data["state"], first.data["offset"]) == ("receiving", 1)
            rig.shelf.put(offset=2)
            (second,) = await listener.events("status")
            assert second.data["offset"] == 2 and second.id != first.id
            rig.shelf.put(offset=10, status=Status.COMPLETE)
            last, end = await listener.events("status", "end")
            assert last.data["state"] == "complete"
            assert end.data == {"upload_id": AN_ID, "state": "complete"}
            assert end.id == last.id
            with pytest.raises(EOFError):
                await listener.event()
            assert await listener.wire.is_usable()
            assert [(kind, end) for kind, end, _ in rig.ended] == [("events", End.WHOLE)]

    run_on(loop, scenario())


@pytest.mark.parametrize("status", [Status.COMPLETE, Status.REJECTED, Status.INVALID])
async def test_what_is_over_is_told_once_and_a_browser_stays_away(status: Status) -> None:
    """``EventSource`` comes again after every end; only a 204 keeps it from that."""
    async with shelved() as rig:
        rig.shelf.put(status=status)
        listener = await listen(rig)
        _, end = await listener.events("status", "end")
        wire = await rig.wire()
        again = await wire.request("GET", EVENTS, {"Last-Event-ID": end.id or ""})
        assert (again.status, again.body) == (204, b"")
        other = await listen(rig, **{"Last-Event-ID": "another"})
        await other.events("status", "end")


async def test_an_upload_that_is_removed_ends_its_stream() -> None:
    async with shelved() as rig:
        rig.shelf.put()
        listener = await listen(rig)
        await listener.events("status")
        rig.shelf.records.clear()
        (end,) = await listener.events("end")
        assert end.data == {"upload_id": AN_ID, "state": "removed"}
        with pytest.raises(EOFError):
            await listener.event()


async def test_all_uploads_of_a_client_are_followed() -> None:
    """Each with its own events; removals too; no end."""
    async with shelved() as rig:
        rig.shelf.put()
        other = UploadId("f" * 32)
        rig.shelf.put(id=other, status=Status.COMPLETE)
        listener = await listen(rig, OWNERS, **MINE)
        first = await listener.events("status", "status")
        assert [one.data["upload_id"] for one in first] == [AN_ID, other]
        rig.shelf.put(status=Status.COMPLETE)
        (changed,) = await listener.events("status")
        assert (changed.data["upload_id"], changed.data["state"]) == (AN_ID, "complete")
        del rig.shelf.records[other]
        (removed,) = await listener.events("removed")
        assert removed.data == {"upload_id": other}
        rig.shelf.put(id=UploadId("e" * 32))
        (new,) = await listener.events("status")
        assert new.data["upload_id"] == "e" * 32


async def test_a_client_without_uploads_waits_for_its_first() -> None:
    async with shelved() as rig:
        listener = await listen(rig, OWNERS, **MINE)
        rig.shelf.put()
        (first,) = await listener.events("status")
        assert first.data["upload_id"] == AN_ID


async def test_a_line_end_in_a_name_does_not_end_the_event() -> None:
    """SEC-INJECT."""
    async with shelved() as rig:
        odd = "a\n\nevent: end\r\ndata: {}\u2028"
        rig.shelf.put(metadata=build_pairs({"filename": odd.encode()}))
        listener = await listen(rig)
        (first,) = await listener.events("status")
        assert first.data["metadata"]["filename"] == odd


async def test_a_quiet_stream_says_that_it_lives() -> None:
    async with shelved(watch={"heartbeat_seconds": 1.0}) as rig:
        rig.shelf.put()
        listener = await listen(rig)
        await listener.events("status", "comment", "comment")


async def test_a_right_that_has_ended_ends_the_stream() -> None:
    """A token that expired: it is looked at again with each heartbeat."""
    async with shelved(watch={"heartbeat_seconds": 1.0}) as rig:
        rig.shelf.put()
        one, all_of_them = await listen(rig), await listen(rig, OWNERS, **MINE)
        rig.access.revoked = True
        for listener in (one, all_of_them):
            _, end = await listener.events("status", "end")
            assert end.data == {"code": "ERR_TOKEN_INVALID"}
            with pytest.raises(EOFError):
                await listener.event()


async def test_a_stream_has_an_end_in_any_case() -> None:
    async with shelved(watch={"stream_seconds": 1.0}) as rig:
        rig.shelf.put()
        listener = await listen(rig)
        await listener.events("status")
        with pytest.raises(EOFError):
            await listener.event()
        assert await listener.wire.is_usable()


async def test_there_is_a_bound_and_a_place_becomes_free_when_a_viewer_goes() -> None:
    """SEC-ALIVE: at once, though the stream has nothing to say to it."""
    async with shelved(watch={"max_streams": 2}) as rig:
        rig.shelf.put()
        streams = [await listen(rig), await listen(rig, OWNERS, **MINE)]
        wire = await rig.wire()
        for path in (EVENTS, OWNERS):
            refused = await wire.request("GET", path, MINE)
            assert (refused.status, refused.headers["Retry-After"]) == (503, "10")
            assert json.loads(refused.body)["code"] == "ERR_TOO_MANY_WATCHERS"
        await streams[0].wire.reset()
        async with asyncio.timeout(5):  # far less than a heartbeat
            await until(lambda: rig.ended != [])
        await listen(rig)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_stop_ends_streams_in_order_and_at_once(
    loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def scenario() -> None:
        async with shelved() as rig:
            rig.shelf.put()
            streams = [await listen(rig) for _ in range(3)]
            for listener in streams:
                await listener.events("status")
            async with asyncio.timeout(0.9):
                await rig.site.stop(30.0)
            for listener in streams:
                with pytest.raises(EOFError):
                    await listener.event()
                assert await listener.wire.is_closed()
            assert [end for _, end, _ in rig.ended] == [End.WHOLE] * 3

    run_on(loop, scenario())
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_an_old_client_is_told_until_the_connection_ends() -> None:
    """HTTP-10: without chunks."""
    async with shelved() as rig:
        rig.shelf.put(status=Status.COMPLETE)
        wire = await rig.wire()
        await wire.send_head("GET", EVENTS, {"Connection": "keep-alive"}, version="HTTP/1.0")
        answer = await wire.read_response()
        assert answer.version == (1, 0) and answer.closes
        assert "Transfer-Encoding" not in answer.headers
        assert answer.text.count("event: ") == 2 and answer.text.endswith("\n\n")


@pytest.mark.parametrize("loop", LOOPS)
def test_a_viewer_that_does_not_read_is_cut_off(loop: str) -> None:
    """Once all buffers are full and nothing is taken for ``answer_seconds``; what it has not read
    is not kept for it meanwhile."""

    async def scenario() -> None:
        async with shelved(http={"answer_seconds": 0.5}) as rig:
            rig.shelf.put(refusal="x" * 500_000)
            wire = await rig.wire()
            await wire.send(wire.head("GET", EVENTS))
            offset = 0
            while not rig.ended:
                offset += 1
                rig.shelf.put(offset=offset, refusal="x" * 500_000)
                await asyncio.sleep(0)
            assert [end for _, end, _ in rig.ended] == [End.CUT]

    run_on(loop, scenario())
