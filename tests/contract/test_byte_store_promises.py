"""Bytes under a digest, in every byte store: verified before they count [hold-back]."""

import asyncio
import errno
import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.stores import HOLDER, RIGS, Died, Script, StoreRig, an_id, facts
from tusd_py.core.digests import Algorithm, Digest, Promise
from tusd_py.core.errors import ChecksumMismatch, InvalidHeader
from tusd_py.core.facts import Remains
from tusd_py.core.reconcile import Durability
from tusd_py.digests import build_hasher
from tusd_py.stores.base import Appended, Appending, StoreError
from tusd_py.streams import Brake, SourceEnd, StopReason

MIB = 1024 * 1024
BEFORE = b"before"
SMALL = b"0123456789"
BIG = os.urandom(3 * MIB + 5)
BODIES = [
    pytest.param((SMALL,), id="small"),
    pytest.param((SMALL[:3], SMALL[3:]), id="two pieces"),
    pytest.param((BIG[:MIB], BIG[MIB:]), id="beyond memory"),
]
MakePromise = Callable[[bytes], Promise]


def digest(data: bytes, algorithm: Algorithm = Algorithm.SHA256) -> Digest:
    hasher = build_hasher(algorithm)
    hasher.update(data)
    return Digest(algorithm, hasher.digest())


def _both(data: bytes) -> Promise:
    late = digest(data, Algorithm.SHA1), digest(data)
    return Promise(digests=(digest(data, Algorithm.CRC32C),), trailer=lambda: late)


PROMISES: dict[str, MakePromise] = {
    "head": lambda data: Promise(digests=(digest(data),)),
    "trailer": lambda data: Promise(trailer=lambda: (digest(data),)),
    "both": _both,
}
promises = pytest.mark.parametrize("promised", PROMISES.values(), ids=PROMISES.keys())


@pytest.fixture(params=list(itertools.product(sorted(RIGS), Durability)), ids="-".join)
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreRig]:
    kind, durability = request.param
    made = RIGS[kind](tmp_path, durability)
    await made.store.open()
    await made.store.prepare(facts(length=None))
    await made.append(BEFORE)
    yield made
    await made.store.close()


def _appending(promise: Promise, *, room: int = 1 << 40, brake: Brake | None = None) -> Appending:
    brake = brake or Brake()
    return Appending(an_id(), len(BEFORE), room, brake, promise=promise, holder=HOLDER)


async def _append(
    rig: StoreRig, promise: Promise, *pieces: bytes, end: SourceEnd = SourceEnd.COMPLETE
) -> Appended:
    return await rig.append(*pieces, offset=len(BEFORE), promise=promise, end=end)


def _is_untouched(rig: StoreRig) -> bool:
    return rig.contents(an_id()) == BEFORE and rig.strays() == []


