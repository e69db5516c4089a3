"""Small acts on files, for worker threads: each opens, does one thing, and closes.

Errors of ``close`` and ``fsync`` fly like all others: after them the bytes must not be believed.
"""

import errno
import os
import secrets
import stat
from typing import Final

from tusd_py.stores.base import StoreError, StoreFull

FILE_MODE: Final = 0o640
DIRECTORY_MODE: Final = 0o750
SAFE: Final = os.O_NOFOLLOW | os.O_CLOEXEC
NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
READ_STEP_BYTES: Final = 1024 * 1024
NO_COPY_RANGE: Final = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM}
)
"""Another file system, an old kernel, or a file system that has it not: bytes go through us."""
PROBE: Final = b"tusd_py can write here\n"


def store_error(what: str, error: OSError) -> StoreError:
    """What a failure of the system means to callers; chain ``error`` to it."""
    kind = StoreFull if error.errno in NO_SPACE else StoreError
    where = f" ({error.filename})" if error.filename else ""
    return kind(f"{what} failed: {error.strerror or error}{where}")


def read_bounded(path: str, max_bytes: int) -> bytes | None:
    """All of a regular file; None where there is none. Raises StoreError where it is too long."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | SAFE)
    except FileNotFoundError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise StoreError(f"{path} is no regular file")
        parts = []
        left = max_bytes + 1
        while left > 0 and (part := os.read(descriptor, min(left, 1 << 16))):
            parts.append(part)
            left -= len(part)
    finally:
        os.close(descriptor)
    if left <= 0:
        raise StoreError(f"{path} has more than {max_bytes} bytes")
    return b"".join(parts)


def write_once(path: str, data: bytes, *, flags: int, sync: bool) -> None:
    """One ``write`` of everything: a reader, or a crash, sees all of it or a torn end."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | flags | SAFE, FILE_MODE)
    try:
        if os.write(descriptor, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        if sync:
            os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def size_of(path: str) -> int | None:
    """The size of a file, None where there is none."""
    try:
        return os.stat(path, follow_symlinks=False).st_size
    except FileNotFoundError:
        return None


def sync_file(path: str) -> bool:
    """Bytes and size reach the medium. False where there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | SAFE)
    except FileNotFoundError:
        return False
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
    return True


def sync_directory(path: str) -> None:
    """New and removed entries reach the medium."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_file(path: str) -> bool:
    """False where it was not there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def copy_some(source: int, target: int, *, at: int, to: int, count: int) -> int:
    """Copy some bytes from ``at`` in one file to ``to`` in another: at least one, at most
    ``count``; in the kernel where it can."""
    if hasattr(os, "copy_file_range"):
        try:
            if done := os.copy_file_range(source, target, count, at, to):
                return done
        except OSError as error:
            if error.errno not in NO_COPY_RANGE:
                raise
    data = os.pread(source, min(count, READ_STEP_BYTES), at)
    if not data:
        raise OSError(errno.EIO, "the file became shorter while it was copied")
    return os.pwrite(target, data, to)


def make_usable(directory: str, setting: str) -> None:
    """Make it, and show that files in it can be written, synced and removed."""
    probe = f"{directory}/.probe-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        os.makedirs(directory, DIRECTORY_MODE, exist_ok=True)
        descriptor = os.open(probe, os.O_RDWR | os.O_CREAT | os.O_EXCL | SAFE, FILE_MODE)
        try:
            os.pwritev(descriptor, [PROBE], 0)
            os.fdatasync(descriptor)
            if os.pread(descriptor, len(PROBE), 0) != PROBE:
                raise StoreError(f"{directory} does not give back what was written to it")
        finally:
            os.close(descriptor)
            os.unlink(probe)
        sync_directory(directory)
    except OSError as error:
        raise StoreError(
            f"files cannot be written in {directory} ({error.strerror}): let the server's user "
            f"write there, or set {setting} to another directory"
        ) from error
