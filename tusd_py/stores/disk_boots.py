"""What each host runs, beside the bytes: ``<root>/hosts/<name>.json``. For worker threads.

A file says one host and the boot it runs now. It is replaced as a whole, by a rename, so that hosts
that share the directory read the old one or the new one and nothing in between.
"""

import hashlib
import json
import logging
import os
import re
import secrets
from typing import Final

from tusd_py.core.upload import Boot
from tusd_py.stores import disk_files
from tusd_py.stores.disk_sync import DirectorySyncs

log = logging.getLogger(__name__)

DIRECTORY: Final = "hosts"
SUFFIX: Final = ".json"
MAX_FILE_BYTES: Final = 64 * 1024
VERSION: Final = 1
NAME_LENGTH: Final = 40
"""So much of a host's name is shown in its file's; the digest behind it tells all names apart."""

_UNSAFE = re.compile(r"[^0-9A-Za-z_-]", re.ASCII)


class Boots:
    """Of one root."""

    def __init__(self, root: str, directories: DirectorySyncs) -> None:
        self._directory = f"{root}/{DIRECTORY}"
        self._directories = directories

    def publish(self, boot: Boot) -> None:
        """On the medium when it returns, whatever else is synced or not."""
        os.makedirs(self._directory, disk_files.DIRECTORY_MODE, exist_ok=True)
        path = self._path(boot.host)
        if self._read(path) == boot:
            # Whoever wrote it, another process of this host, may not have synced it yet.
            disk_files.sync_file(path)
        else:
            self._replace(path, boot)
        self._directories.sync_with_parent(self._directory)

    def withdraw(self, host: str) -> None:
        if disk_files.remove_file(self._path(host)):
            self._directories.sync(self._directory)

    def find(self, host: str) -> str | None:
        found = self._read(self._path(host))
        return found.boot_id if found is not None and found.host == host else None

    def hosts_of(self, boot_id: str) -> list[str]:
        try:
            names = sorted(os.listdir(self._directory))
        except FileNotFoundError:
            return []
        found = (self._read(f"{self._directory}/{n}") for n in names if n.endswith(SUFFIX))
        return [boot.host for boot in found if boot is not None and boot.boot_id == boot_id]

    def _replace(self, path: str, boot: Boot) -> None:
        content = {"v": VERSION, "host": boot.host, "boot_id": boot.boot_id}
        draft = f"{path}.{os.getpid()}-{secrets.token_hex(4)}.new"
        try:
            data = json.dumps(content).encode() + b"\n"
            disk_files.write_once(draft, data, flags=os.O_CREAT | os.O_EXCL, sync=True)
            os.rename(draft, path)
        except OSError:
            disk_files.remove_file(draft)
            raise

    def _read(self, path: str) -> Boot | None:
        """None also for what says nothing: then no byte is believed for its sake."""
        data = disk_files.read_bounded(path, MAX_FILE_BYTES)
        if data is None:
            return None
        try:
            content = json.loads(data)
            host, boot_id = content["host"], content["boot_id"]
        except (ValueError, TypeError, KeyError):
            host = boot_id = None
        if isinstance(host, str) and isinstance(boot_id, str):
            return Boot(host, boot_id)
        log.warning("boot_file_unreadable", extra={"path": path})
        return None

    def _path(self, host: str) -> str:
        digest = hashlib.sha256(host.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        shown = _UNSAFE.sub("_", host[:NAME_LENGTH])
        return f"{self._directory}/{shown}-{digest}{SUFFIX}"
