"""Redis away: every call ends in time, what was wrong is told, and nothing has to be restarted."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ResponseError

from tests.redis.links import (
    COUNT,
    ECHO,
    FREE,
    GET,
    LIFE,
    PUT,
    answers_again,
    is_refused,
    link_to,
    settings_for,
)
from tests.support.redis_engines import Engine
from tests.support.redis_servers import RedisServer, eventually, redis_server
from tests.support.relay import Cut, Fault, Relay
from tests.support.sockets import quiet_port
from tusd_py.state.base import StateError
from tusd_py.state.redis.dispatch import Dispatch
from tusd_py.state.redis.lane import Call
from tusd_py.state.redis.settings import RedisSettings

CALL_SECONDS = 1.0
SLACK_SECONDS = 4.0
"""What a busy machine may add to a bound."""
IMPATIENT: dict[str, Any] = {
    "call_seconds": CALL_SECONDS,
    "connect_seconds": 0.4,
    "retry_cap_seconds": 0.2,
}
FOLLOWS_NOBODY = "127.0.0.1 1"


@pytest.fixture(params=["6.2", "7", "valkey"])
def engine(request: pytest.FixtureRequest) -> Engine:
    chosen: Engine = request.param
    return chosen


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with redis_server(tmp_path / "redis") as running:
        yield running


@pytest.fixture
async def each_server(tmp_path: Path, engine: Engine) -> AsyncIterator[RedisServer]:
    async with redis_server(tmp_path / "redis", engine=engine) as running:
        yield running


@pytest.fixture
async def relay(server: RedisServer) -> AsyncIterator[Relay]:
    async with Relay(server.port) as between:
        yield between


def through(relay: Relay, **more: Any) -> RedisSettings:
    return RedisSettings(**{"url": f"redis://127.0.0.1:{relay.port}", **IMPATIENT, **more})


async def ends_in_time(*calls: Any) -> list[Any]:
    """What became of the calls, errors included; none takes longer than it may."""
    async with asyncio.timeout(CALL_SECONDS + SLACK_SECONDS):
        return await asyncio.gather(*calls, return_exceptions=True)


async def test_a_server_that_was_killed_is_found_again(server: RedisServer) -> None:
    """Calls fail in time meanwhile; the next ones go on, without a restart of ours."""
    async with link_to(settings_for(server, **IMPATIENT)) as link:
        await link.call(PUT, 0, "x")
        await server.kill9()
        done = await ends_in_time(*(link.call(ECHO, n) for n in range(20)))
        assert {str(error) for error in done} == {f"Redis cannot be reached at {server.address}"}
        assert all(isinstance(error, StateError) and error.__cause__ for error in done)
        await server.start()
        await answers_again(link, within_seconds=20)
        assert link.faults["lost"] + link.faults["connect"] > 0


async def test_a_server_that_has_been_away_for_long_costs_no_time(server: RedisServer) -> None:
    """Once it was waited for in vain, calls are refused at once, until it is back."""
    async with link_to(settings_for(server, **IMPATIENT)) as link:
        await server.kill9()
        await ends_in_time(link.call(ECHO, 0))
        await asyncio.gather(*(is_refused(link) for _ in range(2)))
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(20):
            await is_refused(link)
        assert loop.time() - began < 10 * CALL_SECONDS, "each waited until its end"
        await server.start()
        await answers_again(link, within_seconds=20)


async def test_a_call_waits_for_a_short_absence(server: RedisServer) -> None:
    """A restart in the middle of it is not seen but by the generation."""
    async with link_to(settings_for(server, call_seconds=10, retry_cap_seconds=0.1)) as link:
        first, *_ = await link.call(LIFE, 0)
        await server.kill9()
        waiting = asyncio.create_task(link.call(LIFE, 0))
        await server.start()
        second, *_ = await waiting
        assert second != first


async def test_a_server_that_is_stopped_bounds_calls_and_is_taken_up_again(
    server: RedisServer,
) -> None:
    """SIGSTOP: connections are open, the kernel still takes new ones, and nobody answers."""
    async with link_to(settings_for(server, **IMPATIENT)) as link:
        server.pause()
        done = await ends_in_time(*(link.call(ECHO, n) for n in range(200)))
        assert all(isinstance(error, StateError) for error in done)
        assert link.faults["timeout"] > 0
        server.resume()
        await answers_again(link, within_seconds=20)


async def test_a_connection_that_is_cut_costs_no_call(server: RedisServer, relay: Relay) -> None:
    """It is sent again on another one; whoever waits hears the answer."""
    async with link_to(through(relay)) as link:
        for how in Cut:
            calls = [asyncio.create_task(link.call(ECHO, n, "x")) for n in range(50)]
            await asyncio.sleep(0)
            relay.cut_all(how)
            done = await asyncio.gather(*calls)
            assert [answer[0] for answer in done] == [b"tusd:{%02x}" % n for n in range(50)]


async def test_a_call_whose_answer_was_lost_is_done_again(
    server: RedisServer, relay: Relay
) -> None:
    """So that scripts must bear it: this one counts, and counts twice."""
    async with link_to(through(relay, connections=1)) as link:
        await link.call(COUNT, 0)
        # What a connection says before its first call is always as long.
        relay.cut_all()
        assert await link.call(COUNT, 0) == 2
        greeting = (await relay.connection(1)).bytes_up
        relay.cut_all()
        relay.add(Fault(lose_answer_after=greeting))
        assert await link.call(COUNT, 0) == 4
        assert link.faults["lost"] > 0


async def test_a_black_hole_is_left_by_another_connection(relay: Relay) -> None:
    """One that passes nothing any more: half of the time is kept for another try."""
    async with link_to(through(relay)) as link:
        await link.call(ECHO, 0)
        relay.stall_all()
        assert await link.call(ECHO, 0) == [b"tusd:{00}"]
        assert link.faults["timeout"] == 1


async def test_a_network_that_is_gone_bounds_calls(relay: Relay) -> None:
    """Old connections are silent, new ones are refused."""
    async with link_to(through(relay)) as link:
        relay.stall_all()
        await relay.go_down(None)
        done = await ends_in_time(*(link.call(ECHO, n) for n in range(50)))
        assert all(isinstance(error, StateError) for error in done)
        await relay.come_back()
        await answers_again(link, within_seconds=20)


async def test_new_connections_come_one_by_one_and_ever_more_slowly(relay: Relay) -> None:
    """However many calls wait: no storm upon a server that comes back."""
    async with link_to(through(relay, retry_first_seconds=0.4, retry_cap_seconds=0.8)) as link:
        await asyncio.gather(*(link.call(ECHO, n) for n in range(200)))
        before = len(relay.connections)
        relay.default = Fault(cut_after=0)
        relay.cut_all()
        begun = asyncio.get_running_loop().time()
        await asyncio.gather(
            *(link.call(ECHO, n % 256) for n in range(1000)), return_exceptions=True
        )
        took = asyncio.get_running_loop().time() - begun
        made = len(relay.connections) - before
        # 200 ms in the mean, then 400 ms each.
        assert made <= 5 + took / 0.08
        relay.default = Fault()
        await answers_again(link, within_seconds=20)
        await asyncio.gather(*(link.call(ECHO, n) for n in range(200)))
        assert len(relay.living) <= 4


async def test_memory_that_is_full_is_told_and_leaves_what_frees_memory(
    each_server: RedisServer,
) -> None:
    """Writes fail at once, as where Redis is away; reads and removals go on."""
    async with link_to(settings_for(each_server, **IMPATIENT)) as link:
        await link.call(PUT, 0, "x" * 100)
        await each_server.call("CONFIG", "SET", "maxmemory", "100kb")
        error = await is_refused(link, PUT, "y")
        assert "maxmemory" in str(error)
        assert await link.call(GET, 0) == b"x" * 100
        assert await link.call(FREE, 0) == 1
        assert set(link.faults) == {"memory"}
        await each_server.call("CONFIG", "SET", "maxmemory", "0")
        await link.call(PUT, 0, "y")


async def test_a_master_that_becomes_a_replica_tells_nothing_any_more(
    each_server: RedisServer,
) -> None:
    """Not even what scripts only read: it may be out of date. It is asked until it is back."""
    async with link_to(settings_for(each_server, **IMPATIENT)) as link:
        await link.call(PUT, 0, "x")
        await each_server.call("REPLICAOF", *FOLLOWS_NOBODY.split())
        for script in (GET, ECHO):
            (error,) = await ends_in_time(link.call(script, 0))
            assert isinstance(error, StateError)
            assert "replica" in str(error)
        assert link.faults["readonly"] > 0
        await each_server.call("REPLICAOF", "NO", "ONE")
        await answers_again(link, within_seconds=20)


async def test_a_master_without_its_replicas_tells_nothing_any_more(
    each_server: RedisServer,
) -> None:
    """It may have been cut off while another one took its place."""
    async with link_to(settings_for(each_server, **IMPATIENT)) as link:
        await link.call(PUT, 0, "x")
        await each_server.call("CONFIG", "SET", "min-replicas-to-write", "1")
        for script in (GET, ECHO):
            (error,) = await ends_in_time(link.call(script, 0))
            assert isinstance(error, StateError)
            assert "min-replicas-to-write" in str(error)
        assert set(link.faults) == {"unsafe", "timeout"}
        waiting = asyncio.create_task(link.call(GET, 0))
        await asyncio.sleep(0)
        await each_server.call("CONFIG", "SET", "min-replicas-to-write", "0")
        assert await waiting == b"x"


async def test_somebody_elses_endless_script_is_waited_for_within_bounds(
    each_server: RedisServer,
) -> None:
    """BUSY is told with where to look; once it is over calls go on."""
    async with link_to(settings_for(each_server, **IMPATIENT)) as link:
        await link.call(PUT, 0, "x")
        await each_server.call("CONFIG", "SET", "lua-time-limit", "50")
        async with each_server.client() as other, each_server.client() as operator:
            await asyncio.gather(other.ping(), operator.ping())
            endless = asyncio.ensure_future(other.eval("while true do end", 0))

            async def is_busy() -> bool:
                try:
                    return not await operator.ping()
                except ResponseError as exc:
                    return "BUSY" in str(exc)

            await eventually(is_busy, "no script runs", seconds=5)
            (error,) = await ends_in_time(link.call(GET, 0))
            assert isinstance(error, StateError)
            assert "SLOWLOG" in str(error)
            await operator.script_kill()
            with pytest.raises(ResponseError, match="killed"):
                await endless
        await answers_again(link, within_seconds=20)


async def test_what_waits_is_bounded(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than can be served in time is refused at once."""
    monkeypatch.setattr("tusd_py.state.redis.dispatch.MAX_WAITING", 100)
    async with link_to(settings_for(server, **IMPATIENT)) as link:
        server.pause()
        calls = [asyncio.create_task(link.call(ECHO, 0)) for _ in range(1000)]
        done = await ends_in_time(*calls)
        refused = [error for error in done if "too many" in str(error)]
        # One batch for each connection is under way.
        assert len(refused) >= 1000 - 100 - 4 * 128
        assert link.faults["overload"] == len(refused)
        server.resume()


