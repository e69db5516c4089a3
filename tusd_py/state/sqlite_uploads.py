"""Records and leases as the services see them: each call is one operation of a group."""

import asyncio
import secrets
import sqlite3
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from tusd_py.core.events import Event
from tusd_py.core.ids import HolderId, UploadId
from tusd_py.core.upload import Boot, Status, Upload
from tusd_py.state.base import (
    Created,
    Due,
    Filter,
    Lease,
    LeaseBusy,
    LeaseGone,
    Purpose,
    Seen,
    StateError,
    Taken,
    UploadState,
    Visit,
)
from tusd_py.state.sqlite_due import list_due
from tusd_py.state.sqlite_groups import GroupThread
from tusd_py.state.sqlite_handover import Handover
from tusd_py.state.sqlite_leases import SELECT_UPLOAD, Grant, Held, LeaseBook, insert_values
from tusd_py.state.sqlite_pages import page_query
from tusd_py.state.sqlite_peers import Peers
from tusd_py.state.sqlite_rows import Row, changing_values, event_values, upload_from

CHECK_HOLDER_SECONDS: Final = 0.2
"""How often a waiter looks whether the holder's process lives, and repeats its wish to it."""
MIN_WAIT_SECONDS: Final = 0.005
COUNTS_KEPT_SECONDS: Final = 5.0
MAX_ASKED: Final = 500
"""Ids in one statement: an old SQLite takes 999 values."""


@dataclass(frozen=True, slots=True)
class Workshop:
    """What an open state store works with."""

    writer: GroupThread
    reader: GroupThread
    book: LeaseBook
    peers: Peers
    handover: Handover


