"""tus 1.0.0: from header text to a command, from an outcome or an error to an answer.

Extensions: creation, creation-with-upload, creation-defer-length, termination, and expiration
where uploads expire. Checksums are not offered: an ``Upload-Checksum`` is ignored, as the text
allows for an extension that is not advertised (one known client sends values that no server could
verify). ``Upload-Concat`` is refused: a client must not believe that it made a part.
"""

from collections.abc import Mapping
from typing import Final

from tusd_py.core import errors as e
from tusd_py.core.commands import AppendBytes, CreateUpload
from tusd_py.core.errors import UploadError
from tusd_py.core.ids import UploadId
from tusd_py.core.upload import Status, Upload
from tusd_py.protocol import headers as h
from tusd_py.protocol.answers import Answer, Header, build_refusal

VERSION: Final = "1.0.0"
PROTOCOL: Final = "tus1"
EXTENSIONS: Final = (
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "termination",
)
EXPIRATION: Final = "expiration"
ENDPOINT_METHODS: Final = ("POST", "OPTIONS")
UPLOAD_METHODS: Final = ("HEAD", "PATCH", "DELETE", "OPTIONS")

STATUS: Final[Mapping[type[UploadError], int]] = {
    e.InvalidHeader: 400,
    e.MissingHeader: 400,
    e.InvalidMetadata: 400,
    e.LengthMissing: 400,
    e.LengthConflict: 400,
    e.UnsupportedVersion: 412,
    e.UnsupportedMediaType: 415,
    e.MethodNotAllowed: 405,
    e.UnsupportedExtension: 400,
    e.BodyMalformed: 400,
    e.TokenInvalid: 401,
    e.VideoMismatch: 403,
    e.ClientMismatch: 403,
    e.TokenTooNarrow: 403,
    e.TypeNotAllowed: 403,
    # 404 also for what is lost: Android's client starts anew on it, and gives up on 410.
    e.UploadUnknown: 404,
    e.UploadDamaged: 404,
    e.UploadTooLarge: 413,
    e.OffsetMismatch: 409,
    e.BodyTooLong: 413,
    e.UploadIsFinal: 403,
    # 423 and not 409: the Java and Android clients retry the former only.
    e.UploadLocked: 423,
    e.UploadHandedOver: 423,
    e.LeaseLost: 423,
    e.GateRefused: 403,
    e.GateFailed: 503,
    e.StorageFull: 507,
    e.StorageFailed: 503,
    e.StateUnavailable: 503,
    e.ServerStopping: 503,
    e.BodyTooSlow: 503,
    # Nobody reads it, but for a client that closed its sending half only.
    e.ClientGone: 400,
    e.TooManyRequests: 429,
    e.InternalError: 500,
    e.NotFound: 404,
    e.BadRequest: 400,
    e.MethodUnknown: 501,
    e.HeadersTooLarge: 431,
    e.ExpectationFailed: 417,
}
"""Every error's status; ``GateRefused`` brings its own, this is what counts where that is none."""

REFUSALS: Final = (e.TokenInvalid, e.VideoMismatch, e.ClientMismatch)
"""The platform's refusals: an operator may give all of them one status."""
HEAD_STATUSES: Final = frozenset({401, 403, 404, 405, 412, 423})
"""tus-js-client starts from byte 0 after a HEAD that is answered with anything but 2xx or 423."""
HEAD_RETRY_SECONDS: Final = 1.0

RESUMABLE: Final[Header] = (h.TUS_RESUMABLE, VERSION)
_NO_STORE: Final[Header] = (h.CACHE_CONTROL, "no-store")
_DEFERRED: Final[Header] = (h.UPLOAD_DEFER_LENGTH, "1")


# ------------------------------------------------------------------ requests


def check_version(fields: h.Fields) -> None:
    """tus 1.0: a request whose version is not supported "MUST NOT" be processed. One without the
    header is not known to be tus at all."""
    if any(line.strip() != VERSION for line in fields.getall(h.TUS_RESUMABLE, [""])):
        raise e.UnsupportedVersion(VERSION)


def parse_create(
    fields: h.Fields, announced_bytes: int | None, *, max_metadata_bytes: int
) -> CreateUpload:
    """The creation a POST asks for. A body counts with the protocol's media type only."""
    if h.single(fields, h.UPLOAD_CONCAT) is not None:
        raise e.UnsupportedExtension("concatenation")
    if announced_bytes != 0:
        _check_media_type(fields)
    return CreateUpload(
        length=_parse_new_length(fields),
        metadata=h.parse_metadata(
            fields.getall(h.UPLOAD_METADATA, []), max_bytes=max_metadata_bytes
        ),
        announced_bytes=announced_bytes,
        protocol=PROTOCOL,
    )


