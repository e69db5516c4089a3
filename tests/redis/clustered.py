"""A store on a cluster without replicas, of which a node may be away for long."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from redis.crc import key_slot

from tests.contract.states import BOOT
from tests.support.redis_groups import RedisCluster, redis_cluster
from tests.support.redis_servers import RedisServer
from tusd_py.state.redis.places import base_keys
from tusd_py.state.redis.settings import RedisSettings
from tusd_py.state.redis.store import RedisState

LONG_MS: Final = 60_000
"""No node is given up for dead meanwhile."""


@dataclass(frozen=True, slots=True)
class Clustered:
    cluster: RedisCluster
    state: RedisState
    owners: list[RedisServer]
    """Of each bucket."""


@asynccontextmanager
async def clustered(folder: Path, **more: Any) -> AsyncIterator[Clustered]:
    """``more``: settings besides where it is."""
    async with redis_cluster(folder, replicas=0, node_timeout_ms=LONG_MS) as cluster:
        nodes = tuple(node.address for node in cluster.nodes)
        settings = RedisSettings(cluster_nodes=nodes, **more)
        state = RedisState(settings, boot=BOOT, lease_seconds=5.0, clock=time.monotonic)
        await state.open()
        try:
            slots = await cluster.slot_owners()
            bases = base_keys(settings)[: settings.buckets]
            yield Clustered(cluster, state, [slots[key_slot(base.encode())] for base in bases])
        finally:
            await state.close()
