"""HEAD and PATCH of the core protocol."""

import pytest

from tests.conformance.uploads import (
    METADATA,
    PATCH,
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

UNKNOWN = "0123456789abcdef" * 2
NO_NUMBERS = ["-1", "+1", "1_0", "0x1", "1.0", "1e3", "five", "", "²", "5 5", "5,5", "5;"]


@pytest.mark.parametrize("received", [0, 3, 8])
async def test_head_tells_offset_and_length(server: Server, received: int) -> None:
    """TUS-CORE-02, TUS-CORE-03, TUS-CORE-16, TUS-CORE-17, TUS-CORE-20, TUS-CORE-21,
    HTTP-HEADBODY: at 0, in the middle and at the end."""
    url = await new_upload(server, length=8, data=b"12345678"[:received])
    async with connected(url) as wire:
        for _ in range(2):  # a body behind the first answer would spoil the second
            answer = await tus.head(url, wire=wire)
            assert answer.status == 200
            assert answer.headers.getall("Upload-Offset") == [str(received)]
            assert answer.headers.getall("Upload-Length") == ["8"]
            assert "Upload-Defer-Length" not in answer.headers
            assert answer.headers["Cache-Control"] == "no-store"


async def test_head_of_nothing_tells_no_offset(server: Server) -> None:
    """TUS-CORE-18, TUS-CORE-19, HTTP-HEADBODY: 404, no Upload-Offset, no content, not cached."""
    async with connected(server.base) as wire:
        answer = await tus.head(server.endpoint + UNKNOWN, wire=wire)
        assert answer.status == 404
        assert "Upload-Offset" not in answer.headers and "Upload-Length" not in answer.headers
        assert answer.headers["Cache-Control"] == "no-store"
        assert await wire.is_usable()


async def test_asking_changes_nothing(server: Server) -> None:
    """HTTP-SAFE: HEAD and GET leave files, offset and expiry as they were, whatever is asked."""
    url = await new_upload(server, length=8, data=b"1234")
    before = await tus.head(url)
    files = stored_files(server)
    for asked in (tus.TUS, {}):
        answer = await request("GET", url, asked)
        assert (answer.status, answer.offset, answer.body) == (200, 4, b"")
    assert (await request("GET", url + "/status")).status == 200
    await tus.head(url)
    again = await tus.head(url)
    assert again.offset == 4
    assert again.headers.get("Upload-Expires") == before.headers.get("Upload-Expires")
    assert stored_files(server) == files
    assert (await tus.patch(url, 4, b"5678")).status == 204


async def test_patch_adds_where_it_says(server: Server) -> None:
    """TUS-CORE-01, TUS-CORE-22, TUS-CORE-26, TUS-CORE-27, TUS-CORE-28, HTTP-HEADBODY: each answer
    tells the next offset, the file is what was sent."""
    data = some_bytes(100_000)
    url = await new_upload(server, length=len(data))
    async with connected(url) as wire:
        for start, end in [(0, 1), (1, 70_000), (70_000, 70_000), (70_000, 100_000)]:
            answer = await tus.patch(url, start, data[start:end], wire=wire)
            assert (answer.status, answer.headers["Upload-Offset"]) == (204, str(end))
    assert stored_bytes(server, url) == data
    assert await offset_of(url) == len(data)


async def test_many_small_patches(server: Server) -> None:
    """TUS-CORE-41: two hundred PATCHes of one to seven bytes make one file."""
    data = some_bytes(800)
    url = await new_upload(server, length=len(data))
    async with connected(url) as wire:
        at = step = 0
        while at < len(data):
            step = step % 7 + 1
            answer = await tus.patch(url, at, data[at : at + step], wire=wire)
            at += len(data[at : at + step])
            assert (answer.status, answer.offset) == (204, at)
    assert stored_bytes(server, url) == data


@pytest.mark.parametrize("offset", [0, 4, 6, 10, 11, 2**62, 2**63 - 1, 2**63, 2**64, 10**40])
async def test_another_offset_changes_nothing(server: Server, offset: int) -> None:
    """TUS-CORE-24, TUS-CORE-25: 409 where the upload does not end there, behind and ahead."""
    url = await new_upload(server, length=10, data=b"12345")
    answer = await tus.patch(url, offset, b"xyz")
    refusal(answer, 409, "ERR_OFFSET_MISMATCH")
    assert answer.headers["Upload-Offset"] == "5"
    assert await offset_of(url) == 5
    assert stored_bytes(server, url) == b"12345"


async def test_leading_zeros_are_part_of_a_number(server: Server) -> None:
    """TUS-CORE-02, TUS-CORE-03: 005 is a non-negative integer like 5."""
    url = await new_upload(server, length=10, data=b"12345")
    assert (await tus.patch(url, 5, b"6", headers={"Upload-Offset": "005"})).offset == 6


@pytest.mark.parametrize("value", NO_NUMBERS)
async def test_an_offset_that_is_no_number_is_refused(server: Server, value: str) -> None:
    """TUS-CORE-02, TUS-CORE-40: 400, and nothing is stored."""
    url = await new_upload(server, length=10, data=b"12345")
    answer = await request("PATCH", url, [*PATCH.items(), ("Upload-Offset", value)], b"67890")
    refusal(answer, 400, "ERR_INVALID_HEADER")
    assert (await offset_of(url), stored_bytes(server, url)) == (5, b"12345")


async def test_no_offset_is_refused(server: Server) -> None:
    """TUS-CORE-40: PATCH without Upload-Offset is 400, and nothing is stored."""
    url = await new_upload(server, length=10, data=b"12345")
    refusal(await request("PATCH", url, PATCH, b"67890"), 400, "ERR_MISSING_HEADER")
    assert (await offset_of(url), stored_bytes(server, url)) == (5, b"12345")


async def test_two_offsets_are_refused(server: Server) -> None:
    """TUS-CORE-40: two different lines have no meaning; the same line twice has one."""
    url = await new_upload(server, length=10, data=b"12345")
    twice = [*PATCH.items(), ("Upload-Offset", "5"), ("Upload-Offset", "6")]
    refusal(await request("PATCH", url, twice, b"67890"), 400, "ERR_INVALID_HEADER")
    assert await offset_of(url) == 5
    same = [*PATCH.items(), ("Upload-Offset", "5"), ("Upload-Offset", "5")]
    assert (await request("PATCH", url, same, b"67890")).offset == 10


@pytest.mark.parametrize(
    "media_type",
    [
        "application/octet-stream",
        "application/offset+octet-streams",
        "text/plain",
        "application/partial-upload",
        "multipart/form-data; boundary=x",
        "*/*",
        None,
    ],
)
async def test_another_media_type_is_refused(server: Server, media_type: str | None) -> None:
    """TUS-CORE-23: 415, and nothing is stored."""
    url = await new_upload(server, length=10, data=b"12345")
    answer = await tus.patch(url, 5, b"67890", headers={"Content-Type": media_type or ""})
    refusal(answer, 415, "ERR_UNSUPPORTED_MEDIA_TYPE")
    assert (await offset_of(url), stored_bytes(server, url)) == (5, b"12345")


@pytest.mark.parametrize(
    "media_type", ["Application/Offset+Octet-Stream", "application/offset+octet-stream; x=y"]
)
async def test_media_types_have_no_case(server: Server, media_type: str) -> None:
    """HTTP-MEDIATYPE, TUS-CORE-23: nor do parameters make another type."""
    url = await new_upload(server, length=5)
    answer = await tus.patch(url, 0, b"12345", headers={"Content-Type": media_type})
    assert (answer.status, answer.offset) == (204, 5)


async def test_patch_of_nothing(server: Server) -> None:
    """TUS-CORE-29: 404, with a body and without."""
    for body in (b"12345", b""):
        answer = await tus.patch(server.endpoint + UNKNOWN, 0, body)
        refusal(answer, 404, "ERR_UPLOAD_UNKNOWN")


async def test_a_finished_upload_takes_an_empty_patch(server: Server) -> None:
    """TUS-CORE-26, TUS-CORE-27, TUS-CORE-24: at its end it is a success that changes nothing,
    anywhere else the offset is wrong."""
    url = await new_upload(server, length=5, data=b"12345")
    again = await tus.patch(url, 5, b"")
    assert (again.status, again.offset) == (204, 5)
    refusal(await tus.patch(url, 0, b"12345"), 409, "ERR_OFFSET_MISMATCH")
    refusal(await tus.patch(url, 5, b"6"), 413, "ERR_BODY_TOO_LONG")
    assert stored_bytes(server, url) == b"12345"


@pytest.mark.parametrize("extra", [1, 100, 3_000_000])
async def test_a_body_that_announces_too_much(server: Server, extra: int) -> None:
    """TUS-CORE-42, TUS-CORE-25: 413 before a byte is stored."""
    url = await new_upload(server, length=10, data=b"12345")
    answer = await tus.patch(url, 5, b"x" * (5 + extra))
    refusal(answer, 413, "ERR_BODY_TOO_LONG")
    assert (await offset_of(url), stored_bytes(server, url)) == (5, b"12345")
    assert (await tus.patch(url, 5, b"67890")).offset == 10


async def test_metadata_on_every_request_does_no_harm(server: Server) -> None:
    """TUS-CORE-22, TUS-CRE-10: some clients repeat Upload-Metadata and Upload-Length on each."""
    url = await new_upload(server, length=10)
    repeated = {
        "Upload-Metadata": tus.encode_metadata({"filename": "other.mp4"}),
        "Upload-Extension": "creation",
        "Upload-Length": "10",
    }
    assert (await tus.patch(url, 0, b"1234567890", headers=repeated)).offset == 10
    head = await tus.head(url, headers=repeated)
    assert head.headers["Upload-Metadata"] == tus.encode_metadata(METADATA)
