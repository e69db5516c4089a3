"""The kill test of many machines: three servers behind nginx share a Redis that fails over.

One dies at a time, a server or a node of Redis, and the next one when all are well again; so a
kill meets whatever the last one left behind. The load goes on all the time, by a proxy that passes
over who is away.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal

from tests.chaos.run import LINE_BYTES_PER_SECOND, Chaos, Plan, Tell
from tests.e2e.rig import webhook
from tests.support.fleet import Fleet, fleet
from tests.support.receiver import Receiver, receiving
from tests.support.redis_groups import RedisCluster, RedisSentinel, redis_cluster, redis_sentinel
from tests.support.redis_servers import RedisServer
from tests.support.relay import Fault, Relay, relay_to
from tests.support.server import Server
from tests.support.wire import request

Flavour = Literal["sentinel", "cluster"]
UPLOAD: Final = {
    "lease_seconds": 3.0,
    "checkpoint_seconds": 0.5,
    "sweep_seconds": 1,
    # What was made and finished in what a failover forgot has no record: the walk finds it. At one
    # folder a second that takes as many seconds as there are folders.
    "walk_seconds": 0.02,
}
WELL_SECONDS: Final = (0.3, 1.5)
"""Between all being well and the next kill."""
AWAY_SECONDS: Final = (0.1, 2.0)
"""Between a server's death and its start."""
LEAST_KILLS: Final = 2
"""One of each kind, however slow the machine is."""
HEALTHY_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.05
BLOCK: Final = "nginx/machines.conf"
NODE: Final = {"appendonly": "yes", "appendfsync": "everysec"}


class Nodes(ABC):
    """A Redis of several servers, of which one may be away."""

    _group: RedisSentinel | RedisCluster
    _dead: RedisServer
    """The last one that was killed."""

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """How the servers find it: the section ``state``."""

    @abstractmethod
    async def kill_one(self, choice: float) -> None:
        """SIGKILL to one, and wait until the others serve; ``choice`` is from [0, 1)."""

    async def heal(self) -> None:
        """Start it again, and wait until all are well."""
        await self._dead.start()
        await self._group.healthy(seconds=HEALTHY_SECONDS)

    def _addresses(self) -> list[str]:
        return [f"{host}:{port}" for host, port in self._group.addresses]


class SentinelNodes(Nodes):
    """The master dies, always."""

    _group: RedisSentinel

    def __init__(self, group: RedisSentinel) -> None:
        self._group = group

    @property
    def settings(self) -> dict[str, Any]:
        name = self._group.name
        return {"kind": "redis", "sentinels": self._addresses(), "master_name": name}

    async def kill_one(self, choice: float) -> None:
        self._dead = await self._group.master()
        await self._dead.kill9()
        await self._group.failed_over(self._dead, seconds=HEALTHY_SECONDS)


class ClusterNodes(Nodes):
    """Any of the six dies."""

    _group: RedisCluster

    def __init__(self, group: RedisCluster) -> None:
        self._group = group

    @property
    def settings(self) -> dict[str, Any]:
        return {"kind": "redis", "cluster_nodes": self._addresses()}

    async def kill_one(self, choice: float) -> None:
        self._dead = self._group.nodes[int(choice * len(self._group.nodes))]
        await self._dead.kill9()
        await self._group.healthy(seconds=HEALTHY_SECONDS)


class ManyMachines(Chaos):
    """The same load and the same judgement; other deaths."""

    def __init__(
        self, plan: Plan, machines: Fleet, relay: Relay, receiver: Receiver, nodes: Nodes
    ) -> None:
        super().__init__(plan, machines, relay, receiver)
        self._machines = machines
        self._nodes = nodes

    async def _kill(self, tell: Tell) -> None:
        dice = self._dice("kills")
        while self.summary.kills < self.plan.kills:
            await asyncio.sleep(dice.uniform(*WELL_SECONDS))
            is_late = time.monotonic() - self._began > self.plan.seconds
            if is_late and self.summary.kills >= LEAST_KILLS:
                return
            # By turns, so that a short run too has both.
            if self.summary.kills % 2 == 0:
                self.summary.kills_of_redis += 1
                await self._nodes.kill_one(dice.random())
                self._check_disk()
                await self._nodes.heal()
            else:
                machine = dice.choice(self._machines.machines)
                await machine.kill9()
                self._check_disk()
                await asyncio.sleep(dice.uniform(*AWAY_SECONDS))
                await machine.start()
            self.summary.kills += 1
            await self._all_are_ready()
            if self.summary.kills % 10 == 0:
                tell(f"{self.summary.kills} kills, {len(self.ledger.promises)} uploads")

    async def _all_are_ready(self) -> None:
        async with asyncio.timeout(HEALTHY_SECONDS):
            for machine in self._machines.machines:
                while not await _is_ready(machine):  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(LOOK_SECONDS)


async def _is_ready(machine: Server) -> bool:
    return (await request("GET", f"{machine.base}/health/ready")).status == 200


@asynccontextmanager
async def redis_of(flavour: Flavour, directory: Path) -> AsyncIterator[Nodes]:
    """Started and well."""
    if flavour == "sentinel":
        async with redis_sentinel(directory, config=NODE) as watched:
            yield SentinelNodes(watched)
    else:
        async with redis_cluster(directory, config=NODE) as cluster:
            yield ClusterNodes(cluster)


@asynccontextmanager
async def prepared(plan: Plan, flavour: Flavour, directory: Path) -> AsyncIterator[ManyMachines]:
    """Redis, three servers, the proxy, the line to it and the receiver of events, running."""
    async with redis_of(flavour, directory / "redis") as nodes, receiving() as receiver:
        settings = {
            "hooks": [webhook(directory, receiver, deadline_seconds=1)],
            "outbox": {"first_retry_seconds": 0.1, "max_retry_seconds": 1},
            "upload": UPLOAD,
            "log": {"level": "info"},
        }
        async with (
            fleet(directory / "site", settings, state=nodes.settings, block=BLOCK) as machines,
            relay_to(machines.endpoint) as relay,
        ):
            relay.default = Fault(bytes_per_second=LINE_BYTES_PER_SECOND)
            yield ManyMachines(plan, machines, relay, receiver, nodes)
