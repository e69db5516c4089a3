"""When an upload is complete, and what a file is joined of: tables of situations and outcomes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.builders import AN_OWNER, an_upload
from tusd_py.core.commands import Completion
from tusd_py.core.errors import LengthConflict, PartUnusable, UploadError, UploadTooLarge
from tusd_py.core.identity import Owner
from tusd_py.core.ids import ClientId, VideoId
from tusd_py.core.rules import MAX_LENGTH, check_completion, plan_join
from tusd_py.core.upload import GONE, Kind, Status, Upload

AT_LENGTH, NOW, LATER = Completion
STRANGER = Owner(VideoId("17"), ClientId("5"))

# ------------------------------------------------------------------ complete by this request


@pytest.mark.parametrize(
    ("length", "offset", "completion", "outcome"),
    [
        pytest.param(10, 10, AT_LENGTH, True, id="it has its length"),
        pytest.param(10, 9, AT_LENGTH, False, id="a byte is missing"),
        pytest.param(None, 9, AT_LENGTH, False, id="its length is not known"),
        pytest.param(0, 0, AT_LENGTH, True, id="an empty upload"),
        pytest.param(10, 10, LATER, False, id="all bytes, and more requests follow"),
        pytest.param(10, 9, LATER, False, id="more bytes follow"),
        pytest.param(None, 9, LATER, False, id="who knows how many follow"),
        pytest.param(10, 10, NOW, True, id="the end, and it has its length"),
        pytest.param(10, 9, NOW, LengthConflict, id="the end, and a byte is missing"),
        pytest.param(None, 9, NOW, True, id="the end, which says how long it is"),
        pytest.param(None, 0, NOW, True, id="the end of nothing"),
    ],
)
def test_whether_a_request_completes_an_upload(
    length: int | None, offset: int, completion: Completion, outcome: bool | type[UploadError]
) -> None:
    upload = an_upload(length=length, offset=offset)
    if isinstance(outcome, type):
        with pytest.raises(outcome):
            check_completion(upload, completion)
    else:
        assert check_completion(upload, completion) is outcome


def test_an_end_that_comes_too_early_is_told_with_both_numbers() -> None:
    with pytest.raises(LengthConflict) as refusal:
        check_completion(an_upload(length=10, offset=9), NOW)
    assert (refusal.value.stored, refusal.value.requested) == (10, 9)


# ------------------------------------------------------------------ joined of parts


def a_part(length: int | None = 10, **changes: Any) -> Upload:
    """A complete one."""
    fields = {"kind": Kind.PARTIAL, "status": Status.COMPLETE, "offset": length or 0}
    return an_upload(length=length, **(fields | changes))


def a_final(**changes: Any) -> Upload:
    return an_upload(**({"kind": Kind.FINAL, "status": Status.JOINING, "length": None} | changes))


@pytest.mark.parametrize(
    ("parts", "length"),
    [
        pytest.param([a_part(10), a_part(5)], 15, id="the sum"),
        pytest.param([a_part(10), a_part(10)], 20, id="the same one twice"),
        pytest.param([a_part(0)], 0, id="an empty one"),
        pytest.param([a_part(60), a_part(40)], 100, id="as much as is allowed"),
        pytest.param(
            [a_part(10), a_part(5, status=Status.RECEIVING, offset=1)], 15, id="one is on its way"
        ),
        pytest.param(
            [a_part(10), a_part(5, status=Status.RECEIVED)], 15, id="one is not decided yet"
        ),
        pytest.param(
            [a_part(None, status=Status.RECEIVING), a_part(5)], None, id="one's length is not known"
        ),
        pytest.param(
            [a_part(5), a_part(None, status=Status.RECEIVING), a_part(5)],
            None,
            id="nor is the sum, whatever follows",
        ),
    ],
)
def test_a_final_upload_is_as_long_as_its_parts(parts: list[Upload], length: int | None) -> None:
    assert plan_join(a_final(), parts, AN_OWNER) == length


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(None, id="there is none"),
        pytest.param(a_part(kind=Kind.SINGLE), id="a file of its own"),
        pytest.param(a_part(kind=Kind.FINAL), id="joined itself"),
        pytest.param(a_part(owner=STRANGER), id="somebody else's"),
        *(pytest.param(a_part(status=status), id=f"it is {status}") for status in sorted(GONE)),
    ],
)
@pytest.mark.parametrize("owner", [AN_OWNER, None], ids=["owner known", "owner of the parts"])
def test_a_part_that_cannot_be_used_is_refused_without_saying_why(
    part: Upload | None, owner: Owner | None
) -> None:
    texts = set()
    for parts in ([a_part(), part], [a_part(), part, a_part()]):
        with pytest.raises(PartUnusable) as refusal:
            plan_join(a_final(), parts, owner)
        texts.add(str(refusal.value))
    assert len(texts) == 1


def test_the_parts_of_a_stranger_are_refused_where_the_client_is_known() -> None:
    """Also where all of them are of one owner."""
    theirs = [a_part(owner=STRANGER), a_part(owner=STRANGER)]
    with pytest.raises(PartUnusable):
        plan_join(a_final(), theirs, AN_OWNER)
    assert plan_join(a_final(), theirs, None) == 20


@pytest.mark.parametrize(
    ("parts", "max_bytes", "bound"),
    [
        pytest.param([a_part(60), a_part(41)], 100, 100, id="by one byte"),
        pytest.param(
            [a_part(60), a_part(None, status=Status.RECEIVING, offset=41)],
            100,
            100,
            id="by what is there of one without a length",
        ),
        pytest.param([a_part(MAX_LENGTH), a_part(1)], None, MAX_LENGTH, id="past a file's maximum"),
    ],
)
def test_parts_that_are_too_much_together_are_refused(
    parts: list[Upload], max_bytes: int | None, bound: int
) -> None:
    with pytest.raises(UploadTooLarge) as refusal:
        plan_join(a_final(max_bytes=max_bytes), parts, AN_OWNER)
    assert refusal.value.max_bytes == bound


@given(st.lists(st.integers(0, 60), min_size=1, max_size=5), st.integers(0, 120))
def test_a_join_has_the_sum_of_its_parts_or_is_too_large(lengths: list[int], bound: int) -> None:
    parts = [a_part(length) for length in lengths]
    try:
        assert plan_join(a_final(max_bytes=bound), parts, None) == sum(lengths) <= bound
    except UploadTooLarge:
        assert sum(lengths) > bound
