"""The embedded state store: one SQLite file, several processes on one host, nothing to install.

Everything that waits for a write goes in one transaction (``sqlite_committer``), by turns between
processes. Leases are columns of the records (``sqlite_leases``); processes hear of each other by
datagrams (``sqlite_peers``), which are hints only: the file has the truth.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Final, Literal

from pydantic import Field

from tusd_py.core.upload import Boot
from tusd_py.settings import Settings
from tusd_py.state.base import StateError, StateStore
from tusd_py.state.sqlite_committer import Checkpointer, Reader, Writer
from tusd_py.state.sqlite_groups import CLOSE_SECONDS, GroupThread
from tusd_py.state.sqlite_handover import Handover
from tusd_py.state.sqlite_leases import LeaseBook
from tusd_py.state.sqlite_mounts import network_kind
from tusd_py.state.sqlite_moving import SqliteMoving, refuse_unfinished
from tusd_py.state.sqlite_note import Note, Verdict
from tusd_py.state.sqlite_outbox import SqliteOutbox
from tusd_py.state.sqlite_peers import Peers
from tusd_py.state.sqlite_quotas import SqliteQuotas, forget_earlier_boots
from tusd_py.state.sqlite_schema import enter_generation, migrate
from tusd_py.state.sqlite_uploads import SqliteUploads, Workshop

MIB: Final = 1024 * 1024
MIN_SQLITE: Final = (3, 32, 0)
"""UPSERT, row values and partial indexes over IN; every Python 3.11 of today has more."""
CACHED_STATEMENTS: Final = 256
PAGE_CACHE_KIB: Final = 16 * 1024
MMAP_BYTES: Final = 0
"""Off: an I/O error under mmap is a SIGBUS that nobody can turn into an answer."""


class SqliteSettings(Settings):
    """The embedded state store."""

    kind: Literal["sqlite"] = "sqlite"
    path: Path = Path("data/state.db")
    """The database file; beside it lie a folder PATH.d (locks and sockets of the processes), and
    PATH-wal and PATH-shm while it is open. Not on a network file system."""
    synchronous: Literal["normal", "full"] | None = None
    """How far a commit goes: ``normal`` survives the death of every process, ``full`` also the
    loss of power. None: as the durability of uploads demands."""
    busy_seconds: float = Field(default=4.0, ge=0.1, le=60.0)
    """How long a request waits for its turn before it is told to try again. Less than a lease."""
    wal_max_mib: int = Field(default=16, ge=1, le=1024)
    """The size from which on the write-ahead log is started anew, and to which it is cut back."""


class SqliteState(SqliteUploads, SqliteOutbox, SqliteQuotas, SqliteMoving, StateStore):
    """One SQLite file as the whole state. Open it in the loop that uses it."""

    settings_type: ClassVar[type[SqliteSettings]] = SqliteSettings

    def __init__(
        self,
        settings: SqliteSettings,
        *,
        boot: Boot,
        lease_seconds: float,
        clock: Callable[[], float],
        power_safe: bool = False,
    ) -> None:
        self._settings = settings
        self._boot = boot
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._synchronous = settings.synchronous or ("full" if power_safe else "normal")
        self._open_shop: Workshop | None = None
        self._connections: tuple[Writer, Reader, Checkpointer] | None = None

    @property
    def _shop(self) -> Workshop:
        if self._open_shop is None:
            raise StateError("the state store is not open")
        return self._open_shop

    async def open(self) -> None:
        if self._open_shop is not None:
            raise StateError("the state store is open already")
        peers = Peers(self._folder)
        try:
            writer, reader, checkpointer, book = await asyncio.to_thread(self._prepare, peers)
        except (OSError, sqlite3.Error) as exc:
            await asyncio.to_thread(peers.leave)
            raise StateError(f"cannot open the state file {self._path}: {exc}") from exc
        except BaseException:
            await asyncio.to_thread(peers.leave)
            raise
        busy = self._settings.busy_seconds
        shop = Workshop(
            writer=GroupThread("state-writer", writer.perform, busy_seconds=busy),
            reader=GroupThread("state-reader", reader.perform, busy_seconds=busy),
            book=book,
            peers=peers,
            handover=Handover(peers),
        )
        shop.writer.start()
        shop.reader.start()
        checkpointer.start()
        peers.listen(asyncio.get_running_loop(), shop.handover.on_message)
        self._open_shop, self._connections = shop, (writer, reader, checkpointer)

    async def close(self) -> None:
        shop, connections = self._open_shop, self._connections
        if shop is None or connections is None:
            return
        self._connections = None  # a second close has nothing to do
        writer, reader, checkpointer = connections
        writer_ended, reader_ended = await shop.writer.close(), await shop.reader.close()
        shop.peers.stop_listening()
        try:
            await asyncio.to_thread(checkpointer.close, CLOSE_SECONDS)
            # A thread that is stuck keeps its connection: to close it under the thread is no help.
            if reader_ended:
                await asyncio.to_thread(reader.close)
            if writer_ended:
                await asyncio.to_thread(writer.end)
        finally:
            # Not before: who finds itself alone with the file relies on the last note on it.
            await asyncio.to_thread(shop.peers.leave)
        self._open_shop = None

    async def ping(self) -> None:
        def write(db: sqlite3.Connection) -> None:
            db.execute("REPLACE INTO meta (key, value) VALUES ('ping', NULL)")

        await self._shop.writer.run(write)
        await self._shop.reader.run(lambda db: db.execute("SELECT 1 FROM meta").fetchone())

    # ------------------------------------------------------------------ opening (blocks)

    @property
    def _path(self) -> Path:
        return self._settings.path

    @property
    def _folder(self) -> Path:
        return self._path.with_name(f"{self._path.name}.d")

    def _prepare(self, peers: Peers) -> tuple[Writer, Reader, Checkpointer, LeaseBook]:
        """Files, connections, schema and generation, while no other process writes."""
        if sqlite3.sqlite_version_info < MIN_SQLITE:
            raise StateError(f"SQLite {sqlite3.sqlite_version} is too old: 3.32 is needed")
        self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        if kind := network_kind(self._path.parent):
            raise StateError(
                f"the state file {self._path} is on a network file system ({kind}), whose locks "
                "SQLite cannot trust: put [state] path on a local disk, or use Redis"
            )
        self._folder.mkdir(mode=0o700, exist_ok=True)
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        writing, note = self._connect(), Note(self._path, self._folder)
        writer = Writer(writing, self._path, self._folder / "writer.lock", note)
        try:
            with writer.turn(self._settings.busy_seconds):
                verdict = note.judge() if peers.is_alone() else Verdict.OURS
                writing.execute("PRAGMA journal_mode = WAL")  # writes a new file
                migrate(writing)
                refuse_unfinished(writing, self._path)
                generation = enter_generation(
                    writing, self._path, boot=self._boot, now=self._clock(), verdict=verdict
                )
                forget_earlier_boots(writing, self._boot)
                note.renew()
                peers.join()
            writer.after_events = lambda: peers.broadcast("events")
            writer.on_fault = lambda fault: self.on_fault(fault)
            reader = Reader(self._connect())
            checkpointer = Checkpointer(
                self._connect(), writer, note, log_max_bytes=self._settings.wal_max_mib * MIB
            )
        except BaseException:
            writer.close()
            raise
        book = LeaseBook(
            boot=self._boot,
            generation=generation,
            process=peers.name,
            lease_seconds=self._lease_seconds,
            clock=self._clock,
            is_alive=peers.is_alive,
        )
        return writer, reader, checkpointer, book

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self._path,
            timeout=self._settings.busy_seconds / 2,
            isolation_level=None,  # transactions are begun where they are meant
            check_same_thread=False,  # made here, then used by one thread only
            cached_statements=CACHED_STATEMENTS,
        )
        for name, value in {
            "synchronous": self._synchronous,
            "foreign_keys": 0,  # none are declared: a delivery outlives its upload
            "temp_store": "memory",
            "mmap_size": MMAP_BYTES,
            "cache_size": -PAGE_CACHE_KIB,
            "journal_size_limit": self._settings.wal_max_mib * MIB,
            "wal_autocheckpoint": 0,  # no commit waits for it: see Checkpointer
            "trusted_schema": 0,
        }.items():
            db.execute(f"PRAGMA {name} = {value}")
        return db
