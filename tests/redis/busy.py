"""Everything that a state store is asked to do, step by step, by two hosts that share it.

``Busy(...).all()`` is one run; after each step ``look`` is awaited, so that a test sees what the
store holds in between. Runs on one store have numbers of uploads, and names, of their own.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from tests.contract.states import a_visit, an_event, an_upload, create_held, take, upload_id
from tusd_py.core.events import EventKind
from tusd_py.core.identity import Claims, Principal
from tusd_py.core.ids import HolderId
from tusd_py.core.rates import Rate
from tusd_py.core.upload import Kind, Status, Upload
from tusd_py.state.base import (
    Due,
    Filter,
    Lease,
    LeaseBusy,
    LeaseGone,
    OnceTaken,
    Purpose,
    StateStore,
    Taken,
)

NOW: Final = 5000.0
CLAIM_SECONDS: Final = 60.0
HAND_OVER_SECONDS: Final = 20.0
HAND_OVER_TRIES: Final = 10
UPLOADS: Final = 40
"""So many numbers a run may use."""
Look = Callable[[], Awaitable[None]]
PassTime = Callable[[float], Awaitable[None]]


async def see_nothing() -> None:
    pass


class Busy:
    """One run, by a store of one host and one of another."""

    def __init__(
        self,
        here: StateStore,
        there: StateStore,
        pass_time: PassTime,
        *,
        look: Look = see_nothing,
        first: int = 1,
    ) -> None:
        self.here = here
        self.there = there
        self._pass_time = pass_time
        self._look = look
        self._numbers = iter(range(first, first + UPLOADS))
        self._name = f"run-{first}"
        self._hooks = (f"{self._name}-archive", f"{self._name}-mail")

    async def all(self) -> None:
        """Every operation; it raises where one fails, or does not do what it should."""
        await self.here.register(self._hooks)
        await self.there.register(self._hooks)
        for step in (
            self.of_every_kind,
            self.a_patch,
            self.a_hand_over,
            self.a_removal,
            self.an_adoption,
            self.a_death,
            self.keys_of_one_file,
            self.quotas,
            self.due_uploads,
            self.deliveries,
            self.dead_letters,
            self.pages,
        ):
            await step()
            await self._look()

    def an_upload(self, **changes: object) -> Upload:
        return an_upload(next(self._numbers), **changes)

    # ------------------------------------------------------------------ records

    async def of_every_kind(self) -> None:
        for status in Status:
            await self.here.create(
                self.an_upload(status=status, offset=100, finished_at=1.0),
                [],
                with_lease=False,
            )
        for kind in Kind:
            upload = self.an_upload(
                kind=kind,
                status=Status.JOINING if kind is Kind.FINAL else Status.RECEIVING,
                parts=(upload_id(1),) * 2 if kind is Kind.FINAL else (),
                expires_at=NOW,
            )
            events = [an_event(upload)] if kind is not Kind.PARTIAL else []
            created = await self.here.create(upload, events, with_lease=True)
            assert created.lease is not None
            await self._look()
            await self.here.commit(created.lease, upload, release=True)
            assert await self.there.find(upload.id) == created.upload

    async def a_patch(self) -> None:
        """As clients do it: made, asked for, written to, checkpointed, finished."""
        upload = self.an_upload(length=None)
        owner = Principal(Claims(upload.owner))
        await self.here.create(upload, [an_event(upload)], with_lease=False)
        await self.there.take(a_visit(upload, Purpose.READ, principal=owner))
        got = await self.there.take(a_visit(upload, principal=owner))
        assert isinstance(got, Taken)
        await self._look()
        upload = replace(got.upload, offset=50, length=100, changed_at=1001.0)
        await self.there.commit(got.lease, upload, release=False)
        whole = replace(upload, offset=100, status=Status.COMPLETE, finished_at=1002.0)
        event = an_event(whole, EventKind.COMPLETED)
        await self.there.commit(got.lease, whole, [event], release=True)
        found = await self.here.find_many([upload.id])
        assert found[upload.id].is_complete

    async def a_hand_over(self) -> None:
        upload = self.an_upload()
        lease = await create_held(self.here, upload)
        waiting = asyncio.create_task(take(self.there, upload, wait_seconds=HAND_OVER_SECONDS))
        try:
            await self._until_asked(lease, upload)
            await self._look()
            await self.here.commit(lease, upload, release=True)
            got = await waiting
        finally:
            waiting.cancel()
            with suppress(asyncio.CancelledError):
                await waiting
        await self.there.release(got.lease)

    async def _until_asked(self, lease: Lease, upload: Upload) -> None:
        """By a message; or, where none was heard just then, by a checkpoint."""
        for _ in range(HAND_OVER_TRIES):
            with suppress(TimeoutError):
                await asyncio.wait_for(lease.asked.wait(), HAND_OVER_SECONDS / HAND_OVER_TRIES)
                return
            await self.here.commit(lease, upload, release=False)
        raise AssertionError("nobody is heard to ask for the lease")

    async def a_removal(self) -> None:
        upload = self.an_upload()
        await self.here.create(upload, [], with_lease=False)
        got = await take(self.here, upload, Purpose.TERMINATE)
        going = replace(upload, status=Status.TERMINATING)
        await self.here.commit(got.lease, going, release=False)
        await self.here.remove(got.lease, [an_event(upload, EventKind.TERMINATED)])
        assert await self.there.find(upload.id) is None

    async def an_adoption(self) -> None:
        upload = self.an_upload()
        got = None
        while got is None:
            try:
                got = await self.there.adopt(upload, once=f"{self._name}-adopted")
            except LeaseBusy as busy:
                assert busy.retry_after_seconds > 0
                await self._pass_time(busy.retry_after_seconds)
        await self.there.commit(got.lease, upload, release=True)
        with suppress(OnceTaken):
            await self.here.adopt(self.an_upload(), once=f"{self._name}-adopted")
            raise AssertionError("one key, two uploads")

    async def a_death(self) -> None:
        """A lease that nobody lets go: found by the sweeper, taken over, its holder refused."""
        upload = self.an_upload()
        lease = await create_held(self.here, upload)
        await self._pass_time(lease.remaining_seconds + 0.01)
        assert upload.id in await self.there.list_due(Due.ABANDONED, now=NOW)
        got = await take(self.there, upload, Purpose.SWEEP)
        with suppress(LeaseGone):
            await self.here.commit(lease, upload, release=True)
            raise AssertionError("a lease that ran out was believed")
        await self.there.commit(got.lease, upload, release=True)

    async def keys_of_one_file(self) -> None:
        key = f"{self._name}-file"
        first, second = self.an_upload(), self.an_upload()
        made = await self.here.create(first, [], with_lease=True, once=key)
        again = await self.there.create(second, [], with_lease=True, once=key)
        assert again.upload.id == made.upload.id and not again.is_new
        assert made.lease is not None
        await self._look()
        await self.here.remove(made.lease)
        third = await self.there.create(second, [], with_lease=False, once=key)
        assert third.is_new

    # ------------------------------------------------------------------ everything else

    async def quotas(self) -> None:
        rate = Rate(count=1, seconds=60.0, burst=1)
        assert (await self.here.admit(self._name, rate)).is_given
        assert not (await self.there.admit(self._name, rate)).is_given
        body, other = HolderId(f"{self._name}-a"), HolderId(f"{self._name}-b")
        assert await self.here.enter(self._name, body, limit=1, seconds=10)
        assert not await self.there.enter(self._name, other, limit=1, seconds=10)
        await self._look()
        await self.here.leave(self._name, body)
        assert await self.there.enter(self._name, other, limit=1, seconds=10)
        await self.there.leave(self._name, other)

    async def due_uploads(self) -> None:
        for due in Due:
            assert len(await self.here.list_due(due, now=NOW, age_seconds=1.0)) <= 100
        await self.here.ping()

    async def deliveries(self) -> None:
        """All that waits is delivered to one hook; the other one fails once, and is waited for."""
        archive, mail = self._hooks
        while claimed := await self.here.claim(
            archive, now=NOW, claim_seconds=CLAIM_SECONDS, limit=3
        ):
            await self._look()
            await self.here.settle(claimed)
        claimed = await self.there.claim(mail, now=NOW, claim_seconds=CLAIM_SECONDS, limit=100)
        for delivery in claimed:
            await self.there.postpone(delivery, until=NOW + 10)
        assert claimed and await self.there.next_due(mail) == NOW + 10
        backlog = await self.here.backlog()
        assert backlog[archive] == 0 and backlog[mail] >= len(claimed)

    async def dead_letters(self) -> None:
        _, mail = self._hooks
        later = NOW + 20
        first, *others = await self.here.claim(
            mail, now=later, claim_seconds=CLAIM_SECONDS, limit=100
        )
        await self.here.bury(first, reason="it was refused", now=later)
        await self.here.settle(others)
        (letter,) = await self.there.dead_letters(hook=mail, limit=10)
        assert letter.delivery.event == first.event
        await self._look()
        assert await self.there.replay(hook=mail, event_id=first.event.id, now=later) == 1
        assert await self.there.replay(hook=None, event_id=None, now=later) == 0
        while claimed := await self.there.claim(
            mail, now=later, claim_seconds=CLAIM_SECONDS, limit=100
        ):
            await self.there.settle(claimed)
        assert await self.here.purge(before=later) > 0

    async def pages(self) -> None:
        sample = an_upload()
        for wanted in (
            Filter(),
            Filter(status=Status.COMPLETE),
            Filter(video_id=sample.owner.video_id),
            Filter(client_id=sample.owner.client_id),
            Filter(video_id=sample.owner.video_id, client_id=sample.owner.client_id),
            Filter(client_id=sample.owner.client_id, status=Status.COMPLETE),
        ):
            first = await self.here.page(wanted, after=None, limit=2)
            assert first
            await self.there.page(wanted, after=first[-1].id, limit=2)
        assert (await self.here.counts())[Status.COMPLETE] > 0
