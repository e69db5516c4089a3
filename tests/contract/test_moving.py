"""What every state store promises of moving: from each kind into each kind, and on from there."""

import asyncio
import itertools
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from hashlib import sha1
from pathlib import Path
from typing import Any, Final, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.state_rig import LEASE_SECONDS, StateRig
from tests.contract.states import (
    OWNER,
    STATES,
    a_visit,
    an_event,
    an_upload,
    create_held,
    take,
    upload_id,
)
from tusd_py.core.events import Event, EventKind
from tusd_py.core.identity import Owner
from tusd_py.core.ids import ClientId, VideoId
from tusd_py.core.metadata import Metadata
from tusd_py.core.upload import Boot, Kind, Status
from tusd_py.service.moving import Moved, Tally, move
from tusd_py.state.base import Delivery, Due, Purpose, Seen, StateError, StateStore, Taken
from tusd_py.state.moving import (
    Dead,
    Hooks,
    Known,
    Movable,
    MoveRefused,
    Piece,
    Record,
    Waiting,
)

NOW: Final = 5000.0
KEY_DIGEST: Final = sha1(b"the key").hexdigest()
CLAIM_SECONDS: Final = 30.0
KINDS: Final = sorted(STATES)
PAIRS: Final = list(itertools.product(KINDS, KINDS))


@asynccontextmanager
async def a_rig(kind: str) -> AsyncIterator[StateRig]:
    with tempfile.TemporaryDirectory() as folder:
        async with STATES[kind](Path(folder)) as rig:
            yield rig


@pytest.fixture(params=KINDS)
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StateRig]:
    async with STATES[request.param](tmp_path) as made:
        yield made


async def dumped(state: StateStore) -> list[Piece]:
    return [piece async for piece in cast(Movable, state).dump()]


async def given_back(pieces: Sequence[Piece]) -> AsyncIterator[Piece]:
    for piece in pieces:
        yield piece


async def restore(state: StateStore, pieces: Sequence[Piece]) -> None:
    await cast(Movable, state).restore(given_back(pieces))


def tally(pieces: Sequence[Piece]) -> Tally:
    made = Tally()
    for piece in pieces:
        made.add(piece)
    return made


def of_kind(pieces: Sequence[Piece], kind: type[Piece]) -> list[Any]:
    return [piece for piece in pieces if isinstance(piece, kind)]


def by_id(pieces: Sequence[Piece]) -> dict[str, Record]:
    records = of_kind(pieces, Record)
    found = {one.upload.id: one for one in records}
    assert len(found) == len(records)
    return found


async def claim(state: StateStore, hook: str = "h", *, now: float = NOW) -> Sequence[Delivery]:
    return await state.claim(hook, now=now, claim_seconds=CLAIM_SECONDS, limit=100)


# ------------------------------------------------------------------ made contents

TEXT: Final = st.text(st.characters() | st.sampled_from("\0\udce9\n ,"), max_size=20)
"""Any text, stray bytes of headers included."""
TIMES: Final = st.floats(0, 4e9)
SIZES: Final = st.integers(0, (1 << 63) - 1)
PAIRS_OF_TEXT: Final = st.lists(st.tuples(TEXT, TEXT), max_size=2).map(tuple)
BOOTS: Final = st.builds(Boot, TEXT, TEXT)
FIELDS: Final = st.fixed_dictionaries(
    {
        "owner": st.builds(Owner, TEXT.map(VideoId), TEXT.map(ClientId)),
        "length": st.none() | SIZES,
        "created_at": TIMES,
        "creator": BOOTS,
        "writer": BOOTS,
        "kind": st.sampled_from(Kind),
        "parts": st.lists(st.integers(100, 200).map(upload_id), max_size=3).map(tuple),
        "status": st.sampled_from(Status),
        "offset": SIZES,
        "synced_offset": SIZES,
        "suspect_length": SIZES,
        "metadata": st.builds(Metadata, TEXT),
        "overrides": st.dictionaries(TEXT, TEXT, max_size=3),
        "max_bytes": st.none() | SIZES,
        "protocol": TEXT,
        "changed_at": TIMES,
        "expires_at": st.none() | TIMES,
        "finished_at": st.none() | TIMES,
        "interruptions": st.integers(0, 1000),
        "is_interrupted": st.booleans(),
        "digests": PAIRS_OF_TEXT,
        "place": st.none() | TEXT,
        "refusal": st.none() | TEXT,
        "concat": st.none() | TEXT,
        "promised_digests": PAIRS_OF_TEXT,
        "is_strict": st.booleans(),
        "bytes_per_second": TIMES,
    }
)
STEPS: Final = st.tuples(
    st.sampled_from(["h", "g"]), st.sampled_from(["settle", "postpone", "bury", "leave", "replay"])
)


