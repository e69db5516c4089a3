"""The tus endpoint and its uploads: header text in, one call of the service, answer out."""

import logging
from typing import Final, Protocol

from tusd_py.core.commands import AppendBytes, CreateUpload, ReadOffset, Terminate
from tusd_py.core.errors import (
    MethodNotAllowed,
    NotFound,
    ServerStopping,
    UploadError,
    UploadUnknown,
)
from tusd_py.core.identity import Principal
from tusd_py.core.ids import UploadId, parse_upload_id
from tusd_py.core.metadata import Metadata
from tusd_py.core.upload import Upload
from tusd_py.protocol import headers as h
from tusd_py.protocol import tus1
from tusd_py.protocol.answers import Answer
from tusd_py.streams import ByteSource
from tusd_py.web.exchange import Exchange
from tusd_py.web.forwarded import PublicAddress

log = logging.getLogger(__name__)

SCOPE_APPEND: Final = "append"
SCOPE_READ: Final = "read"
SCOPE_TERMINATE: Final = "terminate"


class UploadService(Protocol):
    """What is asked of ``service.uploads.Uploads``."""

    @property
    def max_bytes(self) -> int | None: ...
    @property
    def can_expire(self) -> bool: ...
    async def create(
        self, command: CreateUpload, principal: Principal, body: ByteSource
    ) -> Upload: ...
    async def append(
        self, command: AppendBytes, principal: Principal, body: ByteSource
    ) -> Upload: ...
    async def read_offset(self, command: ReadOffset, principal: Principal) -> Upload: ...
    async def terminate(self, command: Terminate, principal: Principal) -> None: ...
    async def forget(self, upload_id: UploadId) -> None: ...
    def stop(self) -> None: ...


class AccessService(Protocol):
    """What is asked of ``service.access.Access``."""

    refusal_status: int | None

    async def for_creation(self, bearer: str | None, metadata: Metadata) -> Principal: ...
    async def for_upload(self, bearer: str | None, scope: str) -> Principal: ...


class UploadsResource:
    """``<base>`` takes creations, ``<base>/<id>`` is an upload."""

    name = "uploads"

    def __init__(
        self,
        uploads: UploadService,
        access: AccessService,
        address: PublicAddress,
        *,
        max_metadata_bytes: int,
    ) -> None:
        self._uploads = uploads
        self._access = access
        self._address = address
        self._max_metadata_bytes = max_metadata_bytes
        self._options = tus1.build_options(
            max_bytes=uploads.max_bytes, can_expire=uploads.can_expire
        )
        self.is_stopping = False

    async def answer(self, exchange: Exchange) -> Answer:
        method = exchange.method
        allowed = tus1.UPLOAD_METHODS if exchange.tail else tus1.ENDPOINT_METHODS
        if method == "OPTIONS":
            return self._options
        if method not in allowed:
            raise MethodNotAllowed(allowed)
        tus1.check_version(exchange.request.headers)
        if self.is_stopping:
            raise ServerStopping()
        if not exchange.tail:
            return await self._create(exchange)
        upload_id = parse_upload_id(exchange.tail)
        if upload_id is None:
            raise NotFound() if "/" in exchange.tail else UploadUnknown()
        if method == "PATCH":
            return await self._append(exchange, upload_id)
        bearer = _bearer(exchange)
        if method == "HEAD":
            principal = await self._access.for_upload(bearer, SCOPE_READ)
            return tus1.build_offset(
                await self._uploads.read_offset(ReadOffset(upload_id=upload_id), principal)
            )
        principal = await self._access.for_upload(bearer, SCOPE_TERMINATE)
        await self._uploads.terminate(Terminate(upload_id=upload_id), principal)
        return tus1.build_terminated()

    async def _create(self, exchange: Exchange) -> Answer:
        request = exchange.request
        fields = request.headers
        _note_ignored(exchange)
        command = tus1.parse_create(
            fields, exchange.announced_bytes, max_metadata_bytes=self._max_metadata_bytes
        )
        principal = await self._access.for_creation(_bearer(exchange), command.metadata)
        upload = await self._uploads.create(command, principal, exchange.body)
        location = self._address.location(
            upload.id,
            fields,
            request.get_extra_info("peername"),
            scheme=request.scheme,
        )
        return tus1.build_created(upload, location)

    async def _append(self, exchange: Exchange, upload_id: UploadId) -> Answer:
        _note_ignored(exchange)
        command = tus1.parse_append(exchange.request.headers, upload_id, exchange.announced_bytes)
        principal = await self._access.for_upload(_bearer(exchange), SCOPE_APPEND)
        return tus1.build_appended(await self._uploads.append(command, principal, exchange.body))

    async def unsent(self, answer: Answer) -> None:
        """A creation whose client went before it could be told the address: nobody knows it."""
        location = answer.header(h.LOCATION)
        if answer.status != 201 or location is None:
            return
        upload_id = parse_upload_id(location.rpartition("/")[2])
        if upload_id is None:
            return
        log.info("creation_unheard", extra={"upload_id": upload_id})
        try:
            await self._uploads.forget(upload_id)
        except UploadError as exc:
            # It is found again by the sweeper, when it expires.
            log.warning("forget_failed", extra={"upload_id": upload_id, "code": exc.code})


def _bearer(exchange: Exchange) -> str | None:
    return h.parse_bearer(exchange.request.headers.get(h.AUTHORIZATION))


def _note_ignored(exchange: Exchange) -> None:
    if h.UPLOAD_CHECKSUM in exchange.request.headers:
        log.info("checksum_ignored")
