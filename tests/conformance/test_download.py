"""Finished files: whole, in parts, under conditions, for whom, and as what."""

import asyncio
from collections.abc import Mapping

import pytest

from tests.conformance.uploads import METADATA, new_upload, refusal, some_bytes
from tests.support import tus
from tests.support.relay import Cut, Fault, relay_to
from tests.support.server import Server
from tests.support.wire import Hangup, Response, connected, request

FILE = some_bytes(3_000_001)


async def uploaded(
    server: Server, data: bytes = FILE, metadata: Mapping[str, str] | None = None
) -> str:
    """The URL of a finished upload."""
    return await tus.upload(
        server.endpoint, data, metadata=METADATA | dict(metadata or {}), bearer=server.mint()
    )


async def get(url: str, **headers: str) -> Response:
    return await request("GET", url, {name.replace("_", "-"): v for name, v in headers.items()})


async def test_a_file_comes_back_as_it_was_sent(server: Server) -> None:
    """HTTP-GET, HTTP-KEEPALIVE: again and again on one connection."""
    url = await uploaded(server)
    async with connected(url) as wire:
        for _ in range(3):
            answer = await wire.request("GET", url)
            assert (answer.status, answer.body == FILE) == (200, True)
            assert answer.headers["Content-Length"] == str(len(FILE))
            assert answer.headers["Accept-Ranges"] == "bytes"


async def test_many_read_at_once_and_one_deletes(server: Server) -> None:
    """HTTP-GET: nobody waits for anybody; who has begun gets all of it."""
    url = await uploaded(server)
    assert {(await get(url)).body == FILE for _ in range(2)} == {True}
    answers = await asyncio.gather(*(get(url) for _ in range(20)))
    assert all(answer.body == FILE for answer in answers)
    async with connected(url) as wire:
        await wire.send_head("GET", url)
        assert (await tus.delete(url)).status == 204
        assert (await wire.read_response()).status in (200, 404)
    refusal(await get(url), 404, "ERR_UPLOAD_UNKNOWN")


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        ("0-0", 0, 0),
        ("0-999999", 0, 999_999),
        ("1000000-", 1_000_000, 3_000_000),
        ("-1", 3_000_000, 3_000_000),
        ("-3000002", 0, 3_000_000),
        ("2999999-4000000", 2_999_999, 3_000_000),
    ],
)
async def test_a_range_is_honoured_exactly(
    server: Server, wanted: str, first: int, last: int
) -> None:
    """HTTP-RANGE."""
    url = await uploaded(server)
    answer = await get(url, Range=f"bytes={wanted}")
    assert (answer.status, answer.body == FILE[first : last + 1]) == (206, True)
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(FILE)}"


async def test_a_cut_download_is_gone_on_with(server: Server) -> None:
    """HTTP-RANGE, HTTP-GET: by a range under the tag of the first answer; both parts are one
    file."""
    url = await uploaded(server)
    tag = (await get(url, If_None_Match="*")).headers["ETag"]
    async with relay_to(url, Fault(cut_answer_after=1_500_000, how=Cut.FIN)) as relay:
        with pytest.raises(Hangup) as cut:
            await get(relay.url(url))
    begun = cut.value.received
    assert 0 < len(begun) < len(FILE)
    rest = await get(url, Range=f"bytes={len(begun)}-", If_Range=tag)
    assert (rest.status, begun + rest.body == FILE) == (206, True)


@pytest.mark.parametrize("wanted", ["bytes=3000001-", "bytes=99999999999999999999-", "bytes=-0"])
async def test_a_range_beyond_the_file_is_refused(server: Server, wanted: str) -> None:
    """HTTP-RANGE, CORS-ANSWER."""
    url = await uploaded(server)
    answer = await get(url, Range=wanted)
    refusal(answer, 416, "ERR_RANGE")
    assert answer.headers["Content-Range"] == f"bytes */{len(FILE)}"


@pytest.mark.parametrize(
    "wanted", ["bytes=5-1", "bytes=a-b", "lines=1-2", "bytes=0-1,5-6", "x", ""]
)
async def test_a_range_that_means_nothing_here_is_ignored(server: Server, wanted: str) -> None:
    """HTTP-RANGE."""
    url = await uploaded(server, b"0123456789")
    answer = await get(url, Range=wanted)
    assert (answer.status, answer.body) == (200, b"0123456789")


async def test_conditions_are_kept(server: Server) -> None:
    """HTTP-GET: what a client has it is not sent again, and another file than it means not at
    all."""
    url = await uploaded(server, b"0123456789")
    told = (await get(url)).headers
    tag, date = told["ETag"], told["Last-Modified"]
    for known in ({"If_None_Match": tag}, {"If_None_Match": "*"}, {"If_Modified_Since": date}):
        same = await get(url, **known)
        assert (same.status, same.body, same.headers["ETag"]) == (304, b"", tag)
    for other in ({"If_Match": '"x"'}, {"If_Unmodified_Since": "Sun, 06 Nov 1994 08:49:37 GMT"}):
        refusal(await get(url, **other), 412, "ERR_PRECONDITION_FAILED")
    for fitting in ({"If_Match": tag}, {"If_None_Match": '"x"'}, {"If_Unmodified_Since": date}):
        assert (await get(url, **fitting)).body == b"0123456789"
    whole = await get(url, Range="bytes=1-2", If_Range='"x"')
    assert (whole.status, whole.body) == (200, b"0123456789")


