"""Links to real servers, for tests of the link itself."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from pydantic import SecretStr

from tests.support.redis_servers import RedisServer, eventually
from tusd_py.core.upload import Boot
from tusd_py.state.base import StateError
from tusd_py.state.redis.link import Arg, Link
from tusd_py.state.redis.scripts import Script
from tusd_py.state.redis.settings import RedisSettings

BOOT: Final = Boot("host-a", "boot-1")
LEASE_SECONDS: Final = 5.0

ECHO: Final = Script("echo", body="local life = enter(B, now)\nreturn {B, unpack(ARGV, 3)}")
"""The bucket's key and what was handed over."""
LIFE: Final = Script(
    "life",
    body="local life = enter(B, now)\n"
    "return {life.generation, tostring(life.began), life.hooks, tostring(now)}",
)
PUT: Final = Script(
    "put",
    body="enter(B, now)\nredis.call('SET', B .. ':test', ARGV[3])\nreturn ARGV[3]",
)
GET: Final = Script("get", body="return redis.call('GET', B .. ':test')")
FREE: Final = Script("free", body="return redis.call('DEL', B .. ':test')")
COUNT: Final = Script("count", body="return redis.call('INCR', B .. ':test')")


def settings_for(server: RedisServer, **more: Any) -> RedisSettings:
    """Over TCP; with impatient time-outs where nothing else is said."""
    url = SecretStr(f"{'rediss' if server.tls else 'redis'}://{server.address}")
    return RedisSettings(**{"url": url, **more})


class Opened(Link):
    """A link that counts its faults."""

    def __init__(
        self, settings: RedisSettings, *, boot: Boot = BOOT, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        self.faults: Counter[str] = Counter()
        super().__init__(
            settings, boot=boot, lease_seconds=lease_seconds, on_fault=self._count_fault
        )

    def _count_fault(self, kind: str) -> None:
        self.faults[kind] += 1


@asynccontextmanager
async def link_to(settings: RedisSettings, *, boot: Boot = BOOT) -> AsyncIterator[Opened]:
    """An open link."""
    link = Opened(settings, boot=boot)
    await link.open()
    try:
        yield link
    finally:
        await link.close()


async def answers_again(link: Link, *, within_seconds: float, bucket: int = 0) -> None:
    """Call until a call succeeds."""

    async def is_answered() -> bool:
        try:
            await link.call(ECHO, bucket)
        except StateError:
            return False
        return True

    await eventually(is_answered, "no call succeeds", seconds=within_seconds)


async def is_refused(link: Link, script: Script = ECHO, *args: Arg) -> StateError:
    """The error of a call that does not succeed."""
    try:
        await link.call(script, 0, *args)
    except StateError as error:
        return error
    raise AssertionError("it was answered")
