"""Resumable Uploads for HTTP: appends, offsets, cancellation, requests that meet."""

import asyncio
import contextlib

import pytest

from tests.conformance.conftest import BODY_IDLE_SECONDS
from tests.conformance.rufh_uploads import (
    EVERY,
    NEW,
    TODAY,
    begun,
    completed,
    problem,
    state,
)
from tests.conformance.uploads import some_bytes, stored_bytes, stored_files, until
from tests.support.rufh import Rufh
from tests.support.server import Server
from tests.support.wire import Hangup, connected

UNKNOWN = "0" * 32
NO_OFFSETS = ["-1", "5.0", '"5"', "five", "", "?1", "1000000000000000", "5, 5"]

LENGTH_COMPLETES = (5, 6)


@EVERY
async def test_appends_make_the_file(server: Server, rufh: Rufh) -> None:
    """RUFH-APP-01, RUFH-APP-07, RUFH-APP-08, RUFH-APP-09, RUFH-APP-13, RUFH-OFF-01: each answer
    tells how far it is; the last one is that of a creation with everything in it."""
    data = some_bytes(100_000)
    url = await begun(server, rufh, data[:1])
    async with connected(url) as wire:
        for start, stop in [(1, 70_000), (70_000, 70_000), (70_000, 99_999)]:
            answer = await rufh.append(url, start, data[start:stop], is_end=False, wire=wire)
            assert answer.status == (201 if rufh.is_old else 204)
            assert (answer.offset, rufh.is_complete(answer)) == (stop, False)
            assert await state(url, rufh) == (stop, False)
        last = await rufh.append(url, 99_999, data[99_999:], is_end=True, wire=wire)
    assert (last.status, last.offset, rufh.is_complete(last)) == (201, len(data), True)
    assert stored_bytes(server, url) == data
    assert await state(url, rufh) == (len(data), True)


@EVERY
async def test_the_end_may_come_without_bytes(server: Server, rufh: Rufh) -> None:
    """RUFH-APP-14, RUFH-CMP-03, RUFH-LIM-03: all bytes are there and it is not complete until
    somebody says so."""
    # In the versions of tus-js-client a length that is known completes it: see the next test.
    headers = {} if rufh.version in LENGTH_COMPLETES else {"Upload-Length": "5"}
    url = await begun(server, rufh, b"12345", headers=headers)
    assert await state(url, rufh) == (5, False)
    again = await rufh.append(url, 5, b"", is_end=False)
    assert (again.offset, rufh.is_complete(again)) == (5, False)
    done = await rufh.append(url, 5, b"", is_end=True)
    assert (done.status, rufh.is_complete(done)) == (201, True)
    assert await state(url, rufh) == (5, True)


@pytest.mark.parametrize("version", LENGTH_COMPLETES)
async def test_in_two_versions_a_known_length_is_the_end(server: Server, version: int) -> None:
    """RUFH-CMP-03, RUFH-OLD-04: tus-js-client 4 calls the last request of an upload that it
    resumed not the last one, and never comes back; with all bytes of the length it declared the
    upload is complete, and the answer says so."""
    rufh = Rufh(version)
    url = await begun(server, rufh, b"12345", headers={"Upload-Length": "10"})
    last = await rufh.append(url, 5, b"67890", is_end=False)
    assert (last.status, last.offset, rufh.is_complete(last)) == (201, 10, True)
    assert await state(url, rufh) == (10, True)
    empty = await rufh.create(
        server.endpoint,
        b"",
        is_end=False,
        bearer=server.mint(),
        headers={"Upload-Length": "0"},
    )
    assert (empty.status, rufh.is_complete(empty)) == (201, True)


@EVERY
@pytest.mark.parametrize("offset", [0, 4, 6, 10, 999_999_999_999_999])
async def test_another_offset_changes_nothing(server: Server, rufh: Rufh, offset: int) -> None:
    """RUFH-APP-03, RUFH-APP-04, RUFH-APP-05, RUFH-APP-06, RUFH-PRB-01, RUFH-OLD-08: 409 with the
    right one, behind and ahead."""
    url = await begun(server, rufh)
    answer = await rufh.append(url, offset, b"xyz", is_end=False)
    said = problem(answer, 409, "ERR_OFFSET_MISMATCH", "mismatching-upload-offset")
    assert (answer.offset, rufh.is_complete(answer)) == (5, False)
    assert (said["expected-offset"], said["provided-offset"]) == (5, offset)
    assert await state(url, rufh) == (5, False)
    assert stored_bytes(server, url) == b"12345"


@TODAY
@pytest.mark.parametrize("value", NO_OFFSETS)
async def test_what_is_no_offset_is_none(server: Server, rufh: Rufh, value: str) -> None:
    """RUFH-OFF-03, RUFH-APP-15: it is not seen, and an append needs one: 400, nothing is stored.
    A question does not."""
    url = await begun(server, rufh)
    answer = await rufh.append(url, 5, b"67890", is_end=True, headers={"Upload-Offset": value})
    if value:
        problem(answer, 400, "ERR_MISSING_HEADER")
    assert (await rufh.head(url, headers={"Upload-Offset": value})).offset == 5
    assert await state(url, rufh) == (5, False)
    assert stored_bytes(server, url) == b"12345"


