"""Looks after uploads that nobody else looks after.

What it finds it takes the lease of, never asking a holder, and reconciles before it judges
[sweep-reconciles]: an upload whose completion is marked, or that has all its bytes, is finished,
never expired. Each reason to look has its own loop, so that a gate that is away delays no expiry,
and a join of many gigabytes nothing but other joins.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from tusd_py.core.errors import (
    LeaseLost,
    StorageFailed,
    StorageFull,
    UploadError,
    UploadLocked,
)
from tusd_py.core.events import Event, EventKind, events_of
from tusd_py.core.identity import ANYBODY
from tusd_py.core.ids import UploadId
from tusd_py.core.upload import Kind, Status, Upload
from tusd_py.service.finishing import Finisher
from tusd_py.service.joining import Joiner, PartsAwaited
from tusd_py.service.parts import Parts
from tusd_py.service.receiving import Receiver
from tusd_py.service.removing import Remover
from tusd_py.service.settling import AlreadyTerminated, Held, Settler, let_go
from tusd_py.service.translate import translated
from tusd_py.state.base import Due, Purpose, Seen, StateError, Visit
from tusd_py.stores.base import StoreError

log = logging.getLogger(__name__)

BATCH: Final = 100
"""Uploads of one reason in one look; the next look goes on."""
MAX_TRIED: Final = 10_000
"""So many that were tried in vain are looked behind."""
AT_ONCE: Final = 4
"""Uploads judged at the same time, per reason."""
FINISHED: Final = frozenset({Status.COMPLETE, Status.REJECTED, Status.INVALID})


class Sweeper:
    """Runs beside the requests, in every server process: leases keep them apart."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._settings = parts.settings
        self._settler = Settler(parts)
        self._finisher = Finisher(parts)
        self._joiner = Joiner(parts, Receiver(parts), self._finisher)
        self._remover = Remover(parts)
        self._cursor: str | None = None
        self._tried: dict[Due, dict[UploadId, int]] = {due: {} for due in Due}
        """What is due and was tried in vain, and in which look last: it goes behind the others, so
        that a hundred uploads that cannot be judged do not keep the rest waiting for ever."""
        self._looks = 0

    async def run(self) -> None:
        """Until cancelled. Faults of back ends are logged and tried again."""
        async with asyncio.TaskGroup() as group:
            for due in Due:
                group.create_task(self._look_for_ever(due))
            group.create_task(self._walk_for_ever())

    async def sweep(self, due: Due) -> int:
        """Look once at what is due for this reason; how many uploads were judged."""
        return (await self._sweep(due))[0]

    async def _sweep(self, due: Due) -> tuple[int, bool]:
        """How many were judged, and whether more may be due."""
        if (age := self._age(due)) is None:
            return 0, False
        upload_ids = await self._next(due, age)
        slots = asyncio.Semaphore(AT_ONCE)

        async def judge(upload_id: UploadId) -> bool:
            async with slots:
                # Others find joins on their way; they are made where nothing else waits for them.
                return await self.judge(upload_id, joins=due is Due.UNJOINED)

        judged = await asyncio.gather(*map(judge, upload_ids))
        self._looks += 1
        in_vain = (i for i, is_done in zip(upload_ids, judged, strict=True) if not is_done)
        self._tried[due] |= dict.fromkeys(in_vain, self._looks)
        # Also where others (a second process) took some of the batch: else two would be slower.
        return sum(judged), any(judged) and len(upload_ids) == BATCH

    async def _next(self, due: Due, age_seconds: float) -> list[UploadId]:
        """Whose turn it is: the oldest that were not tried in vain, then those longest ago."""
        tried = self._tried[due]
        listed = await self._parts.state.list_due(
            due,
            now=self._parts.now(),
            age_seconds=age_seconds,
            limit=BATCH + min(len(tried), MAX_TRIED),
        )
        # What is not due any more, or lies behind the bound, is forgotten.
        self._tried[due] = tried = {i: tried[i] for i in listed if i in tried}
        return sorted(listed, key=lambda upload_id: tried.get(upload_id, 0))[:BATCH]

    async def walk(self) -> int | None:
        """One page of the walk over the store: adopt bytes without a record, remove orphans.

        Returns how many uploads it touched; None where this was the walk's last page.
        """
        page = await self._parts.store.walk(
            self._cursor, orphan_age_seconds=self._settings.orphan_age_seconds
        )
        self._cursor = page.cursor
        touched = 0
        for upload_id in await self._without_record(page.upload_ids):
            touched += await self.judge(upload_id)
        for upload_id in await self._without_record(page.orphans):
            log.warning("orphan_removed", extra={"upload_id": upload_id})
            await self._parts.store.remove(upload_id)
            self._parts.observer.swept("orphan")
            touched += 1
        return None if page.cursor is None else touched

    async def judge(self, upload_id: UploadId, *, joins: bool = False) -> bool:
        """Take the lease, settle, and do what is due; with ``joins`` parts are put together too.
        False where it must be looked at again."""
        try:
            with translated():
                found = await self._settler.visit(
                    Visit(upload_id=upload_id, purpose=Purpose.SWEEP, principal=ANYBODY)
                )
                if isinstance(found, Seen):
                    return False
                try:
                    await self._decide(found, joins=joins)
                except asyncio.CancelledError:
                    await let_go(self._parts.state, found.lease)
                    raise
        except (UploadLocked, LeaseLost):
            return False
        except AlreadyTerminated:
            self._parts.observer.swept("terminated")
        except UploadError as exc:
            # A gate that is away, a medium that fails: told in full where it happened.
            log.info("sweep_put_off", extra={"upload_id": upload_id, "code": exc.code})
            return False
        except Exception:
            # A fault of ours that one upload brings out must not end the care for all others.
            log.exception("sweep_failed_at", extra={"upload_id": upload_id})
            return False
        return True

    async def _decide(self, held: Held, *, joins: bool) -> None:
        upload, now = held.upload, self._parts.now()
        if upload.status is Status.TERMINATING:
            await self._remove(held, EventKind.TERMINATED, "terminated")
        elif upload.status in FINISHED:
            if upload.kind is Kind.PARTIAL and _has_expired(upload, now):
                await self._remove(held, EventKind.EXPIRED, "expired")
            elif self._is_retired(upload, now):
                await self._remove(held, None, "retired")
            else:
                await self._parts.state.commit(held.lease, upload, release=True)
        elif upload.status is Status.JOINING:
            await self._join(held, now, joins=joins)
        elif upload.status is Status.RECEIVED or (upload.is_full and upload.completes_at_length):
            finished = await self._finisher.finish(held)
            await self._joiner.let_parts_go(finished)
            self._parts.observer.swept("finished")
        elif _has_expired(upload, now):
            await self._remove(held, EventKind.EXPIRED, "expired")
        else:
            await self._let_be(held, now)

    async def _join(self, held: Held, now: float, *, joins: bool) -> None:
        has_expired = _has_expired(held.upload, now)
        if has_expired and not await self._joiner.has_prospects(held.upload, now):
            await self._remove(held, EventKind.EXPIRED, "expired")
            return
        if not joins:
            await self._parts.state.commit(held.lease, held.upload, release=True)
            if has_expired:
                raise PartsAwaited()  # it stays due
            return
        try:
            joined = await self._joiner.join(held)
        except (StorageFailed, StorageFull, StoreError):
            await self._end_overdue(held.upload.id, now)
            raise
        await self._joiner.let_parts_go(joined)
        self._parts.observer.swept("finished")

    async def _end_overdue(self, upload_id: UploadId, now: float) -> None:
        """What could not be joined for long past its end keeps neither its parts nor the space."""
        found = await self._settler.visit(
            Visit(upload_id=upload_id, purpose=Purpose.SWEEP, principal=ANYBODY)
        )
        if isinstance(found, Seen):
            return
        overdue_since = now - self._settings.partial_keep_seconds
        if found.upload.status is Status.JOINING and _has_expired(found.upload, overdue_since):
            await self._remove(found, EventKind.EXPIRED, "expired")
        else:
            await let_go(self._parts.state, found.lease)

    async def _let_be(self, held: Held, now: float) -> None:
        """It stays; where nobody has written for a while, that is told, once per gap."""
        upload = held.upload
        silent_for = now - upload.changed_at
        events: Sequence[Event] = ()
        if not upload.is_interrupted and silent_for >= self._settings.interrupted_after_seconds:
            upload = replace(upload, is_interrupted=True, interruptions=upload.interruptions + 1)
            # A gap is known by when it began: a count would begin anew after a rebuild.
            gap = int(upload.changed_at * 1000)
            events = events_of(upload, EventKind.INTERRUPTED, occurred_at=now, sequence=gap)
            self._parts.observer.upload_event(EventKind.INTERRUPTED)
        await self._parts.state.commit(held.lease, upload, events, release=True)
        self._parts.observer.swept("settled")

    async def _remove(self, held: Held, kind: EventKind | None, what: str) -> None:
        await self._remover.remove(held, kind)
        log.info("upload_removed", extra={"upload_id": held.upload.id, "why": what})
        self._parts.observer.swept(what)

    def _is_retired(self, upload: Upload, now: float) -> bool:
        if upload.kind is Kind.PARTIAL and upload.is_complete:
            return False  # a part has its expiry
        since = upload.finished_at if upload.finished_at is not None else upload.changed_at
        keep = self._keep_seconds(upload.status)
        return keep is not None and since + keep <= now

    def _keep_seconds(self, status: Status) -> float | None:
        if status is Status.COMPLETE:
            return self._settings.finished_keep_seconds
        return self._settings.rejected_keep_seconds

    def _age(self, due: Due) -> float | None:
        """How old a thing must be to be due; None: it never is."""
        if due is Due.SILENT:
            return self._settings.interrupted_after_seconds
        if due is Due.RETIRED:
            return self._settings.finished_keep_seconds
        if due is Due.REFUSED:
            return self._settings.rejected_keep_seconds
        return 0.0

    async def _without_record(self, upload_ids: Sequence[UploadId]) -> list[UploadId]:
        found = await self._parts.state.find_many(upload_ids)
        return [upload_id for upload_id in upload_ids if upload_id not in found]

    # ------------------------------------------------------------------ for ever

    async def _look_for_ever(self, due: Due) -> None:
        async def look() -> None:
            more = True
            while more:  # others get their turn at each await
                _, more = await self._sweep(due)

        await _repeat(look, self._settings.sweep_seconds)

    async def _walk_for_ever(self) -> None:
        await _repeat(self.walk, self._settings.walk_seconds)


def _has_expired(upload: Upload, now: float) -> bool:
    return upload.expires_at is not None and upload.expires_at <= now


async def _repeat(work: Callable[[], Awaitable[object]], pause_seconds: float) -> None:
    tick = asyncio.Event()  # never set: the pause is what is waited for
    while True:
        try:
            await work()
        except (StateError, StoreError) as exc:
            log.warning("sweep_failed", extra={"reason": repr(exc)})
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_seconds):
                await tick.wait()
