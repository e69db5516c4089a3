"""The thread's side of one append: it opens, writes at positions, syncs and closes.

One worker thread at a time. What the event loop may touch meanwhile is ``stop``. The file is never
cut, and no hole is made: where it is shorter than the position, bytes were lost.

The brake knows the lease's deadline and is looked at before each write, but a process can stand
still (SIGSTOP, a machine that sleeps, a disk that does not answer) between the look and the landing
for longer than a lease lasts. Files know no fencing numbers; a late write harms nobody:

* It is one write, of ``MAX_WRITE_BYTES`` or a little more: the next look finds the lease over.
* It lands right behind the offset that this writer had reached. All below is in the file, so that
  the next holder went on there or further on: with the same stretch of the same client's file, that
  is with the same bytes, at the same places. Nothing is cut [no-cut], nothing lands behind the
  upload's length, and bytes under a digest were verified before [hold-back].
* Nothing of it counts because of it: the commit is refused, and the upload's offset is the one that
  the next holder told.
* A file that was removed meanwhile has lost its name already. Only the very first write makes one;
  then it has no facts, and is an orphan of the walk.

Who sends *other* bytes to the same address, as the owner may, can mix its own two versions that
way, within that one write. ``tests/e2e/test_many_machines.py`` stops a writer there and shows it.
"""

import errno
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from tusd_py.stores.base import Appended, Appending, StoreError, StoreFull
from tusd_py.stores.disk_files import FILE_MODE, NO_SPACE, SAFE, copy_some, store_error
from tusd_py.streams import SourceEnd, StopReason

Piece = bytes | memoryview

MAX_WRITE_BYTES: Final = 1024 * 1024
"""The brake is looked at before each of so many."""
MAX_WRITE_PIECES: Final = 1024
"""What ``pwritev`` takes at once (IOV_MAX)."""
SPACE_STEP_BYTES: Final = 4 * 1024 * 1024
"""All appends of a process together may go past the reserve by this much."""
SPACE_STEP_SECONDS: Final = 1.0


class SpaceFloor:
    """The reserve of free space, so that state, DELETE and the sweeper can always write."""

    def __init__(self, path: str, min_free_bytes: int) -> None:
        self._path = path
        self._min_free_bytes = min_free_bytes
        self._lock = threading.Lock()
        self._unchecked_bytes = SPACE_STEP_BYTES
        self._checked_at = 0.0

    def is_reached(self) -> bool:
        found = os.statvfs(self._path)
        return found.f_bavail * found.f_frsize <= self._min_free_bytes

    def is_reached_before(self, count: int) -> bool:
        """For appends, before each write of ``count`` bytes. What all of them write is counted
        together: many at once must not eat up the reserve between two looks at it."""
        now = time.monotonic()
        with self._lock:
            self._unchecked_bytes += count
            if (
                self._unchecked_bytes <= SPACE_STEP_BYTES
                and now - self._checked_at < SPACE_STEP_SECONDS
            ):
                return False
            if not (is_reached := self.is_reached()):
                self._unchecked_bytes, self._checked_at = count, now
            return is_reached

    def check(self) -> None:
        """Raises StoreFull where it is reached."""
        if self.is_reached():
            raise StoreFull(f"less than {self._min_free_bytes} bytes are free at {self._path}")


