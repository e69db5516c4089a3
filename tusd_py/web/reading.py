"""The reading side put together: downloads, status, events, and the streams they are sent by."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tusd_py.service.observing import Observing
from tusd_py.service.watching import Watchers
from tusd_py.web.downloads import Downloads
from tusd_py.web.exchange import Resource
from tusd_py.web.sendfile import SendThreads
from tusd_py.web.streaming import CountStream, End, Streams
from tusd_py.web.view_settings import DownloadSettings, WatchSettings
from tusd_py.web.views import ReadAccess, StatusList, UploadStatus
from tusd_py.web.watching import OwnerEvents, UploadEvents

STATUS: Final = "status"
EVENTS: Final = "events"
Leaf = tuple[str, str, Resource]
"""Prefix, last segment, what lies there."""


def _count_nothing(kind: str, end: End, sent_bytes: int) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingParts:
    """What it is made of; ``compose`` puts it together."""

    observing: Observing
    access: ReadAccess
    download: DownloadSettings
    watch: WatchSettings
    count: CountStream = _count_nothing


class Reading:
    """The resources, and what a stop has to end. Without parts there are none."""

    def __init__(self, parts: ReadingParts | None, *, answer_seconds: float) -> None:
        has_files = parts is not None and parts.download.enabled
        self._threads = (
            SendThreads(parts.download.threads)
            if parts is not None and has_files and parts.download.sendfile
            else None
        )
        self.streams = Streams(
            self._threads,
            stall_seconds=answer_seconds,
            count=_count_nothing if parts is None else parts.count,
        )
        self.downloads = (
            Downloads(parts.observing, parts.access, parts.download)
            if parts is not None and has_files
            else None
        )
        self._views = None if parts is None or not parts.watch.enabled else _Views(parts)

    def exact(self, base_path: str) -> Mapping[str, Resource]:
        """Path to what is there."""
        views = self._views
        if views is None:
            return {}
        return {base_path + STATUS: views.status_list, base_path + EVENTS: views.owner_events}

    def leaves(self, base_path: str) -> tuple[Leaf, ...]:
        """What lies below each upload."""
        views = self._views
        if views is None:
            return ()
        return ((base_path, STATUS, views.status), (base_path, EVENTS, views.events))

    def stop(self) -> None:
        """Event streams end now, downloads in a moment."""
        if self._views is not None:
            self._views.watchers.stop()
        self.streams.stop()

    async def close(self) -> None:
        """Nothing is being answered any more."""
        if self._views is not None:
            await self._views.watchers.close()
        if self._threads is not None:
            self._threads.close()


class _Views:
    """Status and events."""

    def __init__(self, parts: ReadingParts) -> None:
        observing, access, settings = parts.observing, parts.access, parts.watch
        self.watchers = Watchers(
            observing, poll_seconds=settings.poll_seconds, max_viewers=settings.max_streams
        )
        self.status = UploadStatus(observing, access)
        self.status_list = StatusList(observing, access)
        self.events = UploadEvents(observing, self.watchers, access, settings)
        self.owner_events = OwnerEvents(self.watchers, access, settings)
