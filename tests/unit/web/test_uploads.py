"""The tus endpoint over a real connection."""

import json

import pytest

from tests.support.wire import Wire
from tests.unit.web.rig import PATCH, TUS, Rig, running
from tusd_py.core.errors import StateUnavailable, StorageFull


async def test_an_upload_is_made_filled_read_and_removed(rig: Rig, wire: Wire) -> None:
    """One connection carries POST, PATCH, HEAD and DELETE with the exact statuses."""
    made = await wire.request(
        "POST", "/upload/", {**TUS, "Upload-Length": "10", "Upload-Metadata": "a YQ==,token dA=="}
    )
    assert (made.status, made.offset) == (201, 0)
    assert made.location == f"http://{wire.netloc}/upload/{1:032x}"
    assert made.headers["Upload-Expires"] == "Fri, 15 Jan 2027 08:00:00 GMT"
    patched = await wire.request("PATCH", made.location, {**PATCH, "Upload-Offset": "0"}, b"12345")
    assert (patched.status, patched.offset, patched.body) == (204, 5, b"")
    assert "Upload-Expires" in patched.headers
    head = await wire.request("HEAD", made.location, TUS)
    assert (head.status, head.offset, head.length) == (200, 5, 10)
    assert head.headers["Upload-Metadata"] == "a YQ=="
    assert head.headers["Cache-Control"] == "no-store"
    last = await wire.request("PATCH", made.location, {**PATCH, "Upload-Offset": "5"}, b"67890")
    assert (last.status, last.offset) == (204, 10)
    assert "Upload-Expires" not in last.headers
    assert (await wire.request("HEAD", made.location, TUS)).offset == 10
    gone = await wire.request("DELETE", made.location, TUS)
    assert (gone.status, gone.body) == (204, b"")
    unknown = await wire.request("HEAD", made.location, TUS)
    assert unknown.status == 404
    assert "Upload-Offset" not in unknown.headers
    assert rig.bytes_of(made.location) == b"1234567890"


@pytest.mark.parametrize("path", ["/upload", "/upload/", "*"])
async def test_options_says_what_is_offered(rig: Rig, wire: Wire, path: str) -> None:
    answer = await wire.request("OPTIONS", path)
    assert answer.status == 204
    assert answer.headers["Tus-Version"] == "1.0.0"
    assert answer.headers["Tus-Extension"] == (
        "creation,creation-with-upload,creation-defer-length,termination,checksum,"
        "checksum-trailer,concatenation,concatenation-unfinished,expiration"
    )
    assert answer.headers["Tus-Max-Size"] == str(1 << 30)
    assert "Tus-Resumable" not in answer.headers
    assert rig.access.seen == []


async def test_a_creation_takes_the_first_bytes(rig: Rig, wire: Wire) -> None:
    made = await wire.request("POST", "/upload", {**PATCH, "Upload-Length": "10"}, b"1234")
    assert (made.status, made.offset) == (201, 4)
    assert await wire.is_usable()


async def test_an_upload_sent_after_the_length_is_known_late(rig: Rig, wire: Wire) -> None:
    made = await wire.request("POST", "/upload", {**TUS, "Upload-Defer-Length": "1"})
    head = await wire.request("HEAD", made.location, TUS)
    assert head.headers["Upload-Defer-Length"] == "1"
    assert "Upload-Length" not in head.headers
    sent = await wire.request(
        "PATCH", made.location, {**PATCH, "Upload-Offset": "0", "Upload-Length": "3"}, b"abc"
    )
    assert sent.status == 204
    assert (await wire.request("HEAD", made.location, TUS)).length == 3


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "code"),
    [
        ("POST", "/upload/", {"Upload-Length": "1"}, 412, "ERR_UNSUPPORTED_VERSION"),
        ("POST", "/upload/", TUS, 400, "ERR_LENGTH_MISSING"),
        ("GET", "/upload/", TUS, 405, "ERR_METHOD_NOT_ALLOWED"),
        ("POST", f"/upload/{1:032x}", TUS, 405, "ERR_METHOD_NOT_ALLOWED"),
        ("PATCH", "/upload/../x", TUS, 404, "ERR_NOT_FOUND"),
        ("DELETE", "/upload/x", TUS, 404, "ERR_UPLOAD_UNKNOWN"),
        ("DELETE", "/upload/x/y", TUS, 404, "ERR_NOT_FOUND"),
        ("PATCH", f"/upload/{1:032x}", TUS, 415, "ERR_UNSUPPORTED_MEDIA_TYPE"),
        ("PATCH", f"/upload/{1:032x}", PATCH, 400, "ERR_MISSING_HEADER"),
        ("GET", "/nothing", {}, 404, "ERR_NOT_FOUND"),
        ("GET", "/uploads", {}, 404, "ERR_NOT_FOUND"),
        ("DELETE", f"/upload/{9:032x}", {**TUS, "Authorization": "Bearer bad"}, 401, None),
        ("OPTIONS", "/upload/", {"Expect": "tea"}, 417, "ERR_EXPECTATION_FAILED"),
        ("GET", "/upload/", {**TUS, "X-HTTP-Method-Override": "BREW"}, 501, "ERR_METHOD_UNKNOWN"),
    ],
)
async def test_a_refusal_says_why(
    rig: Rig,
    wire: Wire,
    method: str,
    path: str,
    headers: dict[str, str],
    status: int,
    code: str | None,
) -> None:
    """Status, stable code, a sentence, the request's id, and what browsers need to read it."""
    answer = await wire.request(method, path, {**headers, "X-Request-ID": "my.id"})
    assert answer.status == status, answer
    said = json.loads(answer.body)
    assert code in (None, said["code"])
    assert said["message"].strip() and said["request_id"] == "my.id"
    assert answer.headers["X-Request-ID"] == "my.id"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Upload-Offset" in answer.headers["Access-Control-Expose-Headers"]
    assert ("Tus-Resumable" in answer.headers) == (method != "OPTIONS")
    assert ("Allow" in answer.headers) == (status == 405)
    assert (answer.headers.get("WWW-Authenticate") == "Bearer") == (status == 401)
    assert await wire.is_usable()


