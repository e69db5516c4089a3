"""Taking an upload's lease so that its record can be believed.

Where the last lease was not let go cleanly, the record is missing, or it is of an earlier boot or
generation, bytes and record are reconciled first, and what is true is committed before anything
is written or answered.
"""

import asyncio
import logging
import time
from dataclasses import dataclass, replace

from tusd_py.core.errors import UploadLocked, UploadUnknown
from tusd_py.core.events import Event, EventKind, events_of
from tusd_py.core.facts import Facts, Remains, upload_of
from tusd_py.core.identity import check_owner
from tusd_py.core.reconcile import Reconciled, reconcile
from tusd_py.core.rules import key_of_final
from tusd_py.core.upload import GONE, Kind, Status, Upload
from tusd_py.service.parts import Parts
from tusd_py.state.base import (
    Lease,
    LeaseBusy,
    LeaseGone,
    OnceTaken,
    Purpose,
    RecordUnknown,
    Seen,
    StateError,
    Taken,
    UploadState,
    Visit,
)
from tusd_py.stores.base import ByteStore, StoreError

log = logging.getLogger(__name__)

ADOPTION_TRIES = 3
"""Somebody else may adopt, or remove, the same upload in between."""


@dataclass(frozen=True, slots=True)
class Held:
    """The lease is ours and the record is true."""

    lease: Lease
    upload: Upload


class AlreadyTerminated(UploadUnknown):
    """The record was a left-over of a termination; it was removed now."""


