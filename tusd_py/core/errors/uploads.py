"""What the upload itself stands against."""

from tusd_py.core.errors.base import UploadError


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
        self.location: str | None = None
        """Where the upload is, if the request did not say so."""


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
    """A part of a concatenation that does not exist, is no partial upload, or another's."""

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
