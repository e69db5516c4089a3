"""How many bodies of one client are read as fast as they come, over all servers at once.

No body is refused and none waits: each has a place beside it or is read slowly until it gets one.
Places are taken and renewed beside the running body, so that no request waits for them, and those
that are over within a moment take none. Where the state cannot be asked nobody is slowed.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from tusd_py.core.ids import HolderId
from tusd_py.core.upload import Upload
from tusd_py.service.background import Background
from tusd_py.service.parts import Parts
from tusd_py.state.base import StateError
from tusd_py.state.quotas import Quotas
from tusd_py.streams import ByteSource, SourceEnd

log = logging.getLogger(__name__)

FIRST_SECONDS: Final = 1.0
"""A body that is over by then takes no place."""
RENEW_SECONDS: Final = 3.0
"""Also how long a body is read slowly at most after a place got free."""
PLACE_SECONDS: Final = 10.0
"""Of a process that died on another machine: its places are free again after this time."""
KEY: Final = "bodies:"
"""Goes before the client's name: what is counted."""


class Pace:
    """How fast one body may be read: as fast as it comes, until it is told otherwise."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._bytes_per_second: float | None = None
        self._due = 0.0
        self._changed = asyncio.Event()

    @property
    def is_limited(self) -> bool:
        return self._bytes_per_second is not None

    def limit(self, bytes_per_second: float | None) -> None:
        """From now on, also for who is waiting already; None: as fast as it comes."""
        self._bytes_per_second = bytes_per_second
        self._changed.set()

    async def wait(self) -> None:
        """Until more may be read. Cancelling is safe."""
        while self.is_limited and (left := self._due - self._loop.time()) > 0:
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._changed.wait()

    def count(self, size: int) -> None:
        """So many bytes were read."""
        if self._bytes_per_second is not None:
            began = max(self._due, self._loop.time())
            self._due = began + size / self._bytes_per_second


class PacedSource(ByteSource):
    """A body that is read at a pace. While it is not read its sender is held back by the network,
    and the times that count its silence stand still, as they do for a slow disk."""

    def __init__(self, source: ByteSource, pace: Pace) -> None:
        self._source = source
        self._pace = pace

    @property
    def announced_bytes(self) -> int | None:
        return self._source.announced_bytes

    async def invite(self) -> None:
        await self._source.invite()

    async def read(self) -> bytes:
        # No byte is in our hands at either wait, so cancelling loses none.
        await self._pace.wait()
        data = await self._source.read()
        self._pace.count(len(data))
        return data

    @property
    def end(self) -> SourceEnd | None:
        return self._source.end


class Pacing:
    """Gives bodies their pace. Without the limit a body is read as it is."""

    def __init__(self, parts: Parts, background: Background) -> None:
        self._quotas = parts.need_quotas if parts.limits.bodies is not None else None
        self._limit = parts.limits.bodies or 0
        self._bytes_per_second = float(parts.limits.slowed_bytes_per_second)
        self._observer = parts.observer
        self._background = background

    @contextmanager
    def paced(self, upload: Upload, body: HolderId, source: ByteSource) -> Iterator[ByteSource]:
        """``source``, to be read within this context."""
        if self._quotas is None:
            yield source
            return
        pace = Pace()
        place = Place(self._quotas, KEY + upload.owner.client_id, body, limit=self._limit)
        keeping: list[asyncio.Task[None]] = []

        def begin() -> None:
            keeping.append(self._background.spawn(self._keep(upload, place, pace)))

        # Most bodies are short: they cost a timer that does not ring.
        timer = asyncio.get_running_loop().call_later(FIRST_SECONDS, begin)
        try:
            yield PacedSource(source, pace)
        finally:
            timer.cancel()
            if pace.is_limited:
                self._observer.bodies_slowed(-1)
            for task in keeping:
                task.cancel()
                self._background.detach(place.leave_after(task))

    async def _keep(self, upload: Upload, place: "Place", pace: Pace) -> None:
        while True:
            has_place = await place.take()
            if has_place == pace.is_limited:
                pace.limit(None if has_place else self._bytes_per_second)
                self._observer.bodies_slowed(-1 if has_place else 1)
                log.info(
                    "body_freed" if has_place else "body_slowed",
                    extra={"upload_id": upload.id, "client_id": upload.owner.client_id},
                )
            await asyncio.sleep(RENEW_SECONDS)


class Place:
    """One body's wish for a place among those of its client."""

    def __init__(self, quotas: Quotas, key: str, body: HolderId, *, limit: int) -> None:
        self._quotas = quotas
        self._key = key
        self._body = body
        self._limit = limit

    async def take(self) -> bool:
        """Whether it has one, for ``PLACE_SECONDS``, or nobody can say."""
        try:
            return await self._quotas.enter(
                self._key, self._body, limit=self._limit, seconds=PLACE_SECONDS
            )
        except StateError as exc:
            # A body goes on without the state for as long as its lease lasts; so does this.
            log.debug("place_not_known", extra={"reason": repr(exc)})
            return True

    async def leave_after(self, taking: "asyncio.Task[None]") -> None:
        """Give it back, once nobody can be taking it any more."""
        await asyncio.wait({taking})
        try:
            await self._quotas.leave(self._key, self._body)
        except StateError as exc:
            log.debug("place_not_left", extra={"reason": repr(exc)})  # its deadline will do
