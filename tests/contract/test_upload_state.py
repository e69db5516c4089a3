"""What every state store promises of uploads and their leases."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.contract.states import (
    BOOT,
    LEASE_SECONDS,
    STATES,
    StateRig,
    a_visit,
    an_event,
    an_upload,
    create_held,
    number_of,
    take,
    upload_id,
)
from tusd_py.core.errors import ClientMismatch, VideoMismatch
from tusd_py.core.identity import Claims, Owner, Principal
from tusd_py.core.ids import ClientId, HolderId, VideoId
from tusd_py.core.metadata import Metadata
from tusd_py.core.upload import Boot, Kind, Status
from tusd_py.state.base import (
    Filter,
    Lease,
    LeaseBusy,
    LeaseGone,
    OnceTaken,
    Purpose,
    RecordUnknown,
    Seen,
    StateError,
    StateStore,
    Taken,
)

LONG_WAIT = 10.0
"""Far longer than a hand-over takes: a test that needs it fails by its time-out."""


@pytest.fixture(params=sorted(STATES))
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StateRig]:
    async with STATES[request.param](tmp_path) as made:
        yield made


@pytest.fixture
async def state(rig: StateRig) -> StateStore:
    return await rig.open()


def owned_by(video: str, client: str) -> Principal:
    return Principal(Claims(Owner(VideoId(video), ClientId(client))))


async def expire(rig: StateRig) -> None:
    rig.clock.advance(LEASE_SECONDS + 0.001)


class TestCreation:
    async def test_a_record_is_found_as_it_was_made(self, state: StateStore) -> None:
        upload = an_upload(
            kind=Kind.FINAL,
            parts=(upload_id(7), upload_id(8), upload_id(7)),
            status=Status.JOINING,
            offset=3,
            place="a/b",
            metadata=Metadata("filename Y2F0Lm1wNA=="),
            overrides={"filename": "dog.mp4"},
            max_bytes=1 << 40,
            protocol="rufh",
            digests=(("sha-256", "x"),),
            concat="final;/files/7 /files/8 /files/7",
            promised_digests=(("sha256", "eA=="), ("md5", "eQ==")),
            is_strict=True,
            bytes_per_second=1.5,
        )
        created = await state.create(upload, [], with_lease=False)
        assert created.is_new and created.lease is None
        assert await state.find(upload.id) == created.upload
        assert replace(created.upload, master="") == upload
        assert created.upload.master

    async def test_a_record_made_without_a_lease_is_settled(self, state: StateStore) -> None:
        upload = an_upload()
        await state.create(upload, [], with_lease=False)
        assert isinstance(await state.take(a_visit(upload, Purpose.READ)), Seen)

    async def test_a_lease_given_at_creation_keeps_others_out(self, state: StateStore) -> None:
        upload = an_upload()
        lease = await create_held(state, upload)
        with pytest.raises(LeaseBusy):
            await state.take(a_visit(upload))
        await state.commit(lease, upload, release=True)

    async def test_an_id_is_given_once(self, state: StateStore) -> None:
        await state.create(an_upload(offset=1), [], with_lease=False)
        with pytest.raises(StateError):
            await state.create(an_upload(offset=2), [], with_lease=False)
        found = await state.find(upload_id(1))
        assert found is not None and found.offset == 1

    async def test_a_key_makes_one_upload_however_many_ask_at_once(self, rig: StateRig) -> None:
        states = [await rig.open(), await rig.open()]
        made = await asyncio.gather(
            *(
                states[n % 2].create(an_upload(n), [], with_lease=True, once="key")
                for n in range(10)
            )
        )
        assert sum(created.is_new for created in made) == 1
        assert len({created.upload.id for created in made}) == 1
        assert all((created.lease is not None) == created.is_new for created in made)

    async def test_a_repeated_key_stores_no_events(self, state: StateStore) -> None:
        await state.register(["hook"])
        await state.create(an_upload(1), [], with_lease=False, once="key")
        await state.create(an_upload(2), [an_event(an_upload(2))], with_lease=False, once="key")
        assert await state.backlog() == {"hook": 0}
        assert await state.find(upload_id(2)) is None

    @pytest.mark.parametrize("status", [Status.REJECTED, Status.INVALID, Status.TERMINATING])
    async def test_a_key_is_free_again_once_its_upload_is_gone(
        self, state: StateStore, status: Status
    ) -> None:
        lease = (await state.create(an_upload(1), [], with_lease=True, once="key")).lease
        assert lease is not None
        await state.commit(lease, an_upload(1, status=status), release=True)
        assert (await state.create(an_upload(2), [], with_lease=False, once="key")).is_new

    async def test_a_key_is_free_again_once_its_upload_was_removed(self, state: StateStore) -> None:
        lease = (await state.create(an_upload(1), [], with_lease=True, once="key")).lease
        assert lease is not None
        await state.remove(lease)
        assert (await state.create(an_upload(2), [], with_lease=False, once="key")).is_new


class TestTaking:
    async def test_an_unknown_upload_is_unknown(self, state: StateStore) -> None:
        for purpose in Purpose:
            with pytest.raises(RecordUnknown):
                await state.take(a_visit(an_upload(), purpose))

    @pytest.mark.parametrize("purpose", list(Purpose))
    async def test_a_stranger_is_refused_and_disturbs_nobody(
        self, state: StateStore, purpose: Purpose
    ) -> None:
        upload = an_upload()
        lease = await create_held(state, upload)
        with pytest.raises(VideoMismatch):
            await state.take(a_visit(upload, purpose, principal=owned_by("other", "client")))
        with pytest.raises(ClientMismatch):
            await state.take(a_visit(upload, purpose, principal=owned_by("video", "other")))
        await state.commit(lease, upload, release=False)
        assert not lease.asked.is_set()

    async def test_the_owner_is_let_in(self, state: StateStore) -> None:
        upload = an_upload()
        await state.create(upload, [], with_lease=False)
        got = await state.take(a_visit(upload, principal=owned_by("video", "client")))
        assert isinstance(got, Taken)

    async def test_of_many_at_once_one_gets_the_lease(self, rig: StateRig) -> None:
        states = [await rig.open(), await rig.open()]
        upload = an_upload()
        await states[0].create(upload, [], with_lease=False)
        got = await asyncio.gather(
            *(states[n % 2].take(a_visit(upload)) for n in range(20)), return_exceptions=True
        )
        assert sum(isinstance(each, Taken) for each in got) == 1
        assert sum(isinstance(each, LeaseBusy) for each in got) == 19

    async def test_the_number_grows_with_every_lease(self, state: StateStore) -> None:
        upload = an_upload()
        first = await create_held(state, upload)
        await state.commit(first, upload, release=True)
        second = (await take(state, upload)).lease
        await state.release(second)
        third = (await take(state, upload)).lease
        assert first.number < second.number < third.number
        assert len({first.holder, second.holder, third.holder}) == 3

    async def test_lease_only_taking_changes_nothing_of_the_record(self, rig: StateRig) -> None:
        """[lease-only] Boot and generation come with the reconciled offset, not before."""
        state = await rig.open()
        upload = an_upload(offset=7)
        await state.create(upload, [], with_lease=True)
        await expire(rig)
        later = await rig.open(Boot("host-b", "boot-9"))
        before = await later.find(upload.id)
        got = await take(later, upload, Purpose.TERMINATE)
        assert await later.find(upload.id) == before == got.upload

    async def test_the_deadline_is_reckoned_from_before_the_request(self, rig: StateRig) -> None:
        state = await rig.open()
        lease = await create_held(state, an_upload())
        assert lease.deadline <= rig.clock() + LEASE_SECONDS
        assert (lease.is_over, lease.remaining_seconds) == (False, LEASE_SECONDS)
        await expire(rig)
        assert (lease.is_over, lease.remaining_seconds) == (True, 0.0)

    async def test_the_sweeper_never_believes_the_record_alone(self, state: StateStore) -> None:
        """[sweep-reconciles]"""
        upload = an_upload()
        await state.create(upload, [], with_lease=False)
        swept = await take(state, upload, Purpose.SWEEP)
        assert not swept.is_settled
        await state.release(swept.lease)
        assert (await take(state, upload)).is_settled

    async def test_a_lease_that_ran_out_is_taken_and_not_believed(self, rig: StateRig) -> None:
        state = await rig.open()
        upload = an_upload()
        old = await create_held(state, upload)
        await expire(rig)
        got = await take(state, upload)
        assert not got.is_settled
        with pytest.raises(LeaseGone):
            await state.commit(old, upload, release=True)
        await state.commit(got.lease, upload, release=True)

    async def test_a_lease_is_live_until_its_deadline(self, rig: StateRig) -> None:
        state = await rig.open()
        await create_held(state, an_upload())
        rig.clock.advance(LEASE_SECONDS - 0.001)
        with pytest.raises(LeaseBusy):
            await state.take(a_visit(an_upload()))


class TestSeen:
    @pytest.mark.parametrize("status", [Status.COMPLETE, Status.REJECTED, Status.INVALID])
    @pytest.mark.parametrize("purpose", list(Purpose))
    async def test_finished_uploads_are_read_without_a_lease(
        self, state: StateStore, status: Status, purpose: Purpose
    ) -> None:
        upload = an_upload(status=status)
        await state.create(upload, [], with_lease=False)
        got = await state.take(a_visit(upload, purpose))
        assert isinstance(got, Seen) == (purpose in (Purpose.APPEND, Purpose.READ))
        assert got.upload.status is status

    @pytest.mark.parametrize("purpose", list(Purpose))
    async def test_a_terminating_upload_is_taken_to_remove_it_only(
        self, state: StateStore, purpose: Purpose
    ) -> None:
        upload = an_upload(status=Status.TERMINATING)
        await state.create(upload, [], with_lease=False)
        got = await state.take(a_visit(upload, purpose))
        assert isinstance(got, Seen) == (purpose in (Purpose.APPEND, Purpose.READ))

    async def test_a_finished_upload_is_seen_even_under_a_lease(self, state: StateStore) -> None:
        upload = an_upload()
        lease = await create_held(state, upload)
        await state.commit(lease, replace(upload, status=Status.COMPLETE), release=False)
        assert isinstance(await state.take(a_visit(upload)), Seen)
        assert not lease.asked.is_set()

    @pytest.mark.parametrize(
        ("changes", "is_seen"),
        [
            pytest.param({"offset": 5}, True, id="on its way"),
            pytest.param({"length": None}, True, id="length deferred"),
            pytest.param({"offset": 100}, False, id="full"),
            pytest.param({"status": Status.RECEIVED, "offset": 100}, False, id="received"),
            pytest.param({"status": Status.JOINING}, True, id="joining"),
            pytest.param({"status": Status.JOINING, "offset": 100}, True, id="joining, and full"),
        ],
    )
    async def test_a_read_needs_no_lease_where_the_record_is_the_truth(
        self, state: StateStore, changes: dict[str, Any], is_seen: bool
    ) -> None:
        upload = an_upload(**changes)
        await state.create(upload, [], with_lease=False)
        got = await state.take(a_visit(upload, Purpose.READ))
        assert isinstance(got, Seen) == is_seen

    @pytest.mark.parametrize("purpose", [Purpose.READ, Purpose.APPEND])
    async def test_who_joins_is_not_disturbed_by_who_looks(
        self, state: StateStore, purpose: Purpose
    ) -> None:
        upload = an_upload(status=Status.JOINING)
        lease = await create_held(state, upload)
        await state.commit(lease, replace(upload, offset=40), release=False)
        got = await state.take(a_visit(upload, purpose, wait_seconds=LONG_WAIT))
        assert isinstance(got, Seen) and got.upload.offset == 40
        await state.commit(lease, replace(upload, offset=50), release=False)
        assert not lease.asked.is_set()

    @pytest.mark.parametrize("purpose", list(Purpose))
    async def test_a_joining_whose_joiner_is_gone_is_left_to_the_sweeper(
        self, rig: StateRig, purpose: Purpose
    ) -> None:
        """Who looks gets the record; who sweeps or terminates, the lease, and reconciles first."""
        state = await rig.open()
        upload = an_upload(status=Status.JOINING)
        await create_held(state, upload)
        await expire(rig)
        got = await state.take(a_visit(upload, purpose))
        assert isinstance(got, Seen) == (purpose in (Purpose.APPEND, Purpose.READ))
        assert not isinstance(got, Taken) or not got.is_settled

    async def test_a_joining_that_is_terminated_is_asked_for_like_any_other(
        self, rig: StateRig
    ) -> None:
        state, other = await rig.open(), await rig.open()
        upload = an_upload(status=Status.JOINING)
        lease = await create_held(state, upload)
        with pytest.raises(LeaseBusy):
            await other.take(a_visit(upload, Purpose.SWEEP))
        await state.commit(lease, upload, release=False)
        assert not lease.asked.is_set()
        waiting = asyncio.create_task(
            take(other, upload, Purpose.TERMINATE, wait_seconds=LONG_WAIT)
        )
        await lease.asked.wait()
        await state.commit(lease, replace(upload, offset=60), release=True)
        got = await waiting
        assert got.is_settled and got.upload.offset == 60

    async def test_a_stranger_learns_nothing_of_a_joining(self, state: StateStore) -> None:
        upload = an_upload(status=Status.JOINING)
        await state.create(upload, [], with_lease=False)
        for purpose in (Purpose.READ, Purpose.APPEND):
            with pytest.raises(ClientMismatch):
                await state.take(a_visit(upload, purpose, principal=owned_by("video", "other")))

    async def test_many_reads_at_once_do_not_fight(self, rig: StateRig) -> None:
        states = [await rig.open(), await rig.open()]
        upload = an_upload(offset=9)
        await states[0].create(upload, [], with_lease=False)
        got = await asyncio.gather(
            *(states[n % 2].take(a_visit(upload, Purpose.READ)) for n in range(40))
        )
        assert all(isinstance(each, Seen) and each.upload.offset == 9 for each in got)

    async def test_a_read_after_an_unclean_end_takes_the_lease(self, rig: StateRig) -> None:
        state = await rig.open()
        upload = an_upload()
        await create_held(state, upload)
        await expire(rig)
        got = await take(state, upload, Purpose.READ)
        assert not got.is_settled


class TestHandOver:
    @pytest.mark.parametrize("purpose", [Purpose.APPEND, Purpose.READ, Purpose.TERMINATE])
    @pytest.mark.parametrize("is_far", [False, True], ids=["one instance", "two instances"])
    async def test_a_holder_is_asked_and_hands_over(
        self, rig: StateRig, purpose: Purpose, is_far: bool
    ) -> None:
        state = await rig.open()
        other = await rig.open() if is_far else state
        upload = an_upload()
        lease = await create_held(state, upload)

        async def hold() -> None:
            await lease.asked.wait()
            await state.commit(lease, replace(upload, offset=42), release=True)

        holder = asyncio.create_task(hold())
        got = await other.take(a_visit(upload, purpose, wait_seconds=LONG_WAIT))
        await holder
        assert got.upload.offset == 42
        assert isinstance(got, Seen) == (purpose is Purpose.READ)
        assert not isinstance(got, Taken) or got.is_settled

    @pytest.mark.parametrize("is_far", [False, True], ids=["one instance", "two instances"])
    async def test_a_plain_release_wakes_who_waits(self, rig: StateRig, is_far: bool) -> None:
        state = await rig.open()
        other = await rig.open() if is_far else state
        lease = await create_held(state, an_upload())
        waiting = asyncio.create_task(take(other, an_upload(), wait_seconds=LONG_WAIT))
        await lease.asked.wait()
        await state.release(lease)
        assert (await waiting).is_settled

    async def test_who_waits_for_a_removed_upload_hears_that_it_is_gone(
        self, rig: StateRig
    ) -> None:
        state, other = await rig.open(), await rig.open()
        lease = await create_held(state, an_upload())
        waiting = asyncio.create_task(take(other, an_upload(), wait_seconds=LONG_WAIT))
        await lease.asked.wait()
        await state.remove(lease)
        with pytest.raises(RecordUnknown):
            await waiting

    async def test_all_who_wait_get_it_in_the_end(self, rig: StateRig) -> None:
        states = [await rig.open(), await rig.open()]
        upload = an_upload()
        lease = await create_held(states[0], upload)
        holders: list[str] = []

        async def wait(state: StateStore) -> None:
            got = await take(state, upload, wait_seconds=LONG_WAIT)
            holders.append(got.lease.holder)
            await state.commit(got.lease, got.upload, release=True)

        waiting = [asyncio.create_task(wait(states[n % 2])) for n in range(6)]
        await lease.asked.wait()
        await states[0].commit(lease, upload, release=True)
        await asyncio.gather(*waiting)
        assert len(set(holders)) == 6

    async def test_a_wait_ends_in_busy(self, state: StateStore) -> None:
        lease = await create_held(state, an_upload())
        with pytest.raises(LeaseBusy) as busy:
            await state.take(a_visit(an_upload(), wait_seconds=0.05))
        assert 0 <= busy.value.retry_after_seconds <= LEASE_SECONDS
        assert lease.asked.is_set()

    async def test_who_waits_gets_it_at_the_deadline_of_a_silent_holder(
        self, rig: StateRig
    ) -> None:
        state, other = await rig.open(), await rig.open()
        lease = await create_held(state, an_upload())
        waiting = asyncio.create_task(take(other, an_upload(), wait_seconds=LONG_WAIT))
        await lease.asked.wait()
        await expire(rig)
        assert not (await waiting).is_settled

    async def test_the_sweeper_asks_nobody(self, state: StateStore) -> None:
        lease = await create_held(state, an_upload())
        with pytest.raises(LeaseBusy):
            await state.take(a_visit(an_upload(), Purpose.SWEEP, wait_seconds=0.02))
        await state.commit(lease, an_upload(), release=False)
        assert not lease.asked.is_set()

    @pytest.mark.parametrize("purpose", list(Purpose))
    async def test_who_asks_the_gate_is_left_alone_but_by_a_termination(
        self, state: StateStore, purpose: Purpose
    ) -> None:
        upload = an_upload(status=Status.RECEIVED, offset=100)
        lease = await create_held(state, upload)
        with pytest.raises(LeaseBusy):
            await state.take(a_visit(upload, purpose))
        await state.commit(lease, upload, release=False)
        assert lease.asked.is_set() == (purpose is Purpose.TERMINATE)

    async def test_a_cancelled_wait_takes_nothing(self, rig: StateRig) -> None:
        state = await rig.open()
        upload = an_upload()
        lease = await create_held(state, upload)
        waiting = asyncio.create_task(take(state, upload, wait_seconds=LONG_WAIT))
        await lease.asked.wait()
        waiting.cancel()
        await asyncio.wait([waiting])
        await state.commit(lease, upload, release=True)
        assert (await take(state, upload)).is_settled

    @pytest.mark.parametrize("turns", range(6))
    async def test_a_lease_that_a_cancelled_caller_got_is_free_again(
        self, state: StateStore, turns: int
    ) -> None:
        """Cancelled before, while and after the store grants it."""
        upload = an_upload()
        await state.create(upload, [], with_lease=False)
        for _ in range(10):
            taking = asyncio.create_task(take(state, upload, wait_seconds=LONG_WAIT))
            for _ in range(turns):
                await asyncio.sleep(0)
            if turns == 5:
                await state.find(upload.id)
            taking.cancel()
            await asyncio.wait([taking])
            if not taking.cancelled():
                await state.release(taking.result().lease)
        assert (await take(state, upload, wait_seconds=LONG_WAIT)).is_settled


class TestRestartsAndGenerations:
    async def test_restart_is_unclean_a_record_of_an_earlier_boot_is_not_believed(
        self, rig: StateRig
    ) -> None:
        """[restart-is-unclean] Even where its lease was let go cleanly."""
        state = await rig.open()
        upload = an_upload()
        await state.create(upload, [], with_lease=False)
        await state.close()
        later = await rig.open(Boot("host-a", "boot-2"))
        got = await take(later, upload, Purpose.READ)
        assert not got.is_settled
        writer = Boot("host-a", "boot-2")
        await later.commit(got.lease, replace(got.upload, writer=writer), release=True)
        assert isinstance(await later.take(a_visit(upload, Purpose.READ)), Seen)

    async def test_host_boot_a_record_is_judged_by_the_boot_of_its_writers_host(
        self, rig: StateRig
    ) -> None:
        """[host-boot] Never by the reader's own."""
        here = await rig.open()
        await here.create(an_upload(), [], with_lease=False)
        elsewhere = await rig.open(Boot("host-b", "boot-7"))
        assert isinstance(await elsewhere.take(a_visit(an_upload(), Purpose.READ)), Seen)
        await here.close()
        await rig.open(Boot("host-a", "boot-2"))
        assert isinstance(await elsewhere.take(a_visit(an_upload(), Purpose.READ)), Taken)

    @pytest.mark.parametrize(
        ("host", "boot_id"), [("host-a", "boot-1"), ("host-b", "boot-7"), ("host-c", None)]
    )
    async def test_host_boot_who_takes_learns_what_the_writers_host_runs_now(
        self, rig: StateRig, host: str, boot_id: str | None
    ) -> None:
        """[host-boot] As that host published it; a host that was never heard of has no boot."""
        state = await rig.open()
        await rig.open(Boot("host-b", "boot-7"))
        assert state.boot == BOOT
        await rig.let_grace_pass()
        written = an_upload(1, writer=Boot(host, "boot-1"))
        await state.create(written, [], with_lease=False)
        assert (await take(state, written, Purpose.TERMINATE)).writer_boot_id == boot_id
        made_anew = an_upload(2, writer=Boot(host, "boot-1"))
        assert (await state.adopt(made_anew)).writer_boot_id == boot_id

    async def test_who_appends_to_a_settled_record_signs_it(self, rig: StateRig) -> None:
        """Before its first byte the record names the machine whose restart would lose it."""
        await (await rig.open()).create(an_upload(), [], with_lease=False)
        other = Boot("host-b", "boot-7")
        there = await rig.open(other)
        got = await take(there, an_upload())
        assert got.is_settled and got.upload.writer == other
        await expire(rig)
        await there.close()
        await rig.open(Boot("host-b", "boot-8"))
        found = await take(await rig.open(), an_upload())
        assert (found.upload.writer, found.writer_boot_id) == (other, "boot-8")

    @pytest.mark.parametrize("purpose", [Purpose.READ, Purpose.TERMINATE, Purpose.SWEEP])
    async def test_lease_only_who_writes_no_bytes_signs_nothing(
        self, rig: StateRig, purpose: Purpose
    ) -> None:
        """[lease-only] They are another machine's still, whose restart would lose them."""
        full = an_upload(offset=100)
        await (await rig.open()).create(full, [], with_lease=False)
        there = await rig.open(Boot("host-b", "boot-7"))
        got = await take(there, full, purpose)
        assert got.upload.writer == BOOT
        await there.release(got.lease)
        found = await there.find(full.id)
        assert found is not None and found.writer == BOOT

    async def test_lease_only_who_appends_to_an_unsettled_record_does_not_sign_it(
        self, rig: StateRig
    ) -> None:
        """[lease-only] Should it die before it reconciled, the next one must not believe it."""
        await (await rig.open()).create(an_upload(), [], with_lease=True)
        await expire(rig)
        got = await take(await rig.open(Boot("host-b", "boot-7")), an_upload())
        assert not got.is_settled and got.upload.writer == BOOT

    async def test_grace_no_lease_on_records_of_another_generation_for_a_leases_time(
        self, rig: StateRig
    ) -> None:
        """[grace] Holders that the store forgot may still believe in theirs."""
        state = await rig.open()
        await state.create(an_upload(1), [], with_lease=False)
        await rig.change_generation()
        state = await rig.open()
        for purpose in Purpose:
            with pytest.raises(LeaseBusy) as busy:
                await state.take(a_visit(an_upload(1), purpose))
            assert 0 < busy.value.retry_after_seconds <= LEASE_SECONDS
        with pytest.raises(LeaseBusy):
            await state.adopt(an_upload(2))
        await expire(rig)
        assert not (await take(state, an_upload(1))).is_settled
        await state.adopt(an_upload(2))

    async def test_records_of_the_present_generation_know_no_grace(self, rig: StateRig) -> None:
        await rig.open()
        await rig.change_generation()
        state = await rig.open()
        await state.create(an_upload(), [], with_lease=False)
        assert (await take(state, an_upload())).is_settled

    @pytest.mark.parametrize("status", [Status.COMPLETE, Status.JOINING])
    async def test_records_of_another_generation_are_taken_and_reconciled_whatever_their_status(
        self, rig: StateRig, status: Status
    ) -> None:
        state = await rig.open()
        upload = an_upload(status=status, offset=100)
        await state.create(upload, [], with_lease=False)
        await rig.change_generation()
        await expire(rig)
        state = await rig.open()
        await expire(rig)
        got = await take(state, upload, Purpose.READ)
        await state.commit(got.lease, got.upload, release=True)
        assert isinstance(await state.take(a_visit(upload, Purpose.READ)), Seen)
        found = await state.find(upload.id)
        assert found is not None and found.master != got.upload.master

    async def test_the_generation_is_the_same_after_a_restart(self, rig: StateRig) -> None:
        state = await rig.open()
        await state.create(an_upload(), [], with_lease=False)
        await state.close()
        state = await rig.open()
        assert isinstance(await state.take(a_visit(an_upload(), Purpose.READ)), Seen)


