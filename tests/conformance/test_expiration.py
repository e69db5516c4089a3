"""Uploads that are not finished in time."""

import time
from email.utils import format_datetime, parsedate_to_datetime

import pytest

from tests.conformance.conftest import EXPIRE_SECONDS
from tests.conformance.uploads import (
    METADATA,
    id_of,
    listed_uploads,
    new_upload,
    refusal,
    stored_bytes,
    until,
)
from tests.support import tus
from tests.support.server import Server
from tests.support.wire import Response


def expiry_of(answer: Response) -> float:
    """Upload-Expires as Unix time; fails unless it is written in the one right way."""
    text = answer.headers["Upload-Expires"]
    moment = parsedate_to_datetime(text)
    assert format_datetime(moment, usegmt=True) == text
    return moment.timestamp()


async def is_gone(url: str) -> bool:
    return (await tus.head(url)).status != 200


async def test_the_creation_tells_the_expiry(server: Server) -> None:
    """TUS-EXP-03, TUS-EXP-06: an HTTP date, as far ahead as the setting says."""
    asked = time.time()
    answer = await tus.create(server.endpoint, length=9, metadata=METADATA, bearer=server.mint())
    assert asked + EXPIRE_SECONDS - 2 <= expiry_of(answer) <= time.time() + EXPIRE_SECONDS


async def test_every_patch_tells_the_expiry(server: Server) -> None:
    """TUS-EXP-02, TUS-EXP-06: as long as the upload is not finished; what is finished does not
    expire."""
    url = await new_upload(server, length=9)
    for offset in range(8):
        assert expiry_of(await tus.patch(url, offset, b"x")) > time.time()
    assert "Upload-Expires" not in (await tus.patch(url, 8, b"x")).headers


async def test_without_expiry_none_is_told(open_server: Server) -> None:
    """TUS-EXP-02, TUS-EXP-03: where uploads are kept for ever there is no Upload-Expires."""
    created = await tus.create(open_server.endpoint, length=9)
    patched = await tus.patch(created.location, 0, b"x")
    assert "Upload-Expires" not in created.headers and "Upload-Expires" not in patched.headers


async def test_progress_puts_the_expiry_off(server: Server) -> None:
    """TUS-EXP-04: with a sliding expiry a later PATCH tells a later date."""
    created = await tus.create(server.endpoint, length=9, metadata=METADATA, bearer=server.mint())
    first = expiry_of(created)
    made = int(time.time())
    await until(lambda: int(time.time()) > made)  # the date has whole seconds
    assert expiry_of(await tus.patch(created.location, 0, b"x")) > first


@pytest.mark.parametrize("body", [b"", b"12345"])
async def test_what_has_expired_is_gone(fleeting_server: Server, body: bytes) -> None:
    """TUS-EXP-01, TUS-EXP-04, TUS-EXP-05: the date was true, PATCHes do not put an absolute one
    off, and afterwards HEAD, PATCH and DELETE are 404, the bytes gone."""
    server = fleeting_server
    created = await tus.create(server.endpoint, length=99, metadata=METADATA, bearer=server.mint())
    expiry = expiry_of(created)
    if body:
        assert expiry_of(await tus.patch(created.location, 0, body)) == expiry
    url = created.location
    await until(lambda: is_gone(url))
    assert time.time() >= expiry
    answer = await tus.head(url)
    assert answer.status == 404
    assert "Upload-Offset" not in answer.headers
    refusal(await tus.patch(url, len(body), b"x"), 404, "ERR_UPLOAD_UNKNOWN")
    refusal(await tus.delete(url), 404, "ERR_UPLOAD_UNKNOWN")
    assert not list(server.data_directory.rglob(f"{id_of(url)}*"))
    assert id_of(url) not in {one["upload_id"] for one in await listed_uploads(server)}


async def test_what_is_finished_does_not_expire(fleeting_server: Server) -> None:
    """TUS-EXP-02, TUS-EXP-05: only unfinished uploads do; one that was made later has expired
    while this is still there."""
    finished = await new_upload(fleeting_server, length=5, data=b"12345")
    other = await new_upload(fleeting_server, length=5, data=b"1234")
    await until(lambda: is_gone(other))
    assert (await tus.head(finished)).offset == 5
    assert stored_bytes(fleeting_server, finished) == b"12345"
