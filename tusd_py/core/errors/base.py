"""What all refusals have in common."""

from typing import ClassVar


class UploadError(Exception):
    """A request that is not carried out. ``str(error)`` is a sentence fit for the client."""

    code: ClassVar[str]
    retry_after_seconds: float | None = None
    """When the same request may succeed, where that is known."""
    offset: int | None = None
    """How far the upload has come, where that is known and it can be gone on with."""
