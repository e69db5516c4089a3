"""Whole files in every byte store: joined of parts, hashed, and read."""

import asyncio
import errno
import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.stores import RIGS, Died, StoreRig, WatchedAppending, an_id, facts
from tusd_py.core.digests import Algorithm, Digest
from tusd_py.core.facts import CompletionMark, Remains
from tusd_py.core.ids import UploadId
from tusd_py.core.reconcile import Durability
from tusd_py.digests import build_hasher
from tusd_py.stores.base import Appended, Appending, OpenBytes, Part, StoreError
from tusd_py.streams import Brake, SourceEnd, StopReason

MIB = 1024 * 1024
CONTENT = b"0123456789"


@pytest.fixture(params=list(itertools.product(sorted(RIGS), Durability)), ids="-".join)
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreRig]:
    kind, durability = request.param
    made = RIGS[kind](tmp_path, durability)
    await made.store.open()
    yield made
    await made.store.close()


def digest(data: bytes, algorithm: Algorithm) -> Digest:
    hasher = build_hasher(algorithm)
    hasher.update(data)
    return Digest(algorithm, hasher.digest())


def _joining(parts: Sequence[Part], offset: int = 0, brake: Brake | None = None) -> Appending:
    room = sum(part.length for part in parts) - offset
    return Appending(an_id(), offset, room, brake or Brake())


async def _final(rig: StoreRig) -> None:
    await rig.store.prepare(facts(length=None))


async def _join(rig: StoreRig, parts: Sequence[Part], offset: int = 0) -> Appended:
    return await rig.store.join(_joining(parts, offset), parts)


