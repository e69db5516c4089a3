"""Looking at uploads without disturbing them: how they stand, and the bytes of finished ones.

No lease is taken and nobody is asked to let go: the record is told as it was last committed, which
a running body does each ``checkpoint_seconds``. What lost its record and has its bytes is not seen
here before somebody asked for its offset, or the sweeper found it.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from tusd_py.core.errors import BytesGone, UploadUnknown
from tusd_py.core.events import describe, iso_time
from tusd_py.core.identity import Owner, Principal, check_owner
from tusd_py.core.ids import UploadId
from tusd_py.core.upload import Kind, Status, Upload
from tusd_py.service.parts import Parts
from tusd_py.service.translate import translated
from tusd_py.state.base import Filter
from tusd_py.stores.base import OpenBytes

log = logging.getLogger(__name__)

INTERRUPTED: Final = "interrupted"
STATES: Final[Mapping[Status, str]] = {
    Status.RECEIVING: "receiving",
    Status.RECEIVED: "received",
    Status.JOINING: "joining",
    Status.COMPLETE: "complete",
    Status.REJECTED: "rejected",
    Status.INVALID: "invalid",
}
"""What a client reads; one that is being terminated is not there any more."""
STATE_WORDS: Final = (*STATES.values(), INTERRUPTED)
LAST_STATES: Final = frozenset({"complete", "rejected", "invalid"})
"""Nothing follows but removal."""
FRESH_CHECKPOINTS: Final = 3
"""A checkpoint that is older than so many of them says nothing of the present any more."""
MAX_PAGE: Final = 100
MAX_SURVEYED: Final = 1000
"""Of one client's uploads, so many are watched at once."""


@dataclass(frozen=True, slots=True)
class View:
    """One upload as its client may see it."""

    upload_id: UploadId
    state: str
    data: Mapping[str, Any]
    """Ready for JSON. It holds nothing of the token, and no path."""

    @property
    def is_last(self) -> bool:
        """It stays like this."""
        return self.state in LAST_STATES


@dataclass(frozen=True, slots=True)
class Page:
    """Some of one client's uploads, by id, and where to go on."""

    views: Sequence[View]
    after: UploadId | None
    """None: these were the last."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A finished upload, and its bytes, which are the caller's to close."""

    upload: Upload
    bytes: OpenBytes


class Observing:
    """Every method raises UploadError and nothing else that a client or a back end can cause."""

    def __init__(self, parts: Parts) -> None:
        self._state = parts.state
        self._store = parts.store
        self._now = parts.now
        self._fresh_seconds = FRESH_CHECKPOINTS * parts.settings.checkpoint_seconds

    async def look(self, upload_id: UploadId, principal: Principal) -> View:
        """Raises UploadUnknown, VideoMismatch, ClientMismatch, StateUnavailable."""
        with translated():
            upload = await self._state.find(upload_id)
        if upload is None:
            raise UploadUnknown()
        check_owner(principal, upload.owner)
        if upload.status not in STATES:
            raise UploadUnknown()
        return self._view(upload)

    async def page(
        self, owner: Owner, *, state: str | None, after: UploadId | None, limit: int
    ) -> Page:
        """``state``: one of STATE_WORDS; None: all. ``limit``: at most MAX_PAGE. There may be fewer
        on a page that is not the last."""
        wanted = Filter(
            video_id=owner.video_id, client_id=owner.client_id, status=_status_of(state)
        )
        with translated():
            found = await self._state.page(wanted, after=after, limit=min(limit, MAX_PAGE))
        views = [self._view(upload) for upload in found if upload.status in STATES]
        return Page(
            [view for view in views if state in (None, view.state)],
            found[-1].id if len(found) == min(limit, MAX_PAGE) else None,
        )

    async def survey(self, subject: UploadId | Owner) -> dict[UploadId, View]:
        """One upload, or all of one client's for one video, up to MAX_SURVEYED; those that are not
        there (any more) are left away. Nobody's rights are looked at."""
        if isinstance(subject, Owner):
            return await self._survey_owner(subject)
        with translated():
            upload = await self._state.find(subject)
        if upload is None or upload.status not in STATES:
            return {}
        return {upload.id: self._view(upload)}

    async def _survey_owner(self, owner: Owner) -> dict[UploadId, View]:
        views: dict[UploadId, View] = {}
        after: UploadId | None = None
        for _ in range(MAX_SURVEYED // MAX_PAGE):
            page = await self.page(owner, state=None, after=after, limit=MAX_PAGE)
            views.update((view.upload_id, view) for view in page.views)
            if (after := page.after) is None:
                break
        return views

    async def open(self, upload_id: UploadId, principal: Principal) -> Opened | None:
        """The bytes of a complete upload, unless it is a part of another; None where there is
        nothing to download (yet). Raises BytesGone where its bytes were taken away."""
        with translated():
            upload = await self._state.find(upload_id)
            if upload is None:
                return None
            check_owner(principal, upload.owner)
            if not upload.is_complete or upload.kind is Kind.PARTIAL:
                return None
            opened = await self._store.open_bytes(upload.id, place=upload.place)
        if opened is None:
            raise BytesGone()
        if opened.length != upload.offset:
            # Whatever lies there now is not what was sent, nor what was verified.
            log.warning(
                "finished_bytes_differ",
                extra={"upload_id": upload.id, "bytes": opened.length, "offset": upload.offset},
            )
            await opened.close()
            raise BytesGone()
        return Opened(upload, opened)

    def _view(self, upload: Upload) -> View:
        is_fresh = self._now() - upload.changed_at <= self._fresh_seconds
        return view_of(upload, bytes_per_second=upload.bytes_per_second if is_fresh else 0.0)


def view_of(upload: Upload, *, bytes_per_second: float) -> View:
    """``upload``, whose status is one of STATES, for its client."""
    state = STATES[upload.status]
    if upload.status is Status.RECEIVING and upload.is_interrupted:
        state = INTERRUPTED
    told = describe(replace(upload, overrides={}))
    kept = ("upload_id", "video_id", "client_id", "kind", "metadata", "metadata_base64")
    data = {
        "state": state,
        "offset": upload.offset,
        "length": upload.length,
        "percent": percent_of(upload),
        "bytes_per_second": round(bytes_per_second),
        "sentence": upload.refusal,
        "created_at": told["created_at"],
        "changed_at": iso_time(upload.changed_at or upload.created_at),
        "expires_at": told["expires_at"] if upload.can_expire else None,
        "finished_at": told["finished_at"],
        "digests": told["digests"],
        "protocol": upload.protocol,
    }
    return View(upload.id, state, {key: told[key] for key in kept} | data)


def percent_of(upload: Upload) -> float | None:
    """Of the length, to a tenth, rounded down: 100 only with the last byte."""
    if upload.length is None:
        return None
    if upload.length == 0:
        return 100.0
    return min(upload.offset, upload.length) * 1000 // upload.length / 10


def _status_of(state: str | None) -> Status | None:
    if state == INTERRUPTED:
        return Status.RECEIVING
    return next((status for status, word in STATES.items() if word == state), None)
