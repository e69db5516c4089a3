"""Downloads, digests and joins on a disk: descriptors, links, and whose turn it is."""

import asyncio
import errno
import logging
import os
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.stores import PATIENCE_SECONDS, DiskRig, Gate, an_id, facts
from tests.unit.stores.calls import open_files, recorded
from tusd_py.core.digests import Algorithm
from tusd_py.core.facts import CompletionMark
from tusd_py.core.reconcile import Durability
from tusd_py.stores import disk_threads
from tusd_py.stores.base import Appended, Appending, Part, StoreError
from tusd_py.stores.disk import DiskSettings, DiskStore
from tusd_py.stores.disk_threads import Workers
from tusd_py.streams import Brake, SourceEnd

MIB = 1024 * 1024
CONTENT = b"0123456789"


@pytest.fixture
async def rig(tmp_path: Path) -> DiskRig:
    made = DiskRig(tmp_path, Durability.FINISH)
    await made.store.open()
    return made


async def _placed(rig: DiskRig) -> str:
    await rig.finished(CONTENT)
    place = await rig.store.place(an_id(), "4/cat.mp4", length=10)
    await rig.store.complete(an_id(), CompletionMark(length=10, finished_at=1.0, place=place))
    await rig.store.tidy_placed(an_id())
    return place


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "link in the way"])
async def test_only_a_file_of_its_own_is_opened_at_a_place(rig: DiskRig, kind: str) -> None:
    """Whoever can put a link there cannot make the server read behind it, nor wait for it."""
    place = await _placed(rig)
    path = rig.folder / "files" / place
    outside = rig.folder / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "cat.mp4").write_bytes(b"secret!!!!")
    path.unlink()
    if kind == "link":
        path.symlink_to(outside / "cat.mp4")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.parent.rmdir()
        path.parent.symlink_to(outside)
    assert await rig.store.open_bytes(an_id(), place=place) is None
    assert not await asyncio.to_thread(open_files, "/files/")


async def test_a_fifo_is_not_taken_for_an_empty_file(rig: DiskRig) -> None:
    """It has no bytes either, until somebody writes to it."""
    await rig.complete(b"")
    path = rig.path(an_id(), ".bin")
    path.unlink()
    os.mkfifo(path)
    assert await rig.store.open_bytes(an_id(), place=None) is None


async def test_a_link_in_the_root_is_not_followed(rig: DiskRig) -> None:
    """Nor for a download, nor for a digest, nor as a part."""
    await rig.complete(CONTENT)
    outside = rig.folder / "outside"
    outside.write_bytes(b"secret!!!!")
    path = rig.path(an_id(), ".bin")
    path.unlink()
    path.symlink_to(outside)
    with pytest.raises(StoreError):
        await rig.store.open_bytes(an_id(), place=None)
    with pytest.raises(StoreError):
        await rig.store.digest(an_id(), [Algorithm.MD5], length=10)
    await rig.store.prepare(facts(2))
    joined = await rig.store.join(Appending(an_id(2), 0, 10, Brake()), [Part(an_id(), 10)])
    assert isinstance(joined.error, StoreError) and rig.contents(an_id(2)) is None


async def test_a_place_needs_its_destination(rig: DiskRig, tmp_path: Path) -> None:
    """Where the setting was taken away the operator is told, not the client that it is gone."""
    place = await _placed(rig)
    bare = DiskStore(DiskSettings(root=tmp_path / "uploads", min_free_bytes=0))
    with pytest.raises(StoreError, match=r"store\.destination"):
        await bare.open_bytes(an_id(), place=place)


async def test_a_file_that_is_linked_is_read_at_both_names(tmp_path: Path) -> None:
    """Mode "link": the root keeps the bytes."""
    given = {"root": tmp_path / "uploads", "min_free_bytes": 0, "destination": "{filename}"}
    rig = DiskRig(tmp_path, Durability.FINISH)
    rig.store = DiskStore(DiskSettings.model_validate(given | {"destination_mode": "link"}))
    await rig.store.open()
    place = await _placed(rig)
    for where in (place, None):
        file = await rig.store.open_bytes(an_id(), place=where)
        assert file is not None and await file.read(0, 100) == CONTENT
        await file.close()


async def test_a_cancelled_opening_leaves_no_descriptor(rig: DiskRig) -> None:
    """However far it had come."""
    await rig.complete(CONTENT)
    for turns in range(12):
        opening = asyncio.create_task(rig.store.open_bytes(an_id(), place=None))
        for _ in range(turns):
            await asyncio.sleep(0)
        opening.cancel()
        await asyncio.wait([opening])
        if not opening.cancelled() and (file := opening.result()) is not None:
            await file.close()
    assert not await asyncio.to_thread(open_files, ".bin")


