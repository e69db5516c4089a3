"""Resumable Uploads for HTTP: lengths, limits, lost state, rights."""

import itertools
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.conformance.conftest import EXPIRE_SECONDS, MAX_BYTES
from tests.conformance.rufh_uploads import (
    EVERY,
    NEW,
    TODAY,
    UNNAMED,
    begun,
    completed,
    problem,
    state,
)
from tests.conformance.uploads import METADATA, some_bytes, stored_bytes, stored_files, until
from tests.support import tus
from tests.support.rufh import Rufh, parse_limits
from tests.support.server import Server, serving
from tests.support.wire import connected, request

INCONSISTENT = "inconsistent-upload-length"


@EVERY
async def test_two_lengths_in_one_request_match(server: Server, rufh: Rufh) -> None:
    """RUFH-LEN-01, RUFH-LEN-06, RUFH-OLD-12: or it is 400 and nothing happens."""
    wrong = {"Upload-Length": "6"}
    bearer = server.mint()
    answer = await rufh.create(server.endpoint, b"12345", is_end=True, bearer=bearer, headers=wrong)
    problem(answer, 400, "ERR_LENGTH_CONFLICT", INCONSISTENT)
    assert "Location" not in answer.headers and answer.interim == ()
    url = await begun(server, rufh, b"1")
    answer = await rufh.append(url, 1, b"2345", is_end=True, headers=wrong)
    problem(answer, 400, "ERR_LENGTH_CONFLICT", INCONSISTENT)
    right = {"Upload-Length": "5"}
    done = await rufh.append(url, 1, b"2345", is_end=True, headers=right)
    assert rufh.is_complete(done)


@EVERY
async def test_lengths_of_different_requests_match(server: Server, rufh: Rufh) -> None:
    """RUFH-LEN-02, RUFH-LEN-04, RUFH-LEN-06, RUFH-OLD-12: the first one counts, whichever way it
    was told, and nothing that contradicts it is stored."""
    declared = {"Upload-Length": "9"}
    url = await begun(server, rufh, headers=declared)
    assert (await rufh.head(url)).length == 9
    for data, is_end, headers in (
        (b"678", True, {}),
        (b"678", False, {"Upload-Length": "8"}),
        (b"", False, {"Upload-Length": "10"}),
    ):
        answer = await rufh.append(url, 5, data, is_end=is_end, headers=headers)
        problem(answer, 400, "ERR_LENGTH_CONFLICT", INCONSISTENT)
    assert await state(url, rufh) == (5, False)
    assert stored_bytes(server, url) == b"12345"
    assert rufh.is_complete(await rufh.append(url, 5, b"6789", is_end=True, headers=declared))


@EVERY
async def test_an_append_may_tell_the_length(server: Server, rufh: Rufh) -> None:
    """RUFH-LEN-04, RUFH-HED-03: HEAD knows it from then on."""
    url = await begun(server, rufh)
    assert (await rufh.head(url)).length is None
    await rufh.append(url, 5, b"6", is_end=False, headers={"Upload-Length": "9"})
    assert (await rufh.head(url)).length == 9


@TODAY
@pytest.mark.parametrize("value", ["-5", "5.0", '"5"', "five", "?1", "1000000000000000", "5, 5"])
async def test_what_is_no_length_is_none(server: Server, rufh: Rufh, value: str) -> None:
    """RUFH-LEN-03: it is not seen, and the request is as good as without it."""
    url = await begun(server, rufh, headers={"Upload-Length": value})
    assert (await rufh.head(url)).length is None
    done = await rufh.append(url, 5, b"67", is_end=True, headers={"Upload-Length": value})
    assert (done.status, done.offset) == (201, 7)


@EVERY
async def test_no_byte_passes_the_length(server: Server, rufh: Rufh) -> None:
    """RUFH-LEN-05, RUFH-LEN-06, RUFH-OLD-12: neither announced nor in chunks; it is refused, and
    the upload is gone from then on."""
    for chunked in (False, True):
        url = await begun(server, rufh, headers={"Upload-Length": "9"})
        async with connected(url) as wire:
            framing = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": "6"}
            await wire.send_head("PATCH", url, rufh.appending(5, is_end=False) | framing)
            if chunked:
                await wire.send_chunk(b"678901")
                await wire.end_chunks()
            else:
                await wire.send(b"678901")
            answer = await wire.read_response()
        problem(answer, 400, "ERR_BODY_TOO_LONG", INCONSISTENT)
        assert (await rufh.head(url)).status == 404
        assert (await rufh.append(url, 5, b"6789", is_end=True)).status == 404
        assert len(stored_bytes(server, url)) <= 9


