"""One-shot uploads without a wire: which requests are any, what they ask for, how they end."""

import base64
import json
from typing import Any

import pytest
from multidict import CIMultiDict

from tests.unit.core.builders import AN_ID, an_upload
from tusd_py.core import errors as e
from tusd_py.core.commands import Completion, CreateUpload
from tusd_py.core.digests import Algorithm, Digest
from tusd_py.core.upload import Kind, Status
from tusd_py.protocol import oneshot
from tusd_py.protocol.base import Asked
from tusd_py.protocol.oneshot import Shape, Stored

FORM = "multipart/form-data; boundary=b"
WHERE = "http://h/upload/" + AN_ID
Fields = dict[str, str]


def asked(fields: Fields | None = None, method: str = "POST", announced: int | None = 5) -> Asked:
    return Asked(
        method=method,
        fields=CIMultiDict(fields or {}),
        announced_bytes=announced,
        trailers=CIMultiDict,
        remark=lambda name: None,
    )


def raw(fields: Fields | None = None, tail: str = "", **more: Any) -> CreateUpload:
    return oneshot.parse_raw(asked(fields, "PUT", **more), tail, max_metadata_bytes=1000)


def metadata_of(command: CreateUpload) -> dict[str, str]:
    return {key: value.decode() for key, value in command.metadata.values().items()}


def wire(**values: str) -> str:
    return ",".join(
        f"{key} {base64.b64encode(text.encode()).decode()}" for key, text in values.items()
    )


# ------------------------------------------------------------------ which requests are any


@pytest.mark.parametrize(
    ("method", "tail", "media_type", "announced", "shape"),
    [
        ("POST", "", FORM, 5, Shape.FORM),
        ("POST", "", "Multipart/Form-Data", None, Shape.FORM),
        ("PUT", "", FORM, 5, Shape.FORM),
        ("POST", "", "video/mp4", 5, Shape.RAW),
        ("POST", "", "video/mp4", None, Shape.RAW),
        ("PUT", "", None, 5, Shape.RAW),
        ("PUT", "film.mp4", None, 5, Shape.RAW),
        ("PUT", "film.mp4", None, 0, Shape.RAW),
        ("PUT", "a/b", None, 5, Shape.RAW),
        ("PUT", "", "video/mp4", 0, None),
        ("POST", "", "video/mp4", 0, None),
        ("POST", "", None, 5, None),
        ("POST", "film.mp4", "video/mp4", 5, None),
        ("PUT", AN_ID, "video/mp4", 5, None),
        ("POST", "", "application/offset+octet-stream", 5, None),
        ("PUT", "", "application/offset+octet-stream", 5, None),
        ("PUT", "x", "application/partial-upload", 5, None),
        ("PATCH", "", "video/mp4", 5, None),
        ("GET", "film.mp4", None, 0, None),
    ],
)
def test_what_bears_no_sign_of_a_protocol_and_has_something_to_store_is_one(
    method: str, tail: str, media_type: str | None, announced: int | None, shape: Shape | None
) -> None:
    fields = {} if media_type is None else {"Content-Type": media_type}
    assert oneshot.recognise(asked(fields, method, announced), tail) is shape


@pytest.mark.parametrize(
    "sign",
    [
        "Tus-Resumable",
        "Upload-Length",
        "upload-defer-length",
        "Upload-Concat",
        "Upload-Offset",
        "Upload-Checksum",
        "Upload-Complete",
        "Upload-Incomplete",
        "Upload-Draft-Interop-Version",
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_request_of_another_protocol_is_none(method: str, sign: str) -> None:
    """Also where its other headers were lost on the way: it must not look like success."""
    assert oneshot.recognise(asked({"Content-Type": FORM, sign: ""}, method), "") is None


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (None, True),
        ("https://a.example", True),
        ("http://here.example:8080", True),
        ("http://here.example", False),
        ("https://b.example", False),
        ("null", False),
        ("http://[", False),
        ("", False),
    ],
)
def test_pages_of_other_origins_are_kept_out(origin: str | None, allowed: bool) -> None:
    """No preflight goes before a form: the operator's list is asked here."""
    fields = {"Host": "here.example:8080"} | ({} if origin is None else {"Origin": origin})
    oneshot.check_origin(CIMultiDict(fields), ["*"])
    if allowed:
        oneshot.check_origin(CIMultiDict(fields), ["https://a.example"])
    else:
        with pytest.raises(e.BadRequest, match="Pages of this origin"):
            oneshot.check_origin(CIMultiDict(fields), ["https://a.example"])


# ------------------------------------------------------------------ raw bodies


