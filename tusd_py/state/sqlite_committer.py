"""Group commit: all that waits is committed in one transaction, by turns between processes.

One thread writes, one reads, one moves what was committed from the log into the file, each with
its own connection. An operation raises one of REFUSALS only before its first write: others share
its transaction.
"""

import fcntl
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from tusd_py.core.errors import UploadError
from tusd_py.state.base import (
    LeaseBusy,
    LeaseGone,
    RecordUnknown,
    StateError,
    StateFault,
    StateFull,
)
from tusd_py.state.moving import MoveRefused
from tusd_py.state.sqlite_groups import Operation
from tusd_py.state.sqlite_note import Note

log = logging.getLogger(__name__)

REFUSALS: Final = (LeaseGone, RecordUnknown, LeaseBusy, MoveRefused, UploadError, StateError)
TURN_PAUSE_SECONDS: Final = 0.01
GROUPS_PER_CHECKPOINT: Final = 200
"""So many commits are in the log before they are moved into the file."""
CHECKPOINT_PAUSE_SECONDS: Final = 0.2
"""At most five a second: each syncs log and file."""
CHECKPOINT: Final = "PRAGMA wal_checkpoint(PASSIVE)"


class Writer:
    """Performs a group in one transaction, under a lock that processes take in turn.

    SQLite's own busy handler starves some of several processes; ``flock`` gives equal shares.
    """

    def __init__(self, db: sqlite3.Connection, path: Path, lock_path: Path, note: Note) -> None:
        self._db = db
        self._path = path
        self._note = note
        stat = path.stat()
        self._identity = (stat.st_dev, stat.st_ino)
        self._lock_fd = os.open(lock_path, os.O_CREAT | os.O_RDWR, 0o600)
        self.after_many: Callable[[], None] = lambda: None
        """Called in the thread when enough was committed for a checkpoint."""
        self.log_is_long = threading.Event()
        """Set by the checkpointer: under constant load the log starts anew only if it is emptied
        while nobody writes. What is left for that is little, so the pause is short."""
        self._groups = 0
        self.after_events: Callable[[], None] = lambda: None
        """Called in the thread after each group that committed events."""
        self.on_fault: Callable[[StateFault], None] = lambda _: None
        """Called in the thread with each group that failed as a whole."""

    def close(self) -> None:
        self._db.close()
        os.close(self._lock_fd)

    def end(self) -> None:
        """Close what was in use: the last one to do so moves the log into the file."""
        with self._note.moving():
            self.close()

    def perform(self, group: list[Operation[Any]]) -> None:
        try:
            # Unbounded here: those who wait are bounded by GroupThread, the thread serves nobody
            # else, and a queue of blocked ones is served in order where polling is not.
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
            try:
                self._check_identity()
                self._transact(group)
                if self.log_is_long.is_set():
                    self.log_is_long.clear()
                    # The group is committed all the same.
                    with suppress(sqlite3.Error), self._note.moving():
                        self._db.execute(CHECKPOINT)
            finally:
                fcntl.flock(self._lock_fd, fcntl.LOCK_UN)
        except (sqlite3.Error, OSError, StateError) as exc:
            # Nothing of the group is believed, whatever of it had a result already.
            error = exc if isinstance(exc, StateError) else _state_error("write", exc)
            log.warning("state_commit_failed", extra={"operations": len(group)}, exc_info=exc)
            for operation in group:
                operation.error = error
            self.on_fault(StateFault.REFUSED if isinstance(error, StateFull) else StateFault.AWAY)
            return
        self._groups += 1
        if self._groups % GROUPS_PER_CHECKPOINT == 0:
            self.after_many()
        if any(op.tells_events and op.has_run and op.error is None for op in group):
            self.after_events()

    @contextmanager
    def turn(self, wait_seconds: float) -> Iterator[None]:
        """Nobody else writes meanwhile. Blocks. Raises StateError where the turn does not come."""
        give_up_at = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= give_up_at:
                    raise StateError(
                        f"another process has kept the state file's lock for {wait_seconds} s"
                    ) from None
                time.sleep(TURN_PAUSE_SECONDS)
        try:
            yield
        finally:
            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    def _check_identity(self) -> None:
        """A file that was replaced under us must not be written: the others have the new one."""
        try:
            stat = os.stat(self._path)
        except FileNotFoundError:
            raise StateError(f"the state file {self._path} was removed while in use") from None
        if (stat.st_dev, stat.st_ino) != self._identity:
            raise StateError(f"the state file {self._path} was replaced while in use: restart")

    def _transact(self, group: list[Operation[Any]]) -> None:
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            for operation in group:
                if operation.future.done():
                    continue  # cancelled or timed out before it began: nothing happens
                operation.error = None
                try:
                    operation.result = operation.function(db)
                except REFUSALS as exc:
                    operation.error = exc
                operation.has_run = True
            db.execute("COMMIT")
        except BaseException as exc:
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            if isinstance(exc, sqlite3.Error) or not isinstance(exc, Exception):
                raise
            self._part(group, exc)

    def _part(self, group: list[Operation[Any]], exc: Exception) -> None:
        """One operation is faulty: each gets its own transaction, so that only that one fails."""
        if len(group) == 1:
            log.error("state_operation_failed", exc_info=exc)
            group[0].error = exc
            return
        for operation in group:
            try:
                self._transact([operation])
            except sqlite3.Error as failure:
                operation.error = _state_error("write", failure)


