"""What every byte store promises, with every durability."""

import asyncio
import errno
import itertools
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.stores import RIGS, Script, StoreRig, WatchedAppending, an_id, facts
from tusd_py import registry
from tusd_py.core.facts import CompletionMark, Remains
from tusd_py.core.ids import UploadId
from tusd_py.core.reconcile import Durability
from tusd_py.stores.base import Appended, Appending, StoreError
from tusd_py.streams import Brake, SourceEnd, StopReason

MIB = 1024 * 1024
KEEPS = [StopReason.ASKED, StopReason.STOPPING]
DROPS = [StopReason.LEASE_LOST, StopReason.STATE_AWAY, StopReason.NO_SPACE]
MARK = CompletionMark(length=10, finished_at=2_000.25)


@pytest.fixture(params=list(itertools.product(sorted(RIGS), Durability)), ids="-".join)
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreRig]:
    kind, durability = request.param
    made = RIGS[kind](tmp_path, durability)
    await made.store.open()
    yield made
    await made.store.close()


def test_every_registered_store_is_held_to_this_suite() -> None:
    """A store with a line in the registry has one here."""
    assert set(RIGS) == set(registry.STORES)


class TestFacts:
    """Facts, lengths and marks beside the bytes."""

    @pytest.mark.parametrize(
        "wire", ["", "a,b YQ==", "ä\N{SNOWMAN} YQ==", "x\udce9\udc80 YQ==", 'q"\\ YQ==']
    )
    async def test_facts_come_back_as_they_were(self, rig: StoreRig, wire: str) -> None:
        """Metadata of any characters, undecodable bytes included."""
        await rig.store.prepare(facts(wire=wire))
        assert await rig.store.load(an_id()) == Remains(facts=facts(wire=wire), size=0)

    async def test_an_upload_that_was_never_made_has_no_facts(self, rig: StoreRig) -> None:
        """``load`` answers None, it does not raise."""
        assert await rig.store.load(an_id()) is None

    async def test_an_id_is_made_once(self, rig: StoreRig) -> None:
        """A second upload with the same id would take the first one's bytes."""
        await rig.store.prepare(facts())
        with pytest.raises(StoreError):
            await rig.store.prepare(facts(length=99))
        assert await rig.store.load(an_id()) == Remains(facts=facts(), size=0)

    async def test_the_first_declared_length_counts(self, rig: StoreRig) -> None:
        """tus: once set, the length must not be changed."""
        await rig.store.prepare(facts(length=None))
        await rig.store.declare_length(an_id(), 7)
        await rig.store.declare_length(an_id(), 8)
        assert await rig.another().load(an_id()) == Remains(facts=facts(length=7), size=0)

    async def test_a_length_that_was_given_at_creation_stays(self, rig: StoreRig) -> None:
        """A declaration adds a length, it never replaces one."""
        await rig.store.prepare(facts(length=10))
        await rig.store.declare_length(an_id(), 8)
        assert await rig.store.load(an_id()) == Remains(facts=facts(length=10), size=0)

    async def test_the_mark_of_completion_is_seen_by_every_reader(self, rig: StoreRig) -> None:
        """Another process over the same bytes sees it, and marking twice changes nothing."""
        await rig.finished(b"0123456789")
        await rig.store.complete(an_id(), MARK)
        await rig.store.complete(an_id(), CompletionMark(length=10, finished_at=9_999.0))
        assert await rig.another().load(an_id()) == Remains(facts=facts(), size=10, mark=MARK)

    async def test_an_upload_of_no_bytes_completes(self, rig: StoreRig) -> None:
        """It never had a file of bytes."""
        await rig.finished(b"")
        mark = CompletionMark(length=0, finished_at=1.0)
        await rig.store.sync(an_id())
        await rig.store.complete(an_id(), mark)
        assert await rig.store.load(an_id()) == Remains(facts=facts(length=0), size=0, mark=mark)

    async def test_nothing_is_marked_that_has_no_facts(self, rig: StoreRig) -> None:
        """A mark without facts would be found by nobody."""
        with pytest.raises(StoreError):
            await rig.store.complete(an_id(), MARK)
        with pytest.raises(StoreError):
            await rig.store.declare_length(an_id(), 3)
        assert await rig.store.load(an_id()) is None


