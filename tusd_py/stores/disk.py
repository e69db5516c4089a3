"""Bytes and facts in the files of a local file system.

Creating an upload makes one file, its facts journal; the file of bytes comes with the first byte,
and completing adds one line to the journal. Each method hands its whole work to a thread at once.
"""

import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, field_validator

from tusd_py.core.destination import validate_template
from tusd_py.core.digests import Algorithm, Digest
from tusd_py.core.facts import CompletionMark, Facts, Remains
from tusd_py.core.ids import UploadId
from tusd_py.core.reconcile import Durability
from tusd_py.core.upload import Boot
from tusd_py.settings import Settings
from tusd_py.stores import disk_facts, disk_files
from tusd_py.stores.base import (
    Appended,
    Appending,
    ByteStore,
    OpenBytes,
    Part,
    StoreError,
    WalkPage,
)
from tusd_py.stores.disk_boots import Boots
from tusd_py.stores.disk_bytes import BytesWriter, SpaceFloor
from tusd_py.stores.disk_facts import Journal
from tusd_py.stores.disk_join import JoinPath
from tusd_py.stores.disk_journals import Journals
from tusd_py.stores.disk_layout import Layout
from tusd_py.stores.disk_place import Placer
from tusd_py.stores.disk_read import Reader
from tusd_py.stores.disk_sync import DirectorySyncs
from tusd_py.stores.disk_threads import DiskThreads, Workers
from tusd_py.stores.disk_walk import Walker
from tusd_py.stores.hold_back import HeldBytes, HeldFile, HeldMemory, HeldPath
from tusd_py.stores.user_path import UserPath
from tusd_py.streams import ByteSource

MIB: Final = 1024 * 1024
SPACE_KNOWN_SECONDS: Final = 1.0


class DiskSettings(Settings):
    """Bytes on a local disk."""

    kind: Literal["disk"] = "disk"
    root: Path = Path("data/uploads")
    """Directory of the bytes and facts; made if it is not there."""
    durability: Durability = Durability.FINISH
    """What an acknowledged byte survives: "process" the death of the server, "finish" (so it does,
    and a file is synced before it is complete), "power" every byte the loss of power."""
    min_free_bytes: Annotated[int, Field(ge=0)] = 256 * MIB
    """Uploads are answered 507 while less than this is free, so that the state, DELETE and the
    sweeper can always write."""
    destination: str | None = None
    """Where finished files go below destination_root, for instance
    "{client_id}/{video_id}/{filename}"; "none": they stay in root. Fields: upload_id, video_id,
    client_id, filename, stem, suffix (with its dot), created (YYYY-MM-DD)."""
    destination_root: Path | None = None
    """Directory of the finished files; "none": "files" beside root."""
    destination_mode: Literal["move", "link"] = "move"
    """"move": the finished file leaves root; "link": it has both names (a copy where they are on
    different file systems)."""
    writer_threads: Annotated[int, Field(ge=1, le=256)] = 8
    """Threads that write bodies; slow clients need none while they are silent."""
    sync_threads: Annotated[int, Field(ge=1, le=256)] = 16
    """Threads that wait for the medium; syncs that run at once share its journal's commits."""

    @field_validator("destination")
    @classmethod
    def _is_a_template(cls, value: str | None) -> str | None:
        if value is not None:
            validate_template(value)
        return value


