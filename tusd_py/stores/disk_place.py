"""Finished files are put in their place: linked where the file system can, else copied.

Every step may be the last before a crash, and the whole is done again then. That works because a
name is only ever taken by a hard link, which never overwrites, and because a link of the same file
is recognised. Across file systems the bytes are first copied to a hidden name with the upload's id,
and that copy is linked. Where there are no hard links the id stands in the name in any case: then
whoever has that name is we ourselves.

Directories are opened one by one without following links: their names are made of client text.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from typing import Final

from tusd_py.core.ids import UploadId
from tusd_py.stores.base import StoreError
from tusd_py.stores.disk_files import DIRECTORY_MODE, FILE_MODE, SAFE, copy_some

COPY_STEP_BYTES: Final = 16 * 1024 * 1024
NO_LINKS: Final = frozenset(
    {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}
)


class PlacingStopped(Exception):
    """The caller was cancelled in the middle of a copy."""


class DestinationBlocked(StoreError):
    """Something that is no directory stands where a destination needs one."""


class Placer:
    """Puts the files of one store below one root. For worker threads."""

    def __init__(self, root: str, *, sync: bool) -> None:
        self._root = root
        self._sync = sync

    def place(
        self,
        upload_id: UploadId,
        source: str,
        name: str,
        length: int,
        on_copy: Callable[[], None],
        is_stopped: Callable[[], bool],
    ) -> str:
        """The name taken. ``on_copy`` is called before a copy is made, to leave a trace of it."""
        *folders, base = _parts(name)
        with self._open_folder(folders, make=True) as folder, _open_source(source) as file:
            placing = _Placing(upload_id, folder, file, length, self._sync)
            taken = placing.link(source, base) if placing.is_exact else None
            if taken is None:
                on_copy()
                taken = placing.copy(base, is_stopped)
            if self._sync:
                os.fdatasync(file)
                os.fsync(folder)
        return "/".join((*folders, taken))

    def remove_staged(self, upload_id: UploadId, name: str) -> None:
        """Remove the copy beside ``name``, if there is one. Idempotent."""
        *folders, _ = _parts(name)
        try:
            with self._open_folder(folders, make=False) as folder:
                os.unlink(_staged_name(upload_id), dir_fd=folder)
        except FileNotFoundError:
            return

    def open_placed(self, name: str) -> int | None:
        """A descriptor to read the file at ``name``; None where none is there. Follows no link."""
        *folders, base = _parts(name)
        try:
            with self._open_folder(folders, make=False) as folder:
                return os.open(base, os.O_RDONLY | os.O_NONBLOCK | SAFE, dir_fd=folder)
        except (FileNotFoundError, DestinationBlocked):
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                return None
            raise

    @contextmanager
    def _open_folder(self, folders: list[str], *, make: bool) -> Iterator[int]:
        # The root is the operator's own and may be a link.
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in folders:
                inner = self._enter(descriptor, name, make=make)
                outer, descriptor = descriptor, inner
                os.close(outer)
            yield descriptor
        finally:
            os.close(descriptor)

    def _enter(self, outer: int, name: str, *, make: bool) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | SAFE
        try:
            return os.open(name, flags, dir_fd=outer)
        except FileNotFoundError:
            if not make:
                raise
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                raise
            raise DestinationBlocked(
                f"{name} below {self._root} is a link or a file, but a destination needs a "
                "directory there: move it away"
            ) from error
        # Another upload of the same client may be faster.
        with suppress(FileExistsError):
            os.mkdir(name, DIRECTORY_MODE, dir_fd=outer)
        if self._sync:
            os.fsync(outer)
        return os.open(name, flags, dir_fd=outer)


class _Placing:
    """One file on its way into one open directory."""

    def __init__(
        self, upload_id: UploadId, folder: int, source: int, length: int, sync: bool
    ) -> None:
        self._upload_id = upload_id
        self._folder = folder
        self._source = source
        self._length = length
        self._sync = sync
        size = os.fstat(source).st_size
        if size < length:
            raise StoreError(f"the file of {upload_id} has {size} bytes, not {length}")
        self.is_exact = size == length
        """Else bytes that nobody believes lie past the end: only a copy is right."""

    def link(self, source: str, base: str) -> str | None:
        """Take a free name, or find ours. None where the file system cannot link."""
        own = os.fstat(self._source)
        for name in (base, name_with_id(base, self._upload_id)):
            try:
                os.link(source, name, dst_dir_fd=self._folder, follow_symlinks=False)
            except FileExistsError:
                if not self._is_same(name, own):
                    continue
            except OSError as error:
                if error.errno == errno.EXDEV or error.errno in NO_LINKS:
                    return None
                raise
            return name
        raise self._name_is_taken(base)

    def copy(self, base: str, is_stopped: Callable[[], bool]) -> str:
        """Copy to the hidden name, then take a free name for that."""
        staged = _staged_name(self._upload_id)
        own = self._look(staged)
        if own is not None:
            # A run before us that came as far as its link had copied everything.
            for name in (base, name_with_id(base, self._upload_id)):
                if self._is_same(name, own):
                    return name
            os.unlink(staged, dir_fd=self._folder)
        with_id = name_with_id(base, self._upload_id)
        if own is None and self._is_ours_by_name(with_id):
            return with_id
        copied = self._copy_bytes(staged, is_stopped)
        if not self._is_same(staged, copied):
            # Another server took this one for dead: what lies there now is not whole yet.
            raise StoreError(f"the copy of {self._upload_id} was taken up by another")
        return self._take_name(staged, base, with_id)

    def _take_name(self, staged: str, base: str, with_id: str) -> str:
        for name in (base, with_id):
            try:
                os.link(
                    staged,
                    name,
                    src_dir_fd=self._folder,
                    dst_dir_fd=self._folder,
                    follow_symlinks=False,
                )
            except FileExistsError:
                continue
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
                break
            return name
        if self._look(with_id) is not None:
            raise self._name_is_taken(base)
        os.rename(staged, with_id, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        return with_id

    def _copy_bytes(self, staged: str, is_stopped: Callable[[], bool]) -> os.stat_result:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | SAFE
        target = os.open(staged, flags, FILE_MODE, dir_fd=self._folder)
        try:
            done = 0
            while done < self._length:
                if is_stopped():
                    raise PlacingStopped
                count = min(self._length - done, COPY_STEP_BYTES)
                done += copy_some(self._source, target, at=done, to=done, count=count)
            if self._sync:
                os.fdatasync(target)
            return os.fstat(target)
        finally:
            os.close(target)

    def _is_ours_by_name(self, with_id: str) -> bool:
        found = self._look(with_id)
        return found is not None and stat.S_ISREG(found.st_mode) and found.st_size == self._length

    def _is_same(self, name: str, own: os.stat_result) -> bool:
        found = self._look(name)
        return found is not None and os.path.samestat(found, own)

    def _look(self, name: str) -> os.stat_result | None:
        try:
            return os.stat(name, dir_fd=self._folder, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def _name_is_taken(self, base: str) -> StoreError:
        return StoreError(f"both names for {self._upload_id} at {base} are taken by other files")


def name_with_id(base: str, upload_id: UploadId) -> str:
    """``clip.mp4`` with the id before its suffix: ``clip-<id>.mp4``."""
    path = PurePosixPath(base)
    return f"{path.stem}-{upload_id}{path.suffix}"


def _staged_name(upload_id: UploadId) -> str:
    return f".tusd-{upload_id}.part"


def _parts(name: str) -> list[str]:
    parts = name.split("/")
    if "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise StoreError("the name of a destination is relative and has no empty or dotted parts")
    return parts


@contextmanager
def _open_source(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | SAFE)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
