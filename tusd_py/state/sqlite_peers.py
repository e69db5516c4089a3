"""The other processes of this host that work on the same state file.

Each has a random name, a lock file that it holds for its life, and a socket for short datagrams.
Datagrams are hints: what they say is also in the state file, so that a lost one costs time only.
"""

import asyncio
import fcntl
import os
import re
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

MAX_DATAGRAM_BYTES: Final = 512
MAX_DATAGRAMS_PER_WAKE: Final = 256
"""Then the loop gets its turn again."""
SUN_PATH_BYTES: Final = 100
"""A socket's address takes 108; above this the directory is named by its descriptor."""
PEERS_KEPT_SECONDS: Final = 1.0
"""How old the list of peers may be that is told of new events."""

_NAME = re.compile(r"[0-9a-f]{16}", re.ASCII)


class Peers:
    """This process among its peers. ``join`` and ``is_alive`` block: not for the event loop."""

    def __init__(self, directory: Path) -> None:
        self.name = secrets.token_hex(8)
        self._directory = directory
        self._directory_fd = -1
        self._lock_fd = -1
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_message: Callable[[str], None] = lambda _: None
        self._others: tuple[str, ...] = ()
        self._others_at = float("-inf")

    def join(self) -> None:
        """Take the lock and bind the socket; clear away what dead processes left.

        The caller holds the state's own lock: nobody sees a lock file that is not locked yet.
        """
        for file in self._directory.glob("*.lock"):
            if _NAME.fullmatch(file.stem) and not self.is_alive(file.stem):
                file.with_suffix(".sock").unlink(missing_ok=True)
                file.unlink(missing_ok=True)
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR
        self._directory_fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        self._lock_fd = os.open(self._directory / f"{self.name}.lock", flags, 0o600)
        fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(self._address(self.name))

    def listen(self, loop: asyncio.AbstractEventLoop, on_message: Callable[[str], None]) -> None:
        """From now on ``on_message`` is called in the loop for each datagram."""
        assert self._socket is not None
        self._loop, self._on_message = loop, on_message
        loop.add_reader(self._socket, self._receive)

    def stop_listening(self) -> None:
        if self._socket is not None and self._loop is not None:
            self._loop.remove_reader(self._socket)
            self._loop = None

    def leave(self) -> None:
        """From now on others see this process as dead. Blocks."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        for suffix in (".sock", ".lock"):
            with suppress(OSError):
                (self._directory / f"{self.name}{suffix}").unlink()
        for fd in (self._lock_fd, self._directory_fd):
            if fd >= 0:
                os.close(fd)
        self._lock_fd = self._directory_fd = -1

    def is_alive(self, name: str | None) -> bool:
        """Whether that process still holds its lock. Names are random: the dead never return."""
        if name == self.name:
            return True
        if name is None or not _NAME.fullmatch(name):
            return False
        try:
            fd = os.open(self._directory / f"{name}.lock", os.O_RDWR)
        except FileNotFoundError:
            return False
        except OSError:
            return True  # nobody can tell (no descriptor left): then the deadline decides
        try:
            # Shared, so that two that ask at once do not take each other for the process.
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(fd)

    def is_alone(self) -> bool:
        """Whether no other process lives, or is only about to end. Under the state's own lock."""
        return not any(
            self.is_alive(file.stem)
            for file in self._directory.glob("*.lock")
            if _NAME.fullmatch(file.stem) and file.stem != self.name
        )

    def send(self, name: str, text: str) -> bool:
        """Never waits. False: nobody listens there. A full mailbox counts as somebody."""
        if self._socket is None or not _NAME.fullmatch(name):
            return False
        try:
            self._socket.sendto(text.encode("ascii"), self._address(name))
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def broadcast(self, text: str) -> None:
        """To all peers, for any thread but the event loop's (it may list the directory)."""
        now = time.monotonic()
        if now - self._others_at > PEERS_KEPT_SECONDS:
            self._others_at = now
            with suppress(OSError):  # a hint only
                names = {entry.removesuffix(".sock") for entry in os.listdir(self._directory)}
                self._others = tuple(n for n in names if n != self.name and _NAME.fullmatch(n))
        for name in self._others:
            self.send(name, text)

    def _address(self, name: str) -> str:
        path = str(self._directory / f"{name}.sock")
        if len(os.fsencode(path)) <= SUN_PATH_BYTES:
            return path
        return f"/proc/self/fd/{self._directory_fd}/{name}.sock"

    def _receive(self) -> None:
        for _ in range(MAX_DATAGRAMS_PER_WAKE):
            if self._socket is None:
                return
            try:
                data = self._socket.recv(MAX_DATAGRAM_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            self._on_message(data.decode("ascii", "replace"))
