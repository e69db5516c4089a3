"""What a client may see of its uploads, and which bytes it may fetch."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.shelf import NOW, MemoryBytes, Shelf, finished, parts_of
from tests.unit.core.builders import AN_ID, AN_OWNER, an_upload, some_claims
from tusd_py.core.errors import (
    BytesGone,
    ClientMismatch,
    StateUnavailable,
    StorageFailed,
    UploadError,
    UploadUnknown,
    VideoMismatch,
)
from tusd_py.core.identity import ANYBODY, Owner, Principal
from tusd_py.core.ids import ClientId, UploadId, VideoId
from tusd_py.core.metadata import build_pairs
from tusd_py.core.upload import Kind, Status
from tusd_py.service.observing import (
    MAX_PAGE,
    STATE_WORDS,
    STATES,
    Observing,
    percent_of,
    view_of,
)
from tusd_py.state.base import StateError
from tusd_py.stores.base import StoreError

OWNER = Principal(some_claims())
STRANGER = Principal(some_claims(owner=Owner(AN_OWNER.video_id, ClientId("another"))))
OTHER_VIDEO = Principal(some_claims(owner=Owner(VideoId("another"), AN_OWNER.client_id)))


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def observing(shelf: Shelf) -> Observing:
    return Observing(parts_of(shelf, checkpoint_seconds=1.0))


def number(n: int) -> UploadId:
    return UploadId(f"{n:032x}")


# ------------------------------------------------------------------ one upload


def test_every_status_has_a_word_but_the_one_that_is_not_there_any_more() -> None:
    assert set(STATES) == set(Status) - {Status.TERMINATING}


@pytest.mark.parametrize("status", STATES)
async def test_a_status_is_told_in_its_word(
    shelf: Shelf, observing: Observing, status: Status
) -> None:
    """Also where HEAD says that there is no such upload: its client learns why."""
    shelf.put(status=status, refusal="No cats.")
    view = await observing.look(AN_ID, OWNER)
    assert view.state == view.data["state"] == STATES[status]
    assert view.is_last is (status in (Status.COMPLETE, Status.REJECTED, Status.INVALID))
    assert view.data["sentence"] == "No cats."


async def test_a_gap_is_told(shelf: Shelf, observing: Observing) -> None:
    shelf.put(is_interrupted=True)
    assert (await observing.look(AN_ID, OWNER)).state == "interrupted"
    shelf.put(is_interrupted=True, status=Status.COMPLETE)
    assert (await observing.look(AN_ID, OWNER)).state == "complete"


async def test_the_whole_view(shelf: Shelf, observing: Observing) -> None:
    """What of the token's is kept from clients, and where the file was put, is not in it."""
    shelf.put(
        metadata=build_pairs({"filename": b"cat.mp4", "odd": b"\xff"}),
        overrides={"filename": "override", "secret": "override"},
        place="secret/place.mp4",
        changed_at=NOW - 1,
        created_at=NOW - 100,
        expires_at=NOW + 100,
        bytes_per_second=1000.6,
        digests=(("sha1", "AAAA"),),
        protocol="rufh",
        offset=5,
        length=8,
    )
    view = await observing.look(AN_ID, ANYBODY)
    assert view.data == {
        "upload_id": AN_ID,
        "video_id": AN_OWNER.video_id,
        "client_id": AN_OWNER.client_id,
        "kind": "single",
        "metadata": {"filename": "cat.mp4"},
        "metadata_base64": {"odd": "/w=="},
        "state": "receiving",
        "offset": 5,
        "length": 8,
        "percent": 62.5,
        "bytes_per_second": 1001,
        "sentence": None,
        "created_at": "2027-01-15T07:58:20.000Z",
        "changed_at": "2027-01-15T07:59:59.000Z",
        "expires_at": "2027-01-15T08:01:40.000Z",
        "finished_at": None,
        "digests": {"sha1": "AAAA"},
        "protocol": "rufh",
    }
    assert "override" not in json.dumps(view.data) and "secret" not in json.dumps(view.data)


