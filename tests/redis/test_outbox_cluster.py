"""Deliveries while a part of a cluster is away: only what lies there waits."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.crc import key_slot

from tests.contract.states import BOOT, an_upload
from tests.contract.test_outbox import claim, tell
from tests.support.redis_groups import RedisCluster, redis_cluster
from tusd_py.core.events import EventKind, event_of
from tusd_py.core.ids import UploadId
from tusd_py.state.base import StateError, StateStore
from tusd_py.state.redis.heads import LEAST_HEADS
from tusd_py.state.redis.places import base_keys
from tusd_py.state.redis.settings import RedisSettings
from tusd_py.state.redis.store import RedisState

BUCKETS = 16
LONG_MS = 60_000
"""No node is given up for dead meanwhile."""


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[RedisCluster]:
    async with redis_cluster(tmp_path, replicas=0, node_timeout_ms=LONG_MS) as running:
        yield running


async def claimed_at_last(state: StateStore, count: int) -> set[str]:
    """So many ids, as a dispatcher claims them that hears of failures and goes on."""
    found: set[str] = set()
    async with asyncio.timeout(40):
        async for _ in state.wakeups():
            try:
                found |= {delivery.event.id for delivery in await claim(state)}
            except StateError:
                continue
            if len(found) >= count:
                return found
    raise AssertionError("nobody wakes")


async def test_events_of_other_nodes_are_delivered_while_one_is_away(
    cluster: RedisCluster,
) -> None:
    settings = RedisSettings(
        cluster_nodes=tuple(node.address for node in cluster.nodes),
        buckets=BUCKETS,
        call_seconds=0.5,
        connect_seconds=0.5,
    )
    state = RedisState(settings, boot=BOOT, lease_seconds=5.0, clock=time.monotonic)
    await state.open()
    try:
        await state.register(["h"])
        owners, victim = await cluster.slot_owners(), cluster.nodes[0]
        away, there = set[str](), set[str]()
        for bucket, base in enumerate(base_keys(settings)[:BUCKETS]):
            (event,) = await tell(state, bucket * 256 // BUCKETS, EventKind.CREATED)
            is_away = owners[key_slot(base.encode())] is victim
            (away if is_away else there).add(event.id)
        assert away and there
        victim.pause()
        try:
            assert await claimed_at_last(state, len(there)) == there
        finally:
            victim.resume()
        assert await claimed_at_last(state, len(away)) == away
    finally:
        await state.close()


async def test_what_waits_behind_a_node_that_is_away_keeps_nothing_else_waiting(
    cluster: RedisCluster,
) -> None:
    """More is older there than a look tells, and what was seen of it cannot be claimed."""
    settings = RedisSettings(
        cluster_nodes=tuple(node.address for node in cluster.nodes),
        connect_seconds=1.0,
    )
    state = RedisState(settings, boot=BOOT, lease_seconds=5.0, clock=time.monotonic)
    await state.open()
    try:
        await state.register(["h"])
        owners, victim = await cluster.slot_owners(), cluster.nodes[0]
        bases = base_keys(settings)[: settings.buckets]
        is_away = [owners[key_slot(base.encode())] is victim for base in bases]
        there = set[str]()
        for bucket, occurred_at in ((is_away.index(True), 1000.0), (is_away.index(False), 2000.0)):
            for number in range(LEAST_HEADS + 1):
                upload = an_upload(id=UploadId(f"{bucket:02x}{number:030x}"))
                event = event_of(upload, EventKind.CREATED, occurred_at=occurred_at + number)
                await state.create(upload, [event], with_lease=False)
                if occurred_at == 2000.0:
                    there.add(event.id)
        assert await state.next_due("h") == 1000.0
        victim.pause()
        try:
            assert await claimed_at_last(state, len(there)) == there
        finally:
            victim.resume()
        assert len(await claimed_at_last(state, LEAST_HEADS + 1)) == LEAST_HEADS + 1
    finally:
        await state.close()