class BytesWriter:
    """Writes one append's pieces into the file of an upload. Its methods raise nothing: ``error``
    says what went wrong, ``is_full`` that there is no space."""

    def __init__(
        self, path: str, appending: Appending, floor: SpaceFloor, sync_entries: Callable[[], None]
    ) -> None:
        self._path = path
        self._appending = appending
        self._floor = floor
        self._sync_entries = sync_entries
        self._descriptor: int | None = None
        self.stop = False
        """Set by the event loop: write no more."""
        self.error: StoreError | None = None
        self.is_full = False
        self.is_doubtful = False
        """A sync or a close failed: nothing above ``synced_offset`` may be believed."""
        self.synced_offset = appending.offset
        """Raised by whoever syncs the file meanwhile."""

    @property
    def offset(self) -> int:
        """Every byte below it is in the file."""
        return self._appending.offset

    @property
    def is_open(self) -> bool:
        return self._descriptor is not None

    def write(self, pieces: Sequence[Piece]) -> bool:
        """False where not all of it was written: the append is over."""
        return self._attempt("writing bytes", lambda: self._write_all(list(pieces)))

    def copy(self, source: int, at: int, count: int) -> bool:
        """Write some bytes, at most ``count``, that lie ``at`` in another file, inside the kernel
        where it can. False where none was written: the append is over."""
        return self._attempt("copying bytes", lambda: self._copy_some(source, at, count))

    def make_file(self) -> bool:
        """Make the file of an upload of no bytes."""
        return self._attempt("making a file", lambda: self._open() >= 0)

    def finish(self, pieces: Sequence[Piece], *, sync: bool) -> None:
        """Write the last pieces, sync if asked to, close."""
        if pieces:
            self.write(pieces)
        if sync and self._descriptor is not None:
            try:
                os.fdatasync(self._descriptor)
                if self._appending.start == 0:
                    self._sync_entries()
            except OSError as error:
                self.is_doubtful = True
                self._fail("syncing bytes", error)
        self.close()

    def close(self) -> None:
        """Idempotent. An error of close means that bytes may be missing."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        try:
            os.close(descriptor)
        except OSError as error:
            self.is_doubtful = True
            self._fail("closing the file of bytes", error)

    def outcome(self, end: SourceEnd | StopReason | None) -> Appended:
        """How the append ended; ``end`` where everything that came was written."""
        offset = self.synced_offset if self.is_doubtful else self.offset
        if self.is_full:
            end = StopReason.NO_SPACE
        elif self.error is not None:
            end = SourceEnd.HUNG_UP  # the error tells; this is not read as a success
        elif end is None:
            end = self._appending.brake.reason or StopReason.LEASE_LOST
        return Appended(offset, end, error=self.error)

    def _attempt(self, what: str, work: Callable[[], bool]) -> bool:
        try:
            return work()
        except OSError as error:
            if error.errno in NO_SPACE:
                self.is_full = True
            else:
                self._fail(what, error)
        except StoreError as error:
            self.fail(error)
        return False

    def fail(self, error: StoreError) -> None:
        """The append is over; the first error counts."""
        self.error = self.error or error

    def _fail(self, what: str, error: OSError) -> None:
        told = store_error(what, error)
        told.__cause__ = error
        self.fail(told)

    def _write_all(self, pieces: list[Piece]) -> bool:
        first = 0
        while first < len(pieces):
            batch, size = _batch(pieces, first)
            if not self._may_write(size):
                return False
            done = os.pwritev(self._need_descriptor(), batch, self._appending.offset)
            self._appending.offset += done
            if done == size:
                first += len(batch)
            elif done == 0:
                raise OSError(errno.EIO, "nothing was written", self._path)
            else:
                first = _skip(pieces, first, done)
        return True

    def _copy_some(self, source: int, at: int, count: int) -> bool:
        if not self._may_write(count):
            return False
        target, to = self._need_descriptor(), self._appending.offset
        self._appending.offset += copy_some(source, target, at=at, to=to, count=count)
        return True

    def _may_write(self, count: int) -> bool:
        if self.stop or not self._appending.brake.may_write:
            return False
        self.is_full = self.is_full or self._floor.is_reached_before(count)
        return not self.is_full

    def _need_descriptor(self) -> int:
        # Opened as late as this: an append that may write nothing makes no file.
        return self._open() if self._descriptor is None else self._descriptor

    def _open(self) -> int:
        offset = self._appending.offset
        # Only the first bytes of an upload make its file.
        flags = os.O_WRONLY | SAFE | (os.O_CREAT if offset == 0 else 0)
        descriptor = self._descriptor = os.open(self._path, flags, FILE_MODE)
        if (size := os.fstat(descriptor).st_size) < offset:
            raise StoreError(f"{self._path} has {size} bytes, fewer than the offset {offset}")
        return descriptor


def _batch(pieces: list[Piece], first: int) -> tuple[list[Piece], int]:
    """The next pieces for one ``pwritev``, and their size: at least one, and not much more than
    ``MAX_WRITE_BYTES`` (callers bound the single piece)."""
    size = 0
    last = first
    while last < len(pieces) and last - first < MAX_WRITE_PIECES:
        length = len(pieces[last])
        if size and size + length > MAX_WRITE_BYTES:
            break
        size += length
        last += 1
    return pieces[first:last], size


def _skip(pieces: list[Piece], first: int, done: int) -> int:
    """Where to go on after a write that was shorter than asked."""
    while done >= len(pieces[first]):
        done -= len(pieces[first])
        first += 1
    if done:
        pieces[first] = memoryview(pieces[first])[done:]
    return first