async def test_what_cannot_expire_tells_no_expiry(shelf: Shelf, observing: Observing) -> None:
    shelf.put(status=Status.COMPLETE, expires_at=NOW + 100, finished_at=NOW)
    view = await observing.look(AN_ID, OWNER)
    assert view.data["expires_at"] is None
    assert view.data["finished_at"] == "2027-01-15T08:00:00.000Z"


@pytest.mark.parametrize(("age", "rate"), [(0.0, 500), (3.0, 500), (3.1, 0), (1000.0, 0)])
async def test_an_old_rate_says_nothing_any_more(
    shelf: Shelf, observing: Observing, age: float, rate: int
) -> None:
    """The writer died, or its machine: three checkpoints without a word."""
    shelf.put(bytes_per_second=500.0, changed_at=NOW - age)
    assert (await observing.look(AN_ID, OWNER)).data["bytes_per_second"] == rate


@given(st.integers(0, 2**62), st.none() | st.integers(0, 2**62))
def test_a_hundred_percent_is_all_of_it(offset: int, length: int | None) -> None:
    percent = percent_of(an_upload(offset=offset, length=length))
    if length is None:
        assert percent is None
    else:
        assert percent is not None and 0 <= percent <= 100
        assert (percent == 100) == (offset >= length)


@pytest.mark.parametrize(
    ("principal", "error"), [(STRANGER, ClientMismatch), (OTHER_VIDEO, VideoMismatch)]
)
async def test_a_strangers_token_sees_nothing(
    shelf: Shelf, observing: Observing, principal: Principal, error: type[UploadError]
) -> None:
    shelf.put(status=Status.TERMINATING)
    with pytest.raises(error):
        await observing.look(AN_ID, principal)
    shelf.records[AN_ID] = finished(b"abc")
    shelf.make = lambda: MemoryBytes(b"abc")
    with pytest.raises(error):
        await observing.look(AN_ID, principal)
    with pytest.raises(error):
        await observing.open(AN_ID, principal)
    assert shelf.opened == []


async def test_what_is_not_there_is_unknown(shelf: Shelf, observing: Observing) -> None:
    with pytest.raises(UploadUnknown):
        await observing.look(AN_ID, OWNER)
    shelf.put(status=Status.TERMINATING)
    with pytest.raises(UploadUnknown):
        await observing.look(AN_ID, OWNER)


async def test_a_state_that_is_away_is_told_as_such(shelf: Shelf, observing: Observing) -> None:
    shelf.fails_with = StateError("away")
    for call in (
        observing.look(AN_ID, OWNER),
        observing.page(AN_OWNER, state=None, after=None, limit=1),
        observing.survey(AN_ID),
        observing.survey(AN_OWNER),
        observing.open(AN_ID, OWNER),
    ):
        with pytest.raises(StateUnavailable):
            await call


# ------------------------------------------------------------------ many


async def test_pages_hold_one_clients_uploads_in_order(shelf: Shelf, observing: Observing) -> None:
    for n in range(5):
        shelf.put(id=number(n))
    shelf.put(id=number(9), owner=Owner(AN_OWNER.video_id, ClientId("another")))
    first = await observing.page(AN_OWNER, state=None, after=None, limit=2)
    assert [view.upload_id for view in first.views] == [number(0), number(1)]
    second = await observing.page(AN_OWNER, state=None, after=first.after, limit=100)
    assert [view.upload_id for view in second.views] == [number(2), number(3), number(4)]
    assert second.after is None


@pytest.mark.parametrize("state", STATE_WORDS)
async def test_pages_hold_one_state_where_it_is_asked_for(
    shelf: Shelf, observing: Observing, state: str
) -> None:
    for n, status in enumerate(Status):
        shelf.put(id=number(n), status=status)
    shelf.put(id=number(99), is_interrupted=True)
    page = await observing.page(AN_OWNER, state=state, after=None, limit=100)
    assert [view.state for view in page.views] == [state]