async def test_a_creation_is_no_longer_than_it_says(server: Server) -> None:
    """RUFH-LEN-05, RUFH-LEN-06: nothing is left of it."""
    bearer = server.mint()
    answer = await UNNAMED.create(
        server.endpoint, b"12345", is_end=False, bearer=bearer, headers={"Upload-Length": "4"}
    )
    problem(answer, 400, "ERR_BODY_TOO_LONG", INCONSISTENT)
    assert "Location" not in answer.headers


async def test_fewer_bytes_than_were_told_complete_nothing(server: Server) -> None:
    """RUFH-LEN-01, RUFH-CMP-04: a chunked body may end early and say that it was all."""
    url = await begun(server, headers={"Upload-Length": "9"})
    async with connected(url) as wire:
        head = NEW.appending(5, is_end=True) | {"Transfer-Encoding": "chunked"}
        await wire.send_head("PATCH", url, head)
        await wire.send_chunk(b"67")
        await wire.end_chunks()
        problem(await wire.read_response(), 400, "ERR_LENGTH_CONFLICT", INCONSISTENT)
    offset, is_complete = await state(url)
    assert offset in (5, 7) and not is_complete


# ------------------------------------------------------------------ limits


@pytest.mark.parametrize("target", ["/upload/", "/upload", "an upload", "*"])
async def test_options_tell_the_limits(server: Server, target: str) -> None:
    """RUFH-LIM-01, RUFH-LIM-04, RUFH-LIM-06, RUFH-OLD-15: whatever version is asked in."""
    if target == "an upload":
        target = await begun(server)
    for headers in ({}, {"Upload-Draft-Interop-Version": "7"}, {"Tus-Resumable": "1.0.0"}):
        async with connected(server.base) as wire:
            answer = await wire.request("OPTIONS", target, headers)
        assert answer.status == 204
        assert parse_limits(answer) == {"max-size": MAX_BYTES, "max-age": int(EXPIRE_SECONDS)}
        assert answer.headers["Accept-Patch"] == "application/partial-upload"


async def test_without_limits_that_is_said(open_server: Server) -> None:
    """RUFH-LIM-05: min-size=0, so that the field is there; uploads have none to tell."""
    answer = await request("OPTIONS", open_server.endpoint)
    assert answer.headers["Upload-Limit"] == "min-size=0"
    created = await NEW.create(open_server.endpoint, b"12345", is_end=False, bearer=None)
    head = await NEW.head(created.location)
    assert "Upload-Limit" not in head.headers and "Upload-Limit" not in created.headers


@TODAY
async def test_limits_do_not_get_worse(server: Server, rufh: Rufh) -> None:
    """RUFH-LIM-02, RUFH-LIM-07: what OPTIONS says holds for uploads, and while one goes on its end
    comes no closer."""
    offered = parse_limits(await request("OPTIONS", server.endpoint))
    url = await begun(server, rufh)
    ends = []
    for offset in range(5, 8):
        limits = parse_limits(await rufh.head(url))
        assert limits["max-size"] == offered["max-size"]
        assert limits["max-age"] <= offered["max-age"]
        ends.append(time.time() + limits["max-age"])
        await rufh.append(url, offset, b"x", is_end=False)
    # Whole seconds are told.
    assert all(later > sooner - 1.5 for sooner, later in itertools.pairwise(ends))


@EVERY
async def test_too_long_a_file_is_refused(server: Server, rufh: Rufh) -> None:
    """RUFH-LIM-08, RUFH-LIM-09: 413 with the limits, by either kind of length, before a byte."""
    files = stored_files(server)
    length = {"Upload-Length": str(MAX_BYTES + 1)}
    bearer = server.mint()
    declared = await rufh.create(
        server.endpoint, b"12345", is_end=False, bearer=bearer, headers=length
    )
    async with connected(server.endpoint) as wire:
        sent = rufh.creation(is_end=True, bearer=bearer)
        sent |= {"Content-Length": str(MAX_BYTES + 1), "Expect": "100-continue"}
        await wire.send_head("POST", server.endpoint, sent)
        announced = await wire.read_any()
    for answer in (declared, announced):
        problem(answer, 413, "ERR_UPLOAD_TOO_LARGE")
        if rufh.version not in (3, 4, 5):
            assert parse_limits(answer) == {"max-size": MAX_BYTES}
    assert stored_files(server) == files