class TestAppending:
    """Bytes go where they belong, and the outcome says how far."""

    async def test_bytes_lie_at_their_offsets(self, rig: StoreRig) -> None:
        """Three appends, one after the other, and the size grows with them."""
        await rig.store.prepare(facts())
        assert await rig.append(b"012", b"34") == Appended(5, SourceEnd.COMPLETE)
        assert await rig.append(b"5", offset=5) == Appended(6, SourceEnd.COMPLETE)
        assert await rig.append(b"6789", offset=6) == Appended(10, SourceEnd.COMPLETE)
        assert rig.contents(an_id()) == b"0123456789"
        assert await rig.store.load(an_id()) == Remains(facts=facts(), size=10)

    async def test_bytes_past_the_offset_are_written_over_and_never_cut(
        self, rig: StoreRig
    ) -> None:
        """[no-cut] after a reconciliation the offset may lie before the end of the file."""
        await rig.store.prepare(facts())
        await rig.append(b"01xxxxxx89")
        await rig.append(b"234567", offset=2)
        assert rig.contents(an_id()) == b"0123456789"

    async def test_no_hole_is_made_where_bytes_were_lost(self, rig: StoreRig) -> None:
        """An offset past the end of the file is an error, not a gap of zeros."""
        await rig.store.prepare(facts())
        await rig.append(b"012")
        done = await rig.append(b"789", offset=7)
        assert isinstance(done.error, StoreError) and done.offset == 7
        assert rig.contents(an_id()) == b"012"

    @pytest.mark.parametrize("announced", [None, 5])
    @pytest.mark.parametrize("end", list(SourceEnd))
    async def test_the_end_is_the_sources_and_all_bytes_before_it_are_kept(
        self, rig: StoreRig, end: SourceEnd, announced: int | None
    ) -> None:
        """Complete, hung up, too slow or malformed: what arrived is there."""
        await rig.store.prepare(facts())
        appending = Appending(an_id(), 0, 100, Brake())
        source = Script(b"01", b"234", end=end, announced=announced)
        assert await rig.store.append(appending, source) == Appended(5, end)
        assert appending.offset == 5 and rig.contents(an_id()) == b"01234"

    async def test_a_body_without_bytes_changes_nothing(self, rig: StoreRig) -> None:
        """Not even a file is made."""
        await rig.store.prepare(facts())
        assert await rig.append() == Appended(0, SourceEnd.COMPLETE)
        assert rig.contents(an_id()) is None

    @pytest.mark.parametrize(
        "pieces", [(b"0123456789",), (b"01234", b"56789"), (b"01234567", b"89")]
    )
    async def test_not_a_byte_more_than_the_room_is_written(
        self, rig: StoreRig, pieces: tuple[bytes, ...]
    ) -> None:
        """Those that fit are, and the overflow is told."""
        await rig.store.prepare(facts())
        done = await rig.append(*pieces, room=8)
        assert (done.offset, done.overflowed, done.error) == (8, True, None)
        assert rig.contents(an_id()) == b"01234567"

    async def test_a_body_that_fills_the_room_did_not_overflow(self, rig: StoreRig) -> None:
        """The bound itself is inside."""
        await rig.store.prepare(facts())
        assert await rig.append(b"01234567", room=8) == Appended(8, SourceEnd.COMPLETE)

    async def test_no_room_at_all_takes_no_byte(self, rig: StoreRig) -> None:
        """A body for a full upload is an overflow from its first byte on."""
        await rig.store.prepare(facts())
        done = await rig.append(b"x", room=0)
        assert (done.offset, done.overflowed) == (0, True) and rig.contents(an_id()) is None

    @pytest.mark.parametrize("size", [1, 7_001, 300_000, 3 * MIB + 5])
    async def test_big_bodies_in_pieces_of_any_size_arrive_whole(
        self, rig: StoreRig, size: int
    ) -> None:
        """Tiny pieces by the thousand, and single ones beyond every bound of a write."""
        count = 5_000 if size == 1 else (4 * MIB) // size + 2
        data = os.urandom(size * count)
        await rig.store.prepare(facts(length=len(data)))
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        assert await rig.append(*pieces) == Appended(len(data), SourceEnd.COMPLETE)
        assert rig.contents(an_id()) == data

    async def test_it_reads_on_while_a_write_is_under_way_but_not_for_ever(
        self, rig: StoreRig
    ) -> None:
        """A slow disk neither stops the reading at once nor fills the memory."""
        await rig.store.prepare(facts(length=64 * MIB))
        source = Script(*[bytes(256 * 1024)] * 256)
        with rig.slow_writes() as gate:
            append = asyncio.create_task(
                rig.store.append(Appending(an_id(), 0, 64 * MIB, Brake()), source)
            )
            await gate.reached()
            for _ in range(100):
                await asyncio.sleep(0)
            assert 4 < source.reads < 64
            gate.open()
            assert await append == Appended(64 * MIB, SourceEnd.COMPLETE)

    async def test_progress_is_seen_while_a_slow_client_sends(self, rig: StoreRig) -> None:
        """A few bytes do not wait for a batch to fill: a checkpoint would not count them."""
        await rig.store.prepare(facts())
        never, brake = asyncio.Event(), Brake()
        appending = WatchedAppending(an_id(), 0, 100, brake)
        append = asyncio.create_task(rig.store.append(appending, Script(b"0123", never)))
        await appending.grown()
        assert rig.contents(an_id()) == b"0123"
        brake.pull(StopReason.ASKED)
        assert await append == Appended(4, StopReason.ASKED)