async def test_a_page_that_holds_nothing_may_not_be_the_last(
    shelf: Shelf, observing: Observing
) -> None:
    """What is not shown counts for where to go on."""
    for n in range(3):
        shelf.put(id=number(n), is_interrupted=n == 2)
    page = await observing.page(AN_OWNER, state="interrupted", after=None, limit=2)
    assert (list(page.views), page.after) == ([], number(1))
    page = await observing.page(AN_OWNER, state="interrupted", after=page.after, limit=2)
    assert [view.upload_id for view in page.views] == [number(2)]


async def test_a_survey_holds_all_that_is_there(shelf: Shelf, observing: Observing) -> None:
    """Over several pages, up to a bound; what is not there is not in it."""
    for n in range(MAX_PAGE + 7):
        shelf.put(id=number(n))
    assert len(await observing.survey(AN_OWNER)) == MAX_PAGE + 7
    assert list(await observing.survey(number(3))) == [number(3)]
    assert await observing.survey(UploadId("f" * 32)) == {}
    shelf.put(id=number(3), status=Status.TERMINATING)
    assert await observing.survey(number(3)) == {}
    for n in range(20 * MAX_PAGE):
        shelf.put(id=number(n))
    assert len(await observing.survey(AN_OWNER)) == 10 * MAX_PAGE


# ------------------------------------------------------------------ bytes


async def test_a_finished_file_is_opened(shelf: Shelf, observing: Observing) -> None:
    shelf.records[AN_ID] = replace(finished(b"abc"), kind=Kind.FINAL)
    shelf.make = lambda: MemoryBytes(b"abc")
    opened = await observing.open(AN_ID, OWNER)
    assert opened is not None
    assert (opened.upload.id, await opened.bytes.read(0, 3)) == (AN_ID, b"abc")


@pytest.mark.parametrize(
    "changes",
    [
        *({"status": status} for status in Status if status is not Status.COMPLETE),
        {"status": Status.COMPLETE, "kind": Kind.PARTIAL},
    ],
    ids=str,
)
async def test_nothing_else_is(shelf: Shelf, observing: Observing, changes: dict[str, Any]) -> None:
    """A part of a file is nobody's file, though it is complete as an upload."""
    shelf.put(offset=3, length=3, **changes)
    shelf.make = lambda: MemoryBytes(b"abc")
    assert await observing.open(AN_ID, OWNER) is None
    assert shelf.opened == []


async def test_bytes_that_a_hook_took_are_gone(shelf: Shelf, observing: Observing) -> None:
    shelf.records[AN_ID] = finished(b"abc")
    with pytest.raises(BytesGone):
        await observing.open(AN_ID, OWNER)


async def test_bytes_that_are_others_are_not_handed_out(
    shelf: Shelf, observing: Observing, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody wrote to the file where it was put: the log says so."""
    shelf.records[AN_ID] = finished(b"abc")
    shelf.make = lambda: MemoryBytes(b"abcd")
    with pytest.raises(BytesGone):
        await observing.open(AN_ID, OWNER)
    assert shelf.opened[0].is_closed
    assert [record.msg for record in caplog.records] == ["finished_bytes_differ"]


async def test_a_store_that_fails_is_told_as_such(shelf: Shelf, observing: Observing) -> None:
    def fail() -> MemoryBytes:
        raise StoreError("the disk")

    shelf.records[AN_ID], shelf.make = finished(b"abc"), fail
    with pytest.raises(StorageFailed):
        await observing.open(AN_ID, OWNER)


def test_a_view_is_equal_to_one_that_says_the_same() -> None:
    assert view_of(an_upload(), bytes_per_second=1.2) == view_of(an_upload(), bytes_per_second=1.4)
    assert view_of(an_upload(), bytes_per_second=1) != view_of(an_upload(), bytes_per_second=2)