@pytest.mark.parametrize("override", ["PATCH", "Patch", " patch"])
@pytest.mark.parametrize("wire_method", ["POST", "GET", "PUT"])
async def test_the_override_is_the_method(
    rig: Rig, wire: Wire, wire_method: str, override: str
) -> None:
    """TUS-CORE-14, TUS-CORE-15: whatever stands on the wire, in any case of letters."""
    path = await rig.an_upload(wire)
    answer = await wire.request(
        wire_method,
        path,
        {**PATCH, "Upload-Offset": "0", "X-HTTP-Method-Override": override},
        b"abc",
    )
    assert (answer.status, answer.offset) == (204, 3)


async def test_an_overridden_head_is_framed_for_the_method_on_the_wire(
    rig: Rig, wire: Wire
) -> None:
    path = await rig.an_upload(wire)
    answer = await wire.request("POST", path, {**TUS, "X-HTTP-Method-Override": "HEAD"})
    assert (answer.status, answer.headers["Content-Length"]) == (200, "0")
    answer = await wire.request("HEAD", path, {**TUS, "X-HTTP-Method-Override": "PUT"})
    assert (answer.status, answer.body) == (405, b"")
    assert await wire.is_usable()


@pytest.mark.parametrize("error", [StateUnavailable(), StorageFull(), ZeroDivisionError()])
async def test_a_head_is_never_answered_5xx(rig: Rig, wire: Wire, error: Exception) -> None:
    """tus-js-client would start again from byte 0."""
    path = await rig.an_upload(wire)
    rig.uploads.fails_with.append(error)
    answer = await wire.request("HEAD", path, TUS)
    assert answer.status == 423
    assert int(answer.headers["Retry-After"]) >= 1


async def test_a_fault_of_ours_is_a_500_without_its_text(rig: Rig, wire: Wire) -> None:
    rig.uploads.fails_with.append(RuntimeError("secret"))
    answer = await wire.request("POST", "/upload/", {**TUS, "Upload-Length": "1"})
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert await wire.is_usable()


async def test_a_preflight_is_answered_without_a_token(rig: Rig, wire: Wire) -> None:
    answer = await wire.request(
        "OPTIONS",
        f"/upload/{1:032x}",
        {
            "Origin": "https://a.example",
            "Access-Control-Request-Method": "PATCH",
            "Access-Control-Request-Headers": "upload-offset",
        },
    )
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "PATCH" in answer.headers["Access-Control-Allow-Methods"]
    assert "X-Request-ID" in answer.headers["Access-Control-Allow-Headers"]
    assert answer.headers["Access-Control-Max-Age"] == "86400"
    assert rig.access.seen == []


async def test_listed_origins_are_echoed_and_others_are_not() -> None:
    """CORS-VARY, CORS-REFLECT."""
    async with running(cors_origins=["https://a.example"], cors_credentials=True) as rig:
        wire = await rig.wire()
        listed = await wire.request("OPTIONS", "/upload/", {"Origin": "https://a.example"})
        other = await wire.request("OPTIONS", "/upload/", {"Origin": "https://b.example"})
    assert listed.headers["Access-Control-Allow-Origin"] == "https://a.example"
    assert listed.headers["Access-Control-Allow-Credentials"] == "true"
    assert "Access-Control-Allow-Origin" not in other.headers
    assert listed.headers["Vary"] == other.headers["Vary"] == "Origin"


async def test_two_metadata_lines_are_one_and_the_first_value_counts(rig: Rig, wire: Wire) -> None:
    """The guide's bash client sends its own filename in a second line."""
    fields = [*TUS.items(), ("Upload-Length", "1")]
    fields += [("Upload-Metadata", "filename YQ==,x"), ("Upload-Metadata", "filename Yg==,y Yw==")]
    made = await wire.request("POST", "/upload/", fields)
    assert made.status == 201
    head = await wire.request("HEAD", made.location, TUS)
    assert head.headers["Upload-Metadata"] == "filename YQ==,x,y Yw=="


async def test_every_answer_is_counted(rig: Rig, wire: Wire) -> None:
    await rig.an_upload(wire)
    await wire.request("GET", "/upload/")
    assert rig.counted == [("POST", 201, None), ("GET", 405, "ERR_METHOD_NOT_ALLOWED")]


async def test_an_id_that_is_not_harmless_is_replaced(rig: Rig, wire: Wire) -> None:
    answer = await wire.request("OPTIONS", "/upload/", {"X-Request-ID": "a b"})
    assert answer.headers["X-Request-ID"] not in ("", "a b")