class TestBrake:
    """Stopping early, for each reason."""

    @pytest.mark.parametrize("reason", list(StopReason))
    async def test_a_brake_pulled_before_stops_before_the_first_read(
        self, rig: StoreRig, reason: StopReason
    ) -> None:
        """Nothing is read, nothing is written."""
        await rig.store.prepare(facts())
        brake, source = Brake(), Script(b"0123")
        brake.pull(reason)
        done = await rig.store.append(Appending(an_id(), 0, 100, brake), source)
        assert done == Appended(0, reason)
        assert source.reads == 0 and rig.contents(an_id()) is None

    @pytest.mark.parametrize(("reason", "kept"), [(r, 4) for r in KEEPS] + [(r, 0) for r in DROPS])
    @pytest.mark.parametrize("announced", [None, 10, 10 * MIB])
    async def test_a_silent_body_is_stopped_at_once(
        self, rig: StoreRig, reason: StopReason, kept: int, announced: int | None
    ) -> None:
        """What arrived is kept where somebody only wants the place, and not where the right to
        write is lost."""
        await rig.store.prepare(facts())
        brake = Brake()
        source = Script(b"0123", asyncio.Event(), announced=announced)
        append = asyncio.create_task(
            rig.store.append(Appending(an_id(), 0, 100 * MIB, brake), source)
        )
        await source.starved.wait()
        brake.pull(reason)
        assert await append == Appended(kept, reason)
        assert (rig.contents(an_id()) or b"") == b"0123"[:kept]

    @pytest.mark.parametrize("pulled", [None, StopReason.ASKED])
    async def test_a_lease_that_ran_out_stops_the_next_write(
        self, rig: StoreRig, pulled: StopReason | None
    ) -> None:
        """The thread looks at the deadline before each write, also when it was asked to stop: a
        process that was stopped and continued does not write on."""
        await rig.store.prepare(facts(length=64 * MIB))
        has_time = True
        brake = Brake(has_time=lambda: has_time)
        source = Script(*[bytes(MIB)] * 64)
        with rig.slow_writes() as gate:
            appending = Appending(an_id(), 0, 64 * MIB, brake)
            append = asyncio.create_task(rig.store.append(appending, source))
            await gate.reached()
            has_time = False
            if pulled is not None:
                brake.pull(pulled)
            gate.open()
            done = await append
        assert done.end is (pulled or StopReason.LEASE_LOST)
        assert 0 < done.offset <= MIB  # the one that was under way
        assert rig.contents(an_id()) == bytes(done.offset)


