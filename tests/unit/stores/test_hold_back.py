"""What is the disk's own about held bytes: their file, their memory, their threads and moves."""

import asyncio
import errno
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.stores import (
    HOLDER,
    PATIENCE_SECONDS,
    DiskRig,
    Gate,
    Script,
    WatchedAppending,
    an_id,
    facts,
)
from tests.unit.stores.calls import open_files, recorded
from tusd_py.core.digests import Algorithm, Digest, Promise
from tusd_py.core.ids import HolderId
from tusd_py.core.reconcile import Durability
from tusd_py.digests import build_hasher
from tusd_py.stores import hold_back
from tusd_py.stores.base import Appended, Appending, StoreError
from tusd_py.stores.disk_bytes import SpaceFloor
from tusd_py.stores.disk_threads import Workers
from tusd_py.streams import Brake, SourceEnd, StopReason

MIB = 1024 * 1024
BIG = os.urandom(9 * MIB)
HELD = f"{an_id()}.{HOLDER}.held"


@pytest.fixture
async def rig(tmp_path: Path) -> DiskRig:
    return await _opened(tmp_path, Durability.FINISH)


async def _opened(folder: Path, durability: Durability) -> DiskRig:
    made = DiskRig(folder, durability)
    await made.store.open()
    await made.store.prepare(facts(length=None))
    return made


def _promise(data: bytes, algorithm: Algorithm = Algorithm.CRC32C) -> Promise:
    hasher = build_hasher(algorithm)
    hasher.update(data)
    return Promise(digests=(Digest(algorithm, hasher.digest()),))


def _appending(
    data: bytes, *, number: int = 1, brake: Brake | None = None, holder: HolderId = HOLDER
) -> Appending:
    brake = brake or Brake()
    return Appending(an_id(number), 0, 1 << 40, brake, promise=_promise(data), holder=holder)


def _open_held() -> list[str]:
    return list(open_files(".held"))


async def _hold(rig: DiskRig, data: bytes) -> tuple[asyncio.Task[Appended], asyncio.Event]:
    """An append all of whose bytes are held back, and what lets it go on."""
    more = asyncio.Event()
    source = Script(data, more)
    append = asyncio.create_task(rig.store.append(_appending(data), source))
    # But for what still waits in the buffer for its batch.
    await _until(lambda: sum(open_files(".held").values()) > len(data) - 3 * MIB)
    return append, more


async def test_big_bodies_wait_in_a_file_without_a_name(rig: DiskRig) -> None:
    """Nobody else can open it, and it goes with the process."""
    append, more = await _hold(rig, BIG)
    held = await asyncio.to_thread(_open_held)
    assert [Path(name).name for name in held] == [f"{HELD} (deleted)"]
    assert rig.strays() == []
    more.set()
    assert await append == Appended(len(BIG), SourceEnd.COMPLETE)
    assert rig.contents(an_id()) == BIG and not await asyncio.to_thread(_open_held)


@pytest.mark.parametrize("fate", ["wrong", "cut", "cancelled"])
async def test_no_descriptor_outlives_the_body(rig: DiskRig, fate: str) -> None:
    """Whatever comes of it."""
    end = SourceEnd.HUNG_UP if fate == "cut" else SourceEnd.COMPLETE
    source = Script(BIG, *([asyncio.Event()] if fate == "cancelled" else []), end=end)
    append = asyncio.create_task(rig.store.append(_appending(b"other"), source))
    if fate == "cancelled":
        await source.starved.wait()
        append.cancel()
    await asyncio.wait([append])
    assert not await asyncio.to_thread(_open_held) and rig.strays() == []


KILLED = """
import asyncio, pathlib, sys
from tests.contract.stores import DiskRig, facts
from tests.unit.stores.test_hold_back import BIG, _hold
from tusd_py.core.reconcile import Durability

async def main():
    rig = DiskRig(pathlib.Path(sys.argv[1]), Durability.FINISH)
    await rig.store.open()
    await rig.store.prepare(facts(length=None))
    append, _ = await _hold(rig, BIG)
    print("held", flush=True)
    await append

asyncio.run(main())
"""


