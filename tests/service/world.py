"""An installation in a folder, whose process can be killed between any two steps of I/O.

Store and state are the real ones. A death is told from outside: from some call on, every call to
either raises ``Killed``, as if the process had stopped there; then a new life starts on the same
folder. What a machine loses with its power is played by overwriting what was not synced.
"""

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, cast

from tests.service.backends import BACKENDS, Backend
from tusd_py.core.commands import AppendBytes, CreateUpload, ReadOffset, Terminate
from tusd_py.core.events import Event, EventKind
from tusd_py.core.identity import Claims, Owner, Principal
from tusd_py.core.ids import ClientId, UploadId, VideoId
from tusd_py.core.metadata import Metadata, build_pairs
from tusd_py.core.reconcile import Durability
from tusd_py.core.upload import Boot, Kind, Status, Upload
from tusd_py.hooks.base import Allow, Gate, Moment, Question, Refuse
from tusd_py.service.gates import Gates
from tusd_py.service.listening import NO_LISTENER, Listener
from tusd_py.service.observer import SilentObserver
from tusd_py.service.parts import Parts
from tusd_py.service.settings import UploadSettings
from tusd_py.service.sweeper import Sweeper
from tusd_py.service.uploads import Uploads
from tusd_py.state.base import StateStore
from tusd_py.stores.base import ByteStore
from tusd_py.stores.disk import DiskSettings, DiskStore
from tusd_py.streams import ByteSource, SourceEnd

OWNER = Owner(VideoId("7"), ClientId("3"))
STRANGER = Owner(VideoId("7"), ClientId("4"))
NOBODY = Principal()
HOOK = "receiver"


def principal(owner: Owner = OWNER) -> Principal:
    return Principal(Claims(owner))


class Killed(BaseException):
    """The process stopped here. Not an Exception: nothing handles one's own death."""


class Body(ByteSource):
    """A body whose pieces are known; it can wait for a signal before a piece."""

    def __init__(
        self,
        *pieces: bytes,
        end: SourceEnd = SourceEnd.COMPLETE,
        announced: bool = True,
        hold_before: int | None = None,
    ) -> None:
        self._pieces = list(pieces)
        self._announced = sum(map(len, pieces)) if announced else None
        self._last = end
        self._end: SourceEnd | None = None
        self._hold_before = hold_before
        self._given = 0
        self.reached_hold = asyncio.Event()
        self.go_on = asyncio.Event()
        self.invited = False

    @property
    def announced_bytes(self) -> int | None:
        return self._announced

    async def invite(self) -> None:
        self.invited = True

    async def read(self) -> bytes:
        assert self.invited, "a body was read before its sender was invited"
        if self._given == self._hold_before:
            self.reached_hold.set()
            await self.go_on.wait()
        if self._given == len(self._pieces):
            self._end = self._last
            return b""
        piece = self._pieces[self._given]
        self._given += 1
        return piece

    @property
    def end(self) -> SourceEnd | None:
        return self._end


