"""Resumable Uploads for HTTP without a wire: commands of fields, answers of outcomes."""

import base64
import hashlib
import json
from typing import Any

import pytest

from tests.unit.protocol.rig import ID, NOW, an_upload, asked, terms
from tusd_py.core import errors as e
from tusd_py.core.commands import Completion
from tusd_py.core.digests import Algorithm, Digest, Promise
from tusd_py.core.errors import UploadError
from tusd_py.core.upload import Status
from tusd_py.protocol import rufh
from tusd_py.protocol.rufh import Rufh
from tusd_py.protocol.rufh_versions import NEWEST, ROWS

ALL = {version: Rufh(terms(), row) for version, row in ROWS.items()}
NEW = ALL[8]
EVERY = pytest.mark.parametrize("version", sorted(ROWS))
PARTIAL = "application/partial-upload"
DONE = an_upload(status=Status.COMPLETE, offset=10)
SHA256 = Digest(Algorithm.SHA256, hashlib.sha256(b"12345").digest())
SHA256_FIELD = f"sha-256=:{base64.b64encode(SHA256.value).decode()}:"


def end(version: int, is_end: bool) -> dict[str, str]:
    """The field that says whether this is the end, as this version spells it."""
    if version == 3:
        return {"Upload-Incomplete": "?0" if is_end else "?1"}
    return {"Upload-Complete": "?1" if is_end else "?0"}


def append(version: int, is_end: bool, offset: int, **more: str) -> dict[str, str]:
    fields = {"Upload-Offset": str(offset), "Content-Type": PARTIAL, **end(version, is_end)}
    return fields | {name.replace("_", "-"): value for name, value in more.items()}


# ------------------------------------------------------------------ creations


@EVERY
@pytest.mark.parametrize(
    ("is_end", "length", "announced", "outcome"),
    [
        pytest.param(True, None, 5, (Completion.NOW, 5), id="all of it"),
        pytest.param(True, "5", 5, (Completion.NOW, 5), id="all of it, said twice"),
        pytest.param(True, None, None, (Completion.NOW, None), id="all of it, chunked"),
        pytest.param(True, "5", None, (Completion.NOW, 5), id="all of it, chunked, length known"),
        pytest.param(True, None, 0, (Completion.NOW, 0), id="nothing at all"),
        pytest.param(False, None, 5, (Completion.LATER, None), id="a beginning"),
        pytest.param(False, "9", 5, (Completion.LATER, 9), id="a beginning, length known"),
        pytest.param(False, None, 0, (Completion.LATER, None), id="only the address is wanted"),
        pytest.param(True, "6", 5, e.LengthConflict, id="two lengths"),
        pytest.param(True, "6", 0, e.LengthConflict, id="a length and no content"),
    ],
)
def test_a_creation_is_read(
    version: int, is_end: bool, length: str | None, announced: int | None, outcome: Any
) -> None:
    """RUFH-LEN-01, RUFH-LEN-04, RUFH-CRE-12, RUFH-OLD-01."""
    fields = end(version, is_end) | ({} if length is None else {"Upload-Length": length})
    if isinstance(outcome, type):
        with pytest.raises(outcome):
            ALL[version].parse_create(asked(fields, announced))
        return
    command = ALL[version].parse_create(asked(fields, announced))
    completion, known = outcome
    assert (command.completion, command.length) == (_as_in(version, completion), known)
    assert (command.announced_bytes, command.protocol) == (announced, "rufh")
    assert command.is_strict


def _as_in(version: int, completion: Completion) -> Completion:
    """In tus-js-client's versions a declared length completes also what says that more comes."""
    is_theirs = version in (5, 6) and completion is Completion.LATER
    return Completion.AT_LENGTH if is_theirs else completion


@EVERY
def test_who_does_not_say_what_is_the_end_sends_a_whole_file_or_nothing(version: int) -> None:
    """A request that says nothing of the end is as whole as any; an empty one means nothing."""
    for fields in ({}, {"Upload-Complete": "yes", "Upload-Incomplete": "1"}):
        command = ALL[version].parse_create(asked(fields, 5))
        assert (command.completion, command.length) == (Completion.NOW, 5)
        with pytest.raises(e.MissingHeader):
            ALL[version].parse_create(asked(fields, 0))


@pytest.mark.parametrize("value", ["-1", "5.0", '"5"', "a", "", "?1", "1000000000000000", "5, 5"])
def test_a_length_that_is_none_is_not_seen(value: str) -> None:
    """RUFH-LEN-03: as a whole, and without an error."""
    command = NEW.parse_create(asked({"Upload-Complete": "?0", "Upload-Length": value}))
    assert command.length is None


