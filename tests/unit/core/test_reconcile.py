"""After a crash: what is true of an upload. Names in brackets are rules of the crash model."""

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.core.builders import (
    A_BOOT,
    NEXT_BOOT,
    a_mark,
    an_upload,
    remains,
    some_facts,
)
from tusd_py.core.facts import CompletionMark, Remains, upload_of
from tusd_py.core.reconcile import Durability, Reconciled, reconcile
from tusd_py.core.upload import NO_BOOT, UNFINISHED, Boot, Kind, Status, Upload

SAME, RESTARTED, UNKNOWN = A_BOOT.boot_id, NEXT_BOOT.boot_id, None
PROCESS, FINISH, POWER = Durability
SETTLED = sorted(set(Status) - UNFINISHED)


def settle(
    row: Upload,
    beside: Remains,
    *,
    boot: str | None = SAME,
    durability: Durability = FINISH,
) -> Reconciled:
    """``reconcile`` of an upload that is still there."""
    result = reconcile(row, beside, present_boot_id=boot, durability=durability)
    assert result is not None
    return result


# ------------------------------------------------------------------ [facts-rule], [adopt-leased]


@pytest.mark.parametrize("status", Status)
def test_facts_rule_a_record_without_facts_was_terminated_whatever_its_status(
    status: Status,
) -> None:
    row = an_upload(status=status)
    assert reconcile(row, None, present_boot_id=SAME, durability=FINISH) is None


def test_adopt_leased_facts_that_vanished_while_a_record_was_made_of_them_end_it() -> None:
    """The adopter looked, a termination ran through, the adopter made its record."""
    adopted = upload_of(some_facts())
    assert reconcile(adopted, None, present_boot_id=SAME, durability=FINISH) is None


# ------------------------------------------------------------------ [host-boot]


@pytest.mark.parametrize("durability", Durability)
def test_host_boot_bytes_of_another_host_that_runs_on_are_believed(durability: Durability) -> None:
    """The reader's own boot plays no part: only that of the writer's host does."""
    row = an_upload(offset=2, synced_offset=0, writer=Boot("host-b", "boot-7"))
    assert settle(row, remains(5), boot="boot-7", durability=durability).upload.offset == 5


@pytest.mark.parametrize(("durability", "offset"), [(PROCESS, 1), (FINISH, 1), (POWER, 1)])
def test_host_boot_a_host_that_nobody_knows_counts_as_restarted(
    durability: Durability, offset: int
) -> None:
    row = an_upload(offset=2, synced_offset=1)
    assert settle(row, remains(5), boot=UNKNOWN, durability=durability).upload.offset == offset


def test_host_boot_a_record_of_no_machine_is_not_believed() -> None:
    """``NO_BOOT`` equals no boot that a host can have published, nor that of an unknown host."""
    row = an_upload(offset=2, synced_offset=0, writer=NO_BOOT)
    assert settle(row, remains(5), boot=UNKNOWN).upload.offset == 0


# ------------------------------------------------------------------ [power-longer]


def test_power_longer_the_longer_file_counts_and_is_synced_first() -> None:
    result = settle(an_upload(offset=2, synced_offset=2), remains(5), durability=POWER)
    assert (result.upload.offset, result.must_sync) == (5, True)


@pytest.mark.parametrize(
    ("durability", "offset", "synced", "size", "must_sync"),
    [
        pytest.param(POWER, 5, 5, 5, False, id="all of it is synced already"),
        pytest.param(POWER, 5, 2, 5, True, id="the record itself was not synced"),
        pytest.param(POWER, 5, 5, 3, False, id="a shorter file has nothing new to sync"),
        pytest.param(PROCESS, 2, 2, 5, False, id="process promises nothing of the medium"),
        pytest.param(FINISH, 2, 2, 5, False, id="finish syncs at the end"),
    ],
)
def test_power_longer_only_power_syncs_and_only_where_it_must(
    durability: Durability, offset: int, synced: int, size: int, must_sync: bool
) -> None:
    row = an_upload(offset=offset, synced_offset=synced)
    assert settle(row, remains(size), durability=durability).must_sync is must_sync


