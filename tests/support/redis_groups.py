"""Sets of real Redis servers: a cluster, and masters whom sentinels watch."""

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Self

import redis

from tests.support.redis_engines import Engine
from tests.support.redis_servers import (
    HOST,
    RIG_PASSWORD,
    RIG_USER,
    Config,
    RedisServer,
    eventually,
)
from tests.support.sockets import quiet_port

SLOTS: Final = 16_384
BUS_OFFSET: Final = 10_000
FORM_SECONDS: Final = 30.0
FAILOVER_SECONDS: Final = 30.0
MASTER: Final = "mymaster"
AWAY: Final = (redis.exceptions.RedisError, OSError)


class RedisCluster:
    """Masters and their replicas; roles change as they fail over."""

    def __init__(self, nodes: Sequence[RedisServer], masters: int) -> None:
        self.nodes = tuple(nodes)
        self._masters = masters
        """How many there are while all is well."""
        self.owners: Sequence[RedisServer] = ()
        """The master of each slot, as of when it was healthy last."""

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return [(node.host, node.port) for node in self.nodes]

    async def masters(self) -> list[RedisServer]:
        """Those that run, serve slots and say that they are masters."""
        told = await asyncio.gather(*(_role(node) for node in self.nodes))
        return [node for node, role in zip(self.nodes, told, strict=True) if role == "master"]

    async def replica_of(self, master: RedisServer) -> RedisServer:
        """One that runs and is in step."""
        told = await master.info("replication")
        for number in range(int(told["connected_slaves"])):
            for node in self.nodes:
                replica = told[f"slave{number}"]
                if node.port == int(replica["port"]) and replica["state"] == "online":
                    return node
        raise AssertionError(f"{master.address} has no replica: {told}")

    async def slot_owners(self) -> list[RedisServer]:
        """The master of each slot."""
        by_port = {node.port: node for node in self.nodes}
        owners: dict[int, RedisServer] = {}
        for first, last, served_by, *_ in await _text(
            (await self.masters())[0], "CLUSTER", "SLOTS"
        ):
            owners |= dict.fromkeys(range(first, last + 1), by_port[int(served_by[1])])
        return [owners[slot] for slot in range(SLOTS)]

    async def master_of(self, slot: int) -> RedisServer:
        return (await self.slot_owners())[slot]

    async def fail_over(self, master: RedisServer, *, by_vote: bool = True) -> RedisServer:
        """Its replica takes over in an orderly way, nothing is lost; the new master.

        Other masters vote for replicas of one master only once in two node timeouts. Without their
        vote the replica takes over once it is in step: nobody may write meanwhile.
        """
        replica = await self.replica_of(master)
        if not by_vote:
            await self._in_step(replica, master)
        await replica.call("CLUSTER", "FAILOVER", *([] if by_vote else ["TAKEOVER"]))
        await eventually(lambda: _is(replica, "master"), "no fail-over", seconds=FAILOVER_SECONDS)
        await self.healthy()
        return replica

    async def _in_step(self, replica: RedisServer, master: RedisServer) -> None:
        written = (await master.info("replication"))["master_repl_offset"]

        async def is_in_step() -> bool:
            told = await replica.info("replication")
            return bool(told["slave_repl_offset"] >= written)

        await eventually(is_in_step, "the replica is behind", seconds=FAILOVER_SECONDS)

    async def healthy(self, *, seconds: float = FORM_SECONDS) -> None:
        """Wait until every node that runs sees all slots served and, where all run, every
        replica is in step."""
        nodes = [node for node in self.nodes if node.runs]
        complete = len(nodes) == len(self.nodes)

        async def is_healthy() -> bool:
            told = await asyncio.gather(*(_cluster_state(node) for node in nodes))
            if {one.get("cluster_state") for one in told} != {"ok"}:
                return False
            if len({one["cluster_current_epoch"] for one in told}) > 1:
                return False
            roles = await asyncio.gather(*(_role(node) for node in nodes))
            if roles.count("master") != self._masters:
                return False
            return not complete or "syncing" not in roles

        await eventually(is_healthy, "the cluster is not whole", seconds=seconds)
        self.owners = await self.slot_owners()

    async def flush(self) -> None:
        """Forget all data."""
        await asyncio.gather(*(node.call("FLUSHALL") for node in await self.masters()))

    def close(self) -> None:
        """Kill all, without an event loop."""
        for node in self.nodes:
            node.close()