def test_a_creation_does_not_begin_in_the_middle() -> None:
    for value in ("0", "-5", "x"):
        NEW.parse_create(asked({"Upload-Complete": "?1", "Upload-Offset": value}, 5))
    with pytest.raises(e.InvalidHeader):
        NEW.parse_create(asked({"Upload-Complete": "?1", "Upload-Offset": "5"}, 5))


def test_metadata_is_what_the_client_wrote_or_what_the_fields_say() -> None:
    """RUFH-CRE-13: tus-js-client sends its own field, a phone the ordinary ones."""
    ordinary = {
        "Upload-Complete": "?1",
        "Content-Type": "video/mp4",
        "Content-Disposition": 'inline; filename="film.mp4"',
    }
    told = NEW.parse_create(asked(ordinary, 5)).metadata
    assert (told.text("filename"), told.text("filetype")) == ("film.mp4", "video/mp4")
    both = ordinary | {"Upload-Metadata": "filename YQ=="}
    assert NEW.parse_create(asked(both, 5)).metadata.wire == "filename YQ=="
    with pytest.raises(e.InvalidMetadata):
        NEW.parse_create(asked(ordinary | {"Upload-Metadata": "a b c"}, 5))


# ------------------------------------------------------------------ appends


@EVERY
def test_an_append_is_read(version: int) -> None:
    """RUFH-APP-01, RUFH-LEN-04."""
    one = ALL[version].parse_append(asked(append(version, False, 5), 3), ID)
    more = _as_in(version, Completion.LATER)
    assert (one.offset, one.completion, one.declared_length) == (5, more, None)
    known = append(version, False, 5, Upload_Length="9")
    assert ALL[version].parse_append(asked(known, 3), ID).declared_length == 9
    last = ALL[version].parse_append(asked(append(version, True, 5), 3), ID)
    assert (last.completion, last.declared_length, last.is_strict) == (Completion.NOW, 8, True)
    chunked = ALL[version].parse_append(asked(append(version, True, 5), None), ID)
    assert chunked.declared_length is None
    assert last.refuses_finished is (version in (6, 7))
    with pytest.raises(e.LengthConflict):
        ALL[version].parse_append(asked(append(version, True, 5, Upload_Length="9"), 3), ID)


@EVERY
@pytest.mark.parametrize("value", ["-5", "x", "5.5", "?1", ""])
def test_an_append_without_a_valid_offset_is_refused(version: int, value: str) -> None:
    """RUFH-OFF-03, RUFH-APP-15: what is no offset is none."""
    fields = append(version, True, 5) | {"Upload-Offset": value}
    with pytest.raises(e.MissingHeader):
        ALL[version].parse_append(asked(fields, 3), ID)


@EVERY
def test_an_append_says_whether_it_is_the_last_one(version: int) -> None:
    """RUFH-CMP-02, RUFH-APP-15, RUFH-OLD-01: only the oldest version has a default."""
    fields = append(version, True, 5)
    for unsaid in ({}, {name: "true" for name in end(version, True)}):
        kept = {name: v for name, v in fields.items() if name not in end(version, True)}
        if version == 3:
            command = ALL[version].parse_append(asked(kept | unsaid, 3), ID)
            assert command.completion is Completion.NOW
        else:
            with pytest.raises(e.MissingHeader):
                ALL[version].parse_append(asked(kept | unsaid, 3), ID)


@EVERY
@pytest.mark.parametrize("media_type", ["video/mp4", None, "application/offset+octet-stream"])
def test_the_media_type_counts_from_the_sixth_version_on(
    version: int, media_type: str | None
) -> None:
    """RUFH-OLD-10, RUFH-APP-15."""
    fields = append(version, True, 5)
    del fields["Content-Type"]
    fields |= {} if media_type is None else {"Content-Type": media_type}
    if version < 6:
        assert ALL[version].parse_append(asked(fields, 3), ID).offset == 5
        return
    with pytest.raises(e.UnsupportedMediaType):
        ALL[version].parse_append(asked(fields, 3), ID)
    fields["Content-Type"] = "Application/Partial-Upload; x=y"
    assert ALL[version].parse_append(asked(fields, 3), ID).offset == 5


# ------------------------------------------------------------------ digests


