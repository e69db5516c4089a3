"""What a tree of processes costs: its time on the processors and its memory."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

PAGE_BYTES: Final = 4096
CLOCK_OF_A_PROCESS: Final = 2
"""CPUCLOCK_SCHED: user and system time of all threads, ended ones too."""


@dataclass(frozen=True, slots=True)
class Memory:
    """In bytes. Shared pages count once in ``pss``; ``sockets`` is the whole machine's TCP."""

    rss: int
    pss: int
    peak: int
    sockets: int


def cpu_seconds(pid: int) -> float:
    """Of the whole tree, in nanoseconds' resolution (``/proc`` rounds to hundredths)."""
    return sum(_cpu_seconds(one.pid) for one in tree(pid))


def memory(pid: int) -> Memory:
    """Of the whole tree, now. ``peak`` is the sum of what each process ever had resident."""
    rss = pss = peak = 0
    for one in tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
            full = one.memory_full_info()
            rss += full.rss
            pss += full.pss
            peak += _high_water(one.pid)
    return Memory(rss=rss, pss=pss, peak=peak, sockets=_socket_bytes())


def tree(pid: int) -> Iterator[psutil.Process]:
    """The process and all that come from it."""
    root = psutil.Process(pid)
    yield root
    yield from root.children(recursive=True)


def _cpu_seconds(pid: int) -> float:
    # What clock_getcpuclockid(3) gives, which Python does not offer.
    clock = (~pid << 3) | CLOCK_OF_A_PROCESS
    try:
        return time.clock_gettime(clock)
    except OSError:
        return 0.0  # it ended meanwhile


def _high_water(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _socket_bytes() -> int:
    for line in Path("/proc/net/sockstat").read_text().splitlines():
        words = line.split()
        if words[0] == "TCP:":
            return int(words[words.index("mem") + 1]) * PAGE_BYTES
    return 0
