"""tus 1.0.0: from header text to a command, from an outcome or an error to an answer.

All extensions; expiration where uploads expire.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from tusd_py.core import errors as e
from tusd_py.core.commands import AppendBytes, CreateUpload, ReadOffset, Terminate
from tusd_py.core.digests import Algorithm, Digest, Promise
from tusd_py.core.errors import UploadError
from tusd_py.core.ids import UploadId
from tusd_py.core.upload import Kind, Status, Upload
from tusd_py.protocol import headers as h
from tusd_py.protocol.answers import Answer, Header, build_refusal
from tusd_py.protocol.base import Asked, Terms, Translator
from tusd_py.protocol.digest_fields import parse_checksum
from tusd_py.protocol.refusals import NO_STORE, Statuses

VERSION: Final = "1.0.0"
PROTOCOL: Final = "tus1"
EXTENSIONS: Final = (
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "termination",
    "checksum",
    "checksum-trailer",
    "concatenation",
    "concatenation-unfinished",
)
EXPIRATION: Final = "expiration"
ENDPOINT_METHODS: Final = ("POST", "OPTIONS")
FINAL_PREFIX: Final = "final;"

STATUS: Final[Mapping[type[UploadError], int]] = {
    e.InvalidHeader: 400,
    e.MissingHeader: 400,
    e.InvalidMetadata: 400,
    e.LengthMissing: 400,
    e.LengthConflict: 400,
    e.UnsupportedVersion: 412,
    e.UnsupportedMediaType: 415,
    e.MethodNotAllowed: 405,
    e.ChecksumUnsupported: 400,
    e.ChecksumMismatch: 460,
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
    e.UploadFinished: 400,
    e.PartUnusable: 400,
    e.WholeDigestMismatch: 460,
    e.BytesGone: 410,
    e.RangeUnsatisfiable: 416,
    e.PreconditionFailed: 412,
    e.FormInvalid: 400,
    e.TooManyWatchers: 503,
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
    e.CreationDelayed: 503,
    e.InternalError: 500,
    e.NotFound: 404,
    e.BadRequest: 400,
    e.MethodUnknown: 501,
    e.HeadersTooLarge: 431,
    e.ExpectationFailed: 417,
}
"""Every error's status; ``GateRefused`` brings its own, this is what counts where that is none."""

STATUSES: Final = Statuses(STATUS, on_head=frozenset({401, 403, 404, 405, 412, 423}))
"""tus-js-client starts from byte 0 after a HEAD that is answered with anything but 2xx or 423."""

RESUMABLE: Final[Header] = (h.TUS_RESUMABLE, VERSION)
_DEFERRED: Final[Header] = (h.UPLOAD_DEFER_LENGTH, "1")


# ------------------------------------------------------------------ requests


def check_version(fields: h.Fields) -> None:
    """tus 1.0: a request whose version is not supported "MUST NOT" be processed. One without the
    header is not known to be tus at all."""
    if any(line.strip() != VERSION for line in fields.getall(h.TUS_RESUMABLE, [""])):
        raise e.UnsupportedVersion(VERSION)


@dataclass(frozen=True, slots=True)
class Concat:
    """A parsed ``Upload-Concat``."""

    kind: Kind
    parts: tuple[UploadId, ...] = ()
    wire: str | None = None


