"""What is told of an upload, under ids that stay the same however often it is told."""

import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.builders import AN_ID, an_upload
from tusd_py.core.commands import CreateUpload
from tusd_py.core.events import (
    EventKind,
    build_event_id,
    describe,
    event_of,
    events_of,
    iso_time,
)
from tusd_py.core.ids import UploadId
from tusd_py.core.metadata import Metadata, build_pairs
from tusd_py.core.rules import Limits, plan_create
from tusd_py.core.upload import Kind, Status


@pytest.mark.parametrize(
    ("kind", "sequence", "event_id"),
    [
        (EventKind.COMPLETED, 0, "be30cd13d727edaabd9590b9acd1abbd"),
        (EventKind.INTERRUPTED, 2, "f35270040fe8478fbad78548c7e94398"),
    ],
)
def test_an_events_id_never_changes(kind: EventKind, sequence: int, event_id: str) -> None:
    """Receivers remember ids: another derivation would have every event told twice."""
    assert build_event_id(AN_ID, kind, sequence) == event_id


def test_the_kinds_keep_the_names_that_receivers_know() -> None:
    assert {kind.value for kind in EventKind} == {
        "upload.created",
        "upload.completed",
        "upload.rejected",
        "upload.terminated",
        "upload.expired",
        "upload.interrupted",
    }


triples = st.tuples(
    st.text(string.hexdigits, min_size=1, max_size=4).map(UploadId),
    st.sampled_from(EventKind),
    st.integers(0, 1_000),
)


@given(triples, triples)
def test_events_of_another_upload_kind_or_sequence_have_another_id(
    one: tuple[UploadId, EventKind, int], other: tuple[UploadId, EventKind, int]
) -> None:
    assert (build_event_id(*one) == build_event_id(*other)) is (one == other)


@pytest.mark.parametrize("kind", EventKind)
def test_nothing_is_told_of_a_piece_of_a_file(kind: EventKind) -> None:
    """Of the whole everything is, once."""
    for whole in (an_upload(), an_upload(kind=Kind.FINAL)):
        assert events_of(whole, kind, occurred_at=1.0, sequence=2) == (
            event_of(whole, kind, occurred_at=1.0, sequence=2),
        )
    assert events_of(an_upload(kind=Kind.PARTIAL), kind, occurred_at=1.0) == ()


def test_the_same_event_told_again_later_has_the_same_id() -> None:
    """After a failover the record may be told again by another process, at another time."""
    first = event_of(an_upload(), EventKind.COMPLETED, occurred_at=1.0)
    again = event_of(an_upload(interruptions=3), EventKind.COMPLETED, occurred_at=2.0)
    assert first.id == again.id
    assert event_of(an_upload(), EventKind.COMPLETED, occurred_at=1.0, sequence=1).id != first.id


def test_an_event_tells_of_its_upload_as_it_is() -> None:
    upload = an_upload()
    event = event_of(upload, EventKind.INTERRUPTED, occurred_at=7.0, sequence=1)
    assert (event.kind, event.upload_id, event.occurred_at) == (EventKind.INTERRUPTED, AN_ID, 7.0)
    assert event.data == describe(upload)


def test_the_description_of_an_upload() -> None:
    upload = an_upload(
        status=Status.COMPLETE,
        offset=10,
        expires_at=1_600.5,
        finished_at=2_000.0,
        place="4/17/cat.mp4",
        digests=(("sha256", "AAAA"),),
    )
    assert describe(upload) == {
        "upload_id": AN_ID,
        "video_id": "17",
        "client_id": "4",
        "kind": "single",
        "status": "complete",
        "length": 10,
        "offset": 10,
        "metadata": {"filename": "cat.mp4"},
        "metadata_base64": {},
        "created_at": "1970-01-01T00:16:40.000Z",
        "expires_at": "1970-01-01T00:26:40.500Z",
        "finished_at": "1970-01-01T00:33:20.000Z",
        "place": "4/17/cat.mp4",
        "refusal": None,
        "protocol": "tus1",
        "digests": {"sha256": "AAAA"},
    }


def test_values_that_are_not_utf_8_stand_in_base64_apart() -> None:
    metadata = build_pairs({"name": "Köln".encode(), "raw": b"\xff\x00", "empty": b""})
    described = describe(an_upload(metadata=metadata))
    assert described["metadata"] == {"name": "Köln", "empty": ""}
    assert described["metadata_base64"] == {"raw": "/wA="}


@pytest.mark.parametrize(
    ("overrides", "text", "encoded"),
    [
        pytest.param({}, {"name": "cat"}, {"raw": "/w=="}, id="none"),
        pytest.param({"name": "dog"}, {"name": "dog"}, {"raw": "/w=="}, id="over a text"),
        pytest.param({"raw": "dog"}, {"name": "cat", "raw": "dog"}, {}, id="over other bytes"),
        pytest.param(
            {"new": "dog"}, {"name": "cat", "new": "dog"}, {"raw": "/w=="}, id="beside them"
        ),
    ],
)
def test_what_the_token_says_wins(
    overrides: dict[str, str], text: dict[str, str], encoded: dict[str, str]
) -> None:
    metadata = build_pairs({"name": b"cat", "raw": b"\xff"})
    described = describe(an_upload(metadata=metadata, overrides=overrides))
    assert (described["metadata"], described["metadata_base64"]) == (text, encoded)


@given(
    st.dictionaries(st.text(string.ascii_letters, min_size=1), st.binary(max_size=12), max_size=6),
    st.dictionaries(st.text(string.ascii_letters, min_size=1), st.text(max_size=6), max_size=3),
    st.sampled_from(Status),
)
def test_a_description_survives_json(
    values: dict[str, bytes], overrides: dict[str, str], status: Status
) -> None:
    """A sink that stores it and reads it back has the very same."""
    described: dict[str, Any] = describe(
        an_upload(metadata=build_pairs(values), overrides=overrides, status=status)
    )
    assert json.loads(json.dumps(described)) == described
    told = described["metadata"].keys() | described["metadata_base64"].keys()
    assert told == values.keys() | overrides.keys()
    assert not described["metadata"].keys() & described["metadata_base64"].keys()


def test_no_token_is_told_of_an_upload_that_was_created_with_one() -> None:
    upload = plan_create(
        CreateUpload(length=10, metadata=Metadata("token c2VjcmV0,filename Y2F0")),
        None,
        Limits(),
        upload_id=AN_ID,
        boot=an_upload().creator,
        now=1_000.0,
    )
    told = json.dumps(describe(upload))
    assert "token" not in told and "secret" not in told and "c2VjcmV0" not in told


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, None),
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000.25, "2023-11-14T22:13:20.250Z"),
    ],
)
def test_times_are_told_in_utc_with_milliseconds(seconds: float | None, text: str | None) -> None:
    assert iso_time(seconds) == text
