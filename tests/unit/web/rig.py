"""A real site on loopback over a service in memory."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from tests.support.wire import Wire
from tusd_py.core.commands import AppendBytes, CreateUpload, ReadOffset, Terminate
from tusd_py.core.errors import (
    BodyMalformed,
    BodyTooSlow,
    ClientGone,
    OffsetMismatch,
    ServerStopping,
    TokenInvalid,
    UploadError,
    UploadUnknown,
)
from tusd_py.core.identity import ANYBODY, Owner, Principal
from tusd_py.core.ids import ClientId, UploadId, VideoId
from tusd_py.core.metadata import Metadata
from tusd_py.core.upload import NO_BOOT, Kind, Status, Upload
from tusd_py.service.listening import NO_LISTENER, Listener
from tusd_py.streams import ByteSource, SourceEnd
from tusd_py.web.handler import Connection
from tusd_py.web.settings import HttpSettings
from tusd_py.web.site import Site, SiteParts, start_site

TUS = {"Tus-Resumable": "1.0.0"}
PATCH = {**TUS, "Content-Type": "application/offset+octet-stream"}
ENDS = {
    SourceEnd.HUNG_UP: ClientGone,
    SourceEnd.TOO_SLOW: BodyTooSlow,
    SourceEnd.MALFORMED: BodyMalformed,
}


class MemoryUploads:
    """Keeps uploads in memory, in the order of the real service: rule, invite, bytes, answer."""

    def __init__(self) -> None:
        self.records: dict[str, Upload] = {}
        self.bytes: dict[str, bytearray] = {}
        self.forgotten: list[str] = []
        self.terminated: list[str] = []
        self.fails_with: list[UploadError | Exception] = []
        """Raised by the next calls, before anything is read."""
        self.answers_with: UploadError | None = None
        """Raised by creations, after everything else."""
        self.finds: Status | None = None
        """Creations find an earlier upload that stands so, and read nothing."""
        self.reads_bodies = True
        self.has_stopped = False
        self.began = asyncio.Event()
        """A body is being read."""
        self.pause = asyncio.Event()
        self.pause.set()
        """Cleared: bodies are not read on."""
        self.made_final = asyncio.Event()
        """Set once a final upload was asked for."""
        self.before_answer = asyncio.Event()
        self.before_answer.set()
        self.offsets: asyncio.Queue[int] = asyncio.Queue()
        """Where a body stands after each read of it."""
        self.ends: asyncio.Queue[SourceEnd | None] = asyncio.Queue()
        self._numbers = itertools.count(1)
        self._readers: set[asyncio.Task[bytes]] = set()

    async def create(
        self,
        command: CreateUpload,
        principal: Principal,
        body: ByteSource,
        listener: Listener = NO_LISTENER,
    ) -> Upload:
        self._fail()
        if command.kind is Kind.FINAL:
            self.made_final.set()
        upload_id = UploadId(f"{next(self._numbers):032x}")
        self.bytes[upload_id] = bytearray()
        self.records[upload_id] = Upload(
            id=upload_id,
            owner=Owner(VideoId("v"), ClientId("c")),
            length=command.length,
            created_at=0.0,
            creator=NO_BOOT,
            writer=NO_BOOT,
            metadata=command.metadata.without({"token"}),
            expires_at=1_800_000_000.5,
        )
        if self.finds is not None:
            self.records[upload_id] = replace(self.records[upload_id], status=self.finds)
        listener.created(self.records[upload_id])
        if self.finds is not None:
            return self.records[upload_id]
        if command.announced_bytes != 0:
            await self._receive(upload_id, body)
        await self.before_answer.wait()
        if self.answers_with is not None:
            raise self.answers_with
        return self.records[upload_id]

    async def append(
        self,
        command: AppendBytes,
        principal: Principal,
        body: ByteSource,
        listener: Listener = NO_LISTENER,
    ) -> Upload:
        self._fail()
        upload = self._find(command.upload_id)
        if command.offset != upload.offset:
            raise OffsetMismatch(stored=upload.offset, requested=command.offset)
        if command.declared_length is not None:
            self.records[upload.id] = replace(upload, length=command.declared_length)
        end = await self._receive(upload.id, body)
        if end in ENDS:
            raise ENDS[end]()
        if self.has_stopped:
            raise ServerStopping()
        return self.records[upload.id]

    async def read_offset(self, command: ReadOffset, principal: Principal) -> Upload:
        self._fail()
        return self._find(command.upload_id)

    async def terminate(self, command: Terminate, principal: Principal) -> None:
        self._fail()
        self._find(command.upload_id)
        del self.records[command.upload_id]
        self.terminated.append(command.upload_id)

    async def forget(self, upload_id: UploadId) -> None:
        self._fail()
        self.forgotten.append(upload_id)

    def stop(self) -> None:
        self.has_stopped = True
        for reader in self._readers:
            reader.cancel()

    async def reaches(self, offset: int) -> None:
        """Wait until a body has come that far."""
        while await self.offsets.get() < offset:
            pass

    def has_stopping_begun(self) -> bool:
        return self.has_stopped

    def _fail(self) -> None:
        if self.fails_with:
            raise self.fails_with.pop(0)

    def _find(self, upload_id: UploadId) -> Upload:
        if upload_id not in self.records:
            raise UploadUnknown()
        return self.records[upload_id]

    async def _receive(self, upload_id: UploadId, body: ByteSource) -> SourceEnd | None:
        await body.invite()
        self.began.set()
        while self.reads_bodies and not self.has_stopped:
            await self.pause.wait()
            reader = asyncio.create_task(body.read())
            self._readers.add(reader)
            try:
                data = await reader
            except asyncio.CancelledError:
                if not (reader.cancelled() and self.has_stopping_begun()):
                    raise
                break
            finally:
                self._readers.discard(reader)
            if not data:
                break
            self.bytes[upload_id] += data
            self._advance(upload_id)
            self.offsets.put_nowait(self.records[upload_id].offset)
        self._advance(upload_id)
        self.ends.put_nowait(body.end)
        return body.end

    def _advance(self, upload_id: UploadId) -> None:
        upload = self.records[upload_id]
        offset = len(self.bytes[upload_id])
        status = Status.COMPLETE if offset == upload.length else Status.RECEIVING
        self.records[upload_id] = replace(upload, offset=offset, status=status)


class OpenAccess:
    """Lets everybody in, but for the token ``bad``."""

    def __init__(self) -> None:
        self.refusal_status: int | None = None
        self.seen: list[str | None] = []

    async def for_creation(
        self, bearer: str | None, metadata: Metadata, *, ignores_expiry: bool = False
    ) -> Principal:
        return self._judge(bearer)

    async def for_upload(self, bearer: str | None, scope: str) -> Principal:
        return self._judge(bearer)

    def _judge(self, bearer: str | None) -> Principal:
        self.seen.append(bearer)
        if bearer == "bad":
            raise TokenInvalid("bad…")
        return ANYBODY


@dataclass(kw_only=True)
class Rig:
    """A running site and what stands behind it."""

    site: Site
    uploads: MemoryUploads
    access: OpenAccess
    checks: dict[str, bool]
    checks_fail: bool = False
    counted: list[tuple[str, int, str | None]] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)
    page: bytes = b"figures 1\n"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.site.port}/upload/"

    async def wire(self) -> Wire:
        """A new connection, closed with the rig at the latest."""
        wire = await Wire.to(self.url)
        self.wires.append(wire)
        return wire

    async def an_upload(self, wire: Wire, length: int = 100, **headers: str) -> str:
        """Make an upload over ``wire``; its path."""
        made = await wire.request("POST", "/upload/", {**TUS, "Upload-Length": str(length)})
        assert made.status == 201, made
        return "/upload/" + made.location.rpartition("/")[2]

    def connections(self) -> list[Connection]:
        """The server's side of every connection."""
        return [c for c in self.site.server.connections if isinstance(c, Connection)]

    async def lost(self) -> None:
        """Wait until the server knows that its clients are gone."""
        await until(lambda: all(c.transport is None for c in self.connections()))

    async def idle(self) -> None:
        """Wait until no request is being answered."""
        await self.site.edge.wait_until_idle()

    def bytes_of(self, path: str) -> bytes:
        return bytes(self.uploads.bytes[path.rpartition("/")[2]])


