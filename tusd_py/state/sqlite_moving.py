"""All that a state file holds, read in one snapshot, and written into a new file.

What was begun and not ended is marked in the file, and such a file is not opened.
"""

import asyncio
import sqlite3
from abc import abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

from tusd_py.core.ids import EventId
from tusd_py.core.upload import GONE
from tusd_py.state.base import StateError
from tusd_py.state.moving import Dead, Hooks, Known, Movable, MoveRefused, Piece, Record, Waiting
from tusd_py.state.sqlite_leases import SELECT_UPLOAD, LeaseBook, insert_values
from tusd_py.state.sqlite_rows import COLUMNS, WIDTH, event_from, event_values, upload_from
from tusd_py.state.sqlite_uploads import Workshop

T = TypeVar("T")

PAGE: Final = 500
"""Pieces that are read, or written, in one step."""
UNFINISHED: Final = "moving"
"""The key in ``meta`` that says that a file holds a part of what it should."""
_RECORDS: Final = SELECT_UPLOAD.replace(
    " FROM upload u", ", o.key FROM upload u LEFT JOIN once o ON o.upload_id = u.id"
)
_DELIVERIES: Final = """SELECT e.id, e.upload_id, e.kind, e.occurred_at, e.data,
        d.hook, d.attempts, d.due_at, d.is_head, d.is_dead, d.reason, d.buried_at
    FROM delivery d JOIN event e ON e.seq = d.seq ORDER BY d.upload_id, d.seq, d.hook"""
_KNOWN: Final = "SELECT id, occurred_at, substr(upload_id, 1, 2) FROM event ORDER BY seq"
_ADD_RECORD: Final = f"INSERT INTO upload ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * WIDTH)})"
_ADD_EVENT: Final = """INSERT INTO event (id, upload_id, kind, occurred_at, data)
    VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"""
_ADD_WAITING: Final = """INSERT INTO delivery (hook, seq, upload_id, due_at, attempts, is_head)
    SELECT :hook, seq, upload_id, :due_at, :attempts, :is_next FROM event WHERE id = :id"""
_ADD_DEAD: Final = """INSERT INTO delivery
        (hook, seq, upload_id, due_at, attempts, is_head, is_dead, reason, buried_at)
    SELECT :hook, seq, upload_id, occurred_at, :attempts, 0, 1, :reason, :buried_at
    FROM event WHERE id = :id"""


class SqliteMoving(Movable):
    """The contract of moving, on a workshop."""

    @property
    @abstractmethod
    def _shop(self) -> Workshop:
        """Raises StateError where the store is not open."""

    @property
    @abstractmethod
    def _path(self) -> Path:
        """The state file."""

    @abstractmethod
    def _connect(self) -> sqlite3.Connection:
        """A connection of its own. Blocks."""

    async def dump(self) -> AsyncIterator[Piece]:
        shop = self._shop
        stopped = partial(_check_stopped, shop=shop, path=self._path)
        await shop.writer.run(stopped)
        # A connection of its own: its snapshot lasts longer than a turn of the reader's.
        db = await _in_thread(self._connect)
        try:
            rows = _pieces(db)
            try:
                while page := await _in_thread(lambda: list(islice(rows, PAGE))):
                    for piece in page:
                        yield piece
            finally:
                await _in_thread(rows.close)
        finally:
            await _in_thread(db.close)
        await shop.writer.run(stopped)

    async def restore(self, pieces: AsyncIterable[Piece]) -> None:
        shop = self._shop
        await shop.writer.run(partial(_begin_restoring, shop=shop, path=self._path))
        page: list[Piece] = []
        async for piece in pieces:
            page.append(piece)
            if len(page) == PAGE:
                await shop.writer.run(partial(_add, pieces=tuple(page)))
                page.clear()
        await shop.writer.run(partial(_add, pieces=tuple(page)))
        await shop.writer.run(_end_restoring, on_done=lambda _: shop.handover.tell_of_events())


def refuse_unfinished(db: sqlite3.Connection, path: Path) -> None:
    """Raises StateError where a copy into this file was begun and not ended."""
    if db.execute("SELECT 1 FROM meta WHERE key = ?", (UNFINISHED,)).fetchone():
        raise StateError(
            f"a copy into the state file {path} was not finished, so that it holds a part only: "
            f"remove it with {path.name}-wal and {path.name}-shm, and copy again"
        )