@dataclass(frozen=True, slots=True)
class Contents:
    """What is done to a store before it is moved."""

    uploads: list[dict[str, Any]]
    keys: list[str | None]
    kinds: list[list[EventKind]]
    steps: list[tuple[str, str]]
    hooks_in_the_end: list[str]


CONTENTS: Final = st.builds(
    Contents,
    uploads=st.lists(FIELDS, min_size=1, max_size=4),
    keys=st.lists(st.none() | st.text(max_size=10), min_size=4, max_size=4, unique=True),
    kinds=st.lists(st.lists(st.sampled_from(EventKind), max_size=4), min_size=4, max_size=4),
    steps=st.lists(STEPS, max_size=12),
    hooks_in_the_end=st.lists(st.sampled_from(["h", "g", "k"]), unique=True),
)


async def fill(state: StateStore, contents: Contents) -> None:
    await state.register(["h", "g"])
    for number, changes in enumerate(contents.uploads):
        upload = an_upload(number + 1, **changes)
        plain = replace(upload, owner=OWNER, metadata=Metadata(), overrides={})
        events = [an_event(plain, kind, n) for n, kind in enumerate(contents.kinds[number])]
        await state.create(upload, events, with_lease=False, once=contents.keys[number])
    for now, (hook, what) in enumerate(contents.steps, int(NOW)):
        if what == "replay":
            await state.replay(hook=hook, event_id=None, now=float(now))
            continue
        for delivery in (await claim(state, hook, now=now))[:1]:
            if what == "settle":
                await state.settle([delivery])
            elif what == "postpone":
                await state.postpone(delivery, until=now + 1.5)
            elif what == "bury":
                await state.bury(delivery, reason=f"no\n{now}", now=float(now))
    await state.register(contents.hooks_in_the_end)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_all_that_was_there_is_there(source: str, target: str) -> None:
    """Whatever a store holds: the dump of the store it was moved into is that of the first."""

    # Each pair has its turn; what is particular to a kind shows in those with SQLite already.
    examples = 12 if "sqlite" in (source, target) else 4

    @settings(max_examples=examples, deadline=None, database=None)
    @given(CONTENTS)
    def check(contents: Contents) -> None:
        asyncio.run(moves(contents))

    async def moves(contents: Contents) -> None:
        async with a_rig(source) as rig:
            state = await rig.open()
            await fill(state, contents)
            before = await dumped(state)
        async with a_rig(target) as rig:
            state = await rig.open()
            await restore(state, before)
            after = await dumped(state)
        assert by_id(before) == by_id(after)
        assert [one for one in before if isinstance(one, Waiting | Dead)] == [
            one for one in after if isinstance(one, Waiting | Dead)
        ]
        assert set(of_kind(before, Known)) == set(of_kind(after, Known))
        assert before[0] == after[0]
        assert tally(before).differences(tally(after)) == []

    check()


# ------------------------------------------------------------------ a certain content


async def make_history(state: StateStore) -> None:
    """Three uploads: one whose events wait behind one that failed, one with a dead letter and one
    that follows it, and one that is complete and told, under a key."""
    await state.register(["h"])
    failing = an_upload(1, offset=10, synced_offset=5)
    kinds = (EventKind.CREATED, EventKind.INTERRUPTED, EventKind.COMPLETED)
    await state.create(
        failing, [an_event(failing, k, n) for n, k in enumerate(kinds)], with_lease=False
    )
    buried = an_upload(2)
    await state.create(
        buried, [an_event(buried, k, n) for n, k in enumerate(kinds[:2])], with_lease=False
    )
    told = an_upload(3, status=Status.COMPLETE, offset=100, finished_at=1.5)
    await state.create(told, [an_event(told)], with_lease=False, once="the key")
    for delivery in await claim(state):
        if delivery.event.upload_id == failing.id:
            await state.postpone(delivery, until=NOW + 60)
        elif delivery.event.upload_id == buried.id:
            await state.bury(delivery, reason="no such place", now=NOW)
        else:
            await state.settle([delivery])


@pytest.fixture
async def history(tmp_path: Path) -> Sequence[Piece]:
    """A dump of it."""
    async with STATES["sqlite"](tmp_path / "history") as rig:
        state = await rig.open()
        await make_history(state)
        return await dumped(state)


