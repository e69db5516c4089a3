"""The state stores that the contract suites run on: a new one joins with one line in STATES."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, cast

from tests.contract.redis_states import REDIS_STATES
from tests.contract.state_rig import BOOT as BOOT
from tests.contract.state_rig import LEASE_SECONDS as LEASE_SECONDS
from tests.contract.state_rig import FakeClock as FakeClock
from tests.contract.state_rig import StateRig as StateRig
from tusd_py.core.events import Event, EventKind, event_of
from tusd_py.core.identity import ANYBODY, Owner, Principal
from tusd_py.core.ids import ClientId, UploadId, VideoId
from tusd_py.core.upload import Boot, Upload
from tusd_py.state.base import Lease, Purpose, StateStore, Taken, Visit
from tusd_py.state.sqlite import SqliteSettings, SqliteState

OWNER: Final = Owner(VideoId("video"), ClientId("client"))


class SqliteRig(StateRig):
    shows_death = True

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / "state" / "state.db"

    def make(self, boot: Boot) -> SqliteState:
        return SqliteState(
            SqliteSettings(path=self.path),
            boot=boot,
            lease_seconds=LEASE_SECONDS,
            clock=self.clock,
        )

    async def change_generation(self) -> None:
        await self.close()
        copy = self.path.with_suffix(".copy")
        await asyncio.to_thread(shutil.copy, self.path, copy)
        await asyncio.to_thread(copy.replace, self.path)

    @asynccontextmanager
    async def broken_commits(self, state: StateStore) -> AsyncIterator[None]:
        with full_disk(state):
            yield


class FullDisk:
    """A connection on a disk that has no room for the commit."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if sql == "COMMIT":
            raise sqlite3.OperationalError("database or disk is full")
        return self._db.execute(sql, *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)


@contextmanager
def full_disk(state: StateStore) -> Iterator[None]:
    """The disk under an SqliteState's writer is full."""
    connections = cast(SqliteState, state)._connections
    assert connections is not None
    writer = connections[0]
    db = writer._db
    writer._db = cast(sqlite3.Connection, FullDisk(db))
    try:
        yield
    finally:
        writer._db = db


@asynccontextmanager
async def make_sqlite(folder: Path) -> AsyncIterator[StateRig]:
    rig = SqliteRig(folder)
    try:
        yield rig
    finally:
        await rig.close()


STATES: Final[Mapping[str, Callable[[Path], AbstractAsyncContextManager[StateRig]]]] = {
    "sqlite": make_sqlite,
    **REDIS_STATES,
}


def upload_id(number: int) -> UploadId:
    """Ids in the order of their numbers. The first byte is the number as well, as far as it goes:
    stores that divide uploads by it have them in different parts."""
    return UploadId(f"{min(number, 255):02x}{number:030x}")


def number_of(upload_id: UploadId) -> int:
    return int(upload_id[2:], 16)


def an_upload(number: int = 1, **changes: Any) -> Upload:
    """A new upload of 100 bytes, written by the host and boot BOOT."""
    fields: dict[str, Any] = {
        "id": upload_id(number),
        "owner": OWNER,
        "length": 100,
        "created_at": 1000.0,
        "changed_at": 1000.0,
        "creator": BOOT,
        "writer": BOOT,
    }
    return Upload(**(fields | changes))


def an_event(upload: Upload, kind: EventKind = EventKind.CREATED, sequence: int = 0) -> Event:
    return event_of(upload, kind, occurred_at=1000.0 + sequence, sequence=sequence)


def a_visit(
    upload: Upload,
    purpose: Purpose = Purpose.APPEND,
    *,
    wait_seconds: float = 0.0,
    principal: Principal = ANYBODY,
) -> Visit:
    return Visit(
        upload_id=upload.id, purpose=purpose, principal=principal, wait_seconds=wait_seconds
    )


async def take(
    state: StateStore,
    upload: Upload,
    purpose: Purpose = Purpose.APPEND,
    *,
    wait_seconds: float = 0.0,
) -> Taken:
    """The lease; a test that gets none fails."""
    got = await state.take(a_visit(upload, purpose, wait_seconds=wait_seconds))
    assert isinstance(got, Taken)
    return got


async def create_held(state: StateStore, upload: Upload) -> Lease:
    created = await state.create(upload, [], with_lease=True)
    assert created.lease is not None
    return created.lease
