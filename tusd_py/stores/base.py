"""The contract of a byte store: it keeps the bytes of uploads and the facts beside them.

The caller holds the upload's lease for every call that changes something, but a store does not
trust that alone: it looks at the brake, which knows the lease's deadline, before each write.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tusd_py.core.digests import Algorithm, Digest, Promise
from tusd_py.core.errors import UploadError
from tusd_py.core.facts import CompletionMark, Facts, Remains
from tusd_py.core.ids import HolderId, UploadId
from tusd_py.core.reconcile import Durability
from tusd_py.core.upload import Boot
from tusd_py.streams import Brake, ByteSource, SourceEnd, StopReason

NOBODY: Final = HolderId("")


class StoreError(Exception):
    """The store could not do it (I/O error, permissions). The cause is chained."""


class PartLost(StoreError):
    """A part of a join has fewer bytes than its record says, or none: trying again is in vain."""


class StoreFull(StoreError):
    """No space left, or the reserve was reached."""


class Appending:
    """One append as others see it while it runs: how far it has come."""

    def __init__(
        self,
        upload_id: UploadId,
        offset: int,
        room: int,
        brake: Brake,
        *,
        promise: Promise | None = None,
        holder: HolderId = NOBODY,
    ) -> None:
        """``promise``: what the body hashes to; needs the lease's ``holder``, whose name bytes
        bear that are held back."""
        self.upload_id = upload_id
        self.start = offset
        self.offset = offset
        """Every byte below it is in the file (not necessarily synced). Never decreases."""
        self.room = room
        """Not one byte more than this, from ``start`` on, is written."""
        self.brake = brake
        self.promise = promise
        self.holder = holder


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a join: all bytes of a complete upload."""

    upload_id: UploadId
    length: int


class OpenBytes(ABC):
    """The bytes of a complete upload, open for one reader. Many may read at once, without a
    lease; what was opened stays readable when the upload is removed meanwhile."""

    length: int
    modified_at: float
    """Unix time."""
    descriptor: int | None
    """A file descriptor for ``sendfile``; None where the bytes do not lie on a file system. It
    belongs to this object: whoever hands it to a thread waits for the thread before ``close``."""

    @abstractmethod
    async def read(self, offset: int, max_bytes: int) -> bytes:
        """At least one byte, at most ``max_bytes``; ``b""`` at the end. Raises StoreError."""

    @abstractmethod
    async def close(self) -> None:
        """Idempotent."""


@dataclass(frozen=True, slots=True)
class Appended:
    """How an append ended. All of ``offset`` is in the file, synced where durability is power."""

    offset: int
    end: SourceEnd | StopReason
    """``NO_SPACE`` also where the file system said so itself."""
    overflowed: bool = False
    """The body had more than ``room`` bytes; those that fit were written."""
    error: StoreError | None = None
    """An I/O error that stopped it early; ``offset`` is still true."""
    unproven: UploadError | None = None
    """The whole body came and is not what was promised (ChecksumMismatch, or what asking for the
    trailer raised): ``offset`` is what it was, not a byte was put into place."""


@dataclass(frozen=True, slots=True)
class WalkPage:
    """Some of what lies in the store, and where to go on."""

    upload_ids: Sequence[UploadId]
    """Uploads with facts (complete ones or not)."""
    orphans: Sequence[UploadId]
    """Bytes without complete facts, older than the age asked for."""
    cursor: str | None
    """None: the walk is over."""


