"""The least rights: all that is called is on the list, and the list has nothing else."""

import re
from pathlib import Path
from typing import Any

import pytest

import tusd_py.state.redis
from tests.redis.links import LEASE_SECONDS, Opened, settings_for
from tests.support.redis_engines import Engine
from tests.support.redis_groups import redis_cluster
from tests.support.redis_servers import RedisServer, redis_server
from tusd_py.state.base import StateError
from tusd_py.state.redis.acl import (
    COMMANDS,
    COMMANDS_OF_CONNECTIONS,
    COMMANDS_OF_SCRIPTS,
    build_rules,
)
from tusd_py.state.redis.peers import Peers
from tusd_py.state.redis.settings import RedisSettings

FOLDER = Path(tusd_py.state.redis.__file__).parent
QUICK: dict[str, Any] = {
    "username": "least",
    "password": "pw",
    "buckets": 8,
    "call_seconds": 1.0,
    "connect_seconds": 0.5,
    "retry_cap_seconds": 0.1,
}


async def everything_of_the_link(settings: RedisSettings) -> None:
    """Open, ask, hear, and say goodbye."""
    link = Opened(settings)
    await link.open()
    try:
        await link.register_hooks(["encoder"])
        await link.ping()
        peers = Peers(link, lease_seconds=LEASE_SECONDS)
        await peers.open(within_seconds=1)
        await peers.close()
        assert not link.faults
    finally:
        await link.close()


async def give(server: RedisServer, rules: str) -> None:
    await server.call("ACL", "SETUSER", "least", "reset", "on", ">pw", *rules.split())


def test_the_list_is_what_scripts_call() -> None:
    """Neither more nor less. Scripts call nothing whose name is made while they run."""
    called = set()
    for file in sorted((FOLDER / "lua").glob("*.lua")):
        text = file.read_text()
        commands = re.findall(r"redis\.p?call\(\s*'([A-Z]+)'", text)
        assert len(commands) == len(re.findall(r"redis\.p?call\b", text)), file.name
        called |= {command.lower() for command in commands}
    text = (FOLDER / "scripts.py").read_text()
    called |= {command.lower() for command in re.findall(r"redis\.call\('([A-Z]+)'", text)}
    assert called == set(COMMANDS_OF_SCRIPTS)


@pytest.mark.parametrize("engine", ["6.2", "7", "valkey"])
async def test_the_least_rights_are_enough(tmp_path: Path, engine: Engine) -> None:
    """For one server, another database of it, and only one's own prefix."""
    async with redis_server(tmp_path / "redis", engine=engine, acl=["user least off"]) as server:
        await give(server, build_rules("mine"))
        for database in (0, 1):
            settings = settings_for(server, prefix="mine", database=database, **QUICK)
            await everything_of_the_link(settings)
        with pytest.raises(StateError, match="rights"):
            await everything_of_the_link(settings_for(server, prefix="yours", **QUICK))


@pytest.mark.parametrize("engine", ["6.2", "7", "valkey"])
async def test_the_least_rights_are_enough_for_a_cluster(tmp_path: Path, engine: Engine) -> None:
    """Its map of slots is asked for."""
    async with redis_cluster(
        tmp_path, replicas=0, engine=engine, acl=["user least off"]
    ) as cluster:
        for node in cluster.nodes:
            await give(node, build_rules("tusd"))
        nodes = [node.address for node in cluster.nodes]
        settings = RedisSettings.model_validate({"cluster_nodes": nodes, **QUICK})
        await everything_of_the_link(settings)
        for node in cluster.nodes:
            await give(node, build_rules("tusd").replace(" +cluster|slots", ""))
        with pytest.raises(StateError, match="rights"):
            await everything_of_the_link(settings)


@pytest.mark.parametrize("engine", ["6.2", "7", "valkey"])
async def test_no_right_of_a_connection_is_superfluous(tmp_path: Path, engine: Engine) -> None:
    """Without it the start fails, and says that a right is missing; so do rights of scripts."""
    async with redis_server(tmp_path / "redis", engine=engine, acl=["user least off"]) as server:
        settings = settings_for(server, database=1, **QUICK)
        for command in {*COMMANDS_OF_CONNECTIONS, "hset", "publish", "zadd"} - {"cluster|slots"}:
            rules = f" {build_rules('tusd')} ".replace(f" +{command} ", " ")
            assert rules.strip() != build_rules("tusd")
            await give(server, rules)
            await server.call("SCRIPT", "FLUSH")
            with pytest.raises(StateError, match="rights"):
                await everything_of_the_link(settings)


def test_rules_are_for_one_prefix() -> None:
    """They can be written into an ACL file as they are."""
    rules = build_rules("up").split()
    assert rules[:5] == ["resetkeys", "~up:*", "resetchannels", "&up:*", "-@all"]
    assert rules[5:] == [f"+{command}" for command in COMMANDS]