@pytest.mark.parametrize(
    ("durability", "must_sync"), [(PROCESS, False), (FINISH, True), (POWER, True)]
)
def test_what_is_told_of_a_strict_upload_is_synced_before_it_is_believed(
    durability: Durability, must_sync: bool
) -> None:
    """Else a restart of the machine takes it back, and the upload is invalid."""
    row = an_upload(offset=2, synced_offset=2, is_strict=True)
    assert settle(row, remains(5), durability=durability).must_sync is must_sync


# ------------------------------------------------------------------ digests of the whole


def test_a_mark_says_that_what_was_promised_of_the_whole_was_verified() -> None:
    """The commit that said so may be forgotten; one that was not knows more."""
    promised, more = (("sha256", "cHJvbWlzZWQ="),), (("sha256", "a"), ("sha512", "b"))
    row = an_upload(status=Status.RECEIVED, promised_digests=promised)
    assert settle(row, remains(10, mark=a_mark())).upload.digests == promised
    row = replace(row, digests=more)
    assert settle(row, remains(10, mark=a_mark())).upload.digests == more


def test_digests_of_bytes_that_are_gone_are_forgotten() -> None:
    """They are of a file that will have other bytes."""
    row = an_upload(status=Status.RECEIVED, offset=10, synced_offset=4, digests=(("sha256", "a"),))
    assert settle(row, remains(10), boot=RESTARTED).upload.digests == ()
    assert settle(row, remains(10)).upload.digests == row.digests


# ------------------------------------------------------------------ [synced-number]


@pytest.mark.parametrize(
    ("durability", "size", "offset"),
    [
        pytest.param(PROCESS, 8, 3, id="process: pages past the synced offset may be lost"),
        pytest.param(FINISH, 8, 3, id="finish: likewise"),
        pytest.param(POWER, 8, 3, id="power, set after the record was written: likewise"),
        pytest.param(PROCESS, 2, 2, id="process: the file is shorter than what was synced"),
        pytest.param(FINISH, 2, 2, id="finish: likewise shorter"),
        pytest.param(POWER, 2, 2, id="power: likewise shorter"),
    ],
)
def test_synced_number_after_a_restart_only_what_reached_the_medium_is_believed(
    durability: Durability, size: int, offset: int
) -> None:
    row = an_upload(offset=6, synced_offset=3)
    result = settle(row, remains(size), boot=RESTARTED, durability=durability)
    assert result.upload.offset == offset
    assert result.upload.synced_offset == min(3, offset)


@pytest.mark.parametrize(
    ("durability", "status", "offset"),
    [
        pytest.param(PROCESS, Status.RECEIVING, 0, id="process never synced them"),
        pytest.param(FINISH, Status.RECEIVED, 10, id="finish synced them before it said received"),
        pytest.param(POWER, Status.RECEIVED, 10, id="power synced each of them"),
    ],
)
def test_synced_number_a_received_upload_after_a_power_loss(
    durability: Durability, status: Status, offset: int
) -> None:
    """Full by its length alone, a file may have holes: the gate must not be asked about it."""
    synced = 0 if durability is PROCESS else 10
    row = an_upload(status=Status.RECEIVED, offset=10, synced_offset=synced)
    after = settle(row, remains(10), boot=RESTARTED, durability=durability).upload
    assert (after.status, after.offset) == (status, offset)


@pytest.mark.parametrize("durability", Durability)
def test_a_received_upload_survives_the_death_of_its_process(durability: Durability) -> None:
    row = an_upload(status=Status.RECEIVED, offset=10)
    after = settle(row, remains(10), durability=durability).upload
    assert (after.status, after.offset) == (Status.RECEIVED, 10)