async def test_a_process_that_is_killed_leaves_nothing_of_a_held_body(tmp_path: Path) -> None:
    """SIGKILL, with megabytes held back: no file has them, and the upload has no bytes."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_SECONDS * 3):
        assert await process.stdout.readline() == b"held\n"
        process.kill()
        await process.wait()
    rig = DiskRig(tmp_path, Durability.FINISH)
    remains = await rig.store.load(an_id())
    assert remains is not None and remains.size == 0
    files = [path for path in (tmp_path / "uploads").rglob("*") if path.is_file()]
    assert [path.name for path in files] == [f"{an_id()}.facts"]


def _keep_names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A file system that does not remove the name of a file that is open. What it refused."""
    unlink = os.unlink
    refused: list[str] = []

    def stubborn(path: str, **kwargs: Any) -> None:
        if os.path.abspath(path) in [os.path.abspath(one) for one in _open_held()]:
            refused.append(path)
            raise OSError(errno.EBUSY, "it is open")
        unlink(path, **kwargs)

    monkeypatch.setattr(os, "unlink", stubborn)
    return refused


async def test_where_names_of_open_files_stay_they_go_at_the_end(
    rig: DiskRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network file systems are so."""
    refused = _keep_names(monkeypatch)
    append, more = await _hold(rig, BIG)
    assert rig.strays() == [HELD] and len(refused) == 1
    more.set()
    assert await append == Appended(len(BIG), SourceEnd.COMPLETE)
    assert rig.contents(an_id()) == BIG and rig.strays() == []


async def test_a_name_that_was_left_goes_with_the_walk_once_it_is_old(rig: DiskRig) -> None:
    """Not before: somebody may hold bytes in it. The upload is not touched, nor is an upload
    made of it."""
    await rig.append(b"0123")
    for name in (HELD, f"{an_id(2)}.{HOLDER}.held"):
        (rig.folder / "uploads/000" / name).write_bytes(b"unverified")
    page = await rig.store.walk(None, orphan_age_seconds=3600)
    assert len(rig.strays()) == 2
    assert (list(page.upload_ids), list(page.orphans)) == ([an_id()], [])
    page = await rig.store.walk(None, orphan_age_seconds=-1)
    assert rig.strays() == [] and rig.contents(an_id()) == b"0123"
    assert (list(page.upload_ids), list(page.orphans)) == ([an_id()], [])


@pytest.mark.parametrize("name", ["a.held", f"{an_id()}.held", f"{an_id()}..held", f"{HELD}.held"])
async def test_strangers_with_like_names_are_left_alone(rig: DiskRig, name: str) -> None:
    """Only what could be ours is taken."""
    (rig.folder / "uploads/000" / name).write_bytes(b"mine")
    await rig.store.walk(None, orphan_age_seconds=-1)
    assert rig.strays() == [name]


@pytest.mark.parametrize("holder", ["", "../x", "a/b", "a.b", "x" * 65, "a\n", "\N{SNOWMAN}"])
async def test_nothing_but_a_token_becomes_part_of_a_name(rig: DiskRig, holder: str) -> None:
    """A caller's fault, told before a byte is read."""
    source = Script(b"0123")
    with pytest.raises(StoreError, match="holder"):
        await rig.store.append(_appending(b"0123", holder=HolderId(holder)), source)
    assert source.reads == 0


async def test_a_file_that_has_the_name_already_is_not_written(rig: DiskRig) -> None:
    """Nor a link followed: the append fails, and nothing is lost."""
    outside = rig.folder / "outside"
    outside.write_bytes(b"mine")
    path = rig.folder / "uploads/000" / HELD
    path.symlink_to(outside)
    done = await rig.store.append(_appending(BIG), Script(BIG))
    assert isinstance(done.error, StoreError) and done.offset == 0
    assert outside.read_bytes() == b"mine" and path.is_symlink()


async def test_small_bodies_wait_in_memory_until_all_of_it_is_taken(
    rig: DiskRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of slow clients do not fill it: the next ones wait in files."""
    body = b"x" * 300_000
    monkeypatch.setattr(hold_back, "ALL_HELD_MEMORY_BYTES", 2 * len(body))
    rig = await _opened(rig.folder / "other", Durability.FINISH)
    for number in range(2, 5):
        await rig.store.prepare(facts(number, length=None))

    async def begin(number: int) -> tuple[asyncio.Task[Appended], asyncio.Event]:
        more = asyncio.Event()
        source = Script(body, more)
        appending = _appending(body, number=number)
        append = asyncio.create_task(rig.store.append(appending, source))
        await source.starved.wait()
        return append, more

    running = [await begin(number) for number in (2, 3, 4)]
    await _until(lambda: len(_open_held()) == 1)
    for append, more in running:
        more.set()
        assert (await append).offset == len(body)
    assert not await asyncio.to_thread(_open_held)
    assert [rig.contents(an_id(number)) for number in range(2, 5)] == [body] * 3


@pytest.mark.parametrize("sizes", [(100,), (100, MIB), (MIB, 1, 1)], ids=str)
def test_memory_is_given_back_once(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    """By what is over, and by what went into a file; closed again, not twice."""
    floor = SpaceFloor(str(tmp_path), 0)
    memory = hold_back.HeldMemory()
    file = hold_back.HeldFile(str(tmp_path / "x.held"), an_id(), Brake(), floor)
    held = hold_back.HeldBytes(file, memory, ())
    everything = hold_back.ALL_HELD_MEMORY_BYTES
    for size in sizes:
        assert held.add([bytes(size)])
    assert held.size == sum(sizes)
    is_in_file = sum(sizes) > hold_back.HELD_MEMORY_BYTES
    assert held.is_in_file is is_in_file
    if is_in_file:
        assert memory.take(everything)
        memory.give_back(everything)
    else:
        assert not memory.take(everything - sum(sizes) + 1)
    for _ in range(3):
        held.close()
    assert memory.take(everything) and not memory.take(1)


async def _until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await asyncio.to_thread(is_true):
            continue


async def test_a_small_body_takes_one_hop_and_no_pump(
    rig: DiskRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hashed, opened, written and closed in one turn of a worker."""
    hops, run = 0, Workers.run

    async def counting(self: Workers, *args: object, **kwargs: object) -> object:
        nonlocal hops
        hops += 1
        return await run(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Workers, "run", counting)
    tasks = len(asyncio.all_tasks())
    done = await rig.store.append(_appending(b"0123"), Script(b"0123", announced=4))
    assert done == Appended(4, SourceEnd.COMPLETE)
    assert hops == 1 and len(asyncio.all_tasks()) == tasks


@pytest.mark.parametrize("is_late", [False, True])
async def test_hashing_happens_in_threads(
    rig: DiskRig, monkeypatch: pytest.MonkeyPatch, is_late: bool
) -> None:
    """Known before the body: while it comes. Megabytes never stop the event loop."""
    threads: set[threading.Thread] = set()

    class Watched:
        def update(self, data: bytes) -> None:
            threads.add(threading.current_thread())

        def digest(self) -> bytes:
            return b"1234"

    monkeypatch.setattr(hold_back, "build_hasher", lambda _: Watched())
    said = (Digest(Algorithm.CRC32C, b"1234"),)
    promise = Promise(trailer=lambda: said) if is_late else Promise(digests=said)
    more = asyncio.Event()
    source = Script(BIG, more)
    appending = Appending(an_id(), 0, 1 << 40, Brake(), promise=promise, holder=HOLDER)
    append = asyncio.create_task(rig.store.append(appending, source))
    await source.starved.wait()
    if is_late:
        assert not threads, "nobody had said which hash"
    else:
        await _until(lambda: bool(threads))
    more.set()
    assert (await append).offset == len(BIG)
    assert threads and threading.main_thread() not in threads


def _slow_copies(monkeypatch: pytest.MonkeyPatch) -> tuple[Gate, list[int]]:
    """Copies inside the kernel wait at a gate; how long each of them was."""
    gate, copy = Gate(), os.copy_file_range
    sizes: list[int] = []

    def slow(source: int, target: int, count: int, at: int, to: int) -> int:
        gate.pass_through()
        sizes.append(count)
        return copy(source, target, count, at, to)

    monkeypatch.setattr(os, "copy_file_range", slow)
    return gate, sizes


@pytest.mark.parametrize(
    ("reason", "patience", "moves"),
    [
        pytest.param(StopReason.LEASE_LOST, 60.0, 1, id="no right to write any more"),
        pytest.param(StopReason.ASKED, 60.0, 3, id="asked, and soon done"),
        pytest.param(StopReason.ASKED, -1.0, 1, id="asked, and not soon done"),
        pytest.param(StopReason.STOPPING, -1.0, 1, id="the server ends"),
    ],
)
async def test_verified_bytes_go_into_place_in_moves_that_can_be_stopped(
    rig: DiskRig,
    monkeypatch: pytest.MonkeyPatch,
    reason: StopReason,
    patience: float,
    moves: int,
) -> None:
    """A newcomer waits for a while, not for gigabytes; what is in place counts, as it was
    verified."""
    monkeypatch.setattr(hold_back, "PUT_ON_SECONDS", patience)
    gate, sizes = _slow_copies(monkeypatch)
    brake = Brake()
    append = asyncio.create_task(rig.store.append(_appending(BIG, brake=brake), Script(BIG)))
    await gate.reached()
    brake.pull(reason)
    gate.open()
    done = await append
    put = min(moves * hold_back.PUT_STEP_BYTES, len(BIG))
    assert done == Appended(put, SourceEnd.COMPLETE if put == len(BIG) else reason)
    assert rig.contents(an_id()) == BIG[:put]
    assert len(sizes) == moves and max(sizes) <= hold_back.PUT_STEP_BYTES


async def test_a_checkpoint_counts_what_is_in_place_of_a_verified_body(
    rig: DiskRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing while it is only held."""
    reached, go_on = threading.Event(), threading.Event()
    copy = os.copy_file_range
    copies: list[Any] = []

    def slow(*args: Any) -> int:
        if copies:
            reached.set()
            assert go_on.wait(PATIENCE_SECONDS)
        copies.append(args)
        return copy(*args)

    monkeypatch.setattr(os, "copy_file_range", slow)
    appending = WatchedAppending(an_id(), 0, 1 << 40, Brake(), promise=_promise(BIG))
    append = asyncio.create_task(rig.store.append(appending, Script(BIG)))
    assert await asyncio.to_thread(reached.wait, PATIENCE_SECONDS)
    assert appending.offset == hold_back.PUT_STEP_BYTES
    assert rig.contents(an_id()) == BIG[: appending.offset]
    go_on.set()
    assert (await append).offset == len(BIG)


async def test_held_bytes_that_cannot_be_read_back_are_an_error(
    rig: DiskRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trailer is verified over what is held: without that there is no verdict."""

    def broken(*_: object) -> bytes:
        raise OSError(errno.EIO, "pread")

    said = _promise(BIG).digests
    promise = Promise(trailer=lambda: said)
    appending = Appending(an_id(), 0, 1 << 40, Brake(), promise=promise, holder=HOLDER)
    monkeypatch.setattr(os, "pread", broken)
    done = await rig.store.append(appending, Script(BIG))
    assert isinstance(done.error, StoreError) and done.unproven is None
    assert done.offset == 0 and done.end is not SourceEnd.COMPLETE
    assert rig.contents(an_id()) is None


@pytest.mark.parametrize(("durability", "synced"), [("power", True), ("finish", False)])
@pytest.mark.parametrize("data", [b"0123", BIG], ids=["small", "big"])
async def test_power_syncs_what_was_put_into_place_before_it_returns(
    tmp_path: Path, durability: str, synced: bool, data: bytes
) -> None:
    """Bytes and the entry that leads to them; what was held is never synced."""
    rig = await _opened(tmp_path, Durability(durability))
    with recorded() as calls:
        await rig.store.append(_appending(data), Script(data))
    syncs = [call for call in calls if "sync" in call]
    assert syncs == (["fdatasync bin", "fsync fan-out"] if synced else [])
    assert calls[-len(syncs) :] == syncs or not syncs


async def test_a_reserve_of_space_holds_for_held_bytes_too(
    rig: DiskRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """507, before the reserve is eaten up by what may have to be thrown away."""
    monkeypatch.setattr("tusd_py.stores.disk_bytes.SpaceFloor.is_reached", lambda _: True)
    done = await rig.store.append(_appending(BIG), Script(BIG))
    assert done == Appended(0, StopReason.NO_SPACE)
    assert rig.contents(an_id()) is None and rig.strays() == []


async def test_a_cancelled_put_of_a_big_body_ends_after_one_move(
    rig: DiskRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not after gigabytes; the offset is exact."""
    gate, sizes = _slow_copies(monkeypatch)
    appending = _appending(BIG)
    append = asyncio.create_task(rig.store.append(appending, Script(BIG)))
    await gate.reached()
    append.cancel()
    await asyncio.sleep(0)
    assert not append.done()
    gate.open()
    with pytest.raises(asyncio.CancelledError):
        await append
    assert len(sizes) == 1 and appending.offset == hold_back.PUT_STEP_BYTES
    assert rig.contents(an_id()) == BIG[: appending.offset]
    assert not await asyncio.to_thread(_open_held)