@EVERY
async def test_an_append_has_an_offset(server: Server, rufh: Rufh) -> None:
    """RUFH-APP-15: without one it is 400, and nothing is stored."""
    url = await begun(server, rufh)
    answer = await rufh.append(url, 5, b"67890", is_end=True, headers={"Upload-Offset": ""})
    problem(answer, 400, "ERR_MISSING_HEADER")
    assert await state(url, rufh) == (5, False)


@TODAY
@pytest.mark.parametrize("value", ["", "true", "1", "?2", '"?1"', "?1, ?1"])
async def test_an_append_says_whether_it_is_the_last(
    server: Server, rufh: Rufh, value: str
) -> None:
    """RUFH-CMP-02, RUFH-APP-15: what is no Boolean says nothing: 400, nothing is stored."""
    url = await begun(server, rufh)
    answer = await rufh.append(url, 5, b"67890", is_end=True, headers={"Upload-Complete": value})
    problem(answer, 400, "ERR_MISSING_HEADER")
    assert await state(url, rufh) == (5, False)
    assert stored_bytes(server, url) == b"12345"


@TODAY
@pytest.mark.parametrize(
    "media_type", ["", "application/octet-stream", "application/offset+octet-stream", "video/mp4"]
)
async def test_another_media_type_is_refused(server: Server, rufh: Rufh, media_type: str) -> None:
    """RUFH-APP-15, RUFH-OLD-10: 415 with the type that is taken, and nothing is stored."""
    url = await begun(server, rufh)
    answer = await rufh.append(url, 5, b"67890", is_end=True, headers={"Content-Type": media_type})
    problem(answer, 415, "ERR_UNSUPPORTED_MEDIA_TYPE")
    assert answer.headers["Accept-Patch"] == "application/partial-upload"
    assert await state(url, rufh) == (5, False)


async def test_the_media_type_is_enough_to_know_the_protocol(server: Server) -> None:
    """RUFH-APP-15, RUFH-VER-01: an append that forgets everything else is refused in its words."""
    url = await begun(server)
    headers = {"Upload-Complete": "", "Upload-Draft-Interop-Version": "", "Upload-Offset": ""}
    problem(
        await NEW.append(url, 5, b"67890", is_end=True, headers=headers), 400, "ERR_MISSING_HEADER"
    )


async def test_what_is_complete_takes_nothing_more(server: Server) -> None:
    """RUFH-CMP-01, RUFH-APP-10: the last answer is given again to who lost it, and nothing is
    ever added."""
    url = await completed(server)
    again = await NEW.append(url, 5, b"", is_end=True)
    assert (again.status, again.offset, NEW.is_complete(again)) == (201, 5, True)
    for offset, data in ((5, b"6"), (4, b"5"), (0, b"12345")):
        answer = await NEW.append(url, offset, data, is_end=True)
        assert answer.status in (400, 409)
        assert not NEW.is_complete(answer)
    assert await state(url) == (5, True)
    assert stored_bytes(server, url) == b"12345"


# ------------------------------------------------------------------ interruptions


@EVERY
async def test_what_arrived_of_an_append_is_kept(server: Server, rufh: Rufh) -> None:
    """RUFH-APP-02, RUFH-CMP-04, RUFH-CON-02: from its beginning and without gaps; the offset that
    HEAD tells is the one that is taken."""
    data = some_bytes(600_000)
    url = await begun(server, rufh, data[:5])
    async with connected(url) as wire:
        head = rufh.appending(5, is_end=True) | {"Content-Length": str(len(data) - 5)}
        await wire.send_head("PATCH", url, head)
        await wire.send(data[5:400_000])
        await until(lambda: len(stored_bytes(server, url)) > 5)
        await wire.reset()
    offset, is_complete = await state(url, rufh)
    assert 5 < offset <= 400_000 and not is_complete
    assert stored_bytes(server, url) == data[:offset]
    done = await rufh.append(url, offset, data[offset:], is_end=True)
    assert (done.status, rufh.is_complete(done)) == (201, True)
    assert stored_bytes(server, url) == data


async def test_who_trickles_is_ended(impatient_server: Server) -> None:
    """RUFH-SEC-04: what arrived is kept; the answer tells that it can be gone on with."""
    url = await begun(impatient_server)
    async with connected(url) as wire:
        await wire.send_head("PATCH", url, NEW.appending(5, is_end=True) | {"Content-Length": "9"})
        await wire.send(b"67")
        answer = await wire.read_response(seconds=20 * BODY_IDLE_SECONDS)
    problem(answer, 503, "ERR_BODY_TOO_SLOW")
    assert not NEW.is_complete(answer)
    assert await state(url) == (7, False)


