"""Connections as the settings want them: sockets, TLS, users; and who is not talked to."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from redis.exceptions import ReadOnlyError

from tests.redis.links import ECHO, GET, PUT, link_to, settings_for
from tests.support.redis_engines import Engine
from tests.support.redis_servers import Authority, RedisServer, redis_server
from tusd_py.state.base import StateError
from tusd_py.state.redis.connect import Address, Dialer
from tusd_py.state.redis.settings import RedisSettings

PASSWORD = "open, sesame/@:%"
QUICK: dict[str, Any] = {"call_seconds": 1.0, "connect_seconds": 0.5, "retry_cap_seconds": 0.1}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


async def answers(settings: RedisSettings) -> None:
    """It opens, and a call is answered."""
    async with link_to(settings) as link:
        assert await link.call(ECHO, 1, "x") == [b"tusd:{01}", b"x"]


async def refusal(settings: RedisSettings) -> str:
    """Why it does not open."""
    with pytest.raises(StateError) as refused:
        await answers(settings)
    return str(refused.value)


@pytest.mark.parametrize("engine", ["6.2", "7", "valkey"])
async def test_a_unix_socket_serves_as_well(tmp_path: Path, engine: Engine) -> None:
    """Its path stands in the URL."""
    async with redis_server(tmp_path / "redis", engine=engine, unix=True) as server:
        await answers(RedisSettings.model_validate({"url": f"unix://{server.socket}"}))
        gone = {"url": f"unix://{server.socket}-not", **QUICK}
        assert "cannot be reached at /" in await refusal(RedisSettings.model_validate(gone))


async def test_a_certificate_of_a_known_authority_is_believed(
    tmp_path: Path, authority: Authority
) -> None:
    """And by nothing but TLS is spoken."""
    async with redis_server(tmp_path / "redis", tls=authority) as server:
        await answers(settings_for(server, tls_ca_file=authority.trusted))
        plain = RedisSettings.model_validate({"url": f"redis://{server.address}", **QUICK})
        assert "cannot be reached" in await refusal(plain)


async def test_a_certificate_of_an_unknown_authority_is_refused(
    tmp_path: Path, authority: Authority
) -> None:
    """With what to set; the system's authorities do not know it, nor does another one."""
    other = Authority(tmp_path / "other")
    async with redis_server(tmp_path / "redis", tls=authority) as server:
        for more in ({}, {"tls_ca_file": other.trusted}):
            told = await refusal(settings_for(server, **QUICK, **more))
            assert "state.tls_ca_file" in told
            assert "certificate" in told


async def test_a_certificate_of_another_host_is_refused_unless_told_not_to_look(
    tmp_path: Path, authority: Authority
) -> None:
    """Whoever has a certificate of the authority could stand in for Redis."""
    wrong = trustme.CA()
    blob = wrong.issue_cert("elsewhere.example")
    authority.trusted.unlink()
    wrong.cert_pem.write_to_path(str(authority.trusted))
    authority.key.unlink()
    blob.private_key_pem.write_to_path(str(authority.key))
    authority.certificate.unlink()
    blob.cert_chain_pems[0].write_to_path(str(authority.certificate))
    server = RedisServer(tmp_path / "redis", tls=authority)
    # The rig would check the name, too.
    server.answers = lambda **_: asyncio.sleep(0)  # type: ignore[method-assign]
    try:
        await server.start()
        trusting = {"tls_ca_file": authority.trusted, **QUICK}
        assert "names another host" in await refusal(settings_for(server, **trusting))
        await answers(settings_for(server, tls_check_host_name=False, **trusting))
    finally:
        await asyncio.to_thread(server.close)


async def test_redis_may_want_a_certificate_of_ours(tmp_path: Path, authority: Authority) -> None:
    """Without one it is refused."""
    config = {"tls-auth-clients": "yes"}
    async with redis_server(tmp_path / "redis", tls=authority, config=config) as server:
        trusting = {"tls_ca_file": authority.trusted, **QUICK}
        await answers(settings_for(server, tls_cert_file=authority.client, **trusting))
        assert await refusal(settings_for(server, **trusting))


@pytest.mark.parametrize("kind", ["tls_ca_file", "tls_cert_file", "password_file"])
async def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, authority: Authority, kind: str
) -> None:
    """Before anybody is connected to."""
    file = tmp_path / "no-such.pem"
    base = {"url": "rediss://127.0.0.1:1", "tls_ca_file": authority.trusted}
    told = await refusal(RedisSettings.model_validate(base | {kind: file}))
    assert str(file) in told
    file.write_text("")
    assert str(file) in await refusal(RedisSettings.model_validate(base | {kind: file}))


@pytest.mark.parametrize("engine", ["6.2", "7", "valkey"])
async def test_a_password_is_told_however_it_was_given(tmp_path: Path, engine: Engine) -> None:
    """In the URL with its characters escaped, as itself, or in a file; for users of an ACL, too."""
    file = tmp_path / "password"
    file.write_text(f" {PASSWORD} \n")
    escaped = "open%2C%20sesame%2F%40%3A%25"
    rules = [f"user who on #{sha256(PASSWORD)} ~tusd:* resetchannels &tusd:* +@all"]
    async with redis_server(tmp_path / "redis", engine=engine, acl=rules) as server:
        plain = f"redis://{server.address}"
        for given in (
            {"url": f"redis://who:{escaped}@{server.address}"},
            {"url": plain, "username": "who", "password": PASSWORD},
            {"url": plain, "username": "who", "password_file": file},
            {"url": f"redis://who@{server.address}", "password_file": file},
        ):
            await answers(RedisSettings.model_validate(given))


