"""A body written from user space: TLS, chunked bodies, and systems without ``splice``.

One write at a time runs in a worker thread, of all that was gathered meanwhile.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from tusd_py.stores.base import Appended, Appending
from tusd_py.stores.disk_bytes import BytesWriter, Piece
from tusd_py.stores.disk_threads import DiskThreads, Workers
from tusd_py.stores.intake import Reception
from tusd_py.streams import ByteSource, SourceEnd

T = TypeVar("T")

log = logging.getLogger(__name__)


class UserPath:
    """One append. Make it, run it once."""

    def __init__(
        self,
        appending: Appending,
        source: ByteSource,
        writer: BytesWriter,
        threads: DiskThreads,
        *,
        sync: bool,
    ) -> None:
        self._appending = appending
        self._writer = writer
        self._threads = threads
        self._sync = sync
        self._reception = Reception(source, appending.room, appending.brake)
        self._intake = self._reception.intake
        self._has_failed = False

    async def run(self) -> Appended:
        """See ``ByteStore.append``. Where a sync failed, ``offset`` is what was synced before."""
        brake = self._appending.brake
        if (reason := brake.reason) is not None:
            return Appended(self._appending.offset, reason)
        try:
            await self._reception.run(self._write)
            await self._finish()
        except BaseException:
            self._writer.stop = True
            if self._writer.is_open:
                await self._run(self._threads.writers, self._writer.close)
            if self._writer.error is not None:
                log.error("append_failed_while_cancelled", exc_info=self._writer.error)
            raise
        return self._outcome()

    async def _write(self, batch: list[Piece]) -> bool:
        done = await self._run(self._threads.writers, lambda: self._writer.write(batch))
        self._has_failed = not done
        return done

    async def _finish(self) -> None:
        """The rest, the sync and the end of the descriptor, in one hop; none for nothing."""
        rest: list[Piece] = []
        if not self._has_failed and self._appending.brake.may_write:
            rest = self._intake.take_all()
        if not rest and not self._writer.is_open:
            return
        workers = self._threads.writers if self._writer.is_open else self._threads.files
        if self._sync:
            workers = self._threads.syncers
        await self._run(workers, lambda: self._writer.finish(rest, sync=self._sync))

    async def _run(self, workers: Workers, work: Callable[[], T]) -> T:
        return await workers.run("writing bytes", work, on_cancel=self._stop_writing)

    def _stop_writing(self) -> None:
        self._writer.stop = True

    def _outcome(self) -> Appended:
        appending, intake = self._appending, self._intake
        is_all_written = appending.offset - appending.start == intake.received_bytes
        end = (intake.end or SourceEnd.COMPLETE) if is_all_written and intake.is_over else None
        return replace(self._writer.outcome(end), overflowed=intake.overflowed)