def test_digests_are_promises_and_wishes() -> None:
    """RUFH-DIG-01, RUFH-DIG-02, RUFH-DIG-04."""
    fields = {
        "Upload-Complete": "?1",
        "Content-Digest": SHA256_FIELD,
        "Repr-Digest": SHA256_FIELD,
        "Want-Repr-Digest": "sha-512=3, sha=1",
    }
    command = NEW.parse_create(asked(fields, 5))
    assert command.promise == Promise(digests=(SHA256,))
    assert command.promised_digests == (SHA256,)
    assert command.wanted_digests == (Algorithm.SHA512, Algorithm.SHA1)
    assert NEW.parse_create(asked(fields, 0)).promise is None
    more = append(8, True, 0, Content_Digest=SHA256_FIELD, Want_Repr_Digest="sha-512=3")
    appended = NEW.parse_append(asked(more, 5), ID)
    assert appended.promise == Promise(digests=(SHA256,))
    assert appended.wanted_digests == (Algorithm.SHA512,)


def test_a_digest_may_come_behind_the_body() -> None:
    """RUFH-DIG-04: where it was announced, and the body is chunked."""
    fields = append(8, True, 0, Trailer="X, content-digest")
    request = asked(fields, None, trailers={"Content-Digest": SHA256_FIELD})
    promise = NEW.parse_append(request, ID).promise
    assert promise is not None and promise.trailer is not None
    assert promise.trailer() == (SHA256,)
    assert NEW.parse_append(asked(fields, 5), ID).promise is None


def test_what_was_wanted_is_told_once_it_is_known() -> None:
    """RUFH-DIG-02, RUFH-DIG-03."""
    known = an_upload(
        status=Status.COMPLETE,
        offset=10,
        digests=(("md5", "AAAA"), ("sha256", base64.b64encode(SHA256.value).decode())),
    )
    wants = asked({"Want-Repr-Digest": "sha-256=1"})
    for answer in (
        NEW.build_created(wants, known, "/x"),
        NEW.build_appended(wants, known),
        NEW.build_offset(wants, known),
    ):
        assert answer.header("Repr-Digest") == SHA256_FIELD
    assert NEW.build_appended(asked(), known).header("Repr-Digest") is None
    assert NEW.build_appended(wants, an_upload()).header("Repr-Digest") is None


# ------------------------------------------------------------------ questions


@EVERY
def test_a_question_carries_nothing_of_a_transfer(version: int) -> None:
    """RUFH-OLD-06: in every version; the length in the one that says so."""
    translator = ALL[version]
    for method in ("HEAD", "DELETE"):
        for fields in ({"Upload-Offset": "0"}, {"Upload-Complete": "?1"}, end(version, False)):
            with pytest.raises(e.InvalidHeader):
                _ask(translator, method, fields)
        _ask(translator, method, {"Upload-Offset": "none", "Upload-Complete": "1"})
        if version == 6:
            with pytest.raises(e.InvalidHeader):
                _ask(translator, method, {"Upload-Length": "10"})
        else:
            _ask(translator, method, {"Upload-Length": "10"})
    read = translator.parse_read(asked({"Upload-Offset": "0"}, method="GET"), ID)
    assert read.completion is Completion.LATER


def _ask(translator: Rufh, method: str, fields: dict[str, str]) -> None:
    request = asked(fields, method=method)
    if method == "HEAD":
        translator.parse_read(request, ID)
    else:
        translator.parse_terminate(request, ID)


# ------------------------------------------------------------------ answers


@EVERY
def test_every_answer_tells_offset_and_completeness(version: int) -> None:
    """RUFH-OLD-01 to -05, RUFH-CRE-05, RUFH-CRE-07, RUFH-CRE-10, RUFH-APP-08, RUFH-APP-09,
    RUFH-HED-01, RUFH-HED-02, RUFH-OLD-15."""
    translator = ALL[version]
    ((name, finished),) = end(version, True).items()
    ((_, unfinished),) = end(version, False).items()
    for upload, said in ((DONE, finished), (an_upload(), unfinished)):
        more = asked(end(version, upload is DONE))
        created = translator.build_created(more, upload, "/upload/x")
        appended = translator.build_appended(asked(), upload)
        offset = translator.build_offset(asked(), upload)
        for answer in (created, appended, offset):
            assert answer.header("Upload-Offset") == str(upload.offset)
            assert answer.header(name) == said
            assert answer.header("Upload-Draft-Interop-Version") == str(version)
        assert (created.status, created.header("Location")) == (201, "/upload/x")
        assert appended.status == (201 if upload is DONE or version < 7 else 204)
        assert offset.status == 204
    assert translator.build_terminated(asked()).status == 204