def _slow_preads(monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate, pread = Gate(), os.pread

    def slow(descriptor: int, count: int, offset: int) -> bytes:
        if count == 4:
            gate.pass_through()
        return pread(descriptor, count, offset)

    monkeypatch.setattr(os, "pread", slow)
    return gate


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_a_file_is_not_closed_under_a_read(
    rig: DiskRig, monkeypatch: pytest.MonkeyPatch, is_cancelled: bool
) -> None:
    """Its descriptor could be another upload's by then; it is closed once the read is over."""
    await rig.complete(CONTENT)
    gate = _slow_preads(monkeypatch)
    file = await rig.store.open_bytes(an_id(), place=None)
    assert file is not None
    read = asyncio.create_task(file.read(0, 4))
    await gate.reached()
    await file.close()
    if is_cancelled:
        read.cancel()
        await asyncio.sleep(0)
    assert len(await asyncio.to_thread(open_files, ".bin")) == 1 and not read.done()
    gate.open()
    await asyncio.wait([read])
    assert read.cancelled() is is_cancelled
    assert is_cancelled or read.result() == CONTENT[:4]
    assert not await asyncio.to_thread(open_files, ".bin")


async def test_a_file_that_became_shorter_is_an_error(rig: DiskRig) -> None:
    """Not a short answer that looks whole."""
    await rig.complete(CONTENT)
    file = await rig.store.open_bytes(an_id(), place=None)
    assert file is not None
    os.truncate(rig.path(an_id(), ".bin"), 4)
    assert await file.read(0, 10) == b"0123"
    with pytest.raises(StoreError, match="shorter"):
        await file.read(4, 6)
    await file.close()


async def test_a_medium_that_cannot_be_read_is_told(
    rig: DiskRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the store's own error, whose cause is kept."""
    await rig.complete(CONTENT)
    file = await rig.store.open_bytes(an_id(), place=None)
    assert file is not None

    def broken(*_: object) -> Any:
        raise OSError(errno.EIO, "disk")

    monkeypatch.setattr(os, "pread", broken)
    monkeypatch.setattr(os, "preadv", broken)
    with pytest.raises(StoreError) as caught:
        await file.read(0, 10)
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(StoreError):
        await rig.store.digest(an_id(), [Algorithm.MD5], length=10)
    await file.close()
    assert not await asyncio.to_thread(open_files, ".bin")


async def test_a_cancelled_digest_stops_soon_and_closes_its_file(
    rig: DiskRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the piece under way, not after a hundred gigabytes."""
    await rig.finished(bytes(4 * MIB))
    monkeypatch.setattr(disk_threads, "TURN_SECONDS", 0.0)
    gate, reads, preadv = Gate(), 0, os.preadv

    def slow(descriptor: int, buffers: Any, offset: int) -> int:
        nonlocal reads
        reads += 1
        gate.pass_through()
        return preadv(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", slow)
    digest = asyncio.create_task(rig.store.digest(an_id(), [Algorithm.MD5], length=4 * MIB))
    await gate.reached()
    digest.cancel()
    await asyncio.sleep(0)
    assert not digest.done()
    gate.open()
    with pytest.raises(asyncio.CancelledError):
        await digest
    assert reads == 1 and not await asyncio.to_thread(open_files, ".bin")


async def test_long_work_lets_other_work_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread, and work that ends only once other work was done in it."""
    monkeypatch.setattr(disk_threads, "TURN_SECONDS", 0.0)
    workers, other_came = Workers(1, "test"), threading.Event()

    def long() -> Generator[None, None, str]:
        while not other_came.is_set():
            yield
        return "over"

    async with asyncio.timeout(PATIENCE_SECONDS):
        work = asyncio.create_task(workers.run_in_turns("long work", long()))
        await asyncio.sleep(0)
        await workers.run("other work", other_came.set)
        assert await work == "over"
    workers.close()


@pytest.mark.parametrize("times", [1, 3])
async def test_cancelled_long_work_is_ended_in_its_thread(times: int) -> None:
    """What it holds is let go there before CancelledError goes on; an error of that is logged
    and does not take its place."""
    workers, begun = Workers(1, "test"), threading.Event()
    ended: list[threading.Thread] = []

    def long() -> Generator[None, None, None]:
        try:
            while True:
                begun.set()
                yield
        finally:
            ended.append(threading.current_thread())
            raise OSError(errno.EIO, "close")

    work = asyncio.create_task(workers.run_in_turns("long work", long()))
    assert await asyncio.to_thread(begun.wait, PATIENCE_SECONDS)
    for _ in range(times):
        work.cancel()
        await asyncio.sleep(0)
    await asyncio.wait([work])
    assert work.cancelled() and len(ended) == 1 and ended[0] is not threading.main_thread()
    workers.close()


async def test_an_error_of_long_work_is_the_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    """In whichever turn it comes."""
    monkeypatch.setattr(disk_threads, "TURN_SECONDS", 0.0)
    workers = Workers(1, "test")

    def failing() -> Generator[None, None, None]:
        yield
        yield
        raise OSError(errno.ENOSPC, "disk")

    with pytest.raises(StoreError, match="long work"):
        await workers.run_in_turns("long work", failing())
    workers.close()


@pytest.mark.parametrize(("durability", "synced"), [("power", True), ("finish", False)])
async def test_power_syncs_a_join_before_it_returns(
    tmp_path: Path, durability: str, synced: bool
) -> None:
    """The bytes, and the entry of the file that was made for them, also for no bytes."""
    rig = DiskRig(tmp_path, Durability(durability))
    await rig.store.open()
    parts = await rig.parts(b"0123", b"456789")
    for number, chosen in ((10, parts), (11, [])):
        await rig.store.prepare(facts(number, length=None))
        room = sum(part.length for part in chosen)
        with recorded() as calls:
            done = await rig.store.join(Appending(an_id(number), 0, room, Brake()), chosen)
        assert done == Appended(room, SourceEnd.COMPLETE)
        assert calls == (["fdatasync bin", "fsync fan-out"] if synced else [])


async def test_a_join_makes_its_moves_end_where_blocks_do(
    rig: DiskRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken up in the middle, it comes back to offsets at which file systems share blocks."""
    [part] = await rig.parts(bytes(40 * MIB))
    await rig.store.prepare(facts(length=None))
    await rig.append(bytes(MIB + 1))
    copy, moves = os.copy_file_range, []

    def watched(source: int, target: int, count: int, at: int, to: int) -> int:
        done = copy(source, target, count, at, to)
        moves.append((at, done))
        return done

    monkeypatch.setattr(os, "copy_file_range", watched)
    appending = Appending(an_id(), MIB + 1, 39 * MIB - 1, Brake())
    assert (await rig.store.join(appending, [part])).offset == 40 * MIB
    assert [at for at, _ in moves] == [MIB + 1, 16 * MIB, 32 * MIB]


async def test_a_cancelled_join_ends_after_the_move_under_way(rig: DiskRig) -> None:
    """Not after all that its turn would have had time for."""
    parts = await rig.parts(*[b"0123"] * 5)
    await rig.store.prepare(facts(length=None))
    appending = Appending(an_id(), 0, 20, Brake())
    with rig.slow_writes() as gate:
        join = asyncio.create_task(rig.store.join(appending, parts))
        await gate.reached()
        join.cancel()
        await asyncio.sleep(0)
        gate.open()
        with pytest.raises(asyncio.CancelledError):
            await join
    assert appending.offset == 4 and rig.contents(an_id()) == b"0123"
    assert not await asyncio.to_thread(open_files, ".bin")


async def test_no_descriptor_is_left_by_a_join(rig: DiskRig) -> None:
    """Whole, failed, or stopped."""
    parts = await rig.parts(b"0123", b"45")
    await rig.store.prepare(facts(length=None))
    for chosen in (parts, [parts[0], Part(an_id(99), 3)]):
        room = sum(part.length for part in chosen)
        await rig.store.join(Appending(an_id(), 0, room, Brake()), chosen)
        assert not await asyncio.to_thread(open_files, ".bin")


async def test_a_directory_that_cannot_be_read_does_not_end_the_walk(
    rig: DiskRig, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged and passed over; uploads behind it are found."""
    (rig.folder / "uploads/000").write_bytes(b"no directory")
    await rig.store.prepare(facts(0xABC << 116))
    with caplog.at_level(logging.WARNING):
        page = await rig.store.walk(None, orphan_age_seconds=-1)
    assert list(page.upload_ids) == [an_id(0xABC << 116)]
    assert [record.msg for record in caplog.records] == ["walk_passes_over"]
