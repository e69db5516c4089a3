"""Processes that hear of each other through Redis, and who of them is dead."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.redis.links import BOOT, ECHO, Opened, link_to, settings_for
from tests.support.counting import Counter
from tests.support.redis_engines import Engine
from tests.support.redis_groups import redis_cluster, redis_sentinel
from tests.support.redis_servers import RedisServer, eventually, redis_server
from tests.support.relay import Fault, Relay
from tusd_py.core.upload import Boot
from tusd_py.state.base import StateError
from tusd_py.state.redis.peers import BEAT, Peers
from tusd_py.state.redis.scripts import Script
from tusd_py.state.redis.settings import RedisSettings

LEASE_SECONDS = 2.0
TELL = Script("tell", body="tell(ARGV[3], ARGV[4])")
FORGET = Script("forget", body="return redis.call('DEL', B .. ':meta', B .. ':boots')")
KNOWN = Script("known", body="return redis.call('HGET', B .. ':boots', ARGV[3])")


class Process:
    """One process: its link, its peers, and what it heard."""

    def __init__(self, settings: RedisSettings, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self.link = Opened(settings, lease_seconds=lease_seconds)
        self.heard: list[str] = []
        self.messages = Counter()
        self.gaps = Counter()
        self.faults: list[str] = []
        self.peers = Peers(
            self.link,
            lease_seconds=lease_seconds,
            on_message=self._hear,
            on_gap=self.gaps.add,
            on_fault=self.faults.append,
        )

    def _hear(self, text: str) -> None:
        self.heard.append(text)
        self.messages.add()

    async def tell(self, channel: str, text: str, *, bucket: int = 0) -> None:
        await self.link.call(TELL, bucket, channel, text)

    async def hears(self, text: str, *, within_seconds: float = 5) -> None:
        """Wait for a message."""
        async with asyncio.timeout(within_seconds):
            while text not in self.heard:
                await self.messages.reached(self.messages.value + 1)

    async def knows_dead(self, *names: str, within_seconds: float = 10) -> None:
        async def does_know() -> bool:
            return self.peers.dead[0] >= set(names)

        await eventually(does_know, f"{names} do not count as dead", seconds=within_seconds)


@asynccontextmanager
async def process(settings: RedisSettings, **more: Any) -> AsyncIterator[Process]:
    """A process that runs, and says goodbye at the end."""
    made = Process(settings, **more)
    await made.link.open()
    try:
        await made.peers.open(within_seconds=20)
        try:
            yield made
        finally:
            await made.peers.close()
    finally:
        await made.link.close()


@pytest.fixture(params=["6.2", "7", "valkey"])
def engine(request: pytest.FixtureRequest) -> Engine:
    chosen: Engine = request.param
    return chosen


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with redis_server(tmp_path / "redis") as running:
        yield running


async def test_messages_reach_one_process_or_all(tmp_path: Path, engine: Engine) -> None:
    """From within scripts; the beat is nobody's business."""
    async with (
        redis_server(tmp_path / "redis", engine=engine) as server,
        process(settings_for(server)) as one,
        process(settings_for(server)) as other,
    ):
        await one.tell(f"p:{other.peers.name}", "ask id holder")
        await other.hears("ask id holder")
        await one.tell("all", "events")
        await asyncio.gather(one.hears("events"), other.hears("events"))
        assert one.heard == ["events"]
        assert other.heard == ["ask id holder", "events"]


async def test_a_process_that_falls_silent_is_dead_within_a_lease(server: RedisServer) -> None:
    """The list tells when it was read, by the server's clock."""
    async with process(settings_for(server)) as one, process(settings_for(server)) as other:
        await eventually(lambda: steady(server), "no beats without a gap", seconds=20)
        assert one.peers.dead[0] == frozenset()
        await other.peers._stop()
        last = float(await server.call("ZSCORE", "tusd:{meta}:processes", other.peers.name))
        await one.knows_dead(other.peers.name)
        names, read_at = one.peers.dead
        assert names == {other.peers.name}
        assert last + LEASE_SECONDS * 1000 < read_at <= await now_ms(server)


async def test_a_process_that_says_goodbye_is_dead_at_once(server: RedisServer) -> None:
    """What it has claimed is free: nobody waits a lease for it."""
    async with process(settings_for(server), lease_seconds=60) as one:
        async with process(settings_for(server), lease_seconds=60) as other:
            gone = other.peers.name
        # A beat that was under way when it said goodbye makes it no living one again.
        await one.link.call_meta(BEAT, gone, "here")
        # As if beats had come without a gap for long enough to judge.
        await server.call("HSET", "tusd:{meta}:beats", "since", 1)
        await one.knows_dead(gone, within_seconds=20)
        assert one.peers.dead[0] == {gone}