async def test_a_dump_tells_what_is_there_in_its_order(rig: StateRig) -> None:
    state = await rig.open()
    await make_history(state)
    pieces = await dumped(state)
    assert pieces[0] == Hooks(("h",))
    records = [(one.upload.id, one.once) for one in of_kind(pieces, Record)]
    assert set(records) == {(upload_id(1), None), (upload_id(2), None), (upload_id(3), KEY_DIGEST)}
    assert {one.upload.master for one in of_kind(pieces, Record)} == {""}
    waiting = [
        (one.event, one.attempts, one.due_at, one.is_next) for one in of_kind(pieces, Waiting)
    ]
    assert [one for one in waiting if one[0].upload_id == upload_id(1)] == [
        (an_event(an_upload(1, offset=10), EventKind.CREATED), 1, NOW + 60, True),
        (an_event(an_upload(1, offset=10), EventKind.INTERRUPTED, 1), 0, 1001.0, False),
        (an_event(an_upload(1, offset=10), EventKind.COMPLETED, 2), 0, 1002.0, False),
    ]
    assert [one for one in waiting if one[0].upload_id == upload_id(2)] == [
        (an_event(an_upload(2), EventKind.INTERRUPTED, 1), 0, 1001.0, True),
    ]
    (letter,) = of_kind(pieces, Dead)
    assert (letter.event.id, letter.attempts) == (an_event(an_upload(2)).id, 1)
    assert (letter.reason, letter.buried_at) == ("no such place", NOW)
    known = of_kind(pieces, Known)
    assert len(known) == 6
    assert {one.upload_digits for one in known} == {upload_id(n)[:2] for n in (1, 2, 3)}


async def test_what_was_moved_is_delivered_as_it_would_have_been(
    rig: StateRig, history: Sequence[Piece]
) -> None:
    """In order, after the pause that was begun, with the tries that were counted."""
    state = await rig.open()
    await restore(state, history)
    (second,) = await claim(state)
    assert (second.event.upload_id, second.event.kind) == (upload_id(2), EventKind.INTERRUPTED)
    (first,) = await claim(state, now=NOW + 60)
    assert (first.event.upload_id, first.attempts) == (upload_id(1), 1)
    await state.settle([first, second])
    told = []
    while deliveries := await claim(state, now=NOW + 60):
        await state.settle(deliveries)
        told += [one.event.kind for one in deliveries]
    assert told == [EventKind.INTERRUPTED, EventKind.COMPLETED]
    assert await state.backlog() == {"h": 0}


async def test_dead_letters_that_were_moved_are_replayed(
    rig: StateRig, history: Sequence[Piece]
) -> None:
    state = await rig.open()
    await restore(state, history)
    (letter,) = await state.dead_letters(hook=None, limit=10)
    assert (letter.reason, letter.buried_at, letter.delivery.hook) == ("no such place", NOW, "h")
    assert await state.replay(hook="h", event_id=letter.delivery.event.id, now=NOW) == 1
    await state.settle(await claim(state))
    kinds = {d.event.kind for d in await claim(state) if d.event.upload_id == upload_id(2)}
    assert kinds <= {EventKind.CREATED, EventKind.INTERRUPTED} and len(kinds) == 1


async def make_replayed(state: StateStore) -> None:
    """The first of three events is replayed while the second one is on its way."""
    await state.register(["h"])
    upload = an_upload()
    kinds = (EventKind.CREATED, EventKind.INTERRUPTED, EventKind.COMPLETED)
    events = [an_event(upload, kind, n) for n, kind in enumerate(kinds)]
    await state.create(upload, events, with_lease=False)
    (first,) = await claim(state)
    await state.bury(first, reason="no", now=NOW)
    (second,) = await claim(state)
    await state.postpone(second, until=NOW + 1)
    assert await state.replay(hook=None, event_id=None, now=NOW) == 1


async def test_what_is_on_its_way_is_told_as_the_next(rig: StateRig) -> None:
    """Though an earlier one waits again."""
    state = await rig.open()
    await make_replayed(state)
    waiting = of_kind(await dumped(state), Waiting)
    assert [(one.event.kind, one.attempts, one.due_at, one.is_next) for one in waiting] == [
        (EventKind.CREATED, 0, NOW, False),
        (EventKind.INTERRUPTED, 1, NOW + 1, True),
        (EventKind.COMPLETED, 0, 1002.0, False),
    ]


async def test_what_is_on_its_way_is_not_overtaken_after_a_move(rig: StateRig) -> None:
    """What was replayed goes out behind it, and before what is later."""
    async with a_rig("sqlite") as other:
        source = await other.open()
        await make_replayed(source)
        pieces = await dumped(source)
    state = await rig.open()
    await restore(state, pieces)
    assert await claim(state) == []
    told = []
    while deliveries := await claim(state, now=NOW + 1):
        await state.settle(deliveries)
        told += [one.event.kind for one in deliveries]
    assert told == [EventKind.INTERRUPTED, EventKind.CREATED, EventKind.COMPLETED]


