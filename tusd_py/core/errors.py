"""Everything an upload request can be refused for.

Each error is a class with a stable code and one sentence for the client. The numbers that disagree
are attributes. A protocol's own table gives each class its status; nothing here knows of HTTP.
"""

from typing import ClassVar

from tusd_py.core.digests import Algorithm


class UploadError(Exception):
    """A request that is not carried out. ``str(error)`` is a sentence fit for the client."""

    code: ClassVar[str]
    retry_after_seconds: float | None = None
    """When the same request may succeed, where that is known."""
    offset: int | None = None
    """How far the upload has come, where that is known and it can be gone on with."""


# ------------------------------------------------------------------ what the client wrote


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


# ------------------------------------------------------------------ who asks


class TokenInvalid(UploadError):
    """No token, or one that cannot be trusted."""

    code = "ERR_TOKEN_INVALID"

    def __init__(self, shown: str) -> None:  # its beginning, or "null"
        super().__init__(f"token invalid ({shown})")


class VideoMismatch(UploadError):
    """A token for another video."""

    code = "ERR_TOKEN_VIDEO"

    def __init__(self, *, token: str, metadata: str) -> None:
        super().__init__(f"token video ({token}) does not match this video ({metadata})")


class ClientMismatch(UploadError):
    """A token for another client."""

    code = "ERR_TOKEN_CLIENT"

    def __init__(self, *, token: str, metadata: str) -> None:
        super().__init__(f"token client ({token}) does not match this client ({metadata})")


class TokenTooNarrow(UploadError):
    """A token that is valid and does not allow this: its scope, or ``once`` that is used up."""

    code = "ERR_TOKEN_SCOPE"

    def __init__(self, why: str) -> None:
        super().__init__(f"The token does not allow this: {why}.")


class TypeNotAllowed(UploadError):
    """A file type outside the token's ``allowed_types``."""

    code = "ERR_TYPE_NOT_ALLOWED"

    def __init__(self) -> None:
        super().__init__("The token does not allow files of this type (metadata key filetype).")


# ------------------------------------------------------------------ the upload itself


class UploadUnknown(UploadError):
    """No such upload: never made, terminated, expired, or refused by the finish gate."""

    code = "ERR_UPLOAD_UNKNOWN"

    def __init__(self) -> None:
        super().__init__("There is no such upload.")


class UploadTooLarge(UploadError):
    """A file longer than the server or the token allows."""

    code = "ERR_UPLOAD_TOO_LARGE"

    def __init__(self, *, max_bytes: int) -> None:
        super().__init__(f"Uploads of more than {max_bytes} bytes are not accepted.")
        self.max_bytes = max_bytes


class OffsetMismatch(UploadError):
    """The request starts where the upload does not end."""

    code = "ERR_OFFSET_MISMATCH"

    def __init__(self, *, stored: int, requested: int) -> None:
        super().__init__(f"The upload is at offset {stored}, the request starts at {requested}.")
        self.stored = stored
        self.requested = requested


class BodyTooLong(UploadError):
    """More bytes than the upload has room for."""

    code = "ERR_BODY_TOO_LONG"

    def __init__(self, *, room: int, offset: int) -> None:
        super().__init__(f"The upload has room for {room} more bytes, the body is longer.")
        self.room = room
        self.offset = offset


class UploadIsFinal(UploadError):
    """A concatenation's final upload takes no bytes."""

    code = "ERR_UPLOAD_IS_FINAL"

    def __init__(self) -> None:
        super().__init__("A final upload is joined of its parts; it takes no bytes.")


class UploadFinished(UploadError):
    """An append to an upload that is complete, in a protocol that refuses it in any case."""

    code = "ERR_UPLOAD_FINISHED"

    def __init__(self, offset: int) -> None:
        super().__init__("The upload is complete and takes no more bytes.")
        self.offset = offset


class PartUnusable(UploadError):
    """A part of a concatenation that does not exist, is no partial upload, or is not the
    client's own."""

    code = "ERR_PART_UNUSABLE"

    def __init__(self) -> None:
        super().__init__("A part named in Upload-Concat is no partial upload of this client.")


class WholeDigestMismatch(UploadError):
    """The whole file does not hash to what its creation said: it is rejected."""

    code = "ERR_DIGEST_MISMATCH"

    def __init__(self) -> None:
        super().__init__("The file received does not match the digest it was announced with.")


class BytesGone(UploadError):
    """The record is there and the bytes are not (any more): a hook took them away."""

    code = "ERR_BYTES_GONE"

    def __init__(self) -> None:
        super().__init__("The bytes of this upload are not kept here any more.")


class RangeUnsatisfiable(UploadError):
    """A range that the file does not have."""

    code = "ERR_RANGE"

    def __init__(self, length: int) -> None:
        super().__init__(f"The file has {length} bytes; none of them is in the range asked for.")
        self.length = length