async def test_nobody_is_taken_for_dead_because_redis_was_away(server: RedisServer) -> None:
    """After it everybody's heartbeat is old, and the first to beat would see all others so."""
    async with Relay(server.port) as relay:
        settings = RedisSettings.model_validate({"url": f"redis://127.0.0.1:{relay.port}"})
        async with process(settings) as one, process(settings) as other:
            await eventually(lambda: steady(server), "no beats without a gap", seconds=20)
            await relay.go_down()
            later = time.monotonic() + 2 * LEASE_SECONDS
            await eventually(lambda: is_later(later), "time stands still", seconds=20)
            silent_at = await now_ms(server)
            await relay.come_back()
            judged = []

            async def has_judged_again() -> bool:
                judged.extend([one.peers.dead, other.peers.dead])
                return min(read_at for _, read_at in judged[-2:]) > silent_at + 1000

            await eventually(has_judged_again, "they do not beat", seconds=20)
            assert {names for names, _ in judged} == {frozenset()}


async def test_names_older_than_a_day_are_forgotten(server: RedisServer) -> None:
    """Each restart leaves one."""
    now = await now_ms(server)
    await server.call("ZADD", "tusd:{meta}:processes", now - 90_000_000, "long-gone")
    await server.call("ZADD", "tusd:{meta}:processes", now - 80_000_000, "gone")
    await server.call("ZADD", "tusd:{meta}:processes", 90_000_000 - now, "left-long-ago")
    await server.call("ZADD", "tusd:{meta}:processes", 80_000_000 - now, "left")
    async with process(settings_for(server)) as one:
        await one.knows_dead("gone", "left")
        assert one.peers.dead[0] == {"gone", "left"}
        names = await server.call("ZRANGE", "tusd:{meta}:processes", 0, -1)
        assert set(names) == {b"gone", b"left", one.peers.name.encode()}


async def test_a_lost_subscription_is_made_anew_and_the_gap_is_told(server: RedisServer) -> None:
    """Whoever waits for a message looks for itself; messages come again."""
    async with Relay(server.port) as relay:
        settings = RedisSettings.model_validate({"url": f"redis://127.0.0.1:{relay.port}"})
        async with process(settings) as one:
            assert one.gaps.value == 1
            relay.cut_all()
            await one.gaps.reached(2)
            await one.tell("all", "events")
            await one.hears("events")
            assert one.faults == ["subscription"]


async def test_a_subscription_that_has_gone_deaf_is_found_out(server: RedisServer) -> None:
    """Its connection stands, and nothing comes: the own beat is missed."""
    async with Relay(server.port) as relay:
        settings = RedisSettings.model_validate({"url": f"redis://127.0.0.1:{relay.port}"})
        async with process(settings) as one:
            for connection in relay.living:
                connection.stall(up=False)
            async with asyncio.timeout(5 * LEASE_SECONDS):
                await one.gaps.reached(2)
            await one.tell("all", "events")
            await one.hears("events")


async def test_subscriptions_come_back_one_by_one_and_ever_more_slowly(
    server: RedisServer,
) -> None:
    """No storm: each failure makes the next pause longer, up to a second."""
    async with Relay(server.port) as relay:
        settings = RedisSettings.model_validate(
            {"url": f"redis://127.0.0.1:{relay.port}", "retry_first_seconds": 1.0}
        )
        async with process(settings) as one:
            relay.default = Fault(cut_after=0)
            relay.cut_all()
            later = time.monotonic() + 2.0
            await eventually(lambda: is_later(later), "time stands still", seconds=20)
            # 25, 50, 100, 200 ms in the mean, then half a second each.
            assert 3 < one.faults.count("subscription") < 25
            relay.default = Fault()
            await one.gaps.reached(2)


async def test_a_bucket_is_opened_again_when_its_generation_changes(server: RedisServer) -> None:
    """By every process, at once: each tells the new generation its host's boot."""
    elsewhere = Boot("host-b", "boot-2")
    async with (
        process(settings_for(server), lease_seconds=600) as one,
        link_to(settings_for(server), boot=elsewhere) as other,
    ):
        await other.call(FORGET, 250)
        await other.call(ECHO, 250)
        await one.hears("generation fa")
        await eventually(lambda: knows_boot(server, 250), "the boot is not told", seconds=20)