@EVERY
def test_what_was_to_be_whole_and_is_not_is_no_success(version: int) -> None:
    """RUFH-CRE-07: a repeated creation finds what the first one left, and reads nothing itself."""
    translator = ALL[version]
    whole = asked(end(version, True))
    with pytest.raises(e.OffsetMismatch) as caught:
        translator.build_created(whole, an_upload(offset=3), "/upload/x")
    answer = translator.build_error(caught.value, method="POST", request_id="r")
    told = {name: answer.header(name) for name in ("Location", "Upload-Offset")}
    assert (answer.status, told) == (409, {"Location": "/upload/x", "Upload-Offset": "3"})
    with pytest.raises(e.TokenTooNarrow):
        translator.build_created(whole, an_upload(status=Status.REJECTED), "/upload/x")


def test_all_bytes_do_not_make_it_complete() -> None:
    """RUFH-CMP-03."""
    full = NEW.build_offset(asked(), an_upload(offset=10))
    assert (full.header("Upload-Complete"), full.header("Upload-Offset")) == ("?0", "10")


def test_a_head_tells_what_is_known() -> None:
    """RUFH-HED-03, RUFH-HED-05."""
    known, unknown = (NEW.build_offset(asked(), an_upload(length=n)) for n in (10, None))
    assert (known.header("Upload-Length"), unknown.header("Upload-Length")) == ("10", None)
    assert known.header("Cache-Control") == "no-store"


@pytest.mark.parametrize(
    ("version", "limit"),
    [
        (3, None),
        (4, None),
        (5, None),
        (6, "max-size=99, expires=50"),
        (7, "max-size=99, max-age=50"),
        (8, "max-size=99, max-age=50"),
    ],
)
def test_limits_are_told_where_there_are_any(version: int, limit: str | None) -> None:
    """RUFH-CRE-03, RUFH-CRE-06, RUFH-HED-04, RUFH-OLD-11: those of the upload's creation."""
    upload = an_upload(max_bytes=99, expires_at=NOW + 50.9)
    translator = ALL[version]
    for answer in (
        translator.build_created(asked(end(version, False)), upload, "/x"),
        translator.build_offset(asked(), upload),
        translator.build_early(asked({"Upload-Draft-Interop-Version": str(version)}), upload, "/x"),
    ):
        assert answer is not None
        assert answer.header("Upload-Limit") == limit
    assert translator.build_offset(asked(), an_upload()).header("Upload-Limit") is None


def test_a_limit_fits_its_field_and_never_runs_backwards() -> None:
    """RUFH-LIM-02: also for what no Integer can say, and after the end of its time."""
    row = NEWEST
    assert rufh.build_limit(row, 2**63, None) == "max-size=999999999999999"
    assert rufh.build_limit(row, None, -5.0) == "max-age=0"
    assert rufh.build_limit(row, None, 1e30) == "max-age=999999999999999"
    assert rufh.build_limit(row, None, None) == ""
    kept = an_upload(status=Status.COMPLETE, offset=10, expires_at=NOW + 5)
    assert NEW.build_offset(asked(), kept).header("Upload-Limit") is None


def test_options_tell_the_limits_or_that_there_are_none() -> None:
    """RUFH-LIM-04, RUFH-LIM-05."""
    limited = dict(rufh.build_offer(terms(max_bytes=7, expire_seconds=60.5)))
    free = dict(rufh.build_offer(terms()))
    assert limited["Upload-Limit"] == "max-size=7, max-age=60"
    assert free["Upload-Limit"] == "min-size=0"
    assert free["Accept-Patch"] == "application/partial-upload"


@EVERY
def test_interim_answers_go_only_to_who_asked_for_this_version(version: int) -> None:
    """RUFH-VER-01, RUFH-VER-02, RUFH-CRE-01, RUFH-CRE-02, RUFH-CRE-08, RUFH-APP-12,
    RUFH-OLD-14."""
    translator = ALL[version]
    names = asked({"Upload-Draft-Interop-Version": str(version)}, 5)
    early = translator.build_early(names, an_upload(), "/upload/x")
    assert early is not None and early.status == 104
    assert early.header("Location") == "/upload/x"
    assert early.header("Upload-Draft-Interop-Version") == str(version)
    progress = translator.build_progress(names, an_upload())
    if version < 5:
        assert progress is None
    else:
        assert progress is not None and progress.status == 104
        assert progress.header("Upload-Offset") == "4"
        assert progress.header("Location") is None
        assert progress.header("Upload-Draft-Interop-Version") == str(version)
    for deaf in (
        asked({}, 5),
        asked({"Upload-Draft-Interop-Version": "9"}, 5),
        asked({"Upload-Draft-Interop-Version": f'"{version}"'}, 5),
        asked({"Upload-Draft-Interop-Version": str(version)}, 5, can_hear_interim=False),
    ):
        assert translator.build_early(deaf, an_upload(), "/upload/x") is None
        assert translator.build_progress(deaf, an_upload()) is None


