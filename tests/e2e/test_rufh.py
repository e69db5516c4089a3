"""Phones that speak Resumable Uploads for HTTP, on a bad line; and both protocols on one upload."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.installations import serving
from tests.e2e.rig import (
    MIB,
    assert_finished,
    content,
    created,
    hooked,
    stored_bytes,
    stored_file,
    until,
    until_stored,
)
from tests.support import tus
from tests.support.receiver import Receiver, receiving
from tests.support.relay import Cut, Fault, Relay, relay_to
from tests.support.rufh import Rufh
from tests.support.server import Server
from tests.support.urlsession import UrlSession, UrlSessionFailure

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("rufh")]

SIZE = 3 * MIB + 12_345
PHONES = pytest.mark.parametrize("version", [3, 5, 6, 8], ids=["17", "18.0", "18.1", "26"])
"""By the version of iOS."""
EVERY = pytest.mark.parametrize("version", [3, 4, 5, 6, 7, 8])


@dataclass(frozen=True, slots=True)
class Place:
    """A server, a bad line to it, a receiver of its events, and a file to upload."""

    server: Server
    relay: Relay
    receiver: Receiver
    data: bytes

    def phone(self, version: int, **options: Any) -> UrlSession:
        headers = {
            "Authorization": f"Bearer {self.server.mint()}",
            "Content-Type": "video/mp4",
            "Content-Disposition": 'inline; filename="film.mp4"',
        }
        return UrlSession(self.relay.url(self.server.endpoint), version, headers, **options)

    async def judge(self, phone: UrlSession) -> None:
        """One creation, and the file is as it was, told once as completed."""
        assert len(phone.of(phone.method)) == 1
        assert phone.url is not None
        await assert_finished(self.server, self.receiver, phone.url, self.data)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    """One server for all: it survives every test, as it should."""
    directory = tmp_path_factory.mktemp("rufh")
    async with (
        receiving() as receiver,
        serving(directory, hooked(directory, receiver), proxy="caddy") as server,
        relay_to(server.endpoint) as relay,
    ):
        yield Place(server, relay, receiver, content(SIZE))


@pytest.fixture
def place(shared_place: Place) -> Place:
    """With a line that holds."""
    relay = shared_place.relay
    relay.clear()
    relay.default = Fault()
    return Place(shared_place.server, relay, shared_place.receiver, shared_place.data)


def stored_files(server: Server) -> set[Path]:
    """But for those that tell of hosts."""
    found = server.store_root.glob("*/*")
    return {one for one in found if one.is_file() and one.parent.name != "hosts"}


def never_from_zero(phone: UrlSession) -> None:
    """It went on by appends, of which none began at byte 0."""
    offsets = [sent.offset for sent in phone.of("PATCH")]
    assert offsets and all(offsets), phone.log


# ------------------------------------------------------------------ phones


@EVERY
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_phone_uploads(place: Place, version: int, method: str) -> None:
    """Over a line that holds: one request, and its answer is the app's."""
    phone = place.phone(version, method=method)
    answer = await phone.upload(place.data)
    assert answer.status == 201 and answer.location == place.relay.url(answer.location)
    assert [sent.method for sent in phone.log] == [method]
    await place.judge(phone)


@EVERY
@pytest.mark.parametrize("how", Cut)
async def test_a_phone_resumes_after_cuts(place: Place, version: int, how: Cut) -> None:
    """The line breaks in the creation and in the append behind it; nothing starts from byte 0."""
    place.relay.add(Fault(cut_after=MIB, how=how), Fault(), Fault(cut_after=MIB + 5_000, how=how))
    phone = place.phone(version)
    answer = await phone.upload(place.data)
    assert (answer.status, answer.offset) == (201, SIZE)
    assert len(phone.of("PATCH")) == 2
    never_from_zero(phone)
    await place.judge(phone)


@EVERY
async def test_a_phone_recovers_a_lost_last_answer(place: Place, version: int) -> None:
    """All bytes came, the 201 did not: HEAD tells that it is complete, and the app gets a
    success."""
    place.relay.add(Fault(lose_answer_after=SIZE))
    phone = place.phone(version)
    answer = await phone.upload(place.data)
    assert 200 <= answer.status < 300 and answer.offset == SIZE
    assert [sent.status for sent in phone.of("POST")] == [None]
    assert [sent.offset for sent in phone.of("PATCH")] in ([], [SIZE])
    await place.judge(phone)


async def kill(server: Server) -> None:
    await server.restart(kill=True)


async def stop(server: Server) -> None:
    await server.restart()


