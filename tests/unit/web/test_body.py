"""The body of a request, over aiohttp's own stream without a socket."""

import asyncio
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp.streams import StreamReader
from multidict import CIMultiDict

from tusd_py.streams import SourceEnd
from tusd_py.web.body import CONTINUE, RequestBody, salvage
from tusd_py.web.handler import check_aiohttp


def a_stream() -> StreamReader:
    return StreamReader(Mock(connected=True), 1024, loop=asyncio.get_running_loop())


def a_body(content: StreamReader, **changes: Any) -> RequestBody:
    arguments: dict[str, Any] = {
        "transport": None,
        "awaits_invitation": False,
        "idle_seconds": 30.0,
        "min_bytes_per_second": 0.0,
        **changes,
    }
    return RequestBody(content, None, **arguments)


async def test_a_cancelled_read_loses_no_byte() -> None:
    """Whether the bytes come before the cancellation or after it."""
    content = a_stream()
    body = a_body(content)
    reading = asyncio.create_task(body.read())
    await asyncio.sleep(0)
    content.feed_data(b"abc")
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert await body.read() == b"abc"
    content.feed_eof()
    assert await body.read() == b""
    assert body.end is SourceEnd.COMPLETE
    assert await body.read() == b""


async def test_bytes_received_before_a_cut_are_handed_over() -> None:
    content = a_stream()
    body = a_body(content)
    content.feed_data(b"abc")
    content.set_exception(ConnectionResetError())
    assert (await body.read(), body.end) == (b"abc", None)
    assert (await body.read(), body.end) == (b"", SourceEnd.HUNG_UP)


async def test_an_aiohttp_with_other_names_salvages_nothing_and_still_ends() -> None:
    content = Mock(spec=["exception", "readany", "total_bytes"], total_bytes=3)
    content.readany.side_effect = ConnectionResetError()
    body = a_body(content)
    assert (await body.read(), body.end) == (b"", SourceEnd.HUNG_UP)


async def test_a_salvaged_stream_keeps_its_error() -> None:
    content, error = a_stream(), ConnectionResetError()
    content.feed_data(b"abc")
    content.set_exception(error)
    assert salvage(content) == b"abc"
    assert content.exception() is error


async def test_trailers_are_told_when_the_body_is_at_its_end() -> None:
    """HTTP-TRAILER: not while its bytes are read, nor where it broke off."""
    fields = CIMultiDict([("Upload-Checksum", "sha1 a"), ("A", "1"), ("a", "2")])
    content = a_stream()
    body = a_body(content, trailers=lambda: fields)
    content.feed_data(b"abc")
    content.feed_eof()
    assert (await body.read(), list(body.trailers.getall("upload-checksum", []))) == (b"abc", [])
    assert (await body.read(), body.end) == (b"", SourceEnd.COMPLETE)
    assert body.trailers.getall("upload-checksum", []) == ["sha1 a"]
    assert body.trailers.getall("A", []) == ["1", "2"]
    cut = a_body(content := a_stream(), trailers=lambda: fields)
    content.set_exception(ConnectionResetError())
    assert (await cut.read(), cut.trailers.getall("A", [])) == (b"", [])


async def test_a_body_has_no_trailers_where_nobody_says_so() -> None:
    body = a_body(content := a_stream())
    content.feed_eof()
    assert (await body.read(), body.trailers.getall("A", ["none"])) == (b"", ["none"])


async def test_an_invitation_is_sent_once_and_only_where_it_is_awaited() -> None:
    transport = Mock()
    transport.is_closing.return_value = False
    body = a_body(a_stream(), transport=transport, awaits_invitation=True)
    assert body.is_uninvited
    await body.invite()
    await body.invite()
    await a_body(a_stream(), transport=transport).invite()
    transport.write.assert_called_once_with(CONTINUE)
    assert not body.is_uninvited


def test_the_installed_aiohttp_has_what_is_used_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    check_aiohttp()
    monkeypatch.setattr("tusd_py.web.handler._PRIVATE", ("_never_there",))
    with pytest.raises(RuntimeError, match="_never_there"):
        check_aiohttp()
