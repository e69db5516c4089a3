"""Sentinels: the master that they name is found, and followed when another one takes its place."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.redis.links import ECHO, LIFE, PUT, answers_again, link_to
from tests.support.redis_engines import Engine
from tests.support.redis_groups import RedisSentinel, redis_sentinel
from tests.support.redis_servers import RedisServer, eventually, redis_server
from tests.support.relay import Relay
from tusd_py.state.base import StateError
from tusd_py.state.redis.settings import RedisSettings

CALL_SECONDS = 1.0
SLACK_SECONDS = 4.0
MASTER = "mymaster"
IMPATIENT: dict[str, Any] = {
    "master_name": MASTER,
    "call_seconds": CALL_SECONDS,
    "connect_seconds": 0.4,
    "retry_cap_seconds": 0.2,
    "buckets": 8,
}


@pytest.fixture
async def group(tmp_path: Path) -> AsyncIterator[RedisSentinel]:
    async with redis_sentinel(tmp_path) as running:
        yield running


def settings_for(group: RedisSentinel, **more: Any) -> RedisSettings:
    sentinels = [one.address for one in group.sentinels]
    return RedisSettings.model_validate({"sentinels": sentinels, **IMPATIENT, **more})


def named(sentinels: list[str], **more: Any) -> RedisSettings:
    return RedisSettings.model_validate({"sentinels": sentinels, **IMPATIENT, **more})


async def put_value(server: RedisServer) -> Any:
    return await server.call("GET", "tusd:{00}:test")


@pytest.mark.parametrize("engine", ["6.2", "7", "valkey"])
async def test_a_master_that_was_killed_is_followed_by_its_successor(
    tmp_path: Path, engine: Engine
) -> None:
    """Calls end in time meanwhile; the new master begins a new generation."""
    async with (
        redis_sentinel(tmp_path, engine=engine) as group,
        link_to(settings_for(group)) as link,
    ):
        first, *_ = await link.call(LIFE, 0)
        before = await group.master()
        await before.kill9()
        async with asyncio.timeout(CALL_SECONDS + SLACK_SECONDS):
            with pytest.raises(StateError):
                await link.call(ECHO, 0)
        after = await group.failed_over(before)
        await answers_again(link, within_seconds=20)
        assert (await link.call(LIFE, 0))[0] != first
        await link.call(PUT, 0, "new")
        assert await put_value(after) == b"new"


async def test_an_orderly_fail_over_fails_no_call(group: RedisSentinel) -> None:
    """For those that may wait as long as it takes. (The old master takes writes until it is told to
    follow; they are forgotten then, and a new generation says so.)"""
    async with link_to(settings_for(group, call_seconds=20)) as link:
        first, *_ = await link.call(LIFE, 0)
        done = asyncio.Event()

        async def keep_calling() -> int:
            calls = 0
            while not done.is_set():
                await link.call(PUT, 0, "x")
                calls += 1
            return calls

        calling = asyncio.create_task(keep_calling())
        after = await group.fail_over()
        await group.healthy()
        done.set()
        assert await calling > 0
        await link.call(PUT, 0, "y")
        assert await put_value(after) == b"y"
        assert (await link.call(LIFE, 0))[0] != first


async def test_a_master_that_was_stopped_and_comes_back_is_not_asked_again(
    group: RedisSentinel,
) -> None:
    """What it would be told would be forgotten as soon as it follows its successor."""
    async with link_to(settings_for(group)) as link:
        await link.call(PUT, 0, "old")
        before = await group.master()
        before.pause()
        try:
            after = await group.failed_over(before)
            await answers_again(link, within_seconds=20)
        finally:
            before.resume()
        for n in range(50):
            await link.call(PUT, 0, f"{n}")
            assert await put_value(after) == b"%d" % n


async def test_a_master_that_only_we_still_reach_is_left(tmp_path: Path) -> None:
    """It answers, and nothing fails here; the sentinels are asked all the same."""
    async with (
        redis_server(tmp_path / "a") as old,
        redis_server(tmp_path / "b") as new,
        sentinels(old.port, old.port, old.port) as told,
        link_to(named(told.addresses)) as link,
    ):
        await link.call(PUT, 0, "x")
        assert await put_value(old) == b"x"
        told.ports[:] = [new.port, new.port, old.port]

        async def has_moved() -> bool:
            await link.call(PUT, 0, "y")
            return bool(await put_value(new) == b"y")

        await eventually(has_moved, "the old one is not left", seconds=5)
        await link.call(PUT, 0, "z")
        assert await put_value(old) != b"z"


async def test_what_most_sentinels_say_counts(tmp_path: Path) -> None:
    """One that was cut off from the others may name a master of before, and be the first to
    answer; one that answers nothing holds nobody up."""
    async with redis_server(tmp_path / "a") as old, redis_server(tmp_path / "b") as new:
        async with (
            sentinels(old.port, new.port, new.port) as told,
            link_to(named(told.addresses)) as link,
        ):
            await link.call(PUT, 0, "x")
        assert await put_value(new) == b"x"
        assert await put_value(old) is None
        async with sentinels(new.port, new.port) as told, Relay(1) as nobody:
            silent = f"127.0.0.1:{nobody.port}"
            async with asyncio.timeout(CALL_SECONDS), link_to(named([silent, *told.addresses])):
                pass


async def test_a_master_that_nobody_knows_is_told_at_the_start(group: RedisSentinel) -> None:
    """By its name; and sentinels that are not there by themselves."""
    for settings in (
        settings_for(group, master_name="nobody"),
        named(["127.0.0.1:1"], master_name="nobody"),
    ):
        with pytest.raises(StateError, match="no sentinel names a master nobody"):
            async with link_to(settings):
                pass


async def test_sentinels_have_users_of_their_own(group: RedisSentinel) -> None:
    """With the least rights; one that is not let in is told so."""
    rules = ["on", ">sesame", "-@all", "+sentinel|get-master-addr-by-name"]
    for one in group.sentinels:
        await one.call("ACL", "SETUSER", "asker", "reset", *rules)
    known = {"sentinel_username": "asker", "sentinel_password": "sesame"}
    async with link_to(settings_for(group, **known)) as link:
        await link.call(ECHO, 0)
    unknown = {"sentinel_username": "asker", "sentinel_password": "geheim"}
    with pytest.raises(StateError, match="the password is wrong"):
        async with link_to(settings_for(group, **unknown)):
            pass


class Told:
    """What sentinels say, each for itself."""

    def __init__(self, ports: list[int]) -> None:
        self.ports = ports
        """Of the masters that they name."""
        self.addresses: list[str] = []


@asynccontextmanager
async def sentinels(*ports: int) -> AsyncIterator[Told]:
    """Something that speaks like sentinels that do not agree."""
    told = Told(list(ports))

    async def serve(
        number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while await reader.read(65536):
                port = str(told.ports[number])
                writer.write(f"*2\r\n$9\r\n127.0.0.1\r\n${len(port)}\r\n{port}\r\n".encode())
                await writer.drain()
        finally:
            writer.close()

    async with AsyncExitStack() as stack:
        for number in range(len(ports)):
            listening = await asyncio.start_server(partial(serve, number), "127.0.0.1")
            await stack.enter_async_context(listening)
            host, port = listening.sockets[0].getsockname()
            told.addresses.append(f"{host}:{port}")
        yield told