def _parse_new_length(fields: h.Fields) -> int | None:
    length = h.single(fields, h.UPLOAD_LENGTH)
    deferred = h.single(fields, h.UPLOAD_DEFER_LENGTH)
    if deferred is not None:
        h.parse_defer_length(deferred)
        if length is not None:
            raise e.InvalidHeader(h.UPLOAD_DEFER_LENGTH, f"absent where {h.UPLOAD_LENGTH} is given")
        return None
    if length is None:
        raise e.LengthMissing()
    return h.parse_bytes(h.UPLOAD_LENGTH, length)


def parse_append(fields: h.Fields, upload_id: UploadId, announced_bytes: int | None) -> AppendBytes:
    """What a PATCH asks for."""
    _check_media_type(fields)
    offset = h.single(fields, h.UPLOAD_OFFSET)
    if offset is None:
        raise e.MissingHeader(h.UPLOAD_OFFSET)
    length = h.single(fields, h.UPLOAD_LENGTH)
    return AppendBytes(
        upload_id=upload_id,
        offset=h.parse_bytes(h.UPLOAD_OFFSET, offset),
        announced_bytes=announced_bytes,
        declared_length=None if length is None else h.parse_bytes(h.UPLOAD_LENGTH, length),
    )


def _check_media_type(fields: h.Fields) -> None:
    if h.parse_media_type(h.single(fields, h.CONTENT_TYPE)) != h.OFFSET_OCTET_STREAM:
        raise e.UnsupportedMediaType(h.OFFSET_OCTET_STREAM)


# ------------------------------------------------------------------ answers


def build_options(*, max_bytes: int | None, can_expire: bool) -> Answer:
    """What this server offers: the same for every OPTIONS, so made once."""
    extensions = (*EXTENSIONS, EXPIRATION) if can_expire else EXTENSIONS
    headers = [(h.TUS_VERSION, VERSION), (h.TUS_EXTENSION, ",".join(extensions))]
    if max_bytes is not None:
        headers.append((h.TUS_MAX_SIZE, h.build_bytes(max_bytes)))
    return Answer(204, tuple(headers))


def build_created(upload: Upload, location: str) -> Answer:
    return Answer(201, ((h.LOCATION, location), *_progress(upload)))


def build_appended(upload: Upload) -> Answer:
    return Answer(204, _progress(upload))


def build_terminated() -> Answer:
    return Answer(204, (RESUMABLE,))


def build_offset(upload: Upload) -> Answer:
    """The answer to HEAD. 200, exactly: some clients take no other."""
    length = _DEFERRED if upload.length is None else (h.UPLOAD_LENGTH, h.build_bytes(upload.length))
    headers = (*_progress(upload), length, _NO_STORE)
    if upload.metadata.wire:
        headers = (*headers, (h.UPLOAD_METADATA, h.build_metadata(upload.metadata)))
    return Answer(200, headers)


def _progress(upload: Upload) -> tuple[Header, ...]:
    offset = (h.UPLOAD_OFFSET, h.build_bytes(upload.offset))
    # What has all its bytes does not expire any more.
    if upload.expires_at is None or upload.status is not Status.RECEIVING:
        return (RESUMABLE, offset)
    return (RESUMABLE, offset, (h.UPLOAD_EXPIRES, h.build_date(upload.expires_at)))


def build_error(
    error: UploadError, *, method: str, request_id: str, refusal_status: int | None = None
) -> Answer:
    """The answer to a request that was not carried out. ``method``: the effective one."""
    status = status_of(error, refusal_status)
    retry_seconds = error.retry_after_seconds
    if method == "HEAD" and status not in HEAD_STATUSES:
        # Its own status where the operator's is none that a HEAD may have.
        status = status_of(error, None)
        if status not in HEAD_STATUSES:
            status = 423
            retry_seconds = retry_seconds or HEAD_RETRY_SECONDS
    headers: list[Header] = [] if method == "OPTIONS" else [RESUMABLE]
    if retry_seconds is not None:
        headers.append((h.RETRY_AFTER, h.build_retry_after(retry_seconds)))
    if status == 401:
        headers.append((h.WWW_AUTHENTICATE, "Bearer"))
    if method == "HEAD":
        headers.append(_NO_STORE)
    headers.extend(_particulars(error))
    return build_refusal(error, status, tuple(headers), request_id)


def status_of(error: UploadError, refusal_status: int | None) -> int:
    """The status of ``error``; ``refusal_status`` is the operator's for the token refusals."""
    if refusal_status is not None and isinstance(error, REFUSALS):
        return refusal_status
    if isinstance(error, e.GateRefused) and 400 <= error.status <= 599:
        return error.status
    # A service may have an error of its own that says more to it, and the same to a client.
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def _particulars(error: UploadError) -> tuple[Header, ...]:
    match error:
        case e.UnsupportedVersion():
            return ((h.TUS_VERSION, VERSION),)
        case e.MethodNotAllowed(allowed=allowed):
            return ((h.ALLOW, ", ".join(allowed)),)
        case e.OffsetMismatch(stored=stored):
            return ((h.UPLOAD_OFFSET, h.build_bytes(stored)),)
        case _:
            return ()