@PHONES
@pytest.mark.parametrize("restart", [kill, stop], ids=["killed", "stopped"])
async def test_a_phone_survives_a_restart_of_the_server(
    place: Place, version: int, restart: Callable[[Server], Awaitable[None]]
) -> None:
    """The server ends in mid-body and comes back: bytes that were told are not sent again."""
    place.relay.add(Fault(stall_after=2 * MIB))
    phone = place.phone(version)
    number = len(place.relay.connections)
    uploading = asyncio.create_task(phone.upload(place.data))
    connection = await place.relay.connection(number)
    await connection.stalled.wait()
    assert phone.url is not None
    await until_stored(place.server, phone.url, MIB)
    await restart(place.server)
    # A proxy notices that its server has gone once there is something to send to it.
    connection.resume()
    answer = await uploading
    assert (answer.status, answer.offset) == (201, SIZE)
    never_from_zero(phone)
    await place.judge(phone)


async def test_a_phone_of_another_version_cannot_resume(place: Place) -> None:
    """It hears no 104, so a cut is the end of it; and nothing is left of what it sent."""
    files = stored_files(place.server)
    place.relay.add(Fault(cut_after=MIB))
    phone = place.phone(9)
    with pytest.raises(UrlSessionFailure):
        await phone.upload(place.data)
    assert [(sent.method, sent.status, sent.interim) for sent in phone.log] == [("POST", None, ())]
    await until(lambda: stored_files(place.server) <= files)


async def test_a_phone_uploads_whole_files_in_any_version(place: Place) -> None:
    """Over a line that holds no 104 is needed."""
    answer = await place.phone(9).upload(place.data)
    assert answer.status == 201
    await assert_finished(place.server, place.receiver, answer.location, place.data)


async def test_phones_of_all_versions_survive_a_kill_together(place: Place) -> None:
    """Each one goes on where it was."""
    place.relay.default = Fault(bytes_per_second=2 * MIB)
    phones = [place.phone(version) for version in (3, 4, 5, 6, 7, 8)]
    uploads = [asyncio.create_task(phone.upload(place.data)) for phone in phones]
    await place.relay.passed(place.relay.bytes_up + 6 * MIB)
    await kill(place.server)
    place.relay.default = Fault()
    for phone, upload in zip(phones, uploads, strict=True):
        assert (await upload).offset == SIZE
        never_from_zero(phone)
        await place.judge(phone)


async def test_a_refusal_is_the_apps(place: Place) -> None:
    """A token that is not valid: the app gets that answer, and the phone tries nothing else."""
    phone = place.phone(6)
    phone.headers = {"Authorization": "Bearer nonsense"}
    answer = await phone.upload(place.data)
    assert answer.status == 401
    assert phone.url is None and len(phone.log) == 1


# ------------------------------------------------------------------ both protocols, one upload


async def completions(place: Place, url: str) -> int:
    """How many completions were told of this upload, after a later one's was told."""
    marker = await tus.upload(
        place.server.endpoint,
        b"marker",
        metadata=tus.video_metadata(place.server.mint(), "1001", "7"),
    )
    await place.receiver.told(marker.rpartition("/")[2], "upload.completed")
    name = url.rpartition("/")[2]
    ids = {one.event_id for one in place.receiver.of(name) if one.kind == "upload.completed"}
    return len(ids)


async def begun(place: Place, rufh: Rufh, data: bytes, length: int | None) -> str:
    headers = {} if length is None else {"Upload-Length": str(length)}
    answer = await rufh.create(
        place.server.endpoint, data, is_end=False, bearer=place.server.mint(), headers=headers
    )
    assert (answer.status, rufh.is_complete(answer)) == (201, False), answer.text
    return answer.location


@EVERY
@pytest.mark.parametrize("is_deferred", [False, True])
async def test_what_tus_began_the_other_completes(
    place: Place, version: int, is_deferred: bool
) -> None:
    """Also where tus left the length open: the last append says it."""
    rufh, data = Rufh(version), place.data
    url = await created(place.server, None if is_deferred else SIZE)
    assert (await tus.patch(url, 0, data[:MIB])).status == 204
    head = await rufh.head(url)
    assert (head.offset, rufh.is_complete(head)) == (MIB, False)
    part = await rufh.append(url, MIB, data[MIB : 2 * MIB], is_end=False)
    assert (part.offset, rufh.is_complete(part)) == (2 * MIB, False)
    assert (await tus.head(url)).offset == 2 * MIB
    done = await rufh.append(url, 2 * MIB, data[2 * MIB :], is_end=True)
    assert (done.status, rufh.is_complete(done)) == (201, True)
    found = await tus.head(url)
    assert (found.offset, found.length) == (SIZE, SIZE)
    await assert_finished(place.server, place.receiver, url, data)


