"""A state and a store that hold what a test puts there: records to look at, files to open."""

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from tests.unit.core.builders import an_upload
from tusd_py.core.ids import UploadId
from tusd_py.core.metadata import build_pairs
from tusd_py.core.upload import Status, Upload
from tusd_py.service.gates import Gates
from tusd_py.service.observer import SilentObserver
from tusd_py.service.parts import Parts
from tusd_py.service.settings import UploadSettings
from tusd_py.state.base import Filter, UploadState
from tusd_py.stores.base import ByteStore, OpenBytes

NOW = 1_800_000_000.0
"""The time of every shelf."""


class FileBytes(OpenBytes):
    """A real file."""

    def __init__(self, path: Path, *, length: int | None = None) -> None:
        self.descriptor = os.open(path, os.O_RDONLY)
        self.length = os.fstat(self.descriptor).st_size if length is None else length
        self.modified_at = NOW - 10
        self.is_closed = False
        self.reads = 0

    async def read(self, offset: int, max_bytes: int) -> bytes:
        self.reads += 1
        assert self.descriptor is not None
        return await asyncio.to_thread(os.pread, self.descriptor, max_bytes, offset)

    async def close(self) -> None:
        if not self.is_closed and self.descriptor is not None:
            self.is_closed = True
            os.close(self.descriptor)


class MemoryBytes(OpenBytes):
    """Bytes that no kernel can send; reading some of them may fail."""

    def __init__(
        self, content: bytes, *, fails: Exception | None = None, descriptor: int | None = None
    ) -> None:
        self.descriptor = descriptor
        self._content = content
        self._fails = fails
        self.length = len(content)
        self.modified_at = NOW - 10
        self.is_closed = False
        self.reads = 0

    async def read(self, offset: int, max_bytes: int) -> bytes:
        self.reads += 1
        if self._fails is not None and offset:
            raise self._fails
        return self._content[offset : offset + max_bytes]

    async def close(self) -> None:
        self.is_closed = True


@dataclass
class Shelf:
    """State and store at once: records and what is opened of them."""

    records: dict[str, Upload] = field(default_factory=dict)
    make: Callable[[], FileBytes | MemoryBytes | None] = lambda: None
    opened: list[FileBytes | MemoryBytes] = field(default_factory=list)
    looks: int = 0
    """How often a record, or a page of them, was asked for."""
    fails_with: Exception | None = None

    def put(self, **changes: Any) -> Upload:
        upload = an_upload(**changes)
        self.records[upload.id] = upload
        return upload

    async def find(self, upload_id: UploadId) -> Upload | None:
        self._look()
        return self.records.get(upload_id)

    async def page(self, wanted: Filter, *, after: UploadId | None, limit: int) -> Sequence[Upload]:
        self._look()
        found = [
            one
            for one in sorted(self.records.values(), key=lambda one: one.id)
            if one.id > (after or "")
            and wanted.video_id in (None, one.owner.video_id)
            and wanted.client_id in (None, one.owner.client_id)
            and wanted.status in (None, one.status)
        ]
        return found[:limit]

    async def open_bytes(self, upload_id: UploadId, *, place: str | None) -> OpenBytes | None:
        made = self.make()
        if made is not None:
            self.opened.append(made)
        return made

    def _look(self) -> None:
        self.looks += 1
        if self.fails_with is not None:
            raise self.fails_with


def parts_of(shelf: Shelf, **settings: Any) -> Parts:
    """The services' parts, as far as looking needs them."""
    return Parts(
        state=cast(UploadState, shelf),
        store=cast(ByteStore, shelf),
        gates=Gates({}, 1.0, SilentObserver()),
        settings=UploadSettings(**settings),
        observer=SilentObserver(),
        now=lambda: NOW,
        randomness=os.urandom,
    )


def finished(content: bytes, **metadata: str) -> Upload:
    """The record of a complete upload of this content."""
    return replace(
        an_upload(),
        length=len(content),
        offset=len(content),
        status=Status.COMPLETE,
        finished_at=NOW - 10,
        metadata=build_pairs({key: value.encode() for key, value in metadata.items()}),
    )