async def test_what_was_handed_out_and_never_settled_is_moved(rig: StateRig) -> None:
    """Whoever had it is gone; what waits behind it comes too."""
    state, upload = await rig.open(), an_upload()
    await state.register(["h"])
    kinds = [EventKind.CREATED, EventKind.COMPLETED]
    events = [an_event(upload, kind, n) for n, kind in enumerate(kinds)]
    await state.create(upload, events, with_lease=False)
    assert len(await claim(state)) == 1
    waiting = of_kind(await dumped(state), Waiting)
    assert [(one.event, one.is_next) for one in waiting] == [(events[0], True), (events[1], False)]


async def test_an_event_that_was_told_before_the_move_is_not_told_again(
    rig: StateRig, history: Sequence[Piece]
) -> None:
    """Under its id: a completion that is told again after a rebuild, for one."""
    state = await rig.open()
    await restore(state, history)
    await rig.let_grace_pass()
    upload = an_upload(3)
    await state.settle(await claim(state))
    lease = (await take(state, upload, Purpose.SWEEP)).lease
    await state.commit(
        lease, replace(upload, status=Status.COMPLETE), [an_event(upload)], release=True
    )
    assert [one.event.upload_id for one in await claim(state)] == []


async def test_a_record_that_was_moved_is_reconciled_before_it_is_believed(
    rig: StateRig, history: Sequence[Piece]
) -> None:
    """[sweep-after-change] Every unfinished one is due, and none is settled, the finished ones'
    facts may be gone as well."""
    state = await rig.open()
    await restore(state, history)
    await rig.let_grace_pass()
    due = await state.list_due(Due.UNSETTLED, now=NOW)
    assert set(due) == {upload_id(1), upload_id(2)}
    for number in (1, 2, 3):
        taken = await take(state, an_upload(number), Purpose.READ)
        assert not taken.is_settled
        await state.commit(taken.lease, taken.upload, release=True)
    assert isinstance(await state.take(a_visit(an_upload(1), Purpose.READ)), Seen)
    assert await state.list_due(Due.UNSETTLED, now=NOW) == []


async def test_a_key_that_was_moved_finds_its_upload(
    rig: StateRig, history: Sequence[Piece]
) -> None:
    state = await rig.open()
    await restore(state, history)
    again = await state.create(an_upload(9), [], with_lease=True, once="the key")
    assert (again.is_new, again.upload.id) == (False, upload_id(3))


async def test_a_key_of_an_upload_that_came_to_nothing_is_not_moved(rig: StateRig) -> None:
    """It may be another upload's by now, and would be taken from that one."""
    state = await rig.open()
    refused = an_upload(200, status=Status.REJECTED)
    for upload in (refused, an_upload(1)):
        assert (await state.create(upload, [], with_lease=False, once="the key")).is_new
    pieces = await dumped(state)
    keys = {upload: record.once for upload, record in by_id(pieces).items()}
    assert keys == {upload_id(200): None, upload_id(1): KEY_DIGEST}


async def test_leases_are_not_moved(rig: StateRig) -> None:
    """A holder that died left one, which nobody waits for in the new store."""
    state = await rig.open()
    await create_held(state, an_upload())
    rig.clock.advance(LEASE_SECONDS + 1)
    pieces = await dumped(state)
    async with a_rig("sqlite") as other:
        fresh = await other.open()
        await restore(fresh, pieces)
        await other.let_grace_pass()
        taken = await fresh.take(a_visit(an_upload()))
        assert isinstance(taken, Taken) and not taken.is_settled


async def test_more_than_one_page_comes_whole(rig: StateRig) -> None:
    """Into the store and out of it, of everything there is."""
    count = 1100
    uploads = [an_upload(number) for number in range(count)]
    events = [an_event(upload) for upload in uploads]
    pieces: list[Piece] = [Hooks(("h",))]
    pieces += [
        Record(one, sha1(one.id.encode()).hexdigest())
        for one in sorted(uploads, key=lambda one: one.id)
    ]
    pieces += [Waiting("h", event, 0, 1000.0, True) for event in sorted(events, key=_by_upload)]
    pieces += [Known(event.id, 1000.0, event.upload_id[:2]) for event in events]
    state = await rig.open()
    await restore(state, pieces)
    there = await dumped(state)
    assert by_id(there) == by_id(pieces)
    assert tally(there).differences(tally(pieces)) == []
    assert await state.backlog() == {"h": count}
    assert (await state.counts())[Status.RECEIVING] == count


