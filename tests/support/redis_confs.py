"""Redis and Valkey servers that run with the files of ``conf/redis``.

Of each file only what is specific to a site is changed: addresses, directories, passwords.
"""

import asyncio
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from tests.support.proxies import changed
from tests.support.redis_engines import Engine
from tests.support.redis_groups import RedisCluster, RedisSentinel, SentinelServer, bus_port
from tests.support.redis_servers import HOST, Authority, RedisServer
from tests.support.server import REPOSITORY

CONF: Final = REPOSITORY / "conf" / "redis"
ENGINES: Final[tuple[Engine, ...]] = ("6.2", "7", "valkey")
FILES: Final = ("single", "replicated", "cluster")
MASTER: Final = "tusd"
"""What sentinel.conf calls the master."""
PASSWORDS: Final[Mapping[str, str]] = {
    user: f"what-only-{user}-knows" for user in ("operator", "tusd", "replica", "sentinel")
}
NOBODYS: Final = "#" + 64 * "0"
SECONDS: Final = 30.0


def users_acl(passwords: Mapping[str, str] = PASSWORDS) -> str:
    """conf/redis/users.acl with passwords of these users."""
    text = (CONF / "users.acl").read_text()
    for user, password in passwords.items():
        line = f"user {user} on "
        assert text.count(line + NOBODYS) == 1, user
        digest = hashlib.sha256(password.encode()).hexdigest()
        text = text.replace(line + NOBODYS, f"{line}#{digest}")
    return text


class Configured(RedisServer):
    """A server with one of the files; the rig is its operator."""

    def __init__(
        self, folder: Path, name: str, *, engine: Engine = "7", tls: Authority | None = None
    ) -> None:
        super().__init__(folder, engine=engine, tls=tls, port=bus_port())
        self.name = name
        # A path of pytest's is easily too long for a socket.
        self.sockets = Path(tempfile.mkdtemp(prefix="redis-"))
        (folder / "users.acl").write_text(users_acl())

    def close(self) -> None:
        super().close()
        shutil.rmtree(self.sockets, ignore_errors=True)

    def _how(self) -> dict[str, Any]:
        login = {"username": "operator", "password": PASSWORDS["operator"]}
        return super()._how() | login

    def _lines(self) -> list[str]:
        changes = {
            "\nport 6379\n": f"\nport {self.port}\n",
            "\ndir /var/lib/redis\n": f"\ndir {self.folder}\n",
            "\naclfile /etc/redis/": f"\naclfile {self.folder}/",
        }
        if self.name == "single":
            changes["\nunixsocket /run/redis/"] = f"\nunixsocket {self.sockets}/"
        else:
            changes["\nbind 10.0.0.1\n"] = f"\nbind {HOST}\n"
            own = PASSWORDS["replica"]
            changes["\nmasterauth the-password-of-replica\n"] = f"\nmasterauth {own}\n"
        text = changed(f"redis/{self.name}.conf", changes)
        return (text if self.tls is None else self._with_tls(text)).splitlines()

    def _with_tls(self, text: str) -> str:
        """What the file shows for TLS, in place of plain TCP."""
        assert self.tls is not None
        text = re.sub(r"(?m)^#(tls-\w|port 0$)", r"\1", text).replace(f"\nport {self.port}\n", "\n")
        return (
            text.replace("\ntls-port 6379\n", f"\ntls-port {self.port}\n")
            .replace("/etc/redis/tls/redis.crt", str(self.tls.certificate))
            .replace("/etc/redis/tls/redis.key", str(self.tls.key))
            .replace("/etc/redis/tls/ca.crt", str(self.tls.trusted))
        )


class ConfiguredSentinel(SentinelServer):
    """A sentinel with sentinel.conf."""

    def __init__(self, folder: Path, master: RedisServer) -> None:
        super().__init__(folder, (), "", "7")
        self.master = master

    def _lines(self) -> list[str]:
        own = PASSWORDS["sentinel"]
        changes = {
            "\nbind 10.0.0.1\n": f"\nbind {HOST}\n",
            "\nport 26379\n": f"\nport {self.port}\n",
            "\ndir /var/lib/redis\n": f"\ndir {self.folder}\n",
            f" {MASTER} 10.0.0.1 6379 ": f" {MASTER} {HOST} {self.master.port} ",
            "the-password-of-sentinel": own,
        }
        return changed("redis/sentinel.conf", changes).splitlines()


@asynccontextmanager
async def configured(
    folder: Path, name: str, *, engine: Engine = "7", tls: Authority | None = None
) -> AsyncIterator[Configured]:
    """A server that runs with this file; killed at the end."""
    server = Configured(folder, name, engine=engine, tls=tls)
    try:
        await server.start()
        yield server
    finally:
        await asyncio.to_thread(server.close)


@asynccontextmanager
async def configured_sentinel(folder: Path) -> AsyncIterator[RedisSentinel]:
    """A master, two replicas and three sentinels, as README.md there says."""
    async with AsyncExitStack() as stack:
        servers: list[Configured] = []
        for number in range(3):
            server = Configured(folder / f"server{number}", "replicated")
            stack.push_async_callback(asyncio.to_thread, server.close)
            servers.append(server)
            await server.start()
            if number:
                # What --replicaof does the first time, and survives restarts.
                await server.call("REPLICAOF", HOST, servers[0].port)
                await server.call("CONFIG", "REWRITE")
        sentinels = [
            ConfiguredSentinel(folder / f"sentinel{number}", servers[0]) for number in range(3)
        ]
        made = RedisSentinel(servers, sentinels)
        made.name = MASTER
        for one in sentinels:
            stack.push_async_callback(asyncio.to_thread, one.close)
            await one.start()
        await made.healthy()
        yield made


@asynccontextmanager
async def configured_cluster(folder: Path) -> AsyncIterator[RedisCluster]:
    """Three masters and their replicas, made by the command that cluster.conf shows."""
    nodes = [Configured(folder / f"node{number}", "cluster") for number in range(6)]
    cluster = RedisCluster(nodes, 3)
    try:
        await asyncio.gather(*(node.start() for node in nodes))
        await create_cluster(nodes)
        await cluster.healthy()
        yield cluster
    finally:
        await asyncio.to_thread(cluster.close)


async def create_cluster(nodes: Sequence[RedisServer]) -> None:
    command = ["redis-cli", "--user", "operator", "--cluster", "create"]
    command += [node.address for node in nodes]
    process = await asyncio.create_subprocess_exec(
        *command,
        *("--cluster-replicas", "1", "--cluster-yes"),
        env=dict(os.environ) | {"REDISCLI_AUTH": PASSWORDS["operator"]},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(SECONDS):
        told, _ = await process.communicate()
    assert process.returncode == 0, told.decode()


def directives(name: str) -> list[tuple[str, str]]:
    """The lines of a file that count, in order: first word, rest."""
    found = []
    for line in (CONF / f"{name}.conf").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            word, _, rest = line.partition(" ")
            found.append((word, rest))
    return found
