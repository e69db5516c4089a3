"""Resumable Uploads for HTTP: what older versions have otherwise, on which phones rely."""

import pytest

from tests.conformance.rufh_uploads import begun, completed, problem, state
from tests.conformance.uploads import stored_bytes, until
from tests.support.rufh import Rufh, parse_limits
from tests.support.server import Server
from tests.support.wire import Response, connected

OLD = pytest.mark.parametrize("rufh", [Rufh(version) for version in (3, 4, 5, 6)], ids="3456")
OLDER = pytest.mark.parametrize("rufh", [Rufh(version) for version in (3, 4, 5, 6, 7)], ids="34567")


async def test_the_third_version_says_it_the_other_way_round(server: Server) -> None:
    """RUFH-OLD-01: Upload-Incomplete: ?1 is more to come, and Upload-Complete is not known."""
    named = {"Upload-Draft-Interop-Version": "3", "Authorization": f"Bearer {server.mint()}"}
    rufh = Rufh(3)
    for value, is_complete in (("?1", False), ("?0", True)):
        answer = await Rufh(None).create(
            server.endpoint,
            b"12345",
            is_end=not is_complete,
            bearer=None,
            headers=named | {"Upload-Incomplete": value},
        )
        assert answer.headers["Upload-Incomplete"] == value
        assert "Upload-Complete" not in answer.headers
        assert await state(answer.location, rufh) == (5, is_complete)


async def test_its_field_is_enough_to_know_it(server: Server) -> None:
    """RUFH-OLD-01: what it says must not be overlooked, or a beginning would be taken for all."""
    answer = await Rufh(None).create(
        server.endpoint,
        b"12345",
        is_end=True,
        bearer=server.mint(),
        headers={"Upload-Complete": "", "Upload-Incomplete": "?1"},
    )
    assert (answer.status, answer.headers["Upload-Incomplete"]) == (201, "?1")
    assert await state(answer.location) == (5, False)


async def test_its_appends_end_the_file_unless_they_say_otherwise(server: Server) -> None:
    """RUFH-OLD-01: iOS 17 sends the rest of a file, and nothing about it."""
    rufh = Rufh(3)
    url = await begun(server, rufh)
    done = await rufh.append(url, 5, b"67", is_end=True, headers={"Upload-Incomplete": ""})
    assert (done.status, done.offset, rufh.is_complete(done)) == (201, 7, True)


@pytest.mark.parametrize("rufh", [Rufh(version) for version in (4, 5, 6, 7, 8)], ids="45678")
async def test_appends_of_later_versions_have_to_say(server: Server, rufh: Rufh) -> None:
    """RUFH-OLD-01, RUFH-APP-15: 400, and nothing is stored."""
    url = await begun(server, rufh)
    answer = await rufh.append(url, 5, b"67", is_end=True, headers={"Upload-Complete": ""})
    problem(answer, 400, "ERR_MISSING_HEADER")
    assert await state(url, rufh) == (5, False)


@OLD
async def test_every_answer_tells_the_offset(server: Server, rufh: Rufh) -> None:
    """RUFH-OLD-02, RUFH-OLD-03, RUFH-OLD-04: of successes and of refusals, as long as the upload
    can be gone on with; a success that does not complete is 201."""

    def said(answer: Response) -> tuple[int, int, bool]:
        return answer.status, answer.offset, rufh.is_complete(answer)

    declared = {"Upload-Length": "9"}
    created = await rufh.create(
        server.endpoint, b"12345", is_end=False, bearer=server.mint(), headers=declared
    )
    url = created.location
    assert said(created) == (201, 5, False)
    assert said(await rufh.append(url, 5, b"6", is_end=False)) == (201, 6, False)
    assert said(await rufh.append(url, 5, b"6", is_end=False)) == (409, 6, False)
    assert said(await rufh.append(url, 6, b"7", is_end=True)) == (400, 6, False)
    wrong = {"Content-Digest": "md5=:AAAAAAAAAAAAAAAAAAAAAA==:"}
    assert said(await rufh.append(url, 6, b"7", is_end=False, headers=wrong)) == (400, 6, False)
    assert said(await handed_over(server, url, rufh)) == (423, 8, False)
    assert said(await rufh.append(url, 8, b"9", is_end=True)) == (201, 9, True)


async def handed_over(server: Server, url: str, rufh: Rufh) -> Response:
    """The answer to an append of 3 bytes that got as far as 8 when somebody asked."""
    async with connected(url) as wire:
        head = rufh.appending(6, is_end=True) | {"Content-Length": "3"}
        await wire.send_head("PATCH", url, head)
        await wire.send(b"78")
        await until(lambda: len(stored_bytes(server, url)) == 8)
        assert (await rufh.head(url)).offset == 8
        return await wire.read_response()


