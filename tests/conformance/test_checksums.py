"""Upload-Checksum, in the head and in the trailer section."""

import base64
import hashlib

import pytest

from tests.conformance.uploads import (
    METADATA,
    id_of,
    new_upload,
    offset_of,
    refusal,
    some_bytes,
    stored_bytes,
    stored_files,
)
from tests.support import tus
from tests.support.server import Server
from tests.support.wire import Response, Wire, connected

DATA = b"0123456789"
CRC32C_OF_DATA = bytes.fromhex("280c069e")
LARGE = 3 * 1024 * 1024


def checksum(algorithm: str, data: bytes) -> str:
    raw = CRC32C_OF_DATA if algorithm == "crc32c" else hashlib.new(algorithm, data).digest()
    return f"{algorithm} {base64.b64encode(raw).decode()}"


async def patch_with_trailer(
    wire: Wire, url: str, data: bytes, value: str | None, *, announce: str = "Upload-Checksum"
) -> Response:
    """A chunked PATCH at 0 whose checksum comes behind it."""
    headers = {"Trailer": announce} if announce else {}
    await tus.begin_chunked_patch(wire, url, 0, headers=headers)
    for start in range(0, len(data), 64 * 1024):
        await wire.send_chunk(data[start : start + 64 * 1024])
    await wire.end_chunks([] if value is None else [("Upload-Checksum", value)])
    return await wire.read_response()


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512", "md5", "crc32c"])
async def test_a_body_that_matches_is_taken(server: Server, algorithm: str) -> None:
    """TUS-CHK-05, TUS-CHK-07, TUS-CHK-13: with every algorithm that is announced."""
    url = await new_upload(server)
    sent = await tus.patch(url, 0, DATA, headers={"Upload-Checksum": checksum(algorithm, DATA)})
    assert (sent.status, sent.offset) == (204, 10)
    assert stored_bytes(server, url) == DATA


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512", "md5", "crc32c"])
async def test_a_body_that_does_not_match_changes_nothing(server: Server, algorithm: str) -> None:
    """TUS-CHK-02, TUS-CHK-04, TUS-CHK-06: 460, the offset stays, not a byte is stored, and the
    right body is taken afterwards on the same connection."""
    url = await new_upload(server, data=b"01234")
    body = b"56X89" if algorithm != "crc32c" else b"56789"
    right = checksum(algorithm, b"56789") if algorithm != "crc32c" else checksum(algorithm, DATA)
    async with connected(url) as wire:
        sent = await tus.patch(url, 5, body, headers={"Upload-Checksum": right}, wire=wire)
        refusal(sent, 460, "ERR_CHECKSUM_MISMATCH")
        assert await offset_of(url) == 5 and stored_bytes(server, url) == b"01234"
        held = {name for name in stored_files(server) if id_of(url) in name}
        assert held == {f"{id_of(url)}.bin", f"{id_of(url)}.facts"}
        done = await tus.patch(
            url, 5, b"56789", headers={"Upload-Checksum": checksum("sha1", b"56789")}, wire=wire
        )
        assert (done.status, done.offset) == (204, 10)


@pytest.mark.parametrize("name", ["sha3-256", "SHA1", "crc32", "none"])
async def test_an_unknown_algorithm_is_refused(server: Server, name: str) -> None:
    """TUS-CHK-03, TUS-CHK-06, TUS-CHK-08: 400 before a byte is read, naming what is known."""
    url = await new_upload(server)
    value = f"{name} {base64.b64encode(b'x' * 20).decode()}"
    sent = await tus.patch(url, 0, DATA, headers={"Upload-Checksum": value})
    assert "sha256" in refusal(sent, 400, "ERR_CHECKSUM_UNSUPPORTED")
    assert await offset_of(url) == 0


@pytest.mark.parametrize(
    "value", ["sha1", "sha1 ", "sha1 !!!!", "sha1 AAAA", "", "sha1  AAAA AAAA"]
)
async def test_a_malformed_checksum_is_refused(server: Server, value: str) -> None:
    """TUS-CHK-13, TUS-CHK-06: 400, and nothing is stored."""
    url = await new_upload(server)
    async with connected(url) as wire:
        await tus.begin_patch(wire, url, 0, 10, headers={"Upload-Checksum": value or " "})
        await wire.send(DATA)
        refusal(await wire.read_response(), 400, "ERR_INVALID_HEADER")
    assert await offset_of(url) == 0


