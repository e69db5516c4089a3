"""What every protocol's translator does: header text to a command, an outcome to an answer.

A second protocol is a second translator, never a second handler. Translators are pure: they decide
nothing that depends on stored state, and wait for nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from tusd_py.core.commands import AppendBytes, CreateUpload, ReadOffset, Terminate
from tusd_py.core.errors import UploadError
from tusd_py.core.ids import UploadId
from tusd_py.core.upload import Upload
from tusd_py.protocol.answers import Answer
from tusd_py.protocol.headers import Fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The head of one request."""

    method: str
    """The effective one."""
    fields: Fields
    announced_bytes: int | None
    """Size of the body; None where it is chunked, 0 where there is none."""
    trailers: Callable[[], Fields]
    """The trailer section; empty before the body's end, and where there is none."""
    remark: Callable[[str], None]
    """Writes to the log that something was ignored on purpose: an event name."""
    can_hear_interim: bool = True
    """Interim answers (1xx) reach the client: not with HTTP/1.0, nor through every proxy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What this server offers, and its bounds: the same for every request."""

    max_bytes: int | None
    """The longest upload; None: as long as a file can be."""
    expire_seconds: float | None
    """Unfinished uploads are removed after this time; None: never."""
    max_metadata_bytes: int
    ignores_hex_checksums: bool
    """One known client sends the hexadecimal digest of its whole file as the body's checksum."""
    locate: Callable[[str], UploadId | None]
    """The upload at a URL, absolute or relative; None where it is none of this server's."""
    now: Callable[[], float]
    """Unix time."""


class Translator(ABC):
    """One protocol. Every ``parse`` raises UploadError for what is not well written."""

    name: ClassVar[str]

    def check(self, asked: Asked) -> None:
        """Raises UploadError where a request like this must not be processed at all."""
        return

    @abstractmethod
    def parse_create(self, asked: Asked) -> CreateUpload: ...

    @abstractmethod
    def parse_append(self, asked: Asked, upload_id: UploadId) -> AppendBytes: ...

    @abstractmethod
    def parse_read(self, asked: Asked, upload_id: UploadId) -> ReadOffset: ...

    @abstractmethod
    def parse_terminate(self, asked: Asked, upload_id: UploadId) -> Terminate: ...

    @abstractmethod
    def build_created(self, asked: Asked, upload: Upload, location: str) -> Answer: ...

    @abstractmethod
    def build_appended(self, asked: Asked, upload: Upload) -> Answer: ...

    @abstractmethod
    def build_offset(self, asked: Asked, upload: Upload) -> Answer:
        """The answer to HEAD, and to a GET that asks for the offset."""

    @abstractmethod
    def build_terminated(self, asked: Asked) -> Answer: ...

    @abstractmethod
    def build_error(
        self, error: UploadError, *, method: str, request_id: str, refusal_status: int | None = None
    ) -> Answer:
        """``method``: the effective one. ``refusal_status``: the operator's for token refusals."""

    def build_early(self, asked: Asked, upload: Upload, location: str) -> Answer | None:
        """An interim answer (1xx) that tells the address before the body is read; None: none."""
        return None

    def build_progress(self, asked: Asked, upload: Upload) -> Answer | None:
        """An interim answer (1xx) that tells a committed offset while the body comes, or None."""
        return None