async def _in_thread(work: Callable[[], T]) -> T:
    """Waits for the thread also where it is cancelled: it must not use what is closed by then."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


# ------------------------------------------------------------------ reading (in a thread)


def _pieces(db: sqlite3.Connection) -> Generator[Piece, None, None]:
    try:
        db.execute("PRAGMA temp_store = file")  # what must be sorted may be larger than the memory
        db.execute("BEGIN")
        names = db.execute("SELECT name FROM hook WHERE is_registered = 1 ORDER BY name").fetchall()
        yield Hooks(tuple(name for (name,) in names))
        with closing(db.execute(_RECORDS)) as rows:
            for row in rows:
                upload = replace(upload_from(row), master="")
                yield Record(upload, None if upload.status in GONE else row[WIDTH])
        with closing(db.execute(_DELIVERIES)) as rows:
            for row in rows:
                yield _delivery_from(row)
        with closing(db.execute(_KNOWN)) as rows:
            for event_id, occurred_at, digits in rows:
                yield Known(EventId(event_id), occurred_at, digits)
    except sqlite3.Error as exc:
        raise StateError(f"the state file cannot be read: {exc}") from exc


def _delivery_from(row: tuple[Any, ...]) -> Waiting | Dead:
    event = event_from(row)
    hook, attempts, due_at, is_head, is_dead, reason, buried_at = row[5:]
    if is_dead:
        return Dead(hook, event, attempts, reason, buried_at)
    return Waiting(hook, event, attempts, due_at, bool(is_head))


# ------------------------------------------------------------------ writing (in the writer's)


def _check_stopped(db: sqlite3.Connection, shop: Workshop, path: Path) -> None:
    if not shop.peers.is_alone():
        raise MoveRefused(
            f"another process works on the state file {path}: stop every server (and wait for "
            "commands that run), then copy again"
        )
    if _is_any_lease_live(db, shop.book):
        raise MoveRefused("an upload is being written just now: stop every server, then copy again")


def _is_any_lease_live(db: sqlite3.Connection, book: LeaseBook) -> bool:
    now = book.clock()
    rows = db.execute(
        """SELECT lease_process, lease_boot, lease_deadline FROM upload INDEXED BY due_unclean
        WHERE is_clean = 0 AND lease_holder IS NOT NULL AND lease_deadline > ?""",
        (now,),
    )
    return any(book.is_held(process, boot, deadline, now) for process, boot, deadline in rows)


def _begin_restoring(db: sqlite3.Connection, shop: Workshop, path: Path) -> None:
    _check_stopped(db, shop, path)
    for table in ("upload", "event", "once"):
        if db.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone():
            raise MoveRefused(
                f"the state file {path} is not empty: a copy never overwrites; give another "
                "path, or remove the file first"
            )
    db.execute("REPLACE INTO meta (key, value) VALUES (?, 1)", (UNFINISHED,))


def _end_restoring(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM meta WHERE key = ?", (UNFINISHED,))


def _add(db: sqlite3.Connection, pieces: Sequence[Piece]) -> None:
    for piece in pieces:
        match piece:
            case Hooks():
                db.execute("UPDATE hook SET is_registered = 0")
                names = [(name,) for name in piece.names]
                db.executemany("REPLACE INTO hook (name, is_registered) VALUES (?, 1)", names)
            case Record():
                # Of no generation, so that nobody believes it before it is reconciled.
                db.execute(_ADD_RECORD, insert_values(piece.upload, ""))
                if piece.once is not None:
                    values = (piece.once, piece.upload.id)
                    db.execute("INSERT INTO once (key, upload_id) VALUES (?, ?)", values)
            case Waiting() | Dead():
                _add_delivery(db, piece)
            case Known():
                # Nobody is told of it any more, so that its data is not asked for either.
                empty = (piece.event_id, piece.upload_digits, "", piece.occurred_at, "")
                db.execute(_ADD_EVENT, empty)


def _add_delivery(db: sqlite3.Connection, piece: Waiting | Dead) -> None:
    db.execute(_ADD_EVENT, event_values(piece.event))
    values = {"hook": piece.hook, "id": piece.event.id, "attempts": piece.attempts}
    if isinstance(piece, Dead):
        db.execute(_ADD_DEAD, values | {"reason": piece.reason, "buried_at": piece.buried_at})
    else:
        db.execute(_ADD_WAITING, values | {"due_at": piece.due_at, "is_next": piece.is_next})
