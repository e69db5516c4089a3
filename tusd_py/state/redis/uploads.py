"""Records and leases as the services see them: each call is one script in the upload's bucket."""

import asyncio
import secrets
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from tusd_py.core.events import Event
from tusd_py.core.identity import Principal, check_owner
from tusd_py.core.ids import HolderId, UploadId
from tusd_py.core.upload import Boot, Status, Upload
from tusd_py.state.base import (
    Created,
    Due,
    Filter,
    Lease,
    LeaseBusy,
    LeaseGone,
    OnceTaken,
    RecordUnknown,
    Seen,
    StateError,
    Taken,
    UploadState,
    Visit,
)
from tusd_py.state.redis import listing
from tusd_py.state.redis.codec import (
    changing_fields,
    facts_text,
    fixed_fields,
    owner_digest,
    raw,
    record_from,
    text,
)
from tusd_py.state.redis.errands import Errands
from tusd_py.state.redis.event_codec import event_args
from tusd_py.state.redis.handover import Handover
from tusd_py.state.redis.link import Arg, Link
from tusd_py.state.redis.once import NOT_ONCE, OnceKeys, Reservation
from tusd_py.state.redis.scripts import Script

LOOK_SECONDS: Final = 1.0
"""Who waits for a lease looks again this often, should a message be lost."""
MIN_WAIT_SECONDS: Final = 0.005

TAKE: Final = Script("take", parts=("records",))
CREATE: Final = Script("create", parts=("records", "events"))
ADOPT: Final = Script("adopt", parts=("records",))
COMMIT: Final = Script("commit", parts=("records", "events"))
RELEASE: Final = Script("release", parts=("records",))
REMOVE: Final = Script("remove", parts=("records", "events"))


@dataclass(frozen=True, slots=True)
class Held:
    """Somebody alive has the lease."""

    holder: HolderId
    left_seconds: float
    """Until its deadline."""
    may_ask: bool
    """False where this purpose does not disturb that holder."""


