"""Bodies that come with a digest: held back until they are verified [hold-back].

They wait in memory, above a limit in a file that has no name any more when its first byte is
written, so that it goes with the process, whatever ends that. Once the whole body has come and
hashes to what was promised it is put into place like any other bytes.

A crash, a full disk or a lost lease in the middle of that leaves a prefix of the body. It was
verified, and reconciling may count it: that is as true as bytes of which no digest was given.
"""

import errno
import logging
import os
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from typing import Final

from tusd_py.core.digests import NO_PROMISE, Digest
from tusd_py.core.errors import ChecksumMismatch, UploadError
from tusd_py.core.ids import UploadId
from tusd_py.digests import build_hasher, matches
from tusd_py.stores.base import Appended, Appending
from tusd_py.stores.disk_bytes import MAX_WRITE_BYTES, BytesWriter, Piece, SpaceFloor
from tusd_py.stores.disk_files import FILE_MODE, READ_STEP_BYTES, SAFE, remove_file, store_error
from tusd_py.stores.disk_threads import DiskThreads
from tusd_py.stores.intake import SMALL_BODY_BYTES, Reception
from tusd_py.streams import Brake, ByteSource, SourceEnd, StopReason

log = logging.getLogger(__name__)

HELD_MEMORY_BYTES: Final = 1024 * 1024
"""Of one body."""
ALL_HELD_MEMORY_BYTES: Final = 64 * HELD_MEMORY_BYTES
"""Of all bodies of one store: beyond it, small ones are held in files too."""
PUT_STEP_BYTES: Final = 4 * 1024 * 1024
"""The brake is looked at before each of so many: at most one such move lands late."""
PUT_ON_SECONDS: Final = 1.0
"""Verified bytes are put into place for so long after somebody asked for the upload, or for the
end of the server; what is not in place then is sent again."""


class HeldMemory:
    """Bounds the memory of all bodies that are held back. For all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left = ALL_HELD_MEMORY_BYTES

    def take(self, count: int) -> bool:
        with self._lock:
            if count > self._left:
                return False
            self._left -= count
            return True

    def give_back(self, count: int) -> None:
        with self._lock:
            self._left += count


class HeldFile(BytesWriter):
    """A file beside the upload's that nobody else ever sees."""

    def __init__(self, path: str, upload_id: UploadId, brake: Brake, floor: SpaceFloor) -> None:
        super().__init__(path, Appending(upload_id, 0, 0, brake), floor, lambda: None)
        self._has_name = False

    @property
    def descriptor(self) -> int:
        return self._need_descriptor()

    def close(self) -> None:
        super().close()
        if self._has_name:
            self._has_name = False
            try:
                remove_file(self._path)
            except OSError:
                # The walk over the store takes it once it is old.
                log.warning("held_file_stays", extra={"path": self._path}, exc_info=True)

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | SAFE
        # A holder's id is its own; one that holds back a second body left nothing of the first.
        descriptor = self._descriptor = os.open(self._path, flags, FILE_MODE)
        self._has_name = True
        # Some file systems keep the name of a file that is open: then it goes at the end, and
        # where that never comes the walk over the store takes it.
        with suppress(OSError):
            os.unlink(self._path)
            self._has_name = False
        return descriptor


class HeldBytes:
    """What was received of one body, and what it hashes to so far. For one worker thread at a
    time; raises nothing while bytes come, see ``file``."""

    def __init__(self, file: HeldFile, memory: HeldMemory, digests: Sequence[Digest]) -> None:
        self.file = file
        """Its ``error`` and ``is_full`` say why no more was taken."""
        self._all_memory = memory
        self._memory = bytearray()
        self._taken = 0
        self._hashers = {one.algorithm: build_hasher(one.algorithm) for one in digests}

    @property
    def is_in_file(self) -> bool:
        return self.file.is_open

    @property
    def size(self) -> int:
        return len(self._memory) or self.file.offset

    def add(self, pieces: Sequence[Piece]) -> bool:
        """False where not all of it was taken: the append is over."""
        count = sum(map(len, pieces))
        if not self.is_in_file and self._may_remember(count):
            for piece in pieces:
                self._memory += piece
        elif not (self._spill() and self.file.write(pieces)):
            return False
        for piece in pieces:
            for hasher in self._hashers.values():
                hasher.update(piece)
        return True

    def verify(self, digests: Sequence[Digest]) -> Generator[None, None, bool]:
        """Whether they all say the truth. What was not known before the body is hashed now."""
        late = {one.algorithm for one in digests}.difference(self._hashers)
        hashers = {algorithm: build_hasher(algorithm) for algorithm in late}
        if hashers:
            for piece in self._read():
                for hasher in hashers.values():
                    hasher.update(piece)
                yield
        self._hashers |= hashers
        return all(matches(self._hashers[one.algorithm], one) for one in digests)

    def put(self, writer: BytesWriter, brake: Brake) -> Generator[None, None, None]:
        """Into place, as far as medium and brake let."""
        stopped_at: float | None = None
        done = 0
        while done < self.size:
            now = time.monotonic()
            if stopped_at is None and brake.reason is not None:
                stopped_at = now
            if stopped_at is not None and now - stopped_at > PUT_ON_SECONDS:
                return
            before = writer.offset
            if not self._put_some(writer, done):
                return
            done += writer.offset - before
            yield

    def close(self) -> None:
        """Everything that is held is forgotten. Idempotent."""
        self._memory = bytearray()
        self._all_memory.give_back(self._taken)
        self._taken = 0
        self.file.close()

    def _may_remember(self, count: int) -> bool:
        if len(self._memory) + count > HELD_MEMORY_BYTES or not self._all_memory.take(count):
            return False
        self._taken += count
        return True

    def _spill(self) -> bool:
        if not self._memory:
            return True
        if not self.file.write([memoryview(self._memory)]):
            return False
        self._memory = bytearray()
        self._all_memory.give_back(self._taken)
        self._taken = 0
        return True

    def _put_some(self, writer: BytesWriter, done: int) -> bool:
        if self._memory:
            return writer.write([memoryview(self._memory)[done : done + MAX_WRITE_BYTES]])
        return writer.copy(self.file.descriptor, done, min(self.size - done, PUT_STEP_BYTES))

    def _read(self) -> Iterator[Piece]:
        if self._memory or not self.size:
            yield memoryview(self._memory)
            return
        done = 0
        while piece := os.pread(self.file.descriptor, READ_STEP_BYTES, done):
            done += len(piece)
            yield piece
        if done != self.size:
            raise OSError(errno.EIO, "held bytes were lost")


