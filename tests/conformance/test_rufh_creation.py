"""Resumable Uploads for HTTP: creations, early answers, metadata."""

import gzip
from base64 import b64decode

import pytest

from tests.conformance.rufh_uploads import EVERY, NEW, TODAY, begun, completed, problem, state
from tests.conformance.uploads import (
    METADATA,
    Traced,
    id_of,
    some_bytes,
    stored_bytes,
    stored_files,
    until,
)
from tests.support import tus
from tests.support.rufh import VERSIONS, Rufh, parse_limits
from tests.support.server import Server
from tests.support.wire import Response, Wire, connected

PIECE = 300_000
"""More than is waited for before it is written."""


@EVERY
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_file_goes_up_in_one_request(server: Server, rufh: Rufh, method: str) -> None:
    """RUFH-CRE-04, RUFH-CRE-10, RUFH-RES-01, RUFH-CMP-03: complete as soon as it is answered, by
    either method; the upload has an address of its own."""
    data = some_bytes(100_000)
    answer = await rufh.create(
        server.endpoint, data, is_end=True, bearer=server.mint(), method=method
    )
    assert (answer.status, answer.offset, rufh.is_complete(answer)) == (201, len(data), True)
    assert answer.location != server.endpoint
    assert stored_bytes(server, answer.location) == data
    assert await state(answer.location, rufh) == (len(data), True)


@EVERY
async def test_a_beginning_is_kept_for_more(server: Server, rufh: Rufh) -> None:
    """RUFH-CRE-05, RUFH-CRE-06, RUFH-CRE-07, RUFH-CRE-10: 201 with address, limits, and that it is
    not complete."""
    answer = await rufh.create(server.endpoint, b"12345", is_end=False, bearer=server.mint())
    assert (answer.status, answer.offset, rufh.is_complete(answer)) == (201, 5, False)
    if rufh.version not in (3, 4, 5):
        assert parse_limits(answer)["max-size"] > 0
    assert await state(answer.location, rufh) == (5, False)


@EVERY
@pytest.mark.parametrize("content", [None, b""])
async def test_an_address_without_content(
    server: Server, rufh: Rufh, content: bytes | None
) -> None:
    """RUFH-CRE-12, RUFH-LIM-03: the careful way to begin, as browsers do who hear no 104."""
    answer = await rufh.create(server.endpoint, content, is_end=False, bearer=server.mint())
    assert (answer.status, answer.offset, rufh.is_complete(answer)) == (201, 0, False)
    done = await rufh.append(answer.location, 0, b"12345", is_end=True)
    assert (done.status, done.offset, rufh.is_complete(done)) == (201, 5, True)
    assert stored_bytes(server, answer.location) == b"12345"


@EVERY
async def test_an_empty_file(server: Server, rufh: Rufh) -> None:
    """RUFH-CRE-12, RUFH-LIM-03: is complete at once."""
    url = await completed(server, rufh, b"")
    assert await state(url, rufh) == (0, True)
    assert (await rufh.head(url)).length == 0


@TODAY
async def test_a_creation_that_says_nothing(server: Server, rufh: Rufh) -> None:
    """RUFH-CMP-02, RUFH-CRE-12: of what is the end. With content it is whole, as every request is;
    without it is nothing, and nothing is made of it."""
    files = stored_files(server)
    unsaid = {"Upload-Complete": "yes"}
    answer = await rufh.create(
        server.endpoint, None, is_end=True, bearer=server.mint(), headers=unsaid
    )
    problem(answer, 400, "ERR_MISSING_HEADER")
    assert stored_files(server) == files
    whole = await rufh.create(
        server.endpoint, b"12345", is_end=False, bearer=server.mint(), headers=unsaid
    )
    assert (whole.status, rufh.is_complete(whole)) == (201, True)


