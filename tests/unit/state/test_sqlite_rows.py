"""Rows of the state file."""

import dataclasses
import sqlite3
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tusd_py.core.events import Event, EventKind
from tusd_py.core.facts import Facts
from tusd_py.core.identity import Owner
from tusd_py.core.ids import ClientId, EventId, UploadId, VideoId
from tusd_py.core.metadata import Metadata
from tusd_py.core.upload import Boot, Kind, Status, Upload
from tusd_py.state.sqlite_leases import SELECT_UPLOAD, insert_values
from tusd_py.state.sqlite_rows import (
    CHANGING_COLUMNS,
    COLUMNS,
    changing_values,
    event_from,
    event_values,
    upload_from,
)
from tusd_py.state.sqlite_schema import migrate

TEXT = st.text(st.characters() | st.sampled_from("\0\ud800\udcff\udfff"), max_size=20)
"""Any text, lone surrogates and NUL included: headers and claims can carry both."""
TIMES = st.floats(allow_nan=False, allow_infinity=False)
SIZES = st.integers(0, (1 << 63) - 1)
IDS = st.binary(min_size=16, max_size=16).map(lambda value: UploadId(value.hex()))
BOOTS = st.builds(Boot, TEXT, TEXT)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
UPLOADS = st.builds(
    Upload,
    id=IDS,
    owner=st.builds(Owner, TEXT.map(VideoId), TEXT.map(ClientId)),
    length=st.none() | SIZES,
    created_at=TIMES,
    creator=BOOTS,
    writer=BOOTS,
    master=st.text("0123456789abcdef", max_size=16),
    kind=st.sampled_from(Kind),
    parts=st.lists(IDS, max_size=3).map(tuple),
    status=st.sampled_from(Status),
    offset=SIZES,
    synced_offset=SIZES,
    suspect_length=SIZES,
    metadata=st.builds(Metadata, TEXT),
    overrides=st.dictionaries(TEXT, TEXT, max_size=3),
    max_bytes=st.none() | SIZES,
    protocol=TEXT,
    changed_at=TIMES,
    expires_at=st.none() | TIMES,
    finished_at=st.none() | TIMES,
    interruptions=SIZES,
    is_interrupted=st.booleans(),
    digests=st.lists(st.tuples(TEXT, TEXT), max_size=2).map(tuple),
    place=st.none() | TEXT,
    refusal=st.none() | TEXT,
    concat=st.none() | TEXT,
    promised_digests=st.lists(st.tuples(TEXT, TEXT), max_size=2).map(tuple),
    is_strict=st.booleans(),
    bytes_per_second=TIMES,
)
PLAIN = (
    *("id", "kind", "status", "master", "length", "offset", "synced_offset", "suspect_length"),
    *("max_bytes", "created_at", "changed_at", "expires_at", "finished_at", "interruptions"),
    *("is_interrupted", "is_strict", "bytes_per_second"),
)
"""Columns that hold the field of their name as it is."""


def memory() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:", isolation_level=None)
    migrate(db)
    return db


def test_every_field_of_a_record_is_drawn() -> None:
    """A field that is added and forgotten in this file shows here."""
    drawn: dict[str, set[str]] = {field.name: set() for field in dataclasses.fields(Upload)}

    @settings(max_examples=100, database=None, derandomize=True)
    @given(UPLOADS)
    def draw(upload: Upload) -> None:
        for name, values in drawn.items():
            values.add(repr(getattr(upload, name)))

    draw()
    assert [name for name, values in drawn.items() if len(values) < 2] == []


@given(UPLOADS)
def test_every_field_of_a_record_comes_back_from_the_file(upload: Upload) -> None:
    db = memory()
    marks = ", ".join("?" * len(COLUMNS))
    db.execute(
        f"INSERT INTO upload ({', '.join(COLUMNS)}) VALUES ({marks})",
        insert_values(upload, upload.master),
    )
    row = db.execute(SELECT_UPLOAD).fetchone()
    by_name = dict(zip(COLUMNS, row, strict=False))
    db.close()
    assert upload_from(row) == upload
    # What is indexed, compared and counted has to lie where its name says, too.
    for name in PLAIN:
        assert by_name[name] == getattr(upload, name), name


@given(UPLOADS, UPLOADS)
def test_a_commit_writes_all_but_what_never_changes(before: Upload, after: Upload) -> None:
    """The facts that stay are not written again, and whatever is no such fact is."""
    db = memory()
    marks = ", ".join("?" * len(COLUMNS))
    db.execute(
        f"INSERT INTO upload ({', '.join(COLUMNS)}) VALUES ({marks})",
        insert_values(before, before.master),
    )
    names = ", ".join(f"{column} = ?" for column in CHANGING_COLUMNS)
    db.execute(f"UPDATE upload SET {names}", changing_values(after, after.master))
    row = db.execute(SELECT_UPLOAD).fetchone()
    db.close()
    facts = {field.name for field in dataclasses.fields(Facts)} - {"length", "expires_at"}
    assert upload_from(row) == replace(after, **{name: getattr(before, name) for name in facts})


@given(st.dictionaries(TEXT, JSON, max_size=4), st.sampled_from(EventKind), TIMES)
def test_every_field_of_an_event_comes_back_from_the_file(
    data: dict[str, Any], kind: EventKind, occurred_at: float
) -> None:
    event = Event(
        id=EventId("e"), kind=kind, upload_id=UploadId("u"), occurred_at=occurred_at, data=data
    )
    db = memory()
    db.execute(
        "INSERT INTO event (id, upload_id, kind, occurred_at, data) VALUES (?, ?, ?, ?, ?)",
        event_values(event),
    )
    row = db.execute("SELECT id, upload_id, kind, occurred_at, data FROM event").fetchone()
    db.close()
    assert event_from(row) == event
