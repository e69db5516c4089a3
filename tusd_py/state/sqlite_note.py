"""What the state file looked like when one of us last wrote it: a note in the folder beside it.

Commits go to the log; the file itself is written only where the log is moved into it. So a file
that does not look as noted was overwritten, put back from a copy or edited while nobody had it
open, and what it says is of another time. Its inode does not tell: ``cp`` keeps it, and one that
was freed is soon given again.

Nothing here is synced or need be: a note that is wrong, as after a loss of power, costs that the
records are reconciled before they are believed, no more. A change of the file's owner or mode may
cost that too.
"""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

NAME: Final = "file.note"
NOTE_BYTES: Final = 128
MOVING: Final = "moving"
"""The log is being moved into the file: nobody can say what it looks like."""


class Verdict(StrEnum):
    """What the note says of the file."""

    OURS = "ours"
    """As one of us left it."""
    ANOTHER = "another"
    """Somebody else wrote it, or the note did not outlive a loss of power."""
    UNNOTED = "unnoted"
    """There is no note."""


class Note:
    """The note on one state file. Every method blocks; each may be called in any thread."""

    def __init__(self, path: Path, folder: Path) -> None:
        self._path = path
        self._log_path = path.with_name(f"{path.name}-wal")
        self._note_path = folder / NAME

    def judge(self) -> Verdict:
        """Only for whoever is alone with the file: others may be about to write a new note."""
        try:
            noted = self._note_path.read_text("ascii", "replace").strip()
        except FileNotFoundError:
            return Verdict.UNNOTED
        looks = self._looks()
        if noted == MOVING:
            # Whoever dies while it moves the log leaves the log, and what is missing in the file
            # is in there. A copy put in its place has to be put there without it.
            is_ours = self._log_path.exists() and self._log_path.stat().st_size > 0
        else:
            is_ours = noted == looks
        if is_ours:
            return Verdict.OURS
        log.warning("state_file_not_as_noted", extra={"noted": noted, "found": looks})
        return Verdict.ANOTHER

    def renew(self) -> None:
        """The file is ours as it looks now. Does not raise: see above what a wrong note costs."""
        self._write(None)

    @contextmanager
    def moving(self) -> Iterator[None]:
        """For as long as the log is moved into the file."""
        self._write(MOVING)
        try:
            yield
        finally:
            self.renew()

    def _looks(self) -> str:
        stat = os.stat(self._path)
        # The time of change cannot be set, unlike that of modification, which ``cp -p`` brings.
        return f"{stat.st_ino} {stat.st_size} {stat.st_ctime_ns}"

    def _write(self, text: str | None) -> None:
        try:
            fd = os.open(self._note_path, os.O_CREAT | os.O_RDWR, 0o600)
            try:
                # Looked at under the lock, so that the last note is of the last look.
                fcntl.flock(fd, fcntl.LOCK_EX)
                line = f"{text or self._looks():<{NOTE_BYTES - 1}}\n"
                os.pwrite(fd, line.encode("ascii"), 0)
            finally:
                os.close(fd)
        except OSError as exc:
            log.warning("state_note_failed", exc_info=exc)