class TestAdoption:
    async def test_it_makes_record_and_lease_and_is_never_settled(self, rig: StateRig) -> None:
        state = await rig.open()
        await rig.let_grace_pass()
        got = await state.adopt(an_upload())
        assert not got.is_settled
        with pytest.raises(LeaseBusy):
            await state.take(a_visit(an_upload()))
        await state.commit(got.lease, got.upload, release=True)
        assert isinstance(await state.take(a_visit(an_upload(), Purpose.READ)), Seen)

    async def test_a_record_that_exists_is_not_adopted(self, rig: StateRig) -> None:
        state = await rig.open()
        await rig.let_grace_pass()
        await state.create(an_upload(offset=9), [], with_lease=False)
        with pytest.raises(LeaseBusy) as busy:
            await state.adopt(an_upload())
        assert busy.value.retry_after_seconds == 0
        found = await state.find(upload_id(1))
        assert found is not None and found.offset == 9

    async def test_the_key_of_one_file_is_kept_by_an_adoption(self, rig: StateRig) -> None:
        """``once``: who adopts takes the key like a creation, and yields to who has it."""
        state = await rig.open()
        await rig.let_grace_pass()
        got = await state.adopt(an_upload(1), once="key")
        await state.commit(got.lease, got.upload, release=True)
        created = await state.create(an_upload(2), [], with_lease=True, once="key")
        assert (created.upload.id, created.is_new) == (upload_id(1), False)
        with pytest.raises(OnceTaken):
            await state.adopt(an_upload(3), once="key")
        assert await state.find(upload_id(3)) is None
        assert (await state.adopt(an_upload(3), once="other")).upload.id == upload_id(3)

    async def test_the_key_of_what_is_gone_is_free_for_an_adoption(self, rig: StateRig) -> None:
        state = await rig.open()
        await rig.let_grace_pass()
        await state.create(an_upload(1, status=Status.REJECTED), [], with_lease=False, once="key")
        assert (await state.adopt(an_upload(2), once="key")).upload.id == upload_id(2)

    async def test_of_many_adopters_and_takers_one_has_the_lease(self, rig: StateRig) -> None:
        states = [await rig.open(), await rig.open()]
        await rig.let_grace_pass()
        upload = an_upload()
        got = await asyncio.gather(
            *(states[n % 2].adopt(upload) for n in range(6)),
            *(states[n % 2].take(a_visit(upload)) for n in range(6)),
            return_exceptions=True,
        )
        assert sum(isinstance(each, Taken) for each in got) == 1
        assert all(isinstance(each, Taken | LeaseBusy | RecordUnknown) for each in got)

    async def test_what_a_dead_adopter_made_is_not_believed(self, rig: StateRig) -> None:
        state = await rig.open()
        await rig.let_grace_pass()
        lease = (await state.adopt(an_upload())).lease
        await state.release(lease)
        assert not (await take(state, an_upload(), Purpose.READ)).is_settled