def test_a_received_upload_whose_bytes_are_gone_is_receiving_again() -> None:
    row = an_upload(status=Status.RECEIVED, offset=10, synced_offset=10)
    result = settle(row, remains(4), boot=RESTARTED)
    assert (result.upload.status, result.upload.offset) == (Status.RECEIVING, 4)
    assert result.lost_bytes == 6


# ------------------------------------------------------------------ [no-cut]


def test_no_cut_bytes_that_are_not_believed_stay_and_are_noted() -> None:
    row = an_upload(offset=6, synced_offset=3)
    assert settle(row, remains(8), boot=RESTARTED).upload.suspect_length == 8


def test_no_cut_an_earlier_note_that_reaches_further_stays() -> None:
    row = an_upload(offset=6, synced_offset=3, suspect_length=9)
    assert settle(row, remains(8), boot=RESTARTED).upload.suspect_length == 9


@pytest.mark.parametrize(
    ("offset", "suspect", "believed"),
    [
        pytest.param(3, 8, 3, id="below the note the file's length says nothing"),
        pytest.param(7, 8, 7, id="one byte below"),
        pytest.param(8, 8, 9, id="at the note it counts again"),
        pytest.param(8, 0, 9, id="without a note"),
    ],
)
def test_no_cut_the_files_length_counts_only_past_what_was_not_believed(
    offset: int, suspect: int, believed: int
) -> None:
    row = an_upload(offset=offset, suspect_length=suspect)
    assert settle(row, remains(9)).upload.offset == believed


def test_no_cut_the_note_ends_where_nothing_lies_past_the_offset() -> None:
    row = an_upload(offset=8, suspect_length=8)
    assert settle(row, remains(9)).upload.suspect_length == 0


# ------------------------------------------------------------------ [adopt-boot]


@pytest.mark.parametrize("durability", Durability)
@pytest.mark.parametrize("boot", [RESTARTED, UNKNOWN])
def test_adopt_boot_an_adopter_of_a_later_boot_believes_no_unmarked_byte(
    boot: str | None, durability: Durability
) -> None:
    after = settle(upload_of(some_facts()), remains(9), boot=boot, durability=durability).upload
    assert (after.offset, after.suspect_length) == (0, 9)


@pytest.mark.parametrize("durability", Durability)
def test_adopt_boot_an_adopter_of_the_same_boot_believes_the_files_length(
    durability: Durability,
) -> None:
    result = settle(upload_of(some_facts()), remains(9), durability=durability)
    assert (result.upload.offset, result.upload.status) == (9, Status.RECEIVING)
    assert result.must_sync is (durability is POWER)


# ------------------------------------------------------------------ [mark-first], [lease-only]


@pytest.mark.parametrize("status", sorted(UNFINISHED))
@pytest.mark.parametrize("boot", [SAME, RESTARTED, UNKNOWN])
@pytest.mark.parametrize("size", [0, 4, 10])
def test_mark_first_a_marked_upload_is_complete_whatever_record_and_file_say(
    status: Status, boot: str | None, size: int
) -> None:
    """The hook may have taken the bytes, and a failover may have brought an old record back."""
    row = an_upload(status=status, offset=3, suspect_length=8, length=None)
    result = settle(row, remains(size, mark=a_mark(place="4/17/cat.mp4")), boot=boot)
    after = result.upload
    assert after.status is Status.COMPLETE
    assert (after.length, after.offset, after.synced_offset) == (10, 10, 10)
    assert (after.finished_at, after.place, after.suspect_length) == (2_000.0, "4/17/cat.mp4", 0)
    assert (result.must_sync, result.lost_bytes) == (False, 0)


@pytest.mark.parametrize("boot", [SAME, RESTARTED, UNKNOWN])
@pytest.mark.parametrize("mark", [None, a_mark()])
def test_lease_only_who_wrote_it_is_left_to_the_commit(
    boot: str | None, mark: CompletionMark | None
) -> None:
    """Writer and generation come with the commit of what is true here, not before."""
    row = an_upload(master="generation-1")
    after = settle(row, replace(remains(8), mark=mark), boot=boot).upload
    assert (after.writer, after.creator, after.master) == (A_BOOT, A_BOOT, "generation-1")


