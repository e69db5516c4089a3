"""Raw bodies as uploads, what is none, and what is left when one is cut."""

import base64
import hashlib

import pytest

from tests.conformance.conftest import MAX_BYTES
from tests.conformance.oneshots import (
    IDS,
    VIDEO,
    bearer,
    made,
    put,
    refused,
)
from tests.conformance.uploads import (
    METADATA,
    TUS,
    new_upload,
    offset_of,
    refusal,
    some_bytes,
    spelled_delete,
    stored_bytes,
    stored_files,
)
from tests.support import tus
from tests.support.forms import file, form, form_type
from tests.support.server import Server
from tests.support.wire import connected, request

SIZE = 600_000
CUTS = [0, 1, 1000, 262_144, 599_999]
EXPECT = {"Expect": "100-continue"}


# ------------------------------------------------------------------ the body is the file


@pytest.mark.parametrize("size", [0, 1, SIZE])
async def test_a_put_is_an_upload(server: Server, size: int) -> None:
    """HTTP-RAW: 201, its address, and JSON; HEAD of it is that of any upload."""
    data = some_bytes(size)
    answer = await put(server, data, "holiday%20film.mp4", VIDEO)
    (upload,) = made(answer)
    assert upload["length"] == size
    assert "Tus-Resumable" not in answer.headers
    head = await tus.head(answer.location)
    assert (head.status, head.offset, head.length) == (200, size, size)
    expected = tus.encode_metadata({"filetype": "video/mp4", "filename": "holiday film.mp4"})
    assert set(head.headers["Upload-Metadata"].split(",")) == set(expected.split(","))
    assert stored_bytes(server, answer.location) == data


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("chunked", [False, True])
async def test_the_endpoint_takes_bodies(server: Server, method: str, chunked: bool) -> None:
    """HTTP-RAW, HTTP-CHUNKED, HTTP-KEEPALIVE: of both methods, with a length or without."""
    data = some_bytes(SIZE)
    framing = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(SIZE)}
    async with connected(server.base) as wire:
        await wire.send_head(method, server.endpoint, bearer(server) | VIDEO | framing)
        if chunked:
            await wire.send_chunk(data)
            await wire.end_chunks()
        else:
            await wire.send(data)
        answer = await wire.read_response()
        made(answer)
        assert await wire.is_usable()
    assert stored_bytes(server, answer.location) == data


async def test_an_override_puts(server: Server) -> None:
    """HTTP-RAW, TUS-CORE-14: the header is the method here too."""
    headers = bearer(server) | {"X-HTTP-Method-Override": "put"}
    answer = await request("POST", server.endpoint + "a.mp4", headers, b"12345")
    made(answer)
    assert stored_bytes(server, answer.location) == b"12345"


async def test_metadata_may_come_along(server: Server) -> None:
    """HTTP-RAW, TUS-CRE-10: in tus's header; what it says counts before the path and the type."""
    told = tus.encode_metadata({"filename": "b.mp4", "take": "2"} | IDS)
    answer = await put(server, b"1", "a.mp4", VIDEO | {"Upload-Metadata": told})
    made(answer)
    wire = (await tus.head(answer.location)).headers["Upload-Metadata"]
    assert wire == told + "," + tus.encode_metadata({"filetype": "video/mp4"})


@pytest.mark.parametrize("how", ["header", "metadata"])
async def test_the_token_is_read_where_tus_has_it(server: Server, how: str) -> None:
    """HTTP-ONETOKEN, HTTP-RAW: in Authorization, or as a pair of Upload-Metadata, which HEAD does
    not repeat."""
    if how == "header":
        headers = bearer(server)
    else:
        pairs = IDS | {"token": server.mint()}
        headers = {"Upload-Metadata": tus.encode_metadata(pairs)}
    answer = await request("PUT", server.endpoint + "a.mp4", headers, b"1")
    made(answer)
    assert "token" not in (await tus.head(answer.location)).headers["Upload-Metadata"]


async def test_without_tokens_the_metadata_says_whose_it_is(open_server: Server) -> None:
    """HTTP-ONETOKEN, HTTP-RAW: nobody has to say anything."""
    headers = {"Upload-Metadata": tus.encode_metadata(METADATA)}
    made(await request("PUT", open_server.endpoint + "a.mp4", headers, b"1"))
    made(await request("PUT", open_server.endpoint, {}, b"1"))


