"""A state file of a released version: brought to the present one with all it holds."""

import hashlib
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from tests.contract.states import (
    BOOT,
    LEASE_SECONDS,
    OWNER,
    FakeClock,
    a_visit,
    an_event,
    an_upload,
    number_of,
    take,
    upload_id,
)
from tusd_py.core.events import EventKind
from tusd_py.core.metadata import Metadata
from tusd_py.core.upload import Kind, Status
from tusd_py.state.base import Due, Filter, LeaseBusy, Purpose, Seen
from tusd_py.state.sqlite import SqliteSettings, SqliteState
from tusd_py.state.sqlite_schema import APPLICATION_ID, MIGRATIONS

RELEASED: Final = (
    "2aae495c226bbbac8788ba1cba977b75b6c26c0722ac2c547f268b3ff60ade4a",
    "04b0ceabd016cec1cfca0e0bd6bee7e4bbf9c812106a5519692905168ae32d5f",
)
"""SHA-256 of the statements of each version that was released."""
GENERATION: Final = "00112233aabbccdd"
DEAD_PROCESS: Final = "0123456789abcdef"
NOW: Final = 5000.0

_ROW: Final[dict[str, Any]] = {
    "video_id": OWNER.video_id,
    "client_id": OWNER.client_id,
    "created_at": 1000.0,
    "creator_host": BOOT.host,
    "creator_boot": BOOT.boot_id,
    "length": 100,
    "writer_host": BOOT.host,
    "writer_boot": BOOT.boot_id,
    "master": GENERATION,
    "kind": "single",
    "status": "receiving",
    "is_open": 1,
    "offset": 40,
    "synced_offset": 0,
    "suspect_length": 0,
    "metadata": b"filename Y2F0Lm1wNA==",
    "overrides": '{"filename": "dog.mp4"}',
    "protocol": "tus1",
    "changed_at": NOW,
    "interruptions": 0,
    "is_interrupted": 0,
    "digests": '[["sha256", "eA=="]]',
    "lease_number": 3,
}
_HELD: Final = {
    "lease_holder": "0" * 32,
    "lease_process": DEAD_PROCESS,
    "lease_boot": BOOT.boot_id,
    "lease_deadline": 1000.0 + LEASE_SECONDS,
    "is_clean": 0,
}
_DONE: Final = {"is_open": 0, "offset": 100, "finished_at": 1.0}
RECEIVING, HELD, RECEIVED, EXPIRED, COMPLETE, PART, REJECTED = range(1, 8)
ROWS: Final[dict[int, dict[str, Any]]] = {
    RECEIVING: {},
    HELD: _HELD,
    RECEIVED: {"status": "received", "offset": 100},
    EXPIRED: {"expires_at": 1.0},
    COMPLETE: {"status": "complete", "place": "a/b.mp4", **_DONE},
    PART: {"status": "complete", "kind": "partial", "expires_at": 1.0, **_DONE},
    REJECTED: {"status": "rejected", "is_open": 0, "refusal": "No cats.", "changed_at": 1.0},
}
EXPECTED: Final = an_upload(
    RECEIVING,
    offset=40,
    metadata=Metadata("filename Y2F0Lm1wNA=="),
    overrides={"filename": "dog.mp4"},
    digests=(("sha256", "eA=="),),
    changed_at=NOW,
    master=GENERATION,
)


def insert(db: sqlite3.Connection, table: str, **values: Any) -> None:
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    db.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(values.values()))


