"""The facts journals as files: read, begun and added to. For worker threads."""

import os

from tusd_py.core.ids import UploadId
from tusd_py.stores.base import StoreError
from tusd_py.stores.disk_facts import MAX_JOURNAL_BYTES, TORN, Journal, parse_journal
from tusd_py.stores.disk_files import read_bounded, remove_file, write_once
from tusd_py.stores.disk_layout import Layout


class Journals:
    """Of one root."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def read(self, upload_id: UploadId) -> Journal | None:
        """None where there are no (complete) facts."""
        data = read_bounded(self._layout.facts_file(upload_id), MAX_JOURNAL_BYTES)
        return None if data is None else parse_journal(data, upload_id)

    def need(self, upload_id: UploadId) -> Journal:
        """Raises StoreError where there is none."""
        journal = self.read(upload_id)
        if journal is None:
            raise StoreError(f"there are no facts of {upload_id}")
        return journal

    def exists(self, upload_id: UploadId) -> bool:
        """There, or not to be read: never an orphan then, and no end of the walk for all others."""
        try:
            return self.read(upload_id) is not None
        except (StoreError, OSError):
            return True

    def begin(self, upload_id: UploadId, line: bytes, *, sync: bool) -> None:
        """Raises FileExistsError, and FileNotFoundError where the directory is not there yet."""
        path, flags = self._layout.facts_file(upload_id), os.O_CREAT | os.O_EXCL
        try:
            write_once(path, line, flags=flags, sync=sync)
        except (FileNotFoundError, FileExistsError):
            raise  # nothing was made by us
        except OSError:
            # Half a line is as good as none, and nobody comes back for it.
            remove_file(path)
            raise

    def add(self, upload_id: UploadId, journal: Journal, line: bytes, *, sync: bool) -> None:
        """``journal``: as it was read a moment ago."""
        data = TORN + line if journal.is_torn else line
        write_once(self._layout.facts_file(upload_id), data, flags=0, sync=sync)
