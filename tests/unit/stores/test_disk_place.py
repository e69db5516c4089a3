"""Placing survives a crash after each of its steps, on every kind of file system."""

import asyncio
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal

import pytest

from tests.contract.stores import PATIENCE_SECONDS, Died, Gate, Script, an_id, facts
from tests.support.faults import SmallDisk, small_disk
from tests.unit.stores.calls import dying_at, links_fail
from tusd_py.core.facts import CompletionMark
from tusd_py.core.reconcile import Durability
from tusd_py.stores.base import Appending, StoreError, StoreFull
from tusd_py.stores.disk import DiskSettings, DiskStore
from tusd_py.streams import Brake

CONTENT = os.urandom(100_000)
WITH_ID = f"cat-{an_id()}.mp4"
Links = Callable[[], AbstractContextManager[None]]
FILE_SYSTEMS: dict[str, tuple[Links, str]] = {
    "one": (nullcontext, "cat.mp4"),
    "another": (lambda: links_fail(errno.EXDEV, always=False), "cat.mp4"),
    "without links": (lambda: links_fail(errno.EPERM, always=True), WITH_ID),
}


def _store(folder: Path, *, mode: Literal["move", "link"] = "move", **more: object) -> DiskStore:
    given = {"root": folder / "uploads", "min_free_bytes": 0, "destination": "{filename}"}
    return DiskStore(DiskSettings.model_validate({**given, "destination_mode": mode, **more}))


async def _finished(store: DiskStore, number: int = 1) -> None:
    await store.open()
    await store.prepare(facts(number, length=len(CONTENT)))
    await store.append(Appending(an_id(number), 0, len(CONTENT), Brake()), Script(CONTENT))


def _files(folder: Path) -> dict[str, bytes]:
    root = folder / "files"
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize("kind", FILE_SYSTEMS)
async def test_a_crash_after_any_step_is_made_good_by_doing_it_again(
    tmp_path: Path, kind: str, taken: bool
) -> None:
    """One file in the end, whole, at one name, whoever else has the wanted one."""
    links, name = FILE_SYSTEMS[kind]
    name = WITH_ID if taken else name
    step, has_died = 0, True
    while has_died:
        folder = tmp_path / str(step)
        store = _store(folder)
        await _finished(store)
        others = {"4/cat.mp4": b"another's"} if taken else {}
        if taken:
            (folder / "files/4").mkdir()
            (folder / "files/4/cat.mp4").write_bytes(b"another's")
        has_died = False
        with links(), dying_at(step):
            try:
                await store.place(an_id(), "4/cat.mp4", length=len(CONTENT))
            except Died:
                has_died = True
        for found, content in _files(folder).items():
            is_hidden = Path(found).name.startswith(".tusd-")
            assert is_hidden or content in (CONTENT, b"another's")
        again = _store(folder)
        with links():
            place = await again.place(an_id(), "4/cat.mp4", length=len(CONTENT))
        assert place == f"4/{name}"
        mark = CompletionMark(length=len(CONTENT), finished_at=1.0, place=place)
        await again.complete(an_id(), mark)
        await again.tidy_placed(an_id())
        assert _files(folder) == {**others, place: CONTENT}
        assert not (folder / f"uploads/000/{an_id()}.bin").exists()
        step += 1
    assert step > 3, "it died nowhere, so nothing was shown"


@pytest.mark.parametrize("kind", FILE_SYSTEMS)
async def test_linking_keeps_the_bytes_at_both_names(tmp_path: Path, kind: str) -> None:
    """Mode "link": the root keeps its file, and no hidden copy is left."""
    links, name = FILE_SYSTEMS[kind]
    store = _store(tmp_path, mode="link")
    await _finished(store)
    with links():
        place = await store.place(an_id(), "cat.mp4", length=len(CONTENT))
    mark = CompletionMark(length=len(CONTENT), finished_at=1.0, place=place)
    await store.complete(an_id(), mark)
    await store.tidy_placed(an_id())
    assert _files(tmp_path) == {name: CONTENT}
    assert (tmp_path / f"uploads/000/{an_id()}.bin").read_bytes() == CONTENT


