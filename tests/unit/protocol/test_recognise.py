"""Which protocol a request speaks."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from tests.unit.protocol.rig import ID, NOW, an_upload, asked, terms
from tusd_py.core import errors as e
from tusd_py.core.errors import UploadError
from tusd_py.core.upload import Status
from tusd_py.protocol.base import Asked, Translator
from tusd_py.protocol.either import Either
from tusd_py.protocol.recognise import Translators
from tusd_py.protocol.rufh import Rufh
from tusd_py.protocol.tus1 import Tus1

CHOICE = Translators(terms(max_bytes=99, expire_seconds=60.0))
PARTIAL = {"Content-Type": "application/partial-upload"}


def name(translator: Translator) -> str:
    return f"rufh {translator.row.version}" if isinstance(translator, Rufh) else translator.name


@pytest.mark.parametrize(
    ("method", "fields", "spoken"),
    [
        ("PATCH", {"Tus-Resumable": "1.0.0"}, "tus1"),
        ("PATCH", {"Tus-Resumable": "0.2"}, "tus1"),
        ("PATCH", {"Tus-Resumable": "1.0.0", "Upload-Complete": "?1", **PARTIAL}, "tus1"),
        ("HEAD", {"Tus-Resumable": "1.0.0", "Upload-Draft-Interop-Version": "6"}, "tus1"),
        ("POST", {"Upload-Complete": "?1"}, "rufh 8"),
        ("PUT", {"Upload-Complete": "nonsense"}, "rufh 8"),
        ("POST", {"Upload-Draft-Interop-Version": "6"}, "rufh 6"),
        ("HEAD", {"Upload-Draft-Interop-Version": "3"}, "rufh 3"),
        ("HEAD", {"Upload-Draft-Interop-Version": "9"}, "rufh 8"),
        ("HEAD", {"Upload-Draft-Interop-Version": "2"}, "rufh 8"),
        ("HEAD", {"Upload-Draft-Interop-Version": "six"}, "rufh 8"),
        ("POST", {"Upload-Incomplete": "?1"}, "rufh 3"),
        ("POST", {"Upload-Incomplete": "?1", "Upload-Complete": "?0"}, "rufh 8"),
        ("POST", {"Upload-Incomplete": "?1", "Upload-Draft-Interop-Version": "5"}, "rufh 5"),
        ("PATCH", PARTIAL, "rufh 8"),
        ("HEAD", {}, "either"),
        ("GET", {"Upload-Offset": "5"}, "either"),
        ("DELETE", PARTIAL, "either"),
        ("POST", {}, "tus1"),
        ("PATCH", {"Content-Type": "application/offset+octet-stream"}, "tus1"),
        ("PATCH", {"Upload-Offset": "5"}, "tus1"),
    ],
)
def test_signs_are_read_in_their_order(method: str, fields: dict[str, str], spoken: str) -> None:
    """RUFH-VER-01: the version of the request, else the newest; tus before everything."""
    assert name(CHOICE.choose(asked(fields, method=method), at_upload=True)) == spoken


def test_the_media_type_is_a_sign_at_uploads_only() -> None:
    assert name(CHOICE.choose(asked(PARTIAL, method="PATCH"), at_upload=False)) == "tus1"
    assert name(CHOICE.choose(asked(PARTIAL, method="POST"), at_upload=True)) == "tus1"


def test_options_tell_what_both_offer() -> None:
    """RUFH-LIM-04, TUS-CORE-34."""
    offer = dict(CHOICE.offer)
    assert (offer["Tus-Version"], offer["Upload-Limit"]) == ("1.0.0", "max-size=99, max-age=60")


# ------------------------------------------------------------------ neither protocol named


def test_a_question_without_a_protocol_is_answered_to_both() -> None:
    """RUFH-HED-01 to -05, TUS-CORE-16: 200, as some clients of tus take nothing else."""
    either = CHOICE.choose(asked(method="HEAD"), at_upload=True)
    assert isinstance(either, Either)
    either.check(asked())
    assert either.parse_read(asked(method="HEAD"), ID).completion is None
    upload = an_upload(max_bytes=7, expires_at=NOW + 5)
    answer = either.build_offset(asked(), upload)
    assert answer.status == 200
    assert [header for header, _ in answer.headers].count("Upload-Offset") == 1
    found = dict(answer.headers)
    assert (found["Upload-Offset"], found["Upload-Length"]) == ("4", "10")
    assert (found["Upload-Complete"], found["Upload-Limit"]) == ("?0", "max-size=7, max-age=5")
    assert (found["Tus-Resumable"], found["Cache-Control"]) == ("1.0.0", "no-store")
    joining = either.build_offset(asked(), an_upload(status=Status.JOINING))
    assert joining.header("Upload-Offset") is None


def test_a_question_without_a_protocol_carries_nothing_of_a_transfer() -> None:
    """RUFH-OLD-06: whoever wrote it speaks no tus."""
    either = CHOICE.choose(asked(method="HEAD"), at_upload=True)
    for method, parse in (("HEAD", either.parse_read), ("DELETE", either.parse_terminate)):
        with pytest.raises(e.InvalidHeader):
            parse(asked({"Upload-Offset": "0"}, method=method), ID)
        parse(asked({"Upload-Offset": "none"}, method=method), ID)
    error = e.InvalidHeader("Upload-Offset", "absent in HEAD")
    assert either.build_error(error, method="HEAD", request_id="r").status == 400
    unknown = either.build_error(e.UploadUnknown(), method="HEAD", request_id="r")
    assert (unknown.status, unknown.header("Tus-Resumable")) == (404, "1.0.0")


# ------------------------------------------------------------------ anything

NAMES = st.sampled_from(
    [
        "Content-Digest",
        "Content-Disposition",
        "Content-Encoding",
        "Content-Type",
        "Repr-Digest",
        "Trailer",
        "Tus-Resumable",
        "Upload-Checksum",
        "Upload-Complete",
        "Upload-Concat",
        "Upload-Defer-Length",
        "Upload-Draft-Interop-Version",
        "Upload-Incomplete",
        "Upload-Length",
        "Upload-Metadata",
        "Upload-Offset",
        "Want-Repr-Digest",
    ]
)
VALUES = st.one_of(
    st.text(max_size=30),
    st.integers(-5, 2**70).map(str),
    st.sampled_from(
        [
            *("?0", "?1", "1.0.0", "3", "4", "5", "6", "7", "8", "partial", "final;/x", "1"),
            *("application/partial-upload", "application/offset+octet-stream", "video/mp4"),
            *("sha-256=:AA==:", "sha=1", "md5=:AAAAAAAAAAAAAAAAAAAAAA==:", "Content-Digest"),
            *("inline; filename=a", "a YQ==", "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="),
        ]
    ),
)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=8)
METHODS = st.sampled_from(["POST", "PUT", "PATCH", "HEAD", "GET", "DELETE", "BREW"])


@pytest.mark.fuzz
@given(METHODS, FIELDS, FIELDS, st.one_of(st.none(), st.integers(0, 2**64)), st.booleans())
def test_whatever_is_asked_only_refusals_come_out(
    method: str,
    fields: list[tuple[str, str]],
    trailers: list[tuple[str, str]],
    announced: int | None,
    at_upload: bool,
) -> None:
    """RUFH-SEC-02: every parse of every protocol, and every answer to what was parsed."""
    request = Asked(
        method=method,
        fields=CIMultiDict(fields),
        announced_bytes=announced,
        trailers=lambda: CIMultiDict(trailers),
        remark=lambda event: None,
    )
    translator = CHOICE.choose(request, at_upload=at_upload)
    upload = an_upload(digests=(("md5", "AAAA"),), status=Status.COMPLETE, offset=10)
    with suppress(UploadError):
        translator.check(request)
    with suppress(UploadError):
        command = translator.parse_create(request)
        if command.promise is not None and command.promise.trailer is not None:
            command.promise.trailer()
        translator.build_early(request, upload, "/x")
        translator.build_created(request, upload, "/x")
    with suppress(UploadError):
        translator.parse_append(request, ID)
        translator.build_progress(request, upload)
        translator.build_appended(request, upload)
    with suppress(UploadError):
        translator.parse_read(request, ID)
        translator.build_offset(request, upload)
    with suppress(UploadError):
        translator.parse_terminate(request, ID)
        translator.build_terminated(request)


def test_tus_itself_is_there_for_the_edge() -> None:
    assert isinstance(CHOICE.tus, Tus1)
