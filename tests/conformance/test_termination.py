"""DELETE."""

import asyncio

import pytest

from tests.conformance.uploads import (
    id_of,
    listed_uploads,
    new_upload,
    refusal,
    some_bytes,
    stored_bytes,
    until,
)
from tests.support import tus
from tests.support.server import Server
from tests.support.wire import connected, request


@pytest.mark.parametrize("received", [0, 4, 8])
async def test_an_upload_can_be_removed(server: Server, received: int) -> None:
    """TUS-TRM-02, TUS-TRM-03, TUS-TRM-04, TUS-TRM-05, HTTP-HEADBODY: begun, half done or
    finished; files and record are gone, and every later request is 404."""
    url = await new_upload(server, length=8, data=b"12345678"[:received])
    async with connected(url) as wire:
        assert (await tus.delete(url, wire=wire)).status == 204
        assert not list(server.data_directory.rglob(f"{id_of(url)}*"))
        head = await tus.head(url, wire=wire)
        assert head.status == 404 and "Upload-Offset" not in head.headers
        refusal(await tus.patch(url, received, b"", wire=wire), 404, "ERR_UPLOAD_UNKNOWN")
        refusal(await tus.patch(url, received, b"5678", wire=wire), 404, "ERR_UPLOAD_UNKNOWN")
        refusal(await tus.delete(url, wire=wire), 404, "ERR_UPLOAD_UNKNOWN")
    assert id_of(url) not in {one["upload_id"] for one in await listed_uploads(server)}


async def test_a_deferred_upload_can_be_removed(server: Server) -> None:
    """TUS-TRM-03, TUS-TRM-05: its length need not be known."""
    url = await new_upload(server, length=None, data=b"1234")
    assert (await tus.delete(url)).status == 204
    assert (await tus.head(url)).status == 404


async def test_an_upload_can_be_removed_while_it_is_written(server: Server) -> None:
    """TUS-TRM-02, TUS-TRM-03, TUS-TRM-04, HTTP-FRAMING: the writer is made to let go and told so;
    nothing it still sends brings the upload back."""
    url = await new_upload(server, length=1_000_000)
    async with connected(url) as writer:
        await tus.begin_patch(writer, url, 0, 1_000_000)
        await writer.send(some_bytes(300_000))
        await until(lambda: bool(stored_bytes(server, url)))
        answer = await asyncio.wait_for(tus.delete(url), 5)
        assert answer.status == 204
        stopped = await writer.read_response()
        refusal(stopped, 423, "ERR_UPLOAD_HANDED_OVER")
        await writer.send(some_bytes(700_000))
        assert await (writer.is_closed() if stopped.closes else writer.is_usable())
    assert (await tus.head(url)).status == 404
    assert not list(server.data_directory.rglob(f"{id_of(url)}*"))


async def test_the_endpoint_itself_cannot_be_removed(server: Server) -> None:
    """TUS-TRM-02, HTTP-METHOD: DELETE of the endpoint is 405."""
    answer = await request("DELETE", server.endpoint, tus.TUS)
    refusal(answer, 405, "ERR_METHOD_NOT_ALLOWED")
