"""Real Redis and Valkey servers on loopback, in temporary folders, killed and started again.

``redis_server`` is one server; ``redis_groups`` makes a cluster or a set with sentinels of them.
What is missing fails with ``NoEngine``: nothing is skipped.
"""

import asyncio
import shutil
import signal
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Self

import redis
import redis.asyncio
import trustme
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.redis_engines import (
    START_SECONDS,
    Engine,
    EngineClock,
    EngineDied,
    EngineProcess,
    NoEngine,
    program_of,
)
from tests.support.sockets import quiet_port

HOST: Final = "127.0.0.1"
READY: Final = "eady to accept connections"
CALL_SECONDS: Final = 10.0
RIG_USER: Final = "rig"
RIG_PASSWORD: Final = "the-rig-may-do-everything"
LOOK_SECONDS: Final = 0.02
"""Between two looks at what tells nobody that it has changed."""
TRIES: Final = 5
Config = Mapping[str, str | int | Path]


class Authority:
    """Makes certificates for servers on loopback, and says which file trusts them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA()
        server = authority.issue_cert(HOST, "localhost")
        self.trusted = folder / "ca.pem"
        self.certificate = folder / "server.pem"
        self.key = folder / "server.key"
        authority.cert_pem.write_to_path(str(self.trusted))
        server.private_key_pem.write_to_path(str(self.key))
        for number, blob in enumerate(server.cert_chain_pems):
            blob.write_to_path(str(self.certificate), append=number > 0)
        client = authority.issue_cert("client@example.org")
        self.client = folder / "client.pem"
        """Key and certificate of a client, for servers that demand one."""
        client.private_key_and_cert_chain_pem.write_to_path(str(self.client))


class RedisServer:
    """One server; its folder and its address outlive it."""

    def __init__(
        self,
        folder: Path,
        *,
        engine: Engine = "7",
        port: int | None = None,
        unix: bool = False,
        tls: Authority | None = None,
        acl: Sequence[str] = (),
        persistent: bool = False,
        clock: EngineClock | None = None,
        config: Config | None = None,
        arguments: Sequence[str] = (),
        ready: str = READY,
    ) -> None:
        """``unix``: at a socket, too. ``tls``: nothing is spoken in the clear. ``acl``: lines of
        an ACL file; with one the default user may do nothing (it may be allowed to by a line of
        it) and the rig has a user of its own. ``persistent``: with an append-only file, written
        before each answer. ``config``: lines of redis.conf, which win."""
        assert clock is None or engine == "6.2", "only engine 6.2 lets its clock be moved"
        if tls is not None and engine != "7":
            raise NoEngine(f"engine {engine} was built without TLS")
        self.folder = folder
        self.engine: Engine = engine
        self.tls = tls
        self.clock = clock
        self.persistent = persistent
        self.acl = tuple(acl)
        self.host = HOST
        self.port = port or quiet_port()
        # A path of pytest's is easily too long for a socket.
        self._sockets = Path(tempfile.mkdtemp(prefix="redis-")) if unix else None
        self.socket = self._sockets / "s" if self._sockets else None
        self._may_move = port is None
        self._written_for = 0
        self._config = dict(config or {})
        self._ready = ready
        folder.mkdir(parents=True, exist_ok=True)
        self._process = EngineProcess(
            [program_of(engine), str(folder / "redis.conf"), *arguments],
            clock.environment() if clock else {},
        )

    # --- starting and ending

    async def start(self) -> Self:
        """Start it and wait until it answers. Raises EngineDied."""
        for attempt in range(TRIES):
            self._write_config()
            self._process.spawn()
            try:
                await self._process.logged(self._ready)
                break
            except EngineDied as error:
                # Another rig was faster to take the port that was free a moment ago.
                is_taken = "Address already in use" in str(error)
                if not (is_taken and self._may_move and attempt + 1 < TRIES):
                    await self.kill9()
                    raise
                await self.kill9()
                self.port = quiet_port()
        self._may_move = False
        await self.answers()
        return self

    async def answers(self, *, seconds: float = START_SECONDS) -> None:
        """Wait until it answers PING (or says that it wants a login)."""

        async def does_answer() -> bool:
            try:
                return bool(await self.call("PING"))
            except redis.exceptions.ConnectionError:
                return False

        await eventually(does_answer, f"{self.address} does not answer", seconds=seconds)

    async def kill9(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._process.signal(signal.SIGKILL)
        await asyncio.to_thread(self._process.reap)

    async def stop(self) -> None:
        """SIGTERM, and wait until it has ended (replicas get a moment to catch up)."""
        self._process.signal(signal.SIGTERM)
        await asyncio.to_thread(self._process.reap)

    async def restart(self, *, kill: bool = False) -> Self:
        """End it, by SIGTERM or SIGKILL, and start it: same folder, same address."""
        if self.runs:
            await (self.kill9() if kill else self.stop())
        return await self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open, and nothing is answered."""
        self._process.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._process.signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill it, without an event loop, and forget its socket; for the end of a test process."""
        self._process.kill()
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)

    @property
    def runs(self) -> bool:
        return self._process.runs

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{'rediss' if self.tls else 'redis'}://{self.address}/0"

    def tail(self) -> str:
        """The last lines of its log."""
        return self._process.tail()

    async def logged(self, pattern: str, *, seconds: float = START_SECONDS) -> None:
        """Wait until it has logged this since its start."""
        await self._process.logged(pattern, seconds=seconds)

    # --- asking it

    @asynccontextmanager
    async def client(self, **options: Any) -> AsyncIterator[redis.asyncio.Redis]:
        """A connection of the rig, which may do everything. Nothing is tried twice."""
        made: redis.asyncio.Redis = redis.asyncio.Redis(**(self._how() | options))
        async with made:
            yield made

    async def call(self, *words: Any, **options: Any) -> Any:
        """One command."""
        async with self.client(**options) as client:
            return await client.execute_command(*words)  # type: ignore[no-untyped-call]

    def client_now(self) -> redis.Redis:
        """As ``client``, without an event loop; close it."""
        return redis.Redis(**self._how())

    async def info(self, section: str) -> dict[str, Any]:
        async with self.client() as client:
            told: dict[str, Any] = await client.info(section)
            return told

    def _how(self) -> dict[str, Any]:
        login = {"username": RIG_USER, "password": RIG_PASSWORD} if self.acl else {}
        trust = {"ssl": True, "ssl_ca_certs": str(self.tls.trusted)} if self.tls else {}
        if self.tls and self._config.get("tls-auth-clients", "no") != "no":
            trust |= {"ssl_certfile": str(self.tls.client), "ssl_cert_reqs": ssl.CERT_REQUIRED}
        return {
            "host": self.host,
            "port": self.port,
            "socket_timeout": CALL_SECONDS,
            "socket_connect_timeout": CALL_SECONDS,
            "retry": Retry(NoBackoff(), 0),
            **login,
            **trust,
        }

    # --- its configuration

    def _write_config(self) -> None:
        """Once an address: servers write into the file what must survive a restart."""
        if self._written_for == self.port:
            return
        self._written_for = self.port
        if self.acl:
            mine = f"user {RIG_USER} on >{RIG_PASSWORD} ~* &* +@all"
            (self.folder / "users.acl").write_text(
                "\n".join(["user default off", mine, *self.acl]) + "\n"
            )
        (self.folder / "redis.conf").write_text("".join(f"{line}\n" for line in self._lines()))

    def _lines(self) -> list[str]:
        return [f"{name} {_quoted(value)}" for name, value in self._chosen().items()]

    def _chosen(self) -> dict[str, str | int | Path]:
        chosen: dict[str, str | int | Path] = {
            "port": 0 if self.tls else self.port,
            "bind": HOST,
            "protected-mode": "no",
            "dir": self.folder,
            "daemonize": "no",
            "save": '""',
            "appendonly": "yes" if self.persistent else "no",
            "appendfsync": "always",
            # Replicas are there in milliseconds, not after a while in which more might come.
            "repl-diskless-sync-delay": 0,
            "repl-ping-replica-period": 1,
        }
        if self.engine != "6.2":
            chosen["enable-debug-command"] = "yes"
        if self.socket is not None:
            chosen["unixsocket"] = self.socket
        if self.acl:
            chosen["aclfile"] = self.folder / "users.acl"
        if self.tls is not None:
            chosen |= {
                "tls-port": self.port,
                "tls-cert-file": self.tls.certificate,
                "tls-key-file": self.tls.key,
                "tls-ca-cert-file": self.tls.trusted,
                "tls-auth-clients": "no",
            }
        return chosen | self._config


@asynccontextmanager
async def redis_server(folder: Path, **options: Any) -> AsyncIterator[RedisServer]:
    """A server that answers; killed at the end. See ``RedisServer`` for the options."""
    server = RedisServer(folder, **options)
    try:
        yield await server.start()
    finally:
        await asyncio.to_thread(server.close)


async def eventually(
    is_so: Callable[[], Coroutine[Any, Any, bool]], otherwise: str, *, seconds: float
) -> None:
    """Look until it is so. For what nobody tells of; an AssertionError where it does not come."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                if await is_so():
                    return
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        raise AssertionError(f"after {seconds} s: {otherwise}") from None


def _quoted(value: str | int | Path) -> str:
    return f'"{value}"' if isinstance(value, Path) else str(value)