async def test_addresses_are_never_used_twice(server: Server) -> None:
    """RUFH-RES-03, RUFH-SEC-01: nor can they be guessed."""
    urls = [await begun(server) for _ in range(20)]
    assert (await NEW.delete(urls[0])).status == 204
    ids = {id_of(url) for url in [*urls, await begun(server)]}
    assert len(ids) == 21 and all(len(one) == 32 for one in ids)
    assert len({one[:8] for one in ids}) == 21


async def test_a_creation_needs_a_token(server: Server) -> None:
    """RUFH-SEC-01: refused in the words of this protocol, and without a 104."""
    files = stored_files(server)
    for bearer in (None, server.mint(seconds=-60), "abcdefghijklmnop"):
        answer = await NEW.create(server.endpoint, b"12345", is_end=True, bearer=bearer)
        assert answer.interim == ()
        said = problem(answer, 401, "ERR_TOKEN_INVALID")
        assert said["detail"].startswith("token invalid (")
    assert stored_files(server) == files


# ------------------------------------------------------------------ interim answers


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("is_end", [True, False])
async def test_the_address_is_told_before_the_body(
    server: Server, version: int, is_end: bool
) -> None:
    """RUFH-CRE-01, RUFH-CRE-02, RUFH-CRE-03, RUFH-CRE-09, RUFH-VER-02, RUFH-OLD-14: 104, in the
    version that was asked for, and with the address that stays."""
    rufh = Rufh(version)
    async with connected(server.endpoint) as wire:
        sent = rufh.creation(is_end=is_end, bearer=server.mint()) | {"Content-Length": "5"}
        await wire.send_head("POST", server.endpoint, sent)
        early = await wire.read_any()
        assert early.status == 104
        assert early.headers.getall("Upload-Draft-Interop-Version") == [str(version)]
        if version >= 6:
            age = "expires" if version == 6 else "max-age"
            assert parse_limits(early).keys() == {"max-size", age}
        await wire.send(b"12345")
        answer = await wire.read_response()
    assert (answer.status, answer.location) == (201, early.location)
    assert stored_bytes(server, early.location) == b"12345"


@pytest.mark.parametrize("value", [None, "9", "2", '"8"', "8.0", "?1", "eight", "8, 8", ""])
async def test_who_does_not_ask_for_a_version_hears_nothing_early(
    server: Server, value: str | None
) -> None:
    """RUFH-VER-01: no 104 where the version is missing or another; else it is served as usual."""
    headers = {} if value is None else {"Upload-Draft-Interop-Version": value}
    answer = await Rufh(None).create(
        server.endpoint, b"12345", is_end=True, bearer=server.mint(), headers=headers
    )
    assert (answer.status, answer.interim) == (201, ())
    assert answer.headers["Upload-Complete"] == "?1"


async def test_http_10_hears_nothing_early(server: Server) -> None:
    """RUFH-VER-01, HTTP-10: interim answers are not for those who know none."""
    sent = NEW.creation(is_end=True, bearer=server.mint()) | {"Content-Length": "5"}
    async with connected(server.endpoint) as wire:
        await wire.send_head("POST", server.endpoint, sent, version="HTTP/1.0")
        await wire.send(b"12345")
        answer = await wire.read_response()
    assert (answer.status, answer.interim, answer.version) == (201, (), (1, 0))


async def test_both_interim_answers_come(server: Server) -> None:
    """RUFH-104-01, HTTP-EXPECT: a 104 is no 100; the client waits for that."""
    sent = NEW.creation(is_end=True, bearer=server.mint())
    sent |= {"Content-Length": "5", "Expect": "100-continue"}
    async with connected(server.endpoint) as wire:
        await wire.send_head("POST", server.endpoint, sent)
        statuses = [(await wire.read_any()).status, (await wire.read_any()).status]
        assert sorted(statuses) == [100, 104]
        await wire.send(b"12345")
        assert (await wire.read_response()).status == 201


