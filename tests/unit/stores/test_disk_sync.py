"""Syncs are made where durability promises them, in order, grouped, and none is forgotten."""

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.stores import PATIENCE_SECONDS, DiskRig, Script, WatchedAppending, an_id, facts
from tests.unit.stores.calls import recorded
from tusd_py.core.facts import CompletionMark
from tusd_py.core.reconcile import Durability
from tusd_py.stores import disk_sync
from tusd_py.stores.base import StoreError
from tusd_py.stores.disk_sync import DirectorySyncs
from tusd_py.streams import Brake

MARK = CompletionMark(length=4, finished_at=2.0)


async def _upload(rig: DiskRig) -> tuple[list[str], list[str], list[str]]:
    """The calls of a creation, an append and a completion."""
    with recorded() as prepare:
        await rig.store.prepare(facts(length=4))
    with recorded() as append:
        await rig.append(b"0123")
    with recorded() as complete:
        await rig.store.complete(an_id(), MARK)
    return prepare, append, complete


async def test_process_syncs_nothing(tmp_path: Path) -> None:
    """The page cache survives the process; no more was promised."""
    calls = await _upload(await _opened(tmp_path, Durability.PROCESS))
    assert calls == (["write facts"], ["pwritev bin"], ["write facts"])


async def test_sync_at_finish(tmp_path: Path) -> None:
    """[sync-at-finish] bytes before the mark, mark and entries before the return."""
    calls = await _upload(await _opened(tmp_path, Durability.FINISH))
    assert calls == (
        ["write facts"],
        ["pwritev bin"],
        ["fdatasync bin", "write facts", "fdatasync facts", "fsync fan-out", "fsync uploads"],
    )


async def test_power_syncs_before_each_return(tmp_path: Path) -> None:
    """Facts, bytes and mark, each with the entry that leads to it."""
    rig = await _opened(tmp_path, Durability.POWER)
    calls = await _upload(rig)
    assert calls == (
        ["write facts", "fdatasync facts", "fsync fan-out", "fsync uploads"],
        ["pwritev bin", "fdatasync bin", "fsync fan-out"],
        ["fdatasync bin", "write facts", "fdatasync facts", "fsync fan-out"],
    )
    with recorded() as remove:
        await rig.store.remove(an_id())
    assert remove == ["unlink facts", "unlink bin", "fsync fan-out"]


async def test_a_mark_that_is_there_is_synced_all_the_same(tmp_path: Path) -> None:
    """A run before us may have died between write and sync."""
    rig = await _opened(tmp_path, Durability.FINISH)
    await _upload(rig)
    with recorded() as again:
        await rig.store.complete(an_id(), MARK)
    assert again == ["fdatasync bin", "fdatasync facts", "fsync fan-out"]


async def test_sync_reaches_bytes_facts_and_entries(tmp_path: Path) -> None:
    """A checkpoint's sync covers everything written before it."""
    rig = await _opened(tmp_path, Durability.FINISH)
    await rig.store.prepare(facts(length=4))
    await rig.append(b"0123")
    with recorded() as calls:
        await rig.store.sync(an_id())
    assert calls == ["fdatasync bin", "fdatasync facts", "fsync fan-out", "fsync uploads"]


async def test_after_a_failed_sync_nothing_above_the_last_good_one_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel may have thrown the pages away; a sync that succeeded meanwhile counts."""
    rig = await _opened(tmp_path, Durability.POWER)
    await rig.store.prepare(facts(length=10))
    more = asyncio.Event()
    source = Script(b"0123", more, b"456789", announced=10)
    appending = WatchedAppending(an_id(), 0, 10, Brake())
    append = asyncio.create_task(rig.store.append(appending, source))
    await appending.grown()
    await rig.store.sync(an_id())
    monkeypatch.setattr(os, "fdatasync", _failing(errno.EIO))
    more.set()
    done = await append
    assert done.offset == 4 and isinstance(done.error, StoreError)


async def test_an_error_of_close_is_not_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems tell only then that bytes were not stored."""
    rig = await _opened(tmp_path, Durability.PROCESS)
    await rig.store.prepare(facts())
    close = os.close

    def failing(descriptor: int) -> None:
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        close(descriptor)
        if name.endswith(".bin"):
            raise OSError(errno.EIO, "close")

    monkeypatch.setattr(os, "close", failing)
    done = await rig.append(b"0123")
    assert done.offset == 0 and isinstance(done.error, StoreError)


async def test_a_completion_whose_sync_fails_is_not_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes first: without them there is no mark."""
    rig = await _opened(tmp_path, Durability.FINISH)
    await rig.finished(b"0123")
    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", _failing(errno.EIO))
        with pytest.raises(StoreError):
            await rig.store.complete(an_id(), MARK)
    remains = await rig.store.load(an_id())
    assert remains is not None and remains.mark is None


class _SlowDisk:
    """Syncs of directories that wait, and are counted."""

    def __init__(self) -> None:
        self.count = 0
        self.started = threading.Event()
        self.go_on = threading.Event()
        self.error: OSError | None = None

    def __call__(self, path: str) -> None:
        self.count += 1
        self.started.set()
        assert self.go_on.wait(PATIENCE_SECONDS)
        if self.count > 1 and self.error is not None:
            raise self.error


@pytest.mark.parametrize("error", [None, OSError(errno.EIO, "disk")])
def test_requests_that_wait_share_the_next_sync(
    error: OSError | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six requests during one sync make one more, not six; its error is told to each of them."""
    disk = _SlowDisk()
    disk.error = error
    monkeypatch.setattr(disk_sync, "sync_directory", disk)
    syncs = DirectorySyncs("/store")
    failed: list[OSError] = []

    def request() -> None:
        try:
            syncs.sync("/store/abc")
        except OSError as problem:
            failed.append(problem)

    threads = [threading.Thread(target=request) for _ in range(7)]
    threads[0].start()
    assert disk.started.wait(PATIENCE_SECONDS)
    for thread in threads[1:]:
        thread.start()
    _until(lambda: syncs.waiting_requests("/store/abc") == 6)
    disk.go_on.set()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert disk.count == 2
    assert len(failed) == (6 if error else 0)


def _until(is_true: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(1000):
        if is_true():
            return
        pause.wait(0.01)
    raise AssertionError("it never came to that")


def _failing(code: int) -> Callable[..., Any]:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


async def _opened(folder: Path, durability: Durability) -> DiskRig:
    rig = DiskRig(folder, durability)
    await rig.store.open()
    return rig
