"""What may happen to an upload: each rule as a table of situations and outcomes."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.builders import AN_ID, an_upload
from tusd_py.core.commands import AppendBytes
from tusd_py.core.digests import Algorithm, Digest, Promise
from tusd_py.core.errors import (
    BodyTooLong,
    LengthConflict,
    OffsetMismatch,
    UploadError,
    UploadFinished,
    UploadIsFinal,
    UploadTooLarge,
    UploadUnknown,
)
from tusd_py.core.rules import (
    MAX_LENGTH,
    AppendPlan,
    check_append_to_finished,
    move,
    overflow_error,
    plan_append,
    plan_length,
    room_of,
)
from tusd_py.core.upload import GONE, NEXT, Kind, Status, Upload

ErrorType = type[UploadError]


def an_append(offset: int, announced: int | None, length: int | None = None) -> AppendBytes:
    """A body of ``announced`` bytes at ``offset``."""
    return AppendBytes(
        upload_id=AN_ID, offset=offset, announced_bytes=announced, declared_length=length
    )


# ------------------------------------------------------------------ append


@pytest.mark.parametrize(
    ("upload", "command", "outcome"),
    [
        pytest.param(an_upload(), an_append(5, 5), AppendPlan(5, 5, 10), id="fills the upload"),
        pytest.param(an_upload(), an_append(5, 3), AppendPlan(5, 5, 10), id="a part of it"),
        pytest.param(an_upload(), an_append(5, 0), AppendPlan(5, 5, 10), id="an empty body"),
        pytest.param(an_upload(), an_append(5, None), AppendPlan(5, 5, 10), id="a chunked body"),
        pytest.param(an_upload(), an_append(5, 6), BodyTooLong, id="one byte too many"),
        pytest.param(an_upload(), an_append(7, 3), OffsetMismatch, id="a gap"),
        pytest.param(an_upload(), an_append(4, 6), OffsetMismatch, id="an overlap"),
        pytest.param(an_upload(), an_append(7, 99), OffsetMismatch, id="a gap, and too long"),
        pytest.param(
            an_upload(length=None),
            an_append(5, None),
            AppendPlan(5, 95, None),
            id="length deferred",
        ),
        pytest.param(
            an_upload(length=None), an_append(5, 95), AppendPlan(5, 95, None), id="up to the bound"
        ),
        pytest.param(an_upload(length=None), an_append(5, 96), UploadTooLarge, id="past the bound"),
        pytest.param(
            an_upload(length=None, max_bytes=None),
            an_append(5, None),
            AppendPlan(5, MAX_LENGTH - 5, None),
            id="no length and no bound: as much as a file can have",
        ),
        pytest.param(
            an_upload(length=None), an_append(5, 3, 8), AppendPlan(5, 3, 8), id="declares and fills"
        ),
        pytest.param(
            an_upload(length=None), an_append(5, 0, 5), AppendPlan(5, 0, 5), id="declares its end"
        ),
        pytest.param(
            an_upload(length=None), an_append(5, 4, 8), BodyTooLong, id="longer than it declares"
        ),
        pytest.param(
            an_upload(length=None), an_append(5, 0, 4), LengthConflict, id="declares too little"
        ),
        pytest.param(
            an_upload(length=None), an_append(5, 0, 101), UploadTooLarge, id="declares too much"
        ),
        pytest.param(an_upload(), an_append(5, 5, 10), AppendPlan(5, 5, 10), id="says it again"),
        pytest.param(an_upload(), an_append(5, 5, 11), LengthConflict, id="says another length"),
        pytest.param(
            an_upload(kind=Kind.PARTIAL), an_append(5, 5), AppendPlan(5, 5, 10), id="a part"
        ),
        pytest.param(an_upload(kind=Kind.FINAL), an_append(5, 5), UploadIsFinal, id="a final"),
        pytest.param(
            an_upload(kind=Kind.FINAL), an_append(0, 5), UploadIsFinal, id="a final, wrong offset"
        ),
        *(
            pytest.param(an_upload(status=s), an_append(5, 5), UploadUnknown, id=f"it is {s}")
            for s in sorted(GONE)
        ),
    ],
)
def test_where_the_bytes_of_an_append_go(
    upload: Upload, command: AppendBytes, outcome: AppendPlan | ErrorType
) -> None:
    if isinstance(outcome, AppendPlan):
        assert plan_append(upload, command) == outcome
    else:
        with pytest.raises(outcome):
            plan_append(upload, command)


def test_a_wrong_offset_is_told_with_both_numbers() -> None:
    with pytest.raises(OffsetMismatch) as refusal:
        plan_append(an_upload(), an_append(7, 3))
    assert (refusal.value.stored, refusal.value.requested) == (5, 7)


def test_a_body_that_is_too_long_is_told_the_room_and_the_offset() -> None:
    with pytest.raises(BodyTooLong) as refusal:
        plan_append(an_upload(), an_append(5, 6))
    assert (refusal.value.room, refusal.value.offset) == (5, 5)


def test_a_plan_says_what_the_body_hashes_to() -> None:
    promise = Promise(digests=(Digest(Algorithm.MD5, bytes(16)),))
    assert plan_append(an_upload(), replace(an_append(5, 5), promise=promise)) == AppendPlan(
        5, 5, 10, promise
    )


@given(
    length=st.one_of(st.none(), st.integers(0, 50)),
    offset=st.integers(0, 50),
    max_bytes=st.one_of(st.none(), st.integers(0, 60)),
    declared=st.one_of(st.none(), st.integers(0, 70)),
    announced=st.one_of(st.none(), st.integers(0, 70)),
)
def test_a_plan_never_leads_past_length_or_bound(
    length: int | None,
    offset: int,
    max_bytes: int | None,
    declared: int | None,
    announced: int | None,
) -> None:
    bounds = [b for b in (length, max_bytes) if b is not None]
    upload = an_upload(length=length, offset=min(offset, *bounds, 50), max_bytes=max_bytes)
    try:
        plan = plan_append(upload, an_append(upload.offset, announced, declared))
    except (BodyTooLong, LengthConflict, UploadTooLarge):
        return
    assert plan.room >= (announced or 0)
    assert plan.length == (length if length is not None else declared)
    if plan.length is not None:
        assert plan.offset + plan.room == plan.length
    elif max_bytes is not None:
        assert plan.offset + plan.room == max_bytes


# ------------------------------------------------------------------ append to what takes no bytes


@pytest.mark.parametrize(
    ("changes", "command", "refusal"),
    [
        pytest.param({}, an_append(10, 0), None, id="empty, at the end"),
        pytest.param({}, an_append(10, None), None, id="chunked, at the end"),
        pytest.param({}, an_append(10, 0, 10), None, id="says the length again"),
        pytest.param({}, an_append(10, 0, 11), LengthConflict, id="says another length"),
        pytest.param({}, an_append(10, 1), BodyTooLong, id="one more byte"),
        pytest.param({}, an_append(5, 5), OffsetMismatch, id="an abandoned request was faster"),
        pytest.param({}, an_append(0, 0), OffsetMismatch, id="from the beginning"),
        pytest.param({"kind": Kind.FINAL}, an_append(10, 0), UploadIsFinal, id="a final"),
        pytest.param({"kind": Kind.PARTIAL}, an_append(10, 0), None, id="a part"),
        *(
            pytest.param({"status": s}, an_append(10, 0), UploadUnknown, id=f"it is {s}")
            for s in sorted(GONE)
        ),
    ],
)
def test_finished_409_an_append_to_a_finished_upload(
    changes: dict[str, Any], command: AppendBytes, refusal: ErrorType | None
) -> None:
    """A client whose abandoned request finished the upload has to be able to go on."""
    for status in (Status.COMPLETE, Status.RECEIVED):
        upload = an_upload(**{"offset": 10, "status": status, **changes})
        if refusal is None:
            check_append_to_finished(upload, command)
        else:
            with pytest.raises(refusal):
                check_append_to_finished(upload, command)


@pytest.mark.parametrize("command", [an_append(10, 0), an_append(10, 1), an_append(5, 5)])
def test_a_protocol_may_have_any_append_to_a_complete_upload_refused(command: AppendBytes) -> None:
    command = replace(command, refuses_finished=True)
    with pytest.raises(UploadFinished) as refusal:
        check_append_to_finished(an_upload(offset=10, status=Status.COMPLETE), command)
    assert refusal.value.offset == 10


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        pytest.param({"status": Status.RECEIVED}, None, id="the gate has not decided yet"),
        pytest.param({"status": Status.COMPLETE, "kind": Kind.FINAL}, UploadIsFinal, id="a final"),
        *(pytest.param({"status": s}, UploadUnknown, id=f"it is {s}") for s in sorted(GONE)),
    ],
)
def test_such_a_protocol_hears_the_same_as_others_of_all_else(
    changes: dict[str, Any], refusal: ErrorType | None
) -> None:
    command = replace(an_append(10, 0), refuses_finished=True)
    if refusal is None:
        check_append_to_finished(an_upload(offset=10, **changes), command)
    else:
        with pytest.raises(refusal):
            check_append_to_finished(an_upload(offset=10, **changes), command)


# ------------------------------------------------------------------ length and room


@pytest.mark.parametrize(
    ("upload", "declared", "outcome"),
    [
        pytest.param(an_upload(), None, 10, id="known, not declared"),
        pytest.param(an_upload(), 10, 10, id="known, declared again"),
        pytest.param(an_upload(), 11, LengthConflict, id="known, another"),
        pytest.param(an_upload(length=None), None, None, id="still deferred"),
        pytest.param(an_upload(length=None), 5, 5, id="as much as is there"),
        pytest.param(an_upload(length=None), 4, LengthConflict, id="less than is there"),
        pytest.param(an_upload(length=None), 100, 100, id="as much as is allowed"),
        pytest.param(an_upload(length=None), 101, UploadTooLarge, id="more than is allowed"),
        pytest.param(
            an_upload(length=None, max_bytes=None), MAX_LENGTH, MAX_LENGTH, id="a file's maximum"
        ),
        pytest.param(
            an_upload(length=None, max_bytes=None),
            MAX_LENGTH + 1,
            UploadTooLarge,
            id="more than a file can have",
        ),
        pytest.param(an_upload(length=0, offset=0), 0, 0, id="an empty upload"),
    ],
)
def test_a_length_once_set_does_not_change(
    upload: Upload, declared: int | None, outcome: int | ErrorType | None
) -> None:
    if isinstance(outcome, type):
        with pytest.raises(outcome):
            plan_length(upload, declared)
    else:
        assert plan_length(upload, declared) == outcome


@pytest.mark.parametrize(
    ("upload", "length", "room"),
    [
        pytest.param(an_upload(), 10, 5, id="up to the length"),
        pytest.param(an_upload(length=None), None, 95, id="up to the bound"),
        pytest.param(an_upload(max_bytes=None), None, MAX_LENGTH - 5, id="up to a file's maximum"),
        pytest.param(an_upload(length=0, offset=0), 0, 0, id="an empty upload has none"),
    ],
)
def test_the_room_that_is_left(upload: Upload, length: int | None, room: int) -> None:
    assert room_of(upload, length) == room


@pytest.mark.parametrize(
    ("max_bytes", "length", "error", "number"),
    [
        pytest.param(100, 10, BodyTooLong, 5, id="past the length"),
        pytest.param(100, None, UploadTooLarge, 100, id="past the bound"),
        pytest.param(None, None, UploadTooLarge, MAX_LENGTH, id="past a file's maximum"),
    ],
)
def test_a_body_that_overflows_is_refused_for_what_it_overflowed(
    max_bytes: int | None, length: int | None, error: ErrorType, number: int
) -> None:
    refusal = overflow_error(an_upload(max_bytes=max_bytes), length, 5)
    assert type(refusal) is error
    assert number == (refusal.room if isinstance(refusal, BodyTooLong) else refusal.max_bytes)


# ------------------------------------------------------------------ status


@pytest.mark.parametrize("before", Status)
@pytest.mark.parametrize("after", Status)
def test_a_status_moves_as_the_table_says_and_not_otherwise(before: Status, after: Status) -> None:
    upload = an_upload(status=before)
    if after in NEXT[before]:
        assert move(upload, after) == an_upload(status=after)
    else:
        with pytest.raises(ValueError, match="cannot go from"):
            move(upload, after)
