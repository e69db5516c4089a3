"""The state file: its tables, its versions, and the generation it is of.

A migration is a tuple of statements; all that are missing run in one transaction. The version is
SQLite's ``user_version``, the file's kind its ``application_id``.
"""

import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tusd_py.core.upload import Boot
from tusd_py.state.base import StateError
from tusd_py.state.sqlite_note import Verdict
from tusd_py.state.sqlite_rows import once_value

APPLICATION_ID: Final = 0x74757370  # "tusp"

_VERSION_1: Final = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID",
    "CREATE TABLE boot (host TEXT PRIMARY KEY, boot_id TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE upload (
        id TEXT PRIMARY KEY,
        video_id TEXT NOT NULL,
        client_id TEXT NOT NULL,
        created_at REAL NOT NULL,
        creator_host TEXT NOT NULL,
        creator_boot TEXT NOT NULL,
        length INTEGER,
        writer_host TEXT NOT NULL,
        writer_boot TEXT NOT NULL,
        master TEXT NOT NULL,
        kind TEXT NOT NULL,
        parts TEXT,
        status TEXT NOT NULL,
        is_open INTEGER NOT NULL,
        offset INTEGER NOT NULL,
        synced_offset INTEGER NOT NULL,
        suspect_length INTEGER NOT NULL,
        metadata BLOB NOT NULL,
        overrides TEXT,
        max_bytes INTEGER,
        protocol TEXT NOT NULL,
        changed_at REAL NOT NULL,
        expires_at REAL,
        finished_at REAL,
        interruptions INTEGER NOT NULL,
        is_interrupted INTEGER NOT NULL,
        digests TEXT,
        place TEXT,
        refusal TEXT,
        -- the lease: no holder means that it was let go
        lease_number INTEGER NOT NULL DEFAULT 0,
        lease_holder TEXT,
        lease_process TEXT,
        lease_boot TEXT,
        lease_deadline REAL NOT NULL DEFAULT 0,
        lease_asked INTEGER NOT NULL DEFAULT 0,
        -- whether a plain release may say that the record is true
        was_settled INTEGER NOT NULL DEFAULT 1,
        -- let go with a true record; 0 while a lease is held
        is_clean INTEGER NOT NULL DEFAULT 1
    )""",
    "CREATE INDEX upload_video ON upload (video_id, id)",
    "CREATE INDEX upload_client ON upload (client_id, id)",
    "CREATE INDEX upload_status ON upload (status, id)",
    # One index for each reason to be due: the sweeper never scans the table.
    "CREATE INDEX due_unclean ON upload (lease_deadline) WHERE is_clean = 0",
    """CREATE INDEX due_unsettled ON upload (master, writer_host, writer_boot, changed_at)
        WHERE is_open = 1""",
    "CREATE INDEX due_undecided ON upload (changed_at) WHERE status = 'received'",
    "CREATE INDEX due_terminating ON upload (changed_at) WHERE status = 'terminating'",
    """CREATE INDEX due_silent ON upload (changed_at)
        WHERE status = 'receiving' AND is_interrupted = 0 AND is_clean = 1""",
    """CREATE INDEX due_expired ON upload (expires_at)
        WHERE status = 'receiving' AND expires_at IS NOT NULL""",
    """CREATE INDEX due_retired ON upload (coalesce(finished_at, changed_at))
        WHERE status = 'complete'""",
    "CREATE INDEX due_refused ON upload (changed_at) WHERE status IN ('rejected', 'invalid')",
    "CREATE TABLE once (key TEXT PRIMARY KEY, upload_id TEXT NOT NULL) WITHOUT ROWID",
    "CREATE INDEX once_upload ON once (upload_id)",
    """CREATE TABLE event (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        upload_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        occurred_at REAL NOT NULL,
        data TEXT NOT NULL
    )""",
    "CREATE INDEX event_time ON event (occurred_at, seq)",
    "CREATE TABLE hook (name TEXT PRIMARY KEY, is_registered INTEGER NOT NULL) WITHOUT ROWID",
    """CREATE TABLE delivery (
        hook TEXT NOT NULL,
        seq INTEGER NOT NULL,
        upload_id TEXT NOT NULL,
        due_at REAL NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        -- the first of its upload that waits for this hook: only that one is handed out
        is_head INTEGER NOT NULL,
        is_dead INTEGER NOT NULL DEFAULT 0,
        claim_process TEXT,
        claim_boot TEXT,
        claim_deadline REAL,
        reason TEXT,
        buried_at REAL,
        PRIMARY KEY (hook, seq)
    ) WITHOUT ROWID""",
    "CREATE INDEX delivery_due ON delivery (hook, due_at, seq) WHERE is_head = 1",
    "CREATE INDEX delivery_upload ON delivery (hook, upload_id, seq) WHERE is_dead = 0",
    "CREATE INDEX delivery_event ON delivery (seq)",
    "CREATE INDEX delivery_dead ON delivery (buried_at, seq) WHERE is_dead = 1",
)

_VERSION_2: Final = (
    "ALTER TABLE upload ADD COLUMN concat TEXT",
    "ALTER TABLE upload ADD COLUMN promised_digests TEXT",
    "ALTER TABLE upload ADD COLUMN is_strict INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE upload ADD COLUMN bytes_per_second REAL NOT NULL DEFAULT 0",
    # All of it never changes: no commit touches this index.
    "CREATE INDEX upload_owner ON upload (client_id, video_id, id)",
    "DROP INDEX due_undecided",
    "DROP INDEX due_expired",
    "DROP INDEX due_retired",
    "CREATE INDEX due_undecided ON upload (changed_at) WHERE status IN ('received', 'joining')",
    """CREATE INDEX due_expired ON upload (expires_at) WHERE expires_at IS NOT NULL
        AND (status IN ('receiving', 'joining') OR (status = 'complete' AND kind = 'partial'))""",
    """CREATE INDEX due_retired ON upload (coalesce(finished_at, changed_at))
        WHERE status = 'complete' AND kind <> 'partial'""",
)

_VERSION_3: Final = (
    # Keys are digests: a client's name may be of any length. Microseconds of the boot's clock.
    """CREATE TABLE rate (
        key BLOB PRIMARY KEY,
        boot TEXT NOT NULL,
        paid_until INTEGER NOT NULL
    ) WITHOUT ROWID""",
    "CREATE INDEX rate_paid ON rate (paid_until)",
    """CREATE TABLE place (
        key BLOB NOT NULL,
        body TEXT NOT NULL,
        process TEXT NOT NULL,
        deadline REAL NOT NULL,
        PRIMARY KEY (key, body)
    ) WITHOUT ROWID""",
    "CREATE INDEX place_over ON place (deadline)",
)

# Stores that are moved into one another must agree on keys, and some keep no more than this.
_VERSION_4: Final = ("UPDATE once SET key = once_value(key)",)

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (_VERSION_1, _VERSION_2, _VERSION_3, _VERSION_4)
"""Number n brings a file of version n to version n + 1. Never edit one that was released."""


def migrate(db: sqlite3.Connection, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> None:
    """Bring the file to the present version, all or nothing. The caller keeps others out.

    Raises StateError where the file is of a newer program or of another one.
    """
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    if version > len(migrations):
        raise StateError(
            f"the state file is of version {version}, this program knows versions up to "
            f"{len(migrations)}: start the newer program, or use another state file"
        )
    is_known = db.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
    is_empty = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if not is_known and not is_empty:
        raise StateError("the state file is a database of another program: give another path")
    if version == len(migrations):
        return
    db.create_function("once_value", 1, once_value, deterministic=True)
    db.execute("BEGIN IMMEDIATE")
    try:
        for statements in migrations[version:]:
            for statement in statements:
                db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {len(migrations)}")
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


@dataclass(frozen=True, slots=True)
class Generation:
    """One uninterrupted life of the state. Records of another one are reconciled before belief."""

    id: str
    began_at: float
    """By the clock that cannot jump, of the boot it began in."""
    began_boot: str


def enter_generation(
    db: sqlite3.Connection, path: Path, *, boot: Boot, now: float, verdict: Verdict
) -> Generation:
    """The generation of this file, a new one where the file is new or a copy put in its place.

    Publishes the boot of this host too. The caller keeps others out.
    """
    stat = path.stat()
    identity = f"{stat.st_dev}:{stat.st_ino}"
    db.execute("BEGIN IMMEDIATE")
    try:
        meta = dict(db.execute("SELECT key, value FROM meta").fetchall())
        is_new = meta.get("identity") != identity
        # A file of a version that took no notes has none, and is no other file for that.
        is_strange = verdict is Verdict.UNNOTED and "is_noted" in meta
        if is_new or is_strange or verdict is Verdict.ANOTHER:
            # [grace] is over where whoever held a lease is known to be dead: who was alone with the
            # file has judged it.
            is_alone = verdict is Verdict.ANOTHER and not is_new
            meta |= {
                "identity": identity,
                "generation": secrets.token_hex(8),
                "began_at": now,
                "began_boot": "" if is_alone else boot.boot_id,
            }
        meta["is_noted"] = 1
        db.executemany("REPLACE INTO meta (key, value) VALUES (?, ?)", meta.items())
        db.execute("REPLACE INTO boot (host, boot_id) VALUES (?, ?)", (boot.host, boot.boot_id))
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    return Generation(meta["generation"], meta["began_at"], meta["began_boot"])