class RedisUploads(UploadState):
    """The contract of uploads, on a link."""

    _boot: Boot
    _clock: Callable[[], float]
    _lease_seconds: float
    _counts: tuple[float, dict[Status, int]] | None = None

    def __init__(self) -> None:
        self._handover = Handover()
        self._errands = Errands()

    @property
    @abstractmethod
    def _link(self) -> Link:
        """Raises StateError where the store is not open."""

    @property
    @abstractmethod
    def _process(self) -> str:
        """The name of this process, as others know it."""

    @abstractmethod
    def _on_events(self, bucket: int) -> None:
        """Events of this process were committed in that bucket."""

    @property
    def boot(self) -> Boot:
        return self._boot

    @property
    def _me(self) -> tuple[Arg, Arg, Arg]:
        return self._process, raw(self._boot.host), raw(self._boot.boot_id)

    # ------------------------------------------------------------------ making and taking

    async def create(
        self, upload: Upload, events: Sequence[Event], *, with_lease: bool, once: str | None = None
    ) -> Created:
        return await self._errands.finish(
            self._create(upload, events, with_lease=with_lease, once=once), self._return_created
        )

    async def _create(
        self, upload: Upload, events: Sequence[Event], *, with_lease: bool, once: str | None
    ) -> Created:
        link, holder = self._link, _new_holder()
        reserved = NOT_ONCE
        if once is not None:
            found = await OnceKeys(link).reserve(once, upload.id)
            if isinstance(found, Upload):
                return Created(found, is_new=False, lease=None)
            reserved = found
        asked_at = self._clock()
        bucket = link.bucket_of(upload.id)
        kind, *reply = await link.call(
            CREATE,
            bucket,
            upload.id,
            holder,
            "1" if with_lease else "",
            *self._me,
            *_insert_args(upload, reserved),
            *event_args(events),
        )
        if kind == b"made":
            made = replace(upload, master=text(reply[0]))
            lease = self._lease(made.id, 1, holder, asked_at) if with_lease else None
            if events:
                self._on_events(bucket)
            return Created(made, is_new=True, lease=lease)
        if kind == b"void":
            raise StateError("the reservation of a key of one file ran out: try again")
        raise StateError("there is an upload of this id")

    async def take(self, visit: Visit) -> Taken | Seen:
        if visit.wait_seconds <= 0:
            found = await self._try_take(visit, asks=True)
            if isinstance(found, Held):
                raise self._busy(found)
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
        raise self._busy(held)

    async def _try_take(self, visit: Visit, *, asks: bool) -> Taken | Seen | Held:
        return await self._errands.finish(self._take(visit, asks=asks), self._return_taken)

    async def _take(self, visit: Visit, *, asks: bool) -> Taken | Seen | Held:
        link, holder, asked_at = self._link, _new_holder(), self._clock()
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
            raise LeaseBusy(self._bounded(float(reply[0]) / 1000))
        if kind == b"held":
            held = Held(HolderId(text(reply[2])), float(reply[0]) / 1000, reply[1] == b"1")
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

    async def adopt(self, upload: Upload, *, once: str | None = None) -> Taken:
        return await self._errands.finish(self._adopt(upload, once), self._return_taken)

    async def _adopt(self, upload: Upload, once: str | None) -> Taken:
        link, holder = self._link, _new_holder()
        reserved = NOT_ONCE
        if once is not None:
            found = await OnceKeys(link).reserve(once, upload.id)
            if isinstance(found, Upload):
                raise LeaseBusy(0.0) if found.id == upload.id else OnceTaken
            reserved = found
        # Of no generation until the adopter has reconciled and committed.
        made = replace(upload, master="")
        asked_at = self._clock()
        kind, *reply = await link.call(
            ADOPT,
            link.bucket_of(made.id),
            made.id,
            holder,
            *self._me,
            *_insert_args(made, reserved),
        )
        if kind == b"granted":
            boot_id = text(reply[0]) if reply[1] == b"1" else None
            lease = self._lease(made.id, 1, holder, asked_at)
            return Taken(lease, made, is_settled=False, writer_boot_id=boot_id)
        if reserved is not NOT_ONCE:
            with suppress(StateError):  # then it runs out by itself
                await OnceKeys(link).give_up(reserved, made.id)
        if kind == b"exists":
            raise LeaseBusy(0.0)
        if kind == b"grace":
            raise LeaseBusy(self._bounded(float(reply[0]) / 1000))
        raise StateError("the reservation of a key of one file ran out: try again")

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
            *event_args(events),
        )
        if release:
            self._handover.let_go(lease.upload_id, lease.holder)
        else:
            lease.deadline = asked_at + self._lease_seconds
            if reply[0] == b"1":
                lease.asked.set()
        if events:
            self._on_events(self._link.bucket_of(lease.upload_id))

    async def release(self, lease: Lease) -> None:
        await self._errands.finish(self._release(lease))

    async def _release(self, lease: Lease) -> None:
        link = self._link
        await link.call(RELEASE, link.bucket_of(lease.upload_id), *self._held_by(lease))
        self._handover.let_go(lease.upload_id, lease.holder)

    async def remove(self, lease: Lease, events: Sequence[Event] = ()) -> None:
        await self._errands.finish(self._remove(lease, events))

    async def _remove(self, lease: Lease, events: Sequence[Event]) -> None:
        digest, mark = await self._under(REMOVE, lease, *event_args(events))
        self._handover.let_go(lease.upload_id, lease.holder)
        if events:
            self._on_events(self._link.bucket_of(lease.upload_id))
        if mark:
            # That it stays does no harm: it is void by now.
            with suppress(StateError):
                await OnceKeys(self._link).forget(Reservation(digest, text(mark)))

    async def _under(self, script: Script, lease: Lease, *args: Arg) -> list[bytes]:
        """What comes behind "done". Raises LeaseGone."""
        link = self._link
        # [commit-in-time] Also by one's own clock: that of another master may be behind, and who
        # was stopped for long must not be let in by it.
        kind, reply = b"gone", []
        if not lease.is_over:
            bucket = link.bucket_of(lease.upload_id)
            kind, *reply = await link.call(script, bucket, *self._held_by(lease), *args)
        if kind != b"done":
            self._handover.let_go(lease.upload_id, lease.holder)
            raise LeaseGone
        return reply

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

    def _return_created(self, created: Created) -> None:
        if created.lease is not None:
            self._return(created.lease)

    def _return_taken(self, found: Taken | Seen | Held) -> None:
        if isinstance(found, Taken):
            self._return(found.lease)

    def _return(self, lease: Lease) -> None:
        """It was granted to a caller that is gone."""

        async def give_back() -> None:
            with suppress(StateError):  # then it runs out by itself
                await self._release(lease)

        self._errands.send(give_back())

    def _held_by(self, lease: Lease) -> tuple[Arg, ...]:
        sequence = self._handover.next_sequence(lease)
        return (lease.upload_id, lease.holder, lease.number, sequence, self._process)

    def _lease(self, upload_id: UploadId, number: int, holder: HolderId, asked_at: float) -> Lease:
        # Reckoned from before the request: never later than the store's own deadline.
        lease = Lease(upload_id, number, holder, asked_at + self._lease_seconds, self._clock)
        self._handover.hold(lease)
        return lease

    def _busy(self, held: Held) -> LeaseBusy:
        return LeaseBusy(self._bounded(held.left_seconds))

    def _bounded(self, seconds: float) -> float:
        """A server whose clock was put back says more than can be."""
        return min(max(0.0, seconds), self._lease_seconds)


def _insert_args(upload: Upload, reserved: Reservation) -> list[Arg]:
    fields = fixed_fields(upload) + changing_fields(upload)
    return [reserved.mark, reserved.digest, facts_text(upload), len(fields) // 2, *fields]


def _claimed(principal: Principal) -> bytes:
    return b"" if principal.owner is None else owner_digest(principal.owner)


def _new_holder() -> HolderId:
    return HolderId(secrets.token_hex(16))