def _by_upload(event: Event) -> str:
    return event.upload_id


# ------------------------------------------------------------------ refusals and accidents


async def test_nothing_is_moved_out_while_an_upload_is_written(rig: StateRig) -> None:
    """What it writes would be forgotten. Once the lease has run out nobody writes any more."""
    state = await rig.open()
    await create_held(state, an_upload())
    with pytest.raises(MoveRefused, match="stop every server"):
        await dumped(state)
    rig.clock.advance(LEASE_SECONDS + 1)
    assert of_kind(await dumped(state), Record)


async def test_nothing_is_moved_while_another_process_is_there(
    rig: StateRig, history: Sequence[Piece]
) -> None:
    """A server that runs, though nobody uploads just now."""
    server = await rig.open()
    state = await rig.open()
    with pytest.raises(MoveRefused, match="stop every server"):
        await dumped(state)
    with pytest.raises(MoveRefused, match="stop every server"):
        await restore(state, history)
    await server.close()
    await restore(state, history)


async def test_a_server_that_starts_meanwhile_is_noticed(rig: StateRig) -> None:
    """The dump is not taken for whole."""
    state = await rig.open()
    await make_history(state)
    with pytest.raises(MoveRefused, match="stop every server"):
        async with aclosing(_generator(cast(Movable, state).dump())) as pieces:
            assert isinstance(await anext(pieces), Hooks)
            await rig.open()
            async for _ in pieces:
                pass


async def test_a_store_that_holds_anything_is_not_overwritten(
    rig: StateRig, history: Sequence[Piece]
) -> None:
    """An upload, or an event of one that is gone; registered hooks alone are nothing."""
    state = await rig.open()
    await state.register(["another"])
    await state.create(an_upload(7), [an_event(an_upload(7))], with_lease=False)
    before = await dumped(state)
    with pytest.raises(MoveRefused, match="not empty"):
        await restore(state, history)
    lease = (await take(state, an_upload(7))).lease
    await state.remove(lease)
    with pytest.raises(MoveRefused, match="not empty"):
        await restore(state, history)
    assert of_kind(await dumped(state), Waiting) == of_kind(before, Waiting)
    await state.settle(await claim(state, "another"))
    assert await state.purge(before=NOW) == 1
    await restore(state, history)
    assert of_kind(await dumped(state), Hooks) == [Hooks(("h",))]


async def test_a_store_that_holds_a_part_is_not_opened(
    rig: StateRig, history: Sequence[Piece]
) -> None:
    """The copy was cut off; a server on it would know half of its uploads."""

    async def cut_off() -> AsyncIterator[Piece]:
        for piece in history[:3]:
            yield piece
        raise ConnectionError

    state = await rig.open()
    with pytest.raises(ConnectionError):
        await cast(Movable, state).restore(cut_off())
    await rig.close()
    with pytest.raises(StateError, match="not finished"):
        await rig.open()


async def test_a_dump_that_nobody_wants_any_more_ends(rig: StateRig) -> None:
    """The store works on, and closes."""
    state = await rig.open()
    await make_history(state)
    async with aclosing(_generator(cast(Movable, state).dump())) as pieces:
        await anext(pieces)
    assert len(await dumped(state)) > 1


def _generator(pieces: AsyncIterator[Piece]) -> AsyncGenerator[Piece]:
    assert isinstance(pieces, AsyncGenerator)
    return pieces


# ------------------------------------------------------------------ the whole of it


async def test_a_move_counts_what_it_moved(rig: StateRig) -> None:
    """It leaves the source as it was."""
    async with a_rig("sqlite") as first:
        source = await first.open()
        await make_history(source)
        before = await dumped(source)
        steps: list[str] = []
        state = await rig.open()
        moved = await move(cast(Movable, source), cast(Movable, state), tell=steps.append)
        assert moved == Moved(uploads=3, waiting=4, dead_letters=1, remembered=6)
        assert await dumped(source) == before
        assert steps == ["reading the source", "copying 3 uploads", "comparing"]
        with pytest.raises(MoveRefused, match="not empty"):
            await move(cast(Movable, source), cast(Movable, state))


async def test_an_empty_store_is_not_moved(rig: StateRig) -> None:
    """A path with a typing error makes one."""
    state = await rig.open()
    async with a_rig("sqlite") as first:
        with pytest.raises(MoveRefused, match="nothing to copy"):
            await move(cast(Movable, await first.open()), cast(Movable, state))
    assert await dumped(state) == [Hooks(())]