async def test_removing_an_upload_takes_its_half_made_copy_along(tmp_path: Path) -> None:
    """The facts remember where it lies."""
    links, _ = FILE_SYSTEMS["another"]
    store = _store(tmp_path)
    await _finished(store)
    with links(), dying_at(10**6) as calls:
        await store.place(an_id(), "4/cat.mp4", length=len(CONTENT))
    step = calls.index("copy_file_range") + 1
    store = _store(tmp_path / "cut")
    await _finished(store)
    with links(), dying_at(step), pytest.raises(Died):
        await store.place(an_id(), "4/cat.mp4", length=len(CONTENT))
    assert list(_files(tmp_path / "cut")) == [f"4/.tusd-{an_id()}.part"]
    await store.remove(an_id())
    assert _files(tmp_path / "cut") == {}


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "small", mib=4) as disk:
        yield disk


async def test_a_real_other_file_system_gets_a_copy(tmp_path: Path, other_disk: SmallDisk) -> None:
    """Nothing injected: the kernel itself says EXDEV."""
    store = _store(tmp_path, destination_root=other_disk.path / "files")
    await _finished(store)
    place = await store.place(an_id(), "4/cat.mp4", length=len(CONTENT))
    assert (other_disk.path / "files" / place).read_bytes() == CONTENT
    mark = CompletionMark(length=len(CONTENT), finished_at=1.0, place=place)
    await store.complete(an_id(), mark)
    await store.tidy_placed(an_id())
    assert [p.name for p in (other_disk.path / "files/4").iterdir()] == ["cat.mp4"]


async def test_a_full_destination_is_told_as_full(tmp_path: Path, other_disk: SmallDisk) -> None:
    """And once there is space again, the same call succeeds."""
    store = _store(tmp_path, destination_root=other_disk.path / "files")
    await _finished(store)
    other_disk.fill(leave_bytes=40_000)
    with pytest.raises(StoreFull):
        await store.place(an_id(), "cat.mp4", length=len(CONTENT))
    other_disk.release()
    assert await store.place(an_id(), "cat.mp4", length=len(CONTENT)) == "cat.mp4"
    assert (other_disk.path / "files/cat.mp4").read_bytes() == CONTENT


async def test_a_full_disk_ends_an_append_with_what_fits(other_disk: SmallDisk) -> None:
    """The file system itself says that there is no space; later the upload goes on."""
    store = _store(other_disk.path, destination=None)
    await store.open()
    await store.prepare(facts(length=len(CONTENT)))
    other_disk.fill(leave_bytes=40_000)
    appending = Appending(an_id(), 0, len(CONTENT), Brake())
    done = await store.append(appending, Script(CONTENT))
    assert done.end == "no_space" and 0 < done.offset < len(CONTENT) and done.error is None
    other_disk.release()
    rest = Appending(an_id(), done.offset, len(CONTENT), Brake())
    assert (await store.append(rest, Script(CONTENT[done.offset :]))).offset == len(CONTENT)
    path = store.local_path(an_id())
    assert path is not None and path.read_bytes() == CONTENT


@pytest.mark.parametrize("leads_to", ["link", "file"])
async def test_a_destination_follows_no_link_out_of_its_root(tmp_path: Path, leads_to: str) -> None:
    """A link where a directory belongs is an error that names it; nothing is written behind it."""
    store = _store(tmp_path)
    await _finished(store)
    outside = tmp_path / "outside"
    outside.mkdir()
    if leads_to == "link":
        (tmp_path / "files/4").symlink_to(outside)
    else:
        (tmp_path / "files/4").write_bytes(b"file")
    with pytest.raises(StoreError, match="move it away"):
        await store.place(an_id(), "4/cat.mp4", length=len(CONTENT))
    assert list(outside.iterdir()) == []


