"""Finished files: GET of an upload's address, whole or in part, for as many readers as like.

No lease is taken. A finished upload never changes, so that its tag is a strong one and a part that
is fetched later fits to the one before. What the file claims to be is told to a browser only where
that cannot do harm; all else is saved.
"""

import hashlib
from typing import ClassVar, Final, Protocol

from tusd_py.core.errors import PreconditionFailed
from tusd_py.core.identity import Principal
from tusd_py.core.ids import UploadId
from tusd_py.protocol import headers as h
from tusd_py.protocol.answers import Answer, Header
from tusd_py.protocol.disposition import present
from tusd_py.protocol.ranges import (
    BYTES,
    Validators,
    Wish,
    build_content_range,
    choose_range,
    judge,
)
from tusd_py.service.observing import Opened
from tusd_py.web.exchange import Exchange
from tusd_py.web.streaming import Content, Sink, Streamed
from tusd_py.web.uploads import SCOPE_READ, bearer_of
from tusd_py.web.view_settings import DownloadSettings
from tusd_py.web.views import ReadAccess

_KEPT: Final[tuple[Header, ...]] = (
    (h.ACCEPT_RANGES, BYTES),
    # Kept by the client alone, and asked about before each use: rights may end, files be removed.
    (h.CACHE_CONTROL, "private, no-cache"),
)
_GUARDED: Final[tuple[Header, ...]] = (
    (h.CONTENT_TYPE_OPTIONS, "nosniff"),
    # Opened in a tab of its own it is nobody's page: it may show itself, and nothing else.
    (
        h.CONTENT_SECURITY_POLICY,
        "sandbox; default-src 'none'; img-src 'self'; media-src 'self'",
    ),
    # Pages of other sites need CORS to have it.
    (h.CROSS_ORIGIN_RESOURCE_POLICY, "same-site"),
)


class OpenService(Protocol):
    """What is asked of ``service.observing.Observing``."""

    async def open(self, upload_id: UploadId, principal: Principal) -> Opened | None: ...


class Downloads:
    """Answers GET where there is a file."""

    def __init__(self, files: OpenService, access: ReadAccess, settings: DownloadSettings) -> None:
        self._files = files
        self._access = access
        self._inline_types = frozenset(settings.inline_types)

    async def answer(self, exchange: Exchange, upload_id: UploadId) -> Answer | None:
        """None where there is nothing to download (yet). Raises UploadError."""
        principal = await self._access.for_upload(bearer_of(exchange), SCOPE_READ)
        opened = await self._files.open(upload_id, principal)
        if opened is None:
            return None
        answer: Answer | None = None
        try:
            answer = self._build(exchange.request.headers, opened)
        finally:
            if not isinstance(answer, Streamed):
                await opened.bytes.close()
        return answer

    def _build(self, fields: h.Fields, opened: Opened) -> Answer:
        validators = validators_of(opened)
        headers = (
            (h.ETAG, validators.tag),
            (h.LAST_MODIFIED, h.build_date(validators.modified_at)),
            *_KEPT,
        )
        wish = judge(fields, validators)
        if wish is Wish.FAILED:
            raise PreconditionFailed()
        if wish is Wish.NOT_MODIFIED:
            return Answer(304, headers)
        length = opened.bytes.length
        part = choose_range(fields, validators, length=length)
        shown = present(opened.upload.metadata, self._inline_types)
        headers += (
            (h.CONTENT_TYPE, shown.content_type),
            (h.CONTENT_DISPOSITION, shown.disposition),
            *_GUARDED,
        )
        if shown.coding is not None:
            headers += ((h.CONTENT_ENCODING, shown.coding),)
        if part is None:
            return Streamed(200, headers, content=FileContent(opened, 0, length))
        headers += ((h.CONTENT_RANGE, build_content_range(part)),)
        return Streamed(206, headers, content=FileContent(opened, part.first, part.length))


class FileContent(Content):
    """Some of a file's bytes, and the file with them."""

    kind: ClassVar[str] = "download"

    def __init__(self, opened: Opened, first: int, length: int) -> None:
        self.length = length
        self._bytes = opened.bytes
        self._first = first
        self._count = length

    async def send(self, sink: Sink) -> None:
        await sink.write_bytes(self._bytes, self._first, self._count)

    async def close(self) -> None:
        await self._bytes.close()


def validators_of(opened: Opened) -> Validators:
    """A finished upload stays as it is. Should a file that was put in its destination be changed
    there, its own time of change makes another tag."""
    upload, file = opened.upload, opened.bytes
    parts = (upload.id, file.length, upload.finished_at, file.modified_at)
    # Hashed, because the address is what cannot be guessed, and tags are shown around.
    digest = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()
    return Validators(f'"{digest[:32]}"', int(max(upload.finished_at or 0.0, file.modified_at)))