async def test_each_call_ends_at_its_own_time(server: RedisServer) -> None:
    """Also one that comes late with an early end: what a call does first takes of its time."""
    dispatch = Dispatch(settings_for(server, **IMPATIENT), on_fault=lambda _: None)
    await dispatch.open()
    server.pause()
    loop = asyncio.get_running_loop()
    composed = ECHO.compose(prefix="tusd")
    packed = b"*1\r\n$4\r\nPING\r\n"
    began = loop.time()
    ends = (20.0, 0.2, 30.0)
    calls = [Call(0, composed, packed, loop.create_future(), began + end) for end in ends]
    futures = [dispatch.submit(call) for call in calls]
    done, waiting = await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED, timeout=10)
    assert done == {futures[1]}
    assert 0.2 <= loop.time() - began < 20.0
    await dispatch.close()
    assert all(isinstance(one.exception(), StateError) for one in (*done, *waiting))
    server.resume()


async def test_nobody_listening_is_told_at_the_start(tmp_path: Path) -> None:
    """With the address; within the time of a call."""
    port = quiet_port()
    settings = RedisSettings(**{"url": f"redis://127.0.0.1:{port}", **IMPATIENT})
    with pytest.raises(StateError, match=f"cannot be reached at 127.0.0.1:{port}"):
        async with asyncio.timeout(CALL_SECONDS + SLACK_SECONDS), link_to(settings):
            pass
