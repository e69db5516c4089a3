"""Syncs of directories, grouped: many uploads that complete at once share one.

Runs in worker threads. A request that comes while a sync of its directory waits to start joins it;
one that comes while a sync runs needs the next one, because its entry may be younger.
"""

import threading

from tusd_py.stores.disk_files import sync_directory


class _Group:
    def __init__(self) -> None:
        self.done = threading.Event()
        self.error: OSError | None = None
        self.requests = 0


class _Directory:
    def __init__(self) -> None:
        self.running = threading.Lock()
        self.waiting: _Group | None = None


class DirectorySyncs:
    """Syncs directories below one root, the root's own entries once for each of them."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._directories: dict[str, _Directory] = {}
        self._known: set[str] = set()

    def sync_with_parent(self, path: str) -> None:
        """Entries of ``path``, a directory in the root, and its own entry there."""
        self.sync(path)
        # Directories are never removed, so that their entry has to be synced only once.
        if path not in self._known:
            self.sync(self._root)
            self._known.add(path)

    def sync(self, path: str) -> None:
        """Every entry made or removed before the call is on the medium when it returns."""
        with self._lock:
            directory = self._directories.setdefault(path, _Directory())
            group, leads = directory.waiting, False
            if group is None:
                group = directory.waiting = _Group()
                leads = True
            group.requests += 1
        if leads:
            self._lead(path, directory, group)
        else:
            group.done.wait()
        if group.error is not None:
            raise OSError(group.error.errno, group.error.strerror, path) from group.error

    def waiting_requests(self, path: str) -> int:
        """How many share the sync that has not started yet."""
        with self._lock:
            directory = self._directories.get(path)
            return directory.waiting.requests if directory and directory.waiting else 0

    def _lead(self, path: str, directory: _Directory, group: _Group) -> None:
        with directory.running:
            with self._lock:
                directory.waiting = None
            try:
                sync_directory(path)
            except OSError as error:
                group.error = error
            finally:
                group.done.set()