@OLD
async def test_a_head_is_answered_without_content(server: Server, rufh: Rufh) -> None:
    """RUFH-OLD-05, RUFH-OLD-11: 204, which all of these allow and the oldest demand."""
    url = await begun(server, rufh, headers={"Upload-Length": "9"})
    answer = await rufh.head(url)
    assert (answer.status, answer.offset, rufh.is_complete(answer)) == (204, 5, False)
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.length == 9
    if rufh.version == 6:
        assert parse_limits(answer).keys() == {"max-size", "expires"}


@OLDER
async def test_a_cancellation_is_204(server: Server, rufh: Rufh) -> None:
    """RUFH-OLD-09, RUFH-OLD-07: and 404 afterwards."""
    url = await begun(server, rufh)
    assert [(await rufh.delete(url)).status for _ in range(2)] == [204, 404]


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("media_type", ["", "video/mp4", "application/offset+octet-stream"])
async def test_the_oldest_appends_have_any_media_type(
    server: Server, version: int, media_type: str
) -> None:
    """RUFH-OLD-10: tus-js-client sends that of the file, or none."""
    rufh = Rufh(version)
    url = await begun(server, rufh)
    headers = {"Content-Type": media_type}
    assert (await rufh.append(url, 5, b"6", is_end=True, headers=headers)).offset == 6


@pytest.mark.parametrize("version", [6, 7])
async def test_later_ones_have_their_own(server: Server, version: int) -> None:
    """RUFH-OLD-10: 415 without it."""
    rufh = Rufh(version)
    url = await begun(server, rufh)
    for media_type in ("", "video/mp4"):
        headers = {"Content-Type": media_type}
        answer = await rufh.append(url, 5, b"6", is_end=True, headers=headers)
        problem(answer, 415, "ERR_UNSUPPORTED_MEDIA_TYPE")
    assert await state(url, rufh) == (5, False)


@pytest.mark.parametrize("version", [6, 7])
async def test_a_complete_upload_takes_no_append_at_all(server: Server, version: int) -> None:
    """RUFH-OLD-13: also none that would change nothing."""
    rufh = Rufh(version)
    url = await completed(server, rufh)
    for offset, data in ((5, b""), (5, b"6"), (0, b"12345")):
        answer = await rufh.append(url, offset, data, is_end=True)
        problem(answer, 400, "ERR_UPLOAD_FINISHED", "completed-upload")
        assert answer.offset == 5
    assert await state(url, rufh) == (5, True)
    assert stored_bytes(server, url) == b"12345"


@pytest.mark.parametrize("version", [3, 4, 5])
async def test_the_oldest_are_told_again_that_it_is_complete(server: Server, version: int) -> None:
    """RUFH-OLD-04: after a last answer that was lost."""
    rufh = Rufh(version)
    url = await completed(server, rufh)
    again = await rufh.append(url, 5, b"", is_end=True)
    assert (again.status, again.offset, rufh.is_complete(again)) == (201, 5, True)


async def test_the_seventh_version(server: Server) -> None:
    """RUFH-OLD-15, RUFH-OLD-08: every append says whether it completed the upload."""
    rufh = Rufh(7)
    url = await begun(server, rufh)
    part = await rufh.append(url, 5, b"6", is_end=False)
    assert (part.status, rufh.is_complete(part)) == (204, False)
    stale = await rufh.append(url, 5, b"6", is_end=False)
    assert (stale.status, stale.offset) == (409, 6)
    done = await rufh.append(url, 6, b"7", is_end=True)
    assert (done.status, rufh.is_complete(done)) == (201, True)
    assert parse_limits(await rufh.head(await begun(server, rufh))).keys() == {
        "max-size",
        "max-age",
    }


async def test_versions_may_change_in_mid_upload(server: Server) -> None:
    """RUFH-RES-01: a phone is updated over night; what it began goes on."""
    data = b"1234567"
    url = await begun(server, Rufh(3), data[:1])
    for at, version in enumerate((4, 5, 6, 7), start=1):
        rufh = Rufh(version)
        assert await state(url, rufh) == (at, False)
        answer = await rufh.append(url, at, data[at : at + 1], is_end=False)
        assert (answer.offset, rufh.is_complete(answer)) == (at + 1, False)
    assert Rufh(8).is_complete(await Rufh(8).append(url, 5, data[5:], is_end=True))
    assert stored_bytes(server, url) == data
