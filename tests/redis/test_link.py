"""Script calls while all is well: what is sent, what comes back, and what is made anew."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.redis.links import (
    BOOT,
    COUNT,
    ECHO,
    GET,
    LIFE,
    PUT,
    Opened,
    link_to,
    settings_for,
)
from tests.support.redis_engines import Engine
from tests.support.redis_servers import RedisServer, redis_server
from tusd_py.core.ids import UploadId
from tusd_py.core.upload import Boot
from tusd_py.state.base import StateError
from tusd_py.state.redis.link import BUCKETS_PER_CALL
from tusd_py.state.redis.scripts import Script

BUCKETS = 256


@pytest.fixture(params=["6.2", "7", "valkey"])
def engine(request: pytest.FixtureRequest) -> Engine:
    chosen: Engine = request.param
    return chosen


@pytest.fixture
async def server(tmp_path: Path, engine: Engine) -> AsyncIterator[RedisServer]:
    async with redis_server(tmp_path / "redis", engine=engine) as running:
        yield running


@pytest.fixture
async def link(server: RedisServer) -> AsyncIterator[Opened]:
    async with link_to(settings_for(server)) as opened:
        yield opened


async def runs_of_scripts(server: RedisServer) -> int:
    """How many EVALSHA the server has run."""
    told = await server.info("commandstats")
    return int(told.get("cmdstat_evalsha", {}).get("calls", 0))


async def test_what_is_handed_over_arrives_as_it_was_written(link: Opened) -> None:
    """Numbers as Python writes them, text as UTF-8, bytes as they are, also empty ones."""
    args = (0.1, 1_700_000_000_000, "Ä €", b"\x00\xff\r\n", "", b"")
    key, *heard = await link.call(ECHO, 3, *args)
    assert key == b"tusd:{03}"
    assert heard == [b"0.1", b"1700000000000", "Ä €".encode(), b"\x00\xff\r\n", b"", b""]


async def test_replies_come_as_redis_gives_them(link: Opened) -> None:
    """Bytes, whole numbers, lists in lists, and None where there is nothing."""
    script = Script("shapes", body="return {'a', 7, {}, {'b', {'c'}}, false, 'z'}")
    assert await link.call(script, 0) == [b"a", 7, [], [b"b", [b"c"]], None, b"z"]
    assert await link.call(GET, 0) is None
    assert await link.call(Script("nothing", body="local x = 1"), 0) is None


async def test_many_buckets_answer_in_few_calls_and_in_order(
    link: Opened, server: RedisServer
) -> None:
    """32 of them travel in one."""
    before = await runs_of_scripts(server)
    replies = await link.call_all(ECHO, "x")
    assert [reply[0] for reply in replies] == [f"tusd:{{{n:02x}}}".encode() for n in range(BUCKETS)]
    assert await runs_of_scripts(server) - before == BUCKETS // BUCKETS_PER_CALL
    some = await link.call_all(ECHO, buckets=[200, 3, 77])
    assert [reply[0] for reply in some] == [b"tusd:{c8}", b"tusd:{03}", b"tusd:{4d}"]
    assert await link.call_all(ECHO, buckets=[]) == []


async def test_calls_of_one_turn_travel_together(link: Opened, server: RedisServer) -> None:
    """A hundred of them in a handful of writes, and none is answered with another's answer."""
    before = int((await server.info("stats"))["total_reads_processed"])
    answers = await asyncio.gather(*(link.call(ECHO, n, f"call {n}") for n in range(100)))
    after = int((await server.info("stats"))["total_reads_processed"])
    assert [answer[1] for answer in answers] == [f"call {n}".encode() for n in range(100)]
    assert after - before < 10


async def test_a_script_that_the_server_has_forgotten_is_loaded_again(
    link: Opened, server: RedisServer
) -> None:
    """By one round trip more, and every call under way is done once."""
    await link.call(COUNT, 1)
    await server.call("SCRIPT", "FLUSH")
    assert sorted(await asyncio.gather(*(link.call(COUNT, 1) for _ in range(20)))) == list(
        range(2, 22)
    )
    assert not link.faults