async def make_cluster(
    folder: Path,
    *,
    masters: int = 3,
    replicas: int = 3,
    engine: Engine = "7",
    node_timeout_ms: int = 1000,
    config: Config | None = None,
    **options: Any,
) -> RedisCluster:
    """A cluster that serves; the caller closes it."""
    chosen: Config = {
        "cluster-enabled": "yes",
        "cluster-config-file": "nodes.conf",
        "cluster-node-timeout": node_timeout_ms,
        # A replica may take over however long it was out of touch: tests kill masters early.
        "cluster-replica-validity-factor": 0,
        **replica_login(options.get("acl", ())),
        **(config or {}),
    }
    nodes = [
        RedisServer(folder / f"node{n}", engine=engine, port=bus_port(), config=chosen, **options)
        for n in range(masters + replicas)
    ]
    cluster = RedisCluster(nodes, masters)
    try:
        await asyncio.gather(*(node.start() for node in nodes))
        await _join(nodes, masters)
        await cluster.healthy()
    except BaseException:
        await asyncio.to_thread(cluster.close)
        raise
    return cluster


def replica_login(acl: Sequence[str]) -> Config:
    """A replica logs in to its master as the rig, where there are users."""
    return {"masteruser": RIG_USER, "masterauth": RIG_PASSWORD} if acl else {}


