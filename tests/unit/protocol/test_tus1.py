"""tus 1.0.0 without a wire: commands of fields, answers of outcomes."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from multidict import CIMultiDict

from tusd_py.core import errors as e
from tusd_py.core.digests import Algorithm, Digest, Promise
from tusd_py.core.errors import UploadError
from tusd_py.core.identity import Owner
from tusd_py.core.ids import ClientId, UploadId, VideoId
from tusd_py.core.metadata import Metadata
from tusd_py.core.upload import NO_BOOT, Kind, Status, Upload
from tusd_py.protocol import tus1
from tusd_py.protocol.answers import Answer
from tusd_py.protocol.base import Asked, Terms

ID = UploadId("0" * 32)
BYTES = {"Content-Type": "application/offset+octet-stream"}
PART = UploadId("1" * 32)
SHA1 = "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="
HEX_SHA1 = "sha1 " + base64.b64encode(b"a" * 40).decode()


def terms(**changes: Any) -> Terms:
    values: dict[str, Any] = {
        "max_bytes": None,
        "expire_seconds": None,
        "max_metadata_bytes": 100,
        "ignores_hex_checksums": True,
        "locate": {"/upload/1": PART, "http://h/upload/1": PART}.get,
        "now": lambda: 0.0,
    }
    return Terms(**values | changes)


def asked(
    fields: dict[str, str] | None = None,
    announced: int | None = 0,
    *,
    trailers: dict[str, str] | None = None,
    remarks: list[str] | None = None,
    method: str = "POST",
) -> Asked:
    return Asked(
        method=method,
        fields=CIMultiDict(fields or {}),
        announced_bytes=announced,
        trailers=lambda: CIMultiDict(trailers or {}),
        remark=(remarks if remarks is not None else []).append,
    )


TUS = tus1.Tus1(terms())


def an_upload(**changes: object) -> Upload:
    values: dict[str, object] = {
        "id": ID,
        "owner": Owner(VideoId("v"), ClientId("c")),
        "length": 10,
        "created_at": 0.0,
        "creator": NO_BOOT,
        "writer": NO_BOOT,
        "offset": 4,
        **changes,
    }
    return Upload(**values)  # type: ignore[arg-type]


def all_errors(of: type[UploadError] = UploadError) -> Iterator[type[UploadError]]:
    for error in of.__subclasses__():
        if error.__module__.startswith(e.__name__):
            yield error
        yield from all_errors(error)


def test_every_error_has_a_status_and_a_code_of_its_own() -> None:
    errors = set(all_errors())
    assert errors == set(tus1.STATUS)
    assert len({error.code for error in errors}) == len(errors)


EXAMPLES = [
    e.UploadLocked(0.2),
    e.StateUnavailable(),
    e.StorageFull(),
    e.TooManyRequests(7.0),
    e.CreationDelayed(7.0),
    e.GateRefused(status=451, sentence="no"),
    e.GateRefused(status=200, sentence="no"),
    e.InternalError(),
    e.UploadUnknown(),
    e.UploadDamaged(),
    e.TokenInvalid("null"),
    e.LeaseLost(),
    e.BadRequest(),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=repr)
@pytest.mark.parametrize("refusal_status", [None, 500, 403])
def test_a_head_is_refused_with_404_or_told_to_come_again(
    error: UploadError, refusal_status: int | None
) -> None:
    answer = tus1.build_error(error, method="HEAD", request_id="r", refusal_status=refusal_status)
    assert answer.status in {401, 403, 404, 405, 412, 423}
    assert (answer.status != 423) or int(answer.header("Retry-After") or "0") >= (
        0 if isinstance(error, e.LeaseLost) else 1
    )
    assert answer.header("Upload-Offset") is None


def test_a_refusal_has_the_operators_status_where_he_wants_one() -> None:
    for error in (
        e.TokenInvalid("null"),
        e.VideoMismatch(token="a", metadata="b"),
        e.ClientMismatch(token="a", metadata="b"),
    ):
        assert (
            tus1.build_error(error, method="POST", request_id="r", refusal_status=500).status == 500
        )
    other = tus1.build_error(e.UploadUnknown(), method="POST", request_id="r", refusal_status=500)
    assert other.status == 404


def test_a_gate_chooses_its_status_among_refusals() -> None:
    def status(told: int) -> int:
        error = e.GateRefused(status=told, sentence="no")
        return tus1.build_error(error, method="PATCH", request_id="r").status

    assert (status(451), status(204), status(700)) == (451, 403, 403)


def test_an_error_says_code_sentence_and_request() -> None:
    answer = tus1.build_error(e.TokenInvalid("abc…"), method="POST", request_id="r1")
    assert json.loads(answer.body) == {
        "code": "ERR_TOKEN_INVALID",
        "message": "token invalid (abc…)",
        "request_id": "r1",
    }
    assert answer.header("WWW-Authenticate") == "Bearer"
    assert answer.code == "ERR_TOKEN_INVALID"
    lone = tus1.build_error(e.BadRequest("\udcff"), method="POST", request_id="r1")
    assert json.loads(lone.body)["message"] == "?"


def test_particular_errors_carry_what_the_client_needs() -> None:
    def answer(error: UploadError, method: str = "PATCH") -> Answer:
        return tus1.build_error(error, method=method, request_id="r")

    assert answer(e.UnsupportedVersion("1.0.0")).header("Tus-Version") == "1.0.0"
    assert answer(e.MethodNotAllowed(("HEAD", "PATCH"))).header("Allow") == "HEAD, PATCH"
    assert answer(e.OffsetMismatch(stored=5, requested=3)).header("Upload-Offset") == "5"
    assert answer(e.NotFound()).header("Tus-Resumable") == "1.0.0"
    assert answer(e.NotFound(), "OPTIONS").header("Tus-Resumable") is None


# ------------------------------------------------------------------ requests


@pytest.mark.parametrize("values", [[], ["0.2.2"], ["1.0.0", "0.2.2"], [""], ["1.0"]])
def test_another_version_is_not_processed(values: list[str]) -> None:
    """TUS-CORE-07, TUS-CORE-39."""
    with pytest.raises(e.UnsupportedVersion):
        tus1.check_version(CIMultiDict([("Tus-Resumable", value) for value in values]))
    tus1.check_version(CIMultiDict({"tus-resumable": " 1.0.0 "}))


@pytest.mark.parametrize(
    ("fields", "announced", "outcome"),
    [
        ({"Upload-Length": "5"}, 0, 5),
        ({"Upload-Length": "0", "Content-Type": "text/plain"}, 0, 0),
        ({"Upload-Defer-Length": "1"}, 0, None),
        ({"Upload-Length": "5", **BYTES}, None, 5),
        ({}, 0, e.LengthMissing),
        ({"Upload-Length": "x"}, 0, e.InvalidHeader),
        ({"Upload-Defer-Length": "2"}, 0, e.InvalidHeader),
        ({"Upload-Length": "5", "Upload-Defer-Length": "1"}, 0, e.InvalidHeader),
        ({"Upload-Length": "5", "Content-Type": "text/plain"}, 3, e.UnsupportedMediaType),
        ({"Upload-Length": "5"}, None, e.UnsupportedMediaType),
        ({"Upload-Concat": "final;/upload/1"}, 0, None),
        ({"Upload-Concat": "final;/upload/1", "Upload-Length": "3"}, 0, 3),
        ({"Upload-Concat": "final;/upload/1", **BYTES}, 3, e.UploadIsFinal),
        ({"Upload-Concat": "final;/upload/2"}, 0, e.PartUnusable),
        ({"Upload-Concat": "final;"}, 0, e.InvalidHeader),
        ({"Upload-Concat": "final;//h\udcff/upload/1"}, 0, e.InvalidHeader),
        ({"Upload-Concat": "other", "Upload-Length": "3"}, 0, e.InvalidHeader),
        ({"Upload-Concat": "partial"}, 0, e.LengthMissing),
        ({"Upload-Length": "5", "Upload-Metadata": "a b"}, 0, e.InvalidMetadata),
    ],
)
def test_a_creation_is_read(
    fields: dict[str, str], announced: int | None, outcome: int | type[UploadError] | None
) -> None:
    """TUS-CRE-07, TUS-CRE-08, TUS-CWU-05, TUS-DEF-01."""
    if isinstance(outcome, type):
        with pytest.raises(outcome):
            TUS.parse_create(asked(fields, announced))
        return
    command = TUS.parse_create(asked(fields, announced))
    assert (command.length, command.announced_bytes) == (outcome, announced)


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({**BYTES, "Upload-Offset": "5"}, (5, None)),
        ({**BYTES, "Upload-Offset": "5", "Upload-Length": "9"}, (5, 9)),
        ({"Upload-Offset": "5"}, e.UnsupportedMediaType),
        (BYTES, e.MissingHeader),
        ({**BYTES, "Upload-Offset": "-5"}, e.InvalidHeader),
        ({**BYTES, "Upload-Offset": "5", "Upload-Length": "x"}, e.InvalidHeader),
    ],
)
def test_an_append_is_read(
    fields: dict[str, str], outcome: tuple[int, int | None] | type[UploadError]
) -> None:
    """TUS-CORE-23, TUS-CORE-40, TUS-DEF-06."""
    if isinstance(outcome, type):
        with pytest.raises(outcome):
            TUS.parse_append(asked(fields, 3), ID)
        return
    command = TUS.parse_append(asked(fields, 3), ID)
    assert (command.offset, command.declared_length) == outcome


def test_parts_and_wholes_are_told_apart() -> None:
    """TUS-CAT-02, TUS-CAT-09, TUS-CAT-15, TUS-CAT-16: the list in its order, the wire as it was."""
    part = TUS.parse_create(asked({"Upload-Concat": "partial", "Upload-Length": "1"}))
    wire = "final;/upload/1  http://h/upload/1"
    whole = TUS.parse_create(asked({"Upload-Concat": wire}))
    assert (part.kind, part.concat, part.parts) == (Kind.PARTIAL, "partial", ())
    assert (whole.kind, whole.concat, whole.parts) == (Kind.FINAL, wire, (PART, PART))


def test_put_is_no_method_of_tus() -> None:
    TUS.check(asked({"Tus-Resumable": "1.0.0"}))
    with pytest.raises(e.MethodNotAllowed):
        TUS.check(asked({"Tus-Resumable": "1.0.0"}, method="PUT"))


def append(fields: dict[str, str], announced: int | None = 3, **more: Any) -> Promise | None:
    return TUS.parse_append(
        asked({**BYTES, "Upload-Offset": "5", **fields}, announced, **more), ID
    ).promise


def test_a_checksum_in_the_head_is_known_before_the_body() -> None:
    """TUS-CHK-13."""
    promise = append({"Upload-Checksum": SHA1})
    assert promise is not None and promise.trailer is None
    assert promise.digests == (Digest(Algorithm.SHA1, base64.b64decode(SHA1[5:])),)
    assert append({}) is None


def test_a_checksum_in_the_trailer_is_asked_for_where_it_was_announced() -> None:
    """TUS-CHK-12."""
    announce = {"Trailer": "X-A, upload-checksum"}
    promise = append(announce, None, trailers={"upload-checksum": SHA1})
    assert promise is not None and promise.trailer is not None and not promise.digests
    assert promise.trailer() == (Digest(Algorithm.SHA1, base64.b64decode(SHA1[5:])),)
    silent = append(announce, None)
    assert silent is not None and silent.trailer is not None and silent.trailer() == ()
    assert append(announce, 3) is None, "a body with a length has no trailers"
    assert append({"Trailer": "X-A"}, None) is None


def test_the_hexadecimal_digest_of_one_client_is_ignored_or_refused() -> None:
    """TUS-CHK-01: by a setting, and never silently."""
    remarks: list[str] = []
    assert append({"Upload-Checksum": HEX_SHA1}, remarks=remarks) is None
    assert remarks == ["checksum_ignored"]
    strict = tus1.Tus1(terms(ignores_hex_checksums=False))
    head = {**BYTES, "Upload-Offset": "5", "Upload-Checksum": HEX_SHA1}
    with pytest.raises(e.InvalidHeader):
        strict.parse_append(asked(head, 3), ID)


# ------------------------------------------------------------------ answers


def test_options_names_what_there_is() -> None:
    """TUS-CORE-34, TUS-CORE-10, TUS-CORE-13, TUS-EXP-01."""
    full = dict(tus1.build_offer(terms(max_bytes=7, expire_seconds=60)))
    bare = dict(tus1.build_offer(terms()))
    assert full["Tus-Max-Size"] == "7"
    assert full["Tus-Extension"].endswith(",expiration")
    assert full["Tus-Checksum-Algorithm"] == "sha1,sha256,sha512,md5,crc32c"
    assert "Tus-Max-Size" not in bare
    assert "expiration" not in bare["Tus-Extension"]


def test_an_offset_is_told_with_the_length_or_that_it_is_deferred() -> None:
    """TUS-CORE-16, TUS-CORE-17, TUS-DEF-03, TUS-DEF-05, TUS-CRE-10."""
    known = TUS.build_offset(asked(), an_upload(metadata=Metadata("a YQ==")))
    late = TUS.build_offset(asked(), an_upload(length=None))
    assert (known.status, known.header("Upload-Length")) == (200, "10")
    assert (known.header("Upload-Defer-Length"), known.header("Upload-Metadata")) == (
        None,
        "a YQ==",
    )
    assert (late.header("Upload-Length"), late.header("Upload-Defer-Length")) == (None, "1")
    assert late.header("Upload-Metadata") is None


def test_only_what_will_expire_says_when() -> None:
    """TUS-EXP-02, TUS-EXP-03."""
    going = TUS.build_appended(asked(), an_upload(expires_at=784111777.0))
    done = TUS.build_appended(asked(), an_upload(expires_at=784111777.0, status=Status.COMPLETE))
    made = TUS.build_created(asked(), an_upload(), "/upload/x")
    assert going.header("Upload-Expires") == "Sun, 06 Nov 1994 08:49:37 GMT"
    assert done.header("Upload-Expires") is None
    assert (made.status, made.header("Location")) == (201, "/upload/x")
    assert (made.header("Upload-Offset"), made.header("Upload-Expires")) == ("4", None)
    assert TUS.build_terminated(asked()).status == 204


def test_a_joining_upload_tells_no_offset() -> None:
    """TUS-CAT-11, TUS-CAT-14, TUS-CAT-15."""
    whole = {"kind": Kind.FINAL, "status": Status.JOINING, "concat": "final;/upload/1"}
    known = TUS.build_offset(asked(), an_upload(**whole, expires_at=784111777.0))
    late = TUS.build_offset(asked(), an_upload(**whole, length=None))
    assert known.header("Upload-Offset") is None and known.header("Upload-Length") == "10"
    assert known.header("Upload-Expires") is not None
    assert known.header("Upload-Concat") == "final;/upload/1"
    assert late.header("Upload-Length") is None and late.header("Upload-Defer-Length") is None


def test_a_complete_part_goes_on_to_expire() -> None:
    """TUS-EXP-02: until it is joined and for a while after it."""
    part = an_upload(kind=Kind.PARTIAL, status=Status.COMPLETE, expires_at=784111777.0)
    assert TUS.build_appended(asked(), part).header("Upload-Expires") is not None


def test_only_the_offset_is_told_while_a_body_comes_in_other_protocols() -> None:
    """tus has no interim answers."""
    assert TUS.build_early(asked(), an_upload(), "/upload/x") is None
    assert TUS.build_progress(asked(), an_upload()) is None
    assert TUS.parse_read(asked(), ID).upload_id == TUS.parse_terminate(asked(), ID).upload_id
    error = TUS.build_error(e.UploadUnknown(), method="HEAD", request_id="r")
    assert error.status == 404
