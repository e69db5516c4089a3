"""What is the disk store's own: its layout, its space, its start and its refusals."""

import asyncio
import os
import stat
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.contract.stores import DiskRig, Script, an_id, facts
from tests.unit.stores.calls import open_files
from tusd_py.core.facts import CompletionMark
from tusd_py.core.ids import UploadId
from tusd_py.core.reconcile import Durability
from tusd_py.stores import disk_bytes
from tusd_py.stores.base import Appended, Appending, StoreError, StoreFull
from tusd_py.stores.disk import DiskSettings, DiskStore
from tusd_py.stores.disk_threads import Workers
from tusd_py.streams import Brake, SourceEnd, StopReason

MIB = 1024 * 1024
HUGE = 1 << 60


@pytest.fixture
async def rig(tmp_path: Path) -> DiskRig:
    made = DiskRig(tmp_path, Durability.FINISH)
    await made.store.open()
    return made


async def test_files_lie_where_the_layout_says_with_narrow_rights(rig: DiskRig) -> None:
    """One file at creation, a second with the first byte; nobody else may read them."""
    await rig.store.prepare(facts())
    folder = rig.folder / "uploads" / "000"
    assert [p.name for p in folder.iterdir()] == [f"{an_id()}.facts"]
    await rig.append(b"0123")
    assert sorted(p.name for p in folder.iterdir()) == [f"{an_id()}.bin", f"{an_id()}.facts"]
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & ~0o640 == 0
    assert stat.S_IMODE(folder.stat().st_mode) & ~0o750 == 0


@pytest.mark.parametrize("bad", ["", "../x", "A" * 32, "0" * 31, "0" * 32 + "\n", "0" * 30 + "/x"])
async def test_nothing_but_an_id_becomes_a_path(rig: DiskRig, bad: str) -> None:
    """A caller's fault stays a fault and touches no file."""
    with pytest.raises(StoreError):
        await rig.store.load(UploadId(bad))
    with pytest.raises(StoreError):
        await rig.store.remove(UploadId(bad))


@pytest.mark.parametrize("suffix", [".bin", ".facts"])
async def test_links_in_place_of_files_are_not_followed(rig: DiskRig, suffix: str) -> None:
    """Whoever can put a link into the root cannot make the server write behind it."""
    await rig.store.prepare(facts())
    outside = rig.folder / "outside"
    outside.write_bytes(b"")
    path = rig.path(an_id(), suffix)
    path.unlink(missing_ok=True)
    path.symlink_to(outside)
    if suffix == ".bin":
        done = await rig.append(b"0123")
        assert isinstance(done.error, StoreError) and done.offset == 0
    else:
        with pytest.raises(StoreError):
            await rig.store.load(an_id())
    assert outside.read_bytes() == b""


async def test_the_reserve_of_space_stops_creations_and_bodies(tmp_path: Path) -> None:
    """507 while less than the reserve is free, so that the state can always write."""
    rig = DiskRig(tmp_path, Durability.FINISH)
    await rig.store.open()
    await rig.store.prepare(facts())
    full = DiskStore(DiskSettings(root=tmp_path / "uploads", min_free_bytes=HUGE))
    assert not await full.has_space()
    with pytest.raises(StoreFull):
        await full.prepare(facts(2))
    done = await full.append(Appending(an_id(), 0, 10, Brake()), Script(b"0123"))
    assert done == Appended(0, StopReason.NO_SPACE) and rig.contents(an_id()) is None


