"""What tus-java-client 0.4 and 0.5 do on the wire, with the JDK's HttpURLConnection under it.

Made after its sources: each PATCH is a POST with ``X-HTTP-Method-Override``, chunked, without
Content-Length, and waits for ``100 Continue``; 2 MiB a write, 10 MiB a request; an end of the
file on a border opens one more, empty PATCH. A final answer in place of the 100 counts as a
rejection, *also a 204*: the stored URL is forgotten and the attempt fails. ``TusExecutor``
tries again after I/O errors, 5xx and 423, at most once per delay; everything else is final.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urljoin

from tests.support.tus import encode_metadata
from tests.support.wire import Hangup, Response, Wire, path_of

WRITE_BYTES = 2 * 1024 * 1024
REQUEST_BYTES = 10 * 1024 * 1024
JDK_CHUNK_BYTES = 4089
CONTINUE_SECONDS = 5.0
JDK = {
    "User-Agent": "Java/17.0.9",
    "Accept": "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",
    "Connection": "keep-alive",
}


class JavaFailure(Exception):
    """``io.tus.java.client.ProtocolException``: the server answered what it should not have."""

    def __init__(self, sentence: str, status: int | None = None) -> None:
        super().__init__(sentence)
        self.status = status

    @property
    def should_retry(self) -> bool:
        return self.status is not None and (500 <= self.status <= 599 or self.status == 423)


class JavaIoError(Exception):
    """``java.io.IOException``: cut, refused, or no 100 where one was waited for."""


@dataclass(slots=True)
class Exchange:
    """One request and what came of it."""

    method: str
    url: str
    offset: int | None = None
    status: int | None = None
    """None while there is no final answer."""
    continued: bool = False
    """A 100 came."""


@dataclass(slots=True)
class JavaClient:
    """Uploads one file; ``url`` is its store of upload URLs."""

    endpoint: str
    metadata: Mapping[str, str]
    headers: Mapping[str, str] = field(default_factory=dict)
    delays: tuple[float, ...] = (0.5, 1.0, 2.0, 3.0)
    request_bytes: int = REQUEST_BYTES
    url: str | None = None
    log: list[Exchange] = field(default_factory=list)

    async def upload(self, data: bytes) -> str:
        """``TusExecutor.makeAttempts``: the URL of the finished upload, or the last failure."""
        for delay in (*self.delays, None):
            try:
                return await self._attempt(data)
            except JavaFailure as failure:
                if not failure.should_retry or delay is None:
                    raise
            except JavaIoError:
                if delay is None:
                    raise
            await asyncio.sleep(delay)
        raise AssertionError("unreachable")

    async def _attempt(self, data: bytes) -> str:
        url, offset = await self._resume_or_create(data)
        sender = _Sender(self, url, data, offset)
        try:
            while await sender.upload_chunk():
                pass
            await sender.finish()
        except (Hangup, OSError, TimeoutError) as error:
            raise JavaIoError(str(error)) from error
        finally:
            await sender.close()
        return url

    async def _resume_or_create(self, data: bytes) -> tuple[str, int]:
        if self.url is not None:
            head = await self._ask("HEAD", self.url, {})
            if 200 <= head.status < 300:
                value = head.headers.get("Upload-Offset", "")
                if not value:
                    raise JavaFailure("missing upload offset in response", head.status)
                return self.url, int(value)
            if head.status != 404:
                raise JavaFailure(f"unexpected status code ({head.status}) on HEAD", head.status)
        sent = {"Upload-Length": str(len(data))}
        if self.metadata:
            sent["Upload-Metadata"] = encode_metadata(self.metadata)
        created = await self._ask("POST", self.endpoint, sent)
        if not 200 <= created.status < 300:
            raise JavaFailure(f"unexpected status code ({created.status}) on POST", created.status)
        location = created.headers.get("Location", "")
        if not location:
            raise JavaFailure("missing upload URL in response", created.status)
        self.url = urljoin(self.endpoint, location)
        return self.url, 0

    async def _ask(self, method: str, url: str, headers: Mapping[str, str]) -> Response:
        exchange = Exchange(method, url)
        self.log.append(exchange)
        sent = {"Tus-Resumable": "1.0.0", **self.headers, **headers, **JDK}
        try:
            async with await Wire.to(url) as wire:
                answer = await wire.request(method, path_of(url), sent)
        except (Hangup, OSError, TimeoutError) as error:
            raise JavaIoError(str(error)) from error
        exchange.status = answer.status
        return answer


class _Sender:
    """``TusUploader``: PATCHes of one attempt."""

    def __init__(self, client: JavaClient, url: str, data: bytes, offset: int) -> None:
        self._client = client
        self._url = url
        self._data = memoryview(data)
        self._offset = offset
        self._left = 0
        self._wire: Wire | None = None

    async def upload_chunk(self) -> bool:
        """Write once; False at the end of the file, when nothing was written."""
        wire = await self._open()
        piece = self._data[self._offset :][: min(WRITE_BYTES, self._left)]
        if not piece:
            return False
        # The JDK's stream makes small chunks of one large write.
        framed = bytearray()
        for start in range(0, len(piece), JDK_CHUNK_BYTES):
            part = piece[start : start + JDK_CHUNK_BYTES]
            framed += b"%x\r\n%s\r\n" % (len(part), part)
        await wire.send(bytes(framed))
        self._offset += len(piece)
        self._left -= len(piece)
        if self._left <= 0:
            await self._finish_request()
        return True

    async def finish(self) -> None:
        await self._finish_request()
        self._forget_if_finished()

    async def close(self) -> None:
        if self._wire is not None:
            await self._wire.close()

    def _forget_if_finished(self) -> None:
        if self._offset == len(self._data):
            self._client.url = None

    async def _open(self) -> Wire:
        if self._wire is not None:
            return self._wire
        client = self._client
        client.log.append(Exchange("PATCH", self._url, self._offset))
        self._left = client.request_bytes
        self._wire = wire = await Wire.to(self._url)
        sent = {
            "Tus-Resumable": "1.0.0",
            **client.headers,
            "Upload-Offset": str(self._offset),
            "Content-Type": "application/offset+octet-stream",
            "Expect": "100-continue",
            "X-HTTP-Method-Override": "PATCH",
            **JDK,
            "Transfer-Encoding": "chunked",
        }
        await wire.send_head("POST", path_of(self._url), sent)
        try:
            instead = await wire.read_continue(seconds=CONTINUE_SECONDS)
        except TimeoutError:
            return wire  # the JDK goes on then
        if instead is None:
            client.log[-1].continued = True
            return wire
        self._judge(instead)
        self._forget_if_finished()
        raise JavaIoError("Server rejected operation")

    async def _finish_request(self) -> None:
        if self._wire is None:
            return
        await self._wire.end_chunks()
        answer = await self._wire.read_response()
        await self._wire.close()
        self._wire = None
        self._judge(answer)

    def _judge(self, answer: Response) -> None:
        self._client.log[-1].status = answer.status
        if not 200 <= answer.status < 300:
            raise JavaFailure(f"unexpected status code ({answer.status}) on PATCH", answer.status)
        value = answer.headers.get("Upload-Offset", "")
        if not (value.isascii() and value.isdigit()):
            raise JavaFailure("no or invalid Upload-Offset in response", answer.status)
        if int(value) != self._offset:
            raise JavaFailure(
                f"Upload-Offset {value} in response, {self._offset} expected", answer.status
            )
