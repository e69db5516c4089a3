"""Server-sent events (WHATWG HTML, 9.2): an upload's status whenever it changes.

A stream begins with the present state, so that nothing is lost between two of them. One of a single
upload ends with ``end`` once nothing follows any more; browsers come again after every end, and are
told by 204 to stay away then. Scripts that have to send a token use ``fetch``: ``EventSource`` has
no headers, and a token has no place in an address.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, Final, Protocol

from tusd_py.core.errors import UploadError
from tusd_py.core.identity import Principal
from tusd_py.core.ids import UploadId
from tusd_py.protocol import headers as h
from tusd_py.protocol.answers import Answer, Header
from tusd_py.service.observing import View
from tusd_py.service.watching import Changes, Subject, Viewer, WatchOver
from tusd_py.web.exchange import Exchange
from tusd_py.web.health import options_or_refusal
from tusd_py.web.streaming import Content, Cut, Sink, Streamed
from tusd_py.web.uploads import SCOPE_READ, bearer_of
from tusd_py.web.view_settings import WatchSettings
from tusd_py.web.views import ReadAccess, id_in, owner_of, tag_of, write_json

EVENT_STREAM: Final = "text/event-stream"
RETRY_MILLISECONDS: Final = (1000, 3000)
"""When to come again: not all in the same moment after a restart."""
REMOVED: Final = "removed"
_HEADERS: Final[tuple[Header, ...]] = (
    (h.CONTENT_TYPE, EVENT_STREAM),
    (h.CACHE_CONTROL, "no-store"),
    (h.CONTENT_TYPE_OPTIONS, "nosniff"),
    # nginx holds an answer back otherwise until it has some KiB of it.
    (h.ACCEL_BUFFERING, "no"),
)


class LookService(Protocol):
    """What is asked of ``service.observing.Observing``."""

    async def look(self, upload_id: UploadId, principal: Principal) -> View: ...


class WatchService(Protocol):
    """What is asked of ``service.watching.Watchers``."""

    def join(self, subject: Subject) -> Viewer: ...


class UploadEvents:
    """``<base><id>/events``."""

    name = "events"

    def __init__(
        self,
        views: LookService,
        watchers: WatchService,
        access: ReadAccess,
        settings: WatchSettings,
    ) -> None:
        self._views = views
        self._watchers = watchers
        self._access = access
        self._settings = settings

    async def answer(self, exchange: Exchange) -> Answer:
        if answer := options_or_refusal(exchange.method):
            return answer
        upload_id, bearer = id_in(exchange.tail), bearer_of(exchange)

        async def check() -> Principal:
            return await self._access.for_upload(bearer, SCOPE_READ)

        view = await self._views.look(upload_id, await check())
        if view.is_last and exchange.request.headers.get(h.LAST_EVENT_ID) == tag_of(view.data):
            return Answer(204)  # it has heard all there is
        if exchange.method == "HEAD":
            return Answer(200, _HEADERS)
        content = EventStream(
            self._watchers.join(upload_id), check, self._settings, ends_with_upload=True
        )
        return Streamed(200, _HEADERS, content=content)

    async def unsent(self, exchange: Exchange, answer: Answer) -> None:
        """Nobody misses it."""


class OwnerEvents:
    """``<base>events``: all uploads of one client for one video."""

    name = "owner_events"

    def __init__(self, watchers: WatchService, access: ReadAccess, settings: WatchSettings) -> None:
        self._watchers = watchers
        self._access = access
        self._settings = settings

    async def answer(self, exchange: Exchange) -> Answer:
        if answer := options_or_refusal(exchange.method):
            return answer
        bearer = bearer_of(exchange)

        async def check() -> Principal:
            return await self._access.for_listing(bearer)

        owner = owner_of(await check(), exchange)
        if exchange.method == "HEAD":
            return Answer(200, _HEADERS)
        content = EventStream(
            self._watchers.join(owner), check, self._settings, ends_with_upload=False
        )
        return Streamed(200, _HEADERS, content=content)

    async def unsent(self, exchange: Exchange, answer: Answer) -> None:
        """Nobody misses it."""


class EventStream(Content):
    """One viewer's stream."""

    kind: ClassVar[str] = "events"

    def __init__(
        self,
        viewer: Viewer,
        check: Callable[[], Awaitable[Principal]],
        settings: WatchSettings,
        *,
        ends_with_upload: bool,
    ) -> None:
        self.length = None
        self._viewer = viewer
        self._check = check
        self._settings = settings
        self._ends_with_upload = ends_with_upload

    async def send(self, sink: Sink) -> None:
        clock = asyncio.get_running_loop().time
        ends_at = clock() + self._settings.stream_seconds
        beat_at, taken = clock() + self._settings.heartbeat_seconds, sink.taken_bytes
        await sink.write(f"retry: {random.randint(*RETRY_MILLISECONDS)}\n\n".encode())
        while (now := clock()) < ends_at:
            try:
                changes = await self._viewer.changes(max(0.0, min(beat_at, ends_at) - now))
            except WatchOver:
                return
            if changes is not None:
                await sink.write(self._tell(changes))
                if self._ends_with_upload and _is_over(changes):
                    return
            if clock() < beat_at:
                continue
            if (refusal := await self._refusal()) is not None:
                await sink.write(build_event("end", {"code": refusal.code}))
                return
            # The kernel holds much for a viewer that is gone, or does not read.
            if sink.unread_bytes and sink.taken_bytes <= taken:
                raise Cut("the client takes nothing")
            beat_at, taken = clock() + self._settings.heartbeat_seconds, sink.taken_bytes
            if changes is None:
                await sink.write(b":\n\n")

    async def close(self) -> None:
        self._viewer.leave()

    async def _refusal(self) -> UploadError | None:
        """Why this may not be seen any more: a token that has expired meanwhile, for one."""
        try:
            await self._check()
        except UploadError as exc:
            return exc
        return None

    def _tell(self, changes: Changes) -> bytes:
        told = [build_event("status", view.data, tag_of(view.data)) for view in changes.views]
        if not self._ends_with_upload:
            told += [build_event(REMOVED, {"upload_id": one}) for one in changes.removed]
        elif changes.views and changes.views[0].is_last:
            view = changes.views[0]
            end = {"upload_id": view.upload_id, "state": view.state}
            told.append(build_event("end", end, tag_of(view.data)))
        elif not changes.views:
            told += [
                build_event("end", {"upload_id": one, "state": REMOVED}) for one in changes.removed
            ]
        return b"".join(told)


def _is_over(changes: Changes) -> bool:
    """Of one upload: it is in its last state, or not there any more."""
    return not changes.views or changes.views[0].is_last


def build_event(kind: str, data: Mapping[str, Any], event_id: str | None = None) -> bytes:
    """One event; the data is one line, for a line end would end it."""
    identity = "" if event_id is None else f"id: {event_id}\n"
    return f"event: {kind}\n{identity}data: {write_json(data)}\n\n".encode()
