"""What a client asks for, whichever protocol it spoke."""

from dataclasses import dataclass, field
from enum import StrEnum

from tusd_py.core.digests import Algorithm, Digest, Promise
from tusd_py.core.ids import UploadId
from tusd_py.core.metadata import Metadata
from tusd_py.core.upload import Kind


class Completion(StrEnum):
    """What makes the upload complete, as far as this request goes."""

    AT_LENGTH = "at_length"
    """Reaching the length does (tus)."""
    NOW = "now"
    """The end of this request's body is the end of the upload."""
    LATER = "later"
    """More requests follow, also where all bytes are there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateUpload:
    """Make an upload, perhaps with its first bytes."""

    length: int | None
    """None: the client will declare it later."""
    metadata: Metadata = field(default_factory=Metadata)
    """As the client wrote it, token included: the service takes that out."""
    announced_bytes: int | None = 0
    """Size of the body that comes with it; None where it is chunked, 0 where there is none."""
    kind: Kind = Kind.SINGLE
    parts: tuple[UploadId, ...] = ()
    """What a final upload is joined of, in this order; the same one may stand there repeatedly."""
    concat: str | None = None
    """``Upload-Concat`` as the client wrote it: HEAD repeats it."""
    protocol: str = "tus1"
    completion: Completion = Completion.AT_LENGTH
    promise: Promise | None = None
    """What the body hashes to: not a byte of it counts before that was verified."""
    promised_digests: tuple[Digest, ...] = ()
    """What the whole file hashes to: it does not become complete where that is not so."""
    wanted_digests: tuple[Algorithm, ...] = ()
    """What the client would like to be told of the whole file, if this request completes it."""
    is_strict: bool = False
    """A told offset may not shrink and lengths may not contradict: the upload is invalid then."""
    outlives_cut: bool = False
    """It stays where the client hung up before its address could be told: the client can find it
    in the list of its uploads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendBytes:
    """Add bytes at an offset."""

    upload_id: UploadId
    offset: int
    announced_bytes: int | None
    """Size of the body; None where it is chunked."""
    declared_length: int | None = None
    """The length of the whole upload, where this request declares it."""
    completion: Completion = Completion.AT_LENGTH
    promise: Promise | None = None
    """As for a creation."""
    wanted_digests: tuple[Algorithm, ...] = ()
    """As for a creation."""
    is_strict: bool = False
    """As for a creation; once set it stays."""
    refuses_finished: bool = False
    """An append to a complete upload is refused also where it would change nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOffset:
    """How far has it come?"""

    upload_id: UploadId
    completion: Completion | None = Completion.AT_LENGTH
    """LATER: an upload with all its bytes is not completed by being asked for. None: as the
    protocol has it that made the upload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminate:
    """Remove it, finished or not."""

    upload_id: UploadId
