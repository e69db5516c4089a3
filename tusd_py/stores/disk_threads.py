"""The store's own threads. Work that was handed to one is always waited for.

Five pools, so that one kind of slowness does not become another's: bodies on a slow disk must not
keep a HEAD from reading its facts, nor a copy of many gigabytes the end of other uploads.

The way there and back is kept short, because small uploads are made of little else: a thread takes
all the short work that waits at once, and brings the results back to the event loop together.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

from tusd_py.stores.base import StoreError
from tusd_py.stores.disk_files import store_error

T = TypeVar("T")

log = logging.getLogger(__name__)

FILE_THREADS: Final = 2
FILE_GROUP: Final = 16
"""Short work done before the first of it is answered; more waits for the other thread."""
MOVER_THREADS: Final = 2
READER_THREADS: Final = 8
TURN_SECONDS: Final = 0.05
"""Long work gives its thread to others after so long, and gets in line again."""


class _Job(Generic[T]):
    """One piece of work on its way through a thread."""

    __slots__ = ("error", "future", "is_back", "result", "waiter", "work")

    def __init__(self, work: Callable[[], T], future: asyncio.Future[T]) -> None:
        self.work = work
        self.future = future
        self.waiter: asyncio.Future[None] | None = None
        """Set once the thread is back, where the caller was cancelled meanwhile."""
        self.is_back = False
        self.result: T
        self.error: BaseException | None = None

    def perform(self) -> None:
        try:
            self.result = self.work()
        except BaseException as error:
            self.error = error

    def deliver(self) -> None:
        """In the loop."""
        self.is_back = True
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Workers:
    """One pool. Its threads are started when they are first needed."""

    def __init__(self, threads: int, name: str, *, group: int = 1) -> None:
        self._queue: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._threads = threads
        self._name = name
        self._group = group
        self._started = 0
        self._unfinished = 0
        self._is_closed = False

    async def run(
        self, what: str, work: Callable[[], T], on_cancel: Callable[[], None] | None = None
    ) -> T:
        """What ``work`` returns. An OSError in it becomes a StoreError about ``what``.

        Cancelled, this first calls ``on_cancel``, then waits until the thread is back, however
        often it is cancelled meanwhile, and only then lets CancelledError go on.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        job = _Job(work, future)
        self._submit(job, loop)
        try:
            return await future
        except asyncio.CancelledError:
            if on_cancel is not None:
                on_cancel()
            while not job.is_back:
                job.waiter = loop.create_future()
                with suppress(asyncio.CancelledError):
                    await job.waiter
            raise
        except OSError as error:
            raise store_error(what, error) from error

    async def run_in_turns(
        self,
        what: str,
        steps: Generator[None, None, T],
        on_cancel: Callable[[], None] | None = None,
    ) -> T:
        """What ``steps`` returns: work for minutes in short steps, between which others get their
        turn. Cancelled, it is ended after the step under way, its ``finally`` in a thread too.
        """
        done: list[T] = []
        try:
            while not done:
                await self.run(what, lambda: _take_turn(steps, done), on_cancel)
        except asyncio.CancelledError:
            try:
                await self.run(what, steps.close)
            except StoreError:
                log.exception("cancelled_work_failed", extra={"what": what})
            raise
        return done[0]

    def close(self) -> None:
        """What waits is still done, then the threads end."""
        self._is_closed = True
        for _ in range(self._started):
            self._queue.put(None)

    def _submit(self, job: _Job[Any], loop: asyncio.AbstractEventLoop) -> None:
        if self._is_closed:
            raise StoreError("the store is closed")
        if self._unfinished >= self._started and self._started < self._threads:
            self._start(loop)
        self._unfinished += 1
        self._queue.put(job)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        name = f"tusd-{self._name}-{self._started + 1}"
        thread = threading.Thread(target=self._work, args=(loop,), name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the system gives no more threads
            if self._started == 0:
                raise StoreError("the system refused a thread to the store") from error
            return  # those that there are take turns
        self._started += 1

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        is_last = False
        while not is_last:
            jobs: list[_Job[Any]] = []
            item = self._queue.get()
            with suppress(queue.Empty):
                while item is not None:
                    item.perform()
                    jobs.append(item)
                    if len(jobs) == self._group:
                        break
                    item = self._queue.get_nowait()
            is_last = item is None
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._deliver, jobs)

    def _deliver(self, jobs: list[_Job[Any]]) -> None:
        self._unfinished -= len(jobs)
        for job in jobs:
            job.deliver()


def _take_turn(steps: Generator[None, None, T], done: list[T]) -> None:
    until = time.monotonic() + TURN_SECONDS
    try:
        while True:
            next(steps)
            if time.monotonic() >= until:
                return
    except StopIteration as end:
        done.append(end.value)


class DiskThreads:
    """All pools."""

    def __init__(self, *, writers: int, syncers: int) -> None:
        self.writers = Workers(writers, "write")
        """Bodies."""
        self.syncers = Workers(syncers, "sync")
        """Whatever waits for the medium."""
        self.files = Workers(FILE_THREADS, "files", group=FILE_GROUP)
        """What is answered from memory most of the time: facts, marks, bodies of a few KiB."""
        self.movers = Workers(MOVER_THREADS, "move")
        """Copies across file systems, and joins."""
        self.readers = Workers(READER_THREADS, "read")
        """Downloads, and digests of whole files."""

    def close(self) -> None:
        for workers in (self.writers, self.syncers, self.files, self.movers, self.readers):
            workers.close()
