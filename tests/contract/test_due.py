"""What every state store promises of uploads that are due for the sweeper."""

import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from tests.contract.states import (
    LEASE_SECONDS,
    STATES,
    StateRig,
    an_upload,
    create_held,
    number_of,
    take,
    upload_id,
)
from tusd_py.core.upload import NO_BOOT, Boot, Kind, Status
from tusd_py.state.base import Due, Purpose, StateStore

NOW = 5000.0
COMPLETE_PART: Final = {"status": Status.COMPLETE, "kind": Kind.PARTIAL, "offset": 100}


@pytest.fixture(params=sorted(STATES))
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StateRig]:
    async with STATES[request.param](tmp_path) as made:
        yield made


async def due_numbers(state: StateStore, due: Due, *, age_seconds: float = 0.0) -> list[int]:
    ids = await state.list_due(due, now=NOW, age_seconds=age_seconds)
    return [number_of(each) for each in ids]


@pytest.mark.parametrize(
    ("due", "changes", "is_due"),
    [
        pytest.param(Due.EXPIRED, {"expires_at": NOW}, True, id="expires now"),
        pytest.param(Due.EXPIRED, {"expires_at": NOW + 1}, False, id="expires later"),
        pytest.param(Due.EXPIRED, {}, False, id="never expires"),
        pytest.param(
            Due.EXPIRED, {"expires_at": 1.0, "status": Status.RECEIVED}, False, id="received"
        ),
        pytest.param(
            Due.EXPIRED, {"expires_at": 1.0, "status": Status.COMPLETE}, False, id="complete"
        ),
        pytest.param(
            Due.EXPIRED, {"expires_at": NOW, "status": Status.JOINING}, True, id="joining, expired"
        ),
        pytest.param(
            Due.EXPIRED, {"expires_at": NOW, "kind": Kind.PARTIAL}, True, id="a part on its way"
        ),
        pytest.param(Due.EXPIRED, {"expires_at": NOW, **COMPLETE_PART}, True, id="a part, kept"),
        pytest.param(
            Due.EXPIRED, {"expires_at": NOW + 1, **COMPLETE_PART}, False, id="a part, used yet"
        ),
        pytest.param(Due.EXPIRED, COMPLETE_PART, False, id="a part that never expires"),
        pytest.param(
            Due.EXPIRED,
            {"expires_at": 1.0, "status": Status.RECEIVED, "kind": Kind.PARTIAL},
            False,
            id="a part, received",
        ),
        pytest.param(
            Due.EXPIRED,
            {"expires_at": 1.0, "status": Status.COMPLETE, "kind": Kind.FINAL},
            False,
            id="a complete final",
        ),
        pytest.param(Due.SILENT, {"changed_at": NOW - 101}, True, id="silent"),
        pytest.param(Due.SILENT, {"changed_at": NOW - 99}, False, id="not silent yet"),
        pytest.param(
            Due.SILENT, {"changed_at": 1.0, "is_interrupted": True}, False, id="told already"
        ),
        pytest.param(
            Due.SILENT, {"changed_at": 1.0, "status": Status.RECEIVED}, False, id="not receiving"
        ),
        pytest.param(
            Due.SILENT,
            {"changed_at": 1.0, "status": Status.JOINING},
            False,
            id="joining in silence",
        ),
        pytest.param(
            Due.RETIRED,
            {"status": Status.COMPLETE, "finished_at": NOW - 101, "changed_at": NOW},
            True,
            id="finished long ago",
        ),
        pytest.param(
            Due.RETIRED,
            {"status": Status.COMPLETE, "finished_at": NOW - 99, "changed_at": 1.0},
            False,
            id="finished of late",
        ),
        pytest.param(
            Due.RETIRED, {"status": Status.REJECTED, "changed_at": 1.0}, False, id="not complete"
        ),
        pytest.param(
            Due.RETIRED, {"finished_at": 1.0, **COMPLETE_PART}, False, id="a part, done long ago"
        ),
        pytest.param(
            Due.RETIRED,
            {"status": Status.COMPLETE, "finished_at": 1.0, "kind": Kind.FINAL},
            True,
            id="a final, done long ago",
        ),
        pytest.param(
            Due.REFUSED, {"status": Status.REJECTED, "changed_at": NOW - 101}, True, id="rejected"
        ),
        pytest.param(
            Due.REFUSED, {"status": Status.INVALID, "changed_at": NOW - 101}, True, id="invalid"
        ),
        pytest.param(
            Due.REFUSED, {"status": Status.REJECTED, "changed_at": NOW}, False, id="of late"
        ),
        pytest.param(Due.UNDECIDED, {"status": Status.RECEIVED}, True, id="received, undecided"),
        pytest.param(Due.UNDECIDED, {"status": Status.JOINING}, False, id="no gate is asked yet"),
        pytest.param(Due.UNDECIDED, {}, False, id="still receiving"),
        pytest.param(Due.UNJOINED, {"status": Status.JOINING}, True, id="nobody joins it"),
        pytest.param(Due.UNJOINED, {"status": Status.RECEIVED}, False, id="joined already"),
        pytest.param(
            Due.UNJOINED, {"status": Status.COMPLETE, "kind": Kind.FINAL}, False, id="all done"
        ),
        pytest.param(Due.TERMINATING, {"status": Status.TERMINATING}, True, id="terminating"),
        pytest.param(Due.UNSETTLED, {}, False, id="settled"),
        pytest.param(Due.UNSETTLED, {"writer": NO_BOOT}, True, id="of no boot"),
        pytest.param(Due.UNSETTLED, {"writer": Boot("host-a", "boot-0")}, True, id="earlier boot"),
        pytest.param(
            Due.UNSETTLED,
            {"writer": NO_BOOT, "status": Status.COMPLETE},
            False,
            id="finished is not unsettled",
        ),
        pytest.param(Due.ABANDONED, {}, False, id="let go"),
    ],
)
async def test_an_upload_is_due_for_its_reason(
    rig: StateRig, due: Due, changes: dict[str, Any], is_due: bool
) -> None:
    state = await rig.open()
    await state.create(an_upload(1, **changes), [], with_lease=False)
    assert await due_numbers(state, due, age_seconds=100) == ([1] if is_due else [])


