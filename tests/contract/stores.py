"""Every byte store, ready to be held to its contract, and bodies for it made by script.

A new store is one class and one line in ``RIGS``; each runs with each durability.
"""

import asyncio
import errno
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tusd_py.core.digests import Promise
from tusd_py.core.facts import CompletionMark, Facts
from tusd_py.core.identity import Owner
from tusd_py.core.ids import ClientId, HolderId, UploadId, VideoId
from tusd_py.core.metadata import Metadata
from tusd_py.core.reconcile import Durability
from tusd_py.core.upload import Boot
from tusd_py.stores import hold_back
from tusd_py.stores.base import Appended, Appending, ByteStore, Part
from tusd_py.stores.disk import DiskSettings, DiskStore
from tusd_py.streams import Brake, ByteSource, SourceEnd

PATIENCE_SECONDS = 10.0
"""Only a broken store waits so long."""
HOLDER = HolderId("f00d" * 8)


def an_id(number: int = 1) -> UploadId:
    return UploadId(f"{number:032x}")


def facts(
    number: int = 1, *, length: int | None = 10, wire: str = "filename Y2F0Lm1wNA=="
) -> Facts:
    return Facts(
        id=an_id(number),
        owner=Owner(VideoId("17"), ClientId("4")),
        length=length,
        metadata=Metadata(wire),
        created_at=1_000.5,
        creator=Boot("host-a", "boot-1"),
        overrides={"filename": "b\N{SNOWMAN}.mp4"},
        max_bytes=100,
    )


class Script(ByteSource):
    """A body that gives these pieces; an ``asyncio.Event`` among them is waited for."""

    def __init__(
        self,
        *pieces: bytes | asyncio.Event,
        end: SourceEnd = SourceEnd.COMPLETE,
        announced: int | None = None,
    ) -> None:
        self.left = list(pieces)
        self.reads = 0
        self.starved = asyncio.Event()
        """Set once everything was given and an event that nobody sets is waited for."""
        self._planned_end = end
        self._end: SourceEnd | None = None
        self._announced = announced

    @property
    def announced_bytes(self) -> int | None:
        return self._announced

    async def invite(self) -> None:
        """Nobody waits for it here."""

    async def read(self) -> bytes:
        self.reads += 1
        while self.left:
            first = self.left[0]
            if isinstance(first, asyncio.Event):
                if not first.is_set():
                    self.starved.set()
                await first.wait()
                self.left.pop(0)
                continue
            self.left.pop(0)
            return first
        self._end = self._planned_end
        return b""

    @property
    def end(self) -> SourceEnd | None:
        return self._end


class WatchedAppending(Appending):
    """An append whose first progress can be waited for."""

    def __init__(
        self,
        upload_id: UploadId,
        offset: int,
        room: int,
        brake: Brake,
        *,
        promise: Promise | None = None,
    ) -> None:
        self._grown = threading.Event()
        super().__init__(upload_id, offset, room, brake, promise=promise, holder=HOLDER)

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "offset" and value != self.start:
            self._grown.set()

    async def grown(self) -> None:
        assert await asyncio.to_thread(self._grown.wait, PATIENCE_SECONDS), "nothing was written"


class Died(BaseException):
    """The process is gone from here on."""


class Gate:
    """Writes stop here until they are let through. Used from threads and from the loop."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._open = threading.Event()
        self.passed = threading.Event()

    def pass_through(self) -> None:
        self._reached.set()
        if not self._open.wait(PATIENCE_SECONDS):
            raise TimeoutError("nobody opened the gate")

    async def reached(self) -> None:
        assert await asyncio.to_thread(self._reached.wait, PATIENCE_SECONDS), "no write came"

    def open(self) -> None:
        self._open.set()


class StoreRig(ABC):
    """One store and what tests may do to its medium."""

    def __init__(self, folder: Path, durability: Durability) -> None:
        self.folder = folder
        self.durability = durability
        self.store = self.another()

    @abstractmethod
    def another(self) -> ByteStore:
        """A second store over the same bytes, as another process has it."""

    @abstractmethod
    def contents(self, upload_id: UploadId) -> bytes | None:
        """The bytes as they lie there."""

    @abstractmethod
    def slow_writes(self) -> Any:
        """A context with a Gate at which each write or copy of bytes waits."""

    @abstractmethod
    def failing_writes(self, error: int, *, after_bytes: int) -> Any:
        """A context in which the medium takes so many more bytes and then fails."""

    @abstractmethod
    def dying_at(self, number: int) -> Any:
        """A context in which the process dies instead of the change of the medium that has this
        number (0 the first). Nothing is changed any more after that."""

    @abstractmethod
    def without_copying(self) -> Any:
        """A context in which the medium cannot copy by itself."""

    @abstractmethod
    def holding_in_memory(self, max_bytes: int) -> Any:
        """A context in which no more than that of one body is held back in memory."""

    @abstractmethod
    def strays(self) -> list[str]:
        """What lies there besides bytes and facts of uploads."""

    @abstractmethod
    def placed(self, name: str) -> bytes | None:
        """The bytes at a destination."""

    @abstractmethod
    def occupy(self, name: str, content: bytes) -> None:
        """Somebody else's file at a destination."""

    async def leave_orphan(self, content: bytes) -> None:
        """Bytes whose facts were removed, as by a removal that was cut off."""
        await self.finished(content)
        self.remove_facts(an_id())

    @abstractmethod
    def remove_facts(self, upload_id: UploadId) -> None:
        """The facts alone."""

    async def append(
        self,
        *pieces: bytes,
        number: int = 1,
        offset: int = 0,
        room: int = 1 << 40,
        end: SourceEnd = SourceEnd.COMPLETE,
        promise: Promise | None = None,
    ) -> Appended:
        appending = Appending(an_id(number), offset, room, Brake(), promise=promise, holder=HOLDER)
        return await self.store.append(appending, Script(*pieces, end=end))

    async def finished(self, content: bytes, *, number: int = 1) -> UploadId:
        """An upload with all its bytes, not marked."""
        await self.store.prepare(facts(number, length=len(content)))
        if content:
            await self.append(content, number=number)
        return an_id(number)

    async def complete(self, content: bytes, *, number: int = 1) -> UploadId:
        """An upload that is marked."""
        upload_id = await self.finished(content, number=number)
        mark = CompletionMark(length=len(content), finished_at=1.0)
        await self.store.complete(upload_id, mark)
        return upload_id

    async def parts(self, *contents: bytes) -> list[Part]:
        """Complete uploads with these bytes, from number 2 on."""
        ids = [await self.complete(one, number=n) for n, one in enumerate(contents, 2)]
        return [Part(one, len(content)) for one, content in zip(ids, contents, strict=True)]


