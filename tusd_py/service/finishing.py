"""From "all bytes are there" to "complete": gate, place, mark, commit, in that order.

Nothing tells a client that its upload is complete before the commit, and everything up to it can be
repeated: whoever finds a received or full upload after a crash goes through the same steps again.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from tusd_py.core.destination import build_destination
from tusd_py.core.digests import Algorithm
from tusd_py.core.errors import (
    GateRefused,
    LeaseLost,
    UploadError,
    UploadHandedOver,
    WholeDigestMismatch,
)
from tusd_py.core.events import EventKind, describe, events_of
from tusd_py.core.facts import CompletionMark
from tusd_py.core.reconcile import Durability
from tusd_py.core.rules import move, pair_of
from tusd_py.core.upload import Kind, Status, Upload
from tusd_py.hooks.base import Moment, Question
from tusd_py.service.keeper import Keeper, keep_on
from tusd_py.service.parts import Parts
from tusd_py.service.patience import commit_in_time
from tusd_py.service.settling import Held, tidy_placed
from tusd_py.state.base import Lease, LeaseGone, StateError
from tusd_py.stores.base import StoreError
from tusd_py.streams import StopReason

log = logging.getLogger(__name__)


class Finisher:
    """Completes uploads that have all their bytes."""

    def __init__(self, parts: Parts) -> None:
        self._state = parts.state
        self._store = parts.store
        self._gates = parts.gates
        self._settings = parts.settings
        self._observer = parts.observer
        self._now = parts.now
        self._destination = parts.destination

    async def finish(self, held: Held, wanted: Sequence[Algorithm] = ()) -> Upload:
        """Complete the upload and let its lease go. ``wanted``: digests of the whole that the
        client would like to know. A partial upload is neither shown to a gate, nor put in a
        place, nor told of: the final upload will be.

        Raises GateRefused or WholeDigestMismatch (the upload is rejected, the lease let go),
        GateFailed or
        UploadHandedOver (it stays received, the lease let go), or what the back ends raise (the
        lease runs out; the next one who looks goes on).
        """
        upload = held.upload
        is_asked = upload.kind is not Kind.PARTIAL and self._gates.has(Moment.FINISH)
        if is_asked or upload.promised_digests:
            upload = await self._receive(held.lease, upload)
        if upload.promised_digests or wanted:
            upload = await self._verify(held.lease, upload, wanted)
        if is_asked:
            await self._ask(held.lease, upload)
        try:
            marked = await self._mark(held.lease, upload)
        except StoreError:
            await self._give_back(held.lease, upload)
            raise
        if held.lease.is_over:
            raise LeaseLost()
        await tidy_placed(self._store, marked)
        events = events_of(marked, EventKind.COMPLETED, occurred_at=marked.finished_at or 0.0)
        await commit_in_time(self._state, held.lease, marked, events, release=True)
        self._observer.upload_event(EventKind.COMPLETED)
        log.info("upload_completed", extra={"upload_id": marked.id, "bytes": marked.length})
        return marked

    def _keep(self, lease: Lease, upload: Upload, on_stop: Callable[[StopReason], None]) -> Keeper:
        return Keeper(
            self._state, lease, lambda: upload, on_stop, self._settings.checkpoint_seconds
        )

    async def _receive(self, lease: Lease, upload: Upload) -> Upload:
        """Commit that all bytes are there. They are synced before, so that a record which says
        so after a power loss cannot lead a gate, or a receiver, to a file with holes."""
        if self._store.durability is not Durability.PROCESS:
            async with self._keep(lease, upload, keep_on):
                await self._store.sync(upload.id)
            upload = replace(upload, synced_offset=upload.offset)
        if upload.status is not Status.RECEIVED:
            upload = move(upload, Status.RECEIVED)
        await commit_in_time(self._state, lease, upload, release=False)
        return upload

    async def _verify(self, lease: Lease, upload: Upload, wanted: Sequence[Algorithm]) -> Upload:
        """The record with digests of the whole file, read once. Raises WholeDigestMismatch."""
        promised = dict(upload.promised_digests)
        algorithms = list(dict.fromkeys([*map(Algorithm, promised), *wanted]))
        if set(algorithms) <= dict(upload.digests).keys():
            return upload  # by who asked a gate in vain: a large file is not read once a look
        try:
            async with self._keep(lease, upload, keep_on):
                found = await self._store.digest(upload.id, algorithms, length=upload.offset)
        except StoreError:
            await self._give_back(lease, upload)
            raise
        pairs = tuple(map(pair_of, found))
        if not promised.items() <= dict(pairs).items():
            error = WholeDigestMismatch()
            await self._reject(lease, upload, error)
            raise error
        return replace(upload, digests=pairs)

    async def _ask(self, lease: Lease, upload: Upload) -> None:
        """Put the question. A DELETE that wants the lease ends the asking."""
        question = Question(
            moment=Moment.FINISH,
            upload=describe(upload),
            path=self._store.local_path(upload.id),
        )
        asking = asyncio.create_task(self._gates.ask(question))
        stopped: list[StopReason] = []

        def stop(reason: StopReason) -> None:
            stopped.append(reason)
            asking.cancel()

        try:
            async with self._keep(lease, upload, stop):
                await asyncio.wait({asking})
        finally:
            asking.cancel()
        if asking.cancelled():
            await self._give_back(lease, upload)
            raise UploadHandedOver() if StopReason.ASKED in stopped else LeaseLost()
        error = asking.exception()
        if isinstance(error, GateRefused):
            await self._reject(lease, upload, error)
        elif error is not None:
            await self._give_back(lease, upload)
        if error is not None:
            raise error

    async def _reject(self, lease: Lease, upload: Upload, refusal: UploadError) -> None:
        rejected = replace(
            move(upload, Status.REJECTED), refusal=str(refusal), changed_at=self._now()
        )
        events = events_of(rejected, EventKind.REJECTED, occurred_at=rejected.changed_at)
        await commit_in_time(self._state, lease, rejected, events, release=True)
        self._observer.upload_event(EventKind.REJECTED)
        log.info("upload_rejected", extra={"upload_id": upload.id, "code": refusal.code})

    async def _give_back(self, lease: Lease, upload: Upload) -> None:
        """It stays as it is, with all its bytes; whoever comes next goes through this again."""
        try:
            await self._state.commit(lease, upload, release=True)
        except (LeaseGone, StateError) as exc:
            log.warning("lease_not_released", extra={"upload_id": upload.id, "reason": repr(exc)})

    async def _mark(self, lease: Lease, upload: Upload) -> Upload:
        """[mark-first] Bytes in place and synced [sync-at-finish], then the mark beside them."""
        length = upload.offset
        finished_at = self._now()
        async with self._keep(lease, upload, keep_on):
            place = None
            if self._destination is not None and upload.kind is not Kind.PARTIAL:
                name = build_destination(self._destination, upload)
                place = await self._store.place(upload.id, name, length=length)
            if lease.is_over:
                raise LeaseLost()
            mark = CompletionMark(length=length, finished_at=finished_at, place=place)
            await self._store.complete(upload.id, mark)
        return replace(
            move(upload, Status.COMPLETE),
            length=length,
            suspect_length=0,
            changed_at=finished_at,
            finished_at=finished_at,
            place=place,
        )
