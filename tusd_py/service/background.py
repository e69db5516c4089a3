"""Work that goes on behind answers: it is known, so that a stop can wait for it."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from tusd_py.core.errors import UploadError
from tusd_py.state.base import LeaseGone, StateError
from tusd_py.stores.base import StoreError

log = logging.getLogger(__name__)

T = TypeVar("T")


class Background:
    """A set of running tasks. What one raises is logged, also where nobody awaits it."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Begin ``work``; the task may be awaited (shielded) or left alone."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def detach(self, work: Coroutine[Any, Any, object]) -> None:
        """Begin ``work`` and leave it alone."""
        self.spawn(work).add_done_callback(lambda _: None)

    async def drain(self) -> None:
        """Returns when nothing runs any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, UploadError | StateError | StoreError | LeaseGone):
            log.info("finish_put_off", extra={"reason": repr(error)})
        else:
            log.error("background_failed", exc_info=error)  # a fault of ours