def test_the_end_of_a_raw_body_is_the_end_of_its_upload() -> None:
    command = raw(announced=7)
    assert (command.length, command.announced_bytes, command.protocol) == (7, 7, "raw")
    assert command.completion is Completion.NOW and command.outlives_cut
    assert command.kind is Kind.SINGLE and command.promise is None
    chunked = raw(announced=None)
    assert (chunked.length, chunked.announced_bytes) == (None, None)


@pytest.mark.parametrize(
    ("fields", "tail", "expected"),
    [
        ({}, "", {}),
        ({}, "film.mp4", {"filename": "film.mp4"}),
        ({}, "b%C3%A4r%20%25.mp4", {"filename": "bär %.mp4"}),
        ({}, "it's.mp4", {"filename": "it's.mp4"}),
        ({}, "a%00b%E2%80%AE.mp4", {"filename": "ab.mp4"}),
        ({}, "%FF.mp4", {"filename": "\ufffd.mp4"}),
        ({}, "a" * 300, {"filename": "a" * 255}),
        ({"Content-Type": "video/mp4; codecs=x"}, "", {"filetype": "video/mp4"}),
        ({"Content-Type": "application/x-www-form-urlencoded"}, "", {}),
        (
            {"Content-Disposition": 'attachment; filename="a.mp4"'},
            "b.mp4",
            {"filename": "a.mp4"},
        ),
        (
            {"Upload-Metadata": wire(filename="c.mp4", video_id="1"), "Content-Type": "a/b"},
            "b.mp4",
            {"filename": "c.mp4", "video_id": "1", "filetype": "a/b"},
        ),
    ],
)
def test_what_a_request_says_of_its_file_becomes_metadata(
    fields: Fields, tail: str, expected: dict[str, str]
) -> None:
    """What was said for the purpose counts first, then the header, then the path."""
    assert metadata_of(raw(fields, tail)) == expected


def test_told_metadata_stays_as_it_was_written() -> None:
    told = " a YQ , b "
    assert raw({"Upload-Metadata": told, "Content-Type": "a/b"}).metadata.wire.startswith(
        "a YQ , b,"
    )


@pytest.mark.parametrize("tail", ["a/b", "a%2Fb", "%2e%2e", "..", ".", "a%5Cb", "a/", "%00", "%20"])
def test_a_path_that_is_no_name_is_nowhere(tail: str) -> None:
    with pytest.raises(e.NotFound):
        raw({}, tail)


def test_part_of_a_file_is_never_taken_for_a_file() -> None:
    """RFC 9110, 9.3.4; ``curl -C`` sends it."""
    with pytest.raises(e.InvalidHeader, match="Content-Range must be absent"):
        raw({"Content-Range": "bytes 5-9/10"})


def test_metadata_is_bounded_as_everywhere() -> None:
    with pytest.raises(e.HeadersTooLarge):
        raw({"Upload-Metadata": wire(a="x" * 1000)})
    with pytest.raises(e.InvalidMetadata, match="more than 64 pairs"):
        raw({"Upload-Metadata": ",".join(f"k{n}" for n in range(64))}, "film.mp4")


def test_what_the_file_hashes_to_is_promised_and_not_held_back() -> None:
    """Both fields are of the whole file; a body that is cut keeps its bytes."""
    sha = base64.b64encode(b"1" * 32).decode()
    command = raw(
        {"Content-Digest": f"sha-256=:{sha}:", "Repr-Digest": f"sha-256=:{sha}:, x=:YQ==:"}
    )
    assert command.promised_digests == (Digest(Algorithm.SHA256, b"1" * 32),) * 2
    assert command.promise is None
    with pytest.raises(e.InvalidHeader):
        raw({"Repr-Digest": "sha-256=1"})


# ------------------------------------------------------------------ forms


def part(
    fields: dict[str, bytes], *, max_metadata_bytes: int = 1000, **headers: str
) -> CreateUpload:
    lines = {name.replace("_", "-"): value for name, value in headers.items()}
    return oneshot.parse_part(CIMultiDict(lines), fields, max_metadata_bytes=max_metadata_bytes)


def test_a_files_fields_and_head_are_its_metadata() -> None:
    command = part(
        {"token": b"t", "raw": b"\xff"},
        Content_Disposition='form-data; name="f"; filename="C:\\\\fakepath\\\\a.mp4"',
        Content_Type="video/mp4",
    )
    assert command.metadata.values() == {
        "filename": b"a.mp4",
        "filetype": b"video/mp4",
        "token": b"t",
        "raw": b"\xff",
    }
    assert (command.length, command.announced_bytes, command.protocol) == (None, None, "form")
    assert command.completion is Completion.NOW and command.outlives_cut


