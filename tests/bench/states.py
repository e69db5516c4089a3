"""The Redis servers that hold states while it is measured: one as ``conf/redis/single.conf`` says,
one as it comes."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path
from typing import Any, Final, Self

from tests.bench.wire import BenchError
from tests.support.redis_confs import PASSWORDS, Configured
from tests.support.redis_servers import RedisServer

ALONE_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class StateServer:
    """One way to a Redis."""

    server: RedisServer
    settings: Mapping[str, Any]
    """The section ``state`` of whose state is there."""
    other: "StateServer | None" = None
    """One to be compared with: without conf/redis."""

    @property
    def pid(self) -> int:
        return self.server.pid

    def section(self, directory: Path) -> dict[str, Any]:
        """Each directory has a state of its own."""
        name = sha1(str(directory).encode(), usedforsecurity=False).hexdigest()[:8]
        return {"kind": "redis", "prefix": f"tusd:{name}", **self.settings}

    def wipe(self) -> None:
        """What others left would be counted: its tables grow, and are made smaller, at any time."""
        with self.server.client_now() as client:
            client.flushall(asynchronous=False)

    def used_bytes(self) -> int:
        """What its data takes, indexes included. No server runs: what their connections take is
        known to Redis now and then only."""
        deadline = time.monotonic() + ALONE_SECONDS
        with self.server.client_now() as client:
            while client.info("clients")["connected_clients"] > 1:
                if time.monotonic() > deadline:
                    raise BenchError("somebody else is connected to Redis")
                time.sleep(0.05)
            return int(client.info("memory")["used_memory"])


@dataclass(frozen=True, slots=True)
class States:
    """What runs."""

    tcp: StateServer
    unix: StateServer
    plain: StateServer

    @classmethod
    async def start(cls, directory: Path) -> Self:
        """The caller closes them. To be called in the main thread, with which they die."""
        recommended = Configured(directory / "recommended", "single")
        plain = RedisServer(directory / "plain")
        try:
            await asyncio.gather(recommended.start(), plain.start())
        except BaseException:
            recommended.close()
            plain.close()
            raise
        login = {"username": "tusd", "password": PASSWORDS["tusd"]}
        other = StateServer(plain, {"url": plain.url})
        unix = {"url": f"unix://{recommended.sockets}/redis.sock"}
        return cls(
            StateServer(recommended, {"url": recommended.url, **login}, other),
            StateServer(recommended, unix | login),
            other,
        )

    def close(self) -> None:
        self.tcp.server.close()
        self.plain.server.close()

    @property
    def version(self) -> str:
        with self.tcp.server.client_now() as client:
            return str(client.info("server")["redis_version"])