@pytest.mark.parametrize(
    ("pairs", "has_bearer", "status", "code"),
    [
        ({}, False, 401, "ERR_TOKEN_INVALID"),
        (IDS, False, 401, "ERR_TOKEN_INVALID"),
        (IDS | {"video_id": "1002"}, True, 403, "ERR_TOKEN_VIDEO"),
        (IDS | {"client_id": "8"}, True, 403, "ERR_TOKEN_CLIENT"),
        (IDS | {"token": "abcdefghijklmnop"}, False, 401, "ERR_TOKEN_INVALID"),
    ],
)
async def test_a_put_without_a_right_is_refused_before_its_body(
    server: Server, pairs: dict[str, str], has_bearer: bool, status: int, code: str
) -> None:
    """HTTP-ONETOKEN, HTTP-EXPECT: no 100, nothing stored."""
    before = stored_files(server)
    headers = EXPECT | {"Upload-Metadata": tus.encode_metadata(pairs), "Content-Length": "9"}
    headers |= bearer(server) if has_bearer else {}
    async with connected(server.base) as wire:
        await wire.send_head("PUT", server.endpoint + "a.mp4", headers)
        answer = await wire.read_response()
    refused(answer, status, code)
    assert answer.interim == ()
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)
    assert stored_files(server) == before


async def test_a_platform_may_want_500_here_too(platform_server: Server) -> None:
    """HTTP-ONETOKEN: the operator's status for token refusals."""
    answer = await request("PUT", platform_server.endpoint + "a", {}, b"1")
    assert refused(answer, 500, "ERR_TOKEN_INVALID")["message"] == "token invalid (null)"


async def test_a_put_is_invited(server: Server) -> None:
    """HTTP-EXPECT, HTTP-RAW: curl waits for it with every large file."""
    async with connected(server.base) as wire:
        headers = bearer(server) | EXPECT | {"Content-Length": "5"}
        await wire.send_head("PUT", server.endpoint + "a.mp4", headers)
        assert await wire.read_continue() is None
        await wire.send(b"hello")
        made(await wire.read_response())
        assert await wire.is_usable()


async def test_a_file_over_the_bound_is_refused_before_its_body(server: Server) -> None:
    """HTTP-RAW, TUS-CRE-11: 413 and no 100; one of unknown length once it passes the bound, and
    then nothing of it stays."""
    before = stored_files(server)
    headers = bearer(server) | EXPECT | {"Content-Length": str(MAX_BYTES + 1)}
    async with connected(server.base) as wire:
        await wire.send_head("PUT", server.endpoint + "a", headers)
        answer = await wire.read_response()
        assert answer.interim == ()
        refused(answer, 413, "ERR_UPLOAD_TOO_LARGE")
    async with connected(server.base) as wire:
        headers = bearer(server) | {"Transfer-Encoding": "chunked"}
        await wire.send_head("PUT", server.endpoint + "a", headers)
        await wire.send_chunk(bytes(MAX_BYTES))
        await wire.send_chunk(b"1")
        answer = await wire.read_response()
    said = refused(answer, 413, "ERR_UPLOAD_TOO_LARGE")
    assert "uploads" not in said and "Location" not in answer.headers
    assert stored_files(server) == before


async def test_a_token_may_allow_one_file(server: Server) -> None:
    """HTTP-ONETOKEN: sent again it finds its upload; another file is refused."""
    token = {"Authorization": f"Bearer {server.mint(jti='oneshot-1', once=True)}"}
    first = await put(server, b"12345", "a.mp4", token)
    again = await put(server, b"12345", "a.mp4", token)
    assert made(first)[0]["id"] == made(again)[0]["id"]
    refused(await put(server, b"123456", "a.mp4", token), 403, "ERR_TOKEN_SCOPE")


async def test_a_digest_is_verified(server: Server) -> None:
    """HTTP-RAW: Repr-Digest and Content-Digest are of the whole file; a file that is not what they
    say is refused and gone."""
    right = base64.b64encode(hashlib.sha256(b"12345").digest()).decode()
    for name in ("Repr-Digest", "Content-Digest"):
        made(await put(server, b"12345", "a", {name: f"sha-256=:{right}:"}))
        answer = await put(server, b"12346", "a", {name: f"sha-256=:{right}:"})
        assert "uploads" not in refused(answer, 400, "ERR_DIGEST_MISMATCH")


