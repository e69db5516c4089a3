"""Resumable Uploads for HTTP, the IETF's successor of tus: interop versions 3 to 8 of its drafts.

One translator for all of them; a row of ``rufh_versions`` says what its own is like. The fields
are structured ones (RFC 9651): a value of another type is no value at all, "Other values MUST
cause the entire header field to be ignored".
"""

import base64
from typing import ClassVar, Final

from tusd_py.core import errors as e
from tusd_py.core.commands import AppendBytes, Completion, CreateUpload, ReadOffset, Terminate
from tusd_py.core.digests import Algorithm, Digest, Promise
from tusd_py.core.errors import UploadError
from tusd_py.core.ids import UploadId
from tusd_py.core.metadata import Metadata
from tusd_py.core.upload import GONE, Upload
from tusd_py.protocol import headers as h
from tusd_py.protocol.answers import Answer, Header
from tusd_py.protocol.base import Asked, Terms, Translator
from tusd_py.protocol.digest_fields import build_repr_digest, parse_digests, parse_wanted
from tusd_py.protocol.problems import STATUSES, build_problem
from tusd_py.protocol.refusals import NO_STORE
from tusd_py.protocol.representation import parse_representation
from tusd_py.protocol.rufh_versions import NEWEST, Row
from tusd_py.protocol.structured import (
    MAX_INTEGER,
    build_boolean,
    build_dictionary,
    build_integer,
    parse_boolean_item,
    parse_integer_item,
)

PROTOCOL: Final = "rufh"
RESUMPTION_SUPPORTED: Final = 104
SENDING: Final = frozenset({"POST", "PUT", "PATCH"})
"""Methods whose answers say whether they come from the resource or from this protocol."""


