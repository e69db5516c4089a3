"""The rigs of real Redis servers: they start, die, stand still, and their clock obeys."""

import asyncio
import os
import select
import signal
import ssl
import sys
import time
from pathlib import Path
from typing import Final, get_args

import pytest
import redis

from tests.support.redis_engines import (
    Engine,
    EngineDied,
    FrozenClock,
    NoEngine,
    RunningClock,
    program_of,
)
from tests.support.redis_groups import redis_cluster, redis_sentinel
from tests.support.redis_servers import Authority, RedisServer, redis_server

ENGINES: Final[tuple[Engine, ...]] = get_args(Engine)
BEGAN: Final = 1_600_000_000.0


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_server_keeps_its_address_and_its_data_when_it_is_killed(
    engine: Engine, tmp_path: Path
) -> None:
    async with redis_server(tmp_path, engine=engine, persistent=True) as server:
        address, before = server.address, await server.info("server")
        await server.call("SET", "key", "value")
        await server.restart(kill=True)
        after = await server.info("server")
        assert (server.address, await server.call("GET", "key")) == (address, b"value")
        assert before["run_id"] != after["run_id"]
    assert not server.runs


async def test_the_engines_are_of_three_kinds(tmp_path: Path) -> None:
    versions = {}
    for engine in ENGINES:
        async with redis_server(tmp_path / engine, engine=engine) as server:
            versions[engine] = await server.info("server")
    assert versions["6.2"]["redis_version"].startswith("6.2.")
    assert int(versions["7"]["redis_version"].split(".")[0]) >= 7
    assert int(versions["valkey"]["valkey_version"].split(".")[0]) >= 8


async def test_a_frozen_clock_moves_only_when_it_is_told_to(tmp_path: Path) -> None:
    clock = FrozenClock(tmp_path / "clock", BEGAN)
    script = "redis.replicate_commands() return redis.call('TIME')"
    async with redis_server(tmp_path / "data", engine="6.2", clock=clock) as server:
        for seconds in (0.0, 0.001, 0.000001, 4.999, 0.123456, 3600.0, 86_400 * 400):
            clock.advance(seconds)
            micros = round(clock.now * 1e6)
            expected = divmod(micros, 1_000_000)
            assert await server.call("TIME") == expected
            assert await server.call("TIME") == expected
            told = await server.call("EVAL", script, 0)
            assert tuple(map(int, told)) == expected
        assert clock.now == pytest.approx(BEGAN + 86_400 * 400 + 3605.123457)


async def test_a_running_clock_jumps_when_it_is_told_to(tmp_path: Path) -> None:
    clock = RunningClock(tmp_path / "clock")
    async with redis_server(tmp_path / "data", engine="6.2", clock=clock) as server:
        ahead = 0.0
        for jump in (0.0, 5.5, 3600.0):
            clock.advance(jump)
            ahead += jump
            before = time.time()
            seconds, micros = await server.call("TIME")
            assert before - 0.001 <= seconds + micros / 1e6 - ahead <= time.time() + 0.001


async def test_a_paused_server_answers_when_it_is_resumed(tmp_path: Path) -> None:
    async with redis_server(tmp_path) as server:
        server.pause()
        with pytest.raises(redis.exceptions.TimeoutError):
            await server.call("PING", socket_timeout=0.1)
        asked = asyncio.create_task(server.call("PING"))
        server.resume()
        assert await asked


async def test_a_server_listens_at_a_socket_too(tmp_path: Path) -> None:
    async with redis_server(tmp_path / ("long" * 30), unix=True) as server:
        assert server.socket is not None
        client = redis.asyncio.Redis(unix_socket_path=str(server.socket))
        async with client:
            await client.set("key", "value")
        assert await server.call("GET", "key") == b"value"
        folder = server.socket.parent
    assert not folder.exists()


