"""What TUSKit 2 (iOS) does on the wire, and how little it forgives.

``POST`` to the address without a slash must be answered exactly 201; the last PATCH exactly
204; HEAD exactly 200 with both numbers. It sends ``Upload-Extension: creation``, and the
metadata again on every PATCH. The version that resumes goes on at the offset that HEAD tells.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urljoin

from tests.support.tus import OFFSET_STREAM, encode_metadata
from tests.support.wire import Response, request

CHUNK_BYTES = 500 * 1024
IOS = {
    "User-Agent": "Demo/1 CFNetwork/1408.0.4 Darwin/22.5.0",
    "Accept": "*/*",
    "Accept-Language": "en-GB,en;q=0.9",
    "Accept-Encoding": "gzip, deflate",
    "Connection": "keep-alive",
}


class TusKitFailure(Exception):
    """The client gives up; it says nothing more than this to the app."""


@dataclass(slots=True)
class TusKit:
    """Uploads one file; ``url`` is what it remembers between two runs of the app."""

    endpoint: str
    """With or without the slash; it is left away."""
    metadata: Mapping[str, str]
    headers: Mapping[str, str] = field(default_factory=dict)
    chunk_bytes: int = CHUNK_BYTES
    url: str | None = None
    log: list[tuple[str, int | None, int]] = field(default_factory=list)
    """Method, ``Upload-Offset`` sent, status."""

    async def upload(self, data: bytes, *, stop_after_chunks: int | None = None) -> str:
        """Create or resume, and send the rest. ``stop_after_chunks``: the app is closed then."""
        offset = await self._resume(len(data)) if self.url is not None else 0
        if self.url is None:
            await self._create(len(data))
        sent = 0
        while offset < len(data):
            if sent == stop_after_chunks:
                break
            offset = await self._send(data, offset)
            sent += 1
        assert self.url is not None
        return self.url

    async def _create(self, length: int) -> None:
        sent = {"Upload-Extension": "creation", "Content-Length": "0"}
        sent["Upload-Length"] = str(length)
        answer = await self._ask("POST", self.endpoint.rstrip("/"), sent)
        if answer.status != 201:
            raise TusKitFailure(f"POST was answered {answer.status}, not 201")
        self.url = urljoin(self.endpoint, answer.location)

    async def _resume(self, length: int) -> int:
        assert self.url is not None
        answer = await self._ask("HEAD", self.url, {})
        if answer.status != 200:
            raise TusKitFailure(f"HEAD was answered {answer.status}, not 200")
        if answer.length != length:
            raise TusKitFailure(f"Upload-Length is {answer.length}, the file has {length}")
        return answer.offset

    async def _send(self, data: bytes, offset: int) -> int:
        assert self.url is not None
        piece = data[offset : offset + self.chunk_bytes]
        sent = {
            "Content-Type": OFFSET_STREAM,
            "Upload-Offset": str(offset),
            "Content-Length": str(len(piece)),
        }
        answer = await self._ask("PATCH", self.url, sent, piece)
        if not 200 <= answer.status < 300:
            raise TusKitFailure(f"PATCH was answered {answer.status}")
        if answer.status != 204 and offset + len(piece) == len(data):
            raise TusKitFailure(f"the last PATCH was answered {answer.status}, not 204")
        if "Upload-Offset" not in answer.headers:
            raise TusKitFailure("PATCH was answered without Upload-Offset")
        if answer.offset == offset:
            raise TusKitFailure("Upload-Offset did not move")
        return answer.offset

    async def _ask(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Response:
        sent = {"TUS-Resumable": "1.0.0", "Upload-Metadata": encode_metadata(self.metadata)}
        answer = await request(method, url, {**sent, **self.headers, **headers, **IOS}, body)
        offset = headers.get("Upload-Offset")
        self.log.append((method, None if offset is None else int(offset), answer.status))
        return answer
