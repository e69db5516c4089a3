"""The configurations of ``conf/redis``, each in real servers: they are taken, and keep promises."""

import asyncio
import re
import time
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import pytest
import redis

from tests.docs.tables import build_key_table
from tests.e2e.rig import stored_bytes
from tests.support import tus
from tests.support.redis_confs import (
    CONF,
    ENGINES,
    FILES,
    MASTER,
    PASSWORDS,
    configured,
    configured_cluster,
    configured_sentinel,
    directives,
    users_acl,
)
from tests.support.redis_engines import Engine
from tests.support.redis_servers import Authority, RedisServer, eventually
from tests.support.server import Server, serving
from tusd_py.state.redis.acl import build_rules

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


def test_the_server_has_the_rights_that_it_needs_and_no_more() -> None:
    """The user of the file has what the code says it needs."""
    (line,) = re.findall(r"(?m)^user tusd on #0+ (.+)$", (CONF / "users.acl").read_text())
    assert line == build_rules("tusd")


def test_the_table_of_keys_is_the_codes_own() -> None:
    """Made anew by python -m tests.docs.tables."""
    text = (CONF / "README.md").read_text()
    shown = text.partition("<!-- keys -->\n")[2].partition("<!-- end of keys -->")[0]
    assert shown == build_key_table()


def test_every_file_is_told_of() -> None:
    """What lies in conf/redis is in its README, and what that names is there."""
    text = (CONF / "README.md").read_text()
    files = {path.name for path in CONF.iterdir()} - {"README.md"}
    assert set(re.findall(r"(?<![\w/])`([a-z]+\.(?:conf|acl))`", text)) - {"nodes.conf"} == files


async def test_tls_is_what_the_file_shows(tmp_path: Path) -> None:
    """With the lines for TLS in place of the port: TLS is spoken, and nothing else."""
    authority = Authority(tmp_path / "tls")
    for name in FILES:
        async with configured(tmp_path / name, name, tls=authority) as server:
            assert await server.call("PING")
            with pytest.raises(redis.exceptions.ConnectionError):
                await server.call("PING", ssl=False)


@pytest.mark.parametrize("engine", ENGINES)
async def test_the_death_of_redis_forgets_nothing_that_was_answered(
    engine: Engine, tmp_path: Path
) -> None:
    """What was answered had been written to the file before, if not to the disk."""
    async with configured(tmp_path, "single", engine=engine) as server:
        async with server.client() as client:
            for number in range(200):
                await client.set(f"tusd:{number}", number)
        await server.restart(kill=True)
        assert await server.call("DBSIZE") == 200


@pytest.mark.parametrize("way", ["TCP", "a Unix socket", "TLS"])
async def test_an_upload_through_a_single_redis(way: str, tmp_path: Path) -> None:
    """With single.conf, as the user of the file: created, interrupted, gone on with, complete."""
    authority = Authority(tmp_path / "tls") if way == "TLS" else None
    async with configured(tmp_path / "redis", "single", tls=authority) as server:
        state: dict[str, object] = {"url": server.url}
        if way == "a Unix socket":
            state = {"url": f"unix://{server.sockets}/redis.sock"}
        elif authority is not None:
            state["tls_ca_file"] = str(authority.trusted)
        await upload_with(state, tmp_path / "site")
        assert await server.call("DBSIZE") > 0


async def upload_with(state: Mapping[str, object], directory: Path) -> None:
    """One file in two pieces, to a server with its state there."""
    login = {"username": "tusd", "password": PASSWORDS["tusd"]}
    settings = {
        "state": {"kind": "redis", **login, **state},
        "process": {"host_name": "machine-1"},
    }
    async with serving(directory, settings) as server, aiohttp.ClientSession() as session:
        await upload(session, server, patience_seconds=20)
        assert not [one for one in server.logs if one.get("level") == "error"]


async def upload(
    session: aiohttp.ClientSession, server: Server, *, patience_seconds: float
) -> None:
    """As a client does that tries again for so long."""
    head = {"Tus-Resumable": "1.0.0"}
    pairs = tus.video_metadata(server.mint(), "1001", "7")
    create = {"Upload-Length": "10", "Upload-Metadata": tus.encode_metadata(pairs)}

    async with asyncio.timeout(patience_seconds):
        answer = await until_taken(session, "POST", server.endpoint, head | create)
        url = answer.headers["Location"]
        for offset, piece in ((0, b"01234"), (5, b"56789")):
            append = {"Upload-Offset": str(offset), "Content-Type": tus.OFFSET_STREAM}
            await until_taken(session, "PATCH", url, head | append, piece)
            seen = await until_taken(session, "HEAD", url, head)
            assert seen.headers["Upload-Offset"] == str(offset + len(piece))
    assert stored_bytes(server, url) == b"0123456789"


async def until_taken(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    headers: Mapping[str, str],
    data: bytes | None = None,
) -> aiohttp.ClientResponse:
    """The answer, once it is neither "try again" nor "away"."""
    while True:
        async with session.request(method, url, headers=headers, data=data) as answer:
            if answer.status not in (423, 503):
                assert answer.ok, await answer.text()
                return answer


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
        sentinels = [f"{host}:{port}" for host, port in group.addresses]
        await upload_with({"sentinels": sentinels, "master_name": MASTER}, tmp_path / "site")


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
        nodes = [f"{host}:{port}" for host, port in cluster.addresses]
        await upload_with({"cluster_nodes": nodes}, tmp_path / "site")


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
