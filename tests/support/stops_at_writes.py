"""The server, which stops itself at a write when a file tells it to: a debugger's breakpoint.

``python -m tests.support.stops_at_writes serve ...``: once the file that ``STOP_AT_WRITE`` names is
there, it is removed, and the process stops (SIGSTOP) right before the system call that writes bytes
of an upload; where the file says ``within``, after half of these bytes. It looked at its lease
before. On SIGCONT it goes on as if nothing had been.
"""

import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from tusd_py.cli import main

VARIABLE = "STOP_AT_WRITE"
Piece = bytes | memoryview
_write = os.pwritev


def stop_at_next_write(order: Path, where: str) -> None:
    """Make the file, all at once. ``where``: "before" or "within"."""
    draft = order.with_suffix(".draft")
    draft.write_text(where)
    draft.rename(order)


def pwritev(descriptor: int, pieces: Sequence[Piece], offset: int) -> int:
    order = Path(os.environ[VARIABLE])
    try:
        where = order.read_text()
        order.unlink()
    except FileNotFoundError:
        return _write(descriptor, pieces, offset)
    data = memoryview(b"".join(pieces))
    done = 0
    if where == "within":
        done = _write(descriptor, [data[: len(data) // 2]], offset)
    # To this very thread: it stops here, and all others with it.
    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
    return done + _write(descriptor, [data[done:]], offset + done)


if __name__ == "__main__":
    setattr(os, "pwritev", pwritev)  # noqa: B010 - it takes less than the real one
    sys.exit(main())