async def test_a_password_of_the_default_user_needs_no_name(tmp_path: Path) -> None:
    """``requirepass``."""
    async with guarded(tmp_path) as url:
        await answers(RedisSettings.model_validate({"url": url, "password": PASSWORD}))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "wants a password"),
        ({"password": "wrong"}, "the password is wrong"),
        ({"username": "nobody", "password": PASSWORD}, "does not know the user"),
        ({"username": "nobody"}, "no password for it"),
    ],
)
async def test_who_is_not_let_in_is_told_why(
    tmp_path: Path, given: dict[str, str], told: str
) -> None:
    """Without a word of the password."""
    async with guarded(tmp_path) as url:
        sentence = await refusal(RedisSettings.model_validate({"url": url, **QUICK, **given}))
        assert told in sentence
        assert PASSWORD not in sentence
        assert "wrong" not in sentence.replace("the password is wrong", "")


async def test_another_database_keeps_its_keys_apart(tmp_path: Path) -> None:
    """By the URL or by its own setting."""
    async with redis_server(tmp_path / "redis") as server:
        url = f"redis://{server.address}"
        async with link_to(RedisSettings.model_validate({"url": f"{url}/3"})) as link:
            await link.call(PUT, 0, "x")
        async with link_to(RedisSettings.model_validate({"url": url, "database": 3})) as link:
            assert await link.call(GET, 0) == b"x"
        async with link_to(RedisSettings.model_validate({"url": url})) as link:
            assert await link.call(GET, 0) is None


async def test_another_host_name_than_an_address_serves_as_well(tmp_path: Path) -> None:
    """It is looked up in a thread."""
    async with redis_server(tmp_path / "redis") as server:
        await answers(RedisSettings.model_validate({"url": f"redis://localhost:{server.port}"}))


async def test_a_replica_is_no_place_to_start(tmp_path: Path) -> None:
    """It says where to go instead."""
    async with (
        redis_server(tmp_path / "master") as master,
        redis_server(tmp_path / "replica", config={"replicaof": f"127.0.0.1 {master.port}"}) as it,
    ):
        settings = settings_for(it, **QUICK)
        told = await refusal(settings)
        assert "replica" in told
        assert "address of the master" in told
        # No script is sent there.
        dialer = Dialer(settings)
        await dialer.prepare()
        with pytest.raises(ReadOnlyError):
            await dialer.dial_master(Address(it.host, it.port))


async def test_a_node_of_a_cluster_is_no_single_server(tmp_path: Path) -> None:
    """And a single server is no node; each says which setting is meant."""
    async with redis_server(tmp_path / "node", config={"cluster-enabled": "yes"}) as node:
        told = await refusal(settings_for(node, **QUICK))
        assert "state.cluster_nodes" in told
    async with redis_server(tmp_path / "single") as single:
        settings = RedisSettings.model_validate({"cluster_nodes": [single.address], **QUICK})
        assert "state.url" in await refusal(settings)


@pytest.mark.parametrize("version", ["6.0.20", "5.0.14", "2.8", "nonsense"])
async def test_a_server_that_is_too_old_is_refused_at_once(version: str) -> None:
    """With its version and the one that is needed."""
    async with pretending(f"redis_version:{version}\r\nrole:master\r\n") as url:
        settings = RedisSettings.model_validate({"url": url, "call_seconds": 30})
        async with asyncio.timeout(10):
            told = await refusal(settings)
        assert f"of version {version}: version 6.2 is needed" in told


async def test_a_server_that_still_loads_is_waited_for(tmp_path: Path) -> None:
    """Within the time of a call; then it says so."""
    async with pretending("redis_version:7.0.0\r\nloading:1\r\n") as url:
        told = await refusal(RedisSettings.model_validate({"url": url, **QUICK}))
        assert "still loading" in told


async def test_a_server_without_a_connection_to_spare_is_told_of(tmp_path: Path) -> None:
    """It is not down: its limit is reached."""
    async with redis_server(tmp_path / "redis") as server:
        async with server.client() as first:
            await first.config_set("maxclients", 1)
            told = await refusal(settings_for(server, **QUICK))
            await first.config_set("maxclients", 100)
        assert "maxclients" in told
        await answers(settings_for(server))


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@asynccontextmanager
async def guarded(tmp_path: Path) -> AsyncIterator[str]:
    """A server whose default user has a password; its address."""
    async with redis_server(tmp_path / "redis", acl=["user nobody-else off"]) as server:
        rules = ["reset", "on", f"#{sha256(PASSWORD)}", "~*", "&*", "+@all"]
        await server.call("ACL", "SETUSER", "default", *rules)
        yield f"redis://{server.address}"


@asynccontextmanager
async def pretending(info: str) -> AsyncIterator[str]:
    """Something that answers whatever it is asked with this INFO; its address."""
    answer = f"${len(info)}\r\n{info}\r\n".encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(65536):
                writer.write(answer)
                await writer.drain()
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        host, port = listening.sockets[0].getsockname()
        yield f"redis://{host}:{port}"