class TestJoining:
    """One append, of other uploads' bytes."""

    @pytest.mark.parametrize(
        "order",
        [(0,), (0, 1, 2), (2, 1, 0), (1, 1, 1), (0, 3, 1, 3, 0), (3, 2), (2, 3), (3, 3)],
        ids=str,
    )
    async def test_parts_come_in_the_order_given(
        self, rig: StoreRig, order: tuple[int, ...]
    ) -> None:
        """The same one again, and ones of no bytes; the parts stay what they are."""
        contents = [b"one", os.urandom(100_000), b"33", b""]
        parts = await rig.parts(*contents)
        await _final(rig)
        chosen = [parts[one] for one in order]
        wanted = b"".join(contents[one] for one in order)
        assert await _join(rig, chosen) == Appended(len(wanted), SourceEnd.COMPLETE)
        assert rig.contents(an_id()) == wanted and rig.strays() == []
        remains = await rig.another().load(an_id())
        assert remains == Remains(facts=facts(length=None), size=len(wanted))
        for part, content in zip(parts, contents, strict=True):
            assert (rig.contents(part.upload_id) or b"") == content

    @pytest.mark.parametrize("offset", range(11))
    async def test_it_goes_on_at_any_offset(self, rig: StoreRig, offset: int) -> None:
        """Inside a part or between two; what lies past the offset is written over."""
        parts = await rig.parts(b"0123", b"", b"45", b"6789")
        await _final(rig)
        await rig.append(CONTENT[:offset] + b"xx")
        assert await _join(rig, parts, offset) == Appended(10, SourceEnd.COMPLETE)
        found = rig.contents(an_id())
        assert found is not None and found[:10] == CONTENT

    async def test_no_parts_at_all_make_an_empty_file(self, rig: StoreRig) -> None:
        """An upload of no bytes has a file, for gates and receivers."""
        await _final(rig)
        assert await _join(rig, []) == Appended(0, SourceEnd.COMPLETE)
        assert rig.contents(an_id()) == b""

    async def test_not_a_byte_more_than_a_part_has_is_taken(self, rig: StoreRig) -> None:
        """[no-cut] what nobody believes may lie past its end."""
        parts = await rig.parts(b"0123garbage", b"456789")
        await _final(rig)
        shorter = [Part(parts[0].upload_id, 4), parts[1]]
        assert await _join(rig, shorter) == Appended(10, SourceEnd.COMPLETE)
        assert rig.contents(an_id()) == CONTENT

    @pytest.mark.parametrize("is_there", [True, False])
    async def test_a_part_without_its_bytes_is_an_error(
        self, rig: StoreRig, is_there: bool
    ) -> None:
        """Too few, or none: what came before it is there, and nothing is made up."""
        parts = await rig.parts(b"0123", b"45")
        if is_there:
            parts[1] = Part(parts[1].upload_id, 6)
        else:
            await rig.store.remove_bytes(parts[1].upload_id)
        await _final(rig)
        done = await _join(rig, parts)
        assert done.offset == 4 and isinstance(done.error, StoreError)
        assert done.end is not SourceEnd.COMPLETE and rig.contents(an_id()) == b"0123"

    async def test_parts_of_which_nothing_is_needed_any_more_may_be_gone(
        self, rig: StoreRig
    ) -> None:
        """Those that are copied already, and those of no bytes."""
        parts = await rig.parts(b"0123", b"", b"456789")
        await _final(rig)
        await rig.append(b"0123")
        for part in parts[:2]:
            await rig.store.remove(part.upload_id)
        assert await _join(rig, parts, 4) == Appended(10, SourceEnd.COMPLETE)
        assert rig.contents(an_id()) == CONTENT

    async def test_no_hole_is_made_where_bytes_were_lost(self, rig: StoreRig) -> None:
        """An offset past the end of the file is an error, not a gap of zeros."""
        parts = await rig.parts(b"0123", b"456789")
        await _final(rig)
        await rig.append(b"01")
        done = await _join(rig, parts, 5)
        assert isinstance(done.error, StoreError) and done.offset == 5
        assert rig.contents(an_id()) == b"01"

    async def test_big_parts_are_joined_whole(self, rig: StoreRig) -> None:
        """Bigger than any single move, at offsets that no block begins at."""
        contents = [os.urandom(17 * MIB + 3), os.urandom(5), os.urandom(16 * MIB)]
        parts = await rig.parts(*contents)
        await _final(rig)
        wanted = b"".join(contents)
        assert await _join(rig, parts) == Appended(len(wanted), SourceEnd.COMPLETE)
        assert rig.contents(an_id()) == wanted

    async def test_without_the_mediums_help_the_bytes_are_the_same(self, rig: StoreRig) -> None:
        """Old systems, and file systems that cannot."""
        contents = [os.urandom(2 * MIB + 1), b"", os.urandom(70_000)]
        parts = await rig.parts(*contents)
        await _final(rig)
        with rig.without_copying():
            done = await _join(rig, [*parts, parts[2]])
        wanted = b"".join([*contents, contents[2]])
        assert done == Appended(len(wanted), SourceEnd.COMPLETE)
        assert rig.contents(an_id()) == wanted

    async def test_a_thousand_parts_are_joined(self, rig: StoreRig) -> None:
        """Tiny ones, most of them mentioned again and again."""
        contents = [b"a", b"bb", b"", b"dddd"]
        parts = await rig.parts(*contents)
        await _final(rig)
        done = await _join(rig, parts * 250)
        assert done == Appended(7 * 250, SourceEnd.COMPLETE)
        assert rig.contents(an_id()) == b"".join(contents) * 250

    @pytest.mark.parametrize("reason", list(StopReason))
    async def test_a_brake_pulled_before_stops_before_the_first_byte(
        self, rig: StoreRig, reason: StopReason
    ) -> None:
        """Not even a file is made."""
        parts, brake = await rig.parts(CONTENT), Brake()
        await _final(rig)
        brake.pull(reason)
        assert await rig.store.join(_joining(parts, 0, brake), parts) == Appended(0, reason)
        assert rig.contents(an_id()) is None

    @pytest.mark.parametrize("reason", [None, *StopReason])
    async def test_a_brake_pulled_meanwhile_stops_the_next_move(
        self, rig: StoreRig, reason: StopReason | None
    ) -> None:
        """Also for whoever only asks: what is copied already counts, and the rest is not lost
        (None: the lease has run out)."""
        has_time = True
        brake = Brake(has_time=lambda: has_time)
        parts = await rig.parts(b"0123", b"456789")
        await _final(rig)
        with rig.slow_writes() as gate:
            join = asyncio.create_task(rig.store.join(_joining(parts, 0, brake), parts))
            await gate.reached()
            if reason is None:
                has_time = False
            else:
                brake.pull(reason)
            gate.open()
            assert await join == Appended(4, reason or StopReason.LEASE_LOST)
        assert rig.contents(an_id()) == b"0123"
        assert await _join(rig, parts, 4) == Appended(10, SourceEnd.COMPLETE)
        assert rig.contents(an_id()) == CONTENT

    @pytest.mark.parametrize("times", [1, 3])
    async def test_cancelling_waits_for_the_move_under_way(self, rig: StoreRig, times: int) -> None:
        """The offset is exact afterwards, and the join goes on from there."""
        parts = await rig.parts(b"0123", b"456789")
        await _final(rig)
        appending = _joining(parts)
        with rig.slow_writes() as gate:
            join = asyncio.create_task(rig.store.join(appending, parts))
            await gate.reached()
            for _ in range(times):
                join.cancel()
                for _ in range(5):
                    await asyncio.sleep(0)
            assert not join.done(), "it returned while its move was under way"
            gate.open()
            with pytest.raises(asyncio.CancelledError):
                await join
            assert gate.passed.is_set()
        assert 0 < appending.offset <= 10
        assert rig.contents(an_id()) == CONTENT[: appending.offset]
        await _join(rig, parts, appending.offset)
        assert rig.contents(an_id()) == CONTENT

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
    @pytest.mark.parametrize("fits", [0, 3, 4, 7])
    async def test_a_failing_medium_keeps_what_fits(
        self, rig: StoreRig, code: int, fits: int
    ) -> None:
        """Told in the outcome, with a true offset; later it goes on."""
        parts = await rig.parts(b"0123", b"456789")
        await _final(rig)
        with rig.failing_writes(code, after_bytes=fits):
            done = await _join(rig, parts)
        assert done.offset == fits and (rig.contents(an_id()) or b"") == CONTENT[:fits]
        assert (done.end is StopReason.NO_SPACE) is (code == errno.ENOSPC)
        assert isinstance(done.error, StoreError) is (code == errno.EIO)
        assert (await _join(rig, parts, fits)).error is None
        assert rig.contents(an_id()) == CONTENT

    async def test_progress_is_seen_while_it_runs(self, rig: StoreRig) -> None:
        """For checkpoints: a join of many gigabytes takes its time."""
        parts = await rig.parts(b"0123", b"456789")
        await _final(rig)
        appending = WatchedAppending(an_id(), 0, 10, Brake())
        join = asyncio.create_task(rig.store.join(appending, parts))
        await appending.grown()
        assert appending.offset in (4, 10)
        await join

    async def test_it_survives_a_death_at_any_moment(self, rig: StoreRig) -> None:
        """Before each change of the medium in turn: what lies there then begins the whole, and
        whoever comes next ends it."""
        contents = [b"0123", os.urandom(1_000), b"", b"x"]
        parts = [*await rig.parts(*contents), Part(an_id(2), 4)]
        wanted = b"".join([*contents, contents[0]])
        step, has_died = 0, True
        while has_died:
            final = an_id(100 + step)
            await rig.store.prepare(facts(100 + step, length=None))
            has_died = False
            with rig.dying_at(step):
                try:
                    await rig.store.join(Appending(final, 0, len(wanted), Brake()), parts)
                except Died:
                    has_died = True
            remains = await rig.another().load(final)
            found = rig.contents(final) or b""
            assert remains is not None and remains.size == len(found)
            assert wanted.startswith(found)
            rest = Appending(final, len(found), len(wanted) - len(found), Brake())
            assert (await rig.another().join(rest, parts)).end is SourceEnd.COMPLETE
            assert rig.contents(final) == wanted
            step += 1
        assert step >= len(parts), "it died nowhere, so nothing was shown"