async def test_a_bucket_that_is_gone_is_opened_again(link: Opened, server: RedisServer) -> None:
    """After a loss of all data calls go on, in a new generation."""
    before, *_ = await link.call(LIFE, 9)
    await server.call("FLUSHALL")
    after, *_ = await link.call(LIFE, 9)
    assert after != before
    replies = await link.call_all(LIFE)
    assert len(replies) == BUCKETS
    assert replies[9][0] == after


async def test_a_generation_lasts_as_long_as_the_run_of_the_server(
    tmp_path: Path, engine: Engine
) -> None:
    """A restart begins another one, by the first script that runs, even with all data kept."""
    async with (
        redis_server(tmp_path / "redis", engine=engine, persistent=True) as server,
        link_to(settings_for(server)) as link,
    ):
        first, began, *_ = await link.call(LIFE, 5)
        assert await link.call(PUT, 5, "kept") == b"kept"
        assert (await link.call(LIFE, 5))[:2] == [first, began]
        await server.restart(kill=True)
        second, later, *_, now = await link.call(LIFE, 5)
        assert await link.call(GET, 5) == b"kept"
        assert second != first
        assert float(later) > float(began)
        assert later == now
        assert (await link.call(LIFE, 5))[:2] == [second, later]


async def test_a_new_generation_is_announced(link: Opened, server: RedisServer) -> None:
    """With the number of its bucket, on the channel of all."""
    async with server.client() as client, client.pubsub() as listener:
        await listener.subscribe("tusd:all")
        await listener.get_message(timeout=5)
        await server.call("DEL", "tusd:{0a}:meta")
        generation, *_ = await link.call(LIFE, 10)
        heard = await listener.get_message(timeout=5)
        assert heard is not None
        assert heard["data"] == b"generation 0a"
        assert generation


async def test_hosts_publish_their_boot_in_every_bucket(server: RedisServer) -> None:
    """Each its own; what did not change is not written again."""
    async with link_to(settings_for(server), boot=Boot("host-b", "boot-9")):
        pass
    async with link_to(settings_for(server), boot=BOOT) as link:
        for bucket in ("00", "80", "ff"):
            boots = await server.call("HGETALL", f"tusd:{{{bucket}}}:boots")
            assert boots == {b"host-a": b"boot-1", b"host-b": b"boot-9"}
        async with server.client() as client:
            changes = (await client.info("persistence"))["rdb_changes_since_last_save"]
            await link.open_buckets()
            again = (await client.info("persistence"))["rdb_changes_since_last_save"]
        assert again == changes


async def test_registered_hooks_are_known_to_every_bucket_and_come_back_with_it(
    link: Opened, server: RedisServer
) -> None:
    """A bucket that is found new gets what this process registered; others are left alone."""
    await link.register_hooks(["encoder", "mail"])
    assert (await link.call(LIFE, 200))[2] == b"encoder\nmail"
    await server.call("DEL", "tusd:{c8}:meta")
    assert (await link.call(LIFE, 200))[2] == b"encoder\nmail"
    async with link_to(settings_for(server), boot=Boot("host-b", "x")) as other:
        assert (await other.call(LIFE, 200))[2] == b"encoder\nmail"
        await other.register_hooks(["mail"])
    await link.open_buckets()
    assert (await link.call(LIFE, 200))[2] == b"mail"


async def test_another_number_of_buckets_is_refused_with_the_right_one(server: RedisServer) -> None:
    """Records would be looked for in the wrong buckets."""
    async with link_to(settings_for(server, buckets=64)):
        pass
    with pytest.raises(StateError, match=r"64 buckets: set state\.buckets"):
        async with link_to(settings_for(server, buckets=128)):
            pass
    async with link_to(settings_for(server, buckets=128, prefix="other")):
        pass


async def test_what_belongs_to_no_bucket_has_a_place_of_its_own(link: Opened) -> None:
    """Without a generation."""
    script = Script("meta", body="return {B, unpack(ARGV, 3)}")
    assert await link.call_meta(script, "a") == [b"tusd:{meta}", b"a"]