class Settler:
    """Takes leases and reconciles. Without state of its own."""

    def __init__(self, parts: Parts) -> None:
        self._state = parts.state
        self._store = parts.store
        self._limits = parts.settings.limits
        self._observer = parts.observer
        self._now = parts.now

    async def visit(self, visit: Visit) -> Held | Seen:
        """The upload for ``visit``, settled. Raises UploadError or what the back ends raise.

        Cancelling lets the lease go again.
        """
        found = await self._take(visit)
        if isinstance(found, Seen):
            if found.upload.status in GONE:
                raise UploadUnknown()
            return found
        try:
            if found.is_settled:
                return Held(found.lease, found.upload)
            return await self._settle(found, visit)
        except LeaseGone:
            raise
        except BaseException:
            await let_go(self._state, found.lease)
            raise

    async def _take(self, visit: Visit) -> Taken | Seen:
        for _ in range(ADOPTION_TRIES):
            began = time.monotonic()
            try:
                found = await self._state.take(visit)
                if found.waited_seconds > 0:
                    self._observer.lease_waited(found.waited_seconds, granted=True)
                return found
            except LeaseBusy:
                if visit.wait_seconds > 0:
                    self._observer.lease_waited(time.monotonic() - began, granted=False)
                raise
            except RecordUnknown:
                remains = await self._store.load(visit.upload_id)
            if remains is None:
                raise UploadUnknown()
            check_owner(visit.principal, remains.facts.owner)
            try:
                taken = await self._adopt(remains)
            except LeaseBusy as busy:
                if busy.retry_after_seconds > 0:
                    raise
                continue  # somebody else made the record meanwhile
            log.warning("upload_adopted", extra={"upload_id": visit.upload_id})
            self._observer.swept("adopted")
            return taken
        raise UploadLocked()

    async def _adopt(self, remains: Remains) -> Taken:
        upload = self._made_anew(remains.facts)
        if upload.kind is not Kind.FINAL:
            return await self._state.adopt(upload)
        try:
            return await self._state.adopt(upload, once=key_of_final(upload))
        except OnceTaken:
            if remains.mark is not None:
                return await self._state.adopt(upload)  # nothing that is complete goes
        # Its creation died before anybody was told of it, and was asked for again: joined as well,
        # the same file would be told of twice.
        log.warning("creation_was_repeated", extra={"upload_id": upload.id})
        await self._store.remove(upload.id)
        raise AlreadyTerminated()

    def _made_anew(self, facts: Facts) -> Upload:
        """Facts hold the expiry of the creation; progress may have put it off since."""
        upload = upload_of(facts)
        return replace(upload, expires_at=self._limits.expiry_after_progress(upload, self._now()))

    async def _settle(self, taken: Taken, visit: Visit) -> Held | Seen:
        """[lease-only] Only here do boot, generation and offset change, before the first byte."""
        lease, row = taken.lease, taken.upload
        # Read after the lease was taken: what is not there now was terminated [adopt-leased].
        remains = await self._store.load(row.id)
        result = reconcile(
            row,
            remains,
            present_boot_id=await self._present_boot_id(taken),
            durability=self._store.durability,
        )
        if result is None:
            await self._remove_leftover(lease, row)
            raise AlreadyTerminated()
        self._tell_losses(row, remains, result)
        if result.must_sync:
            await self._store.sync(row.id)
        return await self._commit(lease, row, result, visit.purpose)

    async def _present_boot_id(self, taken: Taken) -> str | None:
        """[host-boot] A state that was lost has not heard of every host again, and bytes that were
        acknowledged must not go for that: hosts say it beside the bytes too. A state that has
        forgotten only what was told last may know a boot of before: where the two differ, the
        writer's is believed to run no more."""
        writer, known = taken.upload.writer, taken.writer_boot_id
        if known is not None and known != writer.boot_id:
            return known
        if (published := await self._store.boot_of(writer.host)) is not None:
            return published
        if known is not None:
            return known
        return writer.boot_id if await self._store.hosts_of(writer.boot_id) else None

    async def _commit(
        self, lease: Lease, row: Upload, result: Reconciled, purpose: Purpose
    ) -> Held | Seen:
        upload = replace(result.upload, writer=self._state.boot)
        if result.must_sync:
            upload = replace(upload, synced_offset=upload.offset)
        events: list[Event] = []
        if upload.status is Status.COMPLETE and row.status is not Status.COMPLETE:
            # The commit that told of it may be forgotten; told again it has the same id. A row
            # that says "complete" itself came with its event, which is told and purged by now.
            finished_at = upload.finished_at or self._now()
            events.extend(events_of(upload, EventKind.COMPLETED, occurred_at=finished_at))
            await tidy_placed(self._store, upload)
        release = _needs_no_lease(upload, purpose)
        await self._state.commit(lease, upload, events, release=release)
        if not release:
            return Held(lease, upload)
        if upload.status in GONE:
            raise UploadUnknown()
        return Seen(upload)

    async def _remove_leftover(self, lease: Lease, row: Upload) -> None:
        """[facts-rule] A record without facts is a terminated upload, whatever its status."""
        await self._store.remove(row.id)
        now = self._now()
        expired = row.expires_at is not None and row.expires_at <= now and row.is_unfinished
        kind = EventKind.EXPIRED if expired else EventKind.TERMINATED
        await self._state.remove(lease, events_of(row, kind, occurred_at=now))

    def _tell_losses(self, row: Upload, remains: Remains | None, result: Reconciled) -> None:
        self._observer.reconciled(result.lost_bytes)
        facts = {
            "upload_id": row.id,
            "record_offset": row.offset,
            "file_bytes": remains.size if remains else None,
            "offset": result.upload.offset,
            "status": result.upload.status.value,
        }
        if result.lost_bytes:
            log.error("acknowledged_bytes_lost", extra={**facts, "lost_bytes": result.lost_bytes})
        else:
            log.info("upload_reconciled", extra=facts)


def _needs_no_lease(upload: Upload, purpose: Purpose) -> bool:
    if purpose in (Purpose.SWEEP, Purpose.TERMINATE):
        return False
    if upload.status is Status.RECEIVED:
        return False
    if upload.status is Status.RECEIVING:
        return purpose is Purpose.READ and not upload.is_full
    return True


async def let_go(state: UploadState, lease: Lease) -> None:
    """Release without a change, also while being cancelled, and whatever the state store does:
    a lease that cannot be let go runs out."""
    try:
        await asyncio.shield(state.release(lease))
    except (LeaseGone, StateError) as exc:
        log.warning("lease_not_released", extra={"upload_id": lease.upload_id, "reason": repr(exc)})


async def tidy_placed(store: ByteStore, upload: Upload) -> None:
    """Remove what placing left behind, once the mark names the place and before the commit: after
    it nobody looks. The upload is complete whether this succeeds or not."""
    if upload.place is None:
        return
    try:
        await store.tidy_placed(upload.id)
    except StoreError:
        log.exception("tidy_failed", extra={"upload_id": upload.id})