# ------------------------------------------------------------------ strict uploads


@pytest.mark.parametrize("durability", Durability)
@pytest.mark.parametrize("size", [6, 8, 10])
def test_a_strict_upload_goes_on_after_the_death_of_its_process(
    durability: Durability, size: int
) -> None:
    row = an_upload(is_strict=True, offset=6, synced_offset=2)
    after = settle(row, remains(size), durability=durability).upload
    assert (after.status, after.offset, after.is_strict) == (Status.RECEIVING, size, True)


@pytest.mark.parametrize(
    ("changes", "size", "boot"),
    [
        pytest.param({"offset": 6, "synced_offset": 2}, 6, RESTARTED, id="back to what was synced"),
        pytest.param({"offset": 6, "synced_offset": 5}, 9, UNKNOWN, id="by one byte"),
        pytest.param({"offset": 6, "synced_offset": 6}, 5, RESTARTED, id="synced bytes are gone"),
        pytest.param({"offset": 6}, 5, SAME, id="the file is shorter than the record"),
        pytest.param({"offset": 6, "suspect_length": 9}, 5, SAME, id="below what is not believed"),
        pytest.param(
            {"offset": 10, "status": Status.RECEIVED}, 9, SAME, id="received, and it was cut"
        ),
        pytest.param(
            {"offset": 10, "status": Status.RECEIVED}, 10, RESTARTED, id="received, not synced"
        ),
    ],
)
def test_a_strict_upload_whose_offset_would_shrink_is_invalid(
    changes: dict[str, Any], size: int, boot: str | None
) -> None:
    """Its protocol has it so: an offset that was told once never goes back. Others go on."""
    row = an_upload(is_strict=True, **changes)
    strict = settle(row, remains(size), boot=boot)
    lax = settle(replace(row, is_strict=False), remains(size), boot=boot)
    assert strict.upload.status is Status.INVALID
    assert lax.upload.status is Status.RECEIVING
    assert strict.upload.offset == lax.upload.offset < row.offset
    assert strict.lost_bytes == lax.lost_bytes


@pytest.mark.parametrize("boot", [RESTARTED, UNKNOWN])
@pytest.mark.parametrize(
    ("status", "offset"), [(Status.RECEIVING, 6), (Status.RECEIVED, 10), (Status.RECEIVING, 0)]
)
def test_a_strict_upload_all_of_which_was_synced_outlives_its_machine(
    boot: str | None, status: Status, offset: int
) -> None:
    row = an_upload(is_strict=True, offset=offset, synced_offset=offset, status=status)
    after = settle(row, remains(10), boot=boot).upload
    assert (after.status, after.offset) == (status, offset)


def test_a_strict_upload_that_is_marked_complete_is_complete_whatever_was_lost() -> None:
    row = an_upload(is_strict=True, offset=6)
    assert settle(row, remains(0, mark=a_mark()), boot=RESTARTED).upload.is_complete


@pytest.mark.parametrize("boot", [SAME, RESTARTED, UNKNOWN])
def test_a_strict_upload_that_is_adopted_has_told_no_offset_that_could_shrink(
    boot: str | None,
) -> None:
    adopted = upload_of(some_facts(protocol="rufh"))
    assert adopted.is_strict
    assert settle(adopted, remains(4), boot=boot).upload.status is Status.RECEIVING


# ------------------------------------------------------------------ what is not compared at all


@pytest.mark.parametrize("status", SETTLED)
@pytest.mark.parametrize("boot", [SAME, RESTARTED, UNKNOWN])
@pytest.mark.parametrize("mark", [None, a_mark()])
def test_a_record_that_is_decided_stays_as_it_is(
    status: Status, boot: str | None, mark: CompletionMark | None
) -> None:
    """Hooks may take the bytes of a complete upload away; the others are never shown."""
    row = an_upload(status=status, offset=10, suspect_length=3, is_strict=True)
    for durability in Durability:
        result = settle(row, replace(remains(0), mark=mark), boot=boot, durability=durability)
        assert result == Reconciled(row, must_sync=False, lost_bytes=0)


