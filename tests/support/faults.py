"""A small file system of its own, to be filled up.

Root mounts a tmpfs. Anybody else gets one inside a mount namespace of their own
(``unshare -Urm``), which stays alive as long as a helper process in it: paths are reached
through ``/proc/<helper>/root``, and a process that shall live on the small file system is
started with ``wrapper`` before its command, or simply given those paths.
"""

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024
BALLAST = "ballast"
UNSHARE = ("unshare", "-Urm")


class NoSmallDisk(Exception):
    """This machine lets us mount nothing; tests of a full disk cannot pass here."""


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """A private file system of a few MiB."""

    path: Path
    """Its root, as this process and its children see it."""

    def free_bytes(self) -> int:
        """What an ordinary user could still write."""
        facts = os.statvfs(self.path)
        return facts.f_bavail * facts.f_frsize

    def fill(self, *, leave_bytes: int = 0) -> None:
        """Fill it, save for about ``leave_bytes`` (whole pages)."""
        with (self.path / BALLAST).open("ab", buffering=0) as ballast:
            while (left := self.free_bytes() - leave_bytes) > 0:
                try:
                    ballast.write(b"\0" * min(left, MIB))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    return

    def release(self) -> None:
        """Give back all that ``fill`` took."""
        (self.path / BALLAST).unlink(missing_ok=True)


@contextmanager
def small_disk(where: Path, *, mib: int) -> Iterator[SmallDisk]:
    """A file system of ``mib`` MiB, mounted at ``where`` or reached beside it."""
    where.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        problem = _try_mount(where, mib)
        if problem is None:
            try:
                yield SmallDisk(where)
            finally:
                # Lazily: a server that was killed a moment ago may still hold files in it.
                subprocess.run(["umount", "--lazy", str(where)], check=True)
            return
    else:
        problem = "not root"
    with _in_namespace(where, mib, problem) as disk:
        yield disk


def _try_mount(where: Path, mib: int) -> str | None:
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0777", "tmpfs", str(where)],
        capture_output=True,
        text=True,
    )
    return None if done.returncode == 0 else done.stderr.strip() or "mount failed"


@contextmanager
def _in_namespace(where: Path, mib: int, problem: str) -> Iterator[SmallDisk]:
    """Mount inside a namespace that a waiting shell keeps alive."""
    script = 'mount -t tmpfs -o "size=$1m,mode=0777" tmpfs "$2" && echo ready && read -r _'
    keeper = subprocess.Popen(
        [*UNSHARE, "sh", "-c", script, "sh", str(mib), str(where)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with keeper:
        try:
            assert keeper.stdout is not None and keeper.stderr is not None
            if keeper.stdout.readline().strip() != "ready":
                second = keeper.stderr.read().strip()
                raise NoSmallDisk(
                    "a small file system could not be made: neither by mount "
                    f"({problem}) nor by unshare -Urm ({second}); run the tests as root or "
                    "allow user namespaces"
                )
            yield SmallDisk(Path(f"/proc/{keeper.pid}/root{where.resolve()}"))
        finally:
            if keeper.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    keeper.stdin.close()
            keeper.wait()
