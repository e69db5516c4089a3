"""What lies beside the bytes: enough to make the record anew, and no word on how far it came."""

import dataclasses

import pytest

from tests.unit.core.builders import A_BOOT, NEXT_BOOT, an_upload, some_facts
from tusd_py.core.facts import Facts, facts_of, upload_of
from tusd_py.core.ids import UploadId
from tusd_py.core.upload import Kind, Status

FULL = some_facts(
    expires_at=5_000.0,
    kind=Kind.FINAL,
    parts=(UploadId("a" * 32), UploadId("b" * 32)),
    overrides={"filename": "dog.mp4"},
    max_bytes=100,
    protocol="other",
    creator=NEXT_BOOT,
    concat="final;/files/a /files/b",
    promised_digests=(("sha256", "eA=="),),
)


@pytest.mark.parametrize("facts", [some_facts(), FULL, some_facts(length=None)])
def test_a_record_made_of_facts_has_the_same_facts(facts: Facts) -> None:
    assert facts_of(upload_of(facts)) == facts


def test_every_fact_is_taken_from_the_record() -> None:
    """A field that is added to the facts and forgotten in ``facts_of`` shows here."""
    upload = upload_of(FULL)
    for field in dataclasses.fields(Facts):
        assert getattr(facts_of(upload), field.name) == getattr(upload, field.name)
        if field.default is not dataclasses.MISSING:
            assert getattr(FULL, field.name) != field.default


def test_facts_do_not_change_with_progress() -> None:
    done = an_upload(
        offset=10, synced_offset=10, status=Status.COMPLETE, writer=NEXT_BOOT, finished_at=2_000.0
    )
    assert facts_of(done) == facts_of(an_upload())


def test_a_record_made_anew_believes_nothing_of_the_bytes() -> None:
    upload = upload_of(facts_of(an_upload(offset=5, synced_offset=5, writer=NEXT_BOOT)))
    assert (upload.offset, upload.synced_offset, upload.suspect_length) == (0, 0, 0)
    assert (upload.writer, upload.creator) == (A_BOOT, A_BOOT)
    assert (upload.finished_at, upload.place, upload.master) == (None, None, "")


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (Kind.SINGLE, Status.RECEIVING),
        (Kind.PARTIAL, Status.RECEIVING),
        (Kind.FINAL, Status.JOINING),
    ],
)
def test_a_record_made_anew_starts_where_its_kind_starts(kind: Kind, status: Status) -> None:
    assert upload_of(some_facts(kind=kind)).status is status


@pytest.mark.parametrize(("protocol", "is_strict"), [("tus1", False), ("rufh", True)])
def test_a_record_made_anew_is_as_strict_as_its_protocol(protocol: str, is_strict: bool) -> None:
    """Who touched it later is not among the facts; who made it is."""
    assert upload_of(some_facts(protocol=protocol)).is_strict is is_strict


def test_a_record_made_anew_changed_when_it_was_created() -> None:
    """So that a gap without a writer is counted from then, not from the beginning of time."""
    assert upload_of(some_facts()).changed_at == 1_000.0
