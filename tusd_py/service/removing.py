"""Taking an upload away: the record says so first, then facts, then bytes, then the record goes."""

from collections.abc import Sequence
from dataclasses import replace

from tusd_py.core.events import Event, EventKind, events_of
from tusd_py.core.identity import ANYBODY
from tusd_py.core.ids import UploadId
from tusd_py.core.rules import move
from tusd_py.core.upload import Status, Upload
from tusd_py.service.keeper import Keeper, keep_on
from tusd_py.service.parts import Parts
from tusd_py.service.settling import Held, Settler
from tusd_py.state.base import Purpose, Visit


class Remover:
    """Removes uploads whose lease is held."""

    def __init__(self, parts: Parts) -> None:
        self._settler = Settler(parts)
        self._state = parts.state
        self._store = parts.store
        self._settings = parts.settings
        self._observer = parts.observer
        self._now = parts.now

    async def remove(self, held: Held, kind: EventKind | None) -> None:
        """Remove the upload; tell it as ``kind`` (None: its retention ended, nobody is told).

        When this returns, every reader finds nothing. Cut off at any point it is gone on with by
        whoever meets the record, or its facts, next: a terminated upload never comes back.
        """
        lease, upload = held.lease, held.upload
        if upload.status is not Status.TERMINATING:
            upload = await self._announce(held, kind)
        async with Keeper(
            self._state, lease, lambda: upload, keep_on, self._settings.checkpoint_seconds
        ):
            await self._store.remove(upload.id)
        await self._state.remove(lease)

    async def forget(self, upload_id: UploadId) -> None:
        """Remove an upload whose address nobody was told. Raises what taking its lease raises."""
        visit = Visit(
            upload_id=upload_id,
            purpose=Purpose.TERMINATE,
            principal=ANYBODY,
            wait_seconds=self._settings.wait_seconds,
        )
        found = await self._settler.visit(visit)
        if isinstance(found, Held):
            await self.remove(found, EventKind.TERMINATED)

    async def _announce(self, held: Held, kind: EventKind | None) -> Upload:
        now = self._now()
        upload = replace(move(held.upload, Status.TERMINATING), changed_at=now)
        events: Sequence[Event] = ()
        if kind is not None:
            # The event shows the upload as it was, not the status that says "being removed".
            events = events_of(held.upload, kind, occurred_at=now)
        await self._state.commit(held.lease, upload, events, release=False)
        if kind is not None:
            self._observer.upload_event(kind)
        return upload
