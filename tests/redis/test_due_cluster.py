"""What is due while a part of a cluster is away: the rest is looked after."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.crc import key_slot

from tests.contract.states import BOOT, an_upload
from tests.support.redis_groups import RedisCluster, redis_cluster
from tusd_py.state.base import Due, StateError
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


async def test_uploads_of_other_nodes_are_due_while_one_is_away(cluster: RedisCluster) -> None:
    """And where nobody can say anything, that is no "nothing"."""
    settings = RedisSettings(
        cluster_nodes=tuple(node.address for node in cluster.nodes),
        buckets=BUCKETS,
        connect_seconds=1.0,
    )
    state = RedisState(settings, boot=BOOT, lease_seconds=5.0, clock=time.monotonic)
    await state.open()
    try:
        owners, victim = await cluster.slot_owners(), cluster.nodes[0]
        there, everywhere = [], []
        for bucket, base in enumerate(base_keys(settings)[:BUCKETS]):
            upload = an_upload(bucket * 256 // BUCKETS, expires_at=2000.0 + bucket)
            await state.create(upload, [], with_lease=False)
            everywhere.append(upload.id)
            if owners[key_slot(base.encode())] is not victim:
                there.append(upload.id)
        assert 0 < len(there) < BUCKETS
        assert await state.list_due(Due.EXPIRED, now=3000.0) == everywhere
        victim.pause()
        try:
            assert await state.list_due(Due.EXPIRED, now=3000.0) == there
            for node in cluster.nodes[1:]:
                node.pause()
            with pytest.raises(StateError):
                await state.list_due(Due.EXPIRED, now=3000.0)
        finally:
            for node in cluster.nodes:
                node.resume()
    finally:
        await state.close()