class ByteStore(ABC):
    """Keeps the bytes of uploads, their facts, and the mark of completion.

    Every method raises StoreError where the medium fails, and StoreFull where it is full. Work
    that was handed to a thread is waited for also when the caller is cancelled: when a method has
    returned or raised, nothing of it lands later.
    """

    durability: Durability

    @abstractmethod
    async def open(self) -> None:
        """Make ready: directories, a probe that writes. Raises StoreError with a helpful text."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of descriptors and threads. Nothing may be running."""

    @abstractmethod
    async def publish_boot(self, boot: Boot) -> None:
        """Say beside the bytes what this host runs now, so that bytes of hosts that live are
        believed also where the state is lost. Atomic; durable whatever the durability is. Any
        number of hosts, and of processes on each, work on one store: what a host published last
        holds. A name is of one machine for ever: one that restarts under another name has to
        withdraw the old one, or it would go on saying that it did not.
        """

    @abstractmethod
    async def withdraw_boot(self, host: str) -> None:
        """Nobody is called so any more: what was published under this name holds no longer.
        Idempotent, and as durable as publishing."""

    @abstractmethod
    async def boot_of(self, host: str) -> str | None:
        """The boot that ``host`` published last; None where it says nothing."""

    @abstractmethod
    async def hosts_of(self, boot_id: str) -> Sequence[str]:
        """Who published this boot last. It is of one run of one machine, whatever that was called
        when it wrote: where anybody is named here, that machine has not restarted since."""

    @abstractmethod
    async def prepare(self, facts: Facts) -> None:
        """Put the facts in place; the upload has no bytes. Synced where durability is power.

        Raises StoreFull where the reserve of free space is reached. Cut off in the middle it leaves
        incomplete facts at most, which ``load`` does not show.
        """

    @abstractmethod
    async def load(self, upload_id: UploadId) -> Remains | None:
        """Facts, size and mark; None where there are no (complete) facts."""

    @abstractmethod
    async def append(self, appending: Appending, source: ByteSource) -> Appended:
        """Write ``source`` from ``appending.offset`` on, positioned, never in append mode.

        Does not raise for what the client or the medium does: ``Appended`` says it. Looks at the
        brake before each write. ``appending.offset`` grows as bytes land. At most ``room`` bytes
        are written; one byte more in the source is an overflow. Reads from the source all the
        time, also while a write is under way, into a bounded buffer.

        Cancelling is safe: the write in flight is waited for, ``appending.offset`` is exact
        afterwards, then CancelledError goes on.

        With a promise [hold-back]: not one byte of the body lies in the upload's file before the
        whole body has come and was verified; up to a limit it waits in memory, above it where no
        other append sees it, under the lease's holder. It goes with whoever holds it, however that
        ends; what a medium cannot forget by itself goes by the walk once it is older than an orphan
        may be. A body that ends early, or overflows, leaves nothing, and ``offset`` stays. Once
        verified it is put into place like any other bytes: where that is cut off, its first bytes
        are there and count, as ``offset`` says.
        """

    @abstractmethod
    async def join(self, appending: Appending, parts: Sequence[Part]) -> Appended:
        """Write the bytes of ``parts``, one behind the other, as if they were the body of an
        upload that begins at 0: from ``appending.offset`` on, what lies before it is there
        already. ``room`` is the sum of their lengths less the offset.

        Inside the file system where it can (``copy_file_range``, so shared blocks where it has
        them), with a look at the brake before each move. ``appending.offset`` grows as bytes land;
        cancelling is as safe as for ``append``. A part with fewer bytes than its length, or none,
        is an ``error``: PartLost.
        """

    @abstractmethod
    async def digest(
        self, upload_id: UploadId, algorithms: Sequence[Algorithm], *, length: int
    ) -> tuple[Digest, ...]:
        """What the first ``length`` bytes hash to, in the order asked for, read once. The bytes are
        in place already, or not yet placed. Cancelling stops the reading. Raises StoreError,
        also where fewer bytes are there."""

    @abstractmethod
    async def open_bytes(self, upload_id: UploadId, *, place: str | None) -> OpenBytes | None:
        """Open a complete upload for a download: at its ``place``, where it was put in one. None
        where the bytes are not there (any more). Never follows a link."""

    @abstractmethod
    async def sync(self, upload_id: UploadId) -> None:
        """Every byte and fact that was written before the call reaches the medium (directory
        entries included). Concurrent calls are grouped."""

    @abstractmethod
    async def declare_length(self, upload_id: UploadId, length: int) -> None:
        """Add the length to the facts of an upload that had none. The first declaration counts."""

    @abstractmethod
    async def complete(self, upload_id: UploadId, mark: CompletionMark) -> None:
        """Mark completion beside the bytes. Where durability is finish or power, bytes are synced
        before the mark is written, and mark and directory entries before this returns. Idempotent.
        """

    @abstractmethod
    async def place(self, upload_id: UploadId, name: str, *, length: int) -> str:
        """Put the finished bytes at ``name`` (relative, already sanitised) under the destination's
        root, and return the name used: where another file has it, the upload's id goes before the
        suffix. Never overwrites. Idempotent, also after a crash; works across file systems. Bytes
        and new directory entries are synced where durability is finish or power.
        """

    @abstractmethod
    async def tidy_placed(self, upload_id: UploadId) -> None:
        """After completion: remove what ``place`` left beside the facts (a moved file's old name,
        a staged copy). Facts and mark stay. Idempotent."""

    @abstractmethod
    async def remove(self, upload_id: UploadId) -> None:
        """Remove facts first, then bytes. When it returns, the upload is gone for every reader
        (and for good, where durability is power). Idempotent. A placed file stays."""

    @abstractmethod
    async def remove_bytes(self, upload_id: UploadId) -> None:
        """Remove the bytes alone; facts and mark stay. Idempotent."""

    @abstractmethod
    async def walk(self, cursor: str | None, *, orphan_age_seconds: float) -> WalkPage:
        """The next page of a walk over everything, bounded in work (one directory at most)."""

    @abstractmethod
    async def has_space(self) -> bool:
        """More is free than the reserve. Cheap: may be a second old."""

    @abstractmethod
    def local_path(self, upload_id: UploadId) -> Path | None:
        """Where the bytes lie on this machine, for gates that read the file; None where they do
        not lie on a file system."""