class Rufh(Translator):
    """One interop version."""

    name: ClassVar[str] = PROTOCOL

    def __init__(self, terms: Terms, row: Row) -> None:
        self._terms = terms
        self.row = row
        self._named: Header = (h.UPLOAD_DRAFT_INTEROP_VERSION, str(row.version))
        """On every answer, as phones have it from their maker's own server; 104s need it."""

    # -------------------------------------------------------------- requests

    def parse_create(self, asked: Asked) -> CreateUpload:
        """An upload of any request with content.

        One that does not say whether its content is everything is, like every HTTP request, a
        whole one. Without content it might mean anything, an empty file least of all: 400.
        """
        fields = asked.fields
        has_body = asked.announced_bytes != 0
        completion = self._completion(fields)
        if completion is None:
            if not has_body:
                raise e.MissingHeader(self.row.completion_field)
            completion = Completion.NOW
        if _count(fields, h.UPLOAD_OFFSET):
            # Whoever means to go on at an offset would get a new file of the rest.
            raise e.InvalidHeader(h.UPLOAD_OFFSET, "absent in a creation")
        return CreateUpload(
            length=_length(asked, 0, completion),
            metadata=self._metadata(fields),
            announced_bytes=asked.announced_bytes,
            protocol=PROTOCOL,
            completion=completion,
            promise=_promise(asked) if has_body else None,
            promised_digests=parse_digests(h.REPR_DIGEST, fields.getall(h.REPR_DIGEST, [])),
            wanted_digests=parse_wanted(fields.getall(h.WANT_REPR_DIGEST, [])),
            is_strict=True,
        )

    def parse_append(self, asked: Asked, upload_id: UploadId) -> AppendBytes:
        fields, row = asked.fields, self.row
        if row.needs_media_type:
            media_type = h.parse_media_type(h.single(fields, h.CONTENT_TYPE))
            if media_type != h.PARTIAL_UPLOAD:
                raise e.UnsupportedMediaType(h.PARTIAL_UPLOAD)
        offset = _count(fields, h.UPLOAD_OFFSET)
        if offset is None:
            raise e.MissingHeader(h.UPLOAD_OFFSET)
        completion = self._completion(fields)
        if completion is None:
            if not row.unsaid_end_is_one:
                raise e.MissingHeader(row.completion_field)
            completion = Completion.NOW
        return AppendBytes(
            upload_id=upload_id,
            offset=offset,
            announced_bytes=asked.announced_bytes,
            declared_length=_length(asked, offset, completion),
            completion=completion,
            promise=_promise(asked),
            wanted_digests=parse_wanted(fields.getall(h.WANT_REPR_DIGEST, [])),
            is_strict=True,
            refuses_finished=row.refuses_finished,
        )

    def parse_read(self, asked: Asked, upload_id: UploadId) -> ReadOffset:
        self._check_question(asked)
        return ReadOffset(upload_id=upload_id, completion=Completion.LATER)

    def parse_terminate(self, asked: Asked, upload_id: UploadId) -> Terminate:
        self._check_question(asked)
        return Terminate(upload_id=upload_id)

    def _check_question(self, asked: Asked) -> None:
        check_question(asked)
        if self.row.length_is_no_question and _count(asked.fields, h.UPLOAD_LENGTH) is not None:
            raise e.InvalidHeader(h.UPLOAD_LENGTH, f"absent in {asked.method}")

    def _completion(self, fields: h.Fields) -> Completion | None:
        """None: nothing (that has a meaning) is said."""
        said = parse_boolean_item(fields.getall(self.row.completion_field, []))
        if said is None:
            return None
        if said != self.row.is_inverted:
            return Completion.NOW
        return Completion.AT_LENGTH if self.row.length_completes else Completion.LATER

    def _metadata(self, fields: h.Fields) -> Metadata:
        """tus's field where it is sent (tus-js-client does in every mode), else HTTP's own."""
        lines = fields.getall(h.UPLOAD_METADATA, [])
        sent = h.parse_metadata(lines, max_bytes=self._terms.max_metadata_bytes)
        return sent if sent.wire else parse_representation(fields)

    # -------------------------------------------------------------- answers

    def build_created(self, asked: Asked, upload: Upload, location: str) -> Answer:
        """201 also for a whole upload: that is what the resource it was sent to has to say."""
        if not upload.is_complete and self._completion(asked.fields) in (None, Completion.NOW):
            raise _found_unfinished(upload, location)
        headers = (self._named, (h.LOCATION, location), *self._state_of(upload))
        return Answer(201, (*headers, *self.limits_of(upload), *digests_of(asked, upload)))

    def build_appended(self, asked: Asked, upload: Upload) -> Answer:
        """What completes an upload is answered like a creation that does: 201 without Location
        means the address that was asked."""
        status = 201 if upload.is_complete else self.row.part_status
        headers = (self._named, *self._state_of(upload), *digests_of(asked, upload))
        return Answer(status, headers)

    def build_terminated(self, asked: Asked) -> Answer:
        return Answer(204, (self._named,))

    def build_offset(self, asked: Asked, upload: Upload) -> Answer:
        """204, which every version allows and the oldest ones demand."""
        headers = [self._named, *self._state_of(upload), *self.limits_of(upload)]
        if upload.length is not None:
            headers.extend(_told(h.UPLOAD_LENGTH, upload.length))
        return Answer(204, (*headers, *digests_of(asked, upload), NO_STORE))

    def build_early(self, asked: Asked, upload: Upload, location: str) -> Answer | None:
        if not self._may_interrupt(asked):
            return None
        headers = (self._named, (h.LOCATION, location), *self.limits_of(upload))
        return Answer(RESUMPTION_SUPPORTED, headers)

    def build_progress(self, asked: Asked, upload: Upload) -> Answer | None:
        if not (self.row.has_progress and self._may_interrupt(asked)):
            return None
        offset = _told(h.UPLOAD_OFFSET, upload.offset)
        return Answer(RESUMPTION_SUPPORTED, (self._named, *offset)) if offset else None

    def build_error(
        self, error: UploadError, *, method: str, request_id: str, refusal_status: int | None = None
    ) -> Answer:
        status, common = STATUSES.judge(error, method=method, refusal_status=refusal_status)
        headers = (self._named, *common, *self._particulars(error, method))
        return build_problem(error, status, headers, request_id)

    def completeness_of(self, upload: Upload) -> Header:
        return self._completeness(upload.is_complete)

    def limits_of(self, upload: Upload) -> tuple[Header, ...]:
        """The bounds that held at the upload's creation, and the time it has left.

        "SHOULD NOT change in a way that causes failures": the first never does, and an upload's end
        is only ever put off."""
        left: float | None = None
        if upload.expires_at is not None and upload.can_expire:
            left = upload.expires_at - self._terms.now()
        return self._limit(upload.max_bytes, left)

    def _limit(self, max_bytes: int | None, seconds: float | None) -> tuple[Header, ...]:
        value = build_limit(self.row, max_bytes, seconds)
        return ((h.UPLOAD_LIMIT, value),) if value else ()

    def _state_of(self, upload: Upload) -> tuple[Header, ...]:
        return (*_told(h.UPLOAD_OFFSET, upload.offset), self.completeness_of(upload))

    def _completeness(self, is_complete: bool) -> Header:
        return (self.row.completion_field, build_boolean(is_complete != self.row.is_inverted))

    def _may_interrupt(self, asked: Asked) -> bool:
        """A 104 "MUST NOT" be sent "when the interop version […] is missing or mismatching"."""
        return asked.can_hear_interim and version_of(asked.fields) == self.row.version

    def _particulars(self, error: UploadError, method: str) -> tuple[Header, ...]:
        headers: list[Header] = []
        if method in SENDING:
            # True: the answer is the resource's, and going on would not change it. That is what a
            # gate says; everything else is between the client and this protocol.
            headers.append(self._completeness(isinstance(error, e.GateRefused)))
        match error:
            case e.OffsetMismatch(stored=offset, location=location):
                headers.extend(_told(h.UPLOAD_OFFSET, offset))
                if location is not None:
                    headers.append((h.LOCATION, location))
            case e.UploadTooLarge(max_bytes=max_bytes):
                headers.extend(self._limit(max_bytes, None))
            case e.UnsupportedMediaType():
                headers.append((h.ACCEPT_PATCH, h.PARTIAL_UPLOAD))
            case e.BodyTooLong():
                pass  # what contradicts its length has come to its end
            case UploadError(offset=int(offset)):
                headers.extend(_told(h.UPLOAD_OFFSET, offset))
            case _:
                pass
        return tuple(headers)