class Tus1(Translator):
    """tus 1.0.0."""

    name: ClassVar[str] = PROTOCOL

    def __init__(self, terms: Terms) -> None:
        self._terms = terms

    def check(self, asked: Asked) -> None:
        check_version(asked.fields)
        if asked.method == "PUT":
            raise e.MethodNotAllowed(ENDPOINT_METHODS)

    def parse_create(self, asked: Asked) -> CreateUpload:
        """The creation a POST asks for. A body counts with the protocol's media type only."""
        fields = asked.fields
        concat = self._parse_concat(fields)
        has_body = asked.announced_bytes != 0
        if has_body:
            if concat.kind is Kind.FINAL:
                raise e.UploadIsFinal()
            _check_media_type(fields)
        return CreateUpload(
            length=_parse_new_length(fields, is_final=concat.kind is Kind.FINAL),
            metadata=h.parse_metadata(
                fields.getall(h.UPLOAD_METADATA, []), max_bytes=self._terms.max_metadata_bytes
            ),
            announced_bytes=asked.announced_bytes,
            kind=concat.kind,
            parts=concat.parts,
            concat=concat.wire,
            protocol=PROTOCOL,
            promise=self._parse_promise(asked) if has_body else None,
        )

    def parse_append(self, asked: Asked, upload_id: UploadId) -> AppendBytes:
        fields = asked.fields
        _check_media_type(fields)
        offset = h.single(fields, h.UPLOAD_OFFSET)
        if offset is None:
            raise e.MissingHeader(h.UPLOAD_OFFSET)
        length = h.single(fields, h.UPLOAD_LENGTH)
        return AppendBytes(
            upload_id=upload_id,
            offset=h.parse_bytes(h.UPLOAD_OFFSET, offset),
            announced_bytes=asked.announced_bytes,
            declared_length=None if length is None else h.parse_bytes(h.UPLOAD_LENGTH, length),
            promise=self._parse_promise(asked),
        )

    def parse_read(self, asked: Asked, upload_id: UploadId) -> ReadOffset:
        return ReadOffset(upload_id=upload_id)

    def parse_terminate(self, asked: Asked, upload_id: UploadId) -> Terminate:
        return Terminate(upload_id=upload_id)

    def _parse_concat(self, fields: h.Fields) -> Concat:
        """tus 1.0, "Concatenation": ``partial``, or ``final;`` and URLs with spaces between."""
        wire = h.single(fields, h.UPLOAD_CONCAT)
        if wire is None:
            return Concat(Kind.SINGLE)
        if wire == "partial":
            return Concat(Kind.PARTIAL, wire=wire)
        urls = wire[len(FINAL_PREFIX) :].split() if wire.startswith(FINAL_PREFIX) else []
        # An URL is ASCII, and what HEAD repeats has to fit into a header again.
        if not urls or not wire.isascii():
            raise e.InvalidHeader(h.UPLOAD_CONCAT, '"partial", or "final;" and a list of URLs')
        parts = tuple(part for url in urls if (part := self._terms.locate(url)) is not None)
        if len(parts) != len(urls):
            raise e.PartUnusable()
        return Concat(Kind.FINAL, parts, wire)

    def _parse_promise(self, asked: Asked) -> Promise | None:
        """tus 1.0, "Checksum": in the head, or in the trailer section where one was announced."""
        digest = self._parse_checksum(asked, asked.fields)
        digests = () if digest is None else (digest,)
        announced = ",".join(asked.fields.getall(h.TRAILER, []))
        names = {name.strip().lower() for name in announced.split(",")}
        if h.UPLOAD_CHECKSUM.lower() not in names or asked.announced_bytes is not None:
            return Promise(digests=digests) if digests else None

        def trailer() -> tuple[Digest, ...]:
            late = self._parse_checksum(asked, asked.trailers())
            return () if late is None else (late,)

        return Promise(digests=digests, trailer=trailer)

    def _parse_checksum(self, asked: Asked, fields: h.Fields) -> Digest | None:
        text = h.single(fields, h.UPLOAD_CHECKSUM)
        if text is None:
            return None
        found = parse_checksum(text)
        if isinstance(found, Digest):
            return found
        if not self._terms.ignores_hex_checksums:
            raise e.InvalidHeader(h.UPLOAD_CHECKSUM, "the Base64 of the digest's bytes")
        asked.remark("checksum_ignored")
        return None

    # -------------------------------------------------------------- answers

    def build_created(self, asked: Asked, upload: Upload, location: str) -> Answer:
        return Answer(201, ((h.LOCATION, location), *_progress(upload)))

    def build_appended(self, asked: Asked, upload: Upload) -> Answer:
        return Answer(204, _progress(upload))

    def build_terminated(self, asked: Asked) -> Answer:
        return Answer(204, (RESUMABLE,))

    def build_offset(self, asked: Asked, upload: Upload) -> Answer:
        """200, exactly: some clients take no other."""
        return Answer(200, (*_progress(upload), *facts_of(upload), NO_STORE))

    def build_error(
        self, error: UploadError, *, method: str, request_id: str, refusal_status: int | None = None
    ) -> Answer:
        return build_error(
            error, method=method, request_id=request_id, refusal_status=refusal_status
        )


