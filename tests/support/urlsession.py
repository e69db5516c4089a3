"""What URLSession (iOS 17 to 26) does on the wire when an app sends a file, per interop version.

The app makes one request of its own, POST or PUT, with the whole file. The library adds the
headers of Resumable Uploads for HTTP, and goes on by itself after the connection broke or the
server failed, if a 104 of its own version told it where. What it hears last the app takes for the
answer to its own request. It speaks one version, and knows of no other.

Two things that are not known of it are set here: it waits a moment for the 104 before it sends
the file (the drafts allow it, and a test knows then where the line is cut), and where HEAD says
that all is complete it asks again by an empty append only in versions in which that is no error.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urljoin

from tests.support.rufh import PARTIAL_UPLOAD, VERSION, VERSIONS, Rufh
from tests.support.wire import Hangup, Response, Wire, connected

IOS = {
    "User-Agent": "Demo/1 CFNetwork/3826.400.120 Darwin/24.3.0",
    "Accept": "*/*",
    "Accept-Language": "en-GB,en;q=0.9",
    "Accept-Encoding": "gzip, deflate",
    "Connection": "keep-alive",
}
PIECE_BYTES = 64 * 1024
DELAYS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 1.6, 1.6, 1.6, 1.6)
EARLY_SECONDS = 5.0
UNHEARD_SECONDS = 0.1
"""Where no 104 can come."""
REFUSES_FINISHED = (6, 7)


class UrlSessionFailure(Exception):
    """The app's task fails, with this."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request and what came of it; ``status`` None: the connection broke."""

    method: str
    offset: int | None
    status: int | None
    interim: tuple[Response, ...] = ()


@dataclass(slots=True)
class UrlSession:
    """Uploads one file."""

    endpoint: str
    version: int
    headers: Mapping[str, str] = field(default_factory=dict)
    """The app's own, on its own request and on every one that follows from it."""
    method: str = "POST"
    delays: tuple[float, ...] = DELAYS
    url: str | None = None
    """Where it goes on; None as long as no 104 told."""
    log: list[Asked] = field(default_factory=list)
    _interim: list[Response] = field(default_factory=list)
    _told: asyncio.Event = field(default_factory=asyncio.Event)

    async def upload(self, data: bytes) -> Response:
        """The answer that the app gets. Raises UrlSessionFailure where it gets none."""
        answer = await self._begin(data)
        for delay in self.delays:
            if answer is not None and answer.status < 500:
                return answer
            if self.url is None:
                break
            await asyncio.sleep(delay)
            answer = await self._resume(data)
        if answer is not None:
            return answer
        raise UrlSessionFailure(f"the connection was lost; {self.log}")

    def of(self, method: str) -> list[Asked]:
        return [one for one in self.log if one.method == method]

    # --- requests

    async def _begin(self, data: bytes) -> Response | None:
        sent = self._rufh.completion(is_end=True) | {"Content-Length": str(len(data))}
        if self.version >= 8:
            sent["Upload-Length"] = str(len(data))
        return await self._ask(self.method, self.endpoint, sent, data, waits=True)

    async def _resume(self, data: bytes) -> Response | None:
        """HEAD, and the rest of the file behind what it tells. None: the connection broke."""
        assert self.url is not None
        head = await self._ask("HEAD", self.url, {})
        if head is None or head.status == 423:
            return None
        if head.status != 204 and (self.version < 5 or not 200 <= head.status < 300):
            raise UrlSessionFailure(f"HEAD was answered {head.status}")
        if self._rufh.is_complete(head) and self.version in REFUSES_FINISHED:
            return head
        offset = head.offset
        sent = {"Upload-Offset": str(offset), "Content-Length": str(len(data) - offset)}
        if self.version != 3:
            sent |= self._rufh.completion(is_end=True)
        if self.version >= 6:
            sent["Content-Type"] = PARTIAL_UPLOAD
        answer = await self._ask("PATCH", self.url, sent, data[offset:])
        return None if answer is not None and answer.status in (409, 423) else answer

    @property
    def _rufh(self) -> Rufh:
        return Rufh(self.version)

    async def _ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        *,
        waits: bool = False,
    ) -> Response | None:
        offset = headers.get("Upload-Offset")
        self._interim = []
        answer: Response | None = None
        try:
            async with connected(url) as wire:
                sent = {**self.headers, **IOS, VERSION: str(self.version), **headers}
                await wire.send_head(method, url, sent)
                answer = await self._exchange(wire, body, waits=waits)
        except (Hangup, ConnectionError):
            answer = None
        status = None if answer is None else answer.status
        interim = tuple(self._interim)
        self.log.append(Asked(method, None if offset is None else int(offset), status, interim))
        return answer

    async def _exchange(self, wire: Wire, body: bytes, *, waits: bool) -> Response:
        """Send and listen at the same time: interim answers come while the file is sent."""
        listening = asyncio.create_task(self._listen(wire))
        if waits:
            await self._wait_for_early(listening)
        sending = asyncio.create_task(_send(wire, body))
        try:
            return await listening
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _wait_for_early(self, listening: asyncio.Task[Response]) -> None:
        hearing = asyncio.create_task(self._told.wait())
        seconds = EARLY_SECONDS if self.version in VERSIONS else UNHEARD_SECONDS
        await asyncio.wait(
            {hearing, listening}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        hearing.cancel()

    async def _listen(self, wire: Wire) -> Response:
        while (answer := await wire.read_any()).status < 200:
            self._interim.append(answer)
            is_ours = answer.headers.get(VERSION) == str(self.version)
            if answer.status == 104 and is_ours and "Location" in answer.headers:
                self.url = urljoin(self.endpoint, answer.location)
                self._told.set()
        return answer


async def _send(wire: Wire, body: bytes) -> None:
    try:
        for start in range(0, len(body), PIECE_BYTES):
            await wire.send(body[start : start + PIECE_BYTES])
    except ConnectionError:
        return  # who listens hears of it
