"""Rigs of the state in Redis: one server of each engine, and a cluster, shared by a test process.

They are started when they are first wanted and emptied between tests. On engine 6.2 the server's
own clock is moved, and the code runs as it is. The other engines do not run on such a clock: there
the scripts read the time from a key. The store connects as a user that has the least rights.
"""

import atexit
import shutil
import tempfile
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from redis.crc import key_slot

from tests.contract.state_rig import BEGAN, LEASE_SECONDS, FakeClock, StateRig
from tests.support.redis_engines import Engine, FrozenClock, RunningClock
from tests.support.redis_groups import RedisCluster, make_cluster
from tests.support.redis_servers import RedisServer
from tusd_py.core.upload import Boot
from tusd_py.state.base import StateStore
from tusd_py.state.redis.acl import build_rules
from tusd_py.state.redis.link import Link
from tusd_py.state.redis.places import base_keys
from tusd_py.state.redis.settings import RedisSettings
from tusd_py.state.redis.store import RedisState

PREFIX: Final = "rig"
USER: Final = "least"
PASSWORD: Final = "what-the-store-knows"
ACL: Final = f"user {USER} on >{PASSWORD} {build_rules(PREFIX)}"
"""The store may do no more in any of these rigs."""
CLOCK_KEY: Final = ":clock"
AHEAD_SECONDS: Final = 1_600_000_000.0 - BEGAN
"""The server's clock is not that of its clients: who mixes them up is found out."""
CALL_SECONDS: Final = 20.0
CLUSTER_TIMEOUT_MS: Final = 15_000
"""Long, for a machine under load: this cluster fails over when it is told to only."""


def rig_settings(buckets: int, **where: Any) -> RedisSettings:
    """What a slow machine takes long for is no fault: times are bounded in tests of their own."""
    given = {"username": USER, "password": PASSWORD, "call_seconds": CALL_SECONDS}
    return RedisSettings.model_validate({"prefix": PREFIX, "buckets": buckets, **given, **where})


class KeyClockLink(Link):
    """Its scripts read the time from a key of their bucket."""

    NOW_LUA = f"tonumber(redis.call('GET', KEYS[1] .. '{CLOCK_KEY}'))"


class KeyClockState(RedisState):
    link_type = KeyClockLink


class RedisRig(StateRig):
    """Several instances of the store on one prefix."""

    shows_death = False
    state_type: type[RedisState] = KeyClockState

    def __init__(self, settings: RedisSettings) -> None:
        super().__init__()
        self.settings = settings
        self.lease_seconds = LEASE_SECONDS
        """Of instances that are made from now on."""
        self.clock = RigClock(self)

    @abstractmethod
    async def masters(self) -> Sequence[RedisServer]: ...

    @abstractmethod
    async def change_masters(self) -> None:
        """Other processes of Redis serve the same data."""

    @abstractmethod
    def set_server_clock(self, now: float) -> None:
        """Before the next command it is so late there."""

    def show_time(self) -> None:
        """The server's clock goes with that of the clients."""
        self.set_server_clock(self.clock.now + AHEAD_SECONDS)

    def make(self, boot: Boot) -> StateStore:
        return self.state_type(
            self.settings, boot=boot, lease_seconds=self.lease_seconds, clock=self.clock
        )

    async def change_generation(self) -> None:
        await self.close()
        await self.change_masters()

    @asynccontextmanager
    async def broken_commits(self, state: StateStore) -> AsyncIterator[None]:
        """Every command that writes is refused, for the user has lost the right to."""
        masters = await self.masters()
        for master in masters:
            await master.call("ACL", "SETUSER", USER, "-@write")
        try:
            yield
        finally:
            for master in masters:
                await master.call("ACL", "SETUSER", USER, *build_rules(PREFIX).split())


class RigClock(FakeClock):
    """The clients' clock, and with it the server's."""

    def __init__(self, rig: RedisRig) -> None:
        super().__init__()
        self._rig = rig

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        self._rig.show_time()


class ServerRig(RedisRig):
    """One server. Its own clock is moved, where it can be."""

    def __init__(self, server: RedisServer, buckets: int, **where: Any) -> None:
        """``where``: settings that find the server, if its URL is not enough."""
        super().__init__(rig_settings(buckets, **(where or {"url": server.url})))
        self.server = server
        if server.clock is not None:
            self.state_type = RedisState

    async def masters(self) -> Sequence[RedisServer]:
        return [self.server]

    async def change_masters(self) -> None:
        await self.server.call("SAVE")
        await self.server.restart(kill=True)

    def set_server_clock(self, now: float) -> None:
        if isinstance(self.server.clock, FrozenClock):
            self.server.clock.set(now)
        else:
            set_clock_keys(self.server, base_keys(self.settings), now)