async def test_what_expires_is_what_the_record_says_can(rig: StateRig) -> None:
    """Of every kind, in every status it can have: parts are received, finals joined."""
    state = await rig.open()
    made = [
        an_upload(n, kind=kind, status=status, expires_at=1.0)
        for n, (kind, status) in enumerate(itertools.product(Kind, Status))
        if (kind, status) != (Kind.PARTIAL, Status.JOINING)
    ]
    for upload in made:
        await state.create(upload, [], with_lease=False)
    found = await state.list_due(Due.EXPIRED, now=NOW)
    assert set(found) == {upload.id for upload in made if upload.can_expire}


@pytest.mark.parametrize(
    ("due", "changes"),
    [
        (Due.EXPIRED, {"expires_at": 1.0}),
        (Due.SILENT, {"changed_at": 1.0}),
        (Due.EXPIRED, {"expires_at": 1.0, "status": Status.JOINING}),
        (Due.EXPIRED, {"expires_at": 1.0, **COMPLETE_PART}),
        (Due.UNDECIDED, {"status": Status.RECEIVED}),
        (Due.UNJOINED, {"status": Status.JOINING}),
        (Due.RETIRED, {"finished_at": 1.0, "status": Status.COMPLETE}),
        (Due.ABANDONED, {}),
        (Due.ABANDONED, {"status": Status.JOINING}),
    ],
)
async def test_an_upload_under_a_live_lease_is_not_due(
    rig: StateRig, due: Due, changes: dict[str, Any]
) -> None:
    state = await rig.open()
    await create_held(state, an_upload(1, **changes))
    assert await due_numbers(state, due) == []


async def test_a_joining_whose_joiner_is_gone_is_due_for_whoever_can_go_on(rig: StateRig) -> None:
    state = await rig.open()
    await create_held(state, an_upload(1, status=Status.JOINING, expires_at=1.0))
    assert await due_numbers(state, Due.UNJOINED) == []
    rig.clock.advance(LEASE_SECONDS)
    for due in (Due.UNJOINED, Due.ABANDONED, Due.EXPIRED):
        assert await due_numbers(state, due) == [1]