# ------------------------------------------------------------------ refusals


@EVERY
def test_a_wrong_offset_is_told_the_right_one(version: int) -> None:
    """RUFH-APP-03 to -06, RUFH-PRB-01, RUFH-OLD-08."""
    error = e.OffsetMismatch(stored=5, requested=3)
    answer = ALL[version].build_error(error, method="PATCH", request_id="r1")
    ((name, unfinished),) = end(version, False).items()
    assert (answer.status, answer.header("Upload-Offset")) == (409, "5")
    assert answer.header(name) == unfinished
    assert answer.header("Content-Type") == "application/problem+json"
    problem = json.loads(answer.body)
    assert problem["type"].endswith("#mismatching-upload-offset")
    assert (problem["expected-offset"], problem["provided-offset"]) == (5, 3)


@pytest.mark.parametrize(
    ("error", "status", "problem"),
    [
        (e.LengthConflict(stored=5, requested=6), 400, "inconsistent-upload-length"),
        (e.BodyTooLong(room=5, offset=5), 400, "inconsistent-upload-length"),
        (e.UploadFinished(5), 400, "completed-upload"),
        (e.ChecksumMismatch(), 400, "digest-mismatching-values"),
        (e.WholeDigestMismatch(), 400, "digest-mismatching-values"),
        (e.UploadUnknown(), 404, None),
        (e.UploadDamaged(), 404, None),
        (e.UploadLocked(), 423, None),
    ],
)
def test_problems_have_the_types_that_are_registered(
    error: UploadError, status: int, problem: str | None
) -> None:
    """RUFH-LEN-06, RUFH-OLD-07, RUFH-OLD-13, RUFH-DIG-01, RUFH-DIG-04."""
    answer = NEW.build_error(error, method="PATCH", request_id="r1")
    assert (answer.status, answer.header("Upload-Complete")) == (status, "?0")
    said = json.loads(answer.body)
    if problem is None:
        assert said["type"] == "about:blank"
    else:
        assert said["type"] == f"https://iana.org/assignments/http-problem-types#{problem}"
    assert (said["code"], said["detail"], said["request_id"]) == (error.code, str(error), "r1")


@EVERY
def test_a_refusal_tells_how_far_the_upload_is(version: int) -> None:
    """RUFH-OLD-02: where that is known, and it can be gone on with."""
    error = e.StorageFull()
    answers = [ALL[version].build_error(error, method="PATCH", request_id="r")]
    error.offset = 7
    answers.append(ALL[version].build_error(error, method="PATCH", request_id="r"))
    finished = e.UploadFinished(7)
    answers.append(ALL[version].build_error(finished, method="PATCH", request_id="r"))
    too_long = e.BodyTooLong(room=1, offset=7)
    answers.append(ALL[version].build_error(too_long, method="PATCH", request_id="r"))
    assert [answer.header("Upload-Offset") for answer in answers] == [None, "7", "7", None]


def test_particular_refusals_carry_what_the_client_needs() -> None:
    """RUFH-LIM-08, RUFH-APP-15, RUFH-CRE-10: what a gate says is the resource's own answer."""
    large = NEW.build_error(e.UploadTooLarge(max_bytes=9), method="POST", request_id="r")
    assert (large.status, large.header("Upload-Limit")) == (413, "max-size=9")
    old = ALL[4].build_error(e.UploadTooLarge(max_bytes=9), method="POST", request_id="r")
    assert old.header("Upload-Limit") is None
    other = NEW.build_error(e.UnsupportedMediaType(PARTIAL), method="PATCH", request_id="r")
    assert (other.status, other.header("Accept-Patch")) == (415, PARTIAL)
    gate = e.GateRefused(status=422, sentence="no")
    for method, said in (("PATCH", "?1"), ("PUT", "?1"), ("HEAD", None), ("DELETE", None)):
        answer = NEW.build_error(gate, method=method, request_id="r")
        assert answer.header("Upload-Complete") == said
    assert (
        ALL[3].build_error(gate, method="POST", request_id="r").header("Upload-Incomplete") == "?0"
    )