class HeldPath:
    """One append under a promise. Make it, run it once."""

    def __init__(
        self,
        appending: Appending,
        source: ByteSource,
        held: HeldBytes,
        writer: BytesWriter,
        threads: DiskThreads,
        *,
        sync: bool,
    ) -> None:
        self._appending = appending
        self._promise = appending.promise or NO_PROMISE
        self._reception = Reception(source, appending.room, appending.brake)
        self._held = held
        self._writer = writer
        self._threads = threads
        self._sync = sync
        self._is_held = True
        """Everything that was taken out of the buffer is."""

    async def run(self) -> Appended:
        """See ``ByteStore.append``."""
        if (reason := self._appending.brake.reason) is not None:
            return Appended(self._appending.start, reason)
        try:
            await self._reception.run(self._hold)
            return await self._conclude()
        except BaseException:
            self._stop()
            if self._writer.error is not None:
                log.error("append_failed_while_cancelled", exc_info=self._writer.error)
            raise
        finally:
            if self._held.is_in_file or self._writer.is_open:
                await self._threads.files.run("letting held bytes go", self._close)
            else:
                self._held.close()

    async def _hold(self, batch: list[Piece]) -> bool:
        self._is_held = await self._threads.writers.run(
            "holding bytes back", lambda: self._held.add(batch), self._stop
        )
        return self._is_held

    async def _conclude(self) -> Appended:
        intake, start = self._reception.intake, self._appending.start
        if not self._is_whole:
            return self._nothing_kept()
        digests = self._promise.digests
        try:
            if self._promise.trailer is not None:
                digests += self._promise.trailer()
        except UploadError as error:
            return Appended(start, SourceEnd.COMPLETE, unproven=error)
        is_small = intake.received_bytes <= SMALL_BODY_BYTES
        workers = self._threads.files if is_small else self._threads.writers
        steps = self._settle(digests, intake.take_all())
        is_proven = await workers.run_in_turns("putting bytes into place", steps, self._stop)
        if is_proven is None:
            return self._nothing_kept()
        if not is_proven:
            return Appended(start, SourceEnd.COMPLETE, unproven=ChecksumMismatch())
        if self._writer.is_open:
            await self._threads.syncers.run(
                "syncing bytes", lambda: self._writer.finish([], sync=True), self._stop
            )
        is_put = self._appending.offset - start == intake.received_bytes
        return self._writer.outcome(SourceEnd.COMPLETE if is_put else None)

    def _settle(
        self, digests: Sequence[Digest], rest: Sequence[Piece]
    ) -> Generator[None, None, bool | None]:
        """The end of it, in threads: the last bytes, the verdict (None: there cannot be one), the
        way into place."""
        self._is_held = self._held.add(rest)
        if not self._is_held:
            return None
        yield
        try:
            is_proven = yield from self._held.verify(digests)
        except OSError as error:
            self._held.file.fail(store_error("reading held bytes", error))
            return None
        if is_proven:
            yield from self._held.put(self._writer, self._appending.brake)
        self._held.close()
        if not self._sync:
            self._writer.finish([], sync=False)
        return is_proven

    @property
    def _is_whole(self) -> bool:
        is_over = self._reception.intake.end is SourceEnd.COMPLETE  # an overflow has no end
        return is_over and self._is_held and self._appending.brake.may_write

    def _nothing_kept(self) -> Appended:
        intake, brake, file = self._reception.intake, self._appending.brake, self._held.file
        end: SourceEnd | StopReason
        if file.is_full:
            end = StopReason.NO_SPACE
        elif file.error is not None:
            end = SourceEnd.HUNG_UP  # the error tells
        elif not (self._is_held and intake.is_over and brake.may_write):
            end = brake.reason or StopReason.LEASE_LOST
        else:
            end = intake.end or SourceEnd.COMPLETE
        overflowed = intake.overflowed and self._is_held
        return Appended(self._appending.start, end, overflowed=overflowed, error=file.error)

    def _stop(self) -> None:
        self._held.file.stop = self._writer.stop = True

    def _close(self) -> None:
        self._writer.close()
        self._held.close()