def _parse_new_length(fields: h.Fields, *, is_final: bool) -> int | None:
    length = h.single(fields, h.UPLOAD_LENGTH)
    deferred = h.single(fields, h.UPLOAD_DEFER_LENGTH)
    if deferred is not None:
        h.parse_defer_length(deferred)
        if length is not None:
            raise e.InvalidHeader(h.UPLOAD_DEFER_LENGTH, f"absent where {h.UPLOAD_LENGTH} is given")
        return None
    if length is None:
        if is_final:
            return None  # the sum of its parts'
        raise e.LengthMissing()
    return h.parse_bytes(h.UPLOAD_LENGTH, length)


def _check_media_type(fields: h.Fields) -> None:
    if h.parse_media_type(h.single(fields, h.CONTENT_TYPE)) != h.OFFSET_OCTET_STREAM:
        raise e.UnsupportedMediaType(h.OFFSET_OCTET_STREAM)


# ------------------------------------------------------------------ answers


def build_offer(terms: Terms) -> tuple[Header, ...]:
    """What this server offers, for every OPTIONS."""
    extensions = EXTENSIONS if terms.expire_seconds is None else (*EXTENSIONS, EXPIRATION)
    headers = [
        (h.TUS_VERSION, VERSION),
        (h.TUS_EXTENSION, ",".join(extensions)),
        (h.TUS_CHECKSUM_ALGORITHM, ",".join(Algorithm)),
    ]
    if terms.max_bytes is not None:
        headers.append((h.TUS_MAX_SIZE, h.build_bytes(terms.max_bytes)))
    return tuple(headers)


def facts_of(upload: Upload) -> tuple[Header, ...]:
    """What HEAD tells besides the offset."""
    headers: list[Header] = []
    if upload.length is not None:
        headers.append((h.UPLOAD_LENGTH, h.build_bytes(upload.length)))
    elif upload.kind is not Kind.FINAL:
        headers.append(_DEFERRED)
    if upload.concat is not None:
        headers.append((h.UPLOAD_CONCAT, upload.concat))
    if upload.metadata.wire:
        headers.append((h.UPLOAD_METADATA, h.build_metadata(upload.metadata)))
    return tuple(headers)


def _progress(upload: Upload) -> tuple[Header, ...]:
    headers = [RESUMABLE]
    if upload.status is not Status.JOINING:
        # "SHOULD NOT contain Upload-Offset unless the concatenation has been successfully finished"
        headers.append((h.UPLOAD_OFFSET, h.build_bytes(upload.offset)))
    if upload.expires_at is not None and upload.can_expire:
        headers.append((h.UPLOAD_EXPIRES, h.build_date(upload.expires_at)))
    return tuple(headers)


def build_error(
    error: UploadError, *, method: str, request_id: str, refusal_status: int | None = None
) -> Answer:
    """The answer to a request that was not carried out. ``method``: the effective one."""
    status, common = STATUSES.judge(error, method=method, refusal_status=refusal_status)
    version = () if method == "OPTIONS" else (RESUMABLE,)
    return build_refusal(error, status, (*version, *common, *_particulars(error)), request_id)


def _particulars(error: UploadError) -> tuple[Header, ...]:
    match error:
        case e.UnsupportedVersion():
            return ((h.TUS_VERSION, VERSION),)
        case e.OffsetMismatch(stored=stored):
            return ((h.UPLOAD_OFFSET, h.build_bytes(stored)),)
        case _:
            return ()
