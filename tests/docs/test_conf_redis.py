"""The configurations of ``conf/redis``, each in real servers: they are taken, and keep promises."""

import re
import time
from pathlib import Path

import pytest
import redis

from tests.support.redis_confs import (
    CONF,
    ENGINES,
    FILES,
    configured,
    configured_cluster,
    configured_sentinel,
    directives,
    users_acl,
)
from tests.support.redis_engines import Engine
from tests.support.redis_servers import Authority, RedisServer, eventually

SPECIFIC = {"bind", "port", "unixsocket", "dir", "aclfile", "masterauth", "cluster-config-file"}
"""What tests change, or a server does not tell."""
STOPS_ALONE_SECONDS = 2.5
"""One and a half times cluster-node-timeout, and what a busy machine takes to notice."""
TAKEN = b"a value"
UNITS = {"kb": 2**10, "mb": 2**20, "gb": 2**30}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", FILES)
async def test_every_server_takes_the_file_and_has_its_values(
    name: str, engine: Engine, tmp_path: Path
) -> None:
    """Redis 6.2 and 7 and Valkey; each line of the file is what CONFIG GET tells."""
    async with configured(tmp_path, name, engine=engine) as server:
        for word, value in directives(name):
            if word in SPECIFIC:
                continue
            told = await told_of(server, word)
            if word == "client-output-buffer-limit":
                assert plain(value) in told, word
            else:
                assert told == plain(value), word
        assert (await told_of(server, "unixsocket") != "") == (name == "single")


async def told_of(server: RedisServer, word: str) -> str:
    found = await server.call("CONFIG", "GET", word)
    return plain({_text(key): _text(value) for key, value in found.items()}[word])


def plain(value: str) -> str:
    """A value in one way of writing: sizes in bytes, no quotes."""

    def count(found: re.Match[str]) -> str:
        return str(int(found[1]) * UNITS[found[2]])

    return re.sub(r"\b(\d+)(kb|mb|gb)\b", count, value.replace('""', ""))


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode()


def test_what_all_files_share_is_the_same_in_all() -> None:
    """From the line that says so to the end."""
    shared = {
        (CONF / f"{name}.conf").read_text().partition("# --- for every kind")[2] for name in FILES
    }
    assert len(shared) == 1
    assert "appendonly yes" in shared.pop()


def test_times_of_two_masters_do_not_overlap() -> None:
    """The old one has stopped before the new one is asked: the arithmetic that the files tell."""
    replicated, sentinel = dict(directives("replicated")), sentinel_settings()
    stops = int(replicated["min-replicas-max-lag"]) + 2
    assert sentinel["down-after-milliseconds"] >= stops * 1000
    assert int(replicated["min-replicas-to-write"]) >= 1
    timeout = int(dict(directives("cluster"))["cluster-node-timeout"])
    assert timeout * 3 // 2 <= timeout + 500


def sentinel_settings() -> dict[str, int]:
    words = [rest.split() for word, rest in directives("sentinel") if word == "sentinel"]
    return {one[0]: int(one[2]) for one in words if len(one) == 3 and one[2].isdigit()}


async def test_nobody_logs_in_before_there_are_passwords(tmp_path: Path) -> None:
    """The list of users as it comes lets nobody in; the default user is off."""
    lines = (CONF / "users.acl").read_text().splitlines()
    assert lines[0].split()[1:3] == ["default", "off"]
    for line in lines[1:]:
        assert line.split()[2:4] == ["on", "#" + 64 * "0"], line
    assert users_acl({}) == (CONF / "users.acl").read_text()
    async with configured(tmp_path, "single") as server:
        for login in (
            {"username": None, "password": None},
            {"username": "tusd", "password": "wrong"},
            {"username": "tusd", "password": ""},
        ):
            with pytest.raises(redis.exceptions.RedisError):
                await server.call("PING", **login)


async def test_tls_is_what_the_file_shows(tmp_path: Path) -> None:
    """With the lines for TLS in place of the port: TLS is spoken, and nothing else."""
    authority = Authority(tmp_path / "tls")
    for name in FILES:
        async with configured(tmp_path / name, name, tls=authority) as server:
            assert await server.call("PING")
            with pytest.raises(redis.exceptions.ConnectionError):
                await server.call("PING", ssl=False)


async def test_a_master_that_lost_its_replicas_stops_before_there_is_another(
    tmp_path: Path,
) -> None:
    """It refuses writes by the time at which the sentinels may at the earliest name a new one; and
    when it dies, they do: with no more rights than the users of the file have."""
    async with configured_sentinel(tmp_path) as group:
        master = await group.master()
        replicas = [server for server in group.servers if server is not master]
        assert await master.call("SET", "tusd:x", TAKEN)
        for replica in replicas:
            replica.pause()
        took = await seconds_until_refused(master, "NOREPLICAS")
        assert took <= sentinel_settings()["down-after-milliseconds"] / 1000
        for replica in replicas:
            replica.resume()
        await group.healthy()
        await master.kill9()
        now = await group.failed_over(master)
        assert await now.call("GET", "tusd:x") == TAKEN
        # What it has become survives its own restart.
        assert "\nreplicaof " not in (now.folder / "redis.conf").read_text()


async def test_a_cluster_goes_on_without_a_master_and_a_master_alone_does_not(
    tmp_path: Path,
) -> None:
    """Made by the command of the file. A master that hears nobody refuses writes in time; one that
    died is replaced; the others' slots are served all the while."""
    async with configured_cluster(tmp_path) as cluster:
        slot = "tusd:{00}:x"
        number = int(await cluster.nodes[0].call("CLUSTER", "KEYSLOT", slot))
        alone = await cluster.master_of(number)
        others = [node for node in cluster.nodes if node is not alone]
        assert await alone.call("SET", slot, TAKEN)
        for node in others:
            node.pause()
        took = await seconds_until_refused(alone, "CLUSTERDOWN", slot)
        for node in others:
            node.resume()
        assert took <= STOPS_ALONE_SECONDS
        await cluster.healthy()
        master = await cluster.master_of(number)
        await master.kill9()

        async def is_served() -> bool:
            try:
                now = await cluster.master_of(number)
            except (AssertionError, redis.exceptions.RedisError):
                return False
            return now is not master and await now.call("GET", slot) == TAKEN

        await eventually(is_served, "nobody took its place", seconds=20)


async def seconds_until_refused(
    server: RedisServer, why: str, key: str = "tusd:x", *, seconds: float = 20.0
) -> float:
    """How long it goes on taking writes."""
    began = time.monotonic()

    async def is_refused() -> bool:
        try:
            await server.call("SET", key, TAKEN)
        except redis.exceptions.RedisError as error:
            return why in f"{type(error).__name__} {error}".upper()
        return False

    await eventually(is_refused, f"no {why}", seconds=seconds)
    return time.monotonic() - began