async def _join(nodes: Sequence[RedisServer], masters: int) -> None:
    """Slots to the masters, everybody introduced to everybody, a master for each replica."""
    names = [str(await _text(node, "CLUSTER", "MYID")) for node in nodes]
    for number, node in enumerate(nodes):
        await node.call("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        if number < masters:
            first, end = (SLOTS * n // masters for n in (number, number + 1))
            await node.call("CLUSTER", "ADDSLOTS", *range(first, end))
        for other in nodes[:number]:
            await node.call("CLUSTER", "MEET", other.host, other.port)

    async def all_are_known() -> bool:
        for node in nodes:
            known = str(await _text(node, "CLUSTER", "NODES"))
            if "handshake" in known or any(name not in known for name in names):
                return False
        return True

    await eventually(all_are_known, "the nodes do not meet", seconds=FORM_SECONDS)
    for number, node in enumerate(nodes[masters:]):
        await node.call("CLUSTER", "REPLICATE", names[number % masters])


@asynccontextmanager
async def redis_cluster(
    folder: Path, masters: int = 3, replicas: int = 3, **options: Any
) -> AsyncIterator[RedisCluster]:
    """A cluster that serves; killed at the end. Options: see ``make_cluster``."""
    cluster = await make_cluster(folder, masters=masters, replicas=replicas, **options)
    try:
        yield cluster
    finally:
        await asyncio.to_thread(cluster.close)


class SentinelServer(RedisServer):
    """One sentinel."""

    def __init__(self, folder: Path, lines: Sequence[str], name: str, engine: Engine) -> None:
        super().__init__(folder, engine=engine, arguments=("--sentinel",), ready="Sentinel ID is")
        self.name = name
        """Its id: 40 hex digits."""
        self.watches = list(lines)

    async def start(self) -> Self:
        """Start it. Where it can be told to, it looks at servers each half second, not each ten."""
        await super().start()
        if self.engine == "7":
            await self.call("SENTINEL", "DEBUG", "INFO-PERIOD", 500, "PUBLISH-PERIOD", 250)
        return self

    def _lines(self) -> list[str]:
        return [
            f"port {self.port}",
            f"bind {HOST}",
            "protected-mode no",
            f'dir "{self.folder}"',
            f"sentinel myid {self.name}",
            *self.watches,
        ]


class RedisSentinel:
    """A master, its replicas, and the sentinels that choose who is master."""

    def __init__(self, servers: Sequence[RedisServer], sentinels: Sequence[SentinelServer]) -> None:
        self.servers = tuple(servers)
        self.sentinels = tuple(sentinels)
        self.name = MASTER

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Of the sentinels."""
        return [(one.host, one.port) for one in self.sentinels]

    async def master(self) -> RedisServer:
        """Whom the sentinels that run name, all of them."""
        named = set()
        for sentinel in self.sentinels:
            if sentinel.runs:
                told = await _text(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name)
                named.add(int(told[1]))
        if len(named) != 1:
            raise AssertionError(f"the sentinels name {named}")
        port = named.pop()
        return next(server for server in self.servers if server.port == port)

    async def failed_over(
        self, before: RedisServer, *, seconds: float = FAILOVER_SECONDS
    ) -> RedisServer:
        """Wait until the sentinels name another master and it is one; who it is."""
        now = before

        async def is_another() -> bool:
            nonlocal now
            try:
                now = await self.master()
            except AssertionError:
                return False  # they do not agree yet
            return now is not before and await _is(now, "master")

        await eventually(is_another, "no fail-over", seconds=seconds)
        return now

    async def fail_over(self) -> RedisServer:
        """As an operator orders it; the new master."""
        before = await self.master()

        async def is_accepted() -> bool:
            try:
                await self.sentinels[0].call("SENTINEL", "FAILOVER", self.name)
            except redis.exceptions.ResponseError:
                return False  # it has not looked at the replica for a while
            return True

        await eventually(is_accepted, "no fail-over begins", seconds=FORM_SECONDS)
        return await self.failed_over(before)

    async def healthy(self, *, seconds: float = FORM_SECONDS) -> None:
        """Wait until all that run know each other and replicas are in step."""
        sentinels = [one for one in self.sentinels if one.runs]
        servers = [one for one in self.servers if one.runs]

        async def is_healthy() -> bool:
            for sentinel in sentinels:
                told = _pairs(await _text(sentinel, "SENTINEL", "MASTER", self.name))
                if told["flags"] != "master":
                    return False
                if int(told["num-other-sentinels"]) < len(sentinels) - 1:
                    return False
                # All have to agree about replicas: one that does not know yet that an old master
                # follows a new one makes it follow once more, in the middle of anything.
                replicas = map(_pairs, await _text(sentinel, "SENTINEL", "REPLICAS", self.name))
                if sum(map(_is_in_step, replicas)) < len(servers) - 1:
                    return False
            roles = await asyncio.gather(*(_role(server) for server in servers))
            return sorted(roles) == ["master"] + ["replica"] * (len(servers) - 1)

        await eventually(is_healthy, "the sentinels' set is not whole", seconds=seconds)


@asynccontextmanager
async def redis_sentinel(
    folder: Path,
    *,
    replicas: int = 1,
    sentinels: int = 3,
    down_after_ms: int = 1000,
    engine: Engine = "7",
    config: Config | None = None,
    **options: Any,
) -> AsyncIterator[RedisSentinel]:
    """A master with replicas, and sentinels that all agree on it; killed at the end."""
    async with AsyncExitStack() as stack:
        servers: list[RedisServer] = []
        for n in range(1 + replicas):
            follows: Mapping[str, str | int | Path] = (
                {"replicaof": f"{HOST} {servers[0].port}"} if servers else {}
            )
            chosen = {**follows, **replica_login(options.get("acl", ())), **(config or {})}
            server = RedisServer(folder / f"server{n}", engine=engine, config=chosen, **options)
            stack.push_async_callback(asyncio.to_thread, server.close)
            servers.append(await server.start())
        watching = _sentinels(folder, servers, sentinels, down_after_ms, engine)
        made = RedisSentinel(servers, watching)
        for one in watching:
            stack.push_async_callback(asyncio.to_thread, one.close)
        await asyncio.gather(*(one.start() for one in watching))
        await made.healthy()
        yield made


def _sentinels(
    folder: Path, servers: Sequence[RedisServer], count: int, down_after_ms: int, engine: Engine
) -> list[SentinelServer]:
    """Told of each other beforehand, as after a restart: to find out takes them seconds."""
    login = [
        f"sentinel auth-user {MASTER} {RIG_USER}",
        f"sentinel auth-pass {MASTER} {RIG_PASSWORD}",
    ]
    watch = [
        f"sentinel monitor {MASTER} {HOST} {servers[0].port} {count // 2 + 1}",
        f"sentinel down-after-milliseconds {MASTER} {down_after_ms}",
        f"sentinel failover-timeout {MASTER} {10 * down_after_ms}",
        f"sentinel parallel-syncs {MASTER} 1",
        *(login if servers[0].acl else []),
        *(f"sentinel known-replica {MASTER} {HOST} {one.port}" for one in servers[1:]),
    ]
    made = [
        SentinelServer(folder / f"sentinel{n}", watch, secrets.token_hex(20), engine)
        for n in range(count)
    ]
    for one in made:
        one.watches += [
            f"sentinel known-sentinel {MASTER} {HOST} {other.port} {other.name}"
            for other in made
            if other is not one
        ]
    return made


async def _role(server: RedisServer) -> str:
    """``master``, ``replica`` (in step), ``syncing``, or ``away``."""
    try:
        told = await server.info("replication")
    except AWAY:
        return "away"
    if told["role"] == "master":
        return "master"
    return "replica" if told["master_link_status"] == "up" else "syncing"


async def _is(server: RedisServer, role: str) -> bool:
    return await _role(server) == role


async def _cluster_state(node: RedisServer) -> dict[str, str]:
    try:
        text = str(await _text(node, "CLUSTER", "INFO"))
    except AWAY:
        return {}
    return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)


def _pairs(flat: Sequence[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _is_in_step(replica: Mapping[str, str]) -> bool:
    """As a sentinel sees it."""
    return (replica["flags"], replica["role-reported"], replica["master-link-status"]) == (
        "slave",
        "slave",
        "ok",
    )


async def _text(server: RedisServer, *words: Any) -> Any:
    """An answer as the server gave it, not taken apart by the library."""
    async with server.client(decode_responses=True, protocol=2) as client:
        client.response_callbacks.clear()
        return await client.execute_command(*words)  # type: ignore[no-untyped-call]


def bus_port() -> int:
    """A port for a node of a cluster: the one of its bus, 10 000 above, is quiet, too."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = quiet_port()
        if port + BUS_OFFSET < lowest and _is_free(port + BUS_OFFSET):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
