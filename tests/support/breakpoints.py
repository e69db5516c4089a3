"""The server, which stops itself at a point when a file tells it to, as under a debugger.

``python -m tests.support.breakpoints serve ...``: once the file that ``STOP_AT`` names is there and
names the point that is reached, it is removed, and the process stops (SIGSTOP). On SIGCONT it goes
on as if nothing had been.
"""

import os
import signal
import sys
import threading
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from tusd_py.cli import main
from tusd_py.state.redis.link import Link
from tusd_py.state.redis.scripts import Script
from tusd_py.state.redis.store import RedisState
from tusd_py.state.redis.uploads import COMMIT
from tusd_py.stores.disk import DiskStore

COMMAND = (sys.executable, "-m", "tests.support.breakpoints")
VARIABLE = "STOP_AT"
LETS_GO = 6
"""Which argument of a commit says so: behind the bucket, and what names the lease."""
SIZE_SUFFIX = ".size"
Piece = bytes | memoryview


class Point(StrEnum):
    """Where a process can be stopped."""

    WRITE = "write"
    """Right before the system call that writes bytes of an upload; the lease was looked at."""
    WITHIN_WRITE = "within write"
    """After half of these bytes."""
    COMMIT = "commit"
    """Right before a commit is sent to Redis, checkpoints included; the lease was looked at."""
    LAST_COMMIT = "last commit"
    """Before one that lets the lease go."""
    MARK = "mark"
    """Before the mark of completion is written."""
    ADOPT = "adopt"
    """Between the look at an upload's facts and the making of its record."""


def order_stop(order: Path, point: Point) -> None:
    """Make the file, all at once."""
    draft = order.with_suffix(".draft")
    draft.write_text(point)
    draft.rename(order)


def size_of_stopped(order: Path) -> int:
    """How many bytes the write had that was stopped."""
    return int(order.with_suffix(SIZE_SUFFIX).read_text())


class _Stops:
    """What takes the place of the real calls."""

    def __init__(self, order: Path) -> None:
        self._order = order
        self._write = os.pwritev
        self._call = Link.call
        self._complete = DiskStore.complete
        self._adopt = RedisState.adopt

    def put(self) -> None:
        stops = self

        def pwritev(descriptor: int, pieces: Sequence[Piece], offset: int) -> int:
            return stops.write(descriptor, pieces, offset)

        async def call(link: Link, script: Script, *args: Any, **options: Any) -> Any:
            if script.name == COMMIT.name:
                stops.stop_at(Point.COMMIT)
                if args[LETS_GO] == "1":
                    stops.stop_at(Point.LAST_COMMIT)
            return await stops._call(link, script, *args, **options)

        async def complete(store: DiskStore, *args: Any) -> None:
            stops.stop_at(Point.MARK)
            await stops._complete(store, *args)

        async def adopt(state: RedisState, *args: Any, **options: Any) -> Any:
            stops.stop_at(Point.ADOPT)
            return await stops._adopt(state, *args, **options)

        for owner, replacement in (
            (os, pwritev),
            (Link, call),
            (DiskStore, complete),
            (RedisState, adopt),
        ):
            setattr(owner, replacement.__name__, replacement)

    def stop_at(self, point: Point, size: int = 0) -> None:
        try:
            if self._order.read_text() != point:
                return
        except FileNotFoundError:
            return
        self._order.unlink()
        self._order.with_suffix(SIZE_SUFFIX).write_text(str(size))
        # To this very thread: it stops here, and all others with it.
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)

    def write(self, descriptor: int, pieces: Sequence[Piece], offset: int) -> int:
        data = memoryview(b"".join(pieces))
        self.stop_at(Point.WRITE, len(data))
        half = len(data) // 2
        done = 0
        while done < half:
            done += self._write(descriptor, [data[done:half]], offset + done)
        self.stop_at(Point.WITHIN_WRITE)
        return done + self._write(descriptor, [data[done:]], offset + done)


if __name__ == "__main__":
    _Stops(Path(os.environ[VARIABLE])).put()
    sys.exit(main())
