"""Creation: lengths, addresses, bytes that come with it, and lengths that come later."""

import re
from urllib.parse import urljoin

import pytest

from tests.conformance.conftest import MAX_BYTES
from tests.conformance.uploads import (
    METADATA,
    TUS,
    listed_uploads,
    new_upload,
    offset_of,
    refusal,
    some_bytes,
    stored_bytes,
    stored_files,
)
from tests.support import tus
from tests.support.server import Server
from tests.support.wire import connected, request

NO_NUMBERS = ["-1", "+1", "1_0", "0x1", "1.5", "1e3", "ten", "", "²", "5 5", "1,2"]


@pytest.mark.parametrize("path", ["/upload/", "/upload"])
async def test_a_creation_tells_the_address(server: Server, path: str) -> None:
    """TUS-CRE-01, TUS-CRE-12, TUS-CRE-13, TUS-CRE-14, TUS-CORE-38: exactly 201, at the endpoint
    with and without its slash; the new upload is at 0."""
    endpoint = server.base.rstrip("/") + path
    answer = await tus.create(endpoint, length=10, metadata=METADATA, bearer=server.mint())
    assert answer.status == 201
    assert answer.body == b""
    assert re.fullmatch(re.escape(server.endpoint) + r"[0-9a-f]{32}", answer.location)
    assert answer.headers["Upload-Offset"] == "0"
    assert await offset_of(answer.location) == 0


async def test_the_address_is_the_one_the_client_used(server: Server) -> None:
    """TUS-CRE-13: Location names the host that the request named."""
    async with connected(server.base) as wire:
        headers = TUS | {"Upload-Length": "1", "Authorization": f"Bearer {server.mint()}"}
        await wire.send_head("POST", "/upload/", headers, host="up.example:8443")
        answer = await wire.read_response()
    assert answer.location.startswith("http://up.example:8443/upload/")


async def test_the_address_may_be_configured(prefixed_server: Server) -> None:
    """TUS-CRE-13, TUS-CORE-38: with a public URL that is what Location begins with, whatever the
    request says, and the path is a setting."""
    answer = await tus.create(
        prefixed_server.endpoint, length=3, metadata=METADATA, bearer=prefixed_server.mint()
    )
    assert answer.location.startswith("https://up.example/api/files/")
    url = prefixed_server.base.rstrip("/") + "/files/" + answer.location.rpartition("/")[2]
    assert (await tus.patch(url, 0, b"abc")).offset == 3
    refusal(await request("POST", prefixed_server.base + "/upload/", TUS), 404, "ERR_NOT_FOUND")


@pytest.mark.parametrize("with_body", [False, True])
async def test_an_upload_of_no_bytes(server: Server, with_body: bool) -> None:
    """TUS-CRE-08, TUS-CORE-03: it is complete when its creation is answered, without a PATCH."""
    answer = await tus.create(
        server.endpoint,
        length=0,
        metadata=METADATA,
        bearer=server.mint(),
        body=b"" if with_body else None,
    )
    assert (answer.status, answer.offset) == (201, 0)
    head = await tus.head(answer.location)
    assert (head.status, head.offset, head.length) == (200, 0, 0)
    record = next(
        one for one in await listed_uploads(server) if answer.location.endswith(one["upload_id"])
    )
    assert record["status"] == "complete"


async def test_a_creation_without_a_length_is_refused(server: Server) -> None:
    """TUS-CRE-07: neither Upload-Length nor Upload-Defer-Length is 400, and nothing is made."""
    before = stored_files(server)
    headers = TUS | {"Authorization": f"Bearer {server.mint()}"}
    refusal(await request("POST", server.endpoint, headers), 400, "ERR_LENGTH_MISSING")
    assert stored_files(server) == before


@pytest.mark.parametrize("value", NO_NUMBERS)
async def test_a_length_that_is_no_number_is_refused(server: Server, value: str) -> None:
    """TUS-CORE-03, TUS-CRE-07: 400, and nothing is made."""
    before = stored_files(server)
    headers = TUS | {"Authorization": f"Bearer {server.mint()}", "Upload-Length": value}
    refusal(await request("POST", server.endpoint, headers), 400, "ERR_INVALID_HEADER")
    assert stored_files(server) == before


@pytest.mark.parametrize(
    "length",
    [MAX_BYTES + 1, 2**63 - 1, 2**63, 2**64, 10**30, pytest.param(10**400, id="400 digits")],
)
async def test_a_length_over_the_bound_is_refused(server: Server, length: int) -> None:
    """TUS-CRE-11, TUS-CORE-12: 413 for every number over Tus-Max-Size, and nothing is made."""
    before = stored_files(server)
    answer = await tus.create(
        server.endpoint, length=length, metadata=METADATA, bearer=server.mint()
    )
    assert str(MAX_BYTES) in refusal(answer, 413, "ERR_UPLOAD_TOO_LARGE")
    assert stored_files(server) == before


async def test_a_length_at_the_bound_is_taken(server: Server) -> None:
    """TUS-CRE-11, TUS-CORE-12: Tus-Max-Size itself is allowed."""
    answer = await tus.create(
        server.endpoint, length=MAX_BYTES, metadata=METADATA, bearer=server.mint()
    )
    assert answer.status == 201