def make_version_1(path: Path) -> None:
    """What the first released program left: its statements, and rows as it wrote them."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        for statement in MIGRATIONS[0]:
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("PRAGMA user_version = 1")
        stat = path.stat()
        for key, value in {
            "identity": f"{stat.st_dev}:{stat.st_ino}",
            "generation": GENERATION,
            "began_at": 0.0,
            "began_boot": BOOT.boot_id,
        }.items():
            insert(db, "meta", key=key, value=value)
        insert(db, "boot", host=BOOT.host, boot_id=BOOT.boot_id)
        for number, changes in ROWS.items():
            insert(db, "upload", id=upload_id(number), **(_ROW | changes))
        insert(db, "once", key="key", upload_id=upload_id(RECEIVING))
        insert(db, "hook", name="hook", is_registered=1)
        fields: dict[str, Any] = {"hook": "hook", "upload_id": upload_id(COMPLETE)}
        for seq, kind in enumerate((EventKind.CREATED, EventKind.COMPLETED), 1):
            event = an_event(an_upload(COMPLETE), kind)
            insert(
                db,
                "event",
                **{"seq": seq, "id": event.id, "upload_id": event.upload_id},
                **{"kind": kind.value, "occurred_at": 1000.0, "data": "{}"},
            )
        insert(db, "delivery", **fields, seq=1, due_at=1.0, is_head=0, is_dead=1, buried_at=2.0)
        insert(db, "delivery", **fields, seq=2, due_at=1.0, is_head=1, attempts=4)


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[SqliteState]:
    """Opened by the present program."""
    path = tmp_path / "state.db"
    make_version_1(path)
    opened = SqliteState(
        SqliteSettings(path=path), boot=BOOT, lease_seconds=LEASE_SECONDS, clock=FakeClock()
    )
    await opened.open()
    yield opened
    await opened.close()


def test_a_version_that_was_released_is_never_edited() -> None:
    """Whoever needs another schema adds a version: files of this one are out there."""
    digests = [hashlib.sha256("\0".join(one).encode()).hexdigest() for one in MIGRATIONS]
    assert digests[: len(RELEASED)] == list(RELEASED)


async def test_the_records_of_the_first_version_are_all_there(state: SqliteState) -> None:
    page = await state.page(Filter(), after=None, limit=100)
    assert [number_of(upload.id) for upload in page] == list(ROWS)
    assert page[0] == EXPECTED
    assert (page[0].concat, page[0].promised_digests) == (None, ())
    assert (page[0].is_strict, page[0].bytes_per_second) == (False, 0.0)
    by_number = dict(zip(ROWS, page, strict=True))
    assert by_number[COMPLETE].place == "a/b.mp4"
    assert by_number[PART].kind is Kind.PARTIAL
    assert by_number[REJECTED].refusal == "No cats."


async def test_records_that_were_let_go_are_believed_as_before(state: SqliteState) -> None:
    """A new program is no new generation of the state."""
    got = await state.take(a_visit(EXPECTED, Purpose.READ))
    assert got == Seen(EXPECTED)
    taken = await take(state, EXPECTED)
    assert taken.is_settled and taken.lease.number == 4


async def test_a_lease_of_the_first_version_ends_with_its_holder(state: SqliteState) -> None:
    assert list(await state.list_due(Due.ABANDONED, now=NOW)) == [upload_id(HELD)]
    taken = await take(state, an_upload(HELD))
    assert not taken.is_settled and taken.lease.number == 4
    with pytest.raises(LeaseBusy):
        await state.take(a_visit(an_upload(HELD)))


@pytest.mark.parametrize(
    ("due", "numbers"),
    [
        (Due.UNDECIDED, [RECEIVED]),
        (Due.UNJOINED, []),
        (Due.EXPIRED, [EXPIRED, PART]),
        (Due.RETIRED, [COMPLETE]),
        (Due.REFUSED, [REJECTED]),
        (Due.SILENT, []),
        (Due.UNSETTLED, []),
    ],
)
async def test_records_of_the_first_version_are_due_by_the_present_rules(
    state: SqliteState, due: Due, numbers: list[int]
) -> None:
    found = await state.list_due(due, now=NOW, age_seconds=100)
    assert sorted(number_of(each) for each in found) == numbers


async def test_a_migrated_record_takes_what_is_new(state: SqliteState) -> None:
    taken = await take(state, EXPECTED)
    changed = replace(taken.upload, offset=50, is_strict=True, bytes_per_second=2.5)
    await state.commit(taken.lease, changed, [an_event(changed)], release=True)
    assert await state.find(EXPECTED.id) == changed
    final = an_upload(
        99, kind=Kind.FINAL, status=Status.JOINING, parts=(upload_id(PART),), concat="final;/a"
    )
    await state.create(final, [], with_lease=False)
    assert list(await state.list_due(Due.UNJOINED, now=NOW)) == [upload_id(99)]
    assert list(await state.list_due(Due.UNDECIDED, now=NOW)) == [upload_id(RECEIVED)]


async def test_the_outbox_of_the_first_version_is_delivered(state: SqliteState) -> None:
    await state.register(["hook"])
    (delivery,) = await state.claim("hook", now=NOW, claim_seconds=10, limit=10)
    assert (delivery.event.kind, delivery.attempts) == (EventKind.COMPLETED, 4)
    await state.settle([delivery])
    (dead,) = await state.dead_letters(hook=None, limit=10)
    assert dead.delivery.event.kind is EventKind.CREATED
    assert await state.replay(hook="hook", event_id=None, now=NOW) == 1


async def test_a_key_of_the_first_version_still_finds_its_upload(state: SqliteState) -> None:
    created = await state.create(an_upload(99), [], with_lease=False, once="key")
    assert not created.is_new and created.upload == EXPECTED