def test_a_field_says_more_than_the_head_of_a_part() -> None:
    command = part(
        {"filename": b"b.mp4", "filetype": b"video/mp4"},
        Content_Disposition='form-data; name="f"; filename="a.mp4"',
        Content_Type="application/octet-stream",
    )
    assert metadata_of(command) == {"filename": "b.mp4", "filetype": "video/mp4"}


def test_fields_of_a_form_are_bounded_like_metadata() -> None:
    with pytest.raises(e.FormInvalid, match="too large"):
        part({"a": b"1" * 100}, max_metadata_bytes=100)


# ------------------------------------------------------------------ answers

DONE = Stored(an_upload(status=Status.COMPLETE, length=5), WHERE)
CUT = Stored(an_upload(offset=3), WHERE)
DONE_SAID = {"id": AN_ID, "location": WHERE, "offset": 5, "length": 5, "is_complete": True}


def failure(
    error: e.UploadError, *stored: Stored, cut: Stored | None = None
) -> tuple[int, dict[str, str], dict[str, Any]]:
    answer = oneshot.build_failure(error, stored, cut, request_id="r", refusal_status=500)
    assert answer.code == error.code
    return answer.status, dict(answer.headers), json.loads(answer.body)


def test_success_names_what_was_made() -> None:
    answer = oneshot.build_stored([DONE], Shape.RAW)
    assert (answer.status, answer.header("Location"), answer.code) == (201, WHERE, None)
    assert answer.header("Content-Type") == "application/json"
    assert answer.header("X-Content-Type-Options") == "nosniff"
    assert json.loads(answer.body) == DONE_SAID
    of_form = oneshot.build_stored([DONE, DONE], Shape.FORM)
    assert of_form.header("Location") == WHERE
    assert json.loads(of_form.body) == {"uploads": [DONE_SAID, DONE_SAID]}


@pytest.mark.parametrize("error", [e.BodyTooSlow(), e.StorageFull(), e.FormInvalid("x")])
def test_a_cut_file_is_named_with_its_offset(error: e.UploadError) -> None:
    """The one that was committed at the end, which the error knows."""
    error.offset = 4
    _, headers, said = failure(error, DONE, cut=CUT)
    assert (headers["Location"], headers["Upload-Offset"]) == (WHERE, "4")
    assert said["code"] == error.code and said["request_id"] == "r"
    assert said["uploads"] == [
        DONE_SAID,
        {"id": AN_ID, "location": WHERE, "offset": 4, "length": 10, "is_complete": False},
    ]


@pytest.mark.parametrize("error", [e.GateFailed(), e.LeaseLost(), e.StateUnavailable()])
def test_an_offset_that_nobody_knows_is_not_told(error: e.UploadError) -> None:
    _, headers, said = failure(error, cut=CUT)
    assert headers["Location"] == WHERE and "Upload-Offset" not in headers
    assert said["uploads"][0]["offset"] is None


def test_a_refusal_that_left_nothing_is_like_any_other() -> None:
    status, headers, said = failure(e.TokenInvalid("null"))
    assert status == 500  # the operator's
    assert said.keys() == {"code", "message", "request_id"}
    assert "Location" not in headers and "Tus-Resumable" not in headers
    status, headers, said = failure(e.GateRefused(status=422, sentence="no"), DONE)
    assert status == 422 and said["uploads"] == [DONE_SAID] and "Location" not in headers
    assert failure(e.GateFailed())[1]["Retry-After"] == "2"


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (e.ClientGone(), True),
        (e.GateFailed(), True),
        (e.OffsetMismatch(stored=1, requested=0), True),
        (e.GateRefused(status=403, sentence="no"), False),
        (e.WholeDigestMismatch(), False),
        (e.UploadTooLarge(max_bytes=1), False),
        (e.TokenTooNarrow("no"), False),
        (e.UploadUnknown(), False),
    ],
)
def test_what_cannot_become_whole_is_not_named(error: e.UploadError, kept: bool) -> None:
    assert oneshot.is_kept(error) is kept


def test_every_error_has_its_status() -> None:
    def all_of(kind: type[e.UploadError]) -> set[type[e.UploadError]]:
        return {kind, *(found for sub in kind.__subclasses__() for found in all_of(sub))}

    own = {
        kind
        for kind in all_of(e.UploadError) - {e.UploadError}
        if kind.__module__.startswith(e.__name__)
    }
    assert own <= set(oneshot.STATUSES.table)
    assert 460 not in oneshot.STATUSES.table.values()
