"""The embedded state store in trouble, and what its file looks like."""

import asyncio
import fcntl
import os
import socket
import sqlite3
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.contract.states import (
    BOOT,
    LEASE_SECONDS,
    FakeClock,
    SqliteRig,
    a_visit,
    an_upload,
    create_held,
    take,
    upload_id,
)
from tusd_py.core.upload import Boot
from tusd_py.state import sqlite_groups
from tusd_py.state.base import Purpose, Seen, StateError, StateFault, Taken
from tusd_py.state.sqlite import SqliteSettings, SqliteState

BUSY_SECONDS = 0.2


def make(path: Path, *, busy_seconds: float = BUSY_SECONDS, wal_max_mib: int = 16) -> SqliteState:
    return SqliteState(
        SqliteSettings(path=path, busy_seconds=busy_seconds, wal_max_mib=wal_max_mib),
        boot=BOOT,
        lease_seconds=LEASE_SECONDS,
        clock=FakeClock(),
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "folder" / "state.db"


@pytest.fixture
async def state(path: Path) -> AsyncIterator[SqliteState]:
    opened = make(path)
    await opened.open()
    yield opened
    await opened.close()


@contextmanager
def writers_locked_out(path: Path) -> Iterator[None]:
    """Another process keeps its turn."""
    fd = os.open(path.with_name("state.db.d") / "writer.lock", os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(fd)


async def test_a_writer_that_keeps_its_turn_is_waited_for_within_bounds(
    path: Path, state: SqliteState
) -> None:
    """What was given up is not done afterwards, and reads go on meanwhile."""
    await state.create(an_upload(1), [], with_lease=False)
    with writers_locked_out(path):
        # The first is in the thread already when it is given up, the others wait behind it.
        done = await asyncio.gather(
            *(state.create(an_upload(n), [], with_lease=False) for n in range(2, 6)),
            return_exceptions=True,
        )
        assert all(isinstance(each, StateError) for each in done)
        assert isinstance(await state.take(a_visit(an_upload(1), Purpose.READ)), Seen)
    await state.ping()
    assert [await state.find(upload_id(n)) for n in range(2, 6)] == [None] * 4


async def test_opening_waits_for_its_turn_within_bounds(path: Path, state: SqliteState) -> None:
    other = make(path)
    with writers_locked_out(path), pytest.raises(StateError, match="lock"):
        await other.open()
    await other.open()
    await other.close()


async def test_an_operation_with_a_fault_harms_no_other_of_its_group(state: SqliteState) -> None:
    def faulty(db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM upload")
        raise ZeroDivisionError

    done = await asyncio.gather(
        *(state.create(an_upload(n), [], with_lease=False) for n in range(3)),
        state._shop.writer.run(faulty),
        *(state.create(an_upload(n), [], with_lease=False) for n in range(3, 6)),
        return_exceptions=True,
    )
    assert isinstance(done.pop(3), ZeroDivisionError)
    assert not [each for each in done if isinstance(each, BaseException)]
    assert all([await state.find(upload_id(n)) for n in range(6)])


async def test_a_read_with_a_fault_harms_no_other(state: SqliteState) -> None:
    await state.create(an_upload(1), [], with_lease=False)
    found, failed = await asyncio.gather(
        state.find(upload_id(1)),
        state._shop.reader.run(lambda _: 1 // 0),
        return_exceptions=True,
    )
    assert found is not None and isinstance(failed, ZeroDivisionError)


async def test_a_full_disk_is_an_error_and_work_goes_on_once_there_is_room(
    state: SqliteState,
) -> None:
    """SQLite's own refusal: the file may not grow."""
    faults: list[StateFault] = []
    state.on_fault = faults.append
    assert state._connections is not None
    db = state._connections[0]._db
    lease = await create_held(state, an_upload(1))
    before = db.execute("PRAGMA page_count").fetchone()[0]
    await asyncio.to_thread(db.execute, f"PRAGMA max_page_count = {before + 5}")
    made = 1
    with pytest.raises(StateError, match="full"):
        for made in range(2, 10_000):
            big = an_upload(made, refusal="x" * 4000)
            await state.create(big, [], with_lease=False)
    assert faults == [StateFault.REFUSED]
    assert await state.find(upload_id(made)) is None
    assert await state.find(upload_id(made - 1)) is not None
    await asyncio.to_thread(db.execute, "PRAGMA max_page_count = 100000")
    await state.create(an_upload(made), [], with_lease=False)
    await state.commit(lease, an_upload(1), release=True)


async def test_a_file_that_was_replaced_in_use_is_not_written_any_more(
    path: Path, state: SqliteState
) -> None:
    await state.ping()
    await asyncio.to_thread(path.rename, path.with_suffix(".old"))
    with pytest.raises(StateError, match="removed"):
        await state.ping()
    await asyncio.to_thread(path.write_bytes, b"")
    with pytest.raises(StateError, match="replaced"):
        await state.create(an_upload(), [], with_lease=False)
    await asyncio.to_thread(path.unlink)


async def test_more_waiting_operations_than_wanted_are_refused_at_once(
    state: SqliteState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_groups, "MAX_WAITING", -1)
    with pytest.raises(StateError, match="too many"):
        await state.ping()


async def test_a_file_that_is_no_database_is_no_state_file(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    await asyncio.to_thread(path.write_bytes, b"not a database, however long it is" * 100)
    with pytest.raises(StateError, match="cannot open"):
        await make(path).open()


async def test_only_the_owner_may_read_the_file(path: Path, state: SqliteState) -> None:
    await state.ping()
    for name in ("state.db", "state.db-wal", "state.db-shm"):
        assert stat.S_IMODE(path.with_name(name).stat().st_mode) == 0o600
    assert stat.S_IMODE(path.with_name("state.db.d").stat().st_mode) == 0o700


async def test_sockets_work_in_a_folder_with_a_long_name(tmp_path: Path) -> None:
    """A socket's address has room for 107 bytes only."""
    path = tmp_path / ("x" * 120) / "state.db"
    one, two = make(path), make(path)
    await one.open()
    await two.open()
    lease = await create_held(one, an_upload())
    waiting = asyncio.create_task(take(two, an_upload(), wait_seconds=10.0))
    await lease.asked.wait()
    await one.release(lease)
    await waiting
    await one.close()
    await two.close()


async def test_datagrams_of_nonsense_are_ignored(path: Path, state: SqliteState) -> None:
    lease = await create_held(state, an_upload())
    (found,) = path.with_name("state.db.d").glob("*.sock")
    folder = os.open(found.parent, os.O_RDONLY | os.O_DIRECTORY)
    address = f"/proc/self/fd/{folder}/{found.name}"  # the path itself may be too long for a socket
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        for text in (b"", b"\xff\x00", b"ask", b"ask a b ../../x", b"free", b"x" * 600):
            stranger.sendto(text, address)
        stranger.sendto(f"ask {lease.upload_id} {lease.holder} {'0' * 16}".encode(), address)
    os.close(folder)
    await lease.asked.wait()
    await state.release(lease)


async def test_grace_ends_with_the_machine(tmp_path: Path) -> None:
    """[grace] Whoever held a lease before a restart of the machine does not believe in it."""
    rig = SqliteRig(tmp_path)
    state = await rig.open()
    await state.create(an_upload(), [], with_lease=False)
    await rig.change_generation()
    await (await rig.open()).close()
    state = await rig.open(Boot(BOOT.host, "boot-2"))
    assert isinstance(await state.take(a_visit(an_upload())), Taken)
    await rig.close()


@pytest.mark.parametrize(
    ("setting", "power_safe", "level"),
    [(None, False, 1), (None, True, 2), ("full", False, 2), ("normal", True, 1)],
)
async def test_commits_are_synced_where_the_power_may_fail(
    path: Path, setting: str | None, power_safe: bool, level: int
) -> None:
    settings = SqliteSettings.model_validate({"path": path, "synchronous": setting})
    state = SqliteState(
        settings, boot=BOOT, lease_seconds=5.0, clock=FakeClock(), power_safe=power_safe
    )
    await state.open()
    found = await state._shop.writer.run(lambda db: db.execute("PRAGMA synchronous").fetchone()[0])
    await state.close()
    assert found == level


async def test_the_log_is_started_anew_under_constant_load(path: Path) -> None:
    state = make(path, busy_seconds=30.0, wal_max_mib=1)
    await state.open()
    log = path.with_name("state.db-wal")

    async def write(number: int) -> None:
        upload = an_upload(number, refusal="x" * 3000)
        lease = await create_held(state, upload)
        for _ in range(400):
            await state.commit(lease, upload, release=False)

    # Each group of commits writes some 60 KiB: without a checkpoint it would be 24 MiB and more.
    await asyncio.gather(*(write(n) for n in range(8)))
    size = log.stat().st_size
    await state.close()
    assert size < 16 * 1024 * 1024
