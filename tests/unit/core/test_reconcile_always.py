"""Properties of reconciling that hold in every situation an honest server can leave behind."""

from dataclasses import dataclass, replace

from hypothesis import event, example, given
from hypothesis import strategies as st

from tests.unit.core.builders import NEXT_BOOT, a_mark, an_upload, remains
from tests.unit.core.test_reconcile import FINISH, POWER, RESTARTED, SAME, UNKNOWN, settle
from tusd_py.core.facts import Remains
from tusd_py.core.reconcile import Durability, Reconciled
from tusd_py.core.upload import NEXT, UNFINISHED, Kind, Status, Upload


@dataclass(frozen=True)
class Situation:
    """A record that an honest server can have written, and what it finds after a crash."""

    row: Upload
    beside: Remains
    boot: str | None
    durability: Durability

    @property
    def is_restarted(self) -> bool:
        return self.boot != SAME

    def settle(self) -> Reconciled:
        return settle(self.row, self.beside, boot=self.boot, durability=self.durability)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    """Records with any offset, note and status; files shorter, longer, past their length."""
    status = draw(st.sampled_from(sorted(UNFINISHED)))
    length = draw(st.integers(0, 40) if status is not Status.RECEIVING else _maybe(40))
    offset = length if status is Status.RECEIVED else draw(st.integers(0, length or 40))
    if length is not None and offset is not None:
        offset = min(offset, length)
    kinds = {Status.RECEIVING: [Kind.SINGLE, Kind.PARTIAL], Status.JOINING: [Kind.FINAL]}
    forgets_length = status is Status.RECEIVING and draw(st.booleans())
    row = an_upload(
        status=status,
        kind=draw(st.sampled_from(kinds.get(status, list(Kind)))),
        is_strict=draw(st.booleans()),
        length=None if forgets_length else length,
        offset=offset,
        synced_offset=draw(st.integers(0, offset or 0)),
        suspect_length=draw(st.one_of(st.just(0), st.integers(0, 60))),
    )
    return Situation(
        row,
        remains(draw(st.integers(0, 60)), length=length),
        draw(st.sampled_from([SAME, RESTARTED, UNKNOWN])),
        draw(st.sampled_from(Durability)),
    )


def _maybe(bound: int) -> st.SearchStrategy[int | None]:
    return st.one_of(st.none(), st.integers(0, bound))


@given(situations())
def test_no_byte_past_the_file_or_the_length_is_ever_believed(found: Situation) -> None:
    after = found.settle().upload
    assert 0 <= after.synced_offset <= after.offset <= found.beside.size
    assert after.length is None or after.offset <= after.length


@given(situations())
def test_a_synced_byte_that_is_in_the_file_is_never_lost(found: Situation) -> None:
    result = found.settle()
    assert result.upload.offset >= min(found.row.synced_offset, found.beside.size)
    if found.beside.size >= found.row.offset:
        assert result.lost_bytes == 0


@given(situations())
def test_an_acknowledged_byte_in_the_file_is_lost_to_nothing_but_a_restart(
    found: Situation,
) -> None:
    """And what the record says was synced, not to that either."""
    if not found.is_restarted or found.row.synced_offset == found.row.offset:
        event("kept")
        assert found.settle().upload.offset >= min(found.row.offset, found.beside.size)


@given(situations())
def test_after_a_restart_nothing_is_believed_that_the_record_does_not_say(
    found: Situation,
) -> None:
    if found.is_restarted:
        assert found.settle().upload.offset <= found.row.synced_offset


@given(situations())
def test_below_a_note_of_disbelief_the_offset_never_grows(found: Situation) -> None:
    if found.row.offset < found.row.suspect_length:
        assert found.settle().upload.offset <= found.row.offset


@given(situations())
def test_bytes_past_the_offset_are_always_under_a_note_of_disbelief(found: Situation) -> None:
    after = found.settle().upload
    if found.beside.size > after.offset:
        assert after.suspect_length >= found.beside.size
    else:
        assert after.suspect_length == 0


@given(situations())
@example(
    Situation(an_upload(offset=6, synced_offset=3), remains(9), boot=RESTARTED, durability=FINISH)
)
def test_reconciling_what_was_reconciled_changes_nothing(found: Situation) -> None:
    """Neither by the same reader, nor by one after the present boot was committed as writer."""
    once = found.settle().upload
    again = replace(found, row=once).settle()
    assert (again.upload, again.lost_bytes) == (once, 0)
    committed = replace(once, writer=NEXT_BOOT)
    later = settle(committed, found.beside, boot=NEXT_BOOT.boot_id, durability=found.durability)
    assert later.upload == committed


@given(situations())
def test_what_may_not_be_lost_again_is_synced_and_nothing_else_is(found: Situation) -> None:
    """With ``power`` all that is newly believed; with ``finish`` where no offset may shrink."""
    result = found.settle()
    is_new = result.upload.offset > found.row.synced_offset
    promises = found.durability is POWER or (found.durability is FINISH and found.row.is_strict)
    assert result.must_sync is (promises and is_new)


@given(situations())
def test_the_status_moves_only_as_the_table_says_or_back_to_where_bytes_come_from(
    found: Situation,
) -> None:
    before, after = found.row, found.settle().upload
    is_broken = before.is_strict and after.offset < before.offset
    assert (after.status is Status.INVALID) is is_broken
    if is_broken:
        event("invalid")
        assert Status.INVALID in NEXT[before.status]
    elif after.status is not before.status:
        event("not received after all")
        assert before.status is Status.RECEIVED and not after.is_full
        is_final = before.kind is Kind.FINAL
        assert after.status is (Status.JOINING if is_final else Status.RECEIVING)
    marked = replace(found, beside=replace(found.beside, mark=a_mark())).settle().upload
    assert marked.status in NEXT[before.status]
    assert marked.is_complete and marked.is_full


@given(situations())
def test_nothing_but_progress_is_changed(found: Situation) -> None:
    after = found.settle().upload
    progress = {
        name: getattr(found.row, name)
        for name in ("length", "offset", "status", "synced_offset", "suspect_length")
    }
    assert replace(after, **progress) == found.row