async def test_a_token_may_make_the_limit_smaller(server: Server) -> None:
    """RUFH-LIM-08, RUFH-LIM-09, RUFH-SEC-03: also for bytes whose number nobody told."""
    bearer = server.mint(max_size=8)
    created = await NEW.create(server.endpoint, b"12345", is_end=False, bearer=bearer)
    url = created.location
    assert parse_limits(created)["max-size"] == 8
    async with connected(url) as wire:
        head = NEW.appending(5, is_end=True) | {"Transfer-Encoding": "chunked"}
        await wire.send_head("PATCH", url, head)
        await wire.send_chunk(b"6789")
        await wire.end_chunks()
        answer = await wire.read_response()
    problem(answer, 413, "ERR_UPLOAD_TOO_LARGE")
    assert parse_limits(answer)["max-size"] == 8
    assert len(stored_bytes(server, url)) <= 8
    assert not NEW.is_complete(answer)


# ------------------------------------------------------------------ rights


async def test_a_right_that_is_gone_completes_nothing(strict_server: Server) -> None:
    """RUFH-SEC-01, RUFH-SEC-03: where every request needs a token, the last one does."""
    server = strict_server
    url = (await NEW.create(server.endpoint, b"123", is_end=False, bearer=server.mint())).location
    foreign = {"Authorization": f"Bearer {server.mint(video_id='1002')}"}
    own = {"Authorization": f"Bearer {server.mint()}"}
    problem(await NEW.append(url, 3, b"45", is_end=True), 401, "ERR_TOKEN_INVALID")
    problem(await NEW.append(url, 3, b"45", is_end=True, headers=foreign), 403, "ERR_TOKEN_VIDEO")
    for headers, status in (({}, 401), (foreign, 403)):
        assert (await NEW.head(url, headers=headers)).status == status
        assert (await NEW.delete(url, headers=headers)).status == status
    head = await NEW.head(url, headers=own)
    assert (head.offset, NEW.is_complete(head)) == (3, False)
    assert NEW.is_complete(await NEW.append(url, 3, b"45", is_end=True, headers=own))


async def test_metadata_is_verified(server: Server) -> None:
    """RUFH-SEC-02: as tus's is, and against the token."""
    for wire_text, status, code in (
        ("filename not-base64!", 400, "ERR_INVALID_METADATA"),
        (tus.encode_metadata(METADATA | {"video_id": "1002"}), 403, "ERR_TOKEN_VIDEO"),
    ):
        answer = await NEW.create(
            server.endpoint,
            b"12345",
            is_end=True,
            bearer=server.mint(),
            headers={"Upload-Metadata": wire_text},
        )
        problem(answer, status, code)


# ------------------------------------------------------------------ the end of the state


@pytest_asyncio.fixture(loop_scope="session")
async def lone_server(tmp_path: Path) -> AsyncIterator[Server]:
    """One that may be killed."""
    async with serving(tmp_path) as server:
        yield server


@TODAY
async def test_what_was_told_is_there_after_a_kill(lone_server: Server, rufh: Rufh) -> None:
    """RUFH-OFF-01, RUFH-OFF-04: of an upload that is not finished too."""
    server, data = lone_server, some_bytes(100_000)
    url = await begun(server, rufh, data[:70_000])
    done = await completed(server, rufh, data)
    await server.restart(kill=True)
    assert await state(url, rufh) == (70_000, False)
    assert await state(done, rufh) == (len(data), True)
    assert rufh.is_complete(await rufh.append(url, 70_000, data[70_000:], is_end=True))
    assert stored_bytes(server, url) == data


@TODAY
async def test_lost_bytes_end_an_upload(lone_server: Server, rufh: Rufh) -> None:
    """RUFH-OFF-02: an offset never shrinks, so there is nothing left to tell: 404, for good."""
    server = lone_server
    url = await begun(server, rufh, b"1234567890")
    name = url.rpartition("/")[2]
    path = server.data_directory / "uploads" / name[:3] / f"{name}.bin"
    async with connected(url) as wire:
        head = rufh.appending(10, is_end=True) | {"Content-Length": "600000"}
        await wire.send_head("PATCH", url, head)
        await wire.send(b"x" * 400_000)
        await until(lambda: len(stored_bytes(server, url)) > 10)
        await server.kill9()
    with path.open("r+b") as file:
        file.truncate(5)
    await server.start()
    assert (await rufh.head(url)).status == 404
    answer = await rufh.append(url, 5, b"67890", is_end=True)
    assert answer.status == 404 and not rufh.is_complete(answer)
    assert (await rufh.head(url)).status == 404
