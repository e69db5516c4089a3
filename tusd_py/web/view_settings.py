"""Settings of the reading side: downloads, status, events."""

from typing import Annotated

from pydantic import Field, field_validator

from tusd_py.protocol.disposition import check_inline_type
from tusd_py.settings import Settings

INLINE_TYPES = (
    *("video/mp4", "video/webm", "audio/*"),
    *("image/png", "image/jpeg", "image/gif", "image/webp"),
)


class DownloadSettings(Settings):
    """Finished files, for whoever may read the upload."""

    enabled: bool = True
    """Whether GET of a finished upload gives its bytes. Off: it tells the offset, as HEAD does."""
    inline_types: tuple[str, ...] = INLINE_TYPES
    """Media types that browsers may show in place; "audio/*" and "video/*" stand for all of theirs.
    Files of any other type are handed out as bytes to be saved. Types that can run scripts (pages,
    SVG, XML, PDF) cannot be listed."""
    threads: Annotated[int, Field(ge=1, le=256)] = 8
    """Threads that send files; slow clients hold none."""
    sendfile: bool = True
    """Whether files go from disk to socket inside the kernel, where that can be."""

    @field_validator("inline_types")
    @classmethod
    def _are_harmless(cls, types: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(check_inline_type, types))


class WatchSettings(Settings):
    """How uploads stand: a JSON page, and events for those who want to be told."""

    enabled: bool = True
    """Whether status and events are served."""
    poll_seconds: Annotated[float, Field(ge=0.1, le=60)] = 1.0
    """How often the state is asked about something that is watched, however many watch it."""
    heartbeat_seconds: Annotated[float, Field(ge=1, le=300)] = 15.0
    """A stream that has nothing to tell says so this often, and the right to it is looked at again;
    shorter than the patience of proxies."""
    max_streams: Annotated[int, Field(ge=0)] = 1000
    """Event streams that one process keeps open at once; others are answered 503."""
    stream_seconds: Annotated[float, Field(ge=1)] = 3600.0
    """A stream ends after this time; its client comes again by itself."""
