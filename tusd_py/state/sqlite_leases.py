"""Records and leases in the state file: functions of a connection, one transaction's part each.

Whatever raises does so before it writes: other operations share the transaction.
"""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from tusd_py.core.identity import check_owner
from tusd_py.core.ids import HolderId, UploadId
from tusd_py.core.upload import GONE, Boot, Status, Upload
from tusd_py.state.base import (
    LeaseBusy,
    LeaseGone,
    OnceTaken,
    Purpose,
    RecordUnknown,
    Seen,
    StateError,
    Visit,
)
from tusd_py.state.sqlite_events import store_events
from tusd_py.state.sqlite_rows import (
    CHANGING_COLUMNS,
    COLUMNS,
    WIDTH,
    Row,
    changing_values,
    fixed_values,
    once_value,
    text_value,
    upload_from,
)
from tusd_py.state.sqlite_schema import Generation

_UPLOAD: Final = ", ".join(f"u.{column}" for column in COLUMNS)
SELECT_UPLOAD: Final = f"SELECT {_UPLOAD} FROM upload u"
_SELECT_LEASE: Final = f"""SELECT {_UPLOAD}, u.lease_holder, u.lease_process, u.lease_boot,
        u.lease_deadline, u.lease_number, u.is_clean, b.boot_id
    FROM upload u LEFT JOIN boot b ON b.host = u.writer_host WHERE u.id = ?"""
_TAKE: Final = """UPDATE upload SET lease_number = lease_number + 1, lease_holder = ?,
        lease_process = ?, lease_boot = ?, lease_deadline = ?, lease_asked = 0,
        was_settled = ?, is_clean = 0
    WHERE id = ?"""
_SELECT_BOOT: Final = "SELECT boot_id FROM boot WHERE host = ?"
_SIGN: Final = "UPDATE upload SET writer_host = ?, writer_boot = ? WHERE id = ?"
_LEASE_COLUMNS: Final = (
    "lease_number, lease_holder, lease_process, lease_boot, lease_deadline, was_settled, is_clean"
)
_INSERT: Final = (
    f"INSERT INTO upload ({', '.join(COLUMNS)}, {_LEASE_COLUMNS})"
    f" VALUES ({', '.join('?' * (WIDTH + 7))})"
)
# [commit-in-time] number and holder and deadline, by the store's clock
_HELD: Final = """id = ? AND lease_holder = ? AND lease_number = ?
    AND lease_boot = ? AND lease_deadline > ?"""
_SET: Final = ", ".join(f"{column} = ?" for column in CHANGING_COLUMNS)
_COMMIT: Final = f"""UPDATE upload SET {_SET}, lease_deadline = ?, was_settled = 1
    WHERE {_HELD}"""
_LET_GO: Final = """lease_holder = NULL, lease_process = NULL, lease_boot = NULL,
    lease_deadline = 0, lease_asked = 0"""
_COMMIT_AND_RELEASE: Final = f"""UPDATE upload SET {_SET}, {_LET_GO}, was_settled = 1, is_clean = 1
    WHERE {_HELD}"""
_RELEASE: Final = f"UPDATE upload SET {_LET_GO}, is_clean = was_settled WHERE {_HELD}"

UNTOUCHED: Final = frozenset(
    {Status.JOINING, Status.COMPLETE, Status.REJECTED, Status.INVALID, Status.TERMINATING}
)
"""Nothing of these changes by what a client reads or appends: both get the record as it stands."""


@dataclass(frozen=True, slots=True)
class Grant:
    """The lease was given."""

    upload: Upload
    number: int
    holder: HolderId
    is_settled: bool
    writer_boot_id: str | None


@dataclass(frozen=True, slots=True)
class Held:
    """Somebody alive has the lease."""

    upload_id: UploadId
    holder: HolderId
    process: str
    deadline: float
    may_ask: bool
    """False where this purpose does not disturb that holder."""


@dataclass(frozen=True, slots=True)
class Found:
    """A row with its lease, and whether the row is true as it stands."""

    upload: Upload
    holder: HolderId | None
    process: str | None
    boot_id: str | None
    deadline: float
    number: int
    is_settled: bool
    writer_boot_id: str | None
    """What the writer's host runs now."""