# ------------------------------------------------------------------ fields


def version_of(fields: h.Fields) -> int | None:
    """The interop version that is asked for; None where none is, or what is written is none."""
    return parse_integer_item(fields.getall(h.UPLOAD_DRAFT_INTEROP_VERSION, []))


def check_question(asked: Asked) -> None:
    """A HEAD or DELETE that carries what belongs to a transfer: the older drafts demand 400, and
    it is as much of a mistake in the newer ones."""
    fields = asked.fields
    if asked.method == "GET":
        return
    if _count(fields, h.UPLOAD_OFFSET) is not None:
        raise e.InvalidHeader(h.UPLOAD_OFFSET, f"absent in {asked.method}")
    for name in (h.UPLOAD_COMPLETE, h.UPLOAD_INCOMPLETE):
        if parse_boolean_item(fields.getall(name, [])) is not None:
            raise e.InvalidHeader(name, f"absent in {asked.method}")


def build_limit(row: Row, max_bytes: int | None, seconds: float | None) -> str:
    """The value of ``Upload-Limit``; empty where nothing is limited, or the version lacks it."""
    if row.age_key is None:
        return ""
    limits: dict[str, int] = {}
    if max_bytes is not None:
        limits["max-size"] = min(max_bytes, MAX_INTEGER)
    if seconds is not None:
        limits[row.age_key] = min(max(0, int(seconds)), MAX_INTEGER)
    return build_dictionary(limits) if limits else ""


def build_offer(terms: Terms) -> tuple[Header, ...]:
    """For every OPTIONS. Without any limits "it MUST use min-size=0 instead of an empty value"."""
    limit = build_limit(NEWEST, terms.max_bytes, terms.expire_seconds) or "min-size=0"
    return ((h.UPLOAD_LIMIT, limit), (h.ACCEPT_PATCH, h.PARTIAL_UPLOAD))


def _found_unfinished(upload: Upload, location: str) -> UploadError:
    """A token for one file was presented again, for a whole one, and this is what the first request
    left. The content was not read: its sender takes any success for that of the whole."""
    if upload.status in GONE:
        return e.TokenTooNarrow("its one file was refused or removed")
    mismatch = e.OffsetMismatch(stored=upload.offset, requested=0)
    mismatch.location = location
    return mismatch


def _told(name: str, number: int) -> tuple[Header, ...]:
    """Nothing where it has more digits than such a field can: a client could not read it."""
    return ((name, build_integer(number)),) if number <= MAX_INTEGER else ()


def _count(fields: h.Fields, name: str) -> int | None:
    return parse_integer_item(fields.getall(name, []))


def _length(asked: Asked, offset: int, completion: Completion) -> int | None:
    """How long the whole upload is, as this request indicates it in one or two ways, which "MUST
    match"."""
    declared = _count(asked.fields, h.UPLOAD_LENGTH)
    if completion is not Completion.NOW or asked.announced_bytes is None:
        return declared
    end = offset + asked.announced_bytes
    if declared is not None and declared != end:
        raise e.LengthConflict(stored=declared, requested=end)
    return end


def _promise(asked: Asked) -> Promise | None:
    """RFC 9530: ``Content-Digest``, in the head or in the trailer section."""
    digests = parse_digests(h.CONTENT_DIGEST, asked.fields.getall(h.CONTENT_DIGEST, []))
    if asked.announced_bytes is not None or not h.announces_trailer(asked.fields, h.CONTENT_DIGEST):
        return Promise(digests=digests) if digests else None

    def trailer() -> tuple[Digest, ...]:
        return parse_digests(h.CONTENT_DIGEST, asked.trailers().getall(h.CONTENT_DIGEST, []))

    return Promise(digests=digests, trailer=trailer)


def digests_of(asked: Asked, upload: Upload) -> tuple[Header, ...]:
    """What was wanted to be known of the whole file, as far as it is known."""
    wanted = parse_wanted(asked.fields.getall(h.WANT_REPR_DIGEST, []))
    known = [
        Digest(Algorithm(name), base64.b64decode(value))
        for name, value in upload.digests
        if name in wanted
    ]
    return ((h.REPR_DIGEST, build_repr_digest(known)),) if known else ()