class PreconditionFailed(UploadError):
    """The file is not in the state that the request names as its condition."""

    code = "ERR_PRECONDITION_FAILED"

    def __init__(self) -> None:
        super().__init__("The file is not the one that the request's conditions name.")


class FormInvalid(UploadError):
    """A multipart form that cannot be read, or that lacks what is needed."""

    code = "ERR_FORM_INVALID"

    def __init__(self, why: str) -> None:
        super().__init__(f"The form cannot be used: {why}.")


class TooManyWatchers(UploadError):
    """More event streams than the server keeps open at once."""

    code = "ERR_TOO_MANY_WATCHERS"
    retry_after_seconds = 10.0

    def __init__(self) -> None:
        super().__init__("Too many event streams are open; ask for the status instead.")


class UploadLocked(UploadError):
    """Somebody else holds the lease and did not let go in time, or none may be given yet."""

    code = "ERR_UPLOAD_LOCKED"

    def __init__(self, retry_after_seconds: float = 1.0) -> None:
        super().__init__("The upload is in use by another request; try again in a moment.")
        self.retry_after_seconds = retry_after_seconds


class UploadHandedOver(UploadError):
    """This request was writing and let go, because a newer one asked. What arrived was kept."""

    code = "ERR_UPLOAD_HANDED_OVER"

    def __init__(self) -> None:
        super().__init__("A newer request for this upload took over; what arrived was kept.")


class LeaseLost(UploadError):
    """The lease ran out or was given to somebody else: nothing more is written or committed."""

    code = "ERR_LEASE_LOST"

    def __init__(self) -> None:
        super().__init__("The right to write this upload was lost meanwhile; ask for its offset.")


class UploadDamaged(UploadError):
    """Bytes that were acknowledged are gone; the upload cannot be used any more."""

    code = "ERR_UPLOAD_DAMAGED"

    def __init__(self) -> None:
        super().__init__("Stored bytes of this upload were lost; start it anew.")


# ------------------------------------------------------------------ the server's own limits


class GateRefused(UploadError):
    """A gate said no. Its own status and sentence go to the client."""

    code = "ERR_REFUSED_BY_GATE"

    def __init__(self, *, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class GateFailed(UploadError):
    """A gate gave no answer: neither yes nor no. It will be asked again."""

    code = "ERR_GATE_FAILED"
    retry_after_seconds = 2.0

    def __init__(self) -> None:
        super().__init__("The upload could not be checked just now; try again in a moment.")


class StorageFull(UploadError):
    """Less space is free than the server keeps in reserve."""

    code = "ERR_STORAGE_FULL"

    def __init__(self) -> None:
        super().__init__("The server has no space for more bytes just now; what arrived was kept.")


class StorageFailed(UploadError):
    """The byte store answered with an error; its detail is in the log."""

    code = "ERR_STORAGE_FAILED"
    retry_after_seconds = 2.0

    def __init__(self) -> None:
        super().__init__("The bytes could not be stored just now; ask for the offset and go on.")


class StateUnavailable(UploadError):
    """The state store cannot be asked just now."""

    code = "ERR_STATE_UNAVAILABLE"
    retry_after_seconds = 2.0

    def __init__(self) -> None:
        super().__init__("The state of uploads is out of reach just now; try again in a moment.")


class ServerStopping(UploadError):
    """The server is being stopped; another one, or the next one, goes on."""

    code = "ERR_SERVER_STOPPING"
    retry_after_seconds = 1.0

    def __init__(self) -> None:
        super().__init__("The server is stopping; what arrived was kept, go on in a moment.")


class BodyTooSlow(UploadError):
    """No bytes for too long, or fewer than the minimum rate. What arrived was kept."""

    code = "ERR_BODY_TOO_SLOW"

    def __init__(self) -> None:
        super().__init__("The body came too slowly; what arrived was kept, ask for the offset.")


class ClientGone(UploadError):
    """The client hung up before its request was complete: nobody reads the answer."""

    code = "ERR_CLIENT_GONE"

    def __init__(self) -> None:
        super().__init__("The client hung up before the body was complete; what arrived was kept.")


class TooManyRequests(UploadError):
    """More creations than the client is allowed in this time."""

    code = "ERR_TOO_MANY_REQUESTS"

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__("Too many uploads were created in a short time; try again later.")
        self.retry_after_seconds = retry_after_seconds


class InternalError(UploadError):
    """A fault of the server's own; the log has it under the request's id."""

    code = "ERR_INTERNAL"

    def __init__(self) -> None:
        super().__init__("The server failed at this request; the fault was logged.")


# ------------------------------------------------------------------ HTTP before any upload is meant


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