async def test_a_server_with_tls_shows_a_certificate_of_the_authority(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path / "ca"), Authority(tmp_path / "other")
    async with redis_server(tmp_path / "data", tls=authority) as server:
        assert await server.call("PING")
        with pytest.raises(redis.exceptions.ConnectionError, match="certificate verify failed"):
            await server.call("PING", ssl_ca_certs=str(stranger.trusted))
        with pytest.raises(redis.exceptions.ConnectionError):
            await server.call("PING", ssl=False)


async def test_a_server_may_demand_a_certificate_of_its_clients(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    demanding = {"tls-auth-clients": "yes"}
    async with redis_server(tmp_path / "data", tls=authority, config=demanding) as server:
        assert await server.call("PING")
        with pytest.raises((redis.exceptions.ConnectionError, ssl.SSLError)):
            await server.call("PING", ssl_certfile=None)


async def test_the_users_of_an_acl_may_do_what_it_says(tmp_path: Path) -> None:
    async with redis_server(tmp_path, acl=["user app on >secret ~app:* +get +ping"]) as server:
        app = {"username": "app", "password": "secret"}
        assert await server.call("GET", "app:x", **app) is None
        for words in (("GET", "other"), ("SET", "app:x", "1")):
            with pytest.raises(redis.exceptions.NoPermissionError):
                await server.call(*words, **app)
        with pytest.raises(redis.exceptions.AuthenticationError):
            await server.call("PING", username=None, password=None)


async def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(EngineDied, match="no-such-setting"):
        async with redis_server(tmp_path, config={"no-such-setting": 1}):
            pass


async def test_a_port_that_somebody_took_first_is_left_to_them(tmp_path: Path) -> None:
    async with redis_server(tmp_path / "first") as first:
        late = RedisServer(tmp_path / "late")
        late.port = first.port  # free when it was chosen
        try:
            await late.start()
            assert late.port != first.port
            assert await late.call("PING") and await first.call("PING")
        finally:
            late.close()


RUNNER: Final = """
import asyncio, pathlib, sys
from tests.support.redis_servers import redis_server
async def main():
    async with redis_server(pathlib.Path(sys.argv[1])) as server:
        print(server.pid, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_no_server_outlives_a_killed_runner(tmp_path: Path) -> None:
    runner = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", RUNNER, str(tmp_path)), stdout=asyncio.subprocess.PIPE
    )
    assert runner.stdout is not None
    pid = int(await asyncio.wait_for(runner.stdout.readline(), 30))
    handle = os.pidfd_open(pid)
    try:
        runner.send_signal(signal.SIGKILL)
        await runner.wait()
        ended, _, _ = await asyncio.to_thread(select.select, [handle], [], [], 10)
        assert ended
    finally:
        os.close(handle)


def test_an_engine_that_is_missing_fails_and_says_what_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name, path: None)
    for engine, remedy in (("6.2", "make dev"), ("valkey", "make dev"), ("7", "make test")):
        with pytest.raises(NoEngine, match=remedy):
            program_of(engine)  # type: ignore[arg-type]


async def test_a_cluster_serves_every_slot_and_fails_over_without_loss(tmp_path: Path) -> None:
    async with redis_cluster(tmp_path) as cluster:
        assert len(await cluster.masters()) == 3
        before = await cluster.master_of(12182)  # of the key "foo"
        await before.call("SET", "foo", "bar")
        after = await cluster.fail_over(before)
        assert after is not before and after is await cluster.master_of(12182)
        assert await after.call("GET", "foo") == b"bar"
        await cluster.flush()
        assert await after.call("DBSIZE") == 0


async def test_sentinels_agree_on_another_master_when_they_are_told_to(tmp_path: Path) -> None:
    async with redis_sentinel(tmp_path) as group:
        before = await group.master()
        await before.call("SET", "key", "value")
        await before.call("WAIT", 1, 5000)
        after = await group.fail_over()
        assert after is not before and await after.call("GET", "key") == b"value"
