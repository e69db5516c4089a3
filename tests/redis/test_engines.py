"""The whole store over every kind of connection, and after the death of a master."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from redis.crc import key_slot

from tests.contract.redis_states import ACL, ClusterRig, RedisRig, ServerRig
from tests.contract.states import LEASE_SECONDS, an_upload, take
from tests.redis.busy import UPLOADS, Busy
from tests.redis.records import until_it_works
from tests.support.redis_groups import RedisSentinel, redis_cluster, redis_sentinel
from tests.support.redis_servers import Authority, RedisServer, eventually, redis_server
from tusd_py.core.ids import UploadId
from tusd_py.core.upload import Boot
from tusd_py.state.base import StateStore
from tusd_py.state.redis.places import base_keys

BUCKETS: Final = 4
RECOVERY_SECONDS: Final = 45.0
NODE_TIMEOUT_MS: Final = 2000
Make = Callable[[Path], AbstractAsyncContextManager[RedisRig]]


@asynccontextmanager
async def over_a_unix_socket(folder: Path) -> AsyncIterator[RedisRig]:
    async with redis_server(folder, unix=True, acl=[ACL]) as server:
        yield ServerRig(server, BUCKETS, url=f"unix://{server.socket}")


@asynccontextmanager
async def over_tls(folder: Path) -> AsyncIterator[RedisRig]:
    """Both sides show certificates."""
    authority = Authority(folder / "ca")
    demanding = {"tls-auth-clients": "yes"}
    async with redis_server(folder / "s", tls=authority, acl=[ACL], config=demanding) as server:
        yield ServerRig(
            server,
            BUCKETS,
            url=server.url,
            tls_ca_file=authority.trusted,
            tls_cert_file=authority.client,
        )


class SentinelRig(ServerRig):
    """Whomever the sentinels name."""

    def __init__(self, group: RedisSentinel, master: RedisServer) -> None:
        addresses = [one.address for one in group.sentinels]
        super().__init__(master, BUCKETS, sentinels=addresses, master_name=group.name)
        self.group = group

    async def lose_master_of(self, upload_id: UploadId) -> None:
        await self.server.kill9()
        self.server = await self.group.failed_over(self.server)
        self.show_time()


class SmallClusterRig(ClusterRig):
    """A cluster that loses one of its masters."""

    async def lose_master_of(self, upload_id: UploadId) -> None:
        bucket = int(upload_id[:2], 16) * self.settings.buckets // 256
        slot = key_slot(base_keys(self.settings)[bucket].encode())
        await self.cluster.owners[slot].kill9()
        await self.cluster.healthy()
        self.show_time()


@asynccontextmanager
async def by_sentinels(folder: Path) -> AsyncIterator[SentinelRig]:
    async with redis_sentinel(folder, acl=[ACL]) as group:
        yield SentinelRig(group, await group.master())


@asynccontextmanager
async def in_a_cluster(folder: Path) -> AsyncIterator[SmallClusterRig]:
    async with redis_cluster(folder, acl=[ACL], node_timeout_ms=NODE_TIMEOUT_MS) as cluster:
        yield SmallClusterRig(cluster, 16)


async def be_busy(rig: RedisRig, here: StateStore, there: StateStore, *, first: int) -> None:
    async def pass_time(seconds: float) -> None:
        rig.clock.advance(seconds)

    await Busy(here, there, pass_time, first=first).all()


@pytest.mark.parametrize("make", [over_a_unix_socket, over_tls])
async def test_everything_works_over(make: Make, tmp_path: Path) -> None:
    """And the user has the least rights. TCP, sentinels and clusters: below, and all suites of
    contracts."""
    async with make(tmp_path) as rig:
        rig.show_time()
        try:
            await be_busy(rig, await rig.open(), await rig.open(Boot("host-b", "b")), first=1)
        finally:
            await rig.close()


@pytest.mark.parametrize("make", [by_sentinels, in_a_cluster])
async def test_when_a_master_is_killed_everything_works_again_without_a_restart(
    make: Callable[[Path], AbstractAsyncContextManager[SentinelRig | SmallClusterRig]],
    tmp_path: Path,
) -> None:
    """What the new master has is there, and is of another generation."""
    async with make(tmp_path) as rig:
        rig.show_time()
        try:
            here, there = await rig.open(), await rig.open(Boot("host-b", "boot-b"))
            await be_busy(rig, here, there, first=1)
            kept = an_upload(UPLOADS + 1, offset=5)
            await here.create(kept, [], with_lease=False)
            for master in await rig.masters():
                await told_to_a_replica(master)
            await rig.lose_master_of(kept.id)
            for state in (here, there):
                await until_it_works(state, seconds=RECOVERY_SECONDS)
            rig.clock.advance(LEASE_SECONDS)
            await be_busy(rig, here, there, first=2 * UPLOADS)
            got = await take(there, kept)
            assert got.upload.offset == 5 and not got.is_settled
        finally:
            await rig.close()


async def told_to_a_replica(master: RedisServer) -> None:
    written = (await master.info("replication"))["master_repl_offset"]

    async def is_told() -> bool:
        return bool((await master.info("replication"))["slave0"]["offset"] >= written)

    await eventually(is_told, "the replica is behind", seconds=RECOVERY_SECONDS)
