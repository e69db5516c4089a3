"""The record, its questions, and the table of statuses."""

import dataclasses

import pytest

from tests.unit.core.builders import an_upload
from tusd_py.core.upload import GONE, NEXT, UNFINISHED, Kind, Status


def test_every_status_has_its_row() -> None:
    assert set(NEXT) == set(Status)


def test_every_status_is_unfinished_complete_or_gone_and_only_one_of_them() -> None:
    groups = [UNFINISHED, {Status.COMPLETE}, GONE]
    assert sum(map(len, groups)) == len(Status)
    assert frozenset().union(*groups) == set(Status)


def test_an_upload_can_be_terminated_from_every_status_but_that_of_terminating() -> None:
    assert {s for s in Status if Status.TERMINATING in NEXT[s]} == set(Status) - {
        Status.TERMINATING
    }
    assert NEXT[Status.TERMINATING] == frozenset()


def test_what_is_decided_is_never_undecided_again() -> None:
    for status in set(Status) - UNFINISHED:
        assert not NEXT[status] & UNFINISHED
        assert Status.COMPLETE not in NEXT[status]


def test_only_what_has_all_its_bytes_can_be_refused_by_the_gate() -> None:
    assert {s for s in Status if Status.REJECTED in NEXT[s]} == {Status.RECEIVED}


@pytest.mark.parametrize("status", Status)
def test_completion_is_a_state_and_not_an_arithmetic_fact(status: Status) -> None:
    upload = an_upload(status=status, offset=10)
    assert upload.is_full
    assert upload.is_complete is (status is Status.COMPLETE)
    assert upload.is_unfinished is (status in UNFINISHED)


@pytest.mark.parametrize(
    ("length", "offset", "is_full"),
    [
        pytest.param(10, 9, False, id="a byte is missing"),
        pytest.param(10, 10, True, id="all are there"),
        pytest.param(0, 0, True, id="an empty upload"),
        pytest.param(None, 10, False, id="its length is not known"),
    ],
)
def test_whether_all_bytes_are_there(length: int | None, offset: int, is_full: bool) -> None:
    assert an_upload(length=length, offset=offset).is_full is is_full


@pytest.mark.parametrize(("protocol", "completes"), [("tus1", True), ("rufh", False)])
def test_whether_having_all_bytes_is_enough(protocol: str, completes: bool) -> None:
    """In the one protocol the length says it, in the other the client."""
    for offset in (5, 10):
        assert an_upload(protocol=protocol, offset=offset).completes_at_length is completes


@pytest.mark.parametrize(
    ("kind", "expiring"),
    [
        (Kind.SINGLE, {Status.RECEIVING, Status.JOINING}),
        (Kind.FINAL, {Status.RECEIVING, Status.JOINING}),
        (Kind.PARTIAL, {Status.RECEIVING, Status.COMPLETE}),
    ],
)
def test_what_has_all_its_bytes_does_not_expire_unless_it_is_a_part(
    kind: Kind, expiring: set[Status]
) -> None:
    assert {s for s in Status if an_upload(kind=kind, status=s).can_expire} == expiring


def test_a_record_does_not_change_under_its_readers() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        an_upload().offset = 6  # type: ignore[misc]