async def test_the_digest_of_a_whole_file_in_hexadecimal_is_ignored(server: Server) -> None:
    """TUS-CHK-01: what one known client (tusc) sends with every request is no checksum of the
    body; its uploads work, and the log says why it was not verified."""
    text = hashlib.sha1(b"the whole file").hexdigest()
    value = f"sha1 {base64.b64encode(text.encode()).decode()}"
    created = await tus.create(
        server.endpoint,
        length=10,
        metadata=METADATA,
        bearer=server.mint(),
        headers={"Upload-Checksum": value},
    )
    assert created.status == 201
    sent = await tus.patch(created.location, 0, DATA, headers={"Upload-Checksum": value})
    assert (sent.status, sent.offset) == (204, 10)
    await server.logged(lambda record: record.get("event") == "checksum_ignored")


@pytest.mark.parametrize("size", [10, LARGE])
async def test_the_checksum_may_come_behind_the_body(server: Server, size: int) -> None:
    """TUS-CHK-11, TUS-CHK-12: a small body and one that does not wait in memory."""
    data = some_bytes(size)
    url = await new_upload(server, length=size)
    async with connected(url) as wire:
        wrong = await patch_with_trailer(wire, url, data, checksum("sha256", b"other"))
        refusal(wrong, 460, "ERR_CHECKSUM_MISMATCH")
        assert await offset_of(url) == 0 and stored_bytes(server, url) == b""
        right = await patch_with_trailer(wire, url, data, checksum("sha256", data))
        assert (right.status, right.offset) == (204, size)
    assert stored_bytes(server, url) == data


async def test_a_trailer_with_an_unknown_algorithm_is_refused(server: Server) -> None:
    """TUS-CHK-03, TUS-CHK-06, TUS-CHK-12: 400 after the body, of which nothing was kept."""
    url = await new_upload(server)
    async with connected(url) as wire:
        sent = await patch_with_trailer(wire, url, DATA, "sha3 AAAA")
        refusal(sent, 400, "ERR_CHECKSUM_UNSUPPORTED")
    assert await offset_of(url) == 0 and stored_bytes(server, url) == b""


@pytest.mark.parametrize("announce", ["Upload-Checksum", "X-Other, upload-checksum", "X-Other", ""])
async def test_an_absent_or_unannounced_trailer_promises_nothing(
    server: Server, announce: str
) -> None:
    """TUS-CHK-01, HTTP-TRAILER: without a checksum the body counts as it came; a trailer that was
    not announced comes too late to be believed."""
    url = await new_upload(server)
    async with connected(url) as wire:
        sent = await patch_with_trailer(wire, url, DATA, None, announce=announce)
        assert (sent.status, sent.offset) == (204, 10)


@pytest.mark.parametrize("size", [10, LARGE])
async def test_a_body_that_breaks_off_keeps_nothing(server: Server, size: int) -> None:
    """TUS-CHK-02, TUS-CHK-06: bytes that could not be verified never count."""
    data = some_bytes(size)
    url = await new_upload(server, length=size)
    async with connected(url) as wire:
        headers = {"Upload-Checksum": checksum("sha1", data)}
        await tus.begin_patch(wire, url, 0, size, headers=headers)
        await wire.send(data[: size // 2])
        await wire.reset()
    assert await offset_of(url) == 0
    assert stored_bytes(server, url) == b""


async def test_a_creation_with_a_wrong_body_makes_nothing(server: Server) -> None:
    """TUS-CHK-04, TUS-CHK-06, TUS-CWU-05: 460 without a Location; the right one is complete."""
    before = stored_files(server)
    for body, status in ((b"012345678X", 460), (DATA, 201)):
        made = await tus.create(
            server.endpoint,
            length=10,
            metadata=METADATA,
            bearer=server.mint(),
            body=body,
            headers={"Upload-Checksum": checksum("sha1", DATA)},
        )
        assert made.status == status, made.text
        if status == 460:
            assert "Location" not in made.headers
            assert stored_files(server) == before
        else:
            assert made.offset == 10