@pytest.mark.parametrize("kind", sorted(RIGS))
@settings(max_examples=60)
@given(data=st.data())
def test_a_join_from_any_offset_is_the_concatenation(kind: str, data: st.DataObject) -> None:
    """Any parts in any order, any point reached before, any way of copying."""
    contents = data.draw(st.lists(st.binary(max_size=2_000), min_size=1, max_size=6))
    order = data.draw(st.lists(st.integers(0, len(contents) - 1), max_size=12))
    whole = b"".join(contents[one] for one in order)
    offset = data.draw(st.integers(0, len(whole)))
    copies = data.draw(st.booleans())

    async def join(folder: Path) -> None:
        rig = RIGS[kind](folder, data.draw(st.sampled_from(Durability)))
        await rig.store.open()
        parts = await rig.parts(*contents)
        await _final(rig)
        await rig.append(whole[:offset])
        chosen = [parts[one] for one in order]
        if copies:
            done = await _join(rig, chosen, offset)
        else:
            with rig.without_copying():
                done = await _join(rig, chosen, offset)
        assert done == Appended(len(whole), SourceEnd.COMPLETE)
        assert rig.contents(an_id()) == whole
        await rig.store.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(join(Path(folder)))


class TestDigests:
    """What a whole file hashes to."""

    @pytest.mark.parametrize("size", [0, 10, 2 * MIB + 1])
    async def test_all_algorithms_in_the_order_asked_for(self, rig: StoreRig, size: int) -> None:
        """In one reading; none asked for, none told."""
        content = os.urandom(size)
        await rig.finished(content)
        for asked in (tuple(Algorithm), tuple(reversed(Algorithm)), ()):
            found = await rig.store.digest(an_id(), asked, length=size)
            assert found == tuple(digest(content, one) for one in asked)

    async def test_only_the_bytes_that_are_believed_are_hashed(self, rig: StoreRig) -> None:
        """[no-cut] what nobody believes may lie past the end of an upload."""
        for number, size in enumerate((10, MIB + 1), 1):
            content = os.urandom(size)
            upload_id = await rig.finished(content + b"garbage", number=number)
            found = await rig.store.digest(upload_id, [Algorithm.MD5], length=size)
            assert found == (digest(content, Algorithm.MD5),)

    @pytest.mark.parametrize("content", [None, b"0123"])
    async def test_missing_bytes_have_no_digest(self, rig: StoreRig, content: bytes | None) -> None:
        """Fewer than the length, or none at all."""
        await rig.store.prepare(facts())
        if content:
            await rig.append(content)
        with pytest.raises(StoreError):
            await rig.store.digest(an_id(), [Algorithm.SHA1], length=10)

    async def test_they_are_found_at_every_step_of_placing(self, rig: StoreRig) -> None:
        """Not placed, placed, marked, tidied: whoever takes over after a death reads the same."""
        wanted = (digest(CONTENT, Algorithm.SHA1),)

        async def read() -> tuple[Digest, ...]:
            return await rig.another().digest(an_id(), [Algorithm.SHA1], length=10)

        await rig.finished(CONTENT)
        assert await read() == wanted
        place = await rig.store.place(an_id(), "4/cat.mp4", length=10)
        assert await read() == wanted
        mark = CompletionMark(length=10, finished_at=1.0, place=place)
        await rig.store.complete(an_id(), mark)
        assert await read() == wanted
        await rig.store.tidy_placed(an_id())
        assert await read() == wanted