class TestCommit:
    @pytest.mark.parametrize("release", [False, True])
    async def test_it_writes_the_record(self, state: StateStore, release: bool) -> None:
        upload = an_upload()
        lease = await create_held(state, upload)
        changed = replace(
            upload,
            offset=50,
            synced_offset=20,
            suspect_length=70,
            length=90,
            changed_at=5.0,
            expires_at=6.0,
            is_interrupted=True,
            interruptions=2,
            writer=Boot("host-b", "x"),
            is_strict=True,
            bytes_per_second=1e9,
        )
        await state.commit(lease, changed, release=release)
        found = await state.find(upload.id)
        assert found is not None and replace(found, master="") == changed

    async def test_commit_in_time_a_wrong_number_or_holder_is_refused(self, rig: StateRig) -> None:
        """[commit-in-time] Both must match: a number alone repeats after a failover."""
        state = await rig.open()
        await state.register(["hook"])
        upload = an_upload()
        right = await create_held(state, upload)
        before = await state.find(upload.id)
        for number, holder in (
            (right.number + 1, right.holder),
            (right.number - 1, right.holder),
            (right.number, HolderId("somebody")),
        ):
            wrong = Lease(upload.id, number, holder, right.deadline, rig.clock)
            for release in (False, True):
                with pytest.raises(LeaseGone):
                    await state.commit(
                        wrong, replace(upload, offset=9), [an_event(upload)], release=release
                    )
            with pytest.raises(LeaseGone):
                await state.remove(wrong, [an_event(upload)])
            await state.release(wrong)
        assert await state.find(upload.id) == before
        assert await state.backlog() == {"hook": 0}
        await state.commit(right, upload, release=True)

    @pytest.mark.parametrize("release", [False, True])
    async def test_commit_in_time_a_late_commit_is_refused_and_changes_nothing(
        self, rig: StateRig, release: bool
    ) -> None:
        """[commit-in-time] Even where nobody else has taken the lease since."""
        state = await rig.open()
        await state.register(["hook"])
        upload = an_upload()
        lease = await create_held(state, upload)
        before = await state.find(upload.id)
        rig.clock.advance(LEASE_SECONDS)
        with pytest.raises(LeaseGone):
            await state.commit(
                lease, replace(upload, offset=9), [an_event(upload)], release=release
            )
        with pytest.raises(LeaseGone):
            await state.remove(lease)
        assert await state.find(upload.id) == before
        assert await state.backlog() == {"hook": 0}

    async def test_a_commit_renews_the_lease(self, rig: StateRig) -> None:
        state = await rig.open()
        lease = await create_held(state, an_upload())
        for _ in range(3):
            rig.clock.advance(LEASE_SECONDS - 1)
            await state.commit(lease, an_upload(), release=False)
            assert lease.remaining_seconds == LEASE_SECONDS
        with pytest.raises(LeaseBusy):
            await state.take(a_visit(an_upload()))

    async def test_a_lease_that_was_let_go_commits_nothing(self, state: StateStore) -> None:
        lease = await create_held(state, an_upload())
        await state.commit(lease, an_upload(), release=True)
        with pytest.raises(LeaseGone):
            await state.commit(lease, an_upload(offset=9), release=True)

    async def test_record_and_events_come_together_or_not_at_all(self, rig: StateRig) -> None:
        state = await rig.open()
        await state.register(["hook"])
        upload = an_upload()
        lease = await create_held(state, upload)
        before = await state.find(upload.id)
        async with rig.broken_commits(state):
            with pytest.raises(StateError):
                await state.commit(
                    lease, replace(upload, offset=9), [an_event(upload)], release=True
                )
            with pytest.raises(StateError):
                await state.take(a_visit(upload))
            with pytest.raises(StateError):
                await state.ping()
        assert await state.find(upload.id) == before
        assert await state.backlog() == {"hook": 0}
        await state.commit(lease, replace(upload, offset=9), [an_event(upload)], release=True)
        assert await state.backlog() == {"hook": 1}
        await state.ping()

    async def test_the_checkpoint_of_a_holder_that_is_wanted_tells_it(self, rig: StateRig) -> None:
        """A wish is in the store too: a hint that was lost costs time only."""
        state, other = await rig.open(), await rig.open()
        lease = await create_held(state, an_upload())
        with pytest.raises(LeaseBusy):
            await other.take(a_visit(an_upload()))
        lease.asked.clear()
        await state.commit(lease, an_upload(), release=False)
        assert lease.asked.is_set()

    async def test_one_refused_commit_harms_no_other(self, state: StateStore) -> None:
        """They may share a transaction."""
        leases = [await create_held(state, an_upload(n)) for n in range(1, 9)]
        for lease in leases[::2]:
            await state.release(lease)
        done = await asyncio.gather(
            *(
                state.commit(lease, an_upload(n, offset=n), release=True)
                for n, lease in enumerate(leases, 1)
            ),
            return_exceptions=True,
        )
        assert [isinstance(each, LeaseGone) for each in done] == [True, False] * 4
        for n in range(1, 9):
            found = await state.find(upload_id(n))
            assert found is not None and found.offset == (0 if n % 2 else n)