async def test_a_link_that_leads_nowhere_is_not_overwritten(tmp_path: Path) -> None:
    """The name is taken, whatever is behind it."""
    store = _store(tmp_path)
    await _finished(store)
    (tmp_path / "files/cat.mp4").symlink_to(tmp_path / "nowhere")
    assert await store.place(an_id(), "cat.mp4", length=len(CONTENT)) == WITH_ID
    assert (tmp_path / "files/cat.mp4").is_symlink() and not (tmp_path / "nowhere").exists()


async def test_both_names_taken_is_an_error(tmp_path: Path) -> None:
    """Nobody's file gives way."""
    store = _store(tmp_path)
    await _finished(store)
    for name in ("cat.mp4", WITH_ID):
        (tmp_path / "files" / name).write_bytes(b"another's")
    with pytest.raises(StoreError, match="taken"):
        await store.place(an_id(), "cat.mp4", length=len(CONTENT))
    assert set(_files(tmp_path).values()) == {b"another's"}


async def test_a_cancelled_copy_stops_soon_and_can_be_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two pieces of the copy, not after many gigabytes of it."""
    gate, copied = Gate(), []

    def slow(source: int, target: int, count: int, at: int, to: int) -> int:
        gate.pass_through()
        data = os.pread(source, 1000, at)
        copied.append(len(data))
        return os.pwrite(target, data, to)

    store = _store(tmp_path)
    await _finished(store)
    with monkeypatch.context() as patched:
        patched.setattr(os, "copy_file_range", slow)
        with links_fail(errno.EXDEV, always=False):
            place = asyncio.create_task(store.place(an_id(), "cat.mp4", length=len(CONTENT)))
            await gate.reached()
            place.cancel()
            await asyncio.sleep(0)
            assert not place.done()
            gate.open()
            async with asyncio.timeout(PATIENCE_SECONDS):
                with pytest.raises(asyncio.CancelledError):
                    await place
    assert len(copied) == 1
    assert await store.place(an_id(), "cat.mp4", length=len(CONTENT)) == "cat.mp4"
    assert _files(tmp_path)["cat.mp4"] == CONTENT


async def test_without_copy_file_range_the_bytes_are_copied_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old kernels, and file systems that have it not."""

    def missing(*_: object) -> int:
        raise OSError(errno.EXDEV, "copy_file_range")

    store = _store(tmp_path, durability=Durability.POWER)
    await _finished(store)
    monkeypatch.setattr(os, "copy_file_range", missing)
    with links_fail(errno.EXDEV, always=False):
        assert await store.place(an_id(), "cat.mp4", length=len(CONTENT)) == "cat.mp4"
    assert _files(tmp_path)["cat.mp4"] == CONTENT


@pytest.mark.parametrize("kind", ["another", "without links"])
async def test_who_was_stopped_in_a_copy_shows_nothing_of_the_one_who_took_it_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The hidden name is another's by then, and its copy is not whole."""
    links, name = FILE_SYSTEMS[kind]
    gates = [Gate(), Gate()]
    turns = iter(gates)

    def slow(source: int, target: int, count: int, at: int, to: int) -> int:
        next(turns).pass_through()
        return os.pwrite(target, os.pread(source, count, at), to)

    stopped, successor = _store(tmp_path), _store(tmp_path)
    await _finished(stopped)
    await successor.open()
    monkeypatch.setattr(os, "copy_file_range", slow)
    with links():
        one = asyncio.create_task(stopped.place(an_id(), "cat.mp4", length=len(CONTENT)))
        await gates[0].reached()
        other = asyncio.create_task(successor.place(an_id(), "cat.mp4", length=len(CONTENT)))
        await gates[1].reached()
        gates[0].open()
        async with asyncio.timeout(PATIENCE_SECONDS):
            with pytest.raises(StoreError, match="taken up by another"):
                await one
            gates[1].open()
            assert await other == name
    await successor.complete(
        an_id(), CompletionMark(length=len(CONTENT), finished_at=1.0, place=name)
    )
    await successor.tidy_placed(an_id())
    assert _files(tmp_path) == {name: CONTENT}
