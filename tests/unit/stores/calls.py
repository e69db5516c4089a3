"""System calls that are written down, or at one of which the process dies; what is open."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.contract.stores import Died

WATCHED = ("pwritev", "write", "fdatasync", "fsync", "unlink")
PLACING = ("link", "unlink", "rename", "copy_file_range", "fdatasync", "fsync", "mkdir", "write")


@contextmanager
def recorded() -> Iterator[list[str]]:
    """``call name`` of each call, in order, once it has succeeded."""
    calls: list[str] = []

    def watch(name: str) -> Any:
        real = getattr(os, name)

        def watched(target: Any, *args: Any, **kwargs: Any) -> Any:
            path = os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else target
            done = real(target, *args, **kwargs)
            calls.append(f"{name} {_short(path)}")
            return done

        return watched

    with ExitStack() as stack:
        for name in WATCHED:
            stack.enter_context(patch.object(os, name, watch(name)))
        yield calls


def _short(path: str) -> str:
    base = os.path.basename(path)
    if base.endswith((".bin", ".facts")):
        return base.rpartition(".")[2]
    return "fan-out" if len(base) == 3 else base


@contextmanager
def dying_at(number: int) -> Iterator[list[str]]:
    """Die instead of the call with this number (0 the first) and at every later one."""
    calls: list[str] = []

    def deadly(name: str) -> Any:
        real = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if len(calls) >= number:
                raise Died
            calls.append(name)
            return real(*args, **kwargs)

        return call

    with ExitStack() as stack:
        for name in PLACING:
            stack.enter_context(patch.object(os, name, deadly(name)))
        yield calls


@contextmanager
def links_fail(error: int, *, always: bool) -> Iterator[None]:
    """Hard links fail: all of them, or only those that come from another directory."""
    real = os.link

    def link(*args: Any, **kwargs: Any) -> None:
        if always or kwargs.get("src_dir_fd") is None:
            raise OSError(error, os.strerror(error))
        real(*args, **kwargs)

    with patch.object(os, "link", link):
        yield


def open_files(part: str) -> dict[str, int]:
    """The files this process has open whose names have that part, and their sizes."""
    found = {}
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed a moment ago
            if part in (name := os.readlink(link)):
                found[name] = link.stat().st_size
    return found