class Fate:
    """Counts the calls of one life and says where it ends."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.die_at: tuple[int, str] | None = None
        """The number of the call, from 1, and whether it dies ``before`` or ``after`` it."""
        self.die_before: str | None = None
        self.die_after: str | None = None
        """The first call of this name."""
        self.is_dead = False
        self.called = asyncio.Event()

    def before(self, name: str) -> None:
        self._check()
        self.calls.append(name)
        self.called.set()
        if self.die_at == (len(self.calls), "before") or self.die_before == name:
            self.is_dead = True
            raise Killed(name)

    def after(self, name: str) -> None:
        number, when = self.die_at or (0, "before")
        if (when == "after" and len(self.calls) >= number) or self.die_after == name:
            self.is_dead = True
        self._check()

    def _check(self) -> None:
        if self.is_dead:
            raise Killed


class Mortal:
    """Stands before a store or a state and passes every call on while the process lives."""

    WATCHED = frozenset(
        [
            "prepare",
            "load",
            "append",
            "join",
            "digest",
            "boot_of",
            "hosts_of",
            "sync",
            "declare_length",
            "complete",
            "place",
            "tidy_placed",
            "remove",
            "create",
            "take",
            "adopt",
            "commit",
            "release",
        ]
    )

    def __init__(self, real: Any, fate: Fate) -> None:
        self._real = real
        self._fate = fate

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._real, name)
        if name not in self.WATCHED:
            return value

        async def call(*args: Any, **kwargs: Any) -> Any:
            self._fate.before(name)
            result = await value(*args, **kwargs)
            self._fate.after(name)
            return result

        return call


class ScriptedGate(Gate):
    """Answers as it is told to."""

    def __init__(self) -> None:
        self.answers: list[Allow | Refuse | Exception | asyncio.Event] = []
        self.asked: list[Question] = []
        self.was_asked = asyncio.Event()

    async def decide(self, question: Question) -> Allow | Refuse:
        self.asked.append(question)
        self.was_asked.set()
        answer = self.answers.pop(0) if self.answers else Allow()
        if isinstance(answer, asyncio.Event):
            await answer.wait()
            return Allow()
        if isinstance(answer, Exception):
            raise answer
        return answer


class World:
    """A folder with uploads in it, and at most one living process."""

    usual_backend: ClassVar[str] = "sqlite"
    """Which state store worlds have; ``conftest.py`` changes it from test to test."""

    def __init__(
        self,
        folder: Path,
        *,
        durability: Durability = Durability.FINISH,
        gate: ScriptedGate | None = None,
        destination: str | None = None,
        settings: UploadSettings | None = None,
        backend_name: str | None = None,
    ) -> None:
        self.folder = folder
        self.durability = durability
        self.gate = gate
        self.destination = destination
        self.settings = settings or UploadSettings(
            lease_seconds=5, checkpoint_seconds=0.2, expire_seconds=3600, head_gate_seconds=1.0
        )
        self.host = "here"
        self.boot_number = 1
        self.clock_ahead = 0.0
        self.now = 1_800_000_000.0
        self.events: list[Event] = []
        self.backend: Backend = BACKENDS[backend_name or self.usual_backend](folder)
        self._ids = itertools.count(1)
        self._life: tuple[StateStore, ByteStore] | None = None

    # ------------------------------------------------------------------ lives

    async def start(self) -> None:
        """A new process."""
        self.fate = Fate()
        store = await asyncio.to_thread(
            DiskStore,
            DiskSettings(
                root=self.folder / "uploads",
                durability=self.durability,
                min_free_bytes=0,
                destination=self.destination,
                destination_root=self.folder / "library",
            ),
        )
        boot = Boot(self.host, f"{self.host}-boot-{self.boot_number}")
        await self.backend.prepare()
        state = self.backend.make(boot, self.settings.lease_seconds, self.clock)
        await store.open()
        await store.publish_boot(boot)
        await state.open()
        await state.register([HOOK])
        self._life = (state, store)
        gates = {Moment.FINISH: [("gate", cast(Gate, self.gate))]} if self.gate else {}
        self.parts = Parts(
            state=cast(StateStore, Mortal(state, self.fate)),
            store=cast(ByteStore, Mortal(store, self.fate)),
            gates=Gates(gates, 5.0, SilentObserver()),
            settings=self.settings,
            observer=SilentObserver(),
            now=lambda: self.now,
            randomness=lambda n: next(self._ids).to_bytes(n, "big"),
            destination=self.destination,
        )
        self.uploads = Uploads(self.parts)
        self.sweeper = Sweeper(self.parts)

    def rewire(self, **parts: Any) -> None:
        """The same life with other parts, until its end."""
        self.parts = replace(self.parts, **parts)
        self.uploads = Uploads(self.parts)
        self.sweeper = Sweeper(self.parts)

    @property
    def state(self) -> StateStore:
        assert self._life is not None
        return self._life[0]

    @property
    def store(self) -> ByteStore:
        assert self._life is not None
        return self._life[1]

    async def kill(self) -> None:
        """The process ends here: nothing it holds is let go, nothing more is written."""
        if self._life is None:
            return
        self.fate.is_dead = True
        state, store = self._life
        self._life = None
        await state.close()
        await store.close()
        if not self.backend.shows_death:
            self._let_leases_run_out()

    def _let_leases_run_out(self) -> None:
        """Nobody has to wait for them; what clients know as the time does not change."""
        self.clock_ahead += self.settings.lease_seconds + 0.001
        self.backend.pass_time(self.settings.lease_seconds + 0.001)

    async def restart(self) -> None:
        await self.kill()
        await self.start()

    async def lose_power(self, *, synced: dict[UploadId, int]) -> None:
        """The machine restarts; bytes of each upload past what was synced are zeros now."""
        await self.kill()
        self.boot_number += 1
        for path in (self.folder / "uploads").rglob("*.bin"):
            keep = synced.get(UploadId(path.stem), 0)
            size = path.stat().st_size
            if size > keep:
                with path.open("r+b") as file:
                    file.seek(keep)
                    file.write(b"\0" * (size - keep))
        await self.start()

    async def lose_state(self) -> None:
        """The database is gone; the store is as it was."""
        await self.kill()
        await self.backend.lose()
        await self.start()
        self.pass_time(self.settings.lease_seconds + 1)  # [grace]

    async def keep_record(self) -> bytes:
        """What the disk has of the database now; the process goes on."""
        await self.kill()
        kept = await self.backend.keep()
        await self.start()
        return kept

    async def forget_commits_since(self, kept: bytes) -> None:
        """The machine restarts and the database is as it was then: the same file, older."""
        await self.kill()
        self.boot_number += 1
        await self.backend.put_back(kept)
        await self.start()
        if not self.backend.keeps_generation:
            self._let_leases_run_out()  # [grace]

    def pass_time(self, seconds: float) -> None:
        """Both clocks go on."""
        self.clock_ahead += seconds
        self.backend.pass_time(seconds)
        self.now += seconds

    async def renewed_after(self, seconds: float) -> bool:
        """Let time pass; whether the process has committed something within a moment of it: it
        has once it begins the next commit."""
        before = len(self.fate.calls)
        self.pass_time(seconds)
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                while self.fate.calls[before:].count("commit") < 2:
                    self.fate.called.clear()
                    await self.fate.called.wait()
                return True
        return False

    def clock(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME) + self.clock_ahead

    # ------------------------------------------------------------------ what clients do

    async def create(
        self,
        length: int | None,
        body: bytes | Body = b"",
        *,
        metadata: dict[str, bytes] | None = None,
        who: Principal | None = None,
        listener: Listener = NO_LISTENER,
        **more: Any,
    ) -> Upload:
        source = body if isinstance(body, Body) else Body(*([body] if body else []))
        command = CreateUpload(
            length=length,
            metadata=build_pairs(metadata) if metadata else Metadata(),
            announced_bytes=source.announced_bytes,
            **more,
        )
        return await self.uploads.create(command, who or principal(), source, listener)

    async def part(self, content: bytes, *, who: Principal | None = None) -> UploadId:
        """A partial upload with these bytes, complete."""
        made = await self.create(
            len(content), content, kind=Kind.PARTIAL, concat="partial", who=who
        )
        assert made.status is Status.COMPLETE
        return made.id

    async def final(self, *parts: UploadId, who: Principal | None = None, **more: Any) -> Upload:
        """A final upload of these parts."""
        more = {"kind": Kind.FINAL, "parts": parts, "concat": "final;" + " ".join(parts)} | more
        return await self.create(None, who=who, **more)

    async def append(
        self,
        upload_id: UploadId,
        offset: int,
        body: bytes | Body,
        *,
        declared_length: int | None = None,
        who: Principal = NOBODY,
        listener: Listener = NO_LISTENER,
        **more: Any,
    ) -> Upload:
        source = body if isinstance(body, Body) else Body(*([body] if body else []))
        command = AppendBytes(
            upload_id=upload_id,
            offset=offset,
            announced_bytes=source.announced_bytes,
            declared_length=declared_length,
            **more,
        )
        return await self.uploads.append(command, who, source, listener)

    async def head(self, upload_id: UploadId, who: Principal = NOBODY, **more: Any) -> Upload:
        return await self.uploads.read_offset(ReadOffset(upload_id=upload_id, **more), who)

    async def terminate(self, upload_id: UploadId, who: Principal = NOBODY) -> None:
        await self.uploads.terminate(Terminate(upload_id=upload_id), who)

    # ------------------------------------------------------------------ what can be seen

    async def deliver(self) -> Sequence[Event]:
        """Take all events that wait, as a receiver would; those that are new to it."""
        fresh: list[Event] = []
        while claimed := await self.state.claim(HOOK, now=self.now, claim_seconds=60, limit=100):
            await self.state.settle(claimed)
            fresh += [delivery.event for delivery in claimed]
        self.events += fresh
        return fresh

    def told(self, kind: EventKind, upload_id: UploadId) -> set[str]:
        """The ids under which this was told of the upload, over all lives."""
        return {e.id for e in self.events if e.kind is kind and e.upload_id == upload_id}

    def path(self, upload_id: UploadId) -> Path:
        path = self.store.local_path(upload_id)
        assert path is not None
        return path

    def content(self, upload_id: UploadId) -> bytes:
        path = self.path(upload_id)
        return path.read_bytes() if path.exists() else b""

    def files_of(self, upload_id: UploadId) -> list[str]:
        return sorted(p.name for p in (self.folder / "uploads").rglob(f"*{upload_id}*"))


@asynccontextmanager
async def a_world(folder: Path, **options: Any) -> AsyncIterator[World]:
    """A world with a living process; killed in the end."""
    os.makedirs(folder, exist_ok=True)
    world = World(folder, **options)
    await world.start()
    try:
        yield world
    finally:
        await world.kill()