class DiskRig(StoreRig):
    """Files below a temporary directory."""

    def another(self) -> ByteStore:
        return DiskStore(
            DiskSettings(
                root=self.folder / "uploads",
                durability=self.durability,
                min_free_bytes=0,
                destination="{filename}",
            )
        )

    def path(self, upload_id: UploadId, suffix: str) -> Path:
        return self.folder / "uploads" / upload_id[:3] / f"{upload_id}{suffix}"

    def contents(self, upload_id: UploadId) -> bytes | None:
        return _content(self.path(upload_id, ".bin"))

    def remove_facts(self, upload_id: UploadId) -> None:
        self.path(upload_id, ".facts").unlink()

    def placed(self, name: str) -> bytes | None:
        return _content(self.folder / "files" / name)

    def occupy(self, name: str, content: bytes) -> None:
        path = self.folder / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    @contextmanager
    def slow_writes(self) -> Iterator[Gate]:
        gate = Gate()

        def slow(real: Callable[..., int]) -> Callable[..., int]:
            def wait(*args: Any) -> int:
                gate.pass_through()
                done = real(*args)
                gate.passed.set()
                return done

            return wait

        with _replaced({"pwritev": slow, "copy_file_range": slow}):
            yield gate

    @contextmanager
    def failing_writes(self, error: int, *, after_bytes: int) -> Iterator[None]:
        left, pwritev, copy = after_bytes, os.pwritev, os.copy_file_range

        def take(count: int) -> int:
            nonlocal left
            if not (taken := min(count, left)):
                raise OSError(error, os.strerror(error))
            left -= taken
            return taken

        def failing_write(descriptor: int, pieces: Sequence[bytes], offset: int) -> int:
            data = b"".join(pieces)
            return pwritev(descriptor, [data[: take(len(data))]], offset)

        def failing_copy(source: int, target: int, count: int, at: int, to: int) -> int:
            return copy(source, target, take(count), at, to)

        replacements = {
            "pwritev": lambda _: failing_write,
            "copy_file_range": lambda _: failing_copy,
        }
        with _replaced(replacements):
            yield

    @contextmanager
    def dying_at(self, number: int) -> Iterator[None]:
        changes = 0

        def deadly(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                nonlocal changes
                if changes >= number:
                    raise Died
                changes += 1
                return real(*args, **kwargs)

            return call

        with _replaced(dict.fromkeys(CHANGES, deadly)):
            yield

    @contextmanager
    def without_copying(self) -> Iterator[None]:
        def fail(*_: object) -> int:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

        with _replaced({"copy_file_range": lambda _: fail}):
            yield

    @contextmanager
    def holding_in_memory(self, max_bytes: int) -> Iterator[None]:
        with patch.object(hold_back, "HELD_MEMORY_BYTES", max_bytes):
            yield

    def strays(self) -> list[str]:
        files = [path for path in (self.folder / "uploads").rglob("*") if path.is_file()]
        return [path.name for path in files if path.suffix not in (".bin", ".facts")]


CHANGES = ("pwritev", "pwrite", "write", "copy_file_range", "fdatasync", "fsync", "unlink")
"""What changes files, one call at a time. (Opening one makes an empty file at most.)"""


@contextmanager
def _replaced(replacements: Mapping[str, Callable[[Any], Any]]) -> Iterator[None]:
    """Functions of ``os`` by what is made of them."""
    with ExitStack() as stack:
        for name, replacement in replacements.items():
            stack.enter_context(patch.object(os, name, replacement(getattr(os, name))))
        yield


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


RIGS: dict[str, Callable[[Path, Durability], StoreRig]] = {"disk": DiskRig}