class DiskStore(ByteStore):
    """See ``conf/layout.md`` for what lies where."""

    settings_type = DiskSettings

    def __init__(self, settings: DiskSettings) -> None:
        self.durability = settings.durability
        self._layout = Layout(settings.root)
        placed = settings.destination_root or settings.root.parent / "files"
        self._placed_root = os.fspath(placed) if settings.destination else None
        self._start_directory = ""
        self._moves = settings.destination_mode == "move"
        self._threads = DiskThreads(writers=settings.writer_threads, syncers=settings.sync_threads)
        self._journals = Journals(self._layout)
        self._held_memory = HeldMemory()
        self._floor = SpaceFloor(self._layout.root, settings.min_free_bytes)
        self._directories = DirectorySyncs(self._layout.root)
        self._boots = Boots(self._layout.root, self._directories)
        self._space = (-SPACE_KNOWN_SECONDS, False)
        self._running: defaultdict[UploadId, list[BytesWriter]] = defaultdict(list)
        self._syncs_at_finish = settings.durability is not Durability.PROCESS
        self._syncs_always = settings.durability is Durability.POWER

    async def open(self) -> None:
        await self._threads.files.run("opening the store", self._open)

    def _open(self) -> None:
        self._start_directory = os.getcwd()
        disk_files.make_usable(self._layout.root, "store.root")
        if self._placed_root is not None:
            disk_files.make_usable(self._placed_root, "store.destination_root")

    async def close(self) -> None:
        self._threads.close()

    async def publish_boot(self, boot: Boot) -> None:
        await self._threads.syncers.run("publishing a boot", lambda: self._boots.publish(boot))

    async def withdraw_boot(self, host: str) -> None:
        await self._threads.syncers.run("withdrawing a boot", lambda: self._boots.withdraw(host))

    async def boot_of(self, host: str) -> str | None:
        return await self._threads.files.run("asking for a boot", lambda: self._boots.find(host))

    async def hosts_of(self, boot_id: str) -> Sequence[str]:
        return await self._threads.files.run(
            "asking for hosts", lambda: self._boots.hosts_of(boot_id)
        )

    async def prepare(self, facts: Facts) -> None:
        line = disk_facts.build_facts_line(facts)
        is_empty = facts.length == 0
        await self._for_changes.run(
            "making an upload", lambda: self._prepare(facts.id, line, is_empty=is_empty)
        )

    def _prepare(self, upload_id: UploadId, line: bytes, *, is_empty: bool) -> None:
        self._floor.check()
        directory = self._layout.directory(upload_id)
        if is_empty:
            os.makedirs(directory, disk_files.DIRECTORY_MODE, exist_ok=True)
            self._make_empty(upload_id)
        try:
            self._journals.begin(upload_id, line, sync=self._syncs_always)
        except FileNotFoundError:
            os.makedirs(directory, disk_files.DIRECTORY_MODE, exist_ok=True)
            self._journals.begin(upload_id, line, sync=self._syncs_always)
        if self._syncs_always:
            self._directories.sync_with_parent(directory)

    def _make_empty(self, upload_id: UploadId) -> None:
        """No body will make the file of an upload of no bytes, and gates and receivers want one."""
        path, flags = self._layout.bytes_file(upload_id), os.O_WRONLY | os.O_CREAT
        os.close(os.open(path, flags | disk_files.SAFE, disk_files.FILE_MODE))

    async def load(self, upload_id: UploadId) -> Remains | None:
        return await self._threads.files.run("reading facts", lambda: self._load(upload_id))

    def _load(self, upload_id: UploadId) -> Remains | None:
        journal = self._journals.read(upload_id)
        if journal is None:
            return None
        size = disk_files.size_of(self._layout.bytes_file(upload_id))
        return Remains(facts=journal.facts, size=size or 0, mark=journal.mark)

    async def append(self, appending: Appending, source: ByteSource) -> Appended:
        with self._writing(appending) as writer:
            promise, sync = appending.promise, self._syncs_always
            if promise is None or promise.is_empty:
                return await UserPath(appending, source, writer, self._threads, sync=sync).run()
            path = self._layout.held_file(appending.upload_id, appending.holder)
            file = HeldFile(path, appending.upload_id, appending.brake, self._floor)
            held = HeldBytes(file, self._held_memory, promise.digests)
            return await HeldPath(appending, source, held, writer, self._threads, sync=sync).run()

    async def join(self, appending: Appending, parts: Sequence[Part]) -> Appended:
        with self._writing(appending) as writer:
            path_of, sync = self._layout.bytes_file, self._syncs_always
            return await JoinPath(appending, parts, path_of, writer, self._threads, sync=sync).run()

    @contextmanager
    def _writing(self, appending: Appending) -> Iterator[BytesWriter]:
        """The writer of one append, known to the syncs that come meanwhile."""
        upload_id = appending.upload_id
        directory = self._layout.directory(upload_id)
        writer = BytesWriter(
            self._layout.bytes_file(upload_id),
            appending,
            self._floor,
            lambda: self._directories.sync_with_parent(directory),
        )
        self._running[upload_id].append(writer)
        try:
            yield writer
        finally:
            self._running[upload_id].remove(writer)
            if not self._running[upload_id]:
                del self._running[upload_id]

    async def digest(
        self, upload_id: UploadId, algorithms: Sequence[Algorithm], *, length: int
    ) -> tuple[Digest, ...]:
        steps = self._reader.digest(upload_id, algorithms, length)
        return await self._threads.readers.run_in_turns("hashing a file", steps)

    async def open_bytes(self, upload_id: UploadId, *, place: str | None) -> OpenBytes | None:
        return await self._reader.open(upload_id, place)

    async def sync(self, upload_id: UploadId) -> None:
        running = [(writer, writer.offset) for writer in self._running.get(upload_id, ())]
        await self._threads.syncers.run("syncing an upload", lambda: self._sync(upload_id))
        for writer, offset in running:
            writer.synced_offset = max(writer.synced_offset, offset)

    def _sync(self, upload_id: UploadId) -> None:
        disk_files.sync_file(self._layout.bytes_file(upload_id))
        disk_files.sync_file(self._layout.facts_file(upload_id))
        # Without the directory nothing was ever written, so that nothing has to be synced.
        directory = self._layout.directory(upload_id)
        if os.path.isdir(directory):
            self._directories.sync_with_parent(directory)

    async def declare_length(self, upload_id: UploadId, length: int) -> None:
        await self._for_changes.run(
            "declaring a length", lambda: self._declare_length(upload_id, length)
        )

    def _declare_length(self, upload_id: UploadId, length: int) -> None:
        journal = self._journals.need(upload_id)
        if journal.facts.length is None:
            if length == 0:
                self._make_empty(upload_id)
            line = disk_facts.build_length_line(length)
            self._journals.add(upload_id, journal, line, sync=self._syncs_always)

    async def complete(self, upload_id: UploadId, mark: CompletionMark) -> None:
        workers = self._threads.syncers if self._syncs_at_finish else self._threads.files
        await workers.run("marking completion", lambda: self._complete(upload_id, mark))

    def _complete(self, upload_id: UploadId, mark: CompletionMark) -> None:
        journal = self._journals.need(upload_id)
        if self._syncs_at_finish:
            disk_files.sync_file(self._layout.bytes_file(upload_id))
        if journal.mark is None:
            line = disk_facts.build_mark_line(mark)
            self._journals.add(upload_id, journal, line, sync=self._syncs_at_finish)
        elif self._syncs_at_finish:
            # A run before us wrote it, and perhaps came no further.
            disk_files.sync_file(self._layout.facts_file(upload_id))
        if self._syncs_at_finish:
            self._directories.sync_with_parent(self._layout.directory(upload_id))

    async def place(self, upload_id: UploadId, name: str, *, length: int) -> str:
        stop = threading.Event()
        return await self._threads.movers.run(
            "putting a file in its place",
            lambda: self._place(upload_id, name, length, stop),
            on_cancel=stop.set,
        )

    def _place(self, upload_id: UploadId, name: str, length: int, stop: threading.Event) -> str:
        journal = self._journals.need(upload_id)
        if journal.mark is not None and journal.mark.place is not None:
            return journal.mark.place

        def leave_trace() -> None:
            if journal.staged is None:
                line = disk_facts.build_staged_line(name)
                self._journals.add(upload_id, journal, line, sync=self._syncs_at_finish)

        source = self._layout.bytes_file(upload_id)
        if length == 0:
            # It was made before such an upload got its file, or somebody took that away.
            self._make_empty(upload_id)
        # A copy was begun for another name: the configuration changed, the first name stays.
        name = journal.staged or name
        return self._placer.place(upload_id, source, name, length, leave_trace, stop.is_set)

    async def tidy_placed(self, upload_id: UploadId) -> None:
        await self._threads.files.run("tidying up", lambda: self._tidy_placed(upload_id))

    def _tidy_placed(self, upload_id: UploadId) -> None:
        journal = self._journals.read(upload_id)
        if journal is None or journal.mark is None or journal.mark.place is None:
            return
        self._remove_staged(upload_id, journal)
        if self._moves:
            disk_files.remove_file(self._layout.bytes_file(upload_id))

    async def remove(self, upload_id: UploadId) -> None:
        await self._for_changes.run("removing an upload", lambda: self._remove(upload_id))

    def _remove(self, upload_id: UploadId) -> None:
        journal = self._journals.read(upload_id)
        if journal is not None:
            # First, because only the facts know where it lies; nobody sees it.
            self._remove_staged(upload_id, journal)
        disk_files.remove_file(self._layout.facts_file(upload_id))
        disk_files.remove_file(self._layout.bytes_file(upload_id))
        self._sync_removal(upload_id)

    async def remove_bytes(self, upload_id: UploadId) -> None:
        await self._for_changes.run("removing bytes", lambda: self._remove_bytes(upload_id))

    def _remove_bytes(self, upload_id: UploadId) -> None:
        disk_files.remove_file(self._layout.bytes_file(upload_id))
        self._sync_removal(upload_id)

    async def walk(self, cursor: str | None, *, orphan_age_seconds: float) -> WalkPage:
        walker = Walker(self._layout, self._journals)
        return await self._threads.files.run(
            "walking over the store", lambda: walker.page(cursor, orphan_age_seconds)
        )

    async def has_space(self) -> bool:
        known_at, has_space = self._space
        now = time.monotonic()
        if now - known_at >= SPACE_KNOWN_SECONDS:
            is_reached = await self._threads.files.run("asking for space", self._floor.is_reached)
            has_space = not is_reached
            self._space = (now, has_space)
        return has_space

    def local_path(self, upload_id: UploadId) -> Path | None:
        return Path(self._start_directory, self._layout.bytes_file(upload_id))

    @property
    def _for_changes(self) -> Workers:
        return self._threads.syncers if self._syncs_always else self._threads.files

    @property
    def _placer(self) -> Placer:
        if (placer := self._any_placer) is None:
            raise StoreError("no destination is set (store.destination)")
        return placer

    @property
    def _any_placer(self) -> Placer | None:
        if self._placed_root is None:
            return None
        return Placer(self._placed_root, sync=self._syncs_at_finish)

    @property
    def _reader(self) -> Reader:
        return Reader(self._layout, self._journals, self._any_placer, self._threads.readers)

    def _remove_staged(self, upload_id: UploadId, journal: Journal) -> None:
        if journal.staged is not None and self._placed_root is not None:
            self._placer.remove_staged(upload_id, journal.staged)

    def _sync_removal(self, upload_id: UploadId) -> None:
        directory = self._layout.directory(upload_id)
        if self._syncs_always and os.path.isdir(directory):
            self._directories.sync(directory)
