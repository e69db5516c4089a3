"""Quotas in Redis: what lies there, for how long, and what becomes of calls that come twice."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from tests.support.redis_confs import PASSWORDS, configured
from tests.support.redis_servers import RedisServer, redis_server
from tusd_py.core.ids import HolderId
from tusd_py.core.rates import Rate, Turn
from tusd_py.core.upload import Boot
from tusd_py.state.redis.link import Link
from tusd_py.state.redis.quotas import ADMIT, ENTER, LEAVE, RedisQuotas
from tusd_py.state.redis.scripts import Script
from tusd_py.state.redis.settings import RedisSettings

RATE = Rate(count=1, seconds=60.0, burst=2)
BASE = "tusd:{0a}"
NAME = "f" * 40
BODY = HolderId("b" * 32)


class Quotas(RedisQuotas):
    """Nothing but quotas, on a link."""

    def __init__(self, link: Link) -> None:
        self._opened = link

    @property
    def _link(self) -> Link:
        return self._opened


@asynccontextmanager
async def quotas(server: RedisServer, **more: Any) -> AsyncIterator[Quotas]:
    settings = RedisSettings(url=SecretStr(server.url), **more)
    link = Link(settings, boot=Boot("host", "boot"), lease_seconds=5.0)
    await link.open()
    try:
        yield Quotas(link)
    finally:
        await link.close()


async def run(server: RedisServer, script: Script, token: str, *args: object) -> Any:
    """As the link sends it, with this token."""
    text = script.compose(prefix="tusd").text
    replies = await server.call("EVAL", text, 1, BASE, token, 5000, NAME, *args)
    return replies[0]


async def keys(server: RedisServer) -> Mapping[str, int]:
    """Those of quotas, and the ms each has to live."""
    found = sorted(key.decode() for key in await server.call("KEYS", "tusd:*"))
    wanted = [key for key in found if not key.endswith((":meta", ":boots"))]
    return {key: await server.call("PTTL", key) for key in wanted}


async def test_a_turn_is_spent_once_however_often_its_call_is_sent(tmp_path: Path) -> None:
    """The connection was lost before the answer: the same call, with the same token, comes again,
    perhaps after calls of others."""
    rate = (RATE.interval_us, RATE.tolerance_us, 10**9, 10**9)
    async with redis_server(tmp_path) as server:
        first = [await run(server, ADMIT, f"{n:016x}", *rate) for n in range(6)]
        again = [await run(server, ADMIT, f"{n:016x}", *rate) for n in range(6)]
        assert again == first
        given, wait = await run(server, ADMIT, "f" * 16, *rate)
        assert given == b"1"
        assert 270 < int(wait) / 10**6 <= 300, "six turns of a minute, two of them at once"


async def test_a_place_is_taken_and_left_however_often_its_call_is_sent(tmp_path: Path) -> None:
    async with redis_server(tmp_path) as server:
        for _ in range(2):
            assert await run(server, ENTER, "0" * 16, BODY, 1, 10_000) == 1
        assert await run(server, ENTER, "1" * 16, "c" * 32, 1, 10_000) == 0
        for _ in range(2):
            assert await run(server, LEAVE, "2" * 16, BODY) == 1
        assert await run(server, ENTER, "1" * 16, "c" * 32, 1, 10_000) == 1


async def test_keys_end_by_themselves_once_they_say_nothing(tmp_path: Path) -> None:
    """A turn's a little after it is paid off, a place's with its last deadline. Nobody's name is in
    them, and what was left leaves nothing."""
    async with redis_server(tmp_path) as server, quotas(server) as asked:
        await asked.admit("a secret name", RATE)
        await asked.enter("a secret name", BODY, limit=2, seconds=10)
        await asked.enter("a secret name", HolderId("c" * 32), limit=2, seconds=2)
        found = await keys(server)
        places, rate = found
        assert re.fullmatch(r"tusd:\{[0-9a-f]{2}\}:places:[0-9a-f]{40}", places)
        assert re.fullmatch(r"tusd:\{[0-9a-f]{2}\}:rate:[0-9a-f]{40}", rate)
        assert 69_000 < found[rate] <= 70_000
        assert 10_000 < found[places] <= 11_000
        await asked.leave("a secret name", BODY)
        await asked.leave("a secret name", HolderId("c" * 32))
        assert set(await keys(server)) == {rate}


async def test_a_client_in_a_hurry_makes_its_keys_no_larger(tmp_path: Path) -> None:
    """Refused calls write nothing; those that are remembered are the last few."""
    async with redis_server(tmp_path) as server, quotas(server) as asked:
        rate = Rate(count=1000, seconds=1.0, burst=10_000)
        for _ in range(300):
            assert (await asked.admit("client", rate)).is_given
        (key,) = await keys(server)
        assert await server.call("MEMORY", "USAGE", key) < 1024
        slow = Rate(count=1, seconds=60.0, burst=1)
        await asked.admit("other", slow)
        before = await server.call("INFO", "persistence")
        for _ in range(10):
            assert not (await asked.admit("other", slow)).is_given
        changes = "rdb_changes_since_last_save"
        after = await server.call("INFO", "persistence")
        assert after[changes] == before[changes]


async def test_the_rights_of_the_recommended_user_are_enough(tmp_path: Path) -> None:
    """conf/redis/users.acl."""
    async with configured(tmp_path, "single") as server:
        login = {"username": "tusd", "password": SecretStr(PASSWORDS["tusd"])}
        async with quotas(server, **login) as asked:
            assert await asked.admit("client", RATE) == Turn(True, 0.0)
            assert await asked.enter("client", BODY, limit=1, seconds=10)
            assert not await asked.enter("client", HolderId("c" * 32), limit=1, seconds=10)
            await asked.leave("client", BODY)
