"""Where two rarities meet: repeated tokens, whole URLs with other hosts, lengths beyond a field."""

import pytest

from tests.conformance.rufh_uploads import EVERY, problem
from tests.conformance.uploads import METADATA, new_upload, raw
from tests.support import tus
from tests.support.rufh import VERSIONS, Rufh
from tests.support.server import Server
from tests.support.wire import connected

LONGEST_TOLD = 10**15 - 1


@pytest.mark.parametrize("rufh", [Rufh(version) for version in VERSIONS], ids=str)
async def test_a_whole_file_sent_again_is_no_success_before_it_is_whole(
    server: Server, rufh: Rufh
) -> None:
    """RUFH-CRE-04, RUFH-CMP-03: with a token for one file, a second creation finds what the first
    one left. Its content is not read, so a phone that took the answer for success would have lost
    the file."""
    token = server.mint(jti=f"again-{rufh.version}", once=True)
    headers = rufh.creation(is_end=True, bearer=token) | {"Content-Length": "10"}
    async with connected(server.endpoint) as wire:
        await wire.send_head("POST", server.endpoint, headers)
        await wire.send(b"12345")
        early = await wire.read_any()
        assert early.status == 104
        wire.half_close()
        await wire.read_response()
    again = await rufh.create(server.endpoint, b"1234567890", is_end=True, bearer=token)
    problem(again, 409, "ERR_OFFSET_MISMATCH", "mismatching-upload-offset")
    assert not rufh.is_complete(again)
    assert (again.location, again.offset) == (early.location, 5)
    appended = await rufh.append(again.location, again.offset, b"67890", is_end=True)
    assert (appended.status, rufh.is_complete(appended)) == (201, True)
    once_more = await rufh.create(server.endpoint, b"1234567890", is_end=True, bearer=token)
    assert (once_more.status, rufh.is_complete(once_more)) == (201, True)
    assert once_more.location == early.location


async def test_a_page_that_is_closed_ends_its_stream_at_once(server: Server) -> None:
    """SEC-ALIVE: all that comes of it is a FIN; the place it takes among the streams is free again
    before anything is written to it."""
    url = await new_upload(server, length=10)
    async with connected(url) as wire:
        await wire.send_head("GET", f"{url}/events")
        await wire.read_stream_head()
        while b"event: status" not in await wire.read_chunk():
            pass
        wire.half_close()
        assert await wire.is_closed(seconds=5)


@pytest.mark.parametrize("scheme", ["http", "HTTP"])
@pytest.mark.parametrize("netloc", ["files.example", "files.example:81", "[::1]:8080"])
async def test_a_whole_url_counts_before_the_host(server: Server, scheme: str, netloc: str) -> None:
    """HTTP-ABSOLUTE: RFC 9112, 3.2.2, "MUST ignore the received Host header field"."""
    head = ["Host: other.example", f"Authorization: Bearer {server.mint()}"]
    metadata = f"Upload-Metadata: {tus.encode_metadata(METADATA)}"
    target = f"{scheme}://{netloc}/upload/"
    async with connected(server.endpoint) as wire:
        create = [f"POST {target} HTTP/1.1", *head, "Tus-Resumable: 1.0.0", "Upload-Length: 3"]
        answer = await raw(wire, *create, metadata)
        assert answer.status == 201
        assert answer.location.startswith(f"http://{netloc}/upload/"), answer.location
        put = [f"PUT {target}film.mp4 HTTP/1.1", *head, metadata, "Content-Length: 3"]
        answer = await raw(wire, *put, method="PUT", body=b"abc")
        assert answer.status == 201
        assert answer.location.startswith(f"http://{netloc}/upload/"), answer.location


@EVERY
@pytest.mark.parametrize("length", [LONGEST_TOLD, LONGEST_TOLD + 1, 2**63 - 1])
async def test_a_length_too_long_for_its_field_is_left_away(
    open_server: Server, rufh: Rufh, length: int
) -> None:
    """RUFH-HED-03, RUFH-LEN-03: an Integer has at most fifteen digits (RFC 9651, 3.3.1); tus has
    no bound."""
    created = await tus.create(open_server.endpoint, length=length, metadata=METADATA)
    assert created.status == 201
    answer = await rufh.head(created.location)
    assert answer.status in (200, 204)
    if rufh.version is not None:
        assert answer.length == (length if length <= LONGEST_TOLD else None)
    assert answer.offset == 0
    assert not rufh.is_complete(answer)
