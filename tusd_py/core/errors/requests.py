"""What a client wrote wrongly, from its HTTP to its header values."""

from tusd_py.core.digests import Algorithm
from tusd_py.core.errors.base import UploadError


class InvalidHeader(UploadError):
    """A header whose value does not follow its grammar."""

    code = "ERR_INVALID_HEADER"

    def __init__(self, name: str, wanted: str) -> None:
        super().__init__(f"The header {name} must be {wanted}.")
        self.name = name


class MissingHeader(UploadError):
    """A header without which the request has no meaning."""

    code = "ERR_MISSING_HEADER"

    def __init__(self, name: str) -> None:
        super().__init__(f"The header {name} is missing.")
        self.name = name


class InvalidMetadata(UploadError):
    """``Upload-Metadata`` that cannot be read."""

    code = "ERR_INVALID_METADATA"

    def __init__(self, what: str) -> None:  # completes "Upload-Metadata …"
        super().__init__(f"Upload-Metadata {what}.")


class LengthMissing(UploadError):
    """A creation that says neither how long the file is nor that it will say so later."""

    code = "ERR_LENGTH_MISSING"

    def __init__(self) -> None:
        super().__init__("Either Upload-Length or Upload-Defer-Length: 1 is needed.")


class LengthConflict(UploadError):
    """A length that contradicts one that was set before, or the bytes already received."""

    code = "ERR_LENGTH_CONFLICT"

    def __init__(self, *, stored: int, requested: int) -> None:
        super().__init__(
            f"The length is or must be at least {stored}, the request says {requested}."
        )
        self.stored = stored
        self.requested = requested


class UnsupportedVersion(UploadError):
    """``Tus-Resumable`` is missing or names a version that is not spoken here."""

    code = "ERR_UNSUPPORTED_VERSION"

    def __init__(self, spoken: str) -> None:
        super().__init__(f"The header Tus-Resumable must name a supported version: {spoken}.")


class UnsupportedMediaType(UploadError):
    """A body whose type is not the protocol's."""

    code = "ERR_UNSUPPORTED_MEDIA_TYPE"

    def __init__(self, wanted: str) -> None:
        super().__init__(f"The Content-Type of a body of upload bytes must be {wanted}.")


class MethodNotAllowed(UploadError):
    """A method that this resource does not have."""

    code = "ERR_METHOD_NOT_ALLOWED"

    def __init__(self, allowed: tuple[str, ...]) -> None:
        super().__init__(f"This resource allows {', '.join(allowed)}.")
        self.allowed = allowed


class ChecksumUnsupported(UploadError):
    """``Upload-Checksum`` names an algorithm that is not offered here."""

    code = "ERR_CHECKSUM_UNSUPPORTED"

    def __init__(self) -> None:
        super().__init__(f"The algorithm of Upload-Checksum must be one of {', '.join(Algorithm)}.")


class ChecksumMismatch(UploadError):
    """A body that does not hash to what it was sent with: nothing of it was kept."""

    code = "ERR_CHECKSUM_MISMATCH"

    def __init__(self) -> None:
        super().__init__(
            "The bytes received do not match the digest they were sent with; "
            "nothing of them was kept."
        )


class BodyMalformed(UploadError):
    """A body whose transfer coding is broken: an error, not an end."""

    code = "ERR_BODY_MALFORMED"

    def __init__(self) -> None:
        super().__init__("The body of the request is malformed; what came before it was kept.")


class NotFound(UploadError):
    """A path at which nothing is."""

    code = "ERR_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("There is nothing at this address.")


class BadRequest(UploadError):
    """A request that is not well-formed HTTP."""

    code = "ERR_BAD_REQUEST"

    def __init__(self, sentence: str = "The request is not well-formed HTTP.") -> None:
        super().__init__(sentence)


class MethodUnknown(UploadError):
    """A method that this server has never heard of."""

    code = "ERR_METHOD_UNKNOWN"

    def __init__(self) -> None:
        super().__init__("The request's method is not known to this server.")


class HeadersTooLarge(UploadError):
    """Header fields over the server's bound."""

    code = "ERR_HEADERS_TOO_LARGE"

    def __init__(self) -> None:
        super().__init__("The header fields of the request are too large.")


class ExpectationFailed(UploadError):
    """``Expect`` with anything but ``100-continue``."""

    code = "ERR_EXPECTATION_FAILED"

    def __init__(self) -> None:
        super().__init__("The only expectation met here is 100-continue.")
