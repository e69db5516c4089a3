"""Calls that go on where their caller is gone: whether the store has done them is known at the end
only, and what they brought may have to be given back."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from tusd_py.state.base import StateError

T = TypeVar("T")


class Errands:
    """Tasks of one store, in its loop. Each is bounded in time by itself."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def finish(
        self, work: Coroutine[Any, Any, T], on_orphan: Callable[[T], None] | None = None
    ) -> T:
        """Its result. ``on_orphan`` is given it where the caller was cancelled meanwhile."""
        task = self._spawn(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if task.cancelled() and caller is not None and not caller.cancelling():
                raise StateError("the state store was closed") from None
            if on_orphan is not None:
                task.add_done_callback(partial(_hand, on_orphan))
            raise

    def send(self, work: Coroutine[Any, Any, None]) -> None:
        """Nobody waits for it. It does not raise."""
        self._spawn(work)  # type: ignore[unused-awaitable]

    async def end(self, seconds: float) -> None:
        """All of them are done, or given up."""
        # One may send another when it ends.
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + seconds
        while self._tasks and loop.time() < give_up_at:
            await asyncio.wait(self._tasks, timeout=give_up_at - loop.time())
        late = list(self._tasks)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _hand(on_orphan: Callable[[T], None], task: asyncio.Task[T]) -> None:
    if not task.cancelled() and task.exception() is None:
        on_orphan(task.result())
