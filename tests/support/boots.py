"""A machine that is started anew, without one: another id of the boot for single processes."""

import os
import uuid
from pathlib import Path
from typing import Final

BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
_SCRIPT: Final = f'mount --bind "$0" {BOOT_ID} && exec "$@"'


class FakeBoot:
    """One machine's boots, for servers that are started with ``wrapper`` before their command."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.restart()

    @property
    def wrapper(self) -> tuple[str, ...]:
        """In a mount namespace of its own, so that nobody else sees it."""
        own = ("unshare", "-m") if os.geteuid() == 0 else ("unshare", "-Urm")
        return (*own, "sh", "-c", _SCRIPT, str(self._file))

    def restart(self) -> None:
        """Processes that are started from now on run under another boot."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(f"{uuid.uuid4()}\n")