async def test_the_reserve_is_looked_at_while_a_body_runs(
    rig: DiskRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body of many gigabytes does not eat the reserve."""
    answers = iter([False, False, True])
    monkeypatch.setattr(disk_bytes, "SPACE_STEP_BYTES", 2 * MIB)
    monkeypatch.setattr(disk_bytes.SpaceFloor, "is_reached", lambda _: next(answers))
    monkeypatch.setattr(disk_bytes.SpaceFloor, "check", lambda _: None)
    await rig.store.prepare(facts())
    done = await rig.append(*[bytes(MIB)] * 64)
    assert done.end is StopReason.NO_SPACE and 4 * MIB <= done.offset <= 6 * MIB


async def test_facts_that_do_not_fit_leave_nothing(
    rig: DiskRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a line is removed at once, and the id can be used again."""
    write = os.write

    def short(descriptor: int, data: bytes) -> int:
        return write(descriptor, data[: len(data) // 2])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", short)
        with pytest.raises(StoreFull):
            await rig.store.prepare(facts())
    assert not rig.path(an_id(), ".facts").exists()
    await rig.store.prepare(facts())


async def test_a_mark_that_was_torn_is_written_anew(rig: DiskRig) -> None:
    """Cut off in any place, the mark is not there; the next one is."""
    await rig.finished(b"0123456789")
    path, mark = rig.path(an_id(), ".facts"), CompletionMark(length=10, finished_at=1.0)
    bare = path.read_bytes()
    await rig.store.complete(an_id(), mark)
    marked = path.read_bytes()
    for end in range(len(bare), len(marked)):
        path.write_bytes(marked[:end])
        remains = await rig.store.load(an_id())
        assert remains is not None and remains.mark is None
        await rig.store.complete(an_id(), mark)
        remains = await rig.store.load(an_id())
        assert remains is not None and remains.mark == mark


async def test_facts_that_cannot_be_opened_do_not_end_the_walk(rig: DiskRig) -> None:
    """A bad sector, or somebody's link: the upload is no orphan, and the others are found too."""
    for number in (1, 2):
        await rig.store.prepare(facts(number))
    bad = rig.path(an_id(1), ".facts")
    bad.unlink()
    bad.symlink_to(bad)
    found: list[UploadId] = []
    cursor: str | None = None
    while True:
        page = await rig.store.walk(cursor, orphan_age_seconds=-1)
        found += page.upload_ids
        assert not page.orphans
        if (cursor := page.cursor) is None:
            break
    assert sorted(found) == [an_id(1), an_id(2)]


async def test_torn_facts_are_an_orphan_and_later_versions_are_not(rig: DiskRig) -> None:
    """What cannot be read here must not be swept away."""
    for number in (1, 2):
        await rig.store.prepare(facts(number))
    torn, later = rig.path(an_id(1), ".facts"), rig.path(an_id(2), ".facts")
    torn.write_bytes(torn.read_bytes()[:-1])
    later.write_bytes(later.read_bytes().replace(b'"v":1', b'"v":9'))
    page = await rig.store.walk(None, orphan_age_seconds=-1)
    assert (list(page.upload_ids), list(page.orphans)) == ([an_id(2)], [an_id(1)])
    await rig.store.remove(an_id(1))
    assert not torn.exists()


async def test_a_walk_passes_over_what_is_not_ours(rig: DiskRig) -> None:
    """Strangers' files, ids in the wrong directory; a cursor of no page is refused."""
    folder = rig.folder / "uploads" / "000"
    folder.mkdir()
    for name in ("notes.txt", "f" * 32 + ".bin", f"{an_id()}.bin.bak", f"{an_id()}"):
        (folder / name).write_bytes(b"")
    page = await rig.store.walk(None, orphan_age_seconds=-1)
    assert (list(page.upload_ids), list(page.orphans)) == ([], [])
    with pytest.raises(StoreError):
        await rig.store.walk("../", orphan_age_seconds=0)


@pytest.mark.parametrize(("part", "setting"), [("uploads", "store.root"), ("files", "destination")])
async def test_a_directory_that_cannot_be_used_stops_the_start(
    tmp_path: Path, part: str, setting: str
) -> None:
    """The text says which directory and which setting."""
    (tmp_path / part).write_bytes(b"a file, not a directory")
    with pytest.raises(StoreError, match=setting) as caught:
        await DiskRig(tmp_path, Durability.FINISH).store.open()
    assert str(tmp_path / part) in str(caught.value)


async def test_the_probe_of_the_start_leaves_nothing(rig: DiskRig) -> None:
    """An empty root after the start."""
    assert list((rig.folder / "uploads").iterdir()) == []


async def test_a_store_without_destination_places_nothing(tmp_path: Path) -> None:
    """That is said, not done by chance."""
    store = DiskStore(DiskSettings(root=tmp_path, min_free_bytes=0))
    await store.prepare(facts(length=0))
    with pytest.raises(StoreError, match=r"store\.destination"):
        await store.place(an_id(), "x", length=0)


def test_a_bad_template_stops_the_start() -> None:
    """With the settings, before anything is made."""
    with pytest.raises(ValidationError, match="does not know"):
        DiskSettings(destination="{fielname}")


async def test_relative_roots_give_gates_an_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gate may run in another directory."""
    monkeypatch.chdir(tmp_path)
    store = DiskStore(DiskSettings(root=Path("data/uploads"), min_free_bytes=0))
    await store.open()
    assert store.local_path(an_id()) == tmp_path / f"data/uploads/000/{an_id()}.bin"


async def test_a_small_body_takes_one_hop_and_no_pump(
    rig: DiskRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opened, written and closed in one turn of a worker."""
    await rig.store.prepare(facts())
    hops = 0
    run = Workers.run

    async def counting(self: Workers, *args: object, **kwargs: object) -> object:
        nonlocal hops
        hops += 1
        return await run(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Workers, "run", counting)
    tasks = len(asyncio.all_tasks())
    source = Script(b"0123", announced=4)
    done = await rig.store.append(Appending(an_id(), 0, 10, Brake()), source)
    assert done == Appended(4, SourceEnd.COMPLETE)
    assert hops == 1 and len(asyncio.all_tasks()) == tasks


async def test_a_source_that_raises_leaves_no_descriptor_open(rig: DiskRig) -> None:
    """It promised not to; all the same the error flies, the file is closed, and nobody waits."""

    class Broken(Script):
        async def read(self) -> bytes:
            if not self.left:
                raise RuntimeError("broken source")
            return await super().read()

    await rig.store.prepare(facts())
    source = Broken(*[bytes(MIB)] * 3)
    with pytest.raises(RuntimeError, match="broken source"):
        await rig.store.append(Appending(an_id(), 0, 8 * MIB, Brake()), source)
    assert not await asyncio.to_thread(open_files, ".bin")
