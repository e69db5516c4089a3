"""What is made of the wish for an upload: its bounds, its owner, its expiry."""

from typing import Any

import pytest

from tests.unit.core.builders import A_BOOT, AN_ID, AN_OWNER, an_upload, some_claims
from tusd_py.core.commands import CreateUpload, ReadOffset, Terminate
from tusd_py.core.digests import Algorithm, Digest
from tusd_py.core.errors import (
    BodyTooLong,
    UploadError,
    UploadTooLarge,
)
from tusd_py.core.identity import Claims, Owner
from tusd_py.core.ids import ClientId, UploadId, VideoId
from tusd_py.core.metadata import Metadata
from tusd_py.core.rules import (
    MAX_LENGTH,
    Limits,
    plan_create,
)
from tusd_py.core.upload import Kind, Status, Upload

ErrorType = type[UploadError]


def create(
    length: int | None, claims: Claims | None = None, limits: Limits | None = None, **more: Any
) -> Upload:
    """What ``plan_create`` makes of it."""
    return plan_create(
        CreateUpload(length=length, **more),
        claims,
        limits or Limits(),
        upload_id=AN_ID,
        boot=A_BOOT,
        now=1_000.0,
    )


# ------------------------------------------------------------------ create


@pytest.mark.parametrize(
    ("length", "of_server", "of_token", "outcome"),
    [
        pytest.param(100, None, None, None, id="no bound at all"),
        pytest.param(0, 0, None, 0, id="empty, where nothing else is allowed"),
        pytest.param(1, 0, None, UploadTooLarge, id="not empty there"),
        pytest.param(100, 100, None, 100, id="as much as the server allows"),
        pytest.param(101, 100, None, UploadTooLarge, id="more than the server allows"),
        pytest.param(50, None, 50, 50, id="as much as the token allows"),
        pytest.param(51, None, 50, UploadTooLarge, id="more than the token allows"),
        pytest.param(51, 100, 50, UploadTooLarge, id="the token's bound is smaller"),
        pytest.param(51, 50, 100, UploadTooLarge, id="the server's bound is smaller"),
        pytest.param(None, 100, 50, 50, id="deferred: the bound is kept for later"),
        pytest.param(None, None, None, None, id="deferred, without a bound"),
        pytest.param(MAX_LENGTH, None, None, None, id="as much as a file can have"),
        pytest.param(MAX_LENGTH + 1, None, None, UploadTooLarge, id="more than that"),
        pytest.param(
            MAX_LENGTH + 1, None, 1 << 80, UploadTooLarge, id="more, and the token allows it"
        ),
        pytest.param(None, None, 1 << 80, MAX_LENGTH, id="no token raises a file's maximum"),
    ],
)
def test_the_smaller_bound_holds_at_creation(
    length: int | None,
    of_server: int | None,
    of_token: int | None,
    outcome: int | ErrorType | None,
) -> None:
    limits, claims = Limits(max_bytes=of_server), some_claims(max_bytes=of_token)
    if isinstance(outcome, type):
        with pytest.raises(outcome):
            create(length, claims, limits)
    else:
        assert create(length, claims, limits).max_bytes == outcome


@pytest.mark.parametrize(
    ("length", "announced", "refusal"),
    [
        pytest.param(10, 10, None, id="all of it"),
        pytest.param(10, 11, BodyTooLong, id="more than its length"),
        pytest.param(10, None, None, id="chunked"),
        pytest.param(0, 0, None, id="empty"),
        pytest.param(0, 1, BodyTooLong, id="a byte for an empty upload"),
        pytest.param(None, 100, None, id="deferred, up to the bound"),
        pytest.param(None, 101, UploadTooLarge, id="deferred, past the bound"),
    ],
)
def test_the_body_of_a_creation_has_to_fit(
    length: int | None, announced: int | None, refusal: ErrorType | None
) -> None:
    limits = Limits(max_bytes=100)
    if refusal is None:
        assert create(length, limits=limits, announced_bytes=announced).offset == 0
    else:
        with pytest.raises(refusal):
            create(length, limits=limits, announced_bytes=announced)