class TestVerdict:
    """All of a body, or nothing of it."""

    @promises
    @pytest.mark.parametrize("pieces", BODIES)
    async def test_a_body_that_keeps_its_promise_is_put_into_place(
        self, rig: StoreRig, pieces: tuple[bytes, ...], promised: MakePromise
    ) -> None:
        """And nothing else is left, in the store or of it."""
        body = b"".join(pieces)
        done = await _append(rig, promised(body), *pieces)
        assert done == Appended(len(BEFORE) + len(body), SourceEnd.COMPLETE)
        assert rig.contents(an_id()) == BEFORE + body and rig.strays() == []
        size = len(BEFORE) + len(body)
        assert await rig.another().load(an_id()) == Remains(facts=facts(length=None), size=size)

    @promises
    @pytest.mark.parametrize("pieces", BODIES)
    async def test_a_body_that_breaks_it_leaves_nothing(
        self, rig: StoreRig, pieces: tuple[bytes, ...], promised: MakePromise
    ) -> None:
        """The offset is what it was, and the right body is taken afterwards."""
        body = b"".join(pieces)
        appending = _appending(promised(body[:-1] + bytes([body[-1] ^ 1])))
        done = await rig.store.append(appending, Script(*pieces))
        assert isinstance(done.unproven, ChecksumMismatch)
        assert (done.offset, appending.offset, done.end) == (6, 6, SourceEnd.COMPLETE)
        assert _is_untouched(rig)
        again = await _append(rig, promised(body), *pieces)
        assert again.unproven is None and rig.contents(an_id()) == BEFORE + body

    @pytest.mark.parametrize("algorithm", Algorithm)
    @pytest.mark.parametrize("is_late", [False, True])
    async def test_every_algorithm_is_verified(
        self, rig: StoreRig, algorithm: Algorithm, is_late: bool
    ) -> None:
        """Known before the body or after it: the wrong one is found, the right one is not."""
        for said, is_right in [(SMALL[::-1], False), (SMALL, True)]:
            found = (digest(said, algorithm),)
            promise = Promise(trailer=lambda f=found: f) if is_late else Promise(digests=found)  # type: ignore[misc]
            assert ((await _append(rig, promise, SMALL)).unproven is None) is is_right
        assert rig.contents(an_id()) == BEFORE + SMALL

    async def test_one_wrong_digest_among_right_ones_is_enough(self, rig: StoreRig) -> None:
        """Also two of one algorithm."""
        right, wrong = digest(SMALL), digest(b"other")
        for digests in [(right, wrong), (wrong, right), (digest(SMALL, Algorithm.MD5), wrong)]:
            assert (await _append(rig, Promise(digests=digests), SMALL)).unproven is not None
            late = Promise(digests=digests[:1], trailer=lambda d=digests: d[1:])  # type: ignore[misc]
            assert (await _append(rig, late, SMALL)).unproven is not None
        assert _is_untouched(rig)

    async def test_a_body_of_no_bytes_is_verified_too(self, rig: StoreRig) -> None:
        """It has a digest like any other."""
        done = await _append(rig, Promise(digests=(digest(b""),)))
        assert done == Appended(len(BEFORE), SourceEnd.COMPLETE)
        done = await _append(rig, Promise(trailer=lambda: (digest(b"x"),)))
        assert isinstance(done.unproven, ChecksumMismatch) and _is_untouched(rig)

    @pytest.mark.parametrize("pieces", BODIES)
    async def test_a_trailer_that_says_nothing_promised_nothing(
        self, rig: StoreRig, pieces: tuple[bytes, ...]
    ) -> None:
        """The bytes count like any others."""
        body = b"".join(pieces)
        done = await _append(rig, Promise(trailer=lambda: ()), *pieces)
        assert done == Appended(len(BEFORE) + len(body), SourceEnd.COMPLETE)
        assert rig.contents(an_id()) == BEFORE + body

    @pytest.mark.parametrize("pieces", BODIES)
    async def test_a_trailer_that_cannot_be_read_is_told(
        self, rig: StoreRig, pieces: tuple[bytes, ...]
    ) -> None:
        """Its error is the outcome, and nothing is kept."""
        error = InvalidHeader("Upload-Checksum", "well written")

        def trailer() -> tuple[Digest, ...]:
            raise error

        done = await _append(rig, Promise(trailer=trailer), *pieces)
        assert done == Appended(len(BEFORE), SourceEnd.COMPLETE, unproven=error)
        assert _is_untouched(rig)

    async def test_the_first_bytes_of_an_upload_may_be_held_back(self, rig: StoreRig) -> None:
        """Not even a file is made before they are verified."""
        await rig.store.prepare(facts(2))
        wrong = await rig.append(SMALL, number=2, promise=Promise(digests=(digest(b"x"),)))
        assert wrong.unproven is not None and rig.contents(an_id(2)) is None
        right = await rig.append(SMALL, number=2, promise=Promise(digests=(digest(SMALL),)))
        assert right == Appended(10, SourceEnd.COMPLETE) and rig.contents(an_id(2)) == SMALL

    async def test_bytes_that_nobody_believes_are_written_over(self, rig: StoreRig) -> None:
        """[no-cut] the file may reach past the offset."""
        await rig.append(b"garbage" * 3, offset=len(BEFORE))
        await _append(rig, Promise(digests=(digest(SMALL),)), SMALL)
        found = rig.contents(an_id())
        assert found is not None and found.startswith(BEFORE + SMALL) and len(found) == 27

    async def test_many_bodies_at_once_do_not_mix(self, rig: StoreRig) -> None:
        """Of different uploads, in memory and beyond."""
        bodies = {n: bytes([n]) * (n * 150_000) for n in range(2, 14)}

        async def upload(number: int, body: bytes) -> Appended:
            await rig.store.prepare(facts(number, length=None))
            pieces = [body[at : at + 70_000] for at in range(0, len(body), 70_000)]
            promise = Promise(digests=(digest(body if number % 3 else b"x"),))
            return await rig.append(*pieces, number=number, promise=promise)

        done = await asyncio.gather(*(upload(*one) for one in bodies.items()))
        for (number, body), appended in zip(bodies.items(), done, strict=True):
            is_right = bool(number % 3)
            assert (appended.unproven is None) is is_right
            assert rig.contents(an_id(number)) == (body if is_right else None)


