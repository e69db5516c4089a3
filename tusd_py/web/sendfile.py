"""Bytes of a file to a socket inside the kernel, by threads that no slow client holds.

A thread sends for as long as the socket takes something, but not longer than a burst; for the next
room in the socket the event loop waits. All of it on a duplicate of the descriptor: the transport
owns the original, may close it at any time, and the loop watches it already.
"""

import asyncio
import errno
import fcntl
import os
import socket
import struct
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Final, TypeVar

T = TypeVar("T")

BURST_BYTES: Final = 8 * 1024 * 1024
BURST_SECONDS: Final = 0.01
"""After either of them a thread serves others: one fast client gets no more than its turn."""
PIECE_BYTES: Final = 1024 * 1024
"""Between two pieces the clock is looked at."""
_GONE: Final = {errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENOTCONN}
"""Of the socket, not of the file, besides what is a ConnectionError by itself."""
_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)


class FileCutShort(Exception):
    """The file has fewer bytes than it had when it was opened."""


class SendThreads:
    """The threads of one process that send files."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="tusd-send")

    async def run(self, work: Callable[[], T], stop: threading.Event) -> T:
        """What ``work`` returns. Cancelled, this sets ``stop``, waits until the thread is back,
        however often it is cancelled meanwhile, and only then lets CancelledError go on."""
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            stop.set()
            while not future.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({future})
            future.exception()  # nobody else asks for it
            raise

    def close(self) -> None:
        """Nothing may be running."""
        self._pool.shutdown(wait=False)


class KernelPath:
    """One socket that takes bytes of files. Made by ``kernel_path``."""

    def __init__(self, descriptor: int, threads: SendThreads) -> None:
        self._socket = descriptor
        self._threads = threads
        self._stop = threading.Event()

    async def burst(self, file: int, offset: int, count: int) -> tuple[int, bool]:
        """Send from ``offset`` on, at most ``count``. How much was sent, and whether the socket
        takes no more just now.

        Raises FileCutShort, ConnectionError, or another OSError where the file cannot be read or
        not like this. Cancelling waits for the thread: nothing is sent afterwards.
        """
        return await self._threads.run(lambda: self._send(file, offset, count), self._stop)

    def _send(self, file: int, offset: int, count: int) -> tuple[int, bool]:
        sent, until = 0, time.monotonic() + BURST_SECONDS
        while sent < min(count, BURST_BYTES) and not self._stop.is_set():
            try:
                piece = min(PIECE_BYTES, count - sent)
                just_sent = os.sendfile(self._socket, file, offset + sent, piece)
            except BlockingIOError:
                return sent, True
            except OSError as exc:
                if sent:
                    break  # what was sent counts; the next burst meets the same
                if exc.errno in _GONE:
                    raise ConnectionAbortedError(exc.errno, exc.strerror) from exc
                raise
            if just_sent == 0:
                raise FileCutShort
            sent += just_sent
            if time.monotonic() >= until:
                break
        return sent, False

    async def room(self, seconds: float) -> bool:
        """Wait until the socket takes more, or something happened to it; False where neither is
        so after ``seconds``."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        loop.add_writer(self._socket, _set, ready)
        try:
            await asyncio.wait({ready}, timeout=seconds)
            return ready.done()
        finally:
            loop.remove_writer(self._socket)


def _set(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)


@contextmanager
def kernel_path(
    transport: asyncio.Transport, threads: SendThreads | None
) -> Iterator[KernelPath | None]:
    """The way to ``transport``'s socket, to be used while its own buffer is empty and nobody
    writes to it; None where there is none: TLS, another system, no threads for it."""
    sock = transport.get_extra_info("socket")
    if (
        threads is None
        or sys.platform != "linux"
        or sock is None
        or transport.get_extra_info("sslcontext") is not None
        or sock.family not in _FAMILIES
        or transport.is_closing()
    ):
        yield None
        return
    try:
        descriptor = os.dup(sock.fileno())
    except OSError:  # no descriptor is left: reading needs none
        yield None
        return
    try:
        yield KernelPath(descriptor, threads)
    finally:
        os.close(descriptor)


def unread_bytes(transport: asyncio.Transport) -> int:
    """How many bytes the peer's machine has not taken yet: of the transport and of the kernel."""
    if transport.is_closing():
        return 0
    waiting = transport.get_write_buffer_size()
    sock = transport.get_extra_info("socket")
    if sock is None or sys.platform != "linux":
        return waiting
    with suppress(OSError, ValueError):
        # SIOCOUTQ, by the name that Python has for the same number.
        answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
        waiting += int(struct.unpack("i", answer)[0])
    return waiting