@EVERY
@pytest.mark.parametrize("newcomer", ["HEAD", "PATCH"])
async def test_a_newcomer_ends_the_request_before_it(
    server: Server, rufh: Rufh, newcomer: str
) -> None:
    """RUFH-CON-01, RUFH-CON-02, RUFH-CON-03: at once, and only one of them adds bytes."""
    data = some_bytes(600_000)
    url = await begun(server, rufh, b"")
    async with connected(url) as wire:
        head = rufh.appending(0, is_end=True) | {"Content-Length": str(len(data))}
        await wire.send_head("PATCH", url, head)
        await wire.send(data[:400_000])
        await until(lambda: len(stored_bytes(server, url)) > 0)
        async with asyncio.timeout(5):
            if newcomer == "HEAD":
                assert (await rufh.head(url)).offset > 0
            else:
                # It does not know how far the other one came, so it is told.
                assert (await rufh.append(url, 0, b"x" * 10, is_end=False)).status == 409
        cut = await wire.read_response()
        problem(cut, 423, "ERR_UPLOAD_HANDED_OVER")
    offset, _ = await state(url, rufh)
    assert stored_bytes(server, url)[:offset] == data[:offset]
    done = await rufh.append(url, offset, data[offset:], is_end=True)
    assert rufh.is_complete(done)
    assert stored_bytes(server, url) == data


# ------------------------------------------------------------------ offsets


@EVERY
@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_an_offset_is_told(server: Server, rufh: Rufh, method: str) -> None:
    """RUFH-HED-01, RUFH-HED-02, RUFH-HED-03, RUFH-HED-04, RUFH-HED-05, RUFH-HED-06: with all that
    is known of the upload, to nobody's cache, and without sending the client elsewhere."""
    known = await begun(server, rufh, headers={"Upload-Length": "9"})
    unknown = await begun(server, rufh)
    for url, length in ((known, 9), (unknown, None)):
        answer = await rufh.head(url, method=method)
        assert answer.status in (200, 204)
        assert (answer.offset, rufh.is_complete(answer), answer.length) == (5, False, length)
        assert answer.headers["Cache-Control"] == "no-store"
        assert ("Upload-Limit" in answer.headers) is (rufh.version not in (3, 4, 5))
        assert answer.body == b""
    for path in (known + "/", server.endpoint.rstrip("/")):
        assert (await rufh.head(path, method=method)).status in (404, 405)


@EVERY
async def test_what_is_not_there_is_not_found(server: Server, rufh: Rufh) -> None:
    """RUFH-HED-07, RUFH-OLD-07: 404, whatever is asked."""
    url = server.endpoint + UNKNOWN
    assert (await rufh.head(url)).status == 404
    assert "Upload-Offset" not in (await rufh.head(url)).headers
    problem(await rufh.append(url, 0, b"x", is_end=True), 404, "ERR_UPLOAD_UNKNOWN")
    assert (await rufh.delete(url)).status == 404


@EVERY
async def test_a_complete_upload_can_still_be_asked(server: Server, rufh: Rufh) -> None:
    """RUFH-RES-02: who lost the last answer learns that all is well."""
    url = await completed(server, rufh)
    assert await state(url, rufh) == (5, True)
    assert (await rufh.head(url)).length == 5


@EVERY
@pytest.mark.parametrize("method", ["HEAD", "DELETE"])
async def test_a_question_carries_no_transfer(server: Server, rufh: Rufh, method: str) -> None:
    """RUFH-OLD-06: 400 where it has an offset or says what is the end; and nothing is done."""
    url = await begun(server, rufh)
    wrong = [{"Upload-Offset": "5"}, {"Upload-Complete": "?1"}, rufh.completion(False)]
    for headers in wrong + ([{"Upload-Length": "9"}] if rufh.version == 6 else []):
        ask = rufh.head if method == "HEAD" else rufh.delete
        assert (await ask(url, headers=headers)).status == 400
    assert await state(url, rufh) == (5, False)


# ------------------------------------------------------------------ cancellation


@EVERY
async def test_a_cancelled_upload_is_gone(small_server: Server, rufh: Rufh) -> None:
    """RUFH-DEL-01, RUFH-DEL-03, RUFH-OLD-09, RUFH-OLD-07: 204, finished or not; its bytes go, and
    whatever is asked afterwards is 404."""
    server = small_server
    files = stored_files(server)
    for url in (await begun(server, rufh), await completed(server, rufh)):
        assert (await rufh.delete(url)).status == 204
        assert (await rufh.head(url)).status == 404
        assert (await rufh.append(url, 5, b"x", is_end=True)).status == 404
        assert (await rufh.delete(url)).status == 404
    assert stored_files(server) == files


@TODAY
async def test_a_cancellation_ends_what_is_under_way(server: Server, rufh: Rufh) -> None:
    """RUFH-DEL-02, RUFH-CON-01, RUFH-CON-03: the running append is over before the answer."""
    url = await begun(server, rufh, b"")
    async with connected(url) as wire:
        head = rufh.appending(0, is_end=True) | {"Content-Length": "600000"}
        await wire.send_head("PATCH", url, head)
        await wire.send(b"x" * 400_000)
        await until(lambda: len(stored_bytes(server, url)) > 0)
        async with asyncio.timeout(5):
            assert (await rufh.delete(url)).status == 204
        with contextlib.suppress(Hangup):
            assert (await wire.read_response()).status == 423
    assert (await rufh.head(url)).status == 404
    assert stored_bytes(server, url) == b""
