"""Operations of the event loop, performed a group at a time in a thread.

Whatever waits while one group is performed goes into the next one together. An operation is a
function of the connection; it may be run a second time where another of its group spoiled the
transaction, so it must do nothing but SQL.
"""

import asyncio
import logging
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

from tusd_py.state.base import StateError

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_GROUP: Final = 256
"""More wait for the next transaction, so that others get their turn."""
MAX_WAITING: Final = 20_000
"""More would only time out: they are refused at once."""
WATCH_SECONDS: Final = 0.5
CLOSE_SECONDS: Final = 5.0


class Operation(Generic[T]):
    """One caller's wish, on its way through the thread."""

    __slots__ = (
        "error",
        "function",
        "future",
        "has_run",
        "on_done",
        "on_orphan",
        "result",
        "tells_events",
    )

    def __init__(
        self,
        function: Callable[[sqlite3.Connection], T],
        future: asyncio.Future[T],
        on_done: Callable[[T], None] | None,
        on_orphan: Callable[[T], None] | None,
        tells_events: bool,
    ) -> None:
        self.function = function
        self.future = future
        self.on_done = on_done
        """Called in the loop once it is committed, whether or not the caller still waits."""
        self.on_orphan = on_orphan
        """Called in the loop once it is committed and the caller is gone."""
        self.tells_events = tells_events
        """Other processes should hear of it."""
        self.has_run = False
        self.result: T | None = None
        self.error: BaseException | None = None


class GroupThread:
    """Collects operations from the loop and has them performed, a group at a time, in its thread.

    Waiting is bounded: what is not done within ``busy_seconds`` ends in StateError, and is not done
    afterwards unless it had begun.
    """

    def __init__(
        self, name: str, perform: Callable[[list[Operation[Any]]], None], *, busy_seconds: float
    ) -> None:
        self._name = name
        self._perform = perform
        self._busy_seconds = busy_seconds
        self._queue: queue.SimpleQueue[Operation[Any] | None] = queue.SimpleQueue()
        self._watched: deque[tuple[float, Operation[Any]]] = deque()
        self._watching: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Future[None] | None = None

    def start(self) -> None:
        """Call it in the loop that the callers run in."""
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        threading.Thread(target=self._work, name=self._name, daemon=True).start()

    async def close(self) -> bool:
        """What waits is still done. Bounded: False where the thread is stuck and left to itself."""
        if self._loop is None or self._ended is None:
            return True
        self._loop = None
        self._queue.put(None)
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.shield(self._ended)
        if self._watching is not None:
            self._watching.cancel()
        while self._watched:
            _refuse(self._watched.popleft()[1], StateError("the state store was closed"))
        return self._ended.done()

    async def run(
        self,
        function: Callable[[sqlite3.Connection], T],
        *,
        on_done: Callable[[T], None] | None = None,
        on_orphan: Callable[[T], None] | None = None,
        tells_events: bool = False,
    ) -> T:
        """The result of ``function`` once it is committed. Raises REFUSALS."""
        operation = self.submit(
            function, on_done=on_done, on_orphan=on_orphan, tells_events=tells_events
        )
        future = operation.future
        try:
            return await future
        except asyncio.CancelledError:
            # The result can have come between the cancelling and this task's turn.
            if on_orphan and future.done() and not future.cancelled() and not future.exception():
                on_orphan(future.result())
            raise

    def submit(
        self,
        function: Callable[[sqlite3.Connection], T],
        *,
        on_done: Callable[[T], None] | None = None,
        on_orphan: Callable[[T], None] | None = None,
        tells_events: bool = False,
    ) -> Operation[T]:
        """Queue it. Raises StateError where the thread is not running or too much waits."""
        loop = self._loop
        if loop is None:
            raise StateError("the state store is not open")
        if self._queue.qsize() > MAX_WAITING:
            raise StateError("too many operations wait for the state store")
        operation = Operation(function, loop.create_future(), on_done, on_orphan, tells_events)
        self._queue.put(operation)
        self._watched.append((loop.time() + self._busy_seconds, operation))
        if self._watching is None:
            self._watching = loop.call_later(WATCH_SECONDS, self._watch)
        return operation

    def _watch(self) -> None:
        """One timer for all, because one for each costs more than the operation."""
        assert self._watching is not None
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._watched and (self._watched[0][1].future.done() or self._watched[0][0] <= now):
            _refuse(
                self._watched.popleft()[1],
                StateError(f"the state store did not answer within {self._busy_seconds} s"),
            )
        self._watching = loop.call_later(WATCH_SECONDS, self._watch) if self._watched else None

    def _work(self) -> None:
        loop = self._loop
        assert loop is not None
        is_last = False
        while not is_last:
            group: list[Operation[Any]] = []
            try:
                item = self._queue.get()
                while item is not None:
                    group.append(item)
                    if len(group) == MAX_GROUP:
                        break
                    item = self._queue.get_nowait()
                is_last = item is None
            except queue.Empty:
                pass
            self._perform_safely(group)
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._deliver, group, is_last)

    def _perform_safely(self, group: list[Operation[Any]]) -> None:
        try:
            if group:
                self._perform(group)
        except Exception as exc:
            # A fault of ours must not end the thread that everybody waits for.
            log.exception("state_group_failed", extra={"operations": len(group)})
            for operation in group:
                operation.error = exc

    def _deliver(self, group: list[Operation[Any]], is_last: bool) -> None:
        for operation in group:
            future = operation.future
            if operation.error is not None:
                _refuse(operation, operation.error)
            elif operation.has_run:
                _notify(operation.on_done, operation.result)
                if not future.done():
                    future.set_result(operation.result)
                else:
                    _notify(operation.on_orphan, operation.result)
        if is_last and self._ended is not None and not self._ended.done():
            self._ended.set_result(None)


def _notify(callback: Callable[[Any], None] | None, result: object) -> None:
    if callback is None:
        return
    try:
        callback(result)
    except Exception:
        # A fault of ours in one must not keep the others of the group waiting.
        log.exception("state_callback_failed")


def _refuse(operation: Operation[Any], error: BaseException) -> None:
    if not operation.future.done():
        operation.future.set_exception(error)
        # A caller that was cancelled never looks at it.
        operation.future.exception()