class TestCancelling:
    """A thread's write cannot be cancelled, so it is waited for."""

    @pytest.mark.parametrize("times", [1, 3])
    async def test_the_write_in_flight_is_waited_for(self, rig: StoreRig, times: int) -> None:
        """Cancelled once or again and again: the task ends after the write, the offset is exact,
        and nothing lands later, also not in files that are opened meanwhile."""
        await rig.store.prepare(facts(length=8 * MIB))
        await rig.store.prepare(facts(2))
        appending = Appending(an_id(), 0, 8 * MIB, Brake())
        with rig.slow_writes() as gate:
            append = asyncio.create_task(rig.store.append(appending, Script(*[b"x" * MIB] * 8)))
            await gate.reached()
            for _ in range(times):
                append.cancel()
                for _ in range(5):
                    await asyncio.sleep(0)
            assert not append.done(), "it returned while its write was under way"
            with (rig.folder / "bystander").open("wb") as bystander:
                gate.open()
                with pytest.raises(asyncio.CancelledError):
                    await append
                assert gate.passed.is_set()
                bystander.write(b"mine")
        assert (rig.folder / "bystander").read_bytes() == b"mine"
        assert rig.contents(an_id()) == b"x" * appending.offset
        assert 0 < appending.offset <= 2 * MIB

    async def test_bytes_of_before_stay_and_the_upload_goes_on(self, rig: StoreRig) -> None:
        """A cancelled append is followed by one that ends."""
        await rig.store.prepare(facts())
        appending = Appending(an_id(), 0, 10, Brake())
        source = Script(b"0123", asyncio.Event())
        append = asyncio.create_task(rig.store.append(appending, source))
        await source.starved.wait()
        append.cancel()
        with pytest.raises(asyncio.CancelledError):
            await append
        rest = b"0123456789"[appending.offset :]
        assert await rig.append(rest, offset=appending.offset) == Appended(10, SourceEnd.COMPLETE)
        assert rig.contents(an_id()) == b"0123456789"

    async def test_other_methods_wait_too(self, rig: StoreRig) -> None:
        """A cancelled creation has either been made or not begun when it raises."""
        for number in range(1, 20):
            task = asyncio.create_task(rig.store.prepare(facts(number)))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            before = await rig.store.load(an_id(number))
            assert before == Remains(facts=facts(number), size=0)


class TestFailingMedium:
    """A medium that is full or broken is told in the outcome, with a true offset."""

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
    @pytest.mark.parametrize("fits", [0, 3])
    async def test_a_full_medium_keeps_what_fits(self, rig: StoreRig, code: int, fits: int) -> None:
        """A short write counts."""
        await rig.store.prepare(facts())
        with rig.failing_writes(code, after_bytes=fits):
            done = await rig.append(b"01234", b"56789")
        assert done == Appended(fits, StopReason.NO_SPACE)
        assert rig.contents(an_id()) == b"0123456789"[:fits]
        await rig.append(b"0123456789"[fits:], offset=fits)
        assert rig.contents(an_id()) == b"0123456789"

    async def test_an_io_error_is_told_and_the_offset_stays_true(self, rig: StoreRig) -> None:
        """Not raised: what was written counts, and nobody takes it for a success."""
        await rig.store.prepare(facts())
        with rig.failing_writes(errno.EIO, after_bytes=4):
            done = await rig.append(b"01234", b"56789")
        assert done.offset == 4 and isinstance(done.error, StoreError)
        assert isinstance(done.error.__cause__, OSError) and done.end is not SourceEnd.COMPLETE
        assert rig.contents(an_id()) == b"0123"


