"""Several processes on one state file: asked, killed, and by turns."""

import asyncio
import os
import shutil
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.contract.states import a_visit, an_upload, take, upload_id
from tests.unit.state.process import open_at
from tests.unit.state.test_sqlite_note import overwrite
from tusd_py.state.base import Due, Filter, LeaseBusy, Purpose, Seen
from tusd_py.state.sqlite import SqliteState

Start = Callable[[str, int], Awaitable[asyncio.subprocess.Process]]
ROOT = Path(__file__).parents[3]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
async def state(path: Path) -> AsyncIterator[SqliteState]:
    opened = open_at(path)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def start(path: Path) -> AsyncIterator[Start]:
    """Starts processes; those that still run are killed in the end."""
    running: list[asyncio.subprocess.Process] = []

    async def start_one(act: str, number: int) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.unit.state.process", act, str(path), str(number)),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        running.append(process)
        return process

    yield start_one
    for process in running:
        await kill(process)


async def kill(process: asyncio.subprocess.Process) -> bytes:
    """What it had still said."""
    if process.returncode is None:
        process.kill()
    return (await process.communicate())[0]


async def line_of(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


def generation_in(path: Path) -> str:
    """Read without a write: nothing is moved into the file by this."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        found = db.execute("SELECT value FROM meta WHERE key = 'generation'").fetchone()
        return str(found[0])


async def test_a_holder_in_another_process_is_asked_and_hands_over(
    state: SqliteState, start: Start
) -> None:
    holder = await start("answer", 1)
    assert await line_of(holder) == "held"
    got = await take(state, an_upload(1), wait_seconds=30.0)
    assert got.is_settled and got.upload.offset == 42
    assert await line_of(holder) == "let go"


async def test_the_lease_of_a_killed_process_is_free_at_once(
    state: SqliteState, start: Start
) -> None:
    """Its lease has a minute left; nobody waits for that."""
    holder = await start("hold", 1)
    assert await line_of(holder) == "held"
    with pytest.raises(LeaseBusy):
        await state.take(a_visit(an_upload(1)))
    await kill(holder)
    assert list(await state.list_due(Due.ABANDONED, now=0.0)) == [upload_id(1)]
    got = await take(state, an_upload(1), wait_seconds=0.0)
    assert not got.is_settled


async def test_who_waits_for_a_process_that_is_killed_gets_its_lease(
    state: SqliteState, start: Start
) -> None:
    holder = await start("hold", 1)
    assert await line_of(holder) == "held"
    waiting = asyncio.create_task(take(state, an_upload(1), wait_seconds=30.0))
    while not state._shop.handover._waiting:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0)
    await kill(holder)
    got = await waiting
    assert not got.is_settled


async def test_what_a_killed_process_had_claimed_is_handed_out_again(
    state: SqliteState, start: Start
) -> None:
    holder = await start("hold", 1)
    assert await line_of(holder) == "held"
    assert await state.claim("h", now=5000.0, claim_seconds=60.0, limit=9) == []
    await kill(holder)
    (delivery,) = await state.claim("h", now=5000.0, claim_seconds=60.0, limit=9)
    assert delivery.event.upload_id == upload_id(2)


async def test_every_commit_that_was_acknowledged_outlives_a_killed_process(
    state: SqliteState, start: Start
) -> None:
    for first in (10, 20, 30):
        process = await start("commit", first)
        assert await line_of(process) == "ready"
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        said = [await line_of(process) for _ in range(50 + first)]
        said += (await kill(process)).decode().split("\n")[:-1]
        acknowledged = {int(upload): int(offset) for upload, offset in map(str.split, said)}
        assert len(acknowledged) == 4
        for number, offset in acknowledged.items():
            found = await state.find(upload_id(number))
            assert found is not None and offset <= found.offset <= offset + 1
            assert not (await take(state, an_upload(number), Purpose.APPEND)).is_settled
        # Each record came with its event: neither is there without the other.
        stored = [upload.offset for upload in await state.page(Filter(), after=None, limit=99)]
        assert await state.backlog() == {"h": sum(stored)}


async def test_a_killed_process_leaves_the_generation_as_it_was(path: Path, start: Start) -> None:
    """Also where the log was moved into the file by then, wholly or in part."""
    holder = await start("hold", 1)
    assert await line_of(holder) == "held"
    await kill(holder)
    generations = {await asyncio.to_thread(generation_in, path)}
    for first in (10, 20):
        process = await start("commit", first)
        assert await line_of(process) == "ready"
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        for _ in range(900 + 37 * first):
            await line_of(process)
        await kill(process)
        generations.add(await asyncio.to_thread(generation_in, path))
    later = open_at(path)
    await later.open()
    assert generations == {later._shop.book.generation.id}
    await later.close()


async def test_a_copy_put_back_for_the_file_of_a_killed_process_is_another_generation(
    path: Path, start: Start
) -> None:
    """As an operator puts it back: the log is taken away, or the copy means nothing."""
    state = open_at(path)
    await state.open()
    before = state._shop.book.generation
    await state.close()
    copy = path.with_suffix(".copy")
    await asyncio.to_thread(shutil.copy2, path, copy)
    process = await start("hold", 1)
    assert await line_of(process) == "held"
    await kill(process)
    for log in ("state.db-wal", "state.db-shm"):
        await asyncio.to_thread(path.with_name(log).unlink)
    await asyncio.to_thread(overwrite, path, copy)
    await state.open()
    assert state._shop.book.generation != before
    assert await state.find(upload_id(1)) is None
    await state.close()


async def test_processes_that_commit_by_turns_get_about_equal_shares(
    state: SqliteState, start: Start
) -> None:
    """Counted, not timed: of the first commits none of four has less than a tenth."""
    processes = [await start("commit", 100 * n) for n in range(1, 5)]
    for process in processes:
        assert await line_of(process) == "ready"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
    shares: Counter[int] = Counter()

    async def count(n: int) -> None:
        while sum(shares.values()) < 6000:
            await line_of(processes[n])
            shares[n] += 1

    counting = [asyncio.create_task(count(n)) for n in range(4)]
    await asyncio.wait(counting)
    total = sum(shares.values())
    assert all(0.10 < shares[n] / total < 0.45 for n in range(4)), shares


async def test_the_traces_of_dead_processes_are_cleared_away(
    path: Path, state: SqliteState, start: Start
) -> None:
    holder = await start("hold", 1)
    assert await line_of(holder) == "held"
    await kill(holder)
    folder = path.with_name("state.db.d")

    def names() -> int:
        return len(list(folder.glob("*.sock"))) + len(list(folder.glob("*.lock")))

    assert names() == 5  # two processes, and the lock of the writers
    later = open_at(path)
    await later.open()
    assert names() == 5
    await later.close()
    assert names() == 3


async def test_a_reader_sees_what_another_process_committed(
    state: SqliteState, start: Start
) -> None:
    holder = await start("answer", 1)
    assert await line_of(holder) == "held"
    got = await state.take(a_visit(an_upload(1), Purpose.READ, wait_seconds=30.0))
    assert isinstance(got, Seen) and got.upload.offset == 42
