"""A real Cluster: each bucket by its own master, however they change."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.crc import key_slot

from tests.redis.links import ECHO, GET, LIFE, PUT, answers_again, link_to
from tests.support.redis_engines import Engine
from tests.support.redis_groups import RedisCluster, redis_cluster
from tests.support.redis_servers import RedisServer
from tusd_py.state.base import StateError
from tusd_py.state.redis.connect import Address
from tusd_py.state.redis.places import parse_slots
from tusd_py.state.redis.settings import RedisSettings

BUCKETS = 32
CALL_SECONDS = 1.0
SLACK_SECONDS = 4.0
IMPATIENT: dict[str, Any] = {
    "call_seconds": CALL_SECONDS,
    "connect_seconds": 0.4,
    "retry_cap_seconds": 0.2,
    "buckets": BUCKETS,
}


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[RedisCluster]:
    async with redis_cluster(tmp_path) as running:
        yield running


def settings_for(cluster: RedisCluster, **more: Any) -> RedisSettings:
    nodes = [node.address for node in cluster.nodes]
    return RedisSettings.model_validate({"cluster_nodes": nodes, **IMPATIENT, **more})


def slot_of(bucket: int) -> int:
    return key_slot(b"tusd:{%02x}" % bucket)


async def buckets_by_master(cluster: RedisCluster) -> dict[int, RedisServer]:
    owners = await cluster.slot_owners()
    return {bucket: owners[slot_of(bucket)] for bucket in range(BUCKETS)}


@pytest.mark.parametrize("engine", ["6.2", "7", "valkey"])
async def test_every_bucket_is_served_by_the_master_of_its_slot(
    tmp_path: Path, engine: Engine
) -> None:
    """No call goes astray; one node that is known is enough to find the others."""
    async with redis_cluster(tmp_path, replicas=0, engine=engine) as cluster:
        known = [cluster.nodes[1].address, "127.0.0.1:1"]
        async with link_to(settings_for(cluster, cluster_nodes=known)) as link:
            replies = await link.call_all(ECHO)
            assert [reply[0] for reply in replies] == [b"tusd:{%02x}" % n for n in range(BUCKETS)]
            for bucket, master in (await buckets_by_master(cluster)).items():
                assert await master.call("EXISTS", f"tusd:{{{bucket:02x}}}:meta") == 1
            await link.ping()
            assert not link.faults
        for node in cluster.nodes:
            told = await node.info("errorstats")
            assert "errorstat_MOVED" not in told


async def test_a_slot_that_changed_its_master_is_followed(cluster: RedisCluster) -> None:
    """An orderly fail-over: no call is lost, and only its buckets begin a new generation."""
    async with link_to(settings_for(cluster, call_seconds=10)) as link:
        before = [reply[0] for reply in await link.call_all(LIFE)]
        masters = await buckets_by_master(cluster)
        old = masters[0]
        await asyncio.gather(*(link.call(PUT, n, f"{n}") for n in range(BUCKETS)))
        done = asyncio.Event()

        async def keep_calling() -> int:
            calls = 0
            while not done.is_set():
                await asyncio.gather(*(link.call(ECHO, n) for n in range(BUCKETS)))
                calls += BUCKETS
            return calls

        calling = asyncio.create_task(keep_calling())
        await cluster.fail_over(old)
        done.set()
        assert await calling > 0
        after = [reply[0] for reply in await link.call_all(LIFE)]
        changed = {n for n in range(BUCKETS) if after[n] != before[n]}
        assert changed == {n for n, master in masters.items() if master is old}
        assert await link.call_all(GET) == [f"{n}".encode() for n in range(BUCKETS)]


async def test_a_master_that_was_killed_holds_up_only_its_own_buckets(
    cluster: RedisCluster,
) -> None:
    """The others are served as before; its own end in time, and go on with its replica."""
    async with link_to(settings_for(cluster)) as link:
        masters = await buckets_by_master(cluster)
        victim = masters[0]
        mine = [n for n, master in masters.items() if master is victim]
        others = [n for n in masters if n not in mine]
        before = await link.call(LIFE, 0)
        # As long as one slot of it is served by nobody, a Cluster serves none at all.
        for node in cluster.nodes:
            await node.call("CONFIG", "SET", "cluster-require-full-coverage", "no")
        await victim.kill9()
        async with asyncio.timeout(CALL_SECONDS + SLACK_SECONDS):
            lost = await asyncio.gather(*(link.call(ECHO, n) for n in mine), return_exceptions=True)
            assert all(isinstance(error, StateError) for error in lost)
            await asyncio.gather(*(link.call(ECHO, n) for n in others))
            await link.ping()
        await answers_again(link, within_seconds=20, bucket=0)
        assert (await link.call(LIFE, 0))[0] != before[0]
        await link.call_all(ECHO)


async def test_a_master_that_was_stopped_is_left_for_its_replica(cluster: RedisCluster) -> None:
    """SIGSTOP: nothing of its connections says that it is gone."""
    async with link_to(settings_for(cluster)) as link:
        victim = (await buckets_by_master(cluster))[0]
        victim.pause()
        try:
            async with asyncio.timeout(CALL_SECONDS + SLACK_SECONDS):
                with contextlib.suppress(StateError):
                    await link.call(ECHO, 0)
            await answers_again(link, within_seconds=20, bucket=0)
        finally:
            victim.resume()
        await link.call_all(ECHO)


async def test_a_slot_that_is_on_its_way_is_served_by_nobody(cluster: RedisCluster) -> None:
    """Keys go over one by one: half a bucket must never be taken for a whole one."""
    async with link_to(settings_for(cluster)) as link:
        await link.call(PUT, 0, "mine")
        slot = slot_of(0)
        source = await cluster.master_of(slot)
        target = next(node for node in await cluster.masters() if node is not source)
        ids = {node: (await node.call("CLUSTER", "MYID")).decode() for node in (source, target)}
        before = await source.call("CLUSTER", "COUNTKEYSINSLOT", slot)
        await target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
        await source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
        for _ in range(2):
            with pytest.raises(StateError, match="being moved"):
                await link.call(GET, 0)
            keys = await source.call("CLUSTER", "GETKEYSINSLOT", slot, 1)
            await source.call("MIGRATE", *target.address.split(":"), keys[0], 0, 5000)
        # Nobody has made anything anew where keys were missing.
        assert await target.call("CLUSTER", "COUNTKEYSINSLOT", slot) == 2
        await link.call(ECHO, 1)
        for key in await source.call("CLUSTER", "GETKEYSINSLOT", slot, 1000):
            await source.call("MIGRATE", *target.address.split(":"), key, 0, 5000)
        for node in (target, source):
            await node.call("CLUSTER", "SETSLOT", slot, "NODE", ids[target])
        assert await link.call(GET, 0) == b"mine"
        assert await target.call("CLUSTER", "COUNTKEYSINSLOT", slot) == before


async def test_the_whole_cluster_away_is_told_and_survived(cluster: RedisCluster) -> None:
    """Not ready meanwhile; found again without a restart."""
    async with link_to(settings_for(cluster)) as link:
        for node in cluster.nodes:
            await node.kill9()
        async with asyncio.timeout(CALL_SECONDS + SLACK_SECONDS):
            with pytest.raises(StateError):
                await link.ping()
        await asyncio.gather(*(node.start() for node in cluster.nodes))
        for bucket in range(BUCKETS):
            await answers_again(link, within_seconds=20, bucket=bucket)
        await link.ping()


async def test_no_node_that_answers_is_told_at_the_start() -> None:
    """With what was looked for."""
    settings = RedisSettings.model_validate({"cluster_nodes": ["127.0.0.1:1"], **IMPATIENT})
    with pytest.raises(StateError, match="no node of the Cluster answers"):
        async with link_to(settings):
            pass


def test_a_node_without_a_name_of_its_own_is_the_one_that_was_asked() -> None:
    """Redis tells an empty one or none where it was not told any; others come with metadata."""
    asked = Address("10.0.0.1", 7000)
    rows = [
        [0, 8191, [b"", 7000, b"id1"], [b"10.0.0.4", 7003, b"id4", [b"hostname", b"d"]]],
        [8192, 16383, [None, 7001, b"id2"]],
    ]
    ranges, nodes = parse_slots(rows, asked)
    assert ranges == [(0, 8191, asked), (8192, 16383, Address("10.0.0.1", 7001))]
    assert nodes == [asked, Address("10.0.0.4", 7003), Address("10.0.0.1", 7001)]
