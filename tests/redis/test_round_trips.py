"""How often Redis is asked: what the server itself sees while a service does one thing."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.service.backends import OnRedis
from tests.service.world import OWNER, Body, World, principal
from tests.support.redis_servers import RedisServer
from tusd_py.core.errors import OffsetMismatch
from tusd_py.core.identity import Claims, Principal
from tusd_py.core.upload import Kind, Upload
from tusd_py.service.settings import LimitSettings, UploadSettings
from tusd_py.state.base import StateStore
from tusd_py.state.redis.store import RedisState

BACKGROUND: Final = frozenset({"beat", "open"})
"""What a process asks by itself, from time to time."""
CONTENT: Final = b"0123456789"
SELDOM: Final = UploadSettings(lease_seconds=60, checkpoint_seconds=20, expire_seconds=3600)
OFTEN: Final = UploadSettings(lease_seconds=5, checkpoint_seconds=0.1, expire_seconds=3600)


@asynccontextmanager
async def a_world(folder: Path, settings: UploadSettings) -> AsyncIterator[World]:
    """On Redis; every script it needs has been sent there before."""
    world = World(folder, settings=settings, backend_name="redis")
    await world.start()
    try:
        who = once()
        upload = await world.create(len(CONTENT), who=who)
        await world.create(len(CONTENT), who=who)
        await world.append(upload.id, 0, CONTENT)
        again = await world.create(3)
        await world.head(again.id)
        await world.terminate(again.id)
        yield world
    finally:
        await world.kill()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path, SELDOM) as made:
        yield made


def once() -> Principal:
    """A token for one file, which was not used before."""
    return Principal(Claims(OWNER, once_id=secrets.token_hex(8)))


def server_of(world: World) -> RedisServer:
    assert isinstance(world.backend, OnRedis)
    return world.backend.server


def names_of_scripts(state: StateStore) -> dict[str, str]:
    """What Redis calls them."""
    assert isinstance(state, RedisState)
    return {composed.sha: script.name for script, composed in state._link._composed.items()}


class Watched:
    """What Redis is asked from the outside while it is watched: scripts by name, else commands."""

    def __init__(self, world: World) -> None:
        self.calls: list[str] = []
        self._world = world

    @asynccontextmanager
    async def meanwhile(self) -> AsyncIterator[None]:
        self.calls.clear()
        server = server_of(self._world)
        mark = secrets.token_hex(8)
        seen: list[str] = []
        async with server.client() as marker, server.client() as client:
            await marker.ping()
            async with client.monitor() as monitor:
                yield
                await marker.echo(mark)
                while (told := await monitor.next_command())["command"] != f"ECHO {mark}":
                    if told["client_type"] != "lua":
                        seen.append(str(told["command"]))
        names = names_of_scripts(self._world.state)
        for command in seen:
            word, *rest = command.split(" ")
            name = names[rest[0]] if word == "EVALSHA" else word
            if name not in BACKGROUND:
                self.calls.append(name)


@pytest.fixture
def watched(world: World) -> Watched:
    return Watched(world)


async def half_an_upload(world: World) -> Upload:
    upload = await world.create(len(CONTENT))
    await world.append(upload.id, 0, CONTENT[:4])
    return upload


async def test_a_head_is_one(world: World, watched: Watched) -> None:
    upload = await half_an_upload(world)
    async with watched.meanwhile():
        assert (await world.head(upload.id)).offset == 4
    assert watched.calls == ["take"]


async def test_a_head_of_a_whole_is_one(world: World, watched: Watched) -> None:
    upload = await world.create(len(CONTENT), CONTENT)
    async with watched.meanwhile():
        assert (await world.head(upload.id)).is_complete
    assert watched.calls == ["take"]


async def test_a_patch_is_two(world: World, watched: Watched) -> None:
    """Lease and load, commit and release."""
    upload = await half_an_upload(world)
    async with watched.meanwhile():
        assert (await world.append(upload.id, 4, CONTENT[4:6])).offset == 6
    assert watched.calls == ["take", "commit"]


async def test_the_last_patch_is_two(world: World, watched: Watched) -> None:
    """Completion and its event come with the same commit."""
    upload = await half_an_upload(world)
    async with watched.meanwhile():
        assert (await world.append(upload.id, 4, CONTENT[4:])).is_complete
    assert watched.calls == ["take", "commit"]


async def test_a_patch_that_is_refused_is_two(world: World, watched: Watched) -> None:
    """The lease that was taken is let go."""
    upload = await half_an_upload(world)
    async with watched.meanwhile():
        with pytest.raises(OffsetMismatch):
            await world.append(upload.id, 3, CONTENT)
    assert len(watched.calls) == 2 and watched.calls[0] == "take"


async def test_a_long_patch_is_one_more_for_each_checkpoint(tmp_path: Path) -> None:
    async with a_world(tmp_path, OFTEN) as world:
        watched = Watched(world)
        upload = await half_an_upload(world)
        body = Body(CONTENT[4:5], CONTENT[5:6], hold_before=1)
        world.fate.calls.clear()
        async with watched.meanwhile():
            appending = asyncio.create_task(world.append(upload.id, 4, body))
            while world.fate.calls.count("commit") < 3:
                world.fate.called.clear()
                await world.fate.called.wait()
            body.go_on.set()
            await appending
        commits = world.fate.calls.count("commit")
        assert commits >= 4
        assert watched.calls == ["take"] + commits * ["commit"]


async def test_a_creation_is_one(world: World, watched: Watched) -> None:
    async with watched.meanwhile():
        await world.create(len(CONTENT))
    assert watched.calls == ["create"]


async def test_a_creation_with_a_body_is_two(world: World, watched: Watched) -> None:
    async with watched.meanwhile():
        await world.create(len(CONTENT), CONTENT)
    assert watched.calls == ["create", "commit"]


async def test_a_creation_with_a_token_for_one_file_is_one_more(
    world: World, watched: Watched
) -> None:
    who = once()
    async with watched.meanwhile():
        first = await world.create(len(CONTENT), who=who)
    assert watched.calls == ["reserve", "create"]
    async with watched.meanwhile():
        assert (await world.create(len(CONTENT), who=who)).id == first.id
    assert watched.calls == ["reserve", "look_once"]


async def test_a_creation_of_a_client_with_limits_is_one_more(
    world: World, watched: Watched
) -> None:
    world.rewire(limits=LimitSettings(creations=100), quotas=world.state)
    await world.create(len(CONTENT))
    async with watched.meanwhile():
        await world.create(len(CONTENT))
    assert watched.calls == ["admit", "create"]


async def test_a_short_body_of_a_client_with_limits_is_no_more(
    world: World, watched: Watched
) -> None:
    """Those that take less than a second do not count."""
    world.rewire(limits=LimitSettings(bodies=1), quotas=world.state)
    upload = await half_an_upload(world)
    async with watched.meanwhile():
        await world.append(upload.id, 4, CONTENT[4:])
    assert watched.calls == ["take", "commit"]


async def test_a_termination_is_three(world: World, watched: Watched) -> None:
    """It is marked before the bytes go, and the record goes after them."""
    upload = await half_an_upload(world)
    async with watched.meanwhile():
        await world.terminate(upload.id)
    assert watched.calls == ["take", "commit", "remove"]


async def test_a_final_upload_asks_for_its_parts_at_once(world: World, watched: Watched) -> None:
    parts = [await world.part(CONTENT[:n], who=principal()) for n in (2, 3, 4)]
    async with watched.meanwhile():
        final = await world.final(*parts)
    assert final.is_complete and final.kind is Kind.FINAL
    assert watched.calls.count("read") <= 2 and watched.calls.count("create") == 1
