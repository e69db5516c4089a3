"""The outbox's tables: functions of a connection, for the writer's and the reader's thread.

Of the events of one upload that wait for one hook the oldest is marked as head. Only heads are
looked at, so that a receiver that is away for long leaves nothing behind that must be scanned.
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tusd_py.state.base import DeadLetter, Delivery
from tusd_py.state.sqlite_rows import Row, event_from

_EVENT: Final = "e.id, e.upload_id, e.kind, e.occurred_at, e.data"
_ADD_EVENT: Final = """INSERT INTO event (id, upload_id, kind, occurred_at, data)
    VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"""
_ADD_DELIVERIES: Final = """INSERT INTO delivery (hook, seq, upload_id, due_at, is_head)
    SELECT name, :seq, :upload_id, :due_at, NOT EXISTS (
        SELECT 1 FROM delivery d
        WHERE d.hook = hook.name AND d.upload_id = :upload_id AND d.is_dead = 0)
    FROM hook WHERE is_registered = 1"""
_HEADS: Final = f"""SELECT {_EVENT}, d.seq, d.attempts, d.due_at,
        d.claim_process, d.claim_boot, d.claim_deadline
    FROM delivery d JOIN event e ON e.seq = d.seq
    WHERE d.hook = ? AND d.is_head = 1 AND d.due_at <= ? ORDER BY d.due_at, d.seq"""
_DUE_TIMES: Final = """SELECT due_at, claim_process, claim_boot, claim_deadline FROM delivery
    WHERE hook = ? AND is_head = 1 ORDER BY due_at, seq"""
_CLAIM: Final = """UPDATE delivery SET claim_process = ?, claim_boot = ?, claim_deadline = ?
    WHERE hook = ? AND seq = ?"""
_NO_CLAIM: Final = "claim_process = NULL, claim_boot = NULL, claim_deadline = NULL"
_PROMOTE: Final = """UPDATE delivery SET is_head = 1 WHERE hook = :hook AND is_head = 0 AND seq = (
    SELECT min(seq) FROM delivery
    WHERE hook = :hook AND upload_id = :upload_id AND is_dead = 0)
    AND NOT EXISTS (SELECT 1 FROM delivery
    WHERE hook = :hook AND upload_id = :upload_id AND is_dead = 0 AND is_head = 1)"""
PURGED_AT_ONCE: Final = 500
REPLAYED_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Claimant:
    """Whose a delivery is while it is handed out, and how the claims of others are judged."""

    process: str
    boot_id: str
    now: float
    """By the clock that cannot jump."""
    is_alive: Callable[[str | None], bool]

    def is_free(self, process: str | None, boot_id: str | None, deadline: float | None) -> bool:
        if process is None or deadline is None or boot_id != self.boot_id:
            return True
        return deadline <= self.now or not self.is_alive(process)


def store_events(db: sqlite3.Connection, events: Iterable[Row]) -> None:
    """Add events (``event_values``) and a delivery for each registered hook. An event that was
    stored before, under the same id, is not told again."""
    for values in events:
        cursor = db.execute(_ADD_EVENT, values)
        if cursor.rowcount == 1:
            db.execute(
                _ADD_DELIVERIES,
                {"seq": cursor.lastrowid, "upload_id": values[1], "due_at": values[3]},
            )


def register_hooks(db: sqlite3.Connection, hooks: Sequence[str]) -> None:
    db.execute("UPDATE hook SET is_registered = 0")
    db.executemany("REPLACE INTO hook (name, is_registered) VALUES (?, 1)", [(h,) for h in hooks])


def claim_deliveries(
    db: sqlite3.Connection, hook: str, claimant: Claimant, *, now: float, until: float, limit: int
) -> list[Delivery]:
    claimed: list[Delivery] = []
    for row in db.execute(_HEADS, (hook, now)).fetchmany(10 * limit + 1000):
        if len(claimed) == limit:
            break
        seq, attempts, _, *claim = row[5:]
        if not claimant.is_free(*claim):
            continue
        db.execute(_CLAIM, (claimant.process, claimant.boot_id, until, hook, seq))
        claimed.append(Delivery(hook=hook, event=event_from(row), attempts=attempts, key=int(seq)))
    return claimed


def next_due_time(db: sqlite3.Connection, hook: str, claimant: Claimant) -> float | None:
    for due_at, *claim in db.execute(_DUE_TIMES, (hook,)):
        if claimant.is_free(*claim):
            return float(due_at)
    return None


def settle_deliveries(db: sqlite3.Connection, deliveries: Sequence[Delivery]) -> None:
    for delivery in deliveries:
        cursor = db.execute(
            "DELETE FROM delivery WHERE hook = ? AND seq = ?", (delivery.hook, delivery.key)
        )
        if cursor.rowcount:
            _promote(db, delivery.hook, delivery.event.upload_id)


def unclaim(db: sqlite3.Connection, deliveries: Sequence[Delivery], process: str) -> None:
    """Hand back what was claimed for a caller that is gone."""
    db.executemany(
        f"UPDATE delivery SET {_NO_CLAIM} WHERE hook = ? AND seq = ? AND claim_process = ?",
        [(delivery.hook, delivery.key, process) for delivery in deliveries],
    )


def postpone_delivery(
    db: sqlite3.Connection, delivery: Delivery, process: str, *, until: float
) -> None:
    # Only one's own claim is taken back: it may have run out and be another's by now.
    db.execute(
        f"""UPDATE delivery SET due_at = ?, attempts = attempts + 1, {_NO_CLAIM}
        WHERE hook = ? AND seq = ? AND is_dead = 0 AND claim_process = ?""",
        (until, delivery.hook, delivery.key, process),
    )


def bury_delivery(db: sqlite3.Connection, delivery: Delivery, *, reason: str, now: float) -> None:
    cursor = db.execute(
        f"""UPDATE delivery SET is_dead = 1, is_head = 0, reason = ?, buried_at = ?,
            attempts = attempts + 1, {_NO_CLAIM}
        WHERE hook = ? AND seq = ? AND is_dead = 0""",
        (reason, now, delivery.hook, delivery.key),
    )
    if cursor.rowcount:
        _promote(db, delivery.hook, delivery.event.upload_id)


def list_dead(db: sqlite3.Connection, hook: str | None, limit: int) -> list[DeadLetter]:
    rows: list[tuple[Any, ...]] = db.execute(
        f"""SELECT {_EVENT}, d.hook, d.seq, d.attempts, d.reason, d.buried_at
        FROM delivery d JOIN event e ON e.seq = d.seq
        WHERE d.is_dead = 1 AND (:hook IS NULL OR d.hook = :hook)
        ORDER BY d.buried_at, d.seq LIMIT :limit""",
        {"hook": hook, "limit": limit},
    ).fetchall()
    letters = []
    for row in rows:
        name, seq, attempts, reason, buried_at = row[5:]
        delivery = Delivery(hook=name, event=event_from(row), attempts=attempts, key=int(seq))
        letters.append(DeadLetter(delivery=delivery, reason=reason, buried_at=buried_at))
    return letters


def replay_dead(
    db: sqlite3.Connection, hook: str | None, event_id: str | None, *, now: float
) -> int:
    """Make some dead letters due again; 0 when none is left."""
    rows = db.execute(
        """SELECT d.hook, d.seq, d.upload_id FROM delivery d JOIN event e ON e.seq = d.seq
        WHERE d.is_dead = 1 AND (:hook IS NULL OR d.hook = :hook)
            AND (:event_id IS NULL OR e.id = :event_id)
        ORDER BY d.buried_at, d.seq LIMIT :limit""",
        {"hook": hook, "event_id": event_id, "limit": REPLAYED_AT_ONCE},
    ).fetchall()
    for name, seq, _ in rows:
        db.execute(
            f"""UPDATE delivery SET is_dead = 0, due_at = ?, attempts = 0, reason = NULL,
                buried_at = NULL, {_NO_CLAIM} WHERE hook = ? AND seq = ?""",
            (now, name, seq),
        )
    for name, upload_id in {(name, upload_id) for name, _, upload_id in rows}:
        _promote(db, name, upload_id)
    return len(rows)


def count_backlog(db: sqlite3.Connection) -> dict[str, int]:
    return dict(
        db.execute(
            """SELECT name, 0 FROM hook WHERE is_registered = 1 UNION ALL
            SELECT hook, count(*) FROM delivery WHERE is_dead = 0 GROUP BY hook"""
        ).fetchall()
    )


def purge_events(
    db: sqlite3.Connection, before: float, after: tuple[float, int]
) -> tuple[int, tuple[float, int] | None]:
    """Forget some of the events older than ``before``; how many, and from where to go on."""
    rows = db.execute(
        """SELECT occurred_at, seq, EXISTS (
            SELECT 1 FROM delivery d WHERE d.seq = event.seq AND d.is_dead = 0)
        FROM event WHERE occurred_at < ? AND (occurred_at, seq) > (?, ?)
        ORDER BY occurred_at, seq LIMIT ?""",
        (before, *after, PURGED_AT_ONCE),
    ).fetchall()
    gone = [(seq,) for _, seq, waits in rows if not waits]
    db.executemany("DELETE FROM delivery WHERE seq = ?", gone)
    db.executemany("DELETE FROM event WHERE seq = ?", gone)
    is_last = len(rows) < PURGED_AT_ONCE
    return len(gone), None if is_last else (rows[-1][0], rows[-1][1])


def _promote(db: sqlite3.Connection, hook: str, upload_id: str) -> None:
    """The oldest becomes the head where there is none: what is on its way is not overtaken."""
    db.execute(_PROMOTE, {"hook": hook, "upload_id": upload_id})
