"""A real site whose uploads are finished files: on disk or in memory, on either event loop."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from tests.fakes.shelf import FileBytes, MemoryBytes, Shelf, finished, parts_of
from tests.support.wire import Wire
from tests.unit.core.builders import AN_ID, AN_OWNER
from tests.unit.web.rig import MemoryUploads, OpenAccess, until
from tusd_py.core.errors import TokenInvalid
from tusd_py.core.identity import Claims, Principal
from tusd_py.service.observing import Observing
from tusd_py.web.handler import Connection
from tusd_py.web.reading import ReadingParts
from tusd_py.web.settings import HttpSettings
from tusd_py.web.site import Site, SiteParts, start_site
from tusd_py.web.streaming import End
from tusd_py.web.view_settings import DownloadSettings, WatchSettings

SLOW_BUFFER_BYTES = 16 * 1024
LARGE_BUFFER_BYTES = 208 * 1024
"""What a kernel gives without being asked to give more; it counts twice."""
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def run_on(loop: str, scenario: Coroutine[Any, Any, None]) -> None:
    """Both loops hand bytes to the kernel in their own way."""
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(scenario)


class SomeAccess(OpenAccess):
    """Lets in everybody, the owner by the token ``mine``, and nobody by ``bad``; lists need it."""

    async def for_listing(self, bearer: str | None) -> Principal:
        if self.revoked or bearer != "mine":
            raise TokenInvalid("null")
        return Principal(Claims(AN_OWNER))

    async def for_upload(self, bearer: str | None, scope: str) -> Principal:
        if self.revoked:
            raise TokenInvalid("null")
        principal = await super().for_upload(bearer, scope)
        return Principal(Claims(AN_OWNER)) if bearer == "mine" else principal

    revoked = False


@dataclass(kw_only=True)
class FileRig:
    """A running site and what stands behind it."""

    site: Site
    shelf: Shelf
    access: SomeAccess
    uploads: MemoryUploads
    ended: list[tuple[str, End, int]] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.site.port}/upload/"

    async def wire(self) -> Wire:
        wire = await Wire.to(self.url)
        self.wires.append(wire)
        return wire

    def connections(self) -> list[Connection]:
        return [c for c in self.site.server.connections if isinstance(c, Connection)]


FILE = f"/upload/{AN_ID}"


@asynccontextmanager
async def shelved(
    *,
    http: dict[str, Any] | None = None,
    download: dict[str, Any] | None = None,
    watch: dict[str, Any] | None = None,
) -> AsyncIterator[FileRig]:
    """A site with these settings on a free port, an empty shelf behind it; stopped at the end."""
    shelf, access, uploads = Shelf(), SomeAccess(), MemoryUploads()
    ended: list[tuple[str, End, int]] = []

    async def ready() -> dict[str, bool]:
        return {}

    reading = ReadingParts(
        observing=Observing(parts_of(shelf)),
        access=access,
        download=DownloadSettings.model_validate(download or {}),
        watch=WatchSettings.model_validate({"poll_seconds": 0.1} | (watch or {})),
        count=lambda kind, end, count: ended.append((kind, end, count)),
    )
    parts = SiteParts(uploads=uploads, access=access, ready=ready, now=time.time, reading=reading)
    site = await start_site(parts, HttpSettings.model_validate({"port": 0} | (http or {})))
    rig = FileRig(site=site, shelf=shelf, access=access, uploads=uploads, ended=ended)
    try:
        yield rig
    finally:
        for wire in rig.wires:
            await wire.close()
        await site.stop(2.0)


def shelve(rig: FileRig, content: bytes, folder: Path, *, in_kernel: bool, **metadata: str) -> None:
    """Put a finished file on the rig's shelf."""
    rig.shelf.records[AN_ID] = finished(content, **metadata)
    path = folder / "file"
    path.write_bytes(content)
    rig.shelf.make = (lambda: FileBytes(path)) if in_kernel else (lambda: MemoryBytes(content))


async def read_slowly(rig: FileRig, request: bytes, *, bytes_per_second: int) -> bytes:
    """Everything that comes, taken at this rate out of a small buffer; the server's is large."""
    loop, got = asyncio.get_running_loop(), bytearray()
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER_BYTES)
        sock.setblocking(False)
        before = rig.connections()
        await loop.sock_connect(sock, ("127.0.0.1", rig.site.port))
        await until(lambda: len(rig.connections()) > len(before))
        (ours,) = [one for one in rig.connections() if one not in before]
        assert ours.transport is not None
        theirs = ours.transport.get_extra_info("socket")
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGE_BUFFER_BYTES)
        await loop.sock_sendall(sock, request)
        began = loop.time()
        while piece := await loop.sock_recv(sock, SLOW_BUFFER_BYTES):
            got += piece
            await asyncio.sleep(began + len(got) / bytes_per_second - loop.time())
    return bytes(got)