# ------------------------------------------------------------------ what is none


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        (TUS | VIDEO | {"Upload-Length": "5"}, 415, "ERR_UNSUPPORTED_MEDIA_TYPE"),
        (TUS | form_type() | {"Upload-Length": "5"}, 415, "ERR_UNSUPPORTED_MEDIA_TYPE"),
        (VIDEO | {"Upload-Length": "5"}, 412, "ERR_UNSUPPORTED_VERSION"),
        (VIDEO | {"Upload-Defer-Length": "1"}, 412, "ERR_UNSUPPORTED_VERSION"),
        (VIDEO | {"Upload-Concat": "partial"}, 412, "ERR_UNSUPPORTED_VERSION"),
        (VIDEO | {"Upload-Offset": "0"}, 412, "ERR_UNSUPPORTED_VERSION"),
        (VIDEO | {"Upload-Checksum": "sha1 x"}, 412, "ERR_UNSUPPORTED_VERSION"),
        ({"Content-Type": tus.OFFSET_STREAM}, 412, "ERR_UNSUPPORTED_VERSION"),
        ({}, 412, "ERR_UNSUPPORTED_VERSION"),
    ],
)
async def test_what_a_proxy_left_of_a_tus_request_is_no_upload(
    server: Server, headers: dict[str, str], status: int, code: str
) -> None:
    """HTTP-ONESIGN, TUS-CORE-39, TUS-CORE-09: an answer that looks like success would make its
    client believe that it had created something."""
    before = stored_files(server)
    answer = await request("POST", server.endpoint, bearer(server) | headers, b"12345")
    refusal(answer, status, code)
    assert stored_files(server) == before


async def test_a_post_without_a_body_is_no_upload(server: Server) -> None:
    """HTTP-ONESIGN, TUS-CORE-39: there is no file in it."""
    answer = await request("POST", server.endpoint, bearer(server) | VIDEO, b"")
    refusal(answer, 412, "ERR_UNSUPPORTED_VERSION")


async def test_an_uploads_address_is_not_put_to(server: Server) -> None:
    """HTTP-ONESIGN, HTTP-METHOD: 405, and the upload stays as it is."""
    url = await new_upload(server, length=10, data=b"12345")
    answer = await request("PUT", url, bearer(server), b"xxxxxxxxxx")
    refusal(answer, 405, "ERR_METHOD_NOT_ALLOWED")
    assert "PUT" not in answer.headers["Allow"]
    assert await offset_of(url) == 5


@pytest.mark.parametrize("name", ["a/b", "a%2Fb", "%2e%2e%2fb", "..", "%2E", "a%5Cb", "a/", "%00"])
async def test_a_path_that_is_no_name_is_not_found(server: Server, name: str) -> None:
    """HTTP-RAW, SEC-PATH: 404, nothing stored."""
    before = stored_files(server)
    refused(await put(server, b"1", name), 404, "ERR_NOT_FOUND")
    assert stored_files(server) == before


async def test_part_of_a_file_is_refused(server: Server) -> None:
    """HTTP-RAW: what ``curl -C`` sends would become a file that lacks its beginning."""
    before = stored_files(server)
    answer = await put(server, b"12345", "a", {"Content-Range": "bytes 5-9/10"})
    assert "Content-Range" in refused(answer, 400, "ERR_INVALID_HEADER")["message"]
    assert stored_files(server) == before


async def test_forms_of_other_sites_are_kept_out(proxied_server: Server) -> None:
    """HTTP-FORM, CORS-NOORIGIN, CORS-REFLECT: a browser sends them without asking first. Pages of
    the listed origins, and of the server's own, may upload."""
    server = proxied_server

    async def send(origin: str | None) -> int:
        headers = form_type() | bearer(server) | ({} if origin is None else {"Origin": origin})
        return (await request("POST", server.endpoint, headers, form(file(b"1")))).status

    assert await send(None) == 201
    assert await send("https://studio.example") == 201
    assert await send(server.base.rstrip("/")) == 201
    before = stored_files(server)
    assert await send("https://evil.example") == 400
    assert await send("null") == 400
    assert stored_files(server) == before


async def test_a_refused_body_is_no_request(server: Server) -> None:
    """HTTP-FRAMING: its bytes spell one, and are never carried out."""
    victim = await new_upload(server)
    async with connected(victim) as wire:
        body = spelled_delete(victim, wire.netloc) * 3
        headers = {"Content-Length": str(len(body)), "Authorization": "Bearer wrong"}
        await wire.send_head("PUT", server.endpoint + "a", headers)
        await wire.send(body)
        refused(await wire.read_response(), 401, "ERR_TOKEN_INVALID")
        assert await wire.is_usable()
    assert (await tus.head(victim)).status == 200
