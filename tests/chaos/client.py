"""A tus client that never gives up, remembers what it was told, and believes nothing else."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

from tests.chaos.ledger import Broken, Ledger, Promise, content
from tests.support import tus
from tests.support.server import Server
from tests.support.wire import Hangup, Response, Wire, connected

KIB = 1024
MIB = 1024 * KIB
SMALL_BYTES = (0, 48 * KIB)
LARGE_BYTES = (1 * MIB, 6 * MIB)
LARGE_SHARE = 0.2
BODY_BYTES = (16 * KIB, 2 * MIB)
ANSWER_SECONDS = 30.0
LOST = (Hangup, ConnectionError, TimeoutError)


class Uploader:
    """Uploads one file after the other until it is told to begin no more."""

    def __init__(
        self,
        server: Server,
        endpoint: Callable[[], str],
        ledger: Ledger,
        dice: random.Random,
        up: asyncio.Event,
    ) -> None:
        self._server = server
        self._endpoint = endpoint
        self._ledger = ledger
        self._dice = dice
        self._up = up
        """Set while there is a server; saves the processor from knocking at a closed door."""
        self.has_enough = False

    async def run(self) -> None:
        while not self.has_enough:
            await self.upload()

    async def upload(self) -> None:
        """One file, from its creation until its end is acknowledged."""
        large = self._dice.random() < LARGE_SHARE
        size = self._dice.randrange(*(LARGE_BYTES if large else SMALL_BYTES))
        promise = await self._create(self._dice.getrandbits(32), size)
        data = content(promise.seed, promise.size)
        while not promise.is_finished:
            await self._up.wait()
            try:
                async with connected(self._endpoint()) as wire:
                    await self._go_on(wire, promise, data)
            except LOST:
                self._ledger.requests["cut"] += 1

    async def _create(self, seed: int, size: int) -> Promise:
        """Until one was acknowledged; those whose answers were lost are nobody's."""
        number = str(seed)
        token = self._server.mint(video_id=number, client_id="chaos")
        while True:
            await self._up.wait()
            with contextlib.suppress(*LOST):
                answer = await self._timed(
                    tus.create(
                        self._endpoint(),
                        length=size,
                        metadata=tus.video_metadata(token, number, "chaos"),
                    )
                )
                self._note("POST", answer)
                if answer.status == 201:
                    promise = Promise(answer.location, seed, size)
                    promise.acknowledge(answer.offset, what="POST")
                    self._ledger.promises.append(promise)
                    return promise
                _expect(answer, "POST", promise=None, allowed=(503,))

    async def _go_on(self, wire: Wire, promise: Promise, data: bytes) -> None:
        """Ask, then send body after body, on one connection."""
        answer = await self._timed(tus.head(promise.url, wire=wire))
        self._note("HEAD", answer)
        if answer.status != 200:
            return _expect(answer, "HEAD", promise, allowed=(423,))
        promise.acknowledge(answer.offset, what="HEAD")
        while not promise.is_finished:
            offset = promise.acknowledged
            size = self._dice.randrange(*BODY_BYTES)
            answer = await self._send(wire, promise, data[offset : offset + size])
            self._note("PATCH", answer)
            if answer.status != 204:
                # 409: what an earlier body brought was more than its answer could tell.
                return _expect(answer, "PATCH", promise, allowed=(409, 423, 503))
            promise.acknowledge(answer.offset, what="PATCH")
        return None

    async def _send(self, wire: Wire, promise: Promise, piece: bytes) -> Response:
        self._ledger.sent_bytes += len(piece)
        offset = promise.acknowledged
        if self._dice.random() < 0.7:
            return await self._timed(tus.patch(promise.url, offset, piece, wire=wire))
        # Chunked, with an Expect, as phones do.
        async with asyncio.timeout(ANSWER_SECONDS):
            await tus.begin_chunked_patch(wire, promise.url, offset, expect=True)
            if (instead := await wire.read_continue()) is not None:
                return instead
            for start in range(0, len(piece), 64 * KIB):
                await wire.send_chunk(piece[start : start + 64 * KIB])
            await wire.end_chunks()
            return await wire.read_response()

    async def _timed(self, asking: Awaitable[Response]) -> Response:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await asking

    def _note(self, method: str, answer: Response) -> None:
        self._ledger.requests[f"{method} {answer.status}"] += 1


def _expect(
    answer: Response, method: str, promise: Promise | None, *, allowed: tuple[int, ...]
) -> None:
    """Only answers that mean "try again" are anything but a broken promise."""
    if answer.status not in allowed:
        where = promise.url if promise else "a creation"
        raise Broken(f"{method} of {where} was answered {answer.status}: {answer.text}")