class LeaseBook:
    """What the rules of leases need to know besides the rows."""

    def __init__(
        self,
        *,
        boot: Boot,
        generation: Generation,
        process: str,
        lease_seconds: float,
        clock: Callable[[], float],
        is_alive: Callable[[str | None], bool],
    ) -> None:
        self.boot = boot
        self.generation = generation
        self.process = process
        self.lease_seconds = lease_seconds
        self.clock = clock
        self.is_alive = is_alive

    # ------------------------------------------------------------------ taking

    def look(self, db: sqlite3.Connection, visit: Visit) -> Seen | None:
        """``take`` as far as it needs no lease; None where it does."""
        found = self._find(db, visit.upload_id)
        check_owner(visit.principal, found.upload.owner)
        return Seen(found.upload) if self._needs_no_lease(found, visit.purpose) else None

    def take(
        self, db: sqlite3.Connection, visit: Visit, holder: HolderId, *, asks: bool
    ) -> Seen | Grant | Held:
        """One try. With ``asks`` a live holder finds the wish in its row."""
        found = self._find(db, visit.upload_id)
        check_owner(visit.principal, found.upload.owner)
        if self._needs_no_lease(found, visit.purpose):
            return Seen(found.upload)
        now = self.clock()
        if found.holder is not None and self.is_held(
            found.process, found.boot_id, found.deadline, now
        ):
            return self._held(db, found, visit.purpose, asks=asks)
        if found.upload.master != self.generation.id:
            self._check_grace(now)
        deadline = now + self.lease_seconds
        settled = found.is_settled
        db.execute(
            _TAKE,
            (holder, self.process, self.boot.boot_id, deadline, int(settled), visit.upload_id),
        )
        # [sweep-reconciles] the sweeper never believes the record alone
        believed = settled and visit.purpose is not Purpose.SWEEP
        upload = found.upload
        if believed and visit.purpose is Purpose.APPEND and upload.writer != self.boot:
            boot = self.boot
            db.execute(_SIGN, (text_value(boot.host), text_value(boot.boot_id), upload.id))
            upload = replace(upload, writer=boot)
        return Grant(upload, found.number + 1, holder, believed, found.writer_boot_id)

    def is_held(
        self, process: str | None, boot_id: str | None, deadline: float, now: float
    ) -> bool:
        """Whether the lease in a row is live: its time, its boot, its process."""
        return boot_id == self.boot.boot_id and deadline > now and self.is_alive(process)

    def adopt(
        self,
        db: sqlite3.Connection,
        values: Row,
        upload: Upload,
        holder: HolderId,
        once: str | None,
    ) -> Grant:
        """``values``: ``insert_values`` of a record of no generation, so that nobody believes it
        before it is reconciled, not even after the adopter's death."""
        if db.execute("SELECT 1 FROM upload WHERE id = ?", (upload.id,)).fetchone():
            raise LeaseBusy(0.0)
        now = self.clock()
        self._check_grace(now)
        if once is not None and self._find_once(db, once) is not None:
            raise OnceTaken
        db.execute(_INSERT, values + self._lease_values(holder, now, was_settled=False))
        self._keep_once(db, once, upload.id)
        boot = db.execute(_SELECT_BOOT, (text_value(upload.writer.host),)).fetchone()
        return Grant(upload, 1, holder, False, boot[0] if boot else None)

    # ------------------------------------------------------------------ under a lease

    def create(
        self,
        db: sqlite3.Connection,
        values: Row,
        events: Sequence[Row],
        holder: HolderId | None,
        once: str | None,
    ) -> Upload | None:
        """None: the record was made; else the earlier upload of the same key."""
        if once is not None and (earlier := self._find_once(db, once)) is not None:
            return earlier
        if holder is None:
            lease: Row = (0, None, None, None, 0.0, 1, 1)
        else:
            lease = self._lease_values(holder, self.clock(), was_settled=True)
        try:
            db.execute(_INSERT, values + lease)
        except sqlite3.IntegrityError as exc:
            raise StateError("there is an upload of this id") from exc
        self._keep_once(db, once, values[0])
        store_events(db, events)
        return None

    def commit(self, db: sqlite3.Connection, held: Row, values: Row, events: Sequence[Row]) -> bool:
        """Write the record and renew the lease; whether somebody asked for it."""
        now = self.clock()
        match = (*held, self.boot.boot_id, now)
        if db.execute(_COMMIT, (*values, now + self.lease_seconds, *match)).rowcount != 1:
            raise LeaseGone
        store_events(db, events)
        asked = db.execute("SELECT lease_asked FROM upload WHERE id = ?", held[:1]).fetchone()
        return bool(asked[0])

    def commit_and_release(
        self, db: sqlite3.Connection, held: Row, values: Row, events: Sequence[Row]
    ) -> bool:
        match = (*held, self.boot.boot_id, self.clock())
        if db.execute(_COMMIT_AND_RELEASE, values + match).rowcount != 1:
            raise LeaseGone
        store_events(db, events)
        return False

    def release(self, db: sqlite3.Connection, held: Row) -> None:
        db.execute(_RELEASE, (*held, self.boot.boot_id, self.clock()))

    def remove(self, db: sqlite3.Connection, held: Row, events: Sequence[Row]) -> None:
        match = (*held, self.boot.boot_id, self.clock())
        if db.execute(f"DELETE FROM upload WHERE {_HELD}", match).rowcount != 1:
            raise LeaseGone
        db.execute("DELETE FROM once WHERE upload_id = ?", held[:1])
        store_events(db, events)

    # ------------------------------------------------------------------ parts of these

    def _find(self, db: sqlite3.Connection, upload_id: UploadId) -> Found:
        row: tuple[Any, ...] | None = db.execute(_SELECT_LEASE, (upload_id,)).fetchone()
        if row is None:
            raise RecordUnknown(upload_id)
        upload = upload_from(row)
        holder, process, boot_id, deadline, number, is_clean, writer_now = row[WIDTH:]
        # [host-boot] the present boot of the writer's host; [restart-is-unclean]
        is_settled = (
            bool(is_clean)
            and upload.master == self.generation.id
            and writer_now == upload.writer.boot_id
        )
        return Found(upload, holder, process, boot_id, deadline, number, is_settled, writer_now)

    def _needs_no_lease(self, found: Found, purpose: Purpose) -> bool:
        upload = found.upload
        if upload.master != self.generation.id or purpose not in (Purpose.READ, Purpose.APPEND):
            return False
        if upload.status in UNTOUCHED:
            return True
        return (
            purpose is Purpose.READ
            and found.is_settled
            and upload.status is Status.RECEIVING
            and not upload.is_full
        )

    def _held(self, db: sqlite3.Connection, found: Found, purpose: Purpose, *, asks: bool) -> Held:
        upload, holder, process = found.upload, found.holder, found.process
        assert holder is not None and process is not None
        gate_is_asked = upload.status is Status.RECEIVED
        may_ask = purpose is Purpose.TERMINATE or (
            purpose is not Purpose.SWEEP and not gate_is_asked
        )
        if may_ask and asks:
            db.execute(
                "UPDATE upload SET lease_asked = 1 WHERE id = ? AND lease_asked = 0", (upload.id,)
            )
        return Held(upload.id, holder, process, found.deadline, may_ask)

    def _check_grace(self, now: float) -> None:
        """[grace] Holders that this generation does not know may believe in their leases yet."""
        generation = self.generation
        if generation.began_boot != self.boot.boot_id:
            return  # they died with their machine
        left = generation.began_at + self.lease_seconds - now
        if left > 0:
            raise LeaseBusy(left)

    def _lease_values(self, holder: HolderId, now: float, *, was_settled: bool) -> Row:
        """In the order of _LEASE_COLUMNS."""
        deadline = now + self.lease_seconds
        return (1, holder, self.process, self.boot.boot_id, deadline, int(was_settled), 0)

    def _find_once(self, db: sqlite3.Connection, key: str) -> Upload | None:
        row = db.execute(
            f"SELECT {_UPLOAD} FROM once o JOIN upload u ON u.id = o.upload_id WHERE o.key = ?",
            (once_value(key),),
        ).fetchone()
        upload = upload_from(row) if row else None
        return None if upload is None or upload.status in GONE else upload

    def _keep_once(self, db: sqlite3.Connection, key: str | None, upload_id: UploadId) -> None:
        if key is not None:
            values = (once_value(key), upload_id)
            db.execute("REPLACE INTO once (key, upload_id) VALUES (?, ?)", values)


def insert_values(upload: Upload, master: str) -> Row:
    """In the order of COLUMNS."""
    return fixed_values(upload) + changing_values(upload, master)