async def test_what_is_due_follows_the_commits(rig: StateRig) -> None:
    """A part on its way to its end: due as one that expires, whatever becomes of it."""
    state = await rig.open()
    upload = an_upload(1, kind=Kind.PARTIAL, expires_at=NOW)
    lease = await create_held(state, upload)
    done = replace(upload, status=Status.COMPLETE, offset=100, finished_at=1.0)
    await state.commit(lease, replace(done, expires_at=NOW + 1), release=True)
    assert await due_numbers(state, Due.EXPIRED) == []
    lease = (await take(state, upload, Purpose.SWEEP)).lease
    await state.commit(lease, done, release=True)
    assert await due_numbers(state, Due.EXPIRED) == [1]
    lease = (await take(state, upload, Purpose.SWEEP)).lease
    await state.commit(lease, replace(done, status=Status.TERMINATING), release=True)
    assert await due_numbers(state, Due.EXPIRED) == []
    assert await due_numbers(state, Due.TERMINATING) == [1]


async def test_an_upload_whose_lease_ran_out_is_abandoned(rig: StateRig) -> None:
    state = await rig.open()
    await create_held(state, an_upload(1))
    await create_held(state, an_upload(2, status=Status.COMPLETE))
    rig.clock.advance(LEASE_SECONDS)
    assert await due_numbers(state, Due.ABANDONED) == [1]


async def test_a_lease_of_an_earlier_boot_is_abandoned(rig: StateRig) -> None:
    state = await rig.open()
    await create_held(state, an_upload(1))
    await state.close()
    state = await rig.open(Boot("host-a", "boot-2"))
    assert await due_numbers(state, Due.ABANDONED) == [1]
    assert await due_numbers(state, Due.UNSETTLED) == [1]


async def test_an_upload_let_go_without_a_clean_mark_stays_abandoned(rig: StateRig) -> None:
    state = await rig.open()
    await create_held(state, an_upload(1))
    rig.clock.advance(LEASE_SECONDS)
    await state.release((await take(state, an_upload(1), Purpose.SWEEP)).lease)
    assert await due_numbers(state, Due.ABANDONED) == [1]
    got = await take(state, an_upload(1), Purpose.SWEEP)
    await state.commit(got.lease, got.upload, release=True)
    assert await due_numbers(state, Due.ABANDONED) == []


async def test_sweep_after_change_every_unfinished_record_of_before_is_due(rig: StateRig) -> None:
    """[sweep-after-change]"""
    state = await rig.open()
    for n in range(1, 4):
        await state.create(an_upload(n), [], with_lease=False)
    await state.create(an_upload(4, status=Status.COMPLETE), [], with_lease=False)
    await rig.change_generation()
    state = await rig.open()
    await state.create(an_upload(5), [], with_lease=False)
    assert await due_numbers(state, Due.UNSETTLED) == [1, 2, 3]
    rig.clock.advance(LEASE_SECONDS)
    got = await take(state, an_upload(2), Purpose.SWEEP)
    assert await due_numbers(state, Due.UNSETTLED) == [1, 3]
    await state.commit(got.lease, got.upload, release=True)
    assert await due_numbers(state, Due.UNSETTLED) == [1, 3]


async def test_the_oldest_come_first_and_no_more_than_wanted(rig: StateRig) -> None:
    state = await rig.open()
    for n in (3, 1, 4, 5, 2):
        upload = an_upload(n, changed_at=100.0 - n, expires_at=100.0 - n)
        await state.create(upload, [], with_lease=False)
    for due in (Due.SILENT, Due.EXPIRED):
        ids = await state.list_due(due, now=NOW, limit=3)
        assert list(ids) == [upload_id(5), upload_id(4), upload_id(3)]


@pytest.mark.parametrize(
    ("due", "kinds"),
    [
        (Due.EXPIRED, [{}, {"status": Status.JOINING}, COMPLETE_PART]),
        (Due.UNDECIDED, [{"status": Status.RECEIVED}]),
        (Due.UNJOINED, [{"status": Status.JOINING}]),
        (
            Due.RETIRED,
            [{"status": Status.COMPLETE}, {"status": Status.COMPLETE, "kind": Kind.FINAL}],
        ),
        (Due.REFUSED, [{"status": Status.REJECTED}, {"status": Status.INVALID}]),
    ],
)
async def test_the_oldest_come_first_whatever_they_are(
    rig: StateRig, due: Due, kinds: list[dict[str, Any]]
) -> None:
    state = await rig.open()
    for n in (3, 1, 4, 5, 2):
        times = dict.fromkeys(("changed_at", "expires_at", "finished_at"), 100.0 - n)
        await state.create(an_upload(n, **times, **kinds[n % len(kinds)]), [], with_lease=False)
    assert await due_numbers(state, due) == [5, 4, 3, 2, 1]