@pytest.mark.parametrize("rufh", [Rufh(version) for version in (5, 6, 7, 8)], ids=repr)
async def test_progress_is_told(eager_server: Server, rufh: Rufh) -> None:
    """RUFH-CRE-08, RUFH-APP-11, RUFH-APP-12, RUFH-OFF-01, RUFH-OFF-04, RUFH-OLD-14: while a body
    comes, 104s tell offsets that only grow, and no address; what they told is stored."""
    server = eager_server
    length = {"Content-Length": str(2 * PIECE)}
    async with connected(server.endpoint) as wire:
        sent = rufh.creation(is_end=False, bearer=server.mint()) | length
        await wire.send_head("POST", server.endpoint, sent)
        url = (await wire.read_any()).location
        told = await trickled(wire, server, url, reached=PIECE)
        assert (await wire.read_response()).offset == 2 * PIECE
        await wire.send_head("PATCH", url, rufh.appending(2 * PIECE, is_end=True) | length)
        told += await trickled(wire, server, url, reached=3 * PIECE)
        assert rufh.is_complete(await wire.read_response())
    assert told == sorted(told)


async def trickled(wire: Wire, server: Server, url: str, *, reached: int) -> list[int]:
    """Send a piece, wait until a 104 tells of it, send another. All that was told."""
    await wire.send(b"x" * PIECE)
    told = [-1]
    while told[-1] < reached:
        answer = await wire.read_any()
        assert answer.status == 104 and "Location" not in answer.headers
        assert "Upload-Draft-Interop-Version" in answer.headers
        told.append(answer.offset)
        assert len(stored_bytes(server, url)) >= answer.offset
    await wire.send(b"x" * PIECE)
    return told[1:]


@pytest.mark.parametrize("version", [3, 4])
async def test_the_oldest_versions_hear_of_no_progress(eager_server: Server, version: int) -> None:
    """RUFH-OLD-14: one 104, however long it takes."""
    server, rufh = eager_server, Rufh(version)
    async with connected(server.endpoint) as wire:
        sent = rufh.creation(is_end=True, bearer=server.mint()) | {"Content-Length": "20"}
        await wire.send_head("POST", server.endpoint, sent)
        url = (await wire.read_any()).location
        await wire.send(b"x" * 10)
        await until(lambda: stored_bytes(server, url) == b"x" * 10)
        await wire.send(b"x" * 10)
        answer = await wire.read_response()
    assert (answer.status, answer.interim) == (201, ())


# ------------------------------------------------------------------ cut in mid-body


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_creation_that_breaks_off_can_be_gone_on_with(server: Server, version: int) -> None:
    """RUFH-CRE-11, RUFH-CMP-04, RUFH-OFF-04, RUFH-LEN-04: by who heard the 104. What arrived is
    kept, and nothing of it makes the upload complete."""
    rufh, data = Rufh(version), some_bytes(300_000)
    async with connected(server.endpoint) as wire:
        sent = rufh.creation(is_end=True, bearer=server.mint())
        await wire.send_head("PUT", server.endpoint, sent | {"Content-Length": str(len(data))})
        url = (await wire.read_any()).location
        await wire.send(data[:200_000])
        await until(lambda: len(stored_bytes(server, url)) > 0)
        await wire.reset()
    offset, is_complete = await state(url, rufh)
    assert 0 < offset <= 200_000 and not is_complete
    assert (await rufh.head(url)).length == len(data)
    done = await rufh.append(url, offset, data[offset:], is_end=True)
    assert (done.status, rufh.is_complete(done)) == (201, True)
    assert stored_bytes(server, url) == data


@TODAY
async def test_nobody_else_leaves_anything_behind(small_server: Server, rufh: Rufh) -> None:
    """RUFH-CRE-11: a creation that breaks off where no 104 told the address is removed: nobody
    could ever go on with it. Only who hears 104s keeps what arrived."""
    server, traced = small_server, Traced(small_server)
    files = stored_files(server)
    async with connected(server.endpoint) as wire:
        sent = rufh.creation(is_end=True, bearer=server.mint()) | traced.headers
        await wire.send_head("POST", server.endpoint, sent | {"Content-Length": "300000"})
        await wire.send(b"x" * 200_000)
        await until(lambda: stored_files(server) > files)
        await wire.reset()
    await traced.ended()
    kept = stored_files(server) - files
    assert bool(kept) is (rufh.version is not None)