class SqliteUploads(UploadState):
    """The contract of uploads, on a workshop."""

    _boot: Boot
    _clock: Callable[[], float]
    _lease_seconds: float
    _counts: tuple[float, dict[Status, int]] | None = None

    @property
    @abstractmethod
    def _shop(self) -> Workshop:
        """Raises StateError where the store is not open."""

    @property
    def boot(self) -> Boot:
        return self._boot

    # ------------------------------------------------------------------ making and taking

    async def create(
        self, upload: Upload, events: Sequence[Event], *, with_lease: bool, once: str | None = None
    ) -> Created:
        shop, book = self._shop, self._shop.book
        made = replace(upload, master=book.generation.id)
        holder = _new_holder() if with_lease else None
        asked_at = self._clock()
        rows = [event_values(event) for event in events]
        values = insert_values(made, made.master)

        def give_back(earlier: Upload | None) -> None:
            if earlier is None and holder is not None:
                self._give_back((made.id, holder, 1))

        earlier = await shop.writer.run(
            partial(book.create, values=values, events=rows, holder=holder, once=once),
            on_done=partial(self._stored, rows),
            on_orphan=give_back,
            tells_events=bool(rows),
        )
        if earlier is not None:
            return Created(earlier, is_new=False, lease=None)
        lease = None if holder is None else self._lease(made.id, 1, holder, asked_at)
        return Created(made, is_new=True, lease=lease)

    async def take(self, visit: Visit) -> Taken | Seen:
        began = asyncio.get_running_loop().time()
        if visit.purpose is Purpose.READ:
            # Most reads need no lease: they share a snapshot and disturb no writer.
            seen = await self._shop.reader.run(partial(self._shop.book.look, visit=visit))
            if seen is not None:
                return seen
        found = await self._try_take(visit, asks=True)
        if not isinstance(found, Held):
            return found
        self._shop.handover.tell(found, asks=found.may_ask)
        if visit.wait_seconds <= 0:
            raise self._busy(found)
        got = await self._wait_to_take(visit, found, began + visit.wait_seconds)
        return replace(got, waited_seconds=asyncio.get_running_loop().time() - began)

    async def adopt(self, upload: Upload, *, once: str | None = None) -> Taken:
        shop, book = self._shop, self._shop.book
        # Of no generation until the adopter has reconciled and committed.
        made = replace(upload, master="")
        holder, asked_at = _new_holder(), self._clock()
        values = insert_values(made, made.master)
        grant = await shop.writer.run(
            partial(book.adopt, values=values, upload=made, holder=holder, once=once),
            on_orphan=lambda _: self._give_back((made.id, holder, 1)),
        )
        lease = self._lease(made.id, 1, holder, asked_at)
        return Taken(lease, made, is_settled=False, writer_boot_id=grant.writer_boot_id)

    async def _try_take(self, visit: Visit, *, asks: bool) -> Taken | Seen | Held:
        holder, asked_at = _new_holder(), self._clock()
        found = await self._shop.writer.run(
            partial(self._shop.book.take, visit=visit, holder=holder, asks=asks),
            on_orphan=self._give_back_grant,
        )
        if not isinstance(found, Grant):
            return found
        lease = self._lease(visit.upload_id, found.number, holder, asked_at)
        return Taken(lease, found.upload, found.is_settled, found.writer_boot_id)

    async def _wait_to_take(self, visit: Visit, found: Held, give_up_at: float) -> Taken | Seen:
        """Tries again whenever the holder let go, died, or its time was over."""
        asked = found.holder if found.may_ask else None
        with self._shop.handover.waiting(visit.upload_id) as freed:
            while True:
                # Also at once: it may have been let go before anybody listened.
                freed.clear()
                got = await self._try_take(visit, asks=asked is None)
                if not isinstance(got, Held):
                    return got
                if asked is None and got.may_ask:
                    asked = got.holder
                if not await self._wait_for_turn(got, freed, give_up_at, asks=asked == got.holder):
                    raise self._busy(got)

    async def _wait_for_turn(
        self, held: Held, freed: asyncio.Event, give_up_at: float, *, asks: bool
    ) -> bool:
        """True when another try may succeed; False when the time to wait is over."""
        loop, shop = asyncio.get_running_loop(), self._shop
        while (left := give_up_at - loop.time()) > 0:
            lease_left = held.deadline - self._clock()
            if lease_left <= 0:
                return True
            shop.handover.tell(held, asks=asks)
            pause = max(MIN_WAIT_SECONDS, min(CHECK_HOLDER_SECONDS, left, lease_left))
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await freed.wait()
                return True
            if not await shop.reader.run(lambda _: shop.peers.is_alive(held.process)):
                return True
        return False

    # ------------------------------------------------------------------ under a lease

    async def commit(
        self, lease: Lease, upload: Upload, events: Sequence[Event] = (), *, release: bool
    ) -> None:
        shop, book = self._shop, self._shop.book
        asked_at = self._clock()
        rows = [event_values(event) for event in events]
        values = changing_values(upload, book.generation.id)
        act = book.commit_and_release if release else book.commit

        def done(is_asked: bool) -> None:
            if release:
                shop.handover.let_go(lease.upload_id, lease.holder)
            else:
                lease.deadline = asked_at + self._lease_seconds
                if is_asked:
                    lease.asked.set()
            self._stored(rows, None)

        try:
            await shop.writer.run(
                partial(act, held=_held_by(lease), values=values, events=rows),
                on_done=done,
                tells_events=bool(rows),
            )
        except LeaseGone:
            shop.handover.let_go(lease.upload_id, lease.holder)
            raise

    async def release(self, lease: Lease) -> None:
        await self._shop.writer.run(
            partial(self._shop.book.release, held=_held_by(lease)),
            on_done=lambda _: self._shop.handover.let_go(lease.upload_id, lease.holder),
        )

    async def remove(self, lease: Lease, events: Sequence[Event] = ()) -> None:
        shop = self._shop
        rows = [event_values(event) for event in events]

        def done(_: None) -> None:
            shop.handover.let_go(lease.upload_id, lease.holder)
            self._stored(rows, None)

        try:
            await shop.writer.run(
                partial(shop.book.remove, held=_held_by(lease), events=rows),
                on_done=done,
                tells_events=bool(rows),
            )
        except LeaseGone:
            shop.handover.let_go(lease.upload_id, lease.holder)
            raise

    # ------------------------------------------------------------------ looking

    async def find(self, upload_id: UploadId) -> Upload | None:
        def ask(db: sqlite3.Connection) -> Upload | None:
            row = db.execute(f"{SELECT_UPLOAD} WHERE u.id = ?", (upload_id,)).fetchone()
            return upload_from(row) if row else None

        return await self._shop.reader.run(ask)

    async def find_many(self, upload_ids: Sequence[UploadId]) -> Mapping[UploadId, Upload]:
        def ask(db: sqlite3.Connection) -> dict[UploadId, Upload]:
            found: dict[UploadId, Upload] = {}
            for first in range(0, len(upload_ids), MAX_ASKED):
                asked = upload_ids[first : first + MAX_ASKED]
                marks = ", ".join("?" * len(asked))
                rows = db.execute(f"{SELECT_UPLOAD} WHERE u.id IN ({marks})", asked)
                found |= {upload.id: upload for upload in map(upload_from, rows)}
            return found

        return await self._shop.reader.run(ask)

    async def list_due(
        self, due: Due, *, now: float, age_seconds: float = 0.0, limit: int = 100
    ) -> Sequence[UploadId]:
        ask = partial(
            list_due, book=self._shop.book, due=due, now=now, age_seconds=age_seconds, limit=limit
        )
        return await self._shop.reader.run(ask)

    async def page(self, wanted: Filter, *, after: UploadId | None, limit: int) -> Sequence[Upload]:
        sql, values = page_query(wanted, after=after, limit=limit)

        def ask(db: sqlite3.Connection) -> list[Upload]:
            return [upload_from(row) for row in db.execute(sql, values)]

        return await self._shop.reader.run(ask)

    async def counts(self) -> dict[Status, int]:
        if self._counts is not None and time.monotonic() < self._counts[0]:
            return dict(self._counts[1])
        rows = await self._shop.reader.run(
            lambda db: db.execute("SELECT status, count(*) FROM upload GROUP BY status").fetchall()
        )
        counts = dict.fromkeys(Status, 0) | {Status(status): number for status, number in rows}
        self._counts = (time.monotonic() + COUNTS_KEPT_SECONDS, counts)
        return dict(counts)

    # ------------------------------------------------------------------ parts of these

    def _lease(self, upload_id: UploadId, number: int, holder: HolderId, asked_at: float) -> Lease:
        # Reckoned from before the request: never later than the store's own deadline.
        deadline = asked_at + self._lease_seconds
        lease = Lease(upload_id, number, holder, deadline, self._clock)
        self._shop.handover.hold(lease)
        return lease

    def _give_back_grant(self, found: Seen | Grant | Held) -> None:
        if isinstance(found, Grant):
            self._give_back((found.upload.id, found.holder, found.number))

    def _give_back(self, held: tuple[UploadId, HolderId, int]) -> None:
        """A lease was granted to a caller that is gone."""
        upload_id, holder, _ = held
        shop = self._shop
        with suppress(StateError):  # being closed: then the lock file says that nobody holds it
            shop.writer.submit(
                partial(shop.book.release, held=held),
                on_done=lambda _: shop.handover.let_go(upload_id, holder),
            )

    def _stored(self, events: Sequence[Row], earlier: Upload | None) -> None:
        """Events were committed, unless an ``earlier`` upload was found instead."""
        if events and earlier is None:
            self._shop.handover.tell_of_events()

    def _busy(self, held: Held) -> LeaseBusy:
        left = held.deadline - self._clock()
        return LeaseBusy(min(max(0.0, left), self._lease_seconds))


def _new_holder() -> HolderId:
    return HolderId(secrets.token_hex(16))


def _held_by(lease: Lease) -> Row:
    return (lease.upload_id, lease.holder, lease.number)
