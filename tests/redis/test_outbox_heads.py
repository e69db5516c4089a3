"""What a process remembers of the heads of queues, and when it looks again."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from tusd_py.core.upload import Boot
from tusd_py.state.base import StateError
from tusd_py.state.redis.heads import Heads
from tusd_py.state.redis.link import Arg, Link
from tusd_py.state.redis.peers import Peers
from tusd_py.state.redis.scripts import Script
from tusd_py.state.redis.settings import RedisSettings

BUCKETS = 4


class PaperLink(Link):
    """Tells what a test has written down for a bucket, and nothing of Redis."""

    def __init__(self) -> None:
        super().__init__(RedisSettings(buckets=BUCKETS), boot=Boot("h", "b"), lease_seconds=5.0)
        self.told: dict[int, tuple[str, list[tuple[bytes, float]]]] = {}
        self.looks: list[list[int]] = []
        self.on_look: Callable[[], None] = lambda: None

    async def call_all(
        self, script: Script, *args: Arg, buckets: Sequence[int] | None = None
    ) -> list[Any]:
        assert buckets is not None
        self.looks.append(list(buckets))
        await asyncio.sleep(0)
        self.on_look()
        return [[self.of(bucket)] for bucket in buckets]

    def of(self, bucket: int) -> list[bytes]:
        until, heads = self.told.get(bucket, ("", []))
        flat = [part for upload, due in heads for part in (upload, repr(due).encode())]
        return [until.encode(), b"", *flat]


@pytest.fixture
def link() -> PaperLink:
    return PaperLink()


@pytest.fixture
async def heads(link: PaperLink) -> AsyncIterator[Heads]:
    made = Heads(link, Peers(link, lease_seconds=5.0))
    yield made
    await made.close()


ALL = list(range(BUCKETS))


async def test_the_first_look_is_at_all_buckets_and_the_next_where_something_changed(
    heads: Heads, link: PaperLink
) -> None:
    await heads.refresh("h")
    await heads.refresh("h")
    heads.hint(2)
    await heads.refresh("h")
    await heads.refresh("h")
    heads.age()
    await heads.refresh("h")
    assert link.looks == [ALL, [2], ALL]


async def test_lanes_that_look_at_the_same_time_share_a_look(heads: Heads, link: PaperLink) -> None:
    await asyncio.gather(*(heads.refresh("h") for _ in range(8)))
    assert link.looks == [ALL]


async def test_commits_without_a_pause_do_not_keep_a_lane_looking(
    heads: Heads, link: PaperLink
) -> None:
    """What becomes new during a look is for the next one."""
    await heads.refresh("h")
    link.on_look = lambda: heads.hint(1)
    heads.hint(3)
    async with asyncio.timeout(10):
        await heads.refresh("h")
    assert link.looks[1:] == [[3]]
    await heads.refresh("h")
    assert link.looks[2] == [1]


async def test_a_hint_during_a_look_is_not_lost(heads: Heads, link: PaperLink) -> None:
    looking = asyncio.ensure_future(heads.refresh("h"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    link.told[1] = ("", [(b"u" * 16, 7.0)])
    heads.hint(1)
    await looking
    await heads.refresh("h")
    assert link.looks == [ALL, [1]]
    assert heads.next_due("h") == 7.0


async def test_a_look_that_fails_is_made_up_for(heads: Heads, link: PaperLink) -> None:
    def fail() -> None:
        raise StateError("away")

    await heads.refresh("h")
    for mark, wanted in ((heads.age, ALL), (lambda: heads.hint(2), [2])):
        link.looks.clear()
        mark()
        link.on_look = fail
        with pytest.raises(StateError):
            await heads.refresh("h")
        link.on_look = lambda: None
        await heads.refresh("h")
        assert link.looks == [wanted, wanted]


async def test_who_comes_while_a_look_ends_waits_for_one_of_its_own(
    heads: Heads, link: PaperLink
) -> None:
    """Between its end and the call-backs that tell of it; the loop once hung there."""
    has_come = asyncio.Event()

    def come() -> None:
        heads.age()
        newcomer = heads.refresh("h")
        newcomer.send(None)  # as a task that runs just now would
        newcomer.close()
        has_come.set()

    def end() -> None:
        link.on_look = lambda: None
        asyncio.get_running_loop().call_soon(come)

    link.on_look = end
    await heads.refresh("h")
    await has_come.wait()
    await heads.refresh("h")
    assert link.looks == [ALL, ALL]


async def test_the_oldest_are_picked_as_far_as_they_are_known_to_be(
    heads: Heads, link: PaperLink
) -> None:
    """Bucket 0 may have more that is due from 5.0 on: nothing later is the oldest for sure."""
    first, second, other = b"1" * 16, b"2" * 16, b"3" * 16
    link.told = {0: ("5.0", [(first, 4.0), (second, 5.0)]), 1: ("", [(other, 6.0)])}
    await heads.refresh("h")
    picked = heads.pick("h", now=100.0, limit=9)
    assert [head.upload for head in picked] == [first, second]
    assert heads.pick("h", now=100.0, limit=9) == []
    link.told = {0: ("", []), 1: ("", [(other, 6.0)])}
    await heads.refresh("h")
    assert link.looks == [ALL, [0]]
    assert [head.upload for head in heads.pick("h", now=100.0, limit=9)] == [other]


async def test_what_is_not_due_is_not_picked_but_told(heads: Heads, link: PaperLink) -> None:
    link.told = {3: ("", [(b"1" * 16, 9.0)])}
    await heads.refresh("h")
    assert heads.pick("h", now=8.9, limit=1) == []
    assert heads.next_due("h") == 9.0
    assert heads.next_due("unknown") is None
    assert heads.next_due("h") != math.inf


async def test_an_older_answer_does_not_undo_a_newer_one(heads: Heads, link: PaperLink) -> None:
    await heads.refresh("h")
    earlier, later = heads.next_number(), heads.next_number()
    heads.saw("h", 1, later, [b"", b"", b"n" * 16, b"2.0"])
    heads.saw("h", 1, earlier, [b"", b"", b"o" * 16, b"1.0"])
    assert heads.next_due("h") == 2.0
