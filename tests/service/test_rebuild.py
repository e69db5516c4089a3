"""Records are made anew from the store, many at a time, by whichever machine is asked to."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from tests.service.world import Body, World, a_world
from tusd_py.core.events import EventKind
from tusd_py.core.ids import UploadId
from tusd_py.core.upload import Upload
from tusd_py.service.rebuild import Rebuilt, rebuild
from tusd_py.service.settings import UploadSettings
from tusd_py.stores.base import ByteStore, WalkPage

pytestmark = pytest.mark.usefixtures("each_state")

CONTENT = b"0123456789"
QUICK = UploadSettings(lease_seconds=1, checkpoint_seconds=0.2, expire_seconds=3600)


async def several(world: World) -> dict[UploadId, int]:
    """Uploads that have as many bytes as are said here; the last one is complete."""
    offsets: dict[UploadId, int] = {}
    for count in (0, 3, 7, len(CONTENT)):
        upload = await world.create(len(CONTENT))
        if count:
            await world.append(upload.id, 0, CONTENT[:count])
        offsets[upload.id] = count
    return offsets


async def lose_state(world: World, host: str) -> None:
    """Another machine has the first look at an empty state; what went before was delivered."""
    await world.deliver()
    await world.kill()
    world.host = host
    await world.backend.lose()
    await world.start()


async def test_every_record_is_made_anew_with_its_bytes(tmp_path: Path) -> None:
    """By another machine, at once after the state was lost: the first tries fall into [grace]."""
    async with a_world(tmp_path, settings=QUICK) as world:
        offsets = await several(world)
        await lose_state(world, "there")
        assert await rebuild(world.parts) == Rebuilt(uploads=4, adopted=4, failed=())
        for upload_id, offset in offsets.items():
            found = await world.state.find(upload_id)
            assert found is not None and found.offset == offset
        assert await rebuild(world.parts) == Rebuilt(uploads=4, adopted=0, failed=())


async def test_a_completion_is_told_again_under_its_id(tmp_path: Path) -> None:
    """Whether it had been told before is forgotten; whoever remembers ids acts once."""
    async with a_world(tmp_path, settings=QUICK) as world:
        *_, complete = await several(world)
        await lose_state(world, "there")
        assert len(world.told(EventKind.COMPLETED, complete)) == 1
        await rebuild(world.parts)
        fresh = await world.deliver()
        assert [event.kind for event in fresh if event.upload_id == complete] == [
            EventKind.COMPLETED
        ]
        assert len(world.told(EventKind.COMPLETED, complete)) == 1


class Meanwhile:
    """A store during whose walk something else happens, once all pages were seen."""

    def __init__(self, real: ByteStore, happens: Callable[[], Awaitable[None]]) -> None:
        self._real = real
        self._happens = happens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def walk(self, cursor: str | None, *, orphan_age_seconds: float) -> WalkPage:
        page = await self._real.walk(cursor, orphan_age_seconds=orphan_age_seconds)
        if page.cursor is None:
            await self._happens()
        return page


async def test_what_others_adopt_and_write_meanwhile_is_no_failure(tmp_path: Path) -> None:
    """Servers may be running: a client goes on with its upload, and is not disturbed."""
    async with a_world(tmp_path, settings=QUICK) as world:
        _, half, *_ = await several(world)
        await lose_state(world, "there")
        world.pass_time(QUICK.lease_seconds + 1)
        body = Body(CONTENT[3:5], CONTENT[5:], hold_before=1)
        parts, writers = world.parts, list[asyncio.Task[Upload]]()

        async def go_on() -> None:
            writers.append(asyncio.create_task(world.append(half, 3, body)))
            await body.reached_hold.wait()

        world.rewire(store=cast(ByteStore, Meanwhile(parts.store, go_on)))
        result = await rebuild(world.parts)
        assert result == Rebuilt(uploads=4, adopted=4, failed=())
        body.go_on.set()
        assert (await writers[0]).is_complete
        assert world.content(half) == CONTENT
