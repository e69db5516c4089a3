"""The state stores that a world may have, and what losing one, or putting it back, means there."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Final

from tests.contract.redis_states import SHARED, rig_settings
from tests.support.redis_engines import RunningClock
from tests.support.redis_servers import RedisServer
from tusd_py.core.upload import Boot
from tusd_py.state.base import StateStore
from tusd_py.state.redis.store import RedisState
from tusd_py.state.sqlite import SqliteSettings, SqliteState

BUCKETS: Final = 4
Clock = Callable[[], float]


class Backend(ABC):
    """One store. Where it is changed no process works on it."""

    shows_death: ClassVar[bool]
    """Whether a holder that died is known at once, or by its deadline only."""
    keeps_generation: ClassVar[bool]
    """Whether it is of the same generation when it is put back to what it was."""

    @abstractmethod
    async def prepare(self) -> None:
        """Before each life."""

    @abstractmethod
    def make(self, boot: Boot, lease_seconds: float, clock: Clock) -> StateStore:
        """An instance, not open yet."""

    @abstractmethod
    def pass_time(self, seconds: float) -> None:
        """Its own clock, if it has one, jumps."""

    @abstractmethod
    async def lose(self) -> None:
        """All of it is gone."""

    @abstractmethod
    async def keep(self) -> bytes:
        """All of it."""

    @abstractmethod
    async def put_back(self, kept: bytes) -> None:
        """As it was then."""


class OnSqlite(Backend):
    shows_death = True
    keeps_generation = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "state.db"

    async def prepare(self) -> None:
        """Nothing runs beside the process."""

    def make(self, boot: Boot, lease_seconds: float, clock: Clock) -> StateStore:
        settings = SqliteSettings(path=self._path)
        return SqliteState(settings, boot=boot, lease_seconds=lease_seconds, clock=clock)

    def pass_time(self, seconds: float) -> None:
        """Its clock is that of the process."""

    async def lose(self) -> None:
        for path in self._folder.glob("state.db*"):
            if path.is_file():
                path.unlink()

    async def keep(self) -> bytes:
        return await asyncio.to_thread(self._path.read_bytes)

    async def put_back(self, kept: bytes) -> None:
        with self._path.open("r+b") as file:
            file.write(kept)
            file.truncate()


class OnRedis(Backend):
    """The one server of this test process: a test has one world at a time."""

    shows_death = False
    keeps_generation = False

    def __init__(self, folder: Path) -> None:
        self._shared: RedisServer | None = None

    @property
    def server(self) -> RedisServer:
        assert self._shared is not None, "it was not prepared"
        return self._shared

    async def prepare(self) -> None:
        if self._shared is None:
            self._shared = await SHARED.running_server()

    def make(self, boot: Boot, lease_seconds: float, clock: Clock) -> StateStore:
        settings = rig_settings(BUCKETS, url=self.server.url, connections=1)
        return RedisState(settings, boot=boot, lease_seconds=lease_seconds, clock=clock)

    def pass_time(self, seconds: float) -> None:
        assert isinstance(self.server.clock, RunningClock)
        self.server.clock.advance(seconds)

    async def lose(self) -> None:
        await self.server.call("FLUSHALL")

    async def keep(self) -> bytes:
        await self.server.call("SAVE")
        return await asyncio.to_thread(self._dump.read_bytes)

    async def put_back(self, kept: bytes) -> None:
        await self.server.kill9()
        await asyncio.to_thread(self._dump.write_bytes, kept)
        await self.server.start()

    @property
    def _dump(self) -> Path:
        return self.server.folder / "dump.rdb"


BACKENDS: Final[Mapping[str, Callable[[Path], Backend]]] = {"sqlite": OnSqlite, "redis": OnRedis}