class TestRelease:
    async def test_a_release_changes_no_record(self, state: StateStore) -> None:
        await state.create(an_upload(offset=4), [], with_lease=False)
        before = await state.find(upload_id(1))
        await state.release((await take(state, an_upload())).lease)
        assert await state.find(upload_id(1)) == before

    async def test_a_lease_over_an_unsettled_record_leaves_it_unsettled(
        self, rig: StateRig
    ) -> None:
        state = await rig.open()
        await create_held(state, an_upload())
        await expire(rig)
        await state.release((await take(state, an_upload())).lease)
        assert not (await take(state, an_upload(), Purpose.READ)).is_settled

    async def test_who_has_reconciled_a_record_leaves_it_settled(self, rig: StateRig) -> None:
        """What was committed under the lease is the truth, also when it is let go later."""
        state = await rig.open()
        await create_held(state, an_upload())
        await expire(rig)
        lease = (await take(state, an_upload())).lease
        await state.commit(lease, an_upload(offset=9), release=False)
        await state.release(lease)
        assert isinstance(await state.take(a_visit(an_upload(), Purpose.READ)), Seen)

    async def test_who_reconciled_behind_a_change_of_generation_leaves_it_settled(
        self, rig: StateRig
    ) -> None:
        """In one commit, which lets go."""
        await (await rig.open()).create(an_upload(), [], with_lease=False)
        await rig.change_generation()
        state = await rig.open()
        await expire(rig)
        await state.commit((await take(state, an_upload())).lease, an_upload(), release=True)
        assert isinstance(await state.take(a_visit(an_upload(), Purpose.READ)), Seen)

    async def test_a_release_too_late_is_no_clean_mark_and_no_error(self, rig: StateRig) -> None:
        state = await rig.open()
        lease = await create_held(state, an_upload())
        await expire(rig)
        await state.release(lease)
        assert not (await take(state, an_upload())).is_settled
        await state.release(lease)

    async def test_a_removed_record_is_gone_with_its_lease(self, state: StateStore) -> None:
        await state.register(["hook"])
        lease = await create_held(state, an_upload())
        await state.remove(lease, [an_event(an_upload())])
        assert await state.find(upload_id(1)) is None
        assert await state.backlog() == {"hook": 1}
        with pytest.raises(RecordUnknown):
            await state.take(a_visit(an_upload()))
        with pytest.raises(LeaseGone):
            await state.commit(lease, an_upload(), release=True)
        await state.release(lease)