@pytest.mark.parametrize(
    "filetype", ["text/html", "image/svg+xml", "application/pdf", "", "x\r\ny"]
)
async def test_an_uploaded_page_cannot_run(server: Server, filetype: str) -> None:
    """SEC-XSS, SEC-INJECT: it is bytes to be saved, under its name, whatever the browser asks."""
    page = b"<html><script>alert(1)</script>"
    url = await uploaded(server, page, {"filetype": filetype, "filename": 'a".html\r\nX-A: b'})
    answer = await get(url, Accept="text/html")
    assert (answer.status, answer.body) == (200, page)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment; filename=")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert "X-A" not in answer.headers


async def test_a_film_is_shown_in_place(server: Server) -> None:
    """HTTP-GET, SEC-XSS: what cannot run is told as what it is; its name in two spellings."""
    url = await uploaded(server, metadata={"filetype": "video/mp4", "filename": "für Eva.mp4"})
    answer = await get(url, Origin="https://www.example")
    assert answer.headers["Content-Type"] == "video/mp4"
    assert answer.headers["Content-Disposition"] == (
        "inline; filename=\"f_r Eva.mp4\"; filename*=UTF-8''f%C3%BCr%20Eva.mp4"
    )
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Content-Range" in answer.headers["Access-Control-Expose-Headers"]


async def test_a_question_is_no_download(server: Server) -> None:
    """HTTP-GET, TUS-CORE-16, HTTP-HEADBODY: HEAD is what it was, and a GET that names a protocol
    asks for the offset in it."""
    url = await uploaded(server)
    head = await tus.head(url)
    assert (head.status, head.offset) == (200, len(FILE))
    assert "ETag" not in head.headers and "Content-Type" not in head.headers
    answer = await get(url, Tus_Resumable="1.0.0")
    assert (answer.status, answer.offset, answer.body) == (200, len(FILE), b"")
    answer = await get(url, Upload_Draft_Interop_Version="8")
    assert (answer.offset, answer.body) == (len(FILE), b"")


async def test_what_is_not_finished_is_no_file(server: Server) -> None:
    """HTTP-GET, HTTP-SAFE: GET tells how far it is; a part of a file never becomes one."""
    url = await new_upload(server, length=10, data=b"12345")
    answer = await get(url)
    assert (answer.status, answer.offset, answer.body) == (200, 5, b"")
    part = await tus.create(
        server.endpoint,
        length=5,
        bearer=server.mint(),
        metadata=METADATA,
        headers={"Upload-Concat": "partial"},
    )
    assert (await tus.patch(part.location, 0, b"12345")).status == 204
    answer = await get(part.location)
    assert (answer.offset, answer.body) == (5, b"")


async def test_an_empty_file_is_a_file(server: Server) -> None:
    """HTTP-GET."""
    answer = await get(await uploaded(server, b""))
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "0")
    assert answer.headers["Content-Disposition"].startswith("attachment")


async def test_a_download_needs_the_rights_of_every_verb(
    server: Server, strict_server: Server
) -> None:
    """TUS-CORE-38: the address is enough where it is for the rest; a token that is presented must
    be genuine and the owner's; where every request needs one, so does this."""
    url = await uploaded(server, b"abc")
    refusal(await get(url, Authorization="Bearer x"), 401, "ERR_TOKEN_INVALID")
    stranger = server.mint(client_id="another")
    refusal(await get(url, Authorization=f"Bearer {stranger}"), 403, "ERR_TOKEN_CLIENT")
    assert (await get(url, Authorization=f"Bearer {server.mint()}")).body == b"abc"
    token = {"Authorization": f"Bearer {strict_server.mint()}"}
    created = await tus.create(
        strict_server.endpoint, length=3, metadata=METADATA, bearer=strict_server.mint()
    )
    assert (await tus.patch(created.location, 0, b"abc", headers=token)).status == 204
    refusal(await get(created.location), 401, "ERR_TOKEN_INVALID")
    sender = strict_server.mint(scope="create append")
    refusal(await get(created.location, Authorization=f"Bearer {sender}"), 403, "ERR_TOKEN_SCOPE")
    assert (await get(created.location, **token)).body == b"abc"


async def test_where_downloads_are_off_nothing_is_handed_out(closed_server: Server) -> None:
    """HTTP-GET, SEC-XSS: a GET is a question then; the pages are not there either."""
    url = await uploaded(closed_server, b"abc")
    answer = await get(url)
    assert (answer.status, answer.offset, answer.body) == (200, 3, b"")
    for path in (url + "/status", url + "/events"):
        refusal(await get(path), 404, "ERR_NOT_FOUND")
    for name in ("status", "events"):
        refusal(await get(closed_server.endpoint + name), 404, "ERR_UPLOAD_UNKNOWN")


async def test_an_old_client_and_a_half_closed_one_get_the_file(server: Server) -> None:
    """HTTP-10, HTTP-HALFCLOSE, HTTP-GET."""
    url = await uploaded(server)
    async with connected(url) as wire:
        await wire.send_head("GET", url, version="HTTP/1.0")
        answer = await wire.read_response()
        assert (answer.version, answer.body == FILE) == ((1, 0), True)
        assert await wire.is_closed()
    async with connected(url) as wire:
        await wire.send_head("GET", url)
        wire.half_close()
        assert (await wire.read_response()).body == FILE
