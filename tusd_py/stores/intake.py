"""A body on its way in: read all the time into a bounded buffer, handed on in batches.

A pump keeps a read outstanding on the source all the time (a client that goes takes with it what
was received and not read). Beside it one batch at a time is worked on.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from tusd_py.stores.disk_bytes import MAX_WRITE_BYTES, MAX_WRITE_PIECES, Piece
from tusd_py.streams import Brake, ByteSource, SourceEnd

MIN_BATCH_BYTES: Final = 256 * 1024
LINGER_SECONDS: Final = 0.25
"""Fewer bytes than that wait so long for more; below the second of a checkpoint."""
MAX_BUFFER_BYTES: Final = 2 * MAX_WRITE_BYTES
"""Received and not yet worked on, the batch under way included."""
SMALL_BODY_BYTES: Final = 64 * 1024
AT_ONCE_SECONDS: Final = 0.02
"""A small body is waited for so long before it is treated like a big one."""


class Intake:
    """What was received and is not worked on: a bounded buffer between the pump and the writer."""

    def __init__(self, room: int) -> None:
        self._room = self._room_left = room
        self._pieces: deque[Piece] = deque()
        self._bytes = 0
        self._in_flight = 0
        self._space = asyncio.Event()
        self._news = asyncio.Event()
        self._linger: asyncio.TimerHandle | None = None
        self._lingered = False
        self._is_stopped = False
        self.end: SourceEnd | None = None
        self.overflowed = False

    @property
    def is_over(self) -> bool:
        """Nothing more comes in."""
        return self.end is not None or self.overflowed

    @property
    def received_bytes(self) -> int:
        return self._room - self._room_left

    async def fill(self, source: ByteSource) -> None:
        """Read to the end, or to the first byte that has no room. Cancelling loses nothing."""
        while not self.is_over:
            while self._is_full:
                self._space.clear()
                await self._space.wait()
            data = await source.read()
            if not data:
                # A source that forgot why it ended did not say that it was complete.
                self.end = source.end or SourceEnd.HUNG_UP
            else:
                self._put(data)
        self._news.set()

    async def wait_for_batch(self) -> bool:
        """True once a write is worth its while, False once nothing more comes."""
        while not (self.is_over or self._is_stopped or self._is_worth_writing):
            if self._pieces and self._linger is None:
                loop = asyncio.get_running_loop()
                self._linger = loop.call_later(LINGER_SECONDS, self._stop_lingering)
            self._news.clear()
            await self._news.wait()
        return not (self.is_over or self._is_stopped)

    def stop(self) -> None:
        """Nothing more is waited for."""
        self._is_stopped = True
        self._news.set()

    def take(self) -> list[Piece]:
        """The next batch. It counts against the bound until ``written`` is called."""
        taken: list[Piece] = []
        size = 0
        while self._pieces and len(taken) < MAX_WRITE_PIECES and size < MAX_WRITE_BYTES:
            piece = self._pieces.popleft()
            size += len(piece)
            taken.append(piece)
        self._bytes -= size
        self._in_flight = size
        self._forget_linger()
        return taken

    def take_all(self) -> list[Piece]:
        """Everything that is left."""
        taken = list(self._pieces)
        self._pieces.clear()
        self._bytes = 0
        return taken

    def written(self) -> None:
        self._in_flight = 0
        self._space.set()

    def close(self) -> None:
        self._forget_linger()

    @property
    def _is_full(self) -> bool:
        return (
            self._bytes + self._in_flight >= MAX_BUFFER_BYTES
            or len(self._pieces) >= 2 * MAX_WRITE_PIECES
        )

    @property
    def _is_worth_writing(self) -> bool:
        return bool(self._pieces) and (
            self._bytes >= MIN_BATCH_BYTES
            or len(self._pieces) >= MAX_WRITE_PIECES
            or self._lingered
        )

    def _put(self, data: bytes) -> None:
        if len(data) > self._room_left:
            self.overflowed = True
            data = data[: self._room_left]
        self._room_left -= len(data)
        self._bytes += len(data)
        if len(data) <= MAX_WRITE_BYTES:
            if data:
                self._pieces.append(data)
        else:
            view = memoryview(data)
            for start in range(0, len(data), MAX_WRITE_BYTES):
                self._pieces.append(view[start : start + MAX_WRITE_BYTES])
        self._news.set()

    def _stop_lingering(self) -> None:
        self._lingered = True
        self._news.set()

    def _forget_linger(self) -> None:
        self._lingered = False
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None


class Reception:
    """Takes in one body. Make it, run it once; what is left then lies in ``intake``."""

    def __init__(self, source: ByteSource, room: int, brake: Brake) -> None:
        self._source = source
        self._brake = brake
        self.intake = Intake(room)

    async def run(self, work: Callable[[list[Piece]], Awaitable[bool]]) -> None:
        """Until the body is over, the brake is pulled, or ``work`` on a batch says False."""
        announced = self._source.announced_bytes
        if announced is not None and announced <= SMALL_BODY_BYTES:
            await self._read_at_once()
        if not self.intake.is_over:
            await self._stream(work)

    async def _read_at_once(self) -> None:
        """A small body that has arrived already needs no pump."""
        try:
            async with asyncio.timeout(AT_ONCE_SECONDS):
                await self.intake.fill(self._source)
        except TimeoutError:
            return  # nothing is lost: the pump goes on from here

    async def _stream(self, work: Callable[[list[Piece]], Awaitable[bool]]) -> None:
        intake = self.intake
        pump = asyncio.create_task(intake.fill(self._source))
        guard = asyncio.create_task(self._brake.wait())
        # Also where a source breaks its promise and raises: nobody may be left waiting.
        for task in (pump, guard):
            task.add_done_callback(lambda _: intake.stop())
        try:
            while await intake.wait_for_batch():
                if not await work(intake.take()):
                    break
                intake.written()
        finally:
            intake.close()
            await _end(pump, guard)
        if not pump.cancelled():
            pump.result()


async def _end(*tasks: asyncio.Task[None]) -> None:
    """Cancel them and wait until they are over, however often this is cancelled meanwhile."""
    for task in tasks:
        task.cancel()
    cancelled: asyncio.CancelledError | None = None
    while pending := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError as error:
            cancelled = cancelled or error
    if cancelled is not None:
        for task in tasks:
            if not task.cancelled():
                task.exception()  # retrieved; the cancellation goes first
        raise cancelled
