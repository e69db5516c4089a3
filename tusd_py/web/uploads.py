"""The endpoint and its uploads: header text in, one call of the service, answer out.

Which protocol a request speaks is the translators' to say; nothing here depends on it.
"""

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
from tusd_py.core.upload import Kind, Upload
from tusd_py.protocol import headers as h
from tusd_py.protocol.answers import Answer
from tusd_py.protocol.base import Asked, Translator
from tusd_py.protocol.oneshot import recognise
from tusd_py.protocol.recognise import Translators
from tusd_py.service.listening import Listener
from tusd_py.streams import ByteSource
from tusd_py.web.exchange import Exchange
from tusd_py.web.forwarded import PublicAddress
from tusd_py.web.interim import Interim
from tusd_py.web.oneshot import OneShots

log = logging.getLogger(__name__)

SCOPE_APPEND: Final = "append"
SCOPE_READ: Final = "read"
SCOPE_TERMINATE: Final = "terminate"
ENDPOINT_METHODS: Final = ("POST", "PUT", "OPTIONS")
UPLOAD_METHODS: Final = ("HEAD", "GET", "PATCH", "DELETE", "OPTIONS")


class UploadService(Protocol):
    """What is asked of ``service.uploads.Uploads``."""

    async def create(
        self, command: CreateUpload, principal: Principal, body: ByteSource, listener: Listener
    ) -> Upload: ...
    async def append(
        self, command: AppendBytes, principal: Principal, body: ByteSource, listener: Listener
    ) -> Upload: ...
    async def read_offset(self, command: ReadOffset, principal: Principal) -> Upload: ...
    async def terminate(self, command: Terminate, principal: Principal) -> None: ...
    async def forget(self, upload_id: UploadId) -> None: ...
    def stop(self) -> None: ...


class AccessService(Protocol):
    """What is asked of ``service.access.Access``."""

    refusal_status: int | None

    async def for_creation(
        self, bearer: str | None, metadata: Metadata, *, ignores_expiry: bool = False
    ) -> Principal: ...
    async def for_upload(self, bearer: str | None, scope: str) -> Principal: ...


class DownloadService(Protocol):
    """What is asked of ``web.downloads.Downloads``."""

    async def answer(self, exchange: Exchange, upload_id: UploadId) -> Answer | None: ...


class UploadsResource:
    """Everything below ``base_path``."""

    name = "uploads"

    def __init__(
        self,
        uploads: UploadService,
        access: AccessService,
        address: PublicAddress,
        translators: Translators,
        one_shots: OneShots | None = None,
        downloads: DownloadService | None = None,
    ) -> None:
        """``one_shots`` None: those are not taken. ``downloads`` None: GET tells the offset."""
        self._uploads = uploads
        self._access = access
        self._address = address
        self._translators = translators
        self._one_shots = one_shots
        self._downloads = downloads
        self._options = Answer(204, translators.offer)
        self.is_stopping = False

    async def answer(self, exchange: Exchange) -> Answer:
        method, tail = exchange.method, exchange.tail
        if method == "OPTIONS":
            return self._options
        asked = ask(exchange)
        if self._one_shots is not None and (shape := recognise(asked, tail)) is not None:
            if self.is_stopping:
                raise ServerStopping()
            return await self._one_shots.answer(exchange, asked, shape)
        allowed = UPLOAD_METHODS if tail else ENDPOINT_METHODS
        if method not in allowed:
            raise MethodNotAllowed(allowed)
        translator = self._translators.choose(asked, at_upload=bool(tail))
        exchange.translator = translator
        translator.check(asked)
        if self.is_stopping:
            raise ServerStopping()
        if not tail:
            return await self._create(exchange, translator, asked)
        upload_id = parse_upload_id(tail)
        if upload_id is None:
            raise NotFound() if "/" in tail else UploadUnknown()
        if method == "PATCH":
            return await self._append(exchange, translator, asked, upload_id)
        if method == "DELETE":
            return await self._terminate(exchange, translator, asked, upload_id)
        if method == "GET" and translator is self._translators.either:
            return await self._read(exchange, translator, asked, upload_id)
        return await self._read_offset(exchange, translator, asked, upload_id)

    async def _create(self, exchange: Exchange, translator: Translator, asked: Asked) -> Answer:
        command = translator.parse_create(asked)
        principal = await self._access.for_creation(
            bearer_of(exchange),
            command.metadata,
            # Its parts are the client's own, and were sent while the token was valid.
            ignores_expiry=command.kind is Kind.FINAL,
        )
        listener = Interim(
            exchange, translator, asked, lambda upload: self.locate(exchange, upload)
        )
        # Who lost the answer of a final upload finds it by asking for the same once more; its parts
        # were all sent, and receivers may have been told.
        exchange.is_address_told = command.outlives_cut or command.kind is Kind.FINAL
        upload = await self._uploads.create(command, principal, exchange.body, listener)
        return translator.build_created(asked, upload, self.locate(exchange, upload))

    async def _append(
        self, exchange: Exchange, translator: Translator, asked: Asked, upload_id: UploadId
    ) -> Answer:
        command = translator.parse_append(asked, upload_id)
        principal = await self._access.for_upload(bearer_of(exchange), SCOPE_APPEND)
        listener = Interim(
            exchange, translator, asked, lambda upload: self.locate(exchange, upload)
        )
        upload = await self._uploads.append(command, principal, exchange.body, listener)
        return translator.build_appended(asked, upload)

    async def _read(
        self, exchange: Exchange, translator: Translator, asked: Asked, upload_id: UploadId
    ) -> Answer:
        """A GET that names no protocol means the file itself, once there is one."""
        if self._downloads is not None:
            answer = await self._downloads.answer(exchange, upload_id)
            if answer is not None:
                return answer
        return await self._read_offset(exchange, translator, asked, upload_id)

    async def _read_offset(
        self, exchange: Exchange, translator: Translator, asked: Asked, upload_id: UploadId
    ) -> Answer:
        command = translator.parse_read(asked, upload_id)
        principal = await self._access.for_upload(bearer_of(exchange), SCOPE_READ)
        upload = await self._uploads.read_offset(command, principal)
        return translator.build_offset(asked, upload)

    async def _terminate(
        self, exchange: Exchange, translator: Translator, asked: Asked, upload_id: UploadId
    ) -> Answer:
        command = translator.parse_terminate(asked, upload_id)
        principal = await self._access.for_upload(bearer_of(exchange), SCOPE_TERMINATE)
        await self._uploads.terminate(command, principal)
        return translator.build_terminated(asked)

    def locate(self, exchange: Exchange, upload: Upload) -> str:
        """The upload's address, for this client."""
        request = exchange.request
        return self._address.location(
            upload.id,
            request.headers,
            request.get_extra_info("peername"),
            scheme=request.scheme,
            target=request.raw_path,
        )

    async def unsent(self, exchange: Exchange, answer: Answer) -> None:
        """A creation whose client went before it could be told the address: nobody knows it."""
        location = answer.header(h.LOCATION)
        if answer.status != 201 or location is None or exchange.is_address_told:
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


def ask(exchange: Exchange) -> Asked:
    """The head of the request, for translators."""
    return Asked(
        method=exchange.method,
        fields=exchange.request.headers,
        announced_bytes=exchange.announced_bytes,
        trailers=lambda: exchange.body.trailers,
        remark=log.info,
        can_hear_interim=exchange.can_hear_interim,
    )


def bearer_of(exchange: Exchange) -> str | None:
    """The token of the ``Authorization`` header."""
    return h.parse_bearer(exchange.request.headers.get(h.AUTHORIZATION))
