"""What the tests of the rules share: machines whose every misfortune is chosen.

Their Redis can be put back to an earlier moment, as by a failover that lost the last writes, or
lose everything; each machine can be stopped at a point, or lose its power: then what was not synced
is gone, and its next boot has another id.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.e2e.rig import assert_finished, content, created, hooked, stored_file, until
from tests.support import breakpoints, tus
from tests.support.boots import FakeBoot
from tests.support.breakpoints import Point, order_stop
from tests.support.fleet import Fleet
from tests.support.receiver import Receiver, receiving
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.server import REPOSITORY, Server
from tests.support.wire import Hangup, Response, Wire, connected

KIB = 1024
PART = 256 * KIB
DATA = content(4 * PART)
LEASE_SECONDS = 1.5
LEASE = {"lease_seconds": LEASE_SECONDS, "checkpoint_seconds": 0.5, "sweep_seconds": 600.0}
"""Short, because most of these tests wait for it; no sweeper helps where it is not asked for."""
SWEPT = LEASE | {"sweep_seconds": 0.5}
ANSWERED_SECONDS = 20.0
PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Scene:
    """Machines without a proxy, the Redis that they share, and who is told."""

    fleet: Fleet
    redis: RedisServer
    receiver: Receiver
    boots: list[FakeBoot]
    order: Path

    @property
    def first(self) -> Server:
        """The one that stops where it is told to."""
        return self.fleet.machines[0]

    @property
    def second(self) -> Server:
        return self.fleet.machines[1]

    @property
    def third(self) -> Server:
        return self.fleet.machines[2]

    def at(self, machine: Server, url: str) -> str:
        return self.fleet.through(machine, url)

    async def created(self, length: int = len(DATA)) -> str:
        return await created(self.first, length)

    async def begun(self, parts: int = 1) -> str:
        """An upload of which so many parts were acknowledged, by the first machine."""
        url = await self.created()
        done = await tus.patch(url, 0, DATA[: parts * PART])
        assert (done.status, done.offset) == (204, parts * PART)
        return url

    # --- what happens to Redis

    async def remember(self) -> bytes:
        """What a replica would have that hears nothing from now on."""
        await self.redis.call("SAVE")
        return self._dump.read_bytes()

    async def fail_over(self, remembered: bytes) -> None:
        """Another process is master, and knows only this."""
        await self.redis.kill9()
        self._dump.write_bytes(remembered)
        await self.redis.start()

    async def lose_state(self) -> None:
        """Another process is master, and knows nothing."""
        await self.redis.kill9()
        self._dump.unlink(missing_ok=True)
        await self.redis.start()

    @property
    def _dump(self) -> Path:
        return self.redis.folder / "dump.rdb"

    # --- what happens to machines

    async def stopped(self) -> None:
        """Wait until the first machine has stopped where it was ordered to."""
        process = psutil.Process(self.first.pid)
        await until(lambda: process.status() == psutil.STATUS_STOPPED)

    def stop_at(self, point: Point) -> None:
        """The first machine, when it comes there."""
        order_stop(self.order, point)

    async def lose_power(self, number: int, url: str) -> None:
        """Not a byte of the upload's file, which this machine wrote, had reached the medium: it is
        all holes. Then the machine is there again, though not its server: that would look after
        the upload before anybody else can."""
        machine, boot = self.fleet.machines[number], self.boots[number]
        await machine.kill9()
        lose_pages(stored_file(self.fleet, url))
        boot.restart()
        # Whatever opens the state says what the machine runs now.
        process = await asyncio.create_subprocess_exec(
            *boot.wrapper,
            *(sys.executable, "-m", "tusd_py", "uploads", "list", *machine.own_flags),
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            stdout=asyncio.subprocess.DEVNULL,
        )
        assert await process.wait() == 0

    # --- what clients do

    async def head(self, url: str) -> Response:
        """Asked again while it is put off."""
        async with asyncio.timeout(ANSWERED_SECONDS):
            while (found := await tus.head(url)).status == 423:
                assert float(found.headers["Retry-After"]) > 0
                await asyncio.sleep(PAUSE_SECONDS)
        return found

    async def go_on(self, url: str, *, least: int, data: bytes = DATA) -> None:
        """To the end, as clients do; what they were told must not shrink below ``least``."""
        async with asyncio.timeout(ANSWERED_SECONDS):
            while (found := await self.head(url)).status == 200 and found.offset < len(data):
                assert found.offset >= least, "an acknowledged offset decreased"
                rest = await tus.patch(url, found.offset, data[found.offset :])
                assert rest.status in (204, 409, 423, 503), rest.text
        assert found.status == 200, found.text

    async def judge(self, url: str, data: bytes = DATA) -> None:
        await assert_finished(self.fleet, self.receiver, url, data)


def lose_pages(file: Path) -> None:
    size = file.stat().st_size
    with file.open("r+b") as bytes_of_it:
        bytes_of_it.write(bytes(size))


@asynccontextmanager
async def scene(
    directory: Path, *, machines: int = 2, upload: dict[str, Any] | None = None, **sections: Any
) -> AsyncIterator[Scene]:
    """Servers that are ready."""
    async with receiving() as receiver, redis_server(directory / "redis") as redis:
        settings = hooked(directory, receiver, upload=upload or LEASE, **sections)
        state = {"kind": "redis", "url": redis.url}
        fleet = Fleet(directory / "site", settings, state=state, machines=machines, proxy=None)
        boots = [FakeBoot(directory / f"boot-{number}") for number in range(machines)]
        for machine, boot in zip(fleet.machines, boots, strict=True):
            machine.wrapper = boot.wrapper
        order = directory / "order"
        fleet.machines[0].command = breakpoints.COMMAND
        fleet.machines[0].environment = {breakpoints.VARIABLE: str(order)}
        try:
            await fleet.start()
            yield Scene(fleet, redis, receiver, boots, order)
        finally:
            await fleet.close()


@asynccontextmanager
async def sending(url: str, offset: int, data: bytes, *, announced: int) -> AsyncIterator[Wire]:
    """A PATCH that has announced so many bytes and sent ``data``."""
    async with connected(url) as wire:
        await tus.begin_patch(wire, url, offset, announced)
        await wire.send(data)
        yield wire


async def answer_of(wire: Wire) -> Response | None:
    """None where the connection ended without one."""
    with suppress(Hangup, ConnectionError):
        return await wire.read_response()
    return None
