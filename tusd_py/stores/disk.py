"""Bytes and facts in the files of a local file system.

Creating an upload makes one file, its facts journal; the file of bytes comes with the first byte,
and completing adds one line to the journal. Each method hands its whole work to a thread at once.
"""

import os
import secrets
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, field_validator

from tusd_py.core.destination import validate_template
from tusd_py.core.facts import CompletionMark, Facts, Remains
from tusd_py.core.ids import UploadId
from tusd_py.core.reconcile import Durability
from tusd_py.settings import Settings
from tusd_py.stores import disk_facts, disk_files
from tusd_py.stores.base import Appended, Appending, ByteStore, StoreError, WalkPage
from tusd_py.stores.disk_bytes import BytesWriter, SpaceFloor
from tusd_py.stores.disk_facts import MAX_JOURNAL_BYTES, TORN, Journal, parse_journal
from tusd_py.stores.disk_layout import Layout, fan_out_after, split_name
from tusd_py.stores.disk_place import Placer
from tusd_py.stores.disk_sync import DirectorySyncs
from tusd_py.stores.disk_threads import DiskThreads, Workers
from tusd_py.stores.user_path import UserPath
from tusd_py.streams import ByteSource

MIB: Final = 1024 * 1024
SPACE_KNOWN_SECONDS: Final = 1.0
PROBE: Final = b"tusd_py can write here\n"


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
        self._floor = SpaceFloor(self._layout.root, settings.min_free_bytes)
        self._directories = DirectorySyncs(self._layout.root)
        self._space = (-SPACE_KNOWN_SECONDS, False)
        self._running: defaultdict[UploadId, list[BytesWriter]] = defaultdict(list)
        self._syncs_at_finish = settings.durability is not Durability.PROCESS
        self._syncs_always = settings.durability is Durability.POWER

    async def open(self) -> None:
        await self._threads.files.run("opening the store", self._open)

    def _open(self) -> None:
        self._start_directory = os.getcwd()
        _make_usable(self._layout.root, "store.root")
        if self._placed_root is not None:
            _make_usable(self._placed_root, "store.destination_root")

    async def close(self) -> None:
        self._threads.close()

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
            self._make_facts(upload_id, line)
        except FileNotFoundError:
            os.makedirs(directory, disk_files.DIRECTORY_MODE, exist_ok=True)
            self._make_facts(upload_id, line)
        if self._syncs_always:
            self._directories.sync_with_parent(directory)

    def _make_facts(self, upload_id: UploadId, line: bytes) -> None:
        path, flags = self._layout.facts_file(upload_id), os.O_CREAT | os.O_EXCL
        try:
            disk_files.write_once(path, line, flags=flags, sync=self._syncs_always)
        except (FileNotFoundError, FileExistsError):
            raise  # nothing was made by us
        except OSError:
            # Half a line is as good as none, and nobody comes back for it.
            disk_files.remove_file(path)
            raise

    def _make_empty(self, upload_id: UploadId) -> None:
        """No body will make the file of an upload of no bytes, and gates and receivers want one."""
        path, flags = self._layout.bytes_file(upload_id), os.O_WRONLY | os.O_CREAT
        os.close(os.open(path, flags | disk_files.SAFE, disk_files.FILE_MODE))

    async def load(self, upload_id: UploadId) -> Remains | None:
        return await self._threads.files.run("reading facts", lambda: self._load(upload_id))

    def _load(self, upload_id: UploadId) -> Remains | None:
        journal = self._read_journal(upload_id)
        if journal is None:
            return None
        size = disk_files.size_of(self._layout.bytes_file(upload_id))
        return Remains(facts=journal.facts, size=size or 0, mark=journal.mark)

    async def append(self, appending: Appending, source: ByteSource) -> Appended:
        upload_id = appending.upload_id
        directory = self._layout.directory(upload_id)
        writer = BytesWriter(
            self._layout.bytes_file(upload_id),
            appending,
            self._floor,
            lambda: self._directories.sync_with_parent(directory),
        )
        path = UserPath(appending, source, writer, self._threads, sync=self._syncs_always)
        self._running[upload_id].append(writer)
        try:
            return await path.run()
        finally:
            self._running[upload_id].remove(writer)
            if not self._running[upload_id]:
                del self._running[upload_id]

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
        journal = self._need_journal(upload_id)
        if journal.facts.length is None:
            if length == 0:
                self._make_empty(upload_id)
            line = disk_facts.build_length_line(length)
            self._add_line(upload_id, journal, line, sync=self._syncs_always)

    async def complete(self, upload_id: UploadId, mark: CompletionMark) -> None:
        workers = self._threads.syncers if self._syncs_at_finish else self._threads.files
        await workers.run("marking completion", lambda: self._complete(upload_id, mark))

    def _complete(self, upload_id: UploadId, mark: CompletionMark) -> None:
        journal = self._need_journal(upload_id)
        if self._syncs_at_finish:
            disk_files.sync_file(self._layout.bytes_file(upload_id))
        if journal.mark is None:
            line = disk_facts.build_mark_line(mark)
            self._add_line(upload_id, journal, line, sync=self._syncs_at_finish)
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
        journal = self._need_journal(upload_id)
        if journal.mark is not None and journal.mark.place is not None:
            return journal.mark.place

        def leave_trace() -> None:
            if journal.staged is None:
                line = disk_facts.build_staged_line(name)
                self._add_line(upload_id, journal, line, sync=self._syncs_at_finish)

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
        journal = self._read_journal(upload_id)
        if journal is None or journal.mark is None or journal.mark.place is None:
            return
        self._remove_staged(upload_id, journal)
        if self._moves:
            disk_files.remove_file(self._layout.bytes_file(upload_id))

    async def remove(self, upload_id: UploadId) -> None:
        await self._for_changes.run("removing an upload", lambda: self._remove(upload_id))

    def _remove(self, upload_id: UploadId) -> None:
        journal = self._read_journal(upload_id)
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
        return await self._threads.files.run(
            "walking over the store", lambda: self._walk(cursor, orphan_age_seconds)
        )

    def _walk(self, cursor: str | None, orphan_age_seconds: float) -> WalkPage:
        for name in fan_out_after(cursor):
            try:
                entries = os.listdir(f"{self._layout.root}/{name}")
            except FileNotFoundError:
                continue
            ids = {found[0] for entry in entries if (found := split_name(entry))}
            ours = sorted(one for one in ids if one.startswith(name))
            with_facts = [one for one in ours if self._has_facts(one)]
            bare = sorted(set(ours) - set(with_facts))
            born_before = time.time() - orphan_age_seconds
            orphans = [one for one in bare if self._changed_at(one) < born_before]
            return WalkPage(with_facts, orphans, name)
        return WalkPage((), (), None)

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
        if self._placed_root is None:
            raise StoreError("no destination is set (store.destination)")
        return Placer(self._placed_root, sync=self._syncs_at_finish)

    def _read_journal(self, upload_id: UploadId) -> Journal | None:
        data = disk_files.read_bounded(self._layout.facts_file(upload_id), MAX_JOURNAL_BYTES)
        return None if data is None else parse_journal(data, upload_id)

    def _need_journal(self, upload_id: UploadId) -> Journal:
        journal = self._read_journal(upload_id)
        if journal is None:
            raise StoreError(f"there are no facts of {upload_id}")
        return journal

    def _add_line(self, upload_id: UploadId, journal: Journal, line: bytes, *, sync: bool) -> None:
        data = TORN + line if journal.is_torn else line
        disk_files.write_once(self._layout.facts_file(upload_id), data, flags=0, sync=sync)

    def _remove_staged(self, upload_id: UploadId, journal: Journal) -> None:
        if journal.staged is not None and self._placed_root is not None:
            self._placer.remove_staged(upload_id, journal.staged)

    def _sync_removal(self, upload_id: UploadId) -> None:
        directory = self._layout.directory(upload_id)
        if self._syncs_always and os.path.isdir(directory):
            self._directories.sync(directory)

    def _has_facts(self, upload_id: UploadId) -> bool:
        try:
            return self._read_journal(upload_id) is not None
        except (StoreError, OSError):
            # There, but not to be read: never an orphan, and no end of the walk for all others.
            return True

    def _changed_at(self, upload_id: UploadId) -> float:
        """When the youngest of its files changed; now, where there is none any more."""
        found = []
        for path in (self._layout.bytes_file(upload_id), self._layout.facts_file(upload_id)):
            try:
                found.append(os.stat(path, follow_symlinks=False).st_mtime)
            except FileNotFoundError:
                continue
        return max(found, default=time.time())


def _make_usable(directory: str, setting: str) -> None:
    """Make it, and show that files in it can be written, synced and removed."""
    probe = f"{directory}/.probe-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        os.makedirs(directory, disk_files.DIRECTORY_MODE, exist_ok=True)
        descriptor = os.open(
            probe, os.O_RDWR | os.O_CREAT | os.O_EXCL | disk_files.SAFE, disk_files.FILE_MODE
        )
        try:
            os.pwritev(descriptor, [PROBE], 0)
            os.fdatasync(descriptor)
            if os.pread(descriptor, len(PROBE), 0) != PROBE:
                raise StoreError(f"{directory} does not give back what was written to it")
        finally:
            os.close(descriptor)
            os.unlink(probe)
        disk_files.sync_directory(directory)
    except OSError as error:
        raise StoreError(
            f"files cannot be written in {directory} ({error.strerror}): let the server's user "
            f"write there, or set {setting} to another directory"
        ) from error
