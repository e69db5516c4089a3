"""Concatenation on one file system: the bytes of parts are copied inside it, or shared."""

import logging
import os
import stat
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from tusd_py.core.ids import UploadId
from tusd_py.stores.base import Appended, Appending, Part, PartLost, StoreError
from tusd_py.stores.disk_bytes import BytesWriter
from tusd_py.stores.disk_files import SAFE, store_error
from tusd_py.stores.disk_threads import DiskThreads
from tusd_py.streams import SourceEnd

log = logging.getLogger(__name__)

JOIN_STEP_BYTES: Final = 16 * 1024 * 1024
"""The brake is looked at before each of so many."""


class JoinPath:
    """One join. Make it, run it once."""

    def __init__(
        self,
        appending: Appending,
        parts: Sequence[Part],
        path_of: Callable[[UploadId], str],
        writer: BytesWriter,
        threads: DiskThreads,
        *,
        sync: bool,
    ) -> None:
        self._appending = appending
        self._parts = parts
        self._path_of = path_of
        self._writer = writer
        self._threads = threads
        self._sync = sync
        self._end = appending.start + appending.room

    async def run(self) -> Appended:
        """See ``ByteStore.join``."""
        if (reason := self._appending.brake.reason) is not None:
            return Appended(self._appending.offset, reason)
        writer, threads = self._writer, self._threads
        try:
            await threads.movers.run_in_turns("joining parts", self._join(), self._stop)
            if writer.is_open:
                workers = threads.syncers if self._sync else threads.files
                await workers.run(
                    "joining parts", lambda: writer.finish([], sync=self._sync), self._stop
                )
        except BaseException:
            self._stop()
            if writer.is_open:
                await threads.files.run("joining parts", writer.close)
            if writer.error is not None:
                log.error("join_failed_while_cancelled", exc_info=writer.error)
            raise
        is_whole = writer.error is None and self._appending.offset == self._end
        return writer.outcome(SourceEnd.COMPLETE if is_whole else None)

    def _join(self) -> Generator[None, None, None]:
        begin = 0
        for part in self._parts:
            end = begin + part.length
            if self._appending.offset < min(end, self._end):
                try:
                    with _open_part(self._path_of(part.upload_id), part) as file:
                        if not (yield from self._copy(file, begin, min(end, self._end))):
                            return
                except StoreError as error:
                    self._writer.fail(error)
                    return
                except OSError as error:
                    self._writer.fail(store_error("reading a part", error))
                    return
            begin = end
        if self._end == 0:
            self._writer.make_file()

    def _copy(self, file: int, begin: int, end: int) -> Generator[None, None, bool]:
        """The part that lies from ``begin`` to ``end`` of the final upload."""
        while (offset := self._appending.offset) < end:
            at = offset - begin
            # Each move ends on a multiple of itself: file systems share whole blocks only.
            count = min(JOIN_STEP_BYTES - at % JOIN_STEP_BYTES, end - offset)
            # Whoever asks for the upload gets it at once: nothing that is here can be lost.
            if self._appending.brake.reason is not None:
                return False
            if not self._writer.copy(file, at, count):
                return False
            yield
        return True

    def _stop(self) -> None:
        self._writer.stop = True


@contextmanager
def _open_part(path: str, part: Part) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | SAFE)
    except FileNotFoundError as error:
        raise PartLost(f"the part {part.upload_id} has no bytes") from error
    except OSError as error:
        raise StoreError(
            f"the part {part.upload_id} cannot be opened ({error.strerror})"
        ) from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size < part.length:
            raise PartLost(
                f"the part {part.upload_id} has {found.st_size} bytes, not {part.length}"
            )
        yield descriptor
    finally:
        os.close(descriptor)