async def test_a_broken_body_completes_nothing(server: Server) -> None:
    """RUFH-CMP-04, HTTP-CHUNKED: a chunked body has its end, or it is not there."""
    async with connected(server.endpoint) as wire:
        sent = NEW.creation(is_end=True, bearer=server.mint())
        await wire.send_head("POST", server.endpoint, sent | {"Transfer-Encoding": "chunked"})
        url = (await wire.read_any()).location
        await wire.send_chunk(b"12345")
        await wire.send(b"what?\r\n")
        problem(await wire.read_response(), 400, "ERR_BODY_MALFORMED")
    assert await state(url) == (5, False)


# ------------------------------------------------------------------ what it is


async def test_ordinary_fields_describe_the_file(small_server: Server) -> None:
    """RUFH-CRE-13, RUFH-SEC-02: its type and its name, without the path that came with it."""
    headers = {
        "Content-Type": "Video/MP4",
        "Content-Disposition": "inline; filename=\"x\"; filename*=UTF-8''..%2Ff%C3%BCr%20dich.mp4",
    }
    answer = await NEW.create(
        small_server.endpoint, b"12345", is_end=True, bearer=small_server.mint(), headers=headers
    )
    told = await metadata_of(answer)
    assert told == {"filename": "für dich.mp4", "filetype": "video/mp4"}


async def test_tus_metadata_is_taken_from_who_sends_it(small_server: Server) -> None:
    """RUFH-CRE-13: tus-js-client does in every mode; a token may be in it, and is not repeated."""
    server = small_server
    pairs = METADATA | {"token": server.mint()}
    headers = {"Upload-Metadata": tus.encode_metadata(pairs), "Content-Type": "text/plain"}
    answer = await NEW.create(server.endpoint, b"12345", is_end=True, bearer=None, headers=headers)
    assert answer.status == 201
    assert await metadata_of(answer) == METADATA


async def metadata_of(answer: Response) -> dict[str, str]:
    """What tus tells of an upload."""
    head = await tus.head(answer.location)
    assert head.status == 200
    pairs = (pair.partition(" ") for pair in head.headers["Upload-Metadata"].split(","))
    return {key: b64decode(value).decode() for key, _, value in pairs}


async def test_a_content_coding_is_kept(server: Server) -> None:
    """RUFH-COD-01: offsets count the coded bytes, and these are stored."""
    data = gzip.compress(some_bytes(50_000))
    headers = {"Content-Encoding": "gzip", "Upload-Length": str(len(data))}
    answer = await NEW.create(
        server.endpoint, data, is_end=True, bearer=server.mint(), headers=headers
    )
    assert (answer.status, answer.offset) == (201, len(data))
    assert stored_bytes(server, answer.location) == data
    assert (await metadata_of(answer))["content_encoding"] == "gzip"


async def test_a_transfer_coding_is_not(server: Server) -> None:
    """RUFH-COD-02, HTTP-CHUNKED: sizes of chunks count nowhere."""
    async with connected(server.endpoint) as wire:
        sent = NEW.creation(is_end=True, bearer=server.mint()) | {"Upload-Length": "10"}
        await wire.send_head("POST", server.endpoint, sent | {"Transfer-Encoding": "chunked"})
        for piece in (b"1", b"2345", b"67890"):
            await wire.send_chunk(piece, extension=";x=y")
        await wire.end_chunks({"X": "y"})
        answer = await wire.read_response()
    assert (answer.status, answer.offset) == (201, 10)
    assert stored_bytes(server, answer.location) == b"1234567890"