async def until(is_so: Callable[[], bool]) -> None:
    """Let the loop turn until it is so; the test's own time-out bounds it. For states of aiohttp
    that no event tells of."""
    while not is_so():  # noqa: ASYNC110
        await asyncio.sleep(0)


@asynccontextmanager
async def running(**settings: object) -> AsyncIterator[Rig]:
    """A site with these settings on a free port; stopped at the end."""
    uploads, access, checks = MemoryUploads(), OpenAccess(), {"state": True}
    counted: list[tuple[str, int, str | None]] = []

    async def ready() -> dict[str, bool]:
        if rig.checks_fail:
            raise OSError("the state is away")
        return checks

    async def page() -> tuple[bytes, str]:
        return rig.page, "text/plain"

    def answered(method: str, status: int, code: str | None, seconds: float) -> None:
        counted.append((method, status, code))

    parts = SiteParts(
        uploads=uploads,
        access=access,
        max_bytes=1 << 30,
        expire_seconds=3600.0,
        ready=ready,
        metrics=page,
        answered=answered,
    )
    site = await start_site(parts, HttpSettings.model_validate({"port": 0, **settings}))
    rig = Rig(site=site, uploads=uploads, access=access, checks=checks, counted=counted)
    try:
        yield rig
    finally:
        for wire in rig.wires:
            await wire.close()
        await site.stop(1.0)