class ClusterRig(RedisRig):
    """A cluster, with a clock in each slot that is used."""

    def __init__(self, cluster: RedisCluster, buckets: int) -> None:
        nodes = [node.address for node in cluster.nodes]
        super().__init__(rig_settings(buckets, cluster_nodes=nodes))
        self.cluster = cluster

    async def masters(self) -> Sequence[RedisServer]:
        return await self.cluster.masters()

    async def change_masters(self) -> None:
        for master in await self.cluster.masters():
            await self.cluster.fail_over(master, by_vote=False)

    def set_server_clock(self, now: float) -> None:
        places: dict[RedisServer, list[str]] = {}
        for base in base_keys(self.settings):
            places.setdefault(self.cluster.owners[key_slot(base.encode())], []).append(base)
        for server, bases in places.items():
            set_clock_keys(server, bases, now)


def set_clock_keys(server: RedisServer, bases: Sequence[str], now: float) -> None:
    with server.client_now() as client:
        pipeline = client.pipeline(transaction=False)
        for base in bases:
            pipeline.set(base + CLOCK_KEY, round(now * 1000))
        pipeline.execute()


def empty(server: RedisServer) -> None:
    with server.client_now() as client:
        client.flushall()


class Shared:
    """The servers of this test process. They end with it."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._servers: dict[str, RedisServer] = {}
        self._cluster: RedisCluster | None = None

    @property
    def folder(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="redis-rigs-"))
            atexit.register(self.close)
        return self._folder

    async def server(self, engine: Engine) -> RedisServer:
        """It runs, and it is empty. The clock of 6.2 stands still."""
        if engine not in self._servers:
            folder = self.folder / engine
            frozen = FrozenClock(folder / "clock", BEGAN + AHEAD_SECONDS)
            clock = frozen if engine == "6.2" else None
            self._servers[engine] = RedisServer(folder, engine=engine, clock=clock, acl=[ACL])
        return await self._empty(self._servers[engine])

    async def running_server(self) -> RedisServer:
        """As ``server``, of 6.2 with a clock that runs, and jumps."""
        if "running" not in self._servers:
            folder = self.folder / "running"
            clock = RunningClock(folder / "clock")
            self._servers["running"] = RedisServer(folder, engine="6.2", clock=clock, acl=[ACL])
        return await self._empty(self._servers["running"])

    async def _empty(self, server: RedisServer) -> RedisServer:
        if not server.runs:
            await server.start()
        empty(server)
        return server

    async def cluster(self) -> RedisCluster:
        """It is whole, and it is empty."""
        if self._cluster is None:
            self._cluster = await make_cluster(
                self.folder / "cluster", node_timeout_ms=CLUSTER_TIMEOUT_MS, acl=[ACL]
            )
        for master in set(self._cluster.owners):
            empty(master)
        return self._cluster

    def close(self) -> None:
        for server in self._servers.values():
            server.close()
        if self._cluster is not None:
            self._cluster.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


SHARED: Final = Shared()


@asynccontextmanager
async def _ready(rig: RedisRig) -> AsyncIterator[RedisRig]:
    rig.show_time()
    try:
        yield rig
    finally:
        await rig.close()


@asynccontextmanager
async def make_redis(folder: Path) -> AsyncIterator[StateRig]:
    """The oldest Redis that is served, its own clock, as many buckets as usual."""
    async with _ready(ServerRig(await SHARED.server("6.2"), buckets=16)) as rig:
        yield rig


@asynccontextmanager
async def make_redis_7(folder: Path) -> AsyncIterator[StateRig]:
    """All in one bucket."""
    async with _ready(ServerRig(await SHARED.server("7"), buckets=1)) as rig:
        yield rig


@asynccontextmanager
async def make_valkey(folder: Path) -> AsyncIterator[StateRig]:
    async with _ready(ServerRig(await SHARED.server("valkey"), buckets=16)) as rig:
        yield rig


@asynccontextmanager
async def make_redis_cluster(folder: Path) -> AsyncIterator[StateRig]:
    async with _ready(ClusterRig(await SHARED.cluster(), buckets=16)) as rig:
        yield rig


REDIS_STATES: Final[Mapping[str, Callable[[Path], AbstractAsyncContextManager[StateRig]]]] = {
    "redis": make_redis,
    "redis-7": make_redis_7,
    "redis-cluster": make_redis_cluster,
    "valkey": make_valkey,
}
