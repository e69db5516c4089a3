"""The master of Redis changes under running machines: by death, by order, in a cluster."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis.crc import key_slot

from tests.e2e.rig import (
    MIB,
    assert_finished,
    content,
    created,
    finished,
    hooked,
    stored_bytes,
    until_stored,
    upload_id,
)
from tests.support import tus
from tests.support.fleet import Fleet, fleet
from tests.support.receiver import Receiver, receiving
from tests.support.redis_groups import RedisCluster, RedisSentinel, redis_cluster, redis_sentinel
from tests.support.wire import Response, connected, request
from tusd_py.state.redis.places import base_keys
from tusd_py.state.redis.settings import RedisSettings

LEASE = {"lease_seconds": 3.0, "checkpoint_seconds": 0.5}
ANSWER_SECONDS = 2.0 + 2.0
"""``state.call_seconds``, and what a busy machine adds."""
DATA = content(2 * MIB)


@dataclass(frozen=True, slots=True)
class Place:
    fleet: Fleet
    receiver: Receiver

    async def until_ready(self) -> None:
        async with asyncio.timeout(20):
            for machine in self.fleet.machines:
                while (await request("GET", f"{machine.base}/health/ready")).status != 200:
                    pass

    async def go_on(self, url: str, *, least: int) -> None:
        """As a client does: ask, send the rest, and ask again where that is put off."""
        async with asyncio.timeout(30):
            while (offset := (await self.head(url)).offset) < len(DATA):
                assert offset >= least, "an acknowledged offset decreased"
                assert stored_bytes(self.fleet, url)[:offset] == DATA[:offset]
                rest = await tus.patch(url, offset, DATA[offset:])
                assert rest.status in (204, 423, 503), rest.text
        await assert_finished(self.fleet, self.receiver, url, DATA)

    async def head(self, url: str) -> Response:
        """Asked until it is answered; each time soon, and with 423 only."""
        async with asyncio.timeout(20):
            while True:
                began = time.monotonic()
                found = await tus.head(url)
                assert time.monotonic() - began < LEASE["lease_seconds"] + ANSWER_SECONDS
                if found.status == 200:
                    return found
                assert (found.status, bool(found.headers["Retry-After"])) == (423, True)


@asynccontextmanager
async def on(directory: Path, **state: Any) -> AsyncIterator[Place]:
    async with receiving() as receiver:
        settings = hooked(directory / "site", receiver, upload=LEASE)
        state["kind"] = "redis"
        async with fleet(directory / "site", settings, state=state, machines=2) as machines:
            yield Place(machines, receiver)


def addresses(group: RedisSentinel | RedisCluster) -> list[str]:
    return [f"{host}:{port}" for host, port in group.addresses]


async def by_death(group: RedisSentinel) -> None:
    before = await group.master()
    await before.kill9()
    await group.failed_over(before)


async def by_order(group: RedisSentinel) -> None:
    await group.fail_over()


@pytest.mark.parametrize("change", [by_death, by_order])
async def test_uploads_go_on_with_another_master(tmp_path: Path, change: Any) -> None:
    """A body is running and others wait: what was acknowledged stays, and all is told once."""
    async with redis_sentinel(tmp_path / "redis") as group:
        state = {"sentinels": addresses(group), "master_name": group.name}
        async with on(tmp_path, **state) as place:
            done = await finished(place.fleet, DATA)
            paused = await created(place.fleet, len(DATA))
            assert (await tus.patch(paused, 0, DATA[:MIB])).status == 204
            running = await created(place.fleet, len(DATA))
            async with connected(running) as wire:
                await tus.begin_patch(wire, running, 0, len(DATA))
                await wire.send(DATA[:MIB])
                await until_stored(place.fleet, running, MIB)
                await change(group)
                await wire.send(DATA[MIB:])
                answer = await wire.read_response()
            # It went on if the change was over before its lease.
            assert answer.status in (204, 423, 503), answer.text
            await place.go_on(running, least=len(DATA) if answer.status == 204 else MIB)
            await place.go_on(paused, least=MIB)
            await place.go_on(done, least=len(DATA))
            await place.until_ready()


async def test_a_part_of_the_cluster_fails_over_alone(tmp_path: Path) -> None:
    """A master of three dies: uploads of the others are served meanwhile, its own ones are put off
    and go on where they were."""
    async with (
        redis_cluster(tmp_path / "redis", masters=3, replicas=3) as group,
        on(tmp_path, cluster_nodes=addresses(group)) as place,
    ):
        urls = [await created(place.fleet, len(DATA)) for _ in range(12)]
        for url in urls:
            assert (await tus.patch(url, 0, DATA[:MIB])).status == 204
        bucket = int(upload_id(urls[0])[:2], 16)
        place_of_first = base_keys(RedisSettings(cluster_nodes=tuple(addresses(group))))[bucket]
        victim = await group.master_of(key_slot(place_of_first.encode()))
        await victim.kill9()
        during = await asyncio.gather(*(tus.head(url) for url in urls))
        assert {one.status for one in during} == {200, 423}
        assert {one.offset for one in during if one.status == 200} == {MIB}
        await group.healthy()
        for url in urls:
            await place.go_on(url, least=MIB)
        await place.until_ready()