async def _placed(rig: StoreRig, content: bytes = CONTENT) -> str:
    """A complete upload at its place, tidied."""
    await rig.finished(content)
    place = await rig.store.place(an_id(), "4/cat.mp4", length=len(content))
    mark = CompletionMark(length=len(content), finished_at=1.0, place=place)
    await rig.store.complete(an_id(), mark)
    await rig.store.tidy_placed(an_id())
    return place


async def _opened(rig: StoreRig, place: str | None = None) -> OpenBytes:
    file = await rig.store.open_bytes(an_id(), place=place)
    assert file is not None
    return file


async def _all_of(file: OpenBytes, step: int = 1 << 20) -> bytes:
    pieces: list[bytes] = []
    while piece := await file.read(sum(map(len, pieces)), step):
        assert len(piece) <= step
        pieces.append(piece)
    return b"".join(pieces)


class TestReading:
    """Complete uploads, open for downloads."""

    @pytest.mark.parametrize("is_placed", [False, True])
    @pytest.mark.parametrize("size", [0, 10, 2 * MIB + 1])
    async def test_the_bytes_are_those_that_came(
        self, rig: StoreRig, is_placed: bool, size: int
    ) -> None:
        """All of them, from any offset, in pieces of any size; nothing past the end."""
        content = os.urandom(size)
        if is_placed:
            place: str | None = await _placed(rig, content)
        else:
            await rig.complete(content)
            place = None
        file = await _opened(rig, place)
        assert file.length == size and file.modified_at > 1_000_000_000
        assert await _all_of(file) == content
        assert await _all_of(file, step=700_001) == content
        assert await file.read(size, 10) == await file.read(size + 5, 10) == b""
        for offset in range(max(0, size - 3), size):
            assert await file.read(offset, 100) == content[offset:]
        await file.close()

    async def test_bytes_past_the_length_are_not_read(self, rig: StoreRig) -> None:
        """[no-cut] what nobody believes may lie past the end of an upload."""
        await rig.finished(CONTENT + b"garbage")
        await rig.store.complete(an_id(), CompletionMark(length=10, finished_at=1.0))
        file = await _opened(rig)
        assert file.length == 10 and await _all_of(file) == CONTENT
        assert await file.read(8, 100) == b"89"
        await file.close()

    async def test_what_is_not_there_is_none(self, rig: StoreRig) -> None:
        """Unknown, not complete, taken away by a hook, or removed."""
        assert await rig.store.open_bytes(an_id(), place=None) is None
        await rig.finished(CONTENT)
        assert await rig.store.open_bytes(an_id(), place=None) is None
        await rig.store.complete(an_id(), CompletionMark(length=10, finished_at=1.0))
        assert await rig.store.open_bytes(an_id(), place="4/cat.mp4") is None
        await rig.store.remove_bytes(an_id())
        assert await rig.store.open_bytes(an_id(), place=None) is None
        await rig.store.remove(an_id())
        assert await rig.store.open_bytes(an_id(), place=None) is None

    async def test_another_file_at_the_place_is_not_taken_for_it(self, rig: StoreRig) -> None:
        """A receiver put its own there: those are not the bytes that were uploaded."""
        place = await _placed(rig)
        rig.occupy(place, b"a converted film")
        assert await rig.store.open_bytes(an_id(), place=place) is None

    @pytest.mark.parametrize("place", ["../x", "/x", "a/../../x", "a//x", "", ".", "a/./x", "a\0b"])
    async def test_no_place_leads_out(self, rig: StoreRig, place: str) -> None:
        """Places are our own; the store does not trust that."""
        await rig.complete(CONTENT)
        with pytest.raises(StoreError):
            await rig.store.open_bytes(an_id(), place=place)

    async def test_many_read_at_once(self, rig: StoreRig) -> None:
        """Each at its own pace, also twenty reads of one of them."""
        content = os.urandom(MIB + 7)
        await rig.complete(content)
        files = [await _opened(rig) for _ in range(20)]
        found = await asyncio.gather(*(_all_of(file, 100_000 + n) for n, file in enumerate(files)))
        assert set(found) == {content}
        pieces = await asyncio.gather(*(files[0].read(at, 10) for at in range(0, 200, 10)))
        assert b"".join(pieces) == content[:200]
        await asyncio.gather(*(file.close() for file in files))

    @pytest.mark.parametrize("is_placed", [False, True])
    async def test_what_was_opened_outlives_the_upload(
        self, rig: StoreRig, is_placed: bool
    ) -> None:
        """A download goes on while its upload is removed."""
        place = await _placed(rig) if is_placed else None
        if not is_placed:
            await rig.complete(CONTENT)
        file = await _opened(rig, place)
        await rig.store.remove(an_id())
        assert await _all_of(file) == CONTENT
        await file.close()

    async def test_a_descriptor_reads_the_same(self, rig: StoreRig) -> None:
        """For ``sendfile``, where the store has one."""
        await rig.complete(CONTENT)
        file = await _opened(rig)
        if (descriptor := file.descriptor) is not None:
            assert await asyncio.to_thread(os.pread, descriptor, 100, 4) == CONTENT[4:]
        await file.close()

    async def test_closing_is_done_once(self, rig: StoreRig) -> None:
        """Again it changes nothing, and nothing is read any more."""
        await rig.complete(CONTENT)
        file = await _opened(rig)
        for _ in range(3):
            await file.close()
        with pytest.raises(StoreError):
            await file.read(0, 10)

    async def test_reading_disturbs_no_walk(self, rig: StoreRig) -> None:
        """An open upload is found like any other, and leaves nothing of its own."""
        await rig.complete(CONTENT)
        file = await _opened(rig)
        page = await rig.store.walk(None, orphan_age_seconds=-1)
        assert (list[UploadId](page.upload_ids), list(page.orphans)) == ([an_id()], [])
        assert rig.strays() == []
        await file.close()
