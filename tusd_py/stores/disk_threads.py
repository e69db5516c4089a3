"""The store's own threads. Work that was handed to one is always waited for.

Four pools, so that one kind of slowness does not become another's: bodies on a slow disk must not
keep a HEAD from reading its facts, nor a copy of many gigabytes the end of other uploads.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from tusd_py.stores.disk_files import store_error

T = TypeVar("T")

FILE_THREADS: Final = 4
MOVER_THREADS: Final = 2


class Workers:
    """One pool."""

    def __init__(self, threads: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"tusd-{name}")

    async def run(
        self, what: str, work: Callable[[], T], on_cancel: Callable[[], None] | None = None
    ) -> T:
        """What ``work`` returns. An OSError in it becomes a StoreError about ``what``.

        Cancelled, this first calls ``on_cancel``, then waits until the thread is back, however
        often it is cancelled meanwhile, and only then lets CancelledError go on.
        """
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        cancelled: asyncio.CancelledError | None = None
        while not future.done():
            try:
                await asyncio.wait((future,))
            except asyncio.CancelledError as error:
                cancelled = cancelled or error
                if on_cancel is not None:
                    on_cancel()
        if cancelled is not None:
            # Retrieved, so that nobody misses it; the caller is gone and cannot be told.
            future.exception()
            raise cancelled
        try:
            return future.result()
        except OSError as error:
            raise store_error(what, error) from error

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=False)


class DiskThreads:
    """All pools. Threads start when they are first needed."""

    def __init__(self, *, writers: int, syncers: int) -> None:
        self.writers = Workers(writers, "write")
        """Bodies."""
        self.syncers = Workers(syncers, "sync")
        """Whatever waits for the medium."""
        self.files = Workers(FILE_THREADS, "files")
        """What is answered from memory most of the time."""
        self.movers = Workers(MOVER_THREADS, "move")
        """Copies across file systems."""

    def close(self) -> None:
        for workers in (self.writers, self.syncers, self.files, self.movers):
            workers.close()