@EVERY
@pytest.mark.parametrize("is_deferred", [False, True])
async def test_what_the_other_began_tus_completes(
    place: Place, version: int, is_deferred: bool
) -> None:
    """A PATCH that reaches the length does; where none was told tus tells it."""
    rufh, data = Rufh(version), place.data
    url = await begun(place, rufh, data[:MIB], None if is_deferred else SIZE)
    head = await tus.head(url)
    assert (head.offset, head.length) == (MIB, None if is_deferred else SIZE)
    assert ("Upload-Defer-Length" in head.headers) is is_deferred
    stale = await tus.patch(url, 0, data[:10])
    assert (stale.status, stale.offset) == (409, MIB)
    declared = {"Upload-Length": str(SIZE)} if is_deferred else {}
    done = await tus.patch(url, MIB, data[MIB:], headers=declared)
    assert (done.status, done.offset) == (204, SIZE)
    found = await rufh.head(url)
    assert (found.offset, rufh.is_complete(found), found.length) == (SIZE, True, SIZE)
    await assert_finished(place.server, place.receiver, url, data)


@pytest.mark.parametrize("maker", ["tus", "rufh"])
async def test_all_bytes_are_not_the_end_to_who_has_to_say_it(place: Place, maker: str) -> None:
    """An append that leaves the end open completes nothing, whoever began the upload, nor does
    asking in that protocol; a HEAD of tus does, as an empty PATCH would."""
    rufh, data = Rufh(8), place.data
    if maker == "tus":
        url = await created(place.server, SIZE)
        assert (await tus.patch(url, 0, data[:MIB])).status == 204
    else:
        url = await begun(place, rufh, data[:MIB], SIZE)
    full = await rufh.append(url, MIB, data[MIB:], is_end=False)
    assert (full.status, full.offset, rufh.is_complete(full)) == (204, SIZE, False)
    head = await rufh.head(url)
    assert (head.offset, rufh.is_complete(head)) == (SIZE, False)
    assert await completions(place, url) == 0
    assert (await tus.head(url)).offset == SIZE
    assert rufh.is_complete(await rufh.head(url))
    await assert_finished(place.server, place.receiver, url, data)


@pytest.mark.parametrize("maker", ["tus", "rufh"])
async def test_who_names_no_protocol_gets_what_the_maker_would(place: Place, maker: str) -> None:
    """A plain HEAD of an upload with all its bytes completes it where tus made it."""
    unnamed, data = Rufh(None), b"1234567890"
    if maker == "tus":
        url = await created(place.server, len(data))
    else:
        url = await begun(place, unnamed, b"", len(data))
    full = await unnamed.append(url, 0, data, is_end=False)
    assert not unnamed.is_complete(full)
    head = await unnamed.head(url)
    assert (head.status, head.offset, head.length) == (200, 10, 10)
    assert head.headers["Tus-Resumable"] == "1.0.0"
    assert unnamed.is_complete(head) is (maker == "tus")
    if maker == "rufh":
        assert unnamed.is_complete(await unnamed.append(url, 10, b"", is_end=True))
    await assert_finished(place.server, place.receiver, url, data)


@EVERY
async def test_each_removes_what_the_other_made(place: Place, version: int) -> None:
    """204 by either, and nothing left for both."""
    rufh = Rufh(version)
    ours = await begun(place, rufh, b"12345", None)
    theirs = await created(place.server, 10)
    assert (await tus.delete(ours)).status == 204
    assert (await rufh.delete(theirs)).status == 204
    for url in (ours, theirs):
        assert (await rufh.head(url)).status == (await tus.head(url)).status == 404
        assert not stored_file(place.server, url).exists()


@pytest.mark.parametrize("how", Cut)
async def test_a_phone_that_was_cut_is_continued_by_tus(place: Place, how: Cut) -> None:
    """The address is all it takes; the bytes are the phone's and tus's together."""
    place.relay.add(Fault(cut_after=MIB, how=how))
    phone = place.phone(6, delays=())
    with pytest.raises(UrlSessionFailure):
        await phone.upload(place.data)
    assert phone.url is not None
    offset = (await tus.head(phone.url)).offset
    assert 0 < offset <= MIB
    done = await tus.patch(phone.url, offset, place.data[offset:])
    assert (done.status, done.offset) == (204, SIZE)
    await place.judge(phone)
    assert stored_bytes(place.server, phone.url) == place.data
