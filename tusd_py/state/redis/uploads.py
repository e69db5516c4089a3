"""Records and leases as the services see them: each call is one script in the upload's bucket."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from tusd_py.core.events import Event
from tusd_py.core.identity import Principal, check_owner
from tusd_py.core.ids import HolderId, UploadId
from tusd_py.core.upload import Status, Upload
from tusd_py.state.base import (
    Due,
    Filter,
    Lease,
    LeaseBusy,
    RecordUnknown,
    Seen,
    StateError,
    Taken,
    Visit,
)
from tusd_py.state.redis import listing
from tusd_py.state.redis.codec import changing_fields, owner_digest, record_from, text
from tusd_py.state.redis.event_codec import event_args
from tusd_py.state.redis.holding import new_holder
from tusd_py.state.redis.making import RedisMaking
from tusd_py.state.redis.once import OnceKeys, Reservation
from tusd_py.state.redis.scripts import Script

LOOK_SECONDS: Final = 1.0
"""Who waits for a lease looks again this often, should a message be lost."""
MIN_WAIT_SECONDS: Final = 0.005

TAKE: Final = Script("take", parts=("records",))
COMMIT: Final = Script("commit", parts=("records", "events"))
REMOVE: Final = Script("remove", parts=("records", "events"))


@dataclass(frozen=True, slots=True)
class Held:
    """Somebody alive has the lease."""

    holder: HolderId
    left_seconds: float
    """Until its deadline, and never more than a whole lease."""
    may_ask: bool
    """False where this purpose does not disturb that holder."""


class RedisUploads(RedisMaking):
    """The contract of uploads, on a link."""

    _counts: tuple[float, dict[Status, int]] | None = None

    # ------------------------------------------------------------------ taking

    async def take(self, visit: Visit) -> Taken | Seen:
        if visit.wait_seconds <= 0:
            found = await self._try_take(visit, asks=True)
            if isinstance(found, Held):
                raise LeaseBusy(found.left_seconds)
            return found
        began = asyncio.get_running_loop().time()
        # Listening from before the first try: what is let go after it is heard.
        with self._handover.waiting(visit.upload_id) as freed:
            found = await self._try_take(visit, asks=True)
            if not isinstance(found, Held):
                return found
            got = await self._wait_to_take(visit, found, freed, began + visit.wait_seconds)
        return replace(got, waited_seconds=asyncio.get_running_loop().time() - began)

    async def _wait_to_take(
        self, visit: Visit, held: Held, freed: asyncio.Event, give_up_at: float
    ) -> Taken | Seen:
        """Tries again whenever the holder let go or its time was over, and each second."""
        loop = asyncio.get_running_loop()
        asked = held.may_ask
        while (left := give_up_at - loop.time()) > 0:
            pause = max(MIN_WAIT_SECONDS, min(LOOK_SECONDS, left, held.left_seconds))
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await freed.wait()
            freed.clear()
            found = await self._try_take(visit, asks=not asked)
            if not isinstance(found, Held):
                return found
            held, asked = found, asked or found.may_ask
        raise LeaseBusy(held.left_seconds)

    async def _try_take(self, visit: Visit, *, asks: bool) -> Taken | Seen | Held:
        return await self._errands.finish(self._take(visit, asks=asks), self._return_taken)

    async def _take(self, visit: Visit, *, asks: bool) -> Taken | Seen | Held:
        link, holder, asked_at = self._link, new_holder(), self._clock()
        kind, *reply = await link.call(
            TAKE,
            link.bucket_of(visit.upload_id),
            visit.upload_id,
            visit.purpose.value,
            _claimed(visit.principal),
            holder,
            *self._me,
            "1" if asks else "",
            "1" if visit.wait_seconds > 0 else "",
        )
        if kind == b"unknown":
            raise RecordUnknown(visit.upload_id)
        if kind == b"grace":
            raise LeaseBusy(self._bounded(reply[0]))
        if kind == b"held":
            held = Held(HolderId(text(reply[2])), self._bounded(reply[0]), reply[1] == b"1")
            if asks and held.may_ask:
                self._handover.ask(held.holder)
            return held
        upload = record_from(visit.upload_id, reply[-1])
        if kind == b"granted":
            lease = self._lease(visit.upload_id, int(reply[0]), holder, asked_at)
            boot_id = text(reply[2]) if reply[3] == b"1" else None
            return Taken(lease, upload, is_settled=reply[1] == b"1", writer_boot_id=boot_id)
        check_owner(visit.principal, upload.owner)
        if kind == b"foreign":
            raise StateError("a record's digest of its owner does not fit its owner")
        return Seen(upload)

    # ------------------------------------------------------------------ under a lease

    async def commit(
        self, lease: Lease, upload: Upload, events: Sequence[Event] = (), *, release: bool
    ) -> None:
        await self._errands.finish(self._commit(lease, upload, events, release=release))

    async def _commit(
        self, lease: Lease, upload: Upload, events: Sequence[Event], *, release: bool
    ) -> None:
        asked_at = self._clock()
        fields = changing_fields(upload)
        reply = await self._under(
            COMMIT,
            lease,
            "1" if release else "",
            len(fields) // 2,
            *fields,
            *event_args(events, self._link.hooks),
        )
        if release:
            self._handover.let_go(lease.upload_id, lease.holder)
        else:
            lease.deadline = asked_at + self._lease_seconds
            if reply[0] == b"1":
                lease.asked.set()
        if events:
            self._on_events(self._link.bucket_of(lease.upload_id))

    async def remove(self, lease: Lease, events: Sequence[Event] = ()) -> None:
        await self._errands.finish(self._remove(lease, events))

    async def _remove(self, lease: Lease, events: Sequence[Event]) -> None:
        told = event_args(events, self._link.hooks)
        digest, mark = await self._under(REMOVE, lease, *told)
        self._handover.let_go(lease.upload_id, lease.holder)
        if events:
            self._on_events(self._link.bucket_of(lease.upload_id))
        if mark:
            # That it stays does no harm: it is void by now.
            with suppress(StateError):
                await OnceKeys(self._link).forget(Reservation(digest, text(mark)))

    # ------------------------------------------------------------------ looking

    async def find(self, upload_id: UploadId) -> Upload | None:
        return (await self.find_many([upload_id])).get(upload_id)

    async def find_many(self, upload_ids: Sequence[UploadId]) -> Mapping[UploadId, Upload]:
        return await listing.find_many(self._link, upload_ids)

    async def list_due(
        self, due: Due, *, now: float, age_seconds: float = 0.0, limit: int = 100
    ) -> Sequence[UploadId]:
        return await listing.list_due(
            self._link, due, now=now, age_seconds=age_seconds, limit=limit
        )

    async def page(self, wanted: Filter, *, after: UploadId | None, limit: int) -> Sequence[Upload]:
        return await listing.find_page(self._link, wanted, after=after, limit=limit)

    async def counts(self) -> dict[Status, int]:
        now = asyncio.get_running_loop().time()
        if self._counts is None or now >= self._counts[0]:
            counts = await listing.count(self._link)
            self._counts = (now + listing.COUNTS_KEPT_SECONDS, counts)
        return dict(self._counts[1])

    # ------------------------------------------------------------------ parts of these

    def _return_taken(self, found: Taken | Seen | Held) -> None:
        if isinstance(found, Taken):
            self._give_lease_back(found.lease)


def _claimed(principal: Principal) -> bytes:
    return b"" if principal.owner is None else owner_digest(principal.owner)
