"""Viewers: one look for all of them, every end seen, nothing piled up, no look for nobody."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.fakes import virtual_time
from tests.fakes.shelf import Shelf, parts_of
from tests.unit.core.builders import AN_ID, AN_OWNER
from tusd_py.core.errors import ServerStopping, TooManyWatchers
from tusd_py.core.ids import UploadId
from tusd_py.core.upload import Status
from tusd_py.service.observing import Observing
from tusd_py.service.watching import Viewer, Watchers, WatchOver
from tusd_py.state.base import StateError

OTHER = UploadId("f" * 32)


@dataclass
class Stage:
    """Watchers over a shelf, in time that passes at once."""

    shelf: Shelf
    watchers: Watchers
    now: Callable[[], float]


def play(act: Callable[[Stage], Awaitable[None]], *, max_viewers: int = 10) -> None:
    """Run ``act``; afterwards nobody looks any more."""

    async def main(now: Callable[[], float]) -> None:
        shelf = Shelf()
        watchers = Watchers(Observing(parts_of(shelf)), poll_seconds=1.0, max_viewers=max_viewers)
        await act(Stage(shelf, watchers, now))
        watchers.stop()
        await watchers.close()
        assert {task.get_name() for task in asyncio.all_tasks()} == {
            asyncio.current_task().get_name()  # type: ignore[union-attr]
        }

    virtual_time.run(main)


async def told(viewer: Viewer, seconds: float = 10.0) -> tuple[list[int], list[str]]:
    """The offsets of what changed, and what is gone."""
    changes = await viewer.changes(seconds)
    assert changes is not None
    return [view.data["offset"] for view in changes.views], list(changes.removed)


def test_a_viewer_is_told_how_it_stands_and_then_what_changes() -> None:
    async def act(stage: Stage) -> None:
        stage.shelf.put(offset=1)
        viewer = stage.watchers.join(AN_ID)
        assert await told(viewer) == ([1], [])
        began = stage.now()
        stage.shelf.put(offset=2)
        assert await told(viewer) == ([2], [])
        assert stage.now() - began == pytest.approx(1.0)
        assert await viewer.changes(5.0) is None
        assert stage.now() - began == pytest.approx(6.0)
        stage.shelf.records.clear()
        assert await told(viewer) == ([], [AN_ID])

    play(act)


def test_what_is_not_there_is_told_at_once() -> None:
    async def act(stage: Stage) -> None:
        assert await told(stage.watchers.join(AN_ID)) == ([], [])
        assert await told(stage.watchers.join(AN_OWNER)) == ([], [])

    play(act)


def test_many_viewers_cost_one_look_for_each_interval() -> None:
    async def act(stage: Stage) -> None:
        stage.shelf.put(offset=1)
        viewers = [stage.watchers.join(AN_ID) for _ in range(10)]
        assert [await told(viewer) for viewer in viewers] == [([1], [])] * 10
        assert stage.shelf.looks == 1
        before = stage.shelf.looks
        assert await viewers[0].changes(10.5) is None
        assert stage.shelf.looks - before == 10

    play(act)


def test_nobody_looks_for_nobody() -> None:
    async def act(stage: Stage) -> None:
        first, second = stage.watchers.join(AN_ID), stage.watchers.join(AN_ID)
        await first.changes(1.0)
        first.leave()
        first.leave()
        assert await second.changes(3.0) is not None
        second.leave()
        before = stage.shelf.looks
        await asyncio.sleep(before + 100)
        assert stage.shelf.looks == before
        third = stage.watchers.join(AN_ID)
        await third.changes(1.0)
        assert stage.shelf.looks > before

    play(act)


def test_a_viewer_that_comes_later_is_told_what_is_known_without_another_look() -> None:
    async def act(stage: Stage) -> None:
        stage.shelf.put(offset=1)
        await told(stage.watchers.join(AN_ID))
        before = stage.shelf.looks
        assert await told(stage.watchers.join(AN_ID)) == ([1], [])
        assert stage.shelf.looks == before

    play(act)


def test_a_viewer_that_reads_slowly_misses_steps_and_no_end() -> None:
    """A hundred changes are one for it; another one sees each."""

    async def act(stage: Stage) -> None:
        stage.shelf.put(offset=0, length=1000)
        slow, quick = stage.watchers.join(AN_ID), stage.watchers.join(AN_ID)
        await told(slow)
        await told(quick)
        for offset in range(1, 101):
            stage.shelf.put(offset=offset, length=1000)
            assert await told(quick) == ([offset], [])
        assert await told(slow) == ([100], [])
        assert await slow.changes(5.0) is None

    play(act)


def test_of_many_uploads_only_those_are_told_that_changed() -> None:
    async def act(stage: Stage) -> None:
        stage.shelf.put(offset=1)
        stage.shelf.put(id=OTHER, offset=2)
        viewer = stage.watchers.join(AN_OWNER)
        assert await told(viewer) == ([1, 2], [])
        stage.shelf.put(id=OTHER, offset=3)
        assert await told(viewer) == ([3], [])
        stage.shelf.put(id=UploadId("e" * 32), offset=4)
        del stage.shelf.records[OTHER]
        assert await told(viewer) == ([4], [OTHER])
        assert await viewer.changes(5.0) is None

    play(act)


def test_one_that_is_removed_and_comes_back_is_told_again() -> None:
    async def act(stage: Stage) -> None:
        stage.shelf.put(offset=1)
        viewer = stage.watchers.join(AN_ID)
        await told(viewer)
        stage.shelf.put(status=Status.TERMINATING)
        assert await told(viewer) == ([], [AN_ID])
        stage.shelf.put(offset=1)
        assert await told(viewer) == ([1], [])

    play(act)


def test_a_state_that_is_away_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    """Viewers keep what they know; the log has one warning, not one a second."""
    caplog.set_level(logging.WARNING)

    async def act(stage: Stage) -> None:
        stage.shelf.put(offset=1)
        viewer = stage.watchers.join(AN_ID)
        await told(viewer)
        stage.shelf.fails_with = StateError("away")
        stage.shelf.put(offset=2)
        assert await viewer.changes(20.0) is None
        stage.shelf.fails_with = None
        assert await told(viewer) == ([2], [])

    play(act)
    assert [record.msg for record in caplog.records] == ["watch_cannot_look"]


def test_there_is_a_bound() -> None:
    async def act(stage: Stage) -> None:
        viewers = [stage.watchers.join(AN_ID), stage.watchers.join(AN_OWNER)]
        with pytest.raises(TooManyWatchers):
            stage.watchers.join(AN_ID)
        viewers[0].leave()
        stage.watchers.join(OTHER)

    play(act, max_viewers=2)


def test_a_stop_ends_every_watch_at_once() -> None:
    async def act(stage: Stage) -> None:
        stage.shelf.put(offset=1)
        waiting, fresh = stage.watchers.join(AN_ID), stage.watchers.join(OTHER)
        await told(waiting)
        task = asyncio.create_task(waiting.changes(1000.0))
        await asyncio.sleep(0)
        began = stage.now()
        stage.watchers.stop()
        with pytest.raises(WatchOver):
            await task
        with pytest.raises(WatchOver):
            await fresh.changes(1000.0)
        assert stage.now() == began
        with pytest.raises(ServerStopping):
            stage.watchers.join(AN_ID)
        for viewer in (waiting, fresh):
            viewer.leave()

    play(act)


def test_a_bug_ends_the_watch_and_the_next_one_begins_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def act(stage: Stage) -> None:
        stage.shelf.fails_with = RuntimeError("a bug")
        viewer = stage.watchers.join(AN_ID)
        with pytest.raises(WatchOver):
            await viewer.changes(10.0)
        stage.shelf.fails_with = None
        stage.shelf.put(offset=1)
        again = stage.watchers.join(AN_ID)
        viewer.leave()
        assert await told(again) == ([1], [])
        stage.shelf.put(offset=2)
        assert await told(again) == ([2], [])

    play(act)
    assert [record.msg for record in caplog.records] == ["watch_died"]


def test_a_viewer_that_is_cancelled_misses_nothing() -> None:
    async def act(stage: Stage) -> None:
        stage.shelf.put(offset=1)
        viewer = stage.watchers.join(AN_ID)
        await told(viewer)
        task: asyncio.Task[Any] = asyncio.create_task(viewer.changes(100.0))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        stage.shelf.put(offset=2)
        assert await told(viewer) == ([2], [])

    play(act)