class Checkpointer:
    """Moves the log into the file beside the writers, so that no commit waits for it."""

    def __init__(
        self, db: sqlite3.Connection, writer: Writer, note: Note, *, log_max_bytes: int
    ) -> None:
        self._db = db
        self._note = note
        self._log_is_long = writer.log_is_long
        page_bytes: int = db.execute("PRAGMA page_size").fetchone()[0]
        self._log_max_pages = log_max_bytes // page_bytes
        self._wanted = threading.Event()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._work, name="state-checkpointer", daemon=True)
        writer.after_many = self._wanted.set

    def start(self) -> None:
        self._thread.start()

    def close(self, wait_seconds: float) -> None:
        """Blocks, but not for longer than that."""
        self._ends.set()
        self._wanted.set()
        self._thread.join(wait_seconds)

    def _work(self) -> None:
        while True:
            self._wanted.wait()
            if self._ends.is_set():
                break
            self._wanted.clear()
            try:
                with self._note.moving():
                    _, log_pages, _ = self._db.execute(CHECKPOINT).fetchone()
            except sqlite3.Error as exc:
                # The writer meets the same trouble and tells whoever waits; the log stays true.
                log.warning("state_checkpoint_failed", exc_info=exc)
            else:
                if log_pages > self._log_max_pages:
                    self._log_is_long.set()
            self._ends.wait(CHECKPOINT_PAUSE_SECONDS)
        self._db.close()


class Reader:
    """Performs a group of reads on one snapshot."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def close(self) -> None:
        self._db.close()

    def perform(self, group: list[Operation[Any]]) -> None:
        db = self._db
        try:
            db.execute("BEGIN")
            for operation in group:
                if not operation.future.done():
                    _read(operation, db)
            db.execute("COMMIT")
        except sqlite3.Error as exc:
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            error = _state_error("read", exc)
            for operation in group:
                operation.error = error


def _read(operation: Operation[Any], db: sqlite3.Connection) -> None:
    try:
        operation.result = operation.function(db)
    except sqlite3.Error:
        raise
    except Exception as exc:
        operation.error = exc
    operation.has_run = True


def _state_error(act: str, cause: Exception) -> StateError:
    is_full = getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    error = (StateFull if is_full else StateError)(f"the state store cannot {act}: {cause}")
    error.__cause__ = cause
    return error
