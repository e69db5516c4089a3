"""Reading what is complete: downloads, and digests of whole files."""

import logging
import os
import stat
from collections.abc import Generator, Sequence
from typing import Final

from tusd_py.core.digests import Algorithm, Digest
from tusd_py.core.ids import UploadId
from tusd_py.digests import build_hasher
from tusd_py.stores.base import OpenBytes, StoreError
from tusd_py.stores.disk_files import READ_STEP_BYTES, SAFE
from tusd_py.stores.disk_journals import Journals
from tusd_py.stores.disk_layout import Layout
from tusd_py.stores.disk_place import Placer
from tusd_py.stores.disk_threads import Workers

log = logging.getLogger(__name__)

MAX_READ_BYTES: Final = 1024 * 1024
"""What one ``read`` gives, however much it was asked for."""


class DiskFile(OpenBytes):
    """One open file; it closes its descriptor once, and not while a read is under way."""

    def __init__(self, descriptor: int, length: int, modified_at: float, workers: Workers) -> None:
        self.descriptor: int | None = descriptor
        self.length = length
        self.modified_at = modified_at
        self._workers = workers
        self._to_close: int | None = descriptor
        self._reads = 0

    async def read(self, offset: int, max_bytes: int) -> bytes:
        descriptor = self.descriptor
        if descriptor is None:
            raise StoreError("the file was closed")
        count = min(max_bytes, self.length - offset, MAX_READ_BYTES)
        if count <= 0:
            return b""
        self._reads += 1
        try:
            data = await self._workers.run(
                "reading bytes", lambda: os.pread(descriptor, count, offset)
            )
        finally:
            self._reads -= 1
            await self._let_go()
        if not data:
            raise StoreError(f"the file became shorter than {self.length} bytes")
        return data

    async def close(self) -> None:
        self.descriptor = None
        await self._let_go()

    async def _let_go(self) -> None:
        if self.descriptor is not None or self._reads or self._to_close is None:
            return
        # Its number may be another file's in a moment.
        descriptor, self._to_close = self._to_close, None
        await self._workers.run("closing a file", lambda: os.close(descriptor))


class Reader:
    """Finds and opens. For worker threads, but for what is ``async``."""

    def __init__(
        self, layout: Layout, journals: Journals, placer: Placer | None, workers: Workers
    ) -> None:
        self._layout = layout
        self._journals = journals
        self._placer = placer
        self._workers = workers

    async def open(self, upload_id: UploadId, place: str | None) -> DiskFile | None:
        """See ``ByteStore.open_bytes``."""
        opened: list[DiskFile] = []

        def work() -> None:
            if (file := self._open(upload_id, place)) is not None:
                opened.append(file)

        try:
            await self._workers.run("opening a file", work)
        except BaseException:
            for file in opened:  # cancelled meanwhile: nobody else will close it
                await file.close()
            raise
        return opened[0] if opened else None

    def digest(
        self, upload_id: UploadId, algorithms: Sequence[Algorithm], length: int
    ) -> Generator[None, None, tuple[Digest, ...]]:
        """See ``ByteStore.digest``."""
        hashers = [build_hasher(algorithm) for algorithm in algorithms]
        if length:
            descriptor = self._open_anywhere(upload_id)
            try:
                for piece in _read(descriptor, length):
                    for hasher in hashers:
                        hasher.update(piece)
                    yield
            finally:
                os.close(descriptor)
        return tuple(
            Digest(algorithm, hasher.digest())
            for algorithm, hasher in zip(algorithms, hashers, strict=True)
        )

    def _open(self, upload_id: UploadId, place: str | None) -> DiskFile | None:
        journal = self._journals.read(upload_id)
        if journal is None or journal.mark is None:
            return None
        descriptor = self._open_at(upload_id, place)
        if descriptor is None:
            return None
        try:
            found, length = os.fstat(descriptor), journal.mark.length
            # In the root, bytes that nobody believes may lie past the end; at its place the file
            # is exactly what was put there, or somebody's who put another one there.
            is_ours = found.st_size == length or (place is None and found.st_size > length)
            if stat.S_ISREG(found.st_mode) and is_ours:
                return DiskFile(descriptor, length, found.st_mtime, self._workers)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        log.warning("file_was_changed", extra={"upload_id": upload_id, "place": place})
        return None

    def _open_at(self, upload_id: UploadId, place: str | None) -> int | None:
        if place is None:
            return _open_file(self._layout.bytes_file(upload_id))
        if self._placer is None:
            raise StoreError("no destination is set (store.destination), but files were put in one")
        return self._placer.open_placed(place)

    def _open_anywhere(self, upload_id: UploadId) -> int:
        """The bytes stay in the root until a mark says that they have their place."""
        descriptor = _open_file(self._layout.bytes_file(upload_id))
        if descriptor is None:
            mark = self._journals.need(upload_id).mark
            if mark is not None and mark.place is not None:
                descriptor = self._open_at(upload_id, mark.place)
        if descriptor is None:
            raise StoreError(f"the bytes of {upload_id} are not there")
        return descriptor


def _open_file(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | SAFE)
    except FileNotFoundError:
        return None


def _read(descriptor: int, length: int) -> Generator[memoryview, None, None]:
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, length, os.POSIX_FADV_SEQUENTIAL)
    buffer = memoryview(bytearray(min(READ_STEP_BYTES, length)))
    done = 0
    while done < length:
        count = os.preadv(descriptor, [buffer[: length - done]], done)
        if not count:
            raise StoreError(f"the file has {done} bytes, not {length}")
        done += count
        yield buffer[:count]