def test_a_new_record_holds_what_was_asked_for_and_no_token() -> None:
    wire = "filename Y2F0,token c2VjcmV0,video_id MTc="
    claims = some_claims(metadata={"filename": "dog.mp4"})
    upload = create(
        10, claims, metadata=Metadata(wire), kind=Kind.PARTIAL, protocol="other", announced_bytes=0
    )
    assert upload == Upload(
        id=AN_ID,
        owner=AN_OWNER,
        length=10,
        kind=Kind.PARTIAL,
        metadata=Metadata("filename Y2F0,video_id MTc="),
        overrides={"filename": "dog.mp4"},
        created_at=1_000.0,
        changed_at=1_000.0,
        creator=A_BOOT,
        writer=A_BOOT,
        protocol="other",
    )


def test_a_new_record_holds_what_the_whole_file_is_said_to_hash_to() -> None:
    digests = (Digest(Algorithm.MD5, bytes(16)), Digest(Algorithm.CRC32C, b"\x01\x02\x03\x04"))
    upload = create(10, promised_digests=digests, is_strict=True)
    assert upload.promised_digests == (
        ("md5", "AAAAAAAAAAAAAAAAAAAAAA=="),
        ("crc32c", "AQIDBA=="),
    )
    assert upload.is_strict


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (Kind.SINGLE, Status.RECEIVING),
        (Kind.PARTIAL, Status.RECEIVING),
        (Kind.FINAL, Status.JOINING),
    ],
)
def test_a_final_upload_joins_what_others_received(kind: Kind, status: Status) -> None:
    parts = (UploadId("a" * 32), UploadId("b" * 32), UploadId("a" * 32))
    upload = create(None, kind=kind, parts=parts, concat="as the client wrote it")
    assert upload.status is status
    assert (upload.kind, upload.parts, upload.concat) == (kind, parts, "as the client wrote it")


@pytest.mark.parametrize(
    ("wire", "owner"),
    [
        pytest.param("video_id MTc=,client_id NA==", AN_OWNER, id="named by the metadata"),
        pytest.param("video_id IDE3,client_id NAo=", AN_OWNER, id="white space does not count"),
        pytest.param("video_id MTc=", Owner(VideoId("17"), ClientId("")), id="one is absent"),
        pytest.param("", Owner(VideoId(""), ClientId("")), id="nobody's"),
    ],
)
def test_without_tokens_the_metadata_names_the_owner(wire: str, owner: Owner) -> None:
    upload = create(10, metadata=Metadata(wire))
    assert (upload.owner, dict(upload.overrides)) == (owner, {})


def test_with_a_token_its_claims_name_the_owner() -> None:
    upload = create(10, some_claims(), metadata=Metadata("video_id OTk=,client_id OTk="))
    assert upload.owner == AN_OWNER


def test_commands_that_only_name_an_upload_tell_it() -> None:
    assert ReadOffset(upload_id=AN_ID).upload_id == Terminate(upload_id=AN_ID).upload_id == AN_ID


# ------------------------------------------------------------------ expiry


@pytest.mark.parametrize(
    ("seconds", "expires_at"),
    [pytest.param(None, None, id="never"), pytest.param(60.0, 1_060.0, id="after a minute")],
)
def test_when_a_new_upload_expires(seconds: float | None, expires_at: float | None) -> None:
    assert create(10, limits=Limits(expire_seconds=seconds)).expires_at == expires_at


@pytest.mark.parametrize(
    ("had", "seconds", "is_sliding", "has"),
    [
        pytest.param(1_060.0, 60.0, True, 1_110.0, id="sliding: progress puts it off"),
        pytest.param(1_060.0, 60.0, False, 1_060.0, id="absolute: it stays"),
        pytest.param(1_500.0, 60.0, True, 1_500.0, id="what was told never comes closer"),
        pytest.param(None, 60.0, True, None, id="who was told none keeps none"),
        pytest.param(1_060.0, None, True, 1_060.0, id="no longer set: what was told holds"),
        pytest.param(None, None, False, None, id="never"),
    ],
)
def test_when_an_upload_expires_after_progress(
    had: float | None, seconds: float | None, is_sliding: bool, has: float | None
) -> None:
    limits = Limits(expire_seconds=seconds, expiry_is_sliding=is_sliding)
    assert limits.expiry_after_progress(an_upload(expires_at=had), 1_050.0) == has
