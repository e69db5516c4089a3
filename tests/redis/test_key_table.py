"""The table of keys is true: what a live server holds is in it, all that is in it is held."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.redis_states import CLOCK_KEY, PREFIX, RedisRig, ServerRig
from tests.contract.states import STATES, take
from tests.redis.busy import NOW, Busy
from tests.support.redis_servers import RedisServer
from tusd_py.core.upload import Boot
from tusd_py.state.base import Filter, Purpose, StateStore
from tusd_py.state.moving import Piece
from tusd_py.state.redis.acl import COMMANDS
from tusd_py.state.redis.keys import KEYS, Key

KINDS = ("redis", "redis-7", "valkey")
EXPIRE = frozenset({"rate:<digest>", "places:<digest>"})
"""What Redis lets go by itself."""
STAY = frozenset({"meta", "boots", "counts", "void", "removed", "writers", "processes", "beats"})
"""What an installation without uploads and without events may still hold."""
ELSEWHERE = frozenset({"cluster", "select"})
"""Rights that are needed on a cluster, and for another database; see ``test_acl``."""
LOOK = """
local found = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  found[#found + 1] = {key, redis.call('TYPE', key).ok, redis.call('TTL', key)}
end
return found
"""


@pytest.fixture(params=KINDS)
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ServerRig]:
    async with STATES[request.param](tmp_path) as made:
        assert isinstance(made, ServerRig)
        yield made


class Seen:
    """All keys that a server was seen to hold, with their type and whether they expire."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self.types: dict[str, set[str]] = defaultdict(set)
        self.expire: set[str] = set()

    async def look(self) -> None:
        for key, type_, left in await self._server.call("EVAL", LOOK, 0):
            name = key.decode()
            if not name.endswith(CLOCK_KEY):  # the rig's own
                self.types[name].add(type_.decode())
                if left >= 0:
                    self.expire.add(name)


def rows_of(key: str) -> list[Key]:
    return [row for row in KEYS if row.matches(key, PREFIX)]


async def be_busy(rig: RedisRig, seen: Seen) -> tuple[StateStore, StateStore]:
    here, there = await rig.open(), await rig.open(Boot("host-b", "boot-2"))

    async def pass_time(seconds: float) -> None:
        rig.clock.advance(seconds)

    await Busy(here, there, pass_time, look=seen.look).all()
    return here, there


async def be_moved(rig: ServerRig, here: StateStore, seen: Seen) -> None:
    """Out of this store and back, when all else has stopped."""
    pieces = [piece async for piece in here.dump()]
    await here.close()
    await rig.server.call("FLUSHALL")
    rig.show_time()

    async def slowly() -> AsyncIterator[Piece]:
        for piece in pieces:
            yield piece
        await asyncio.create_task(seen.look())  # not on the stack of the store

    await (await rig.open()).restore(slowly())
    await seen.look()


async def test_every_key_is_of_one_row_and_every_row_was_seen(rig: ServerRig) -> None:
    """While everything is done that a state can do, and while it is moved."""
    seen = Seen(rig.server)
    here, there = await be_busy(rig, seen)
    await there.close()
    await be_moved(rig, here, seen)
    found: dict[str, set[str]] = defaultdict(set)
    for key, types in seen.types.items():
        rows = rows_of(key)
        assert len(rows) == 1, f"{key} is of {[row.name for row in rows]}"
        found[rows[0].name] |= types
    assert found == {row.name: {str(row.form)} for row in KEYS}


async def test_no_record_is_left_to_expire(rig: ServerRig) -> None:
    """Redis lets go of nothing but quotas; of those it does."""
    seen = Seen(rig.server)
    await be_busy(rig, seen)
    assert {rows_of(key)[0].name for key in seen.expire} == EXPIRE


async def test_when_all_uploads_are_gone_what_is_left_is_what_stays(rig: ServerRig) -> None:
    """Nothing grows with the uploads there ever were."""
    here, _ = await be_busy(rig, Seen(rig.server))
    rig.clock.advance(60)
    for upload in await here.page(Filter(), after=None, limit=100):
        await here.remove((await take(here, upload, Purpose.SWEEP)).lease)
    for hook in await here.backlog():
        while claimed := await here.claim(hook, now=NOW + 99, claim_seconds=60, limit=100):
            await here.settle(claimed)
    await here.purge(before=NOW + 99)
    left = Seen(rig.server)
    await left.look()
    quotas = {key for key in left.types if rows_of(key)[0].name in EXPIRE}
    names = {rows_of(key)[0].name for key in left.types.keys() - quotas}
    assert names <= STAY, names - STAY


async def test_every_right_that_is_documented_is_used(tmp_path: Path) -> None:
    """Everything works with these rights and no others, in all suites of contracts; so one that is
    used is needed. Counted by the server, calls from scripts too."""
    async with STATES["redis"](tmp_path) as rig:
        assert isinstance(rig, ServerRig)
        await rig.server.call("CONFIG", "RESETSTAT")
        here, there = await be_busy(rig, Seen(rig.server))
        await there.close()
        await be_moved(rig, here, Seen(rig.server))
        told = await rig.server.info("commandstats")
    used = {name.removeprefix("cmdstat_").split("|")[0] for name in told}
    wanted = {command.split("|")[0] for command in COMMANDS}
    assert wanted - used == ELSEWHERE