async def test_a_fault_of_a_script_is_told_and_spoils_no_other_call(link: Opened) -> None:
    """Those that travelled with it are answered."""
    wrong = Script("wrong", body="enter(B, now)\nreturn redis.call('HGET', B .. ':meta')")
    mixed = await asyncio.gather(
        link.call(wrong, 1), link.call(ECHO, 1, "fine"), return_exceptions=True
    )
    assert isinstance(mixed[0], StateError)
    assert mixed[1] == [b"tusd:{01}", b"fine"]
    assert link.faults == {"script": 1}


async def test_an_error_that_a_script_returns_is_one_buckets_alone(link: Opened) -> None:
    """It becomes the error of the whole call, for its answer is not complete."""
    picky = Script("picky", body="if B == 'tusd:{02}' then return redis.error_reply('ERR no') end")
    assert await link.call_all(picky, buckets=[0, 1]) == [None, None]
    with pytest.raises(StateError):
        await link.call_all(picky, buckets=[0, 1, 2, 3])


async def test_ordering_by_id_is_ordering_by_bucket(server: RedisServer) -> None:
    """However many buckets there are; names are spread by their digest."""
    for buckets in (1, 2, 32, 256):
        link = Opened(settings_for(server, buckets=buckets))
        ids = [UploadId(f"{first:02x}" + "7" * 30) for first in range(256)]
        found = [link.bucket_of(one) for one in ids]
        assert found == sorted(found)
        assert set(found) == set(range(buckets))
        name = link.bucket_of_key("client \udcff")
        digest = hashlib.sha1("client \udcff".encode("utf-8", "surrogatepass")).digest()
        assert name == link.bucket_of_digest(digest) == digest[0] * buckets // 256


async def test_a_caller_that_is_cancelled_disturbs_nobody(link: Opened) -> None:
    """Answers stay with their calls, on the same connections."""
    for _ in range(30):
        tasks = [asyncio.create_task(link.call(ECHO, n, f"{n}")) for n in range(10)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        for n, answer in enumerate(done):
            if not isinstance(answer, BaseException):
                assert answer[1] == f"{n}".encode()
            assert isinstance(answer, asyncio.CancelledError | list)
    assert not link.faults


async def test_a_call_that_is_cancelled_before_it_was_sent_is_not_done(link: Opened) -> None:
    """Nobody waits for what it would do."""
    tasks = [asyncio.create_task(link.call(COUNT, 0)) for _ in range(3)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await link.call(COUNT, 0) == 1


async def test_a_generation_that_begins_by_a_call_sent_again_has_another_name_on_another_server(
    tmp_path: Path, engine: Engine
) -> None:
    """The token of the call is the same there: after a fail-over in between, what the new master
    does not know must not seem to be of its generation."""
    composed = LIFE.compose(prefix="tusd")
    names = set()
    for folder in ("one", "other"):
        async with redis_server(tmp_path / folder, engine=engine) as server:
            await server.call("HSET", "tusd:{00}:meta", "run", "before", "generation", "g")
            token = "0123456789abcdef"
            for _ in range(2):
                told = await server.call("EVAL", composed.text, 1, "tusd:{00}", token, 5000)
                names.add(told[0][0])
    assert len(names) == 2


async def test_nothing_is_answered_before_it_is_open_and_after_it_is_closed(
    server: RedisServer,
) -> None:
    """Calls that wait when it closes are refused, not forgotten."""
    link = Opened(settings_for(server))
    with pytest.raises(StateError, match="not open"):
        await link.call(ECHO, 0)
    with pytest.raises(StateError, match="not open"):
        await link.ping()
    await link.open()
    with pytest.raises(StateError, match="open already"):
        await link.open()
    server.pause()
    waiting = [asyncio.create_task(link.call(ECHO, 0)) for _ in range(300)]
    await asyncio.sleep(0)
    await link.close()
    server.resume()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(one, StateError) for one in done)
    with pytest.raises(StateError, match="not open"):
        await link.call(ECHO, 0)
    await link.close()


async def test_readiness_needs_a_store_that_forgets_nothing(
    link: Opened, server: RedisServer
) -> None:
    """What may drop keys when memory is full makes it not ready, with what to change."""
    await link.ping()
    await server.call("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
    with pytest.raises(StateError, match=r"volatile-lru\): set maxmemory-policy noeviction"):
        await link.ping()
    await server.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
    await link.ping()
