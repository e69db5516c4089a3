"""Reading at a pace."""

import asyncio
from unittest.mock import Mock

import pytest
from aiohttp.streams import StreamReader

from tests.service.world import Body
from tusd_py.service.pacing import Pace, PacedSource
from tusd_py.streams import SourceEnd
from tusd_py.web.body import RequestBody

KIB = 1024


async def read_all(source: PacedSource) -> bytes:
    content = b""
    while data := await source.read():
        content += data
    return content


async def test_a_source_is_passed_on_as_it_is() -> None:
    body = Body(b"ab", b"c", end=SourceEnd.MALFORMED)
    paced = PacedSource(body, Pace())
    assert (paced.announced_bytes, paced.end) == (3, None)
    await paced.invite()
    assert body.invited
    assert (await read_all(paced), paced.end) == (b"abc", SourceEnd.MALFORMED)


async def test_no_more_is_read_in_a_time_than_the_pace_lets() -> None:
    """Pieces of whatever size; the first comes at once."""
    pace, body = Pace(), Body(b"a" * 10 * KIB, b"b", b"c" * 20 * KIB, b"d")
    pace.limit(100 * KIB)
    paced = PacedSource(body, pace)
    await paced.invite()
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await paced.read() == b"a" * 10 * KIB
    assert await read_all(paced) == b"b" + b"c" * 20 * KIB + b"d"
    assert loop.time() - began >= 0.3


async def test_a_new_pace_counts_at_once_also_for_who_waits() -> None:
    pace, body = Pace(), Body(b"a" * KIB, b"b" * KIB, b"c")
    pace.limit(1.0)  # a quarter of an hour for the first piece
    paced = PacedSource(body, pace)
    await paced.invite()
    await paced.read()
    waiting = asyncio.create_task(paced.read())
    await asyncio.sleep(0)
    assert not waiting.done()
    pace.limit(None)
    async with asyncio.timeout(5):
        assert await waiting == b"b" * KIB
        assert await paced.read() == b"c"


async def test_a_read_that_is_cancelled_while_it_waits_loses_nothing() -> None:
    pace, body = Pace(), Body(b"a" * KIB, b"b")
    pace.limit(1.0)
    paced = PacedSource(body, pace)
    await paced.invite()
    await paced.read()
    waiting = asyncio.create_task(paced.read())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    pace.limit(None)
    assert await paced.read() == b"b"


async def test_a_slowed_sender_is_not_silent() -> None:
    """The pauses are several times as long as a client may be idle, and far below the least rate:
    not the client's doing. What it does itself counts as before."""
    content = StreamReader(Mock(connected=True), KIB, loop=asyncio.get_running_loop())
    body = RequestBody(
        content,
        None,
        transport=None,
        awaits_invitation=False,
        idle_seconds=0.1,
        min_bytes_per_second=1000.0,
    )
    pace = Pace()
    pace.limit(10.0)
    paced = PacedSource(body, pace)
    try:
        for _ in range(3):
            content.feed_data(b"12345")
            assert await paced.read() == b"12345"
        pace.limit(None)
        async with asyncio.timeout(5):
            assert await paced.read() == b""
        assert paced.end is SourceEnd.TOO_SLOW
    finally:
        body.close()