class TestCutBodies:
    """A body that did not come whole leaves nothing."""

    @pytest.mark.parametrize("pieces", BODIES)
    @pytest.mark.parametrize("end", [e for e in SourceEnd if e is not SourceEnd.COMPLETE])
    async def test_a_body_that_ends_early_leaves_nothing(
        self, rig: StoreRig, pieces: tuple[bytes, ...], end: SourceEnd
    ) -> None:
        """The one exception to "everything received is kept"; its trailer is not asked for."""

        def trailer() -> tuple[Digest, ...]:
            raise AssertionError("a cut body has no trailer")

        body = b"".join(pieces)
        for promise in (Promise(digests=(digest(body),)), Promise(trailer=trailer)):
            done = await _append(rig, promise, *pieces, end=end)
            assert done == Appended(len(BEFORE), end) and _is_untouched(rig)

    @pytest.mark.parametrize("pieces", BODIES)
    @pytest.mark.parametrize("reason", list(StopReason))
    async def test_a_braked_body_leaves_nothing(
        self, rig: StoreRig, pieces: tuple[bytes, ...], reason: StopReason
    ) -> None:
        """Whoever pulls, and also where the bytes that came would have been right."""
        brake, source = Brake(), Script(*pieces, asyncio.Event())
        appending = _appending(Promise(digests=(digest(b"".join(pieces)),)), brake=brake)
        append = asyncio.create_task(rig.store.append(appending, source))
        await source.starved.wait()
        assert rig.contents(an_id()) == BEFORE
        brake.pull(reason)
        assert await append == Appended(len(BEFORE), reason) and _is_untouched(rig)

    @pytest.mark.parametrize("pieces", BODIES)
    async def test_a_body_with_more_than_the_room_leaves_nothing(
        self, rig: StoreRig, pieces: tuple[bytes, ...]
    ) -> None:
        """Its first bytes were not verified."""
        body = b"".join(pieces)
        appending = _appending(Promise(digests=(digest(body),)), room=len(body) - 1)
        done = await rig.store.append(appending, Script(*pieces))
        assert (done.offset, done.overflowed, done.unproven) == (6, True, None)
        assert _is_untouched(rig)

    @pytest.mark.parametrize("pieces", BODIES)
    async def test_nothing_lies_in_the_file_while_the_body_comes(
        self, rig: StoreRig, pieces: tuple[bytes, ...]
    ) -> None:
        """Everything but the end has come, and the file is what it was; then it is there."""
        more = asyncio.Event()
        source = Script(*pieces, more, b"last")
        appending = _appending(Promise(digests=(digest(b"".join(pieces) + b"last"),)))
        append = asyncio.create_task(rig.store.append(appending, source))
        await source.starved.wait()
        assert rig.contents(an_id()) == BEFORE and appending.offset == len(BEFORE)
        remains = await rig.another().load(an_id())
        assert remains is not None and remains.size == len(BEFORE)
        more.set()
        assert (await append).unproven is None
        assert rig.contents(an_id()) == BEFORE + b"".join(pieces) + b"last"

    @pytest.mark.parametrize("pieces", BODIES)
    async def test_a_cancelled_body_leaves_nothing(
        self, rig: StoreRig, pieces: tuple[bytes, ...]
    ) -> None:
        """And the next one is taken."""
        body = b"".join(pieces)
        source = Script(*pieces, asyncio.Event())
        appending = _appending(Promise(digests=(digest(body),)))
        append = asyncio.create_task(rig.store.append(appending, source))
        await source.starved.wait()
        append.cancel()
        with pytest.raises(asyncio.CancelledError):
            await append
        assert appending.offset == len(BEFORE) and _is_untouched(rig)
        await _append(rig, Promise(digests=(digest(body),)), *pieces)
        assert rig.contents(an_id()) == BEFORE + body

    async def test_a_lease_that_runs_out_before_the_end_puts_nothing_into_place(
        self, rig: StoreRig
    ) -> None:
        """The whole body came, right or wrong: no verdict is worth anything without the right to
        write."""
        for body, said in itertools.product((SMALL, BIG), repeat=2):
            has_time = True

            class Late(Script):
                async def read(self) -> bytes:
                    nonlocal has_time
                    has_time = bool(self.left)
                    return await super().read()

            brake = Brake(has_time=lambda: has_time)  # noqa: B023
            appending = _appending(Promise(digests=(digest(said),)), brake=brake)
            done = await rig.store.append(appending, Late(body))
            assert done == Appended(len(BEFORE), StopReason.LEASE_LOST) and _is_untouched(rig)


