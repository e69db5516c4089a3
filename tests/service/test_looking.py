"""Looking and downloading over real store and state, beside those who write and remove."""

import asyncio
from pathlib import Path

import pytest

from tests.service.world import OWNER, STRANGER, Body, a_world, principal
from tusd_py.core.errors import ClientMismatch, UploadUnknown
from tusd_py.core.upload import Status
from tusd_py.service.observing import Observing
from tusd_py.service.watching import Watchers
from tusd_py.state.base import Lease, Seen, Taken, Visit

pytestmark = pytest.mark.usefixtures("each_state")


async def test_looking_asks_no_writer_to_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifty looks, a list and two viewers while a body comes: its lease is never asked for, and
    the one append ends the upload."""
    async with a_world(tmp_path) as world:
        upload = await world.create(10)
        leases: list[Lease] = []
        take = world.state.take

        async def watched_take(visit: Visit) -> Taken | Seen:
            found = await take(visit)
            if isinstance(found, Taken):
                leases.append(found.lease)
            return found

        monkeypatch.setattr(world.state, "take", watched_take)
        body = Body(b"12345", b"67890", hold_before=1)
        writing = asyncio.create_task(world.append(upload.id, 0, body))
        await body.reached_hold.wait()
        observing = Observing(world.parts)
        watchers = Watchers(observing, poll_seconds=0.01, max_viewers=10)
        viewers = [watchers.join(upload.id), watchers.join(OWNER)]
        for _ in range(50):
            assert (await observing.look(upload.id, principal())).state == "receiving"
        await observing.page(OWNER, state=None, after=None, limit=10)
        for viewer in viewers:
            async with asyncio.timeout(10):
                while True:  # until the checkpoint of what has come shows
                    changes = await viewer.changes(10)
                    assert changes is not None
                    if changes.views[0].data["offset"] == 5:
                        break
            viewer.leave()
        assert await observing.open(upload.id, principal()) is None
        (lease,) = leases
        assert not lease.asked.is_set()
        body.go_on.set()
        assert (await writing).status is Status.COMPLETE
        watchers.stop()
        await watchers.close()


async def test_what_was_opened_is_read_to_its_end_though_it_is_removed(tmp_path: Path) -> None:
    """A reader neither waits for a removal nor holds it up."""
    async with a_world(tmp_path) as world:
        upload = await world.create(10, b"1234567890")
        observing = Observing(world.parts)
        opened = await observing.open(upload.id, principal())
        assert opened is not None
        await world.terminate(upload.id)
        assert await opened.bytes.read(0, 100) == b"1234567890"
        await opened.bytes.close()
        assert await observing.open(upload.id, principal()) is None
        with pytest.raises(UploadUnknown):
            await observing.look(upload.id, principal())


async def test_a_placed_file_is_read_where_it_was_put(tmp_path: Path) -> None:
    async with a_world(tmp_path, destination="{filename}") as world:
        upload = await world.create(3, b"abc", metadata={"filename": b"a.bin"})
        opened = await Observing(world.parts).open(upload.id, principal())
        assert opened is not None and opened.upload.place == "a.bin"
        assert (opened.bytes.length, await opened.bytes.read(0, 3)) == (3, b"abc")
        await opened.bytes.close()


async def test_strangers_are_refused_by_the_record(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world:
        upload = await world.create(3, b"abc")
        observing = Observing(world.parts)
        assert (await observing.look(upload.id, principal())).state == "complete"
        for call in (observing.look, observing.open):
            with pytest.raises(ClientMismatch):
                await call(upload.id, principal(STRANGER))
