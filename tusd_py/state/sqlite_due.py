"""Which uploads are due for the sweeper, each reason by its own index."""

import sqlite3
from collections.abc import Iterable
from typing import Any, Final

from tusd_py.core.ids import UploadId
from tusd_py.state.base import Due
from tusd_py.state.sqlite_leases import LeaseBook

_LEASE: Final = "lease_holder, lease_process, lease_boot, lease_deadline"
# The conditions are word for word those of the partial indexes: else SQLite does not use them.
_BY_TIME: Final = {
    Due.UNDECIDED: f"""SELECT id, {_LEASE} FROM upload INDEXED BY due_undecided
        WHERE status IN ('received', 'joining') AND status = 'received' ORDER BY changed_at""",
    Due.UNJOINED: f"""SELECT id, {_LEASE} FROM upload INDEXED BY due_undecided
        WHERE status IN ('received', 'joining') AND status = 'joining' ORDER BY changed_at""",
    Due.TERMINATING: f"""SELECT id, {_LEASE} FROM upload INDEXED BY due_terminating
        WHERE status = 'terminating' ORDER BY changed_at""",
    Due.EXPIRED: f"""SELECT id, {_LEASE} FROM upload INDEXED BY due_expired
        WHERE (status IN ('receiving', 'joining') OR (status = 'complete' AND kind = 'partial'))
        AND expires_at IS NOT NULL AND expires_at <= :now ORDER BY expires_at""",
    Due.SILENT: f"""SELECT id, {_LEASE} FROM upload INDEXED BY due_silent
        WHERE status = 'receiving' AND is_interrupted = 0 AND is_clean = 1 AND changed_at < :before
        ORDER BY changed_at""",
    Due.RETIRED: f"""SELECT id, {_LEASE} FROM upload INDEXED BY due_retired
        WHERE status = 'complete' AND kind <> 'partial'
        AND coalesce(finished_at, changed_at) < :before
        ORDER BY coalesce(finished_at, changed_at)""",
    Due.REFUSED: f"""SELECT id, {_LEASE} FROM upload INDEXED BY due_refused
        WHERE status IN ('rejected', 'invalid') AND changed_at < :before ORDER BY changed_at""",
}
_UNCLEAN: Final = f"""SELECT id, {_LEASE} FROM upload INDEXED BY due_unclean
    WHERE is_clean = 0 AND is_open = 1 ORDER BY lease_deadline"""
_FIRST_WRITER: Final = """SELECT master, writer_host, writer_boot
    FROM upload INDEXED BY due_unsettled
    WHERE is_open = 1 ORDER BY master, writer_host, writer_boot LIMIT 1"""
_NEXT_WRITER: Final = """SELECT master, writer_host, writer_boot
    FROM upload INDEXED BY due_unsettled
    WHERE is_open = 1 AND (master, writer_host, writer_boot) > (?, ?, ?)
    ORDER BY master, writer_host, writer_boot LIMIT 1"""
_OF_WRITER: Final = f"""SELECT id, {_LEASE} FROM upload INDEXED BY due_unsettled
    WHERE is_open = 1 AND master = ? AND writer_host = ? AND writer_boot = ? ORDER BY changed_at"""


def list_due(
    db: sqlite3.Connection, book: LeaseBook, due: Due, *, now: float, age_seconds: float, limit: int
) -> list[UploadId]:
    """Oldest first; nothing that is under a live lease."""
    if due is Due.UNSETTLED:
        return _list_unsettled(db, book, limit)
    if due is Due.ABANDONED:
        rows: Iterable[tuple[Any, ...]] = db.execute(_UNCLEAN)
    else:
        rows = db.execute(_BY_TIME[due], {"now": now, "before": now - age_seconds})
    return _unheld(rows, book, limit)


def _unheld(rows: Iterable[tuple[Any, ...]], book: LeaseBook, limit: int) -> list[UploadId]:
    """The first of ``rows`` whose lease nobody holds. Each process is looked at once."""
    found: list[UploadId] = []
    alive: dict[str | None, bool] = {}
    now = book.clock()
    for upload_id, holder, process, boot_id, deadline in rows:
        if len(found) == limit:
            break
        if holder is not None and boot_id == book.boot.boot_id and deadline > now:
            if process not in alive:
                alive[process] = book.is_alive(process)
            if alive[process]:
                continue
        found.append(UploadId(upload_id))
    return found


def _list_unsettled(db: sqlite3.Connection, book: LeaseBook, limit: int) -> list[UploadId]:
    """Of another generation, or of a boot that its host does not run any more.

    Goes from one writer to the next by the index: there are few of them however many uploads.
    """
    boots = dict(db.execute("SELECT host, boot_id FROM boot").fetchall())
    found: list[UploadId] = []
    writer: tuple[Any, ...] | None = db.execute(_FIRST_WRITER).fetchone()
    while writer is not None and len(found) < limit:
        master, host, boot_id = writer
        if master != book.generation.id or boots.get(host) != boot_id:
            found += _unheld(db.execute(_OF_WRITER, writer), book, limit - len(found))
        writer = db.execute(_NEXT_WRITER, writer).fetchone()
    return found
