"""Which uploads Redis says there are: what is due of all buckets, and pages over them."""

import random
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.contract.redis_states import ServerRig
from tests.contract.states import an_upload, take, upload_id
from tests.redis.records import make_rig
from tusd_py.core.identity import Owner
from tusd_py.core.ids import ClientId, UploadId, VideoId
from tusd_py.core.upload import Boot, Status, Upload
from tusd_py.state.base import Due, Filter, Purpose
from tusd_py.state.redis import listing


@pytest.fixture
async def rig() -> AsyncIterator[ServerRig]:
    async with make_rig() as made:
        yield made


async def test_what_is_due_is_the_oldest_of_all_buckets(rig: ServerRig) -> None:
    """However they are spread: one bucket has most of the oldest, others have none."""
    state = await rig.open()
    dice = random.Random(5)
    made: dict[UploadId, float] = {}
    for number in range(400):
        first = 0x20 if number % 2 else dice.randrange(256)
        one = UploadId(f"{first:02x}{number:030x}")
        at = dice.uniform(0, 10 if number % 2 else 1000)
        made[one] = at
        upload = replace(an_upload(), id=one, changed_at=at, expires_at=at)
        await state.create(upload, [], with_lease=number % 10 == 0)
    free = [one for number, one in enumerate(made) if number % 10]
    in_order = sorted(free, key=lambda one: made[one])
    for due in (Due.EXPIRED, Due.SILENT):
        for limit in (1, 7, 100, 350, 1000):
            found = await state.list_due(due, now=2000.0, limit=limit)
            assert list(found) == in_order[:limit], (due, limit)


async def test_what_is_due_is_found_behind_many_that_are_held(rig: ServerRig) -> None:
    state = await rig.open()
    for number in range(1, 120):
        upload = replace(an_upload(), id=UploadId(f"00{number:030x}"), expires_at=float(number))
        await state.create(upload, [], with_lease=number < 119)
    found = await state.list_due(Due.EXPIRED, now=1000.0, limit=1)
    assert list(found) == [UploadId(f"00{119:030x}")]


async def test_writers_without_unfinished_uploads_are_forgotten(rig: ServerRig) -> None:
    """Else a year of restarts would be gone through by each sweep."""
    state = await rig.open()
    for number in range(1, 6):
        await state.create(
            an_upload(number, writer=Boot("host-a", f"boot-{number}")), [], with_lease=False
        )
        lease = (await take(state, an_upload(number), Purpose.TERMINATE)).lease
        await state.commit(lease, an_upload(number), release=True)
    await state.list_due(Due.UNSETTLED, now=1000.0)
    writers = await rig.server.call("HVALS", f"{rig.settings.prefix}:{{00}}:writers")
    assert [value.rsplit(b"\n", 1)[-1] for value in writers] == [b"boot-1"]


async def test_pages_go_through_clients_of_many_videos_in_the_order_of_ids(
    rig: ServerRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few ids a call, many videos of one client: all of them, once, in order."""
    monkeypatch.setattr(listing, "MAX_FOUND", 7)
    state = await rig.open()
    dice = random.Random(6)
    made: list[Upload] = []
    for number in range(250):
        upload = replace(
            an_upload(status=dice.choice([Status.RECEIVING, Status.COMPLETE])),
            id=UploadId(f"{dice.randrange(16, 64):02x}{number:030x}"),
            owner=Owner(VideoId(str(dice.randrange(30))), ClientId(dice.choice("ab"))),
        )
        made.append((await state.create(upload, [], with_lease=False)).upload)
    made.sort(key=lambda upload: upload.id)
    for wanted in (
        Filter(),
        Filter(client_id=ClientId("a")),
        Filter(client_id=ClientId("a"), status=Status.COMPLETE),
        Filter(client_id=ClientId("b"), video_id=VideoId("7")),
        Filter(video_id=VideoId("7"), status=Status.RECEIVING),
        Filter(status=Status.COMPLETE),
    ):
        expected = [upload for upload in made if listing._matches(upload, wanted)]
        for limit in (5, 40, 1000):
            found: list[Upload] = []
            while some := await state.page(
                wanted, after=found[-1].id if found else None, limit=limit
            ):
                assert len(some) == limit or len(found) + len(some) == len(expected)
                found += some
            assert found == expected, (wanted, limit)


async def test_a_page_trusts_no_digest(rig: ServerRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where those of two clients are the same each gets its own uploads only."""
    monkeypatch.setattr("tusd_py.state.redis.codec._digest", lambda _: b"the same")
    state = await rig.open()
    for number in range(1, 31):
        owner = Owner(VideoId("v"), ClientId("abc"[number % 3]))
        await state.create(an_upload(number, owner=owner), [], with_lease=False)
    found = await state.page(Filter(client_id=ClientId("a")), after=None, limit=4)
    assert [upload.id for upload in found] == [upload_id(n) for n in (3, 6, 9, 12)]