@pytest.mark.parametrize(
    ("length", "status"),
    [(2**31, 201), (2**32 + 1, 201), (2**53 + 1, 201), (2**63 - 1, 201), (2**63, 413)],
)
async def test_lengths_reach_as_far_as_files(open_server: Server, length: int, status: int) -> None:
    """TUS-CORE-03, TUS-CRE-11: without a bound what a file can have is taken, exactly; not
    more."""
    answer = await tus.create(open_server.endpoint, length=length)
    assert answer.status == status
    if status == 201:
        assert (await tus.head(answer.location)).length == length


# ------------------------------------------------------------------ creation-with-upload


@pytest.mark.parametrize("sent", [1, 6000, 10_000])
async def test_bytes_may_come_with_the_creation(server: Server, sent: int) -> None:
    """TUS-CWU-03, TUS-CWU-04, TUS-CRE-12: all of them are taken, and the answer tells it."""
    data = some_bytes(10_000)
    answer = await tus.create(
        server.endpoint,
        length=len(data),
        metadata=METADATA,
        bearer=server.mint(),
        body=data[:sent],
    )
    assert (answer.status, answer.offset) == (201, sent)
    url = answer.location
    assert await offset_of(url) == sent
    if sent < len(data):
        assert (await tus.patch(url, sent, data[sent:])).offset == len(data)
    assert stored_bytes(server, url) == data


async def test_a_chunked_body_may_come_with_the_creation(server: Server) -> None:
    """TUS-CWU-03, TUS-CWU-04, HTTP-CHUNKED: its size need not be known."""
    async with connected(server.base) as wire:
        headers = TUS | {"Upload-Length": "11", "Content-Type": tus.OFFSET_STREAM}
        headers |= {"Authorization": f"Bearer {server.mint()}", "Transfer-Encoding": "chunked"}
        await wire.send_head("POST", "/upload/", headers)
        await wire.send_chunk(b"hello ")
        await wire.send_chunk(b"worl")
        await wire.end_chunks()
        answer = await wire.read_response()
        assert (answer.status, answer.offset) == (201, 10)
        assert await wire.is_usable()
    assert stored_bytes(server, answer.location) == b"hello worl"


@pytest.mark.parametrize("media_type", ["application/octet-stream", "text/plain", ""])
async def test_bytes_of_another_type_are_refused(server: Server, media_type: str) -> None:
    """TUS-CWU-05: 415 as for a PATCH, and nothing is made."""
    before = stored_files(server)
    answer = await tus.create(
        server.endpoint,
        length=5,
        metadata=METADATA,
        bearer=server.mint(),
        body=b"12345",
        headers={"Content-Type": media_type},
    )
    refusal(answer, 415, "ERR_UNSUPPORTED_MEDIA_TYPE")
    assert stored_files(server) == before


async def test_without_bytes_the_type_does_not_matter(server: Server) -> None:
    """TUS-CWU-05, HTTP-NOBODY: a creation without a body has no media type to be judged."""
    answer = await tus.create(
        server.endpoint,
        length=5,
        metadata=METADATA,
        bearer=server.mint(),
        headers={"Content-Type": "text/plain"},
    )
    assert (answer.status, answer.offset) == (201, 0)


@pytest.mark.parametrize("chunked", [False, True])
async def test_more_bytes_than_the_length_are_refused(server: Server, chunked: bool) -> None:
    """TUS-CWU-05, TUS-CORE-42: 413 as for a PATCH, and nothing is made."""
    before = stored_files(server)
    async with connected(server.base) as wire:
        headers = TUS | {"Upload-Length": "5", "Content-Type": tus.OFFSET_STREAM}
        headers |= {"Authorization": f"Bearer {server.mint()}"}
        if chunked:
            await wire.send_head("POST", "/upload/", headers | {"Transfer-Encoding": "chunked"})
            await wire.send_chunk(b"123456")
            await wire.end_chunks()
            answer = await wire.read_response()
        else:
            answer = await wire.request("POST", "/upload/", headers, b"123456")
    refusal(answer, 413, "ERR_BODY_TOO_LONG")
    assert "Location" not in answer.headers
    assert stored_files(server) == before


# ------------------------------------------------------------------ creation-defer-length


async def test_a_length_may_come_later(server: Server) -> None:
    """TUS-DEF-03, TUS-DEF-05, TUS-DEF-06, TUS-DEF-07, TUS-CORE-17: while it is unknown HEAD says
    so; the PATCH that brings it ends that."""
    url = await new_upload(server, length=None, data=b"12345")
    for _ in range(2):
        head = await tus.head(url)
        assert (head.status, head.offset, head.length) == (200, 5, None)
        assert head.headers.getall("Upload-Defer-Length") == ["1"]
    answer = await tus.patch(url, 5, b"67", headers={"Upload-Length": "9"})
    assert (answer.status, answer.offset) == (204, 7)
    head = await tus.head(url)
    assert (head.offset, head.length) == (7, 9)
    assert "Upload-Defer-Length" not in head.headers
    assert (await tus.patch(url, 7, b"89")).offset == 9
    assert stored_bytes(server, url) == b"123456789"


