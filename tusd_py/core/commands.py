"""What a client asks for, whichever protocol it spoke."""

from dataclasses import dataclass, field

from tusd_py.core.ids import UploadId
from tusd_py.core.metadata import Metadata
from tusd_py.core.upload import Kind


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
    protocol: str = "tus1"


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendBytes:
    """Add bytes at an offset."""

    upload_id: UploadId
    offset: int
    announced_bytes: int | None
    """Size of the body; None where it is chunked."""
    declared_length: int | None = None
    """The length of the whole upload, where this request declares it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOffset:
    """How far has it come?"""

    upload_id: UploadId


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminate:
    """Remove it, finished or not."""

    upload_id: UploadId