class TestOnTheWayIntoPlace:
    """What is verified is written like any other bytes; cut off, its first bytes count."""

    @pytest.mark.parametrize("times", [1, 3])
    async def test_cancelling_waits_for_the_move_under_way(self, rig: StoreRig, times: int) -> None:
        """The offset is exact afterwards, and no copy is left anywhere."""
        appending = _appending(Promise(trailer=lambda: (digest(SMALL),)))
        with rig.slow_writes() as gate:
            append = asyncio.create_task(rig.store.append(appending, Script(SMALL)))
            await gate.reached()
            for _ in range(times):
                append.cancel()
                for _ in range(5):
                    await asyncio.sleep(0)
            assert not append.done(), "it returned while its write was under way"
            gate.open()
            with pytest.raises(asyncio.CancelledError):
                await append
        assert rig.contents(an_id()) == (BEFORE + SMALL)[: appending.offset]
        assert rig.strays() == []

    @pytest.mark.parametrize("reason", [None, *StopReason])
    async def test_a_brake_pulled_meanwhile_is_looked_at_before_each_move(
        self, rig: StoreRig, reason: StopReason | None
    ) -> None:
        """Who only wants the upload, or the end of the server, gets it whole if that is soon; one
        without the right to write makes no further move (None: the lease has run out)."""
        has_time = True
        brake = Brake(has_time=lambda: has_time)
        body = BIG * 4
        promise = Promise(trailer=lambda: (digest(body),))
        with rig.holding_in_memory(len(body)), rig.slow_writes() as gate:
            append = asyncio.create_task(
                rig.store.append(_appending(promise, brake=brake), Script(body))
            )
            await gate.reached()
            if reason is None:
                has_time = False
            else:
                brake.pull(reason)
            gate.open()
            done = await append
        keeps = reason in (StopReason.ASKED, StopReason.STOPPING)
        assert done.end is (SourceEnd.COMPLETE if keeps else reason or StopReason.LEASE_LOST)
        assert (done.offset == len(BEFORE) + len(body)) is keeps
        assert rig.contents(an_id()) == (BEFORE + body)[: done.offset]
        assert rig.strays() == []

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
    @pytest.mark.parametrize("fits", [0, 4])
    async def test_a_failing_medium_keeps_what_fits_of_verified_bytes(
        self, rig: StoreRig, code: int, fits: int
    ) -> None:
        """A short write counts; the offset is true."""
        with rig.failing_writes(code, after_bytes=fits):
            done = await _append(rig, Promise(digests=(digest(SMALL),)), SMALL)
        assert done.offset == len(BEFORE) + fits and done.unproven is None
        assert done.end is not SourceEnd.COMPLETE
        assert isinstance(done.error, StoreError) is (code == errno.EIO)
        assert rig.contents(an_id()) == BEFORE + SMALL[:fits] and rig.strays() == []

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
    async def test_a_medium_that_fails_before_the_verdict_keeps_nothing(
        self, rig: StoreRig, code: int
    ) -> None:
        """What is held back beyond memory needs the medium too."""
        with rig.failing_writes(code, after_bytes=MIB // 2):
            done = await _append(rig, Promise(digests=(digest(BIG),)), BIG)
        assert done.offset == len(BEFORE) and done.unproven is None
        assert (done.end is StopReason.NO_SPACE) is (code == errno.ENOSPC)
        assert isinstance(done.error, StoreError) is (code == errno.EIO)
        assert _is_untouched(rig)

    @promises
    async def test_a_medium_that_cannot_copy_by_itself_takes_them_all_the_same(
        self, rig: StoreRig, promised: MakePromise
    ) -> None:
        """Through our memory, then, piece by piece."""
        with rig.without_copying():
            done = await _append(rig, promised(BIG), BIG)
        assert done.unproven is None and rig.contents(an_id()) == BEFORE + BIG


class TestDeaths:
    """Whatever moment the process dies, no byte counts that was not verified."""

    @promises
    @pytest.mark.parametrize("in_memory", [0, MIB])
    @pytest.mark.parametrize("is_right", [True, False])
    async def test_no_death_leaves_unverified_bytes(
        self, rig: StoreRig, promised: MakePromise, in_memory: int, is_right: bool
    ) -> None:
        """The process dies before each change of the medium in turn. What is found then begins
        what was verified, and the upload goes on from there."""
        body = os.urandom(5_000)
        said = body if is_right else b"other"
        step, has_died = 0, True
        while has_died:
            number = step + 2
            await rig.store.prepare(facts(number, length=None))
            await rig.append(BEFORE, number=number)
            has_died = await self._dies(rig, number, step, promised(said), in_memory, body)
            remains = await rig.another().load(an_id(number))
            found = rig.contents(an_id(number))
            assert remains is not None and found is not None and remains.size == len(found)
            assert found.startswith(BEFORE)
            assert (BEFORE + body).startswith(found) if is_right else found == BEFORE
            await rig.append(body[len(found) - 6 :], number=number, offset=len(found))
            assert rig.contents(an_id(number)) == BEFORE + body
            step += 1
        assert step > (1 if is_right or not in_memory else 0), "it died nowhere"
        await rig.store.walk(None, orphan_age_seconds=-1)
        assert rig.strays() == []

    async def _dies(
        self, rig: StoreRig, number: int, step: int, promise: Promise, in_memory: int, body: bytes
    ) -> bool:
        """True where the process did not live to tell the outcome."""
        with rig.holding_in_memory(in_memory), rig.dying_at(step):
            try:
                await rig.append(
                    body[:3_000], body[3_000:], number=number, offset=6, promise=promise
                )
            except Died:
                return True
        return False

    async def test_held_bytes_that_lie_there_are_never_counted(self, rig: StoreRig) -> None:
        """While a big body is held back another process sees neither its bytes nor an orphan."""
        source = Script(BIG, asyncio.Event())
        appending = _appending(Promise(digests=(digest(BIG),)))
        append = asyncio.create_task(rig.store.append(appending, source))
        await source.starved.wait()
        page = await rig.another().walk(None, orphan_age_seconds=3600)
        assert (list(page.upload_ids), list(page.orphans)) == ([an_id()], [])
        remains = await rig.another().load(an_id())
        assert remains is not None and remains.size == len(BEFORE)
        append.cancel()
        with pytest.raises(asyncio.CancelledError):
            await append

    async def test_an_upload_that_is_removed_meanwhile_hurts_nobody(self, rig: StoreRig) -> None:
        """Somebody who took the lease of a stalled holder removed it, and swept the store; the
        holder comes to its end, and its bytes count for nothing."""
        more = asyncio.Event()
        source = Script(BIG, more, b"x")
        appending = _appending(Promise(digests=(digest(BIG + b"x"),)))
        append = asyncio.create_task(rig.store.append(appending, source))
        await source.starved.wait()
        other = rig.another()
        await other.remove(an_id())
        await other.walk(None, orphan_age_seconds=-1)
        more.set()
        done = await append
        assert done.offset == len(BEFORE) and isinstance(done.error, StoreError)
        assert rig.contents(an_id()) is None and rig.strays() == []


@pytest.mark.parametrize("kind", sorted(RIGS))
@settings(max_examples=60)
@given(data=st.data())
def test_a_body_in_any_pieces_counts_whole_or_not_at_all(kind: str, data: st.DataObject) -> None:
    """Any pieces, limits of memory, promises, damages, and ways of copying."""
    pieces = data.draw(st.lists(st.binary(min_size=1, max_size=3_000), max_size=12))
    body = b"".join(pieces)
    promised = PROMISES[data.draw(st.sampled_from(sorted(PROMISES)))]
    is_damaged = data.draw(st.booleans()) and bool(body)
    in_memory = data.draw(st.integers(0, 8_000))
    offset = data.draw(st.integers(0, 50))

    async def upload(folder: Path) -> None:
        rig = RIGS[kind](folder, data.draw(st.sampled_from(Durability)))
        await rig.store.open()
        before = bytes(range(offset))
        await rig.store.prepare(facts(length=None))
        await rig.append(before)
        promise = promised(body)
        sent = list(pieces)
        if is_damaged:
            at = data.draw(st.integers(0, len(sent) - 1))
            sent[at] = bytes([sent[at][0] ^ 1]) + sent[at][1:]
        with rig.holding_in_memory(in_memory):
            done = await rig.append(*sent, offset=offset, promise=promise)
        wanted = before if is_damaged else before + body
        assert (done.unproven is not None) is is_damaged and done.offset == len(wanted)
        assert (rig.contents(an_id()) or b"") == wanted and rig.strays() == []
        await rig.store.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(upload(Path(folder)))