async def test_an_empty_patch_may_bring_the_length(server: Server) -> None:
    """TUS-DEF-06, TUS-CORE-26: also of an upload that has all its bytes; it is complete then."""
    url = await new_upload(server, length=None, data=b"12345")
    answer = await tus.patch(url, 5, b"", headers={"Upload-Length": "5"})
    assert (answer.status, answer.offset) == (204, 5)
    head = await tus.head(url)
    assert (head.offset, head.length) == (5, 5)


async def test_an_empty_file_may_be_deferred(server: Server) -> None:
    """TUS-DEF-06, TUS-CRE-08: its length is told as 0."""
    url = await new_upload(server, length=None)
    assert (await tus.patch(url, 0, b"", headers={"Upload-Length": "0"})).offset == 0
    head = await tus.head(url)
    assert (head.status, head.offset, head.length) == (200, 0, 0)


@pytest.mark.parametrize("value", ["0", "2", "true", "01", "", "yes", "1, 1"])
async def test_deferring_has_one_spelling(server: Server, value: str) -> None:
    """TUS-DEF-01, TUS-DEF-07: anything but 1 is 400, and nothing is made."""
    before = stored_files(server)
    headers = TUS | {"Authorization": f"Bearer {server.mint()}", "Upload-Defer-Length": value}
    refusal(await request("POST", server.endpoint, headers), 400, "ERR_INVALID_HEADER")
    assert stored_files(server) == before


async def test_a_length_cannot_be_told_and_deferred(server: Server) -> None:
    """TUS-DEF-01, TUS-CRE-07: both headers at once is 400."""
    headers = {"Upload-Defer-Length": "1"}
    answer = await tus.create(
        server.endpoint, length=5, metadata=METADATA, bearer=server.mint(), headers=headers
    )
    refusal(answer, 400, "ERR_INVALID_HEADER")


@pytest.mark.parametrize("deferred", [False, True])
@pytest.mark.parametrize("other", [0, 5, 9, 11, 2**63])
async def test_a_length_never_changes(server: Server, other: int, deferred: bool) -> None:
    """TUS-DEF-02: a PATCH that says another length is refused and stores nothing."""
    url = await new_upload(server, length=None if deferred else 10, data=b"12345")
    if deferred:
        assert (await tus.patch(url, 5, b"", headers={"Upload-Length": "10"})).status == 204
    answer = await tus.patch(url, 5, b"6", headers={"Upload-Length": str(other)})
    refusal(answer, 400, "ERR_LENGTH_CONFLICT")
    head = await tus.head(url)
    assert (head.offset, head.length) == (5, 10)
    assert (await tus.patch(url, 5, b"67890", headers={"Upload-Length": "10"})).offset == 10
    assert stored_bytes(server, url) == b"1234567890"


@pytest.mark.parametrize(
    ("length", "status", "code"),
    [
        pytest.param(4, 400, "ERR_LENGTH_CONFLICT", id="shorter than what is there"),
        pytest.param(6, 413, "ERR_BODY_TOO_LONG", id="shorter than what comes"),
        pytest.param(MAX_BYTES + 1, 413, "ERR_UPLOAD_TOO_LARGE", id="over the bound"),
        pytest.param(2**64, 413, "ERR_UPLOAD_TOO_LARGE", id="over all bounds"),
    ],
)
async def test_a_late_length_must_fit(server: Server, length: int, status: int, code: str) -> None:
    """TUS-DEF-06, TUS-CRE-11: refused as in a creation; the length stays open."""
    url = await new_upload(server, length=None, data=b"12345")
    answer = await tus.patch(url, 5, b"67", headers={"Upload-Length": str(length)})
    refusal(answer, status, code)
    head = await tus.head(url)
    assert (head.offset, head.length) == (5, None)
    assert head.headers["Upload-Defer-Length"] == "1"


async def test_a_deferred_upload_does_not_grow_over_the_bound(server: Server) -> None:
    """TUS-CRE-11, TUS-CORE-42: bytes past Tus-Max-Size are 413, announced before one is
    stored."""
    url = await new_upload(server, length=None, data=b"12345")
    async with connected(url) as wire:
        await tus.begin_patch(wire, url, 5, MAX_BYTES)
        refusal(await wire.read_response(), 413, "ERR_UPLOAD_TOO_LARGE")
    assert await offset_of(url) == 5


async def test_deferred_bytes_may_come_with_the_creation(server: Server) -> None:
    """TUS-CWU-03, TUS-CWU-04, TUS-DEF-06: both extensions at once."""
    created = await tus.create(
        server.endpoint, metadata=METADATA, bearer=server.mint(), body=b"12345"
    )
    assert (created.status, created.offset) == (201, 5)
    url = urljoin(server.endpoint, created.location)
    assert (await tus.patch(url, 5, b"67", headers={"Upload-Length": "7"})).offset == 7
    assert stored_bytes(server, url) == b"1234567"
