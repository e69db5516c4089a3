"""What a download says of itself, and what GET of an upload is besides."""

from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from tests.fakes.shelf import NOW, MemoryBytes, finished
from tests.unit.core.builders import AN_ID, AN_OWNER
from tests.unit.web.files import FILE, FileRig, shelve, shelved
from tests.unit.web.rig import TUS
from tusd_py.core.identity import Owner
from tusd_py.core.ids import ClientId
from tusd_py.core.upload import Kind, Status
from tusd_py.service.observing import Opened
from tusd_py.web.downloads import validators_of
from tusd_py.web.view_settings import DownloadSettings


def put(rig: FileRig, content: bytes = b"0123456789", **metadata: str) -> None:
    rig.shelf.records[AN_ID] = finished(content, **metadata)
    rig.shelf.make = lambda: MemoryBytes(content)


async def test_a_download_says_what_it_is_and_lets_nothing_run() -> None:
    """HTTP-GET, SEC-XSS."""
    async with shelved() as rig:
        put(rig, filename="page.html", filetype="text/html")
        wire = await rig.wire()
        answer = await wire.request("GET", FILE)
        assert answer.status == 200
        said = answer.headers
        assert said["Content-Type"] == "application/octet-stream"
        assert said["Content-Disposition"] == 'attachment; filename="page.html"'
        assert said["X-Content-Type-Options"] == "nosniff"
        assert said["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
        assert said["Cross-Origin-Resource-Policy"] == "same-site"
        assert said["Accept-Ranges"] == "bytes"
        assert said["Cache-Control"] == "private, no-cache"
        assert said["Access-Control-Allow-Origin"] == "*"
        assert parsedate_to_datetime(said["Last-Modified"]).timestamp() == NOW - 10
        assert said["ETag"].startswith('"') and AN_ID not in said["ETag"]
        assert not {"Content-Range", "Content-Encoding", "Tus-Resumable"} & set(said)


async def test_what_an_operator_lists_is_shown_in_place() -> None:
    """SEC-XSS: with the same guards."""
    async with shelved(download={"inline_types": ["video/mp4"]}) as rig:
        wire = await rig.wire()
        for filetype, told in (
            ("video/mp4", ("video/mp4", "inline")),
            ("image/png", ("application/octet-stream", "attachment")),
        ):
            put(rig, filetype=filetype, content_encoding="gzip")
            said = (await wire.request("GET", FILE)).headers
            assert (said["Content-Type"], said["Content-Disposition"]) == told
            assert said["Content-Encoding"] == "gzip"
            assert said["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("in_kernel", [True, False])
@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [("0-0", 0, 0), ("9-", 9, 9), ("-4", 6, 9), ("2-5", 2, 5), ("0-", 0, 9), ("0-99", 0, 9)],
)
async def test_a_part_is_exactly_what_was_asked_for(
    in_kernel: bool, wanted: str, first: int, last: int, tmp_path: Path
) -> None:
    """HTTP-RANGE."""
    async with shelved() as rig:
        shelve(rig, b"0123456789", tmp_path, in_kernel=in_kernel)
        wire = await rig.wire()
        answer = await wire.request("GET", FILE, {"Range": f"bytes={wanted}"})
        assert answer.status == 206
        assert answer.body == b"0123456789"[first : last + 1]
        assert answer.headers["Content-Range"] == f"bytes {first}-{last}/10"
        assert await wire.is_usable()  # so the first one is over
        assert rig.ended == [("download", "whole", last - first + 1)]


@pytest.mark.parametrize("in_kernel", [True, False])
async def test_an_empty_file_comes_too(in_kernel: bool, tmp_path: Path) -> None:
    """HTTP-GET."""
    async with shelved() as rig:
        shelve(rig, b"", tmp_path, in_kernel=in_kernel)
        wire = await rig.wire()
        answer = await wire.request("GET", FILE)
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["Content-Length"] == "0"
        refused = await wire.request("GET", FILE, {"Range": "bytes=0-"})
        assert (refused.status, refused.headers["Content-Range"]) == (416, "bytes */0")


async def test_several_ranges_are_answered_with_everything() -> None:
    """HTTP-RANGE: a MAY that is not used; a hundred of them cost what one costs."""
    async with shelved() as rig:
        put(rig)
        wire = await rig.wire()
        answer = await wire.request("GET", FILE, {"Range": "bytes=" + "0-," * 100 + "5-6"})
        assert (answer.status, answer.body) == (200, b"0123456789")


async def test_a_part_of_another_file_is_not_sent() -> None:
    """HTTP-RANGE: If-Range, with the tag that was told."""
    async with shelved() as rig:
        put(rig)
        wire = await rig.wire()
        told = (await wire.request("GET", FILE)).headers
        part = {"Range": "bytes=2-3"}
        for known in (told["ETag"], told["Last-Modified"]):
            assert (await wire.request("GET", FILE, part | {"If-Range": known})).status == 206
        whole = await wire.request("GET", FILE, part | {"If-Range": '"another"'})
        assert (whole.status, whole.body) == (200, b"0123456789")


async def test_a_tag_stays_while_the_file_does() -> None:
    async with shelved() as rig:
        wire = await rig.wire()
        put(rig)
        first = (await wire.request("GET", FILE)).headers["ETag"]
        assert (await wire.request("GET", FILE)).headers["ETag"] == first
        put(rig, b"01234567890")
        assert (await wire.request("GET", FILE)).headers["ETag"] != first


def test_every_fact_of_the_file_is_in_its_tag() -> None:
    """Another length, another end, another change of the file itself."""
    upload, file = finished(b"abc"), MemoryBytes(b"abc")
    tags = {validators_of(Opened(upload, file)).tag}
    file.modified_at += 0.5
    tags.add(validators_of(Opened(upload, file)).tag)
    tags.add(validators_of(Opened(finished(b"abc"), MemoryBytes(b"abcd"))).tag)
    assert len(tags) == 3
    assert validators_of(Opened(upload, file)).modified_at == int(NOW - 10)


# ------------------------------------------------------------------ what is no download


@pytest.mark.parametrize(
    "headers",
    [
        TUS,
        {"Upload-Draft-Interop-Version": "8"},
        {"Upload-Draft-Interop-Version": "3"},
    ],
)
async def test_a_get_in_a_protocol_asks_for_the_offset(headers: dict[str, str]) -> None:
    """RUFH's GET is a question as HEAD is; tus has none."""
    async with shelved() as rig:
        wire = await rig.wire()
        put(rig)
        rig.uploads.records[AN_ID] = rig.shelf.records[AN_ID]
        answer = await wire.request("GET", FILE, headers)
        assert answer.status in (200, 204)
        assert (answer.offset, answer.body) == (10, b"")
        assert rig.shelf.opened == []


async def test_a_head_asks_for_the_offset_as_ever() -> None:
    async with shelved() as rig:
        wire = await rig.wire()
        put(rig)
        rig.uploads.records[AN_ID] = rig.shelf.records[AN_ID]
        answer = await wire.request("HEAD", FILE)
        assert (answer.status, answer.offset) == (200, 10)
        assert not {"ETag", "Content-Type", "Content-Disposition"} & set(answer.headers)


@pytest.mark.parametrize("is_on", [True, False])
@pytest.mark.parametrize(
    ("status", "kind"), [(Status.RECEIVING, Kind.SINGLE), (Status.COMPLETE, Kind.PARTIAL)]
)
async def test_without_a_file_the_offset_is_told(is_on: bool, status: Status, kind: Kind) -> None:
    """HTTP-GET: in the headers of both protocols, and with no content; a part is no file."""
    async with shelved(download={"enabled": is_on}) as rig:
        wire = await rig.wire()
        rig.uploads.records[AN_ID] = rig.shelf.put(status=status, kind=kind)
        answer = await wire.request("GET", FILE)
        assert (answer.status, answer.offset, answer.body) == (200, 5, b"")
        assert answer.headers["Tus-Resumable"] and answer.headers["Upload-Complete"]
        assert answer.headers["Cache-Control"] == "no-store"


async def test_where_downloads_are_off_no_file_is_opened() -> None:
    async with shelved(download={"enabled": False}) as rig:
        wire = await rig.wire()
        put(rig)
        rig.uploads.records[AN_ID] = rig.shelf.records[AN_ID]
        answer = await wire.request("GET", FILE)
        assert (answer.status, answer.offset, answer.body) == (200, 10, b"")
        assert rig.shelf.opened == []


async def test_bytes_that_are_gone_are_told_as_gone() -> None:
    async with shelved() as rig:
        rig.shelf.records[AN_ID] = finished(b"abc")
        wire = await rig.wire()
        answer = await wire.request("GET", FILE)
        assert answer.status == 410 and b"ERR_BYTES_GONE" in answer.body


async def test_a_download_is_authorised_like_every_verb() -> None:
    """A forged token is 401, one of another client 403; nothing is opened for either."""
    async with shelved() as rig:
        put(rig)
        wire = await rig.wire()
        refused = await wire.request("GET", FILE, {"Authorization": "Bearer bad"})
        assert refused.status == 401
        mine = await wire.request("GET", FILE, {"Authorization": "Bearer mine"})
        assert (mine.status, mine.body) == (200, b"0123456789")
        stranger = Owner(AN_OWNER.video_id, ClientId("another"))
        rig.shelf.put(status=Status.COMPLETE, owner=stranger)
        opened = len(rig.shelf.opened)
        refused = await wire.request("GET", FILE, {"Authorization": "Bearer mine"})
        assert refused.status == 403
        assert len(rig.shelf.opened) == opened


@pytest.mark.parametrize("listed", [["text/html"], ["image/*"], ["video"], ["video/mp4", "a/b"]])
def test_settings_list_nothing_that_can_run(listed: list[str]) -> None:
    """SEC-XSS: the start fails instead."""
    with pytest.raises(ValueError, match="inline_types"):
        DownloadSettings.model_validate({"inline_types": listed})


def test_the_defaults_pass_their_own_check() -> None:
    assert "video/mp4" in DownloadSettings().inline_types
