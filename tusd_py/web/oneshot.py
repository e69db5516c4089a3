"""One-shot uploads: a form's files, or a body that is a file. See ``protocol.oneshot``.

The service is asked as it is by the other protocols, so tokens, limits, gates and events are the
same. What differs: the end of the file is the end of its upload, and an upload whose client hung up
stays, to be gone on with by tus.
"""

import logging
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

from tusd_py.core.commands import CreateUpload
from tusd_py.core.errors import (
    BodyMalformed,
    BodyTooLong,
    FormInvalid,
    OffsetMismatch,
    TokenTooNarrow,
    TypeNotAllowed,
    UploadError,
    UploadTooLarge,
)
from tusd_py.core.identity import Principal
from tusd_py.core.ids import UploadId
from tusd_py.core.metadata import Metadata
from tusd_py.core.upload import GONE, Upload
from tusd_py.protocol import headers as h
from tusd_py.protocol import oneshot
from tusd_py.protocol.answers import Answer
from tusd_py.protocol.base import Asked
from tusd_py.protocol.oneshot import Shape, Stored
from tusd_py.service.listening import Listener
from tusd_py.streams import ByteSource
from tusd_py.web.exchange import Exchange
from tusd_py.web.form_parts import FormLimits, parse_boundary
from tusd_py.web.forms import Form
from tusd_py.web.forwarded import PublicAddress

log = logging.getLogger(__name__)

MAX_OVERHEAD_BYTES: Final = 1024 * 1024
"""More than heads, fields and boundaries of a form may take."""
NO_METADATA: Final = Metadata()


class Creations(Protocol):
    """What is asked of ``service.uploads.Uploads``."""

    async def create(
        self, command: CreateUpload, principal: Principal, body: ByteSource, listener: Listener
    ) -> Upload: ...
    async def forget(self, upload_id: UploadId) -> None: ...


class CreationAccess(Protocol):
    """What is asked of ``service.access.Access``."""

    refusal_status: int | None

    async def for_creation(self, bearer: str | None, metadata: Metadata) -> Principal: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OneShotTerms:
    """The bounds of one-shot uploads."""

    max_bytes: int | None
    """The longest upload."""
    max_files: int
    """Of one form."""
    max_metadata_bytes: int
    origins: Collection[str]
    """Whose pages may upload."""


@dataclass(slots=True)
class _Progress:
    """How far a request has come: a ``service.listening.Listener``."""

    stored: list[Stored] = field(default_factory=list)
    """Complete uploads."""
    present: Upload | None = None
    """The one that is being made, as it was committed last."""

    def created(self, upload: Upload) -> bool:
        self.present = upload
        return False

    def advanced(self, upload: Upload) -> None:
        self.present = upload


class OneShots:
    """Answers requests that ``recognise`` took for one-shot uploads."""

    def __init__(
        self,
        uploads: Creations,
        access: CreationAccess,
        address: PublicAddress,
        terms: OneShotTerms,
    ) -> None:
        self._uploads = uploads
        self._access = access
        self._address = address
        self._terms = terms

    async def answer(self, exchange: Exchange, asked: Asked, shape: Shape) -> Answer:
        """Refusals are answers too: they name what was made, and what is left of the rest."""
        # What is made stays, whether or not the answer can be written.
        exchange.is_address_told = True
        progress = _Progress()
        try:
            oneshot.check_origin(asked.fields, self._terms.origins)
            if shape is Shape.FORM:
                await self._store_form(exchange, asked, progress)
            else:
                command = oneshot.parse_raw(
                    asked, exchange.tail, max_metadata_bytes=self._terms.max_metadata_bytes
                )
                await self._store(exchange, command, exchange.body, progress)
        except UploadError as error:
            return oneshot.build_failure(
                error,
                progress.stored,
                await self._what_is_left(exchange, error, progress.present),
                request_id=exchange.request_id,
                refusal_status=self._access.refusal_status,
            )
        return oneshot.build_stored(progress.stored, shape)

    async def _store_form(self, exchange: Exchange, asked: Asked, progress: _Progress) -> None:
        """Store the files of a form, each before the next is looked for."""
        terms = self._terms
        boundary = parse_boundary(asked.fields.getall(h.CONTENT_TYPE, [""])[0])
        told = oneshot.parse_told_metadata(asked.fields, max_bytes=terms.max_metadata_bytes)
        await self._check_early(exchange)
        body = exchange.body
        limits = FormLimits(max_files=terms.max_files, max_field_bytes=terms.max_metadata_bytes)
        form = Form(boundary, body, limits, told.values())
        # A token may be in the form itself: nothing of a file is stored before it was read.
        await body.invite()
        while (file := await form.next_file()) is not None:
            command = oneshot.parse_part(
                file.headers, file.fields, max_metadata_bytes=terms.max_metadata_bytes
            )
            try:
                await self._store(exchange, command, file, progress)
            except BodyMalformed as error:
                if (wrong := form.error) is None:
                    raise
                wrong.offset = error.offset
                raise wrong from error
        if not progress.stored:
            raise FormInvalid("it has no file")
        await form.finish()

    async def _check_early(self, exchange: Exchange) -> None:
        """What can be refused before the form is invited."""
        bearer = _bearer_of(exchange)
        if bearer is not None:
            # The type of a file is told in the form.
            with suppress(TypeNotAllowed):
                await self._access.for_creation(bearer, NO_METADATA)
        announced, terms = exchange.announced_bytes, self._terms
        if announced is None or terms.max_bytes is None:
            return
        if announced > terms.max_files * terms.max_bytes + MAX_OVERHEAD_BYTES:
            raise UploadTooLarge(max_bytes=terms.max_bytes)

    async def _store(
        self, exchange: Exchange, command: CreateUpload, body: ByteSource, progress: _Progress
    ) -> None:
        principal = await self._access.for_creation(_bearer_of(exchange), command.metadata)
        upload = await self._uploads.create(command, principal, body, progress)
        if not upload.is_complete:
            # A token for one file was presented again: this is what the first request left.
            progress.present = upload
            if upload.status in GONE:
                raise TokenTooNarrow("its one file was refused or removed")
            mismatch = OffsetMismatch(stored=upload.offset, requested=0)
            mismatch.offset = upload.offset
            raise mismatch
        await body.invite()  # a repeated creation has not read it
        progress.present = None
        progress.stored.append(self._located(exchange, upload))

    async def _what_is_left(
        self, exchange: Exchange, error: UploadError, present: Upload | None
    ) -> Stored | None:
        if present is None:
            return None
        if isinstance(error, UploadTooLarge | BodyTooLong):
            await self._forget(present.id)
        return self._located(exchange, present) if oneshot.is_kept(error) else None

    async def _forget(self, upload_id: UploadId) -> None:
        """No more bytes would make it whole."""
        try:
            await self._uploads.forget(upload_id)
        except UploadError as exc:
            # It is found again by the sweeper, when it expires.
            log.warning("forget_failed", extra={"upload_id": upload_id, "code": exc.code})

    def _located(self, exchange: Exchange, upload: Upload) -> Stored:
        request = exchange.request
        location = self._address.location(
            upload.id,
            request.headers,
            request.get_extra_info("peername"),
            scheme=request.scheme,
            target=request.raw_path,
        )
        return Stored(upload, location)


def _bearer_of(exchange: Exchange) -> str | None:
    return h.parse_bearer(exchange.request.headers.get(h.AUTHORIZATION))