# ------------------------------------------------------------------ lengths and losses


@pytest.mark.parametrize(
    ("in_record", "in_facts", "length"),
    [
        pytest.param(10, 10, 10, id="both know it"),
        pytest.param(None, 10, 10, id="declared, and the commit was lost"),
        pytest.param(10, None, 10, id="committed, and the facts did not reach the medium"),
        pytest.param(None, None, None, id="still deferred"),
    ],
)
def test_a_length_that_was_declared_anywhere_is_known(
    in_record: int | None, in_facts: int | None, length: int | None
) -> None:
    after = settle(an_upload(length=in_record), remains(7, length=in_facts)).upload
    assert (after.length, after.offset) == (length, 7)


def test_bytes_past_the_length_are_not_counted() -> None:
    """One write in flight can land late, after the upload has its length."""
    after = settle(an_upload(offset=8), remains(14)).upload
    assert (after.offset, after.suspect_length) == (10, 14)


def test_a_full_file_does_not_complete_an_upload() -> None:
    """Completion is a state: the gate has still to be asked."""
    after = settle(an_upload(offset=3), remains(10)).upload
    assert (after.status, after.is_full) == (Status.RECEIVING, True)


@pytest.mark.parametrize("size", [0, 4, 10])
@pytest.mark.parametrize(("boot", "believed"), [(SAME, True), (RESTARTED, False), (UNKNOWN, False)])
def test_a_joining_upload_goes_on_joining_where_its_bytes_end(
    size: int, boot: str | None, believed: bool
) -> None:
    """Also where it has all of them: only who joins them says that this is all."""
    row = an_upload(status=Status.JOINING, kind=Kind.FINAL, offset=0)
    after = settle(row, remains(size), boot=boot).upload
    assert (after.status, after.offset) == (Status.JOINING, size if believed else 0)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (Kind.SINGLE, Status.RECEIVING),
        (Kind.PARTIAL, Status.RECEIVING),
        (Kind.FINAL, Status.JOINING),
    ],
)
def test_a_received_upload_that_lost_bytes_gets_them_again_as_it_got_them_before(
    kind: Kind, status: Status
) -> None:
    """From its client, or from its parts."""
    row = an_upload(status=Status.RECEIVED, kind=kind, offset=10, synced_offset=10)
    after = settle(row, remains(4), boot=RESTARTED).upload
    assert (after.status, after.offset) == (status, 4)


@pytest.mark.parametrize(
    ("upload", "size", "boot", "lost"),
    [
        pytest.param(an_upload(offset=6), 6, SAME, 0, id="all there"),
        pytest.param(an_upload(offset=6), 9, SAME, 0, id="more than that"),
        pytest.param(an_upload(offset=6), 4, SAME, 2, id="the file is shorter than the record"),
        pytest.param(an_upload(offset=6, length=None), 4, SAME, 2, id="its length is deferred"),
        pytest.param(
            an_upload(offset=6, suspect_length=9), 4, SAME, 2, id="below what was not believed"
        ),
        pytest.param(
            an_upload(offset=6, synced_offset=4), 6, RESTARTED, 0, id="back to what was synced"
        ),
        pytest.param(
            an_upload(offset=6, synced_offset=4), 3, RESTARTED, 1, id="synced bytes are gone"
        ),
        pytest.param(an_upload(offset=0, length=0), 5, SAME, 0, id="an empty upload"),
    ],
)
def test_what_is_lost_is_what_was_promised_and_is_not_in_the_file(
    upload: Upload, size: int, boot: str | None, lost: int
) -> None:
    assert settle(upload, remains(size, length=upload.length), boot=boot).lost_bytes == lost