class TestPlacing:
    """A finished file comes to its place without harming another."""

    async def test_it_comes_to_its_name_and_leaves_nothing_behind(self, rig: StoreRig) -> None:
        """Marked and tidied, the bytes lie at their place and the facts where they were."""
        await rig.finished(b"0123456789")
        place = await rig.store.place(an_id(), "4/17/cat.mp4", length=10)
        assert place == "4/17/cat.mp4" and rig.placed(place) == b"0123456789"
        mark = CompletionMark(length=10, finished_at=1.0, place=place)
        await rig.store.complete(an_id(), mark)
        for _ in range(2):
            await rig.store.tidy_placed(an_id())
        assert rig.contents(an_id()) is None and rig.placed(place) == b"0123456789"
        remains = await rig.store.load(an_id())
        assert remains is not None and remains.mark == mark
        assert await rig.store.place(an_id(), "4/17/cat.mp4", length=10) == place

    async def test_it_never_overwrites(self, rig: StoreRig) -> None:
        """The id goes before the suffix where another has the name, each time the same."""
        rig.occupy("a/cat.mp4", b"another's")
        await rig.finished(b"0123456789")
        wanted = f"a/cat-{an_id()}.mp4"
        for _ in range(2):
            assert await rig.store.place(an_id(), "a/cat.mp4", length=10) == wanted
        assert rig.placed("a/cat.mp4") == b"another's" and rig.placed(wanted) == b"0123456789"

    async def test_two_uploads_with_one_name_and_the_same_bytes_stay_two(
        self, rig: StoreRig
    ) -> None:
        """Equal content does not make one file of two."""
        names = []
        for number in (1, 2):
            await rig.finished(b"0123456789", number=number)
            names.append(await rig.store.place(an_id(number), "cat.mp4", length=10))
        assert names == ["cat.mp4", f"cat-{an_id(2)}.mp4"]

    async def test_an_empty_file_has_its_place_too(self, rig: StoreRig) -> None:
        """Zero bytes are a file."""
        await rig.finished(b"")
        assert await rig.store.place(an_id(), "empty", length=0) == "empty"
        assert rig.placed("empty") == b""

    async def test_bytes_past_the_length_do_not_come_along(self, rig: StoreRig) -> None:
        """[no-cut] what is not believed may lie past the end of an upload."""
        await rig.finished(b"0123456789garbage")
        place = await rig.store.place(an_id(), "cat.mp4", length=10)
        assert rig.placed(place) == b"0123456789"

    async def test_missing_bytes_are_not_placed(self, rig: StoreRig) -> None:
        """Fewer bytes than the length: an error, and no file."""
        await rig.finished(b"0123")
        with pytest.raises(StoreError):
            await rig.store.place(an_id(), "cat.mp4", length=10)
        assert rig.placed("cat.mp4") is None

    @pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a//x", "", ".", "a/./x", "a\0b"])
    async def test_no_name_leads_out(self, rig: StoreRig, name: str) -> None:
        """Names are sanitised before; the store does not trust that."""
        await rig.finished(b"0123456789")
        with pytest.raises(StoreError):
            await rig.store.place(an_id(), name, length=10)


class TestRemovingAndWalking:
    """What is gone is gone, and what is there is found."""

    async def test_a_removed_upload_is_gone_for_every_reader(self, rig: StoreRig) -> None:
        """Facts and bytes; removing again does no harm, and a placed file stays."""
        await rig.finished(b"0123456789")
        await rig.store.place(an_id(), "cat.mp4", length=10)
        for _ in range(2):
            await rig.store.remove(an_id())
        assert await rig.another().load(an_id()) is None
        assert rig.contents(an_id()) is None and rig.placed("cat.mp4") == b"0123456789"

    async def test_bytes_alone_can_be_removed(self, rig: StoreRig) -> None:
        """A hook took them; facts and mark stay until retention ends."""
        await rig.finished(b"0123456789")
        await rig.store.complete(an_id(), MARK)
        for _ in range(2):
            await rig.store.remove_bytes(an_id())
        assert await rig.store.load(an_id()) == Remains(facts=facts(), size=0, mark=MARK)

    async def test_a_walk_finds_every_upload_once(self, rig: StoreRig) -> None:
        """Page by page, whatever has bytes or not, and it ends."""
        ids = {an_id(number << 100 | number) for number in range(60)}
        for one in ids:
            await rig.store.prepare(facts(int(one, 16)))
        found: list[UploadId] = []
        cursor, pages = None, 0
        while True:
            page = await rig.store.walk(cursor, orphan_age_seconds=0)
            assert not page.orphans
            found += page.upload_ids
            pages += 1
            if (cursor := page.cursor) is None:
                break
        assert sorted(found) == sorted(ids) and pages > 1

    async def test_bytes_without_facts_are_orphans_once_they_are_old(self, rig: StoreRig) -> None:
        """Not before: an upload may be in the middle of being made or removed."""
        await rig.leave_orphan(b"0123")
        young = await rig.store.walk(None, orphan_age_seconds=3600)
        assert (list(young.upload_ids), list(young.orphans)) == ([], [])
        old = await rig.store.walk(None, orphan_age_seconds=-1)
        assert (list(old.upload_ids), list(old.orphans)) == ([], [an_id()])
        await rig.store.remove(an_id())
        assert not (await rig.store.walk(None, orphan_age_seconds=-1)).orphans

    async def test_space_is_reported(self, rig: StoreRig) -> None:
        """More is free than a reserve of nothing."""
        assert await rig.store.has_space() and await rig.store.has_space()

    async def test_the_path_for_gates_is_where_the_bytes_are(self, rig: StoreRig) -> None:
        """A gate that reads the file reads what was uploaded."""
        await rig.finished(b"0123456789")
        path = rig.store.local_path(an_id())
        assert path is None or path.read_bytes() == b"0123456789"