async def test_every_bucket_is_looked_at_within_a_lease(server: RedisServer) -> None:
    """Also one that nobody calls: what lies there may have to be reconciled."""
    async with process(settings_for(server)) as one:
        # All are opened once at the start; then it is each one's turn.
        for _ in range(2):
            one.heard.clear()
            assert min(await one.link.call_all(FORGET)) >= 1
            for bucket in range(one.link.buckets):
                await one.hears(f"generation {bucket:02x}", within_seconds=20)
            # Messages of a generation open a bucket as well, once.
            later = time.monotonic() + LEASE_SECONDS / 2
            await eventually(partial(is_later, later), "time stands still", seconds=20)
        known = await one.link.call_all(KNOWN, BOOT.host)
        assert set(known) == {BOOT.boot_id.encode()}


async def test_rights_that_are_missing_are_told_at_the_start(tmp_path: Path) -> None:
    """Channels have rights of their own."""
    rules = ["user who on >pw ~tusd:* resetchannels &other:* +@all"]
    async with redis_server(tmp_path / "redis", acl=rules) as server:
        settings = settings_for(server, username="who", password="pw", prefix="tusd")
        with pytest.raises(StateError, match="rights"):
            async with process(settings):
                pass


async def test_a_fault_in_hearing_one_message_leaves_the_others_heard(server: RedisServer) -> None:
    """It is logged."""
    async with process(settings_for(server)) as one:
        heard = one.peers.on_message

        def stumble(text: str) -> None:
            heard(text)
            raise ValueError(text)

        one.peers.on_message = stumble
        await one.tell("all", "generation nonsense")
        await one.tell("all", "generation ffff")
        await one.tell("all", "events")
        await one.hears("events")
        assert not one.faults


async def test_messages_of_any_node_of_a_cluster_arrive_and_nodes_may_die(tmp_path: Path) -> None:
    """Listeners are spread over the nodes."""
    async with redis_cluster(tmp_path) as cluster:
        nodes = [node.address for node in cluster.nodes]
        settings = RedisSettings.model_validate({"cluster_nodes": nodes, "buckets": 16})
        async with process(settings) as one, process(settings) as other:
            for bucket in range(16):
                await one.tell("all", f"events {bucket}", bucket=bucket)
            for bucket in range(16):
                await asyncio.gather(one.hears(f"events {bucket}"), other.hears(f"events {bucket}"))
            for node in await cluster.masters():
                await node.kill9()
                await cluster.healthy()
                await node.start()
                await cluster.healthy()

            async def is_heard() -> bool:
                try:
                    await one.tell("all", "again", bucket=3)
                    await other.hears("again", within_seconds=1)
                except (StateError, TimeoutError):
                    return False
                return True

            await eventually(is_heard, "nothing arrives any more", seconds=40)


async def test_listeners_follow_a_fail_over(tmp_path: Path) -> None:
    """What the new master publishes arrives."""
    async with redis_sentinel(tmp_path) as group:
        settings = RedisSettings.model_validate(
            {
                "sentinels": [one.address for one in group.sentinels],
                "master_name": group.name,
                "buckets": 16,
            }
        )
        async with process(settings) as one, process(settings) as other:
            before = await group.master()
            await before.kill9()
            await group.failed_over(before)

            async def is_heard() -> bool:
                try:
                    await one.tell("all", "again")
                    await other.hears("again", within_seconds=1)
                except (StateError, TimeoutError):
                    return False
                return True

            async def has_looked() -> bool:
                return one.gaps.value > 1

            await eventually(is_heard, "nothing arrives any more", seconds=40)
            await eventually(has_looked, "the gap is not told of", seconds=20)


async def is_later(than: float) -> bool:
    return time.monotonic() > than


async def now_ms(server: RedisServer) -> float:
    seconds, micros = await server.call("TIME")
    return float(seconds * 1000 + micros / 1000)


async def steady(server: RedisServer) -> bool:
    """Whether beats have come without a gap for longer than a lease."""
    since = await server.call("HGET", "tusd:{meta}:beats", "since")
    return since is not None and float(since) < await now_ms(server) - LEASE_SECONDS * 1000


async def knows_boot(server: RedisServer, bucket: int) -> bool:
    told = await server.call("HGET", f"tusd:{{{bucket:02x}}}:boots", BOOT.host)
    return bool(told == BOOT.boot_id.encode())