class TestListing:
    async def test_many_are_found_at_once_and_what_is_unknown_is_left_away(
        self, state: StateStore
    ) -> None:
        """More than fit in one statement, some of them asked for twice, also under a lease."""
        await asyncio.gather(
            *(
                state.create(an_upload(n, offset=n % 50), [], with_lease=n == 7)
                for n in range(1, 521)
            )
        )
        asked = [upload_id(n) for n in (*range(1, 521), 5, 9999)]
        found = await state.find_many(asked)
        assert found.keys() == {upload_id(n) for n in range(1, 521)}
        assert found[upload_id(7)].offset == 7
        assert await state.find_many([]) == {}

    async def test_pages_go_by_id_through_what_is_wanted(self, state: StateStore) -> None:
        other = Owner(VideoId("v2"), ClientId("c2"))
        for n in range(1, 8):
            upload = an_upload(n, owner=other) if n % 2 else an_upload(n, status=Status.COMPLETE)
            await state.create(upload, [], with_lease=False)

        async def ids(wanted: Filter) -> list[int]:
            found: list[int] = []
            while page := await state.page(
                wanted, after=upload_id(found[-1]) if found else None, limit=2
            ):
                assert len(page) <= 2
                found += [number_of(upload.id) for upload in page]
            return found

        assert await ids(Filter()) == [1, 2, 3, 4, 5, 6, 7]
        assert await ids(Filter(video_id=VideoId("v2"))) == [1, 3, 5, 7]
        assert await ids(Filter(client_id=ClientId("client"))) == [2, 4, 6]
        assert await ids(Filter(status=Status.COMPLETE)) == [2, 4, 6]
        assert await ids(Filter(status=Status.COMPLETE, video_id=VideoId("v2"))) == []

    async def test_a_page_holds_what_matches_all_that_is_wanted(self, state: StateStore) -> None:
        numbers: dict[int, set[str]] = {}
        for n, (video, client, status) in enumerate(
            itertools.product("ab", "xy", (Status.RECEIVING, Status.COMPLETE)), 1
        ):
            owner = Owner(VideoId(video), ClientId(client))
            await state.create(an_upload(n, owner=owner, status=status), [], with_lease=False)
            numbers[n] = {video, client, status}
        everything = itertools.product(
            (None, VideoId("a"), VideoId("b"), VideoId("c")),
            (None, ClientId("x"), ClientId("z")),
            (None, Status.COMPLETE, Status.INVALID),
        )
        for video_id, client_id, wanted_status in everything:
            wanted = Filter(video_id=video_id, client_id=client_id, status=wanted_status)
            expected = {video_id, client_id, wanted_status} - {None}
            found = await state.page(wanted, after=None, limit=100)
            assert [number_of(upload.id) for upload in found] == [
                n for n, has in numbers.items() if expected <= has
            ], wanted

    async def test_uploads_are_counted_by_status(self, state: StateStore) -> None:
        for n in range(3):
            await state.create(an_upload(n), [], with_lease=False)
        await state.create(an_upload(9, status=Status.COMPLETE), [], with_lease=False)
        counts = await state.counts()
        assert counts[Status.RECEIVING] == 3 and counts[Status.COMPLETE] == 1

    async def test_a_store_that_is_closed_says_so(self, rig: StateRig) -> None:
        state = await rig.open()
        await state.close()
        await state.close()
        with pytest.raises(StateError):
            await state.find(upload_id(1))
        with pytest.raises(StateError):
            await rig.make(BOOT).ping()
